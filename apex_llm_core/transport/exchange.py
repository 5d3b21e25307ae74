"""The short way of a request: aiohttp's pool of connections and its parser, without its request and response objects.

Those two cost a third of a small request. The short way carries what nearly all requests are: a body in memory, no proxy, no
redirect, no cookies. It uses a few parts of aiohttp that its documentation does not name (`connect` of the connector,
`set_response_params` and `read` of the connection's protocol, the answer's stream and its buffer). All of them are used here,
the buffer by `AiohttpResponse.read`; `available` looks for them before the first request, and without them everything goes the ordinary way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from aiohttp.connector import Connection
    from yarl import URL

_USED = ("read", "set_response_params", "should_close", "upgraded")


def available() -> bool:
    """Return whether this version of aiohttp has what the short way needs."""
    from aiohttp.client_proto import ResponseHandler

    return all(hasattr(ResponseHandler, name) for name in _USED)


class Origin:
    """One scheme, host and port; `connect` gives a connection there, from the pool or new."""

    __slots__ = ("connect", "host", "template")

    def __init__(self, url: URL, session: ClientSession) -> None:
        from aiohttp import ClientRequest, TCPConnector

        origin = url.origin()
        #: The connector asks a request where to connect; this one stands in for all.
        self.template = ClientRequest("GET", origin, session=session)
        # Past the session's own connector class, which tells of connections by a context variable.
        connect: Any = TCPConnector.connect
        self.connect: Callable[[], Awaitable[Connection]] = partial(
            connect, session.connector, self.template, [], session.timeout
        )
        #: As the header of that name has it.
        self.host = origin.host_port_subcomponent or ""


class ShortResponse:
    """An answer whose head has arrived; the part of aiohttp's `ClientResponse` that `AiohttpResponse` uses."""

    __slots__ = ("__weakref__", "_connection", "content", "headers", "status")

    def __init__(self, message: Any, payload: Any, connection: Connection) -> None:
        self.status: int = message.code
        self.headers: Mapping[str, str] = message.headers
        self.content = payload
        self._connection: Connection | None = connection
        # Called at once when the body has arrived already.
        payload.on_eof(self._ended)

    def close(self) -> None:
        """Close the connection, unless the whole body has arrived."""
        connection, self._connection = self._connection, None
        if connection is not None:
            from aiohttp import ClientConnectionError

            if self.content.exception() is None:
                self.content.set_exception(ClientConnectionError("Connection closed"))
            connection.close()

    def _ended(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        protocol, transport = connection.protocol, connection.transport
        unsent = transport is None or transport.get_write_buffer_size()
        if unsent or protocol is None or protocol.upgraded:
            # An answer that came before the request was out: what follows on this connection is not to be trusted.
            connection.close()
        else:
            connection.release()


async def exchange(origin: Origin, request: bytes, *, head_only: bool, touch: Callable[[], None]) -> ShortResponse:
    """Send the bytes of a whole request and return when the head of its answer is there.

    Cancelling closes the connection.

    Raises:
        aiohttp.ClientError: as aiohttp itself would.
    """
    connection = await origin.connect()
    # Bytes that came while nobody asked belong to nobody: the next answer would be that of another request.
    while connection.protocol is not None and connection.protocol.should_close:
        connection.close()
        connection = await origin.connect()
    try:
        touch()
        protocol: Any = connection.protocol
        protocol.set_response_params(skip_payload=head_only, read_until_eof=True, auto_decompress=True)
        protocol.transport.write(request)
        while True:
            message, payload = await protocol.read()
            # Interim answers; 101 would be the last one.
            if not 100 <= message.code < 200 or message.code == 101:
                break
        return ShortResponse(message, payload, connection)
    except BaseException as error:
        connection.close()
        meant = _unreadable(error, origin)
        if meant is None:
            raise
        raise meant from error


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


__all__ = ["Origin", "ShortResponse", "available", "exchange", "request_bytes"]
