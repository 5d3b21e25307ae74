"""The process above the workers: it starts them, starts them again, and passes on what it is told. It serves nobody itself."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import attrs

from apex_llm_core.errors import ConfigurationError
from apex_llm_gateway.announcement import Facts, tell
from apex_llm_gateway.settings import GatewaySettings
from apex_llm_gateway.signals import signals
from apex_llm_gateway.workers.restarts import Restarts
from apex_llm_gateway.workers.sockets import Channel, private_folder, reserved
from apex_llm_gateway.workers.worker import REFUSED, Plan

#: Seconds that a worker has to answer, or to end, beyond those that are configured.
_GRACE = 10.0
#: Seconds in which a worker reads the configuration again.
_RELOAD = 60.0


class _Worker:
    """A process under way, and the channel to it."""

    def __init__(self, index: int, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self.index = index
        self.process = process
        self.channel = channel
        loop = asyncio.get_running_loop()
        #: What it serves, None when it ended before it did.
        self.ready: asyncio.Future[Facts | None] = loop.create_future()
        #: Why it could not start.
        self.refused: str | None = None
        self.reloaded: asyncio.Future[bool] | None = None
        self._listening = loop.create_task(self._listen())

    async def ended(self) -> int:
        """Wait for its end, and return the exit code."""
        code = await self.process.wait()
        await self._listening
        await self.channel.close()
        return code

    def kill(self) -> None:
        """End it now, whatever it does."""
        with suppress(ProcessLookupError):
            self.process.kill()

    async def _listen(self) -> None:
        while (said := await self.channel.receive()) is not None:
            if "ready" in said and not self.ready.done():
                self.ready.set_result(Facts(**said["ready"]))
            elif "refused" in said:
                self.refused = said["refused"]
            elif "reloaded" in said and self.reloaded is not None and not self.reloaded.done():
                self.reloaded.set_result(said["reloaded"])
        if not self.ready.done():
            self.ready.set_result(None)
        if self.reloaded is not None and not self.reloaded.done():
            self.reloaded.set_result(False)


class Supervisor:
    """Keeps the workers of one gateway going.

    Args:
        settings: the gateway's; with several workers.
        source: the configuration file for the workers; None leaves it to APEX_LLM_CONFIG.
        port: the port that is held for them.
        folder: where they meet.
        linger: seconds for which a worker that is to end still takes new requests.
        tell: takes one line for whoever runs the gateway.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        source: Path | None,
        *,
        port: int,
        folder: Path,
        linger: float = 0.0,
        tell: Callable[[str], None] = tell,
    ) -> None:
        self._settings = settings
        self._plan = Plan(
            index=0,
            count=settings.workers,
            source=None if source is None else str(source),
            host=settings.host,
            port=port,
            linger=linger,
            folder=str(folder),
            channel=-1,
        )
        self._tell = tell
        self._workers: dict[int, _Worker] = {}
        self._keeping: dict[int, asyncio.Task[None]] = {}
        self._restarts = Restarts(time.monotonic)
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: ConfigurationError | None = None
        self._exit_code = 0
        self._serving = False
        self._rolling: asyncio.Task[None] | None = None
        self._roll_again = False

    async def run(self, announce: Callable[[Facts], None]) -> int:
        """Start all workers, call *announce* when they serve, keep them going until `stop`, and return the exit code.

        Raises:
            ConfigurationError: the first worker refuses to start.
        """
        try:
            # One first: it finds what is wrong, and says so once.
            facts = await self._first()
            if facts is not None:
                others = [self._keep(index) for index in range(1, self._settings.workers)]
                for ready in others:
                    await self._unless_stopping(ready)
            if facts is not None and not self._stopping.is_set():
                self._serving = True
                announce(facts)
                if self._roll_again:
                    self.reload()
            await self._stopping.wait()
        finally:
            self._stopping.set()
            await self._end()
        if self._failure is not None:
            raise self._failure
        return self._exit_code

    def stop(self) -> None:
        """End gently; asked again, at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    def reload(self) -> None:
        """Let one worker after the other read the configuration again; when one cannot use it, the rest keep theirs."""
        if not self._serving or (self._rolling is not None and not self._rolling.done()):
            self._roll_again = True
        else:
            self._rolling = asyncio.get_running_loop().create_task(self._roll())

    # -- one worker ----------------------------------------------------------------------------------------------------

    async def _first(self) -> Facts | None:
        return await self._unless_stopping(self._keep(0))

    def _keep(self, index: int) -> asyncio.Future[Facts]:
        """Begin to keep a worker going; return what tells that it serves."""
        ready: asyncio.Future[Facts] = asyncio.get_running_loop().create_future()
        self._keeping[index] = task = asyncio.get_running_loop().create_task(self._keep_going(index, ready))
        task.add_done_callback(self._kept)
        return ready

    def _kept(self, task: asyncio.Task[None]) -> None:
        # A worker that cannot even be started, say for want of memory, is told by `run`.
        if not task.cancelled() and task.exception() is not None:
            self._stopping.set()

    async def _keep_going(self, index: int, ready: asyncio.Future[Facts]) -> None:
        while not self._stopping.is_set():
            worker = await self._begin(index)
            facts = await worker.ready
            if facts is not None:
                self._restarts.ready(index)
                if not ready.done():
                    ready.set_result(facts)
            code = await worker.ended()
            del self._workers[index]
            if self._stopping.is_set():
                return
            if code == REFUSED and worker.refused is not None and not self._serving:
                self._failure = ConfigurationError(worker.refused)
                self._stopping.set()
                return
            delay = self._restarts.ended(index)
            what = f"worker {index} {_ending(code)}{'' if worker.refused is None else f' ({worker.refused})'}"
            if delay is None:
                self._tell(f"{what}, again and again; giving up")
                self._exit_code = 1
                self._stopping.set()
                return
            self._tell(f"{what}; another one starts{f' in {delay:.1f} s' if delay else ''}")
            await self._pause(delay)

    async def _begin(self, index: int) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            plan = attrs.evolve(self._plan, index=index, channel=theirs.fileno())
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "apex_llm_gateway.workers.worker",
                plan.argument(),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                # Documents on our standard output are our own.
                stdout=sys.stderr.fileno(),
            )
        self._workers[index] = worker = _Worker(index, process, await Channel.over(ours))
        if self._stopping.is_set():
            # The others were told before it was there.
            worker.channel.send("stop")
        return worker

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _unless_stopping(self, ready: asyncio.Future[Facts]) -> Facts | None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((ready, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        return ready.result() if ready.done() else None

    # -- all of them ---------------------------------------------------------------------------------------------------

    async def _roll(self) -> None:
        while True:
            self._roll_again = False
            for index in sorted(self._workers):
                worker = self._workers.get(index)
                # Those that are not there yet will read the new configuration.
                if worker is None or self._stopping.is_set():
                    continue
                if not await self._reload_one(worker):
                    self._tell(f"worker {index} did not take the configuration; those after it were not asked")
                    break
            if not self._roll_again:
                return

    async def _reload_one(self, worker: _Worker) -> bool:
        # One that starts just now may have read the old configuration, and is not to be left with it.
        if await asyncio.shield(worker.ready) is None:
            return True
        worker.reloaded = asyncio.get_running_loop().create_future()
        worker.channel.send("reload")
        try:
            async with asyncio.timeout(_RELOAD):
                return await worker.reloaded
        except TimeoutError:
            return False
        finally:
            worker.reloaded = None

    async def _end(self) -> None:
        """Let all workers end: gently, or at once when somebody is in a hurry, and by force when they do not."""
        if self._rolling is not None:
            self._rolling.cancel()
        for worker in self._workers.values():
            worker.channel.send("stop")
        keeping = [*self._keeping.values()]
        if not keeping:
            return
        gone = asyncio.gather(*keeping, return_exceptions=True)
        hurry = asyncio.ensure_future(self._hurry.wait())
        patience = self._plan.linger + self._settings.shutdown_timeout + _GRACE
        await asyncio.wait((gone, hurry), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not gone.done():
            for worker in self._workers.values():
                worker.channel.send("hurry")
            await asyncio.wait((gone,), timeout=_GRACE if self._hurry.is_set() else 1.0)
        for worker in self._workers.values():
            self._tell(f"worker {worker.index} does not end; it is killed")
            worker.kill()
        for outcome in await gone:
            if isinstance(outcome, BaseException):
                raise outcome


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


async def supervise(
    settings: GatewaySettings,
    source: Path | None,
    *,
    linger: float = 0.0,
    announce: Callable[[Facts], None],
) -> int:
    """Serve with several workers until a signal ends it; return the exit code.

    Raises:
        ConfigurationError: the address cannot be had, or the workers refuse to start.
    """
    with ExitStack() as stack:
        port = stack.enter_context(reserved(settings.host, settings.port))
        folder = stack.enter_context(private_folder())
        supervisor = Supervisor(settings, source, port=port, folder=folder, linger=linger)
        stack.enter_context(signals(supervisor))
        return await supervisor.run(announce)


__all__ = ["Supervisor", "supervise"]
