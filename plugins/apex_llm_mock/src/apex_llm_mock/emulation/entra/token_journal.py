"""What is around every request to the token emulators: the journal of calls, and answers ordered in advance."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import attrs
from aiohttp import web

from apex_llm_mock.emulation.entra.errors import ENTRA_ERRORS, error_body
from apex_llm_mock.emulation.entra.tokenbook import decode_segment

Place = Literal["discovery", "token", "device", "identity"]
Handler = Callable[[web.Request], Awaitable[web.Response]]
_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@attrs.frozen(kw_only=True)
class TokenCall:
    """One request that arrived. No credential stands in it."""

    place: Place
    #: The host and port that the client meant to talk to.
    host: str
    path: str
    #: The OAuth grant, or "managed_identity"; empty where there is none.
    grant: str = ""
    #: How the client proved itself: "secret", "certificate", "federated" or nothing.
    proof: str = ""
    client_id: str = ""
    scope: str = ""
    status: int = 200
    #: The name of the refusal in `ENTRA_ERRORS`, empty when there was none.
    error: str = ""


@attrs.frozen(kw_only=True)
class TokenFault:
    """An answer ordered in advance: an error of `ENTRA_ERRORS`, or a bare HTTP status with a page of HTML."""

    what: str | int
    at: Place = "token"
    headers: Mapping[str, str] = attrs.field(factory=dict)


class Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """Raised by a handler whose answer is an error of `ENTRA_ERRORS`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class TokenJournal:
    """Wraps handlers: writes down every call and gives the answers ordered in advance.

    Attributes:
        calls: all requests so far, oldest first.
        faults: the answers still to be given, see `fail`.
        gate: while it is an event that is not set, every answer waits for it.
    """

    def __init__(self, *, wall: Callable[[], float]) -> None:
        self.calls: list[TokenCall] = []
        self.faults: list[TokenFault] = []
        self.gate: asyncio.Event | None = None
        self._wall = wall
        self._connections: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()

    @property
    def token_requests(self) -> int:
        """How often a token was asked for, granted or not."""
        return sum(call.place in {"token", "identity"} for call in self.calls)

    def fail(
        self, what: str | int, *, times: int = 1, at: Place = "token", headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer the next *times* requests at *at* with *what*: a name of `ENTRA_ERRORS` or an HTTP status.

        Raises:
            ValueError: there is no error of that name.
        """
        if isinstance(what, str) and what not in ENTRA_ERRORS:
            raise ValueError(f"no error called {what!r}; valid: {', '.join(sorted(ENTRA_ERRORS))}")
        self.faults += [TokenFault(what=what, at=at, headers=dict(headers or {}))] * times

    def answering(self, place: Place, handler: Handler) -> Handler:
        """Return *handler* with the journal around it."""

        async def answer(request: web.Request) -> web.Response:
            if request.transport is not None:
                self._connections.add(request.transport)
            form = await read_form(request)
            response, refusal = await self._answer(place, handler, request)
            self.calls.append(
                TokenCall(
                    place=place,
                    host=request.host,
                    path=request.path,
                    grant="managed_identity" if place == "identity" else form.get("grant_type", ""),
                    proof=proof_of(form),
                    client_id=form.get("client_id", request.query.get("client_id", "")),
                    scope=form.get("scope", request.query.get("resource", "")),
                    status=response.status,
                    error=refusal,
                )
            )
            if self.gate is not None:
                await self.gate.wait()
            return response

        return answer

    async def drop_connections(self, _app: web.Application | None = None) -> None:
        """End what is left of the connections; for the signal ``on_cleanup`` of an application.

        A server that closes TLS waits for the client's farewell, for which an event loop about to end has no time.
        """
        for transport in list(self._connections):
            transport.abort()
        # Two turns: one to tell the protocols, one to close the sockets.
        for _ in range(2):
            await asyncio.sleep(0)

    async def _answer(self, place: Place, handler: Handler, request: web.Request) -> tuple[web.Response, str]:
        fault = next((fault for fault in self.faults if fault.at == place), None)
        if fault is not None:
            self.faults.remove(fault)
            if isinstance(fault.what, int):
                page = f"<html><head><title>{fault.what}</title></head><body></body></html>"
                return web.Response(status=fault.what, text=page, content_type="text/html", headers=fault.headers), ""
            return self._refuse(fault.what, fault.headers), fault.what
        try:
            return await handler(request), ""
        except Refusal as refusal:
            return self._refuse(refusal.name), refusal.name

    def _refuse(self, name: str, headers: Mapping[str, str] | None = None) -> web.Response:
        body = error_body(name, now=self._wall())
        return web.json_response(body, status=ENTRA_ERRORS[name].status, headers=headers)


async def read_form(request: web.Request) -> dict[str, str]:
    """Return the form fields of *request*; reading twice is free, aiohttp keeps them."""
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


def proof_of(form: Mapping[str, str]) -> str:
    """Tell how a client proves itself: "secret", "certificate", "federated", or "" for not at all."""
    if "client_secret" in form:
        return "secret"
    assertion = form.get("client_assertion")
    if assertion is None or form.get("client_assertion_type") != _JWT_BEARER:
        return ""
    # An assertion by certificate names its certificate in its head; a federated token names a key of its issuer.
    try:
        head = json.loads(decode_segment(assertion.partition(".")[0]))
    except ValueError:
        return "federated"
    return "certificate" if isinstance(head, dict) and {"x5t", "x5t#S256"} & head.keys() else "federated"


__all__ = ["Handler", "Place", "Refusal", "TokenCall", "TokenFault", "TokenJournal", "proof_of", "read_form"]
