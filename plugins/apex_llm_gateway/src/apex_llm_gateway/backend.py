"""The processes of a gateway: which one this is, what each tells of itself, and how all of them are reached."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs

from apex_llm_core.manager import BreakerAction
from apex_llm_gateway.snapshots import Observed, Snapshot, local_snapshot


@attrs.frozen(kw_only=True)
class WorkerFacts:
    """Which of several processes this is."""

    index: int = 0
    pid: int = attrs.field(factory=os.getpid)
    #: Unix seconds.
    started: float = attrs.field(factory=time.time)


class Backend(Protocol):
    """All processes of the gateway, as one of them reaches them."""

    async def snapshots(self) -> list[Snapshot]:
        """Return what each process tells, this one first; those that do not answer in time are left out."""

    async def move_breaker(self, provider: str, model: str | None, action: BreakerAction) -> int:
        """Move breakers by hand, in all processes; return how many were moved.

        Raises:
            InvalidRequestError: there is no such action.
            ModelNotFoundError: there is no such breaker in this process.
        """

    async def reload(self) -> None:
        """Let all processes read the configuration again, this one first.

        Raises:
            ConfigurationError: one of them cannot use it; those after it were not asked.
            PluginError: a plugin that cannot be done without is broken.
        """


class LocalBackend:
    """Implements `Backend` for a gateway of one process.

    Args:
        gateway: the gateway.
        wall: unix seconds.
        reread: reads the configuration again, with all that depends on it, and raises what `reload` does; None: the manager
            alone does.
    """

    def __init__(
        self,
        gateway: Observed,
        wall: Callable[[], float] = time.time,
        *,
        reread: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._gateway = gateway
        self._wall = wall
        self._reread = reread

    async def snapshots(self) -> list[Snapshot]:
        """Return what this process tells of itself."""
        return [await local_snapshot(self._gateway, wall=self._wall)]

    async def move_breaker(self, provider: str, model: str | None, action: BreakerAction) -> int:
        """Move breakers of this process; return how many were moved.

        Raises:
            InvalidRequestError: there is no such action.
            ModelNotFoundError: there is no such breaker.
        """
        return self._gateway.manager.set_breaker(provider, model, action=action)

    async def reload(self) -> None:
        """Read the configuration again.

        Raises:
            ConfigurationError: it cannot be used.
            PluginError: a plugin that cannot be done without is broken.
        """
        await (self._reread or self._gateway.manager.reload)()


__all__ = ["Backend", "LocalBackend", "WorkerFacts"]
