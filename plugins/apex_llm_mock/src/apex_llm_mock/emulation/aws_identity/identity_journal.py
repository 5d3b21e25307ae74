"""What is around every request to the identity services: the journal of calls, and answers ordered in advance."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import attrs
from aiohttp import web

from apex_llm_mock.emulation.aws_identity.identity_errors import IDENTITY_ERRORS, Place, Refusal, refused

Handler = Callable[[web.Request], Awaitable[web.Response]]


@attrs.frozen(kw_only=True)
class IdentityCall:
    """One request that arrived. No secret stands in it."""

    place: Place
    #: "AssumeRole", "GetRoleCredentials", …; the path at places without operations.
    operation: str
    #: What was asked for: "RoleArn", "ExternalId", "RoleSessionName", "DurationSeconds", "account_id", "role_name".
    parameters: Mapping[str, str] = attrs.field(factory=dict)
    #: Whose signature it carries, empty without.
    access_key_id: str = ""
    status: int = 200
    #: The code of the refusal in `IDENTITY_ERRORS`, empty when there was none.
    error: str = ""


@attrs.frozen(kw_only=True)
class IdentityFault:
    """An answer ordered in advance: an error of `IDENTITY_ERRORS`, or a bare HTTP status with a page of HTML."""

    what: str | int
    at: Place
    headers: Mapping[str, str] = attrs.field(factory=dict)


#: Parameters that the journal keeps; the others may be secrets.
_SHOWN = frozenset(
    {"RoleArn", "ExternalId", "RoleSessionName", "DurationSeconds", "account_id", "role_name", "grantType"}
)


class IdentityJournal:
    """Wraps handlers: writes down every call and gives the answers ordered in advance.

    Attributes:
        calls: all requests so far, oldest first.
        faults: the answers still to be given, see `fail`.
        gate: while it is an event that is not set, every answer waits for it.
    """

    def __init__(self) -> None:
        self.calls: list[IdentityCall] = []
        self.faults: list[IdentityFault] = []
        self.gate: asyncio.Event | None = None

    def count(self, operation: str) -> int:
        """Return how often *operation* was asked for, granted or not."""
        return sum(call.operation == operation for call in self.calls)

    def fail(
        self, what: str | int, *, times: int = 1, at: Place = "sts", headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer the next *times* requests at *at* with *what*: a code of `IDENTITY_ERRORS` or an HTTP status.

        Raises:
            ValueError: there is no error of that code.
        """
        if isinstance(what, str) and what not in IDENTITY_ERRORS:
            raise ValueError(f"no error called {what!r}; valid: {', '.join(sorted(IDENTITY_ERRORS))}")
        self.faults += [IdentityFault(what=what, at=at, headers=dict(headers or {}))] * times

    def answering(self, place: Place, handler: Handler, *, operation: str = "") -> Handler:
        """Return *handler* with the journal around it."""

        async def answer(request: web.Request) -> web.Response:
            asked = await parameters_of(request)
            response, error = await self._answer(place, handler, request)
            self.calls.append(
                IdentityCall(
                    place=place,
                    operation=operation or asked.get("Action") or request.path,
                    parameters={name: value for name, value in asked.items() if name in _SHOWN},
                    access_key_id=_access_key_id(request.headers.get("Authorization", "")),
                    status=response.status,
                    error=error,
                )
            )
            if self.gate is not None:
                await self.gate.wait()
            return response

        return answer

    async def _answer(self, place: Place, handler: Handler, request: web.Request) -> tuple[web.Response, str]:
        fault = next((fault for fault in self.faults if fault.at == place), None)
        if fault is not None:
            self.faults.remove(fault)
            if isinstance(fault.what, int):
                page = f"<html><head><title>{fault.what}</title></head><body></body></html>"
                return web.Response(status=fault.what, text=page, content_type="text/html", headers=fault.headers), ""
            return refused(Refusal(fault.what), place, fault.headers), fault.what
        try:
            return await handler(request), ""
        except Refusal as refusal:
            return refused(refusal, place), refusal.code


async def parameters_of(request: web.Request) -> dict[str, str]:
    """Return the query and the fields of *request*, of a form or of JSON; reading twice is free, aiohttp keeps them."""
    found = dict(request.query)
    if request.content_type == "application/x-www-form-urlencoded":
        # Read before it is parsed: whoever checks the signature needs the bytes.
        _ = await request.read()
        found |= {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    elif request.body_exists and request.content_type.endswith("json"):
        try:
            document = await request.json()
        except ValueError:
            document = None
        if isinstance(document, dict):
            found |= {name: value for name, value in document.items() if isinstance(value, str)}
    return found


def _access_key_id(authorization: str) -> str:
    _, separator, credential = authorization.partition("Credential=")
    return credential.partition("/")[0] if separator else ""


__all__ = ["Handler", "IdentityCall", "IdentityFault", "IdentityJournal", "parameters_of"]
