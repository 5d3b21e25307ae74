"""What emulators have in common: they listen on loopback, can run in a thread, and stop without waiting for anybody."""

from __future__ import annotations

import asyncio
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from aiohttp import web

from apex_llm_mock.emulation.control import CONTROL, control_answer
from apex_llm_mock.emulation.delivery import Delivery
from apex_llm_mock.emulation.fault_orders import FaultQueue
from apex_llm_mock.emulation.journal import Journal
from apex_llm_mock.emulation.traffic import Traffic

#: Images to edit are up to 50 MB each.
LARGEST_BODY = 256 * 2**20
#: Seconds that a client who does not read may delay the end.
PATIENCE = 0.2


class Emulator(ABC):
    """A server for one provider's protocol. An async context manager: it listens inside.

    Attributes:
        url: the address, "http://127.0.0.1:PORT".
        elsewhere: another origin with the same server behind it; where redirects lead.
        faults: the faults on order.
        journal: the requests received.
        traffic: counts, and a way to wait for them.
    """

    def __init__(self, *, host: str, port: int, faults: Collection[str]) -> None:
        self.url = ""
        self.elsewhere = ""
        self.faults = FaultQueue(faults)
        self.journal = Journal()
        self.traffic = Traffic()
        self._host = host
        self._port = port
        self._runners: list[web.AppRunner] = []
        self._stopping: asyncio.Event | None = None
        self._delivery: Delivery | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return routes that are no part of the protocol."""
        return []

    @abstractmethod
    async def answer(self, request: web.Request, delivery: Delivery) -> web.StreamResponse:
        """Answer a request of the protocol."""

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken, or the host is not ours.
        """
        self._stopping = asyncio.Event()
        self._delivery = Delivery(self.traffic, self._stopping)
        app = web.Application(client_max_size=LARGEST_BODY)
        app.add_routes([*self.routes(), web.route("*", "/{path:.*}", self._handle)])
        runner = await self._runner(app)
        try:
            self.url = f"http://{await self._listen(runner, self._port)}"
            self.elsewhere = f"http://{await self._listen(runner, 0)}"
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening; whatever is still being answered ends."""
        if self._stopping is not None:
            self._stopping.set()
        while self._runners:
            await self._runners.pop().cleanup()

    async def _runner(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=PATIENCE)
        await runner.setup()
        self._runners.append(runner)
        return runner

    async def _listen(self, runner: web.AppRunner, port: int, context: ssl.SSLContext | None = None) -> str:
        site = web.TCPSite(runner, self._host, port, ssl_context=context)
        await site.start()
        # The address of the site that came last.
        port = runner.addresses[-1][1]
        return f"[{self._host}]:{port}" if ":" in self._host else f"{self._host}:{port}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        delivery = self._delivery
        if delivery is None:
            raise web.HTTPServiceUnavailable
        if request.path.startswith(CONTROL):
            return await control_answer(self, request)
        return await delivery.guarded(self.answer(request, delivery))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @contextmanager
    def run_in_thread(self) -> Iterator[Self]:
        """Serve from a thread of its own, for clients that block theirs."""
        ready = threading.Event()
        loop: asyncio.AbstractEventLoop | None = None
        leave: asyncio.Event | None = None
        failure: BaseException | None = None

        async def serve() -> None:
            nonlocal loop, leave
            async with self:
                loop, leave = asyncio.get_running_loop(), asyncio.Event()
                ready.set()
                await leave.wait()

        def work() -> None:
            nonlocal failure
            try:
                asyncio.run(serve())
            except BaseException as error:
                failure = error
            finally:
                ready.set()

        thread = threading.Thread(target=work, name=type(self).__name__, daemon=True)
        thread.start()
        ready.wait()
        try:
            if failure is not None:
                raise failure
            yield self
        finally:
            if loop is not None and leave is not None:
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(leave.set)
            thread.join()
        if failure is not None:
            raise failure


__all__ = ["LARGEST_BODY", "PATIENCE", "Emulator"]
