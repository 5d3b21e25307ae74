"""What one process tells of itself, as a JSON-safe document that can be merged with those of other processes.

``{"at", "version", "worker", "open_mode", "ready", "draining", "config_files", "warnings", "providers", "stats", "breakers",
"activity", "decisions", "limits", "limits_shared"}``; times are unix seconds. `merging` makes one document of several.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from apex_llm_core.converters import unstructure
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models import HealthStatus
from apex_llm_gateway.activity import Activity

Snapshot = dict[str, Any]
#: How many of its last decisions a process tells.
DECISIONS = 30


class Process(Protocol):
    """Which process this is."""

    @property
    def index(self) -> int:
        """Its number among the workers."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def started(self) -> float:
        """Unix seconds."""


class Ring(Protocol):
    """The keys of callers."""

    @property
    def open(self) -> bool:
        """Whether there are none."""


class Checks(Protocol):
    """The last health checks."""

    @property
    def statuses(self) -> Mapping[str, HealthStatus]:
        """The answers, by provider."""

    @property
    def checked(self) -> float | None:
        """When they came, in unix seconds; None: not yet."""


class Observed(Protocol):
    """What is told of the gateway."""

    @property
    def manager(self) -> LLMProviderManager:
        """Does the work."""

    @property
    def activity(self) -> Activity:
        """Notes what happens."""

    @property
    def watch(self) -> Checks:
        """Checks the providers' health."""

    @property
    def ring(self) -> Ring:
        """The keys of callers."""

    @property
    def worker(self) -> Process:
        """Which process this is."""

    @property
    def draining(self) -> bool:
        """Whether it is stopping."""

    @property
    def clock(self) -> Callable[[], float]:
        """Monotonic seconds."""


async def local_snapshot(gateway: Observed, *, wall: Callable[[], float]) -> Snapshot:
    """Return what this process tells of itself.

    Requests under way come in between: no part of it takes long.

    Args:
        gateway: the gateway.
        wall: unix seconds.
    """
    manager, config = gateway.manager, gateway.manager.config
    told_version, memory = await asyncio.to_thread(_facts_of_process)
    at = wall()
    # What turns times of the manager's clock into those of the clock on the wall.
    shift = at - gateway.clock()
    stats = manager.stats()
    await asyncio.sleep(0)
    breakers = [_dated(breaker, shift) for breaker in manager.breakers()]
    await asyncio.sleep(0)
    activity = gateway.activity.snapshot()
    await asyncio.sleep(0)
    decided = await last_decisions(manager, DECISIONS, shift)
    _tell_providers(activity["live"], decided)
    limits, trouble = await _limits(manager)
    return {
        "at": at,
        "version": told_version,
        "worker": {
            "index": gateway.worker.index,
            "pid": gateway.worker.pid,
            "started": gateway.worker.started,
            "live": activity["live_count"],
            "memory_bytes": memory,
        },
        "open_mode": gateway.ring.open,
        "ready": not gateway.draining,
        "draining": gateway.draining,
        "config_files": list(config.files),
        "warnings": [*config.warnings, *trouble],
        "providers": _providers(manager, gateway.watch),
        "stats": stats,
        "breakers": breakers,
        "activity": activity,
        "decisions": decided,
        "limits": limits,
        "limits_shared": config.state.type != "memory",
    }


async def last_decisions(manager: LLMProviderManager, count: int, shift: float) -> list[dict[str, Any]]:
    """Return the last *count* decisions of this process, the newest first; *shift* is added to their times."""
    records = manager.decisions(count)
    found = []
    for batch in range(0, len(records), DECISIONS):
        await asyncio.sleep(0)
        found += [{**unstructure(record), "at": record.at + shift} for record in records[batch : batch + DECISIONS]]
    return found


def _providers(manager: LLMProviderManager, checks: Checks) -> list[dict[str, Any]]:
    """Return the providers with their last health; those that could not be started are among them."""
    found = []
    for handle in manager.providers:
        config = handle.config
        found.append(
            {
                "name": config.name,
                "type": config.type,
                "enabled": config.enabled,
                "priority": config.priority,
                "weight": config.weight,
                "region": config.region,
                **_health(checks, config.name),
                "in_flight": handle.in_flight,
                "models": [{"model": info.id, "provider_model_id": info.provider_model_id} for info in handle.models],
            }
        )
    known = {provider["name"] for provider in found}
    found += [
        {
            "name": config.name,
            "type": config.type,
            "enabled": True,
            "priority": config.priority,
            "weight": config.weight,
            "region": config.region,
            **_health(checks, config.name),
            "health": "unavailable",
            "in_flight": 0,
            "models": [],
        }
        for config in manager.config.providers
        if config.enabled and config.name not in known and config.name in checks.statuses
    ]
    return found


def _health(checks: Checks, provider: str) -> dict[str, Any]:
    status = checks.statuses.get(provider)
    if status is None:
        return {"health": "unknown", "health_message": "", "health_latency": None, "health_checked": None}
    return {
        "health": status.status.value,
        "health_message": status.message,
        "health_latency": status.latency,
        "health_checked": checks.checked,
    }


async def _limits(manager: LLMProviderManager) -> tuple[list[Any], list[str]]:
    """Return how the limits stand, and what is to be warned of."""
    try:
        return [unstructure(standing) for standing in await manager.get_limits()], []
    except Exception as error:
        # Stores of others may be out of reach; the rest is worth telling all the same.
        return [], [f"how the limits stand cannot be read now: {type(error).__name__}"]


def _dated(breaker: Mapping[str, Any], shift: float) -> dict[str, Any]:
    history = [{**change, "at": change["at"] + shift} for change in breaker["history"]]
    return {**breaker, "history": history}


def _tell_providers(live: Sequence[dict[str, Any]], decisions: Sequence[Mapping[str, Any]]) -> None:
    """Tell of requests under way who is asked, as far as their decisions say."""
    asked = {
        decision["request_id"]: candidate["provider"]
        for decision in decisions
        for candidate in decision["candidates"]
        if candidate["verdict"] == "taken"
    }
    for record in live:
        record["provider"] = record["provider"] or asked.get(record["request_id"])


def _facts_of_process() -> tuple[str, int | None]:
    return _version(), _resident_memory()


@cache
def _version() -> str:
    return version("apex-llm-gateway")


def _resident_memory() -> int | None:
    """Return the bytes of memory in use, None where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


__all__ = ["DECISIONS", "Observed", "Snapshot", "last_decisions", "local_snapshot"]
