"""One document of what several processes tell: that of ``GET /admin/state``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apex_llm_gateway.histograms import Histogram
from apex_llm_gateway.snapshots import DECISIONS, Snapshot
from apex_llm_gateway.tallies import Tally

_MOST_LIVE = 100
_MOST_EVENTS = 50
#: Seconds that the series covers.
_SERIES = 600.0
#: Seconds between the same events in two processes that are told as one.
_TOGETHER = 5.0
#: From the best to the worst.
_BREAKER_STATES = ("disabled", "metrics_only", "closed", "half_open", "open", "forced_open")
_BREAKER_FACTS = ("state", "reason", "retry_after", "calls", "failure_rate", "times_opened", "states")


def merged(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """Return the state of a gateway from what its processes tell, at least one; the first is asked where all say the same."""
    first = snapshots[0]
    now = max(snapshot["at"] for snapshot in snapshots)
    started = min(snapshot["worker"]["started"] for snapshot in snapshots)
    activities = [snapshot["activity"] for snapshot in snapshots]
    live = [
        {**record, "worker": snapshot["worker"]["index"]}
        for snapshot in snapshots
        for record in snapshot["activity"]["live"]
    ]
    return {
        "gateway": {
            "version": first["version"],
            "started": started,
            "uptime": max(0.0, now - started),
            "open_mode": first["open_mode"],
            "ready": all(snapshot["ready"] for snapshot in snapshots),
            "draining": any(snapshot["draining"] for snapshot in snapshots),
            "config_files": first["config_files"],
            "warnings": list(dict.fromkeys(text for snapshot in snapshots for text in snapshot["warnings"])),
            "workers": sorted(map(_worker, snapshots), key=lambda worker: int(worker["index"])),
        },
        "providers": _providers(snapshots),
        "live": sorted(live, key=lambda record: float(record["seconds"]))[:_MOST_LIVE],
        "live_count": sum(activity["live_count"] for activity in activities),
        "series": _series(activities, now),
        "totals": _totals(snapshots),
        "usage": _usage(activities),
        "decisions": decisions(snapshots, DECISIONS),
        "events": _events(snapshots)[:_MOST_EVENTS],
        "limits": limits(snapshots),
    }


def decisions(snapshots: Sequence[Snapshot], count: int) -> list[dict[str, Any]]:
    """Return the last *count* decisions of all processes, the newest first."""
    found = [
        {**decision, "worker": snapshot["worker"]["index"]}
        for snapshot in snapshots
        for decision in snapshot["decisions"]
    ]
    return sorted(found, key=lambda decision: -float(decision["at"]))[:count]


def breakers(snapshots: Sequence[Snapshot]) -> list[dict[str, Any]]:
    """Return the circuit breakers over all processes: each in its worst state, with `states` where they differ."""
    return [_worst(group) for group in _grouped(snapshots, "breakers", "provider", "model").values()]


def limits(snapshots: Sequence[Snapshot]) -> list[dict[str, Any]]:
    """Return how the limits stand; where each process counts for itself, all may use what they have together."""
    if snapshots[0]["limits_shared"]:
        return list(snapshots[0]["limits"])
    return [_standing(group) for group in _grouped(snapshots, "limits", "limit", "scope", "subject", "per").values()]


def _grouped(snapshots: Sequence[Snapshot], part: str, *names: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Return the entries of a *part* of all snapshots, together where all their *names* are the same."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for snapshot in snapshots:
        for entry in snapshot[part]:
            groups.setdefault(tuple(entry[name] for name in names), []).append(entry)
    return groups


def _worker(snapshot: Snapshot) -> dict[str, Any]:
    worker = snapshot["worker"]
    requests = sum(series["tally"]["requests"] for series in snapshot["activity"]["series"])
    return {**worker, "uptime": max(0.0, snapshot["at"] - worker["started"]), "requests": requests}


# -- providers ---------------------------------------------------------------------------------------------------------


def _providers(snapshots: Sequence[Snapshot]) -> list[dict[str, Any]]:
    facts: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for snapshot in snapshots:
        for candidate in snapshot["stats"]["candidates"]:
            facts[candidate["provider"], candidate["model"]].append(candidate)
    broken = {(breaker["provider"], breaker["model"]): breaker for breaker in breakers(snapshots)}
    found = []
    for (name,), group in _grouped(snapshots, "providers", "name").items():
        latest = max(group, key=lambda provider: provider["health_checked"] or 0.0)
        health = {key: value for key, value in latest.items() if key.startswith("health")}
        models = {model["model"]: model for provider in reversed(group) for model in provider["models"]}
        found.append(
            {
                **group[0],
                **health,
                "in_flight": sum(provider["in_flight"] for provider in group),
                "models": [
                    {**model, "breaker": _in_short(broken.get((name, own))), **_live_facts(facts[name, own])}
                    for own, model in models.items()
                ],
            }
        )
    return found


def _in_short(breaker: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if breaker is None else {name: breaker[name] for name in _BREAKER_FACTS if name in breaker}


def _live_facts(candidates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts of one candidate over all processes; averages by what each process has seen."""

    def mean(name: str) -> float | None:
        return _mean((candidate[name], candidate["attempts"]) for candidate in candidates)

    return {
        "in_flight": sum(candidate["in_flight"] for candidate in candidates),
        "latency": mean("latency"),
        "time_to_first_chunk": mean("time_to_first_chunk"),
        "success_rate": mean("success_rate"),
        "weight_factor": mean("weight_factor"),
        "attempts": sum(candidate["attempts"] for candidate in candidates),
    }


def _worst(group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = max(group, key=lambda breaker: (_badness(breaker["state"]), breaker["retry_after"] or 0.0))
    if len(group) == 1:
        return found
    found = {
        **found,
        "calls": sum(breaker["calls"] for breaker in group),
        "failure_rate": _mean((breaker["failure_rate"], breaker["calls"]) for breaker in group),
        "slow_call_rate": _mean((breaker["slow_call_rate"], breaker["calls"]) for breaker in group),
        "consecutive_failures": max(breaker["consecutive_failures"] for breaker in group),
        "times_opened": sum(breaker["times_opened"] for breaker in group),
        "permits_out": sum(breaker["permits_out"] for breaker in group),
        "would_open": any(breaker["would_open"] for breaker in group),
    }
    states = Counter(breaker["state"] for breaker in group)
    return found if len(states) == 1 else {**found, "states": dict(states)}


def _badness(state: str) -> int:
    return _BREAKER_STATES.index(state) if state in _BREAKER_STATES else len(_BREAKER_STATES)


def _mean(values: Iterable[tuple[float | None, float]]) -> float | None:
    """Return the mean of values that are known by their weights, which count alike where all are zero; None without any."""
    known = [(value, weight) for value, weight in values if value is not None]
    total = sum(weight for _, weight in known)
    if not total:
        known, total = [(value, 1.0) for value, _ in known], len(known)
    return sum(value * weight for value, weight in known) / total if known else None


# -- requests ----------------------------------------------------------------------------------------------------------


def _series(activities: Sequence[Mapping[str, Any]], now: float) -> dict[str, Any]:
    step = activities[0]["step"]
    groups: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for activity in activities:
        for bucket in activity["buckets"]:
            groups[round(bucket["at"] / step)].append(bucket)
    last = int(now // step)
    return {
        "step": step,
        "buckets": [
            _bucket(slot * step, groups.get(slot, ())) for slot in range(last - round(_SERIES / step) + 1, last + 1)
        ],
    }


def _bucket(at: float, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    tally = Tally.merged(part["tally"] for part in parts)
    latency = Histogram.merged(part["latency"] for part in parts)
    first_chunk = Histogram.merged(part["first_chunk"] for part in parts)
    return {
        "at": at,
        "requests": tally.requests,
        "errors": tally.errors,
        "p50": latency.quantile(0.5),
        "p95": latency.quantile(0.95),
        "first_chunk_p50": first_chunk.quantile(0.5),
        "first_chunk_p95": first_chunk.quantile(0.95),
        "prompt_tokens": tally.prompt_tokens,
        "completion_tokens": tally.completion_tokens,
        "cost": tally.cost,
    }


def _totals(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    tally = Tally.merged(series["tally"] for snapshot in snapshots for series in snapshot["activity"]["series"])
    counts: Counter[str] = Counter()
    governors = [snapshot["stats"]["governor"] for snapshot in snapshots]
    for snapshot in snapshots:
        counts.update(snapshot["activity"]["counts"])
    asked = sum(governor["requests"] for governor in governors)
    attempts = sum(sum(governor["attempts"].values()) for governor in governors)
    return {
        **tally.usage(),
        "cancelled": tally.outcomes.get("cancelled", 0),
        "cached": tally.cached,
        **{name: counts[name] for name in ("retries", "fallbacks", "hedges", "limit_rejections")},
        "amplification": attempts / asked if asked else None,
    }


def _usage(activities: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_model: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    by_user: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for activity in activities:
        for series in activity["series"]:
            by_model[series["provider"], series["model"]].append(series["tally"])
        for entry in activity["users"]:
            by_user[entry["user"]].append(entry["tally"])
    models = [
        {"provider": provider, "model": model, **Tally.merged(tallies).usage()}
        for (provider, model), tallies in by_model.items()
    ]
    users = [{"user": user, **Tally.merged(tallies).usage()} for user, tallies in by_user.items()]
    return {"by_model": sorted(models, key=_most_used), "by_user": sorted(users, key=_most_used)}


def _most_used(row: Mapping[str, Any]) -> tuple[float, int]:
    return -row["cost"], -row["requests"]


# -- events ------------------------------------------------------------------------------------------------------------


def _events(snapshots: Sequence[Snapshot]) -> list[dict[str, Any]]:
    """Return what happened, the newest first; what happened in several processes at about the same time is one event."""
    told = sorted(
        ((event, snapshot["worker"]["index"]) for snapshot in snapshots for event in snapshot["activity"]["events"]),
        key=lambda pair: float(pair[0]["at"]),
    )
    found: list[tuple[dict[str, Any], set[int]]] = []
    latest: dict[tuple[Any, ...], tuple[dict[str, Any], set[int]]] = {}
    for event, worker in told:
        key = (event["type"], event["text"], event["provider"], event["model"])
        same = latest.get(key)
        if same is not None and worker not in same[1] and event["at"] - same[0]["at"] < _TOGETHER:
            same[0]["count"] += event["count"]
            same[1].add(worker)
        else:
            latest[key] = (dict(event), {worker})
            found.append(latest[key])
    return [
        {**event, "text": event["text"] + _how_often(event["count"], len(workers))} for event, workers in found[::-1]
    ]


def _how_often(count: int, workers: int) -> str:
    times = [f"{count} times"] if count > workers else []
    where = [f"in {workers} workers"] if workers > 1 else []
    return f" ({', '.join(times + where)})" if times or where else ""


# -- limits ------------------------------------------------------------------------------------------------------------


def _standing(group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if len(group) == 1:
        return group[0]
    waits = [standing["resets_in"] for standing in group if standing["resets_in"] is not None]
    return {
        **group[0],
        **{
            kind: _amount([standing[kind] for standing in group])
            for kind in ("requests", "tokens", "cost", "concurrent")
        },
        "resets_in": min(waits, default=None),
    }


def _amount(parts: Sequence[Mapping[str, float] | None]) -> dict[str, float] | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return {name: sum(part[name] for part in known) for name in ("limit", "used", "remaining")}


__all__ = ["breakers", "decisions", "limits", "merged"]
