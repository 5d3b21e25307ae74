"""A recording cut into equal pieces of time, for plots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import attrs

from apex_llm_simulator.durations import Span
from apex_llm_simulator.figures import quantile
from apex_llm_simulator.recording import OK, Recording

#: Lengths of a piece that people can name, in seconds.
_LENGTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400)
_MOST_PIECES = 150
#: States of circuit breakers that leave their candidate alone.
_OPEN = frozenset({"open", "forced_open"})


@attrs.frozen(kw_only=True)
class Piece:
    """The requests that began within one piece of time."""

    answered: int
    failed: int
    #: Seconds until 50 and 95 of 100 answers were there; None without any.
    p50: float | None
    p95: float | None


def piece_length(seconds: float) -> float:
    """Return a length that cuts *seconds* into at most 150 pieces."""
    return float(next((length for length in _LENGTHS if seconds / length <= _MOST_PIECES), seconds / _MOST_PIECES))


def pieces(recording: Recording, length: float) -> list[Piece]:
    """Cut the requests into pieces of *length* seconds, by when they began."""
    count = max(1, int(-(-recording.scenario.seconds // length)))
    durations: list[list[float]] = [[] for _ in range(count)]
    failed = [0] * count
    rows = recording.requests
    for began, duration, outcome in zip(rows.began, rows.duration, rows.outcome, strict=True):
        position = min(int(began / length), count - 1)
        if outcome == OK:
            durations[position].append(duration)
        else:
            failed[position] += 1
    return [_piece(sorted(found), lost) for found, lost in zip(durations, failed, strict=True)]


def _piece(durations: list[float], failed: int) -> Piece:
    return Piece(
        answered=len(durations),
        failed=failed,
        p50=quantile(durations, 0.50) if durations else None,
        p95=quantile(durations, 0.95) if durations else None,
    )


def conditions(recording: Recording, provider: str, columns: int) -> list[str]:
    """Return how *provider* was by its script in each of *columns*: "healthy", "degraded" or "down".

    What comes and goes faster than columns can show is degraded all the time.
    """
    seconds = recording.scenario.seconds
    shown: dict[str, list[Span]] = {"degraded": [], "down": []}
    for fault in recording.scenario.providers[provider].faults:
        if fault.period and fault.period < 2 * seconds / columns:
            shown["degraded"] += fault.within(seconds)
        else:
            shown[fault.condition] += fault.spans(seconds)
    return _painted("healthy", shown, seconds, columns)


def breaker_states(recording: Recording, provider: str, columns: int) -> list[str]:
    """Return the state of the circuit breakers of *provider* in each of *columns*, the worst of its models.

    "off" stands for breakers that refuse nobody, by configuration or by hand.
    """
    seconds = recording.scenario.seconds
    shown: dict[str, list[Span]] = {"off": [], "half_open": [], "open": []}
    since: dict[str, tuple[str, float]] = {}
    for step in recording.breakers:
        if step.provider == provider:
            before, begin = since.get(step.model, ("closed", 0.0))
            shown.get(before, []).append((begin, step.at))
            since[step.model] = (_shown(step.state), step.at)
    for state, begin in since.values():
        shown.get(state, []).append((begin, seconds))
    return _painted("closed", shown, seconds, columns)


def runs(states: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Yield equal neighbours as (state, first, end)."""
    position = 0
    for state, group in groupby(states):
        end = position + sum(1 for _ in group)
        yield state, position, end
        position = end


def _shown(state: str) -> str:
    if state in _OPEN:
        return "open"
    return state if state in ("closed", "half_open") else "off"


def _painted(ground: str, shown: Mapping[str, Iterable[Span]], seconds: float, columns: int) -> list[str]:
    """Return the state of each column; later states cover earlier ones, and each span is a column wide at least."""
    found = [ground] * columns
    scale = columns / seconds
    for state, times in shown.items():
        for begin, end in times:
            first = min(round(begin * scale), columns - 1)
            last = max(first + 1, min(round(end * scale), columns))
            found[first:last] = [state] * (last - first)
    return found


__all__ = ["Piece", "breaker_states", "conditions", "piece_length", "pieces", "runs"]
