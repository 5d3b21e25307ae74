"""A request on its way through the gateway: who sent it, what it is called, and its body."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from apex_llm_core.converters import decode
from apex_llm_core.models import Caller
from apex_llm_gateway.http import HttpError, Request
from apex_llm_gateway.keys import Key

T = TypeVar("T")
#: Bytes of a body that take longer to read than anybody should have to wait.
_LARGE = 1 << 19
#: Ids of others that may stand in our headers, logs and records.
_CORRELATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_SESSION = re.compile(r"[\x21-\x7e]{1,256}")


@attrs.frozen(kw_only=True, eq=False)
class Call:
    """One request whose sender is known. `id` stands in its answer, its events and its record."""

    request: Request
    id: str
    key: Key

    def caller(self) -> Caller:
        """Return who calls, as the manager wants to know it. Nothing of it comes from the body."""
        key, headers = self.key, self.request.headers
        session, trace = headers.get("x-session-id"), headers.get("traceparent")
        return Caller(
            user=key.user,
            tier=key.tier,
            key=key.name,
            roles=key.roles,
            session=session if session is not None and _SESSION.fullmatch(session) else None,
            request_id=self.id,
            traceparent=trace if trace is not None and _TRACE.fullmatch(trace) else None,
        )

    async def document(self) -> Any:
        """Return the decoded body.

        Raises:
            HttpError: it is no JSON, or does not arrive.
        """
        return await self.read(_as_it_is)

    async def read(self, reader: Callable[[Any], T]) -> T:
        """Return what *reader* makes of the decoded body; for large ones in a thread, so that others go on meanwhile.

        Raises:
            HttpError: it is no JSON, or does not arrive.
            LLMError: *reader* raised it.
        """
        body = await self.request.body()
        if len(body) > _LARGE:
            return await asyncio.to_thread(_read, body, reader)
        return _read(body, reader)


def _as_it_is(document: Any) -> Any:
    return document


def _read(body: bytes, reader: Callable[[Any], T]) -> T:
    try:
        document = decode(body)
    except RecursionError:
        raise HttpError(400, "the body is nested too deeply", code="invalid_json") from None
    except ValueError as error:
        said = "is empty; send a JSON object" if not body.strip() else f"is no JSON: {error}"
        raise HttpError(400, f"the body {said}", code="invalid_json") from error
    return reader(document)


def chosen_id(request: Request) -> str | None:
    """Return the id that the client gave its request, None when it gave none that can be used."""
    given = request.headers.get("x-request-id")
    return given if given is not None and _CORRELATION.fullmatch(given) else None


__all__ = ["Call", "chosen_id"]
