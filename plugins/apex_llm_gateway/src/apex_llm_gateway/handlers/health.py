"""Whether the process lives, whether it takes requests, and whether anybody can serve them. No answer waits for a provider."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models import HealthState, HealthStatus
from apex_llm_gateway.http import Reply
from apex_llm_gateway.replies import json_reply

_SHUT = frozenset({"open", "forced_open"})


class HealthWatch:
    """Checks the health of all providers again and again, one check at a time, and keeps the last answers.

    Args:
        manager: asks the providers.
        interval: seconds between the end of a check and the begin of the next; 0: none are made.
        failed: takes why a check failed as a whole; of several in a row the first.
        tell: takes one line when a provider becomes unavailable, and when it is back.
        wall: unix seconds.
    """

    def __init__(
        self,
        manager: LLMProviderManager,
        interval: float,
        *,
        failed: Callable[[Exception], None],
        tell: Callable[[str], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._manager = manager
        self._interval = interval
        self._failed = failed
        self._tell = tell
        self._wall = wall
        self._task: asyncio.Task[None] | None = None
        self._statuses: Mapping[str, HealthStatus] = {}
        self._checked: float | None = None

    @property
    def statuses(self) -> Mapping[str, HealthStatus]:
        """The last answers, by provider; empty before the first check."""
        return self._statuses

    @property
    def checked(self) -> float | None:
        """When they came, in unix seconds."""
        return self._checked

    def start(self) -> None:
        """Begin to check, at once."""
        if self._interval and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """End; a check under way is given up."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def _watch(self) -> None:
        failed = False
        while True:
            # A manager that cannot be asked now may be asked again later; until then the last answers stand.
            try:
                found = await self._manager.get_health()
            except Exception as error:
                if not failed:
                    self._failed(error)
                failed = True
            else:
                failed = False
                self._tell_changes(found)
                self._statuses = found
                self._checked = self._wall()
            await asyncio.sleep(self._interval)

    def _tell_changes(self, found: Mapping[str, HealthStatus]) -> None:
        for name, status in found.items():
            before = self._statuses.get(name)
            was = before is not None and before.status is HealthState.UNAVAILABLE
            now = status.status is HealthState.UNAVAILABLE
            if now and not was:
                # The provider's words, which are not to steer anybody's terminal.
                reason = " ".join("".join(char if char.isprintable() else " " for char in status.message).split())
                self._tell(f"provider {name!r} is unavailable{': ' if reason else ''}{reason}")
            elif was and not now:
                self._tell(f"provider {name!r} is no longer unavailable")


class GatewayView(Protocol):
    """What is used of the gateway."""

    @property
    def manager(self) -> LLMProviderManager:
        """Knows the providers."""

    @property
    def watch(self) -> HealthWatch:
        """Checks them."""

    @property
    def draining(self) -> bool:
        """Whether it is stopping."""


async def overall(gateway: GatewayView, _call: object) -> Reply:
    """Tell whether requests can be served, from circuit breakers and the last health checks; 503 when nobody can."""
    providers = _providers(gateway.manager, gateway.watch.statuses)
    states = set(providers.values())
    if states <= {"unavailable"}:
        return json_reply({"status": "unavailable", "providers": providers}, status=503)
    status = "degraded" if states & {"unavailable", "degraded"} else "healthy"
    return json_reply({"status": status, "providers": providers})


async def live(_gateway: object, _call: object) -> Reply:
    """Tell that the process lives."""
    return json_reply({"status": "alive"})


async def ready(gateway: GatewayView, _call: object) -> Reply:
    """Tell whether requests should be sent here: 503 when it is stopping."""
    if gateway.draining:
        return json_reply({"status": "draining"}, status=503, headers={"Retry-After": "1"})
    return json_reply({"status": "ready"})


def _providers(manager: LLMProviderManager, statuses: Mapping[str, HealthStatus]) -> dict[str, str]:
    """Return the state of every enabled provider; those that could not be started are unavailable."""
    handles = [handle for handle in manager.providers if handle.enabled]
    breakers: dict[tuple[str, str], str] = {
        (handle.get_name(), model): candidate.live.breaker
        for handle in handles
        for model, candidate in handle.candidates.items()
    }
    if not _SHUT.isdisjoint(breakers.values()):
        _let_in(breakers, manager)
    # What the last check said of providers that are gone since does not count.
    configured = {config.name for config in manager.config.providers if config.enabled}
    found = {name: "unavailable" for name in statuses if name in configured}
    for handle in handles:
        name = handle.get_name()
        own = [breakers[name, model] for model in handle.candidates]
        found[name] = _state(own, statuses.get(name))
    return found


def _let_in(breakers: dict[tuple[str, str], str], manager: LLMProviderManager) -> None:
    """Note as half open the breakers whose time is over: the next request is let through."""
    for breaker in manager.breakers():
        if breaker["state"] == "open" and breaker["retry_after"] == 0.0:
            breakers[breaker["provider"], breaker["model"]] = "half_open"


def _state(breakers: Iterable[str], health: HealthStatus | None) -> str:
    states = list(breakers)
    checked = HealthState.UNKNOWN if health is None else health.status
    if checked is HealthState.UNAVAILABLE or (states and _SHUT.issuperset(states)):
        return "unavailable"
    if checked is HealthState.DEGRADED or not (_SHUT | {"half_open"}).isdisjoint(states):
        return "degraded"
    return checked.value


__all__ = ["HealthWatch", "live", "overall", "ready"]
