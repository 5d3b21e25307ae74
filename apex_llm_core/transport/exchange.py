"""The short way of a request: connections of aiohttp's connector and its parser, without the rest of its client.

The rest costs more than half of a small request. The short way carries what nearly all requests are: a body in memory, no
proxy, no redirect, no cookies. Where aiohttp lacks what it needs (`origin.available`), everything goes the ordinary way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from apex_llm_core.transport.origin import Origin

if TYPE_CHECKING:
    from yarl import URL

    from apex_llm_core.transport.link import Link


class ShortResponse:
    """An answer whose head has arrived; the part of aiohttp's `ClientResponse` that `AiohttpResponse` uses."""

    __slots__ = ("__weakref__", "_link", "_origin", "content", "headers", "status")

    def __init__(self, message: Any, payload: Any, link: Link, origin: Origin) -> None:
        self.status: int = message.code
        self.headers: Mapping[str, str] = message.headers
        self.content = payload
        self._link: Link | None = link
        self._origin = origin
        # Called at once when the body has arrived already.
        payload.on_eof(self._ended)

    def close(self) -> None:
        """Close the connection, unless the whole body has arrived."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _ended(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._origin.keep(link)


async def exchange(origin: Origin, request: bytes, *, touch: Callable[[], None]) -> ShortResponse:
    """Send the bytes of a whole request and return when the head of its answer is there.

    Cancelling closes the connection.

    Raises:
        aiohttp.ClientError: as aiohttp itself would.
    """
    link = origin.take()
    if link is None:
        link = await origin.open()
        touch()
    head = link.ask(request)
    try:
        message, payload = await head
    except BaseException as error:
        link.close()
        meant = _unreadable(error, origin)
        if meant is None:
            raise
        raise meant from error
    return ShortResponse(message, payload, link, origin)


def _unreadable(error: BaseException, origin: Origin) -> Exception | None:
    """Return what aiohttp's response object makes of an error of its parser, None for any other."""
    from aiohttp import ClientResponseError
    from aiohttp.http import HttpProcessingError

    if not isinstance(error, HttpProcessingError):
        return None
    return ClientResponseError(origin.template.request_info, (), status=error.code, message=error.message)


def request_bytes(
    method: str, url: URL, origin: Origin, headers: Mapping[str, str] | None, body: bytes | None
) -> bytes:
    """Return a whole request as it goes over the wire; *headers* are checked already."""
    headers = headers or {}
    lines = _template(origin.host, tuple(headers), body is not None) % tuple(headers.values())
    length = f"Content-Length: {len(body or b'')}\r\n" if body is not None or method in _WITH_LENGTH else ""
    head = f"{method} {url.raw_path_qs} HTTP/1.1\r\n{lines}{length}\r\n".encode()
    return head + body if body else head


_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})


@lru_cache(maxsize=64)
def _template(host: str, given: tuple[str, ...], with_body: bool) -> str:
    """Return the lines of a head with a place for each value that is *given*.

    The others are as aiohttp has them, but for its wish for compression.
    """
    names = {name.lower() for name in given}
    defaults = {"host": f"Host: {host}", "accept": "Accept: */*", "user-agent": "User-Agent: apex-llm"}
    if with_body:
        defaults["content-type"] = "Content-Type: application/octet-stream"
    lines = [line.replace("%", "%%") for name, line in defaults.items() if name not in names]
    lines += [f"{name.replace('%', '%%')}: %s" for name in given]
    return "".join(f"{line}\r\n" for line in lines)


__all__ = ["ShortResponse", "exchange", "request_bytes"]
