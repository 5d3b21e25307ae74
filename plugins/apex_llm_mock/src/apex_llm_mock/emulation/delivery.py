"""Puts answers on the wire, in one piece or in many, and notices clients that hang up."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Mapping
from contextlib import suppress

from aiohttp import web

from apex_llm_mock.emulation.answers import Ending, StreamedAnswer, WholeAnswer
from apex_llm_mock.emulation.fault_forms import Connection
from apex_llm_mock.emulation.traffic import Traffic


class Delivery:
    """Sends answers for one emulator."""

    def __init__(self, traffic: Traffic, stopping: asyncio.Event) -> None:
        self._traffic = traffic
        self._stopping = stopping

    async def guarded(self, answering: Awaitable[web.StreamResponse]) -> web.StreamResponse:
        """Await *answering*, counting the request and a client that does not wait for its end."""
        with self._traffic.request():
            try:
                return await answering
            except asyncio.CancelledError:
                if not self._stopping.is_set():
                    self._traffic.disconnected()
                raise
            except ConnectionError:
                self._traffic.disconnected()
                return web.Response()

    async def pause(self, seconds: float | None) -> bool:
        """Wait *seconds* (None: for ever) or until the emulator stops; return whether it goes on."""
        if seconds == 0:
            await asyncio.sleep(0)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
        return not self._stopping.is_set()

    async def whole(self, request: web.Request, answer: WholeAnswer, headers: Mapping[str, str]) -> web.StreamResponse:
        """Send *answer*; its headers go before *headers* of the same name."""
        response = web.StreamResponse(status=answer.status, headers=_merged(headers, answer.headers))
        if answer.content_type:
            response.headers["Content-Type"] = answer.content_type
        response.content_length = len(answer.body) + answer.missing
        await response.prepare(request)
        await response.write(answer.body)
        if answer.missing:
            return self.hang_up(request, response=response)
        await response.write_eof()
        return response

    async def streamed(
        self, request: web.Request, answer: StreamedAnswer, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        """Send *answer* piece by piece."""
        response = web.StreamResponse(headers=_merged(headers, answer.headers))
        response.headers["Content-Type"] = answer.content_type
        # The head must not wait for the first piece.
        response.enable_chunked_encoding()
        await response.prepare(request)
        with self._traffic.stream():
            for read in answer.reads:
                if not read:
                    continue
                await response.write(read)
                self._traffic.sent()
                if not await self.pause(answer.pause):
                    return self.hang_up(request, response=response)
            return await self._end(request, response, answer.ending)

    async def _end(self, request: web.Request, response: web.StreamResponse, ending: Ending) -> web.StreamResponse:
        if ending == "stall":
            await self.pause(None)
        if ending != "close":
            return self.hang_up(request, response=response)
        await response.write_eof()
        return response

    async def disturbed(
        self,
        request: web.Request,
        what: Connection,
        *,
        location: str,
        status: int | None,
        slow_pause: float,
        headers: Mapping[str, str],
    ) -> web.StreamResponse | None:
        """Disturb the connection before an answer comes; None: the answer follows.

        Args:
            request: whose connection.
            what: what happens to it.
            location: where a redirect leads.
            status: of a redirect; None is the usual one.
            slow_pause: seconds that a slow answer takes longer.
            headers: of every answer.
        """
        match what:
            case "slow":
                return None if await self.pause(slow_pause) else self.hang_up(request)
            case "redirect":
                answer = WholeAnswer(body=b"", status=status or 307, headers={"location": location}, content_type="")
                return await self.whole(request, answer, headers)
            case "garbage":
                if request.transport is not None:
                    request.transport.write(b"\x00\x01 this is no HTTP\r\n\r\n")
                return self.hang_up(request, reset=False)
            case "hang":
                await self.pause(None)
        return self.hang_up(request)

    def hang_up(
        self, request: web.Request, *, reset: bool = True, response: web.StreamResponse | None = None
    ) -> web.StreamResponse:
        """Drop the connection; with *reset* as a machine that knows nothing of it would."""
        transport = request.transport
        if transport is not None:
            connection = transport.get_extra_info("socket")
            if reset and connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        return response or web.Response()


def _merged(general: Mapping[str, str], particular: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for headers in (general, particular) for name, value in headers.items()}


__all__ = ["Delivery"]
