"""Amazon Bedrock on loopback: the runtime, lists of the control plane, both kinds of credentials, faults on order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import attrs
from aiohttp import web

from apex_llm_mock.emulation.answers import RefusedError, WholeAnswer
from apex_llm_mock.emulation.aws_identity.emulator import IdentityEmulator
from apex_llm_mock.emulation.aws_identity.keybook import KeyBook
from apex_llm_mock.emulation.bedrock.access import Access
from apex_llm_mock.emulation.bedrock.errors import JSON, invalid, unknown_operation
from apex_llm_mock.emulation.bedrock.event_frames import CONTENT_TYPE, EventStream
from apex_llm_mock.emulation.bedrock.faults import BEDROCK_FAULTS
from apex_llm_mock.emulation.bedrock.models import INVALID_IDENTIFIER
from apex_llm_mock.emulation.bedrock.routes import STREAMS, Route, parse_route, split_target
from apex_llm_mock.emulation.bedrock.service import BedrockService
from apex_llm_mock.emulation.bedrock.sigv4 import WireRequest
from apex_llm_mock.emulation.delivery import Delivery
from apex_llm_mock.emulation.fault_effects import Pace, instead, streamed, whole
from apex_llm_mock.emulation.fault_forms import ConnectionFault, Fault, InsteadFault, UnstreamedFault, concerns
from apex_llm_mock.emulation.fault_orders import PREFIX, FaultOrder, normalised
from apex_llm_mock.emulation.incoming import journal_entry, read_body
from apex_llm_mock.emulation.server import Emulator
from apex_llm_mock.replies import Replier
from apex_llm_mock.settings import MockSettings

REGION = "us-east-1"
ACCESS_KEY_ID = "AKIDEMULATORLOOPBACK"
SECRET_ACCESS_KEY = "emulator-secret-for-loopback-only"  # noqa: S105 - it opens nothing else
API_KEY = "bedrock-api-key-for-loopback-only"
#: What a stream of InvokeModel says about its chunks.
_CHUNKS = {"x-amzn-bedrock-content-type": JSON}


@attrs.frozen(kw_only=True)
class _Call:
    """One request that was let in."""

    request: web.Request
    route: Route
    query: Mapping[str, str]
    body: Any
    #: What makes its ids.
    key: str
    #: What its answer says whatever it is.
    headers: Mapping[str, str]
    order: FaultOrder | None

    @property
    def fault(self) -> Fault | None:
        return BEDROCK_FAULTS[self.order.fault] if self.order is not None else None


class BedrockEmulator(Emulator):
    """Bedrock in one region. An async context manager: it listens inside.

    Runtime and control plane answer at the same `url`, and so do the services that give credentials. Besides the
    attributes of `Emulator`: `keys` are the access keys it takes; `identity` issues such keys in the ways of AWS.

    Args:
        host: the address to listen on.
        port: 0 takes a free one.
        region: the one that signatures must be for.
        access_key_id, secret_access_key: a key of long life.
        api_key: the bearer token.
        models: the model ids there are, each with the id of the model that it behaves like; None: all that Bedrock has.
        replies: what the models say; only `reply`, `script`, `script_end` and `seed` count.
        seed: changes vectors, images, ids and the signatures of reasoning.
        chunk_size: characters per piece of a stream.
        events_per_read: events that are sent together.
        first_pause: seconds before an answer begins.
        read_pause: seconds between two reads of a stream.
        slow_pause: seconds that the slow faults wait.
        requests_per_minute, tokens_per_minute: the limits of each model.
        page_size: items per page of a list.
        clock: seconds, for limits and cached prompts.
        wall: seconds since 1970, for the age of signatures and keys.

    Raises:
        ValueError: a model behaves like one that there is not, or the script has an error.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        region: str = REGION,
        access_key_id: str = ACCESS_KEY_ID,
        secret_access_key: str = SECRET_ACCESS_KEY,
        api_key: str = API_KEY,
        models: Mapping[str, str] | None = None,
        replies: MockSettings | None = None,
        seed: int = 0,
        chunk_size: int = 16,
        events_per_read: int = 1,
        first_pause: float = 0.0,
        read_pause: float = 0.0,
        slow_pause: float = 0.2,
        requests_per_minute: int = 1_000_000,
        tokens_per_minute: int = 1_000_000_000,
        page_size: int = 100,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(host=host, port=port, faults=BEDROCK_FAULTS)
        replies = replies or MockSettings(seed=seed)
        if any(reply.error is not None for reply in replies.script):
            raise ValueError("the script has an error, which means nothing to Bedrock; order a fault instead")
        self.region = region
        self.access_key_id = access_key_id
        self.secret_access_key = secret_access_key
        self.api_key = api_key
        self.models = None if models is None else dict(models)
        self.keys = KeyBook(wall=wall, seed=seed)
        self.keys.add(access_key_id, secret_access_key)
        self.identity = IdentityEmulator(self.keys, wall=wall)
        self._access = Access(region=region, api_key=api_key, keys=self.keys, wall=wall)
        self._service = BedrockService(
            region=region,
            models=self.models,
            limits=(requests_per_minute, tokens_per_minute),
            replier=Replier(replies),
            seed=seed,
            chunk_size=chunk_size,
            page_size=page_size,
            clock=clock,
        )
        self._pace = Pace(
            chunk_size=chunk_size, chunks_per_read=events_per_read, read_pause=read_pause, slow_pause=slow_pause
        )
        self._framing = EventStream()
        self._first_pause = first_pause
        self._seed = seed
        self._wall = wall
        self._numbers = 0
        self._able = {
            stream: frozenset(name for name, fault in BEDROCK_FAULTS.items() if concerns(fault, streamed=stream))
            for stream in (False, True)
        }

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the services that give credentials."""
        return self.identity.routes()

    async def answer(self, request: web.Request, delivery: Delivery) -> web.StreamResponse:
        """Answer one request to the runtime or the control plane."""
        self._numbers += 1
        key = blake2b(f"{self._seed}/{self._numbers}".encode(), digest_size=16).hexdigest()
        headers: dict[str, str] = {"x-amzn-requestid": _uuid(key)}
        body = await read_body(request)
        path, query = split_target(request.raw_path)
        route = parse_route(request.method, path)
        call: _Call | None = None
        refused = RefusedError(unknown_operation())
        if route is not None:
            try:
                self._access.check(await _wire(request, path, query))
                order = self._order(route)
                call = _Call(
                    request=request,
                    route=route,
                    query=request.query,
                    body=body,
                    key=key,
                    headers=headers | dict(order.headers if order is not None else {}),
                    order=order,
                )
            except RefusedError as error:
                refused = error
        entry = journal_entry(
            request,
            body,
            operation=route.operation if route is not None else "",
            deployment=route.name if route is not None else "",
            fault=call.order.fault if call is not None and call.order is not None else None,
        )
        self.journal.add(attrs.evolve(entry, path=path))
        if call is None:
            return await delivery.whole(request, refused.answer, headers)
        if not await delivery.pause(self._first_pause):
            return delivery.hang_up(request)
        return await self._answered(call, delivery)

    def _order(self, route: Route) -> FaultOrder | None:
        """Return the fault for a call: from the queue, or the one that the model is named after."""
        able = self._able[route.operation in STREAMS]
        order = self.faults.take(route.operation, route.name, able)
        if order is None and route.name.startswith(PREFIX):
            name = normalised(route.name.removeprefix(PREFIX))
            if name not in BEDROCK_FAULTS and route.name not in (self.models or {}):
                raise invalid(INVALID_IDENTIFIER)
            order = FaultOrder(fault=name, times=None) if name in able else None
        return order

    async def _answered(self, call: _Call, delivery: Delivery) -> web.StreamResponse:
        fault = call.fault
        if isinstance(fault, ConnectionFault):
            response = await delivery.disturbed(
                call.request,
                fault.what,
                location=f"{self.elsewhere}{call.request.raw_path}",
                status=call.order.status if call.order is not None else None,
                slow_pause=self._pace.slow_pause,
                headers=call.headers,
            )
            if response is not None:
                return response
        try:
            if isinstance(fault, InsteadFault) and call.order is not None:
                raise RefusedError(instead(fault, call.order, now=self._wall()))
            served = await self._service.serve(call.route, call.query, call.body, key=call.key)
        except RefusedError as error:
            return await delivery.whole(call.request, error.answer, call.headers)
        if isinstance(served, WholeAnswer) or call.route.operation not in STREAMS or isinstance(fault, UnstreamedFault):
            return await delivery.whole(call.request, whole(served, fault, content_type=JSON), call.headers)
        answer = streamed(served, fault, call.order, self._pace, framing=self._framing, content_type=CONTENT_TYPE)
        more = _CHUNKS if call.route.operation == "invoke-with-response-stream" else {}
        return await delivery.streamed(call.request, answer, {**more, **call.headers})


async def _wire(request: web.Request, path: str, query: str) -> WireRequest:
    headers = [
        (name.decode("ascii", "replace"), value.decode("utf-8", "surrogateescape"))
        for name, value in request.raw_headers
    ]
    return WireRequest(method=request.method, path=path, query=query, headers=headers, body=await request.read())


def _uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


__all__ = ["ACCESS_KEY_ID", "API_KEY", "REGION", "SECRET_ACCESS_KEY", "BedrockEmulator"]
