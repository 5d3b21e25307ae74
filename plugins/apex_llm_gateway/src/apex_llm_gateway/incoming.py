"""A request as its connection read it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import parse_qsl

from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from apex_llm_gateway.http import HttpError
from apex_llm_gateway.settings import GatewaySettings

#: Content encodings that leave a body as it is.
_AS_IT_IS = frozenset({"", "identity"})


class ConnectionView(Protocol):
    """What a request wants of its connection."""

    settings: GatewaySettings
    #: None: the client is gone.
    transport: asyncio.Transport | None


class Incoming:
    """Implements `Request`."""

    __slots__ = ("_connection", "_message", "_payload", "headers", "method", "path")

    def __init__(self, connection: ConnectionView, message: RawRequestMessage, payload: StreamReader) -> None:
        self._connection = connection
        self._message = message
        self._payload = payload
        self.method = message.method
        self.headers = message.headers
        self.path = message.path.partition("?")[0]

    @property
    def query(self) -> Mapping[str, str]:
        """The decoded query; of repeated names the first."""
        found: dict[str, str] = {}
        for name, value in parse_qsl(self._message.path.partition("?")[2], keep_blank_values=True, errors="replace"):
            found.setdefault(name, value)
        return found

    @property
    def remote(self) -> str:
        """The address of the peer, empty when unknown."""
        transport = self._connection.transport
        peer = None if transport is None else transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else ""

    async def body(self) -> bytes:
        """Return the whole body; see `Request`."""
        payload, most = self._payload, self._connection.settings.max_body_bytes
        _check_codings(self._message)
        if payload.is_eof() and payload.exception() is None:
            # The body came with the head, as nearly all do.
            whole = payload.read_nowait()
            if len(whole) > most:
                raise _too_large(most)
            return whole
        length = self.headers.get("content-length")
        if length is not None and length.isdecimal() and int(length) > most:
            raise _too_large(most)
        if self.headers.get("expect", "").lower() == "100-continue" and self._connection.transport is not None:
            self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await self._read(most)

    async def _read(self, most: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        seconds = self._connection.settings.body_timeout
        try:
            async with asyncio.timeout(seconds):
                async for part in self._payload.iter_any():
                    size += len(part)
                    if size > most:
                        raise _too_large(most)
                    parts.append(part)
        except TimeoutError:
            raise HttpError(
                408, f"the body did not arrive within {seconds:g} seconds", code="request_timeout"
            ) from None
        except HttpError:
            raise
        except Exception as error:
            raise HttpError(
                400, "the body is malformed: it breaks the rules of its transfer or content encoding"
            ) from error
        return b"".join(parts)


def _check_codings(message: RawRequestMessage) -> None:
    # The parser unpacks what it knows and says nothing of the rest, which would be read as if it were not packed.
    headers = message.headers
    if not message.compression:
        coding = headers.get("content-encoding")
        if coding is not None and coding.strip().lower() not in _AS_IT_IS:
            raise HttpError(
                415,
                f"the Content-Encoding {coding[:100]!r} is not read here: send gzip, deflate, or none",
                code="unsupported_encoding",
            )
    if message.chunked and headers["transfer-encoding"].strip().lower() != "chunked":
        raise HttpError(
            501,
            f"the Transfer-Encoding {headers['transfer-encoding'][:100]!r} is not read here: send chunked, or a length",
            code="unsupported_encoding",
        )


def _too_large(most: int) -> HttpError:
    return HttpError(413, f"the body is larger than {most} bytes ([gateway] max_body_bytes)", code="request_too_large")


__all__ = ["ConnectionView", "Incoming"]
