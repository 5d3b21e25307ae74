"""What goes wrong at a provider, and when: pure rules over the simulated time and injected randomness.

=========  =================================================================  ========================================
kind       what a call meets                                                  keys beside the common ones
=========  =================================================================  ========================================
outage     every call is refused with 503                                     retry_after
error      a share of the calls fails                                         share, error, status, retry_after
throttle   a share of the calls is refused with 429                           share, retry_after
brownout   everything takes longer                                            factor (needed)
hang       a share of the calls is never answered                             share
cut        a share of the answers breaks off half-way                         share
=========  =================================================================  ========================================

Common: ``windows`` (spans; none: always), ``every`` and ``lasting`` (flapping: within its windows it is there for the first
``lasting`` of each ``every``), ``models`` (patterns), ``delay`` (seconds until a refusal is there).

Every active fault draws at every call, whatever the others do, so that adding one does not move the others. Factors
multiply; of the others the first that strikes wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from random import Random
from typing import Literal, get_args

import attrs

from apex_llm_core.config import setting
from apex_llm_core.errors import LLMErrorType
from apex_llm_simulator.durations import Span, duration, seconds, spans, windows

Kind = Literal["outage", "error", "throttle", "brownout", "hang", "cut"]
#: How a provider is, by its script.
Condition = Literal["healthy", "degraded", "down"]

#: Keys that only some kinds take.
_TAKEN_BY: Mapping[str, frozenset[str]] = {
    "share": frozenset({"error", "throttle", "hang", "cut"}),
    "error": frozenset({"error"}),
    "status": frozenset({"error"}),
    "retry_after": frozenset({"outage", "error", "throttle"}),
    "factor": frozenset({"brownout"}),
    "delay": frozenset({"outage", "error", "throttle"}),
}
_USUAL_TYPE = {"throttle": LLMErrorType.RATE_LIMIT_ERROR}
#: The HTTP status with which such a failure usually comes.
STATUS_CODES: Mapping[LLMErrorType, int] = {
    LLMErrorType.AUTHENTICATION_ERROR: 401,
    LLMErrorType.AUTHORIZATION_ERROR: 403,
    LLMErrorType.RATE_LIMIT_ERROR: 429,
    LLMErrorType.QUOTA_EXCEEDED_ERROR: 429,
    LLMErrorType.INVALID_REQUEST_ERROR: 400,
    LLMErrorType.MODEL_NOT_FOUND_ERROR: 404,
    LLMErrorType.CONTEXT_LENGTH_EXCEEDED_ERROR: 400,
    LLMErrorType.CONTENT_FILTER_ERROR: 400,
    LLMErrorType.SERVICE_UNAVAILABLE_ERROR: 503,
    LLMErrorType.TIMEOUT_ERROR: 504,
    LLMErrorType.UNKNOWN_ERROR: 500,
}


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that goes wrong."""

    kind: Kind = setting(doc=f"What: {', '.join(get_args(Kind))}.")
    windows: tuple[str, ...] = windows(doc="When, as spans since the start: ['5m-8m', '1h-1h30m']; empty: always.")
    every: str = duration("", doc="Come and go with this period.")
    lasting: str = duration("", doc="How long of each period it is there.")
    models: tuple[str, ...] = setting((), doc="Patterns of the models it concerns; empty: all.")
    share: float = setting(1.0, above=0, high=1, doc="Share of the calls it strikes.")
    error: LLMErrorType = setting(LLMErrorType.SERVICE_UNAVAILABLE_ERROR, doc="The type of an error.")
    status: int | None = setting(None, low=100, high=599, doc="HTTP status of an error; absent: the usual one.")
    retry_after: float | None = setting(None, low=0, doc="Seconds that a refusal advises to wait; absent: no advice.")
    factor: float = setting(1.0, above=0, doc="So many times longer in a brown-out.")
    delay: float = setting(0.05, low=0, doc="Seconds until a refusal is there.")

    def __attrs_post_init__(self) -> None:
        for key, kinds in _TAKEN_BY.items():
            if self.kind not in kinds and getattr(self, key) != getattr(attrs.fields(Fault), key).default:
                raise ValueError(f"a fault of the kind {self.kind!r} takes no {key!r}")
        if self.kind == "brownout" and self.factor <= 1.0:
            raise ValueError("a fault of the kind 'brownout' needs a 'factor' above 1")
        if bool(self.every) != bool(self.lasting):
            raise ValueError("'every' and 'lasting' belong together")
        if self.every and not 0 < seconds(self.lasting) < seconds(self.every):
            raise ValueError("'lasting' must be shorter than 'every', and more than nothing")

    @property
    def error_type(self) -> LLMErrorType:
        """What a call that it strikes ends with."""
        return _USUAL_TYPE.get(self.kind, self.error)

    @property
    def status_code(self) -> int:
        """The HTTP status beside it."""
        return STATUS_CODES[self.error_type] if self.status is None else self.status

    @property
    def condition(self) -> Condition:
        """How a provider is while this is there."""
        return "degraded" if self.kind == "brownout" or self.share < 1.0 or self.models else "down"

    @property
    def period(self) -> float:
        """The seconds from one coming to the next, 0 for what does not come and go."""
        return seconds(self.every) if self.every else 0.0

    def within(self, until: float) -> Iterator[Span]:
        """Yield its windows, up to *until* seconds after the start."""
        for begin, end in spans(self.windows) or ((0.0, until),):
            if begin < until:
                yield begin, min(end, until)

    def spans(self, until: float) -> Iterator[Span]:
        """Yield when it is there, up to *until* seconds after the start."""
        period, length = (self.period, seconds(self.lasting)) if self.every else (until, until)
        for begin, end in self.within(until):
            turn, start = 0, begin
            while start < end:
                yield start, min(start + length, end)
                turn += 1
                start = begin + turn * period


class FaultScript:
    """The faults of one provider."""

    def __init__(self, faults: Sequence[Fault], *, seed: str) -> None:
        self._faults = [
            (
                fault,
                Random(f"{seed}/{position}").random,
                spans(fault.windows) or ((0.0, float("inf")),),
                fault.period,
                seconds(fault.lasting) if fault.lasting else 0.0,
            )
            for position, fault in enumerate(faults)
        ]

    def strike(self, model: str, at: float) -> tuple[float, Fault | None]:
        """Return how many times longer a call at *at* takes, and the fault that strikes it."""
        factor, struck = 1.0, None
        for fault, draw, times, every, lasting in self._faults:
            for begin, end in times:
                if begin <= at < end:
                    break
            else:
                continue
            if every and (at - begin) % every >= lasting:
                continue
            if fault.models and not any(fnmatchcase(model, pattern) for pattern in fault.models):
                continue
            if fault.kind == "brownout":
                factor *= fault.factor
            elif (fault.share >= 1.0 or draw() < fault.share) and struck is None:
                struck = fault
        return factor, struck


__all__ = ["STATUS_CODES", "Condition", "Fault", "FaultScript", "Kind"]
