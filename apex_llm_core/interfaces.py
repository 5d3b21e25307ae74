"""Small interfaces that providers and extensions use or implement, without anyone's implementation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from apex_llm_core.context import CallContext


class HttpResponse(Protocol):
    """One HTTP answer whose head has arrived. Must be ended by `read`, by exhausting `chunks`, or by `close`."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; look-up ignores case."""

    async def read(self) -> bytes:
        """Return the whole body and give the connection back.

        Raises:
            ServiceUnavailableError: the body broke off or is larger than the client allows.
        """

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives, one item per network read; iterate inside `contextlib.aclosing`.

        Raises:
            ServiceUnavailableError: the body broke off.
        """

    def close(self) -> None:
        """Give up the answer; an unread body closes the connection."""


class HttpClient(Protocol):
    """HTTP for providers: pooled, without redirects to other origins, with typed errors."""

    async def send(
        self,
        method: str,
        url: str,
        *,
        context: CallContext,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HttpResponse:
        """Send one request and return when the head of the answer is there, whatever its status.

        Raises:
            ServiceUnavailableError: no connection, or it broke before the head was complete.
        """


@runtime_checkable
class StateStore(Protocol):
    """Keys and bytes that may be shared between processes; used by the cache and by limits."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, None when absent or expired."""

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        """Keep *value* for *ttl* seconds, None for as long as there is room."""

    async def delete(self, key: str) -> None:
        """Forget *key*; absent keys are no error."""

    async def transact(
        self,
        keys: Sequence[str],
        change: Callable[[Mapping[str, bytes]], Mapping[str, bytes | None]],
        ttl: float | None,
    ) -> None:
        """Read *keys*, call *change* with those that are there, write what it returns (None forgets); all or nothing.

        Nobody else reads or writes the keys in between. *change* is pure, and may be called again when somebody did; what it
        raises is raised, and nothing is written. What is written is kept for *ttl* seconds.
        """

    async def close(self) -> None:
        """Release connections and files."""


__all__ = ["HttpClient", "HttpResponse", "StateStore"]
