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


class Line(Protocol):
    """What a request wants of its connection."""

    settings: GatewaySettings
    #: None: the client is gone.
    transport: asyncio.Transport | None


class Incoming:
    """Implements `Request`."""

    __slots__ = ("_connection", "_payload", "_target", "headers", "method", "path")

    def __init__(self, connection: Line, message: RawRequestMessage, payload: StreamReader) -> None:
        self._connection = connection
        self._payload = payload
        self.method = message.method
        self.headers = message.headers
        self._target = message.path
        self.path = message.path.partition("?")[0]

    @property
    def query(self) -> Mapping[str, str]:
        """The decoded query; of repeated names the first."""
        found: dict[str, str] = {}
        for name, value in parse_qsl(self._target.partition("?")[2], keep_blank_values=True, errors="replace"):
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


def _too_large(most: int) -> HttpError:
    return HttpError(413, f"the body is larger than {most} bytes ([gateway] max_body_bytes)", code="request_too_large")


__all__ = ["Incoming", "Line"]
