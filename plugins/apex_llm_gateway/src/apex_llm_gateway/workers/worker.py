"""One of several processes that serve one address: ``python -m apex_llm_gateway.workers.worker PLAN``.

Its channel to the supervisor carries, from the worker, ``{"ready": {…}}`` once, ``{"reloaded": true}`` for each reload, or
``{"refused": "…"}`` when it cannot start; to the worker, "stop", "hurry" and "reload". The end of the channel is the end of the
supervisor, and stops the worker.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from apex_llm_core.errors import ConfigurationError, ConfigurationWarning, PluginError
from apex_llm_gateway import collecting

#: Exit codes: as those of the command line.
FAILED, REFUSED = 1, 2


@attrs.frozen(kw_only=True)
class Plan:
    """What a worker is told when it is started."""

    index: int
    #: How many workers there are.
    count: int
    #: The configuration file; None leaves it to APEX_LLM_CONFIG.
    source: str | None
    host: str
    port: int
    #: Seconds between "no longer ready" and "accepts no more".
    linger: float
    #: Where the workers meet.
    folder: str
    #: The file descriptor of its channel to the supervisor.
    channel: int

    def argument(self) -> str:
        """Return it as an argument of the process."""
        return json.dumps(attrs.asdict(self))


async def work(plan: Plan) -> int:
    """Serve as *plan* says until the supervisor wants an end, and return the exit code."""
    # Not before the signals are in order.
    from apex_llm_gateway.announcement import Facts, tell
    from apex_llm_gateway.backend import WorkerFacts
    from apex_llm_gateway.configured import Overrides
    from apex_llm_gateway.lifecycle import Lifecycle
    from apex_llm_gateway.serving import Service
    from apex_llm_gateway.workers.peers import Peers
    from apex_llm_gateway.workers.sockets import Channel

    def tell_whose(text: str) -> None:
        tell(f"worker {plan.index}: {text}")

    channel = await Channel.over(socket.socket(fileno=plan.channel))
    service = Service(
        plan.source,
        overrides=Overrides(host=plan.host, port=plan.port, workers=plan.count),
        worker=WorkerFacts(index=plan.index),
        join=lambda gateway: Peers(gateway, folder=Path(plan.folder), index=plan.index, count=plan.count),
        tell=tell_whose,
    )
    lifecycle = Lifecycle(service, linger=plan.linger, tell=tell_whose)
    # Others may send it repeatedly; only the supervisor knows how impatient somebody is.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lifecycle.drain)

    def tell_outcome(reloading: asyncio.Task[bool]) -> None:
        channel.send({"reloaded": not reloading.cancelled() and reloading.exception() is None and reloading.result()})

    async def obey() -> None:
        while (order := await channel.receive()) is not None:
            if order == "reload":
                reloading = lifecycle.reload()
                # Not awaited: what is to end must hear it meanwhile.
                if reloading is None:
                    channel.send({"reloaded": False})
                else:
                    reloading.add_done_callback(tell_outcome)
            elif order == "hurry":
                lifecycle.hurry()
            else:
                lifecycle.drain()
        orphaned.set()
        lifecycle.drain()

    orphaned = asyncio.Event()
    obeying = asyncio.create_task(obey())

    def ready(started: Service) -> None:
        channel.send({"ready": attrs.asdict(Facts.of(started))})
        collecting.begin()

    try:
        await lifecycle.run(ready)
    except (ConfigurationError, PluginError) as error:
        channel.send({"refused": error.message})
        return REFUSED
    finally:
        obeying.cancel()
        await asyncio.wait((obeying,))
        await channel.close()
        if orphaned.is_set():
            # Nobody else is there to clear up; the last of us finds it empty.
            with suppress(OSError):
                await asyncio.to_thread(os.rmdir, plan.folder)
    return 0


@contextmanager
def _warnings_of(index: int) -> Iterator[None]:
    """Let the first worker warn of the configuration; the others would say the same."""
    from apex_llm_cli.failures import warnings_on_stderr

    with warnings_on_stderr():
        if index:
            warnings.simplefilter("ignore", ConfigurationWarning)
        yield


def main() -> None:
    """Run the process."""
    # Ctrl-C and a closed terminal reach every process of the terminal; what they mean, the supervisor decides.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    plan = Plan(**json.loads(sys.argv[1]))
    os.set_inheritable(plan.channel, False)
    with collecting.postponed():
        from apex_llm_cli.running import run

        with _warnings_of(plan.index):
            sys.exit(run(work(plan)))


if __name__ == "__main__":
    main()

__all__ = ["FAILED", "REFUSED", "Plan", "main", "work"]
