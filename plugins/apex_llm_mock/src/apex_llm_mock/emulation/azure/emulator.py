"""Azure OpenAI on loopback: dated and v1 routes, both kinds of credentials, streams with their quirks, faults on order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

import attrs
from aiohttp import web

from apex_llm_mock.emulation.answers import EVENT_STREAM, JSON, RefusedError, WholeAnswer
from apex_llm_mock.emulation.azure.access import Access
from apex_llm_mock.emulation.azure.chat import Completion
from apex_llm_mock.emulation.azure.errors import deployment_not_found, resource_not_found
from apex_llm_mock.emulation.azure.faults import FAULTS
from apex_llm_mock.emulation.azure.image_shelf import ImageShelf
from apex_llm_mock.emulation.azure.models import BASE_MODELS
from apex_llm_mock.emulation.azure.routes import Route, method_of, parse_route
from apex_llm_mock.emulation.azure.service import AzureService
from apex_llm_mock.emulation.certificate import Certificate, throw_away_certificate
from apex_llm_mock.emulation.delivery import Delivery
from apex_llm_mock.emulation.entra.emulator import EntraEmulator
from apex_llm_mock.emulation.entra.tokenbook import TokenBook
from apex_llm_mock.emulation.fault_effects import Pace, instead, streamed, whole
from apex_llm_mock.emulation.fault_forms import ConnectionFault, Fault, InsteadFault, UnstreamedFault, concerns
from apex_llm_mock.emulation.fault_orders import PREFIX, FaultOrder, normalised
from apex_llm_mock.emulation.incoming import asks_for_stream, deployment_in, journal_entry, read_body
from apex_llm_mock.emulation.server import Emulator
from apex_llm_mock.emulation.sse import PLAIN
from apex_llm_mock.replies import Replier
from apex_llm_mock.settings import MockSettings

API_KEY = "emulator-key-for-loopback-only"
#: A deployment for each base model, named after it.
DEPLOYMENTS: Mapping[str, str] = MappingProxyType({name: name for name in BASE_MODELS})
_SPILLOVER = "x-ms-spillover-deployment"
#: The statuses with which a provisioned deployment lets another one serve.
_SPILLS = frozenset({429, 500, 503})


@attrs.frozen(kw_only=True)
class _Call:
    """One request that was let in."""

    request: web.Request
    route: Route
    deployment: str
    body: Any
    #: What makes its ids.
    key: str
    #: What its answer says whatever it is.
    headers: Mapping[str, str]
    order: FaultOrder | None

    @property
    def fault(self) -> Fault | None:
        return FAULTS[self.order.fault] if self.order is not None else None


class AzureEmulator(Emulator):
    """An Azure OpenAI resource. An async context manager: it listens inside.

    Besides the attributes of `Emulator`: `book` issues and checks tokens; `entra` is the directory, which also plays
    managed identity at `url`; with a token port, `authority` is its https address and `certificate` what must be trusted.

    Args:
        host: the address to listen on.
        port: 0 takes a free one.
        token_port: where the directory listens, with https; 0 takes a free one, None leaves it out.
        api_key: the resource's key.
        deployments: base models by the deployments' names; by default there is one for each base model.
        replies: what the models say; only `reply`, `script`, `script_end` and `seed` count.
        seed: changes vectors, images and ids.
        chunk_size: characters per chunk of a stream.
        chunks_per_read: chunks that are sent together.
        first_pause: seconds before an answer begins.
        read_pause: seconds between two reads of a stream.
        slow_pause: seconds that the slow faults wait.
        requests_per_minute, tokens_per_minute: the limits of each deployment.
        entra_embeddings: serve embeddings on v1 to holders of tokens; Azure documents that it does not.
        region: what answers say in ``x-ms-region``.
        clock: seconds, for the limits.
        wall: seconds since 1970.

    Raises:
        ValueError: a deployment has an unknown base model, or the script an error.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token_port: int | None = None,
        api_key: str = API_KEY,
        deployments: Mapping[str, str] | None = None,
        replies: MockSettings | None = None,
        seed: int = 0,
        chunk_size: int = 16,
        chunks_per_read: int = 1,
        first_pause: float = 0.0,
        read_pause: float = 0.0,
        slow_pause: float = 0.2,
        requests_per_minute: int = 1_000_000,
        tokens_per_minute: int = 1_000_000_000,
        entra_embeddings: bool = False,
        region: str = "East US",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(host=host, port=port, faults=FAULTS)
        replies = replies or MockSettings(seed=seed)
        if any(reply.error is not None for reply in replies.script):
            raise ValueError("the script has an error, which means nothing to Azure; order a fault instead")
        self.authority = ""
        self.certificate: Certificate | None = None
        self.book = TokenBook(wall=wall)
        self.entra = EntraEmulator(self.book, wall=wall)
        self.api_key = api_key
        self.deployments = dict(DEPLOYMENTS if deployments is None else deployments)
        self._shelf = ImageShelf("/generated/")
        self._service = AzureService(
            deployments=self.deployments,
            limits=(requests_per_minute, tokens_per_minute),
            replier=Replier(replies),
            seed=seed,
            clock=clock,
            wall=wall,
            publish=lambda image: f"{self.url}{self._shelf.put(image)}",
        )
        self._access = Access(api_key=api_key, book=self.book, entra_embeddings=entra_embeddings)
        self._pace = Pace(
            chunk_size=chunk_size, chunks_per_read=chunks_per_read, read_pause=read_pause, slow_pause=slow_pause
        )
        self._first_pause = first_pause
        self._token_port = token_port
        self._seed = seed
        self._region = region
        self._wall = wall
        self._numbers = 0
        self._able = {
            stream: frozenset(name for name, fault in FAULTS.items() if concerns(fault, streamed=stream))
            for stream in (False, True)
        }

    async def start(self) -> None:
        """Listen; with a token port on that, too.

        Raises:
            OSError: a port is taken.
            ModuleNotFoundError: a token port needs trustme, which is not installed.
        """
        await super().start()
        if self._token_port is None:
            return
        try:
            # Keys take their time, and a context reads its certificate from a file.
            self.certificate = await asyncio.to_thread(throw_away_certificate, self._host, "localhost")
            context = await asyncio.to_thread(self.certificate.ssl_context)
            app = web.Application()
            app.add_routes(self.entra.token_routes())
            app.on_cleanup.append(self.entra.drop_connections)
            runner = await self._runner(app)
            address = await self._listen(runner, self._token_port, context)
        except BaseException:
            await self.stop()
            raise
        self.authority = f"https://{address}/{self.entra.tenant}"

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of managed identity, and that of images by their URL."""
        return [*self.entra.identity_routes(), self._shelf.route()]

    async def answer(self, request: web.Request, delivery: Delivery) -> web.StreamResponse:
        """Answer one request to the resource."""
        self._numbers += 1
        key = blake2b(f"{self._seed}/{self._numbers}".encode(), digest_size=16).hexdigest()
        headers = self._headers(request, key)
        body = await read_body(request)
        route = parse_route(request.rel_url.raw_path, request.query)
        deployment = (route.deployment or deployment_in(body)) if route is not None else ""
        operation = route.operation if route is not None else ""
        call: _Call | None = None
        refused = resource_not_found()
        try:
            route = self._let_in(request, route)
            order = self._order(route, deployment, body)
            call = _Call(
                request=request,
                route=route,
                deployment=deployment,
                body=body,
                key=key,
                headers=headers | dict(order.headers if order is not None else {}),
                order=order,
            )
        except RefusedError as error:
            refused = error
        fault = call.order.fault if call is not None and call.order is not None else None
        self.journal.add(journal_entry(request, body, operation=operation, deployment=deployment, fault=fault))
        if call is None:
            return await delivery.whole(request, refused.answer, headers)
        if not await delivery.pause(self._first_pause):
            return delivery.hang_up(request)
        return await self._answered(call, delivery)

    def _let_in(self, request: web.Request, route: Route | None) -> Route:
        if route is None or request.method != method_of(route.operation):
            raise resource_not_found()
        self._access.check(request.headers, route)
        route.check_version()
        return route

    def _order(self, route: Route, deployment: str, body: Any) -> FaultOrder | None:
        """Return the fault for a call: from the queue, or the one that the deployment is named after."""
        able = self._able[asks_for_stream(route.operation, body)]
        order = self.faults.take(route.operation, deployment, able)
        if order is None and deployment.startswith(PREFIX):
            name = normalised(deployment.removeprefix(PREFIX))
            if name not in FAULTS and deployment not in self.deployments:
                raise deployment_not_found()
            order = FaultOrder(fault=name, times=None) if name in able else None
        return order

    async def _answered(self, call: _Call, delivery: Delivery) -> web.StreamResponse:
        fault = call.fault
        if isinstance(fault, ConnectionFault):
            response = await delivery.disturbed(
                call.request,
                fault.what,
                location=f"{self.elsewhere}{call.request.rel_url}",
                status=call.order.status if call.order is not None else None,
                slow_pause=self._pace.slow_pause,
                headers=call.headers,
            )
            if response is not None:
                return response
        try:
            call, served = await self._served(call)
        except RefusedError as error:
            return await delivery.whole(call.request, error.answer, call.headers)
        headers = {**call.headers, **self._deployment_headers(call)}
        fault = call.fault
        wants_stream = asks_for_stream(call.route.operation, call.body) and not isinstance(fault, UnstreamedFault)
        if isinstance(served, Completion) and wants_stream:
            answer = streamed(served, fault, call.order, self._pace, framing=PLAIN, content_type=EVENT_STREAM)
            return await delivery.streamed(call.request, answer, headers)
        return await delivery.whole(call.request, whole(served, fault, content_type=JSON), headers)

    async def _served(self, call: _Call) -> tuple[_Call, WholeAnswer | Completion]:
        """Serve *call*, or the call that it became by spilling over to another deployment."""
        try:
            if isinstance(call.fault, InsteadFault) and call.order is not None:
                raise RefusedError(instead(call.fault, call.order, now=self._wall()))
            return call, await self._service.serve(call.route, call.deployment, call.body, key=call.key)
        except RefusedError as error:
            other = call.request.headers.get(_SPILLOVER)
            if other is None or error.answer.status not in _SPILLS:
                raise
            if not self._service.has(other):
                headers = {**error.answer.headers, "x-ms-spillover-error": "The spillover deployment does not exist."}
                raise RefusedError(attrs.evolve(error.answer, headers=headers)) from error
            headers = {**call.headers, "x-ms-spillover-from-deployment": call.deployment}
            order = self._order(call.route, other, call.body)
            call = attrs.evolve(call, deployment=other, headers=headers, order=order)
        if isinstance(call.fault, InsteadFault) and call.order is not None:
            raise RefusedError(instead(call.fault, call.order, now=self._wall()))
        return call, await self._service.serve(call.route, call.deployment, call.body, key=call.key)

    def _headers(self, request: web.Request, key: str) -> dict[str, str]:
        headers = {"apim-request-id": _uuid(key), "x-request-id": _uuid(key[::-1]), "x-ms-region": self._region}
        client_id = request.headers.get("x-ms-client-request-id")
        return headers if client_id is None else {**headers, "x-ms-client-request-id": client_id}

    def _deployment_headers(self, call: _Call) -> dict[str, str]:
        if not call.deployment:
            return {}
        # What was ordered for the answer goes before what is true.
        found = {"x-ms-deployment-name": call.deployment, **self._service.rate(call.deployment).headers()}
        return {name: value for name, value in found.items() if name not in call.headers}


def _uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


__all__ = ["API_KEY", "DEPLOYMENTS", "AzureEmulator"]
