"""The circuit breaker: a pure state machine; everything that decides its state lives in this file.

Rules:

1. `acquire` gives a permit or refuses; every permit comes back through exactly one of `success`, `failure` and `release`.
   `release` is for outcomes that say nothing about the provider: cancelled, or the caller's mistake.
2. A permit is the number of the epoch it was given in. Every change of state begins a new epoch, and what comes back with a
   permit of an older one is ignored: a call that began before the provider failed tells nothing about it now.
3. Closed: everyone passes. It opens after `threshold` failures in a row, and, with `minimum_calls` in the window, when the share
   of failures or of slow calls reaches its rate. Slow is longer than `slow_call_seconds`, failed or not.
4. Open: everyone is refused for a time: `reset_timeout`, grown by `open_time_growth` for each time in a row that it opened before,
   `max_open_time` at most. It half-opens with the first `acquire` after that; nothing happens by itself, so there is no timer
   to own. Having stayed closed for as long as it was open last, it begins with `reset_timeout` anew.
5. Half-open: at most `half_open_permits` probes are out or have succeeded at any time. One failure opens it; it closes only when
   that many probes have succeeded. A released probe gives its permit to the next one. Probes that are still out after the
   time for which it was open are given up, and there are new permits.
6. Advice: a failure with `retry_after` opens it until then, without growth, and with an hour at most. Not, though, when the last ten
   seconds prove that the candidate mostly serves (5 outcomes, half of them successes): then it is a failure like any other,
   since who turns away one call in five still serves four. When another rule opens it, the advice is a floor of the time. Advice that
   comes late extends the time: it speaks of the future, not of its call.
7. By hand, or by `mode`: "disabled" lets everyone pass and records nothing; "metrics_only" lets everyone pass and records;
   "forced_open" refuses everyone. They stay until they are changed.
8. `force` is for the engine that finds all breakers open and would rather ask someone than no one. In an open or half-open
   breaker its permit stands outside the counts: success closes the breaker, failure changes nothing, so that forced calls
   neither prolong the time it is open nor spend the probes. Where `acquire` would give a permit, `force` gives that one; a
   breaker that was opened by hand gives none.

What happens (an empty cell changes nothing):

=================  =============================  ============================  ========================================
event              closed, metrics_only           open                          half_open
=================  =============================  ============================  ========================================
acquire            permit                         refused, or half_open and     permit while probes are left or overdue,
                                                  permit when due               else refused
success            in a row = 0; window; may open                               count + 1; closed when all succeeded;
                   as slow (not metrics_only)                                   slow: as failure
failure            in a row + 1; window; may open                               open
                   (not metrics_only)
failure with       as failure, or open until then longer advice extends it      open, at least until then
`retry_after`      (not metrics_only)
release                                                                         probe is given back
forced success     as success                     closed                        closed
forced failure     as failure
=================  =============================  ============================  ========================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Literal

import attrs

from apex_llm_core.config.policies import BreakerConfig
from apex_llm_core.config.schema import ManagerConfig
from apex_llm_core.errors import LLMErrorType
from apex_llm_core.models.candidates import BreakerState
from apex_llm_core.policies.windows import CountWindow, TimeWindow

#: These would have failed at any provider; they say nothing about this one.
_CALLERS_MISTAKES = frozenset(
    {
        LLMErrorType.INVALID_REQUEST_ERROR,
        LLMErrorType.MODEL_NOT_FOUND_ERROR,
        LLMErrorType.CONTEXT_LENGTH_EXCEEDED_ERROR,
        LLMErrorType.CONTENT_FILTER_ERROR,
    }
)
#: Seconds. A provider may ask to be left alone for a day; within an hour somebody may have raised the quota.
_LONGEST_ADVICE = 3600.0
#: What proves that a candidate mostly serves: of at least so many outcomes, within so many seconds, half are successes.
_PROOF_OUTCOMES = 5
_PROOF_SECONDS = 10.0
#: Outcomes kept for the proof; more would let a candidate that is exhausted live on its past.
_PROOF_KEPT = 20
_HISTORY = 20

_Mode = Literal["enforce", "metrics_only", "disabled"]
_STATE_OF: dict[_Mode, BreakerState] = {"enforce": "closed", "metrics_only": "metrics_only", "disabled": "disabled"}
OnChange = Callable[[BreakerState, BreakerState, str], None]


def blames_provider(error_type: LLMErrorType) -> bool:
    """Tell whether an error of this type is a `failure` of the provider; otherwise the permit is to be released."""
    return error_type not in _CALLERS_MISTAKES


@attrs.frozen(kw_only=True)
class BreakerRules:
    """What opens a breaker, and for how long. Times in seconds."""

    mode: _Mode = "enforce"
    #: Failures in a row that open it.
    threshold: int = 5
    reset_timeout: float = 30.0
    open_time_growth: float = 2.0
    max_open_time: float = 300.0
    half_open_permits: int = 1
    window: Literal["count", "time"] = "count"
    #: Calls, or seconds.
    window_size: int = 100
    minimum_calls: int = 20
    failure_rate: float = 0.5
    slow_call_rate: float = 1.0
    #: 0: nothing is slow.
    slow_call_seconds: float = 60.0

    @classmethod
    def of(cls, manager: ManagerConfig, config: BreakerConfig) -> BreakerRules:
        """Return the rules of a configuration."""
        return cls(
            mode=config.mode if manager.circuit_breaker_enabled else "disabled",
            threshold=manager.circuit_breaker_threshold,
            reset_timeout=manager.circuit_breaker_reset_timeout,
            open_time_growth=config.open_time_growth,
            # Nobody means the first time to be cut.
            max_open_time=max(config.max_open_time, manager.circuit_breaker_reset_timeout),
            half_open_permits=config.half_open_permits,
            window=config.window,
            window_size=config.window_size,
            # A window of calls that never holds the minimum would decide nothing.
            minimum_calls=min(config.minimum_calls, config.window_size)
            if config.window == "count"
            else config.minimum_calls,
            failure_rate=config.failure_rate,
            slow_call_rate=config.slow_call_rate,
            slow_call_seconds=config.slow_call_seconds,
        )


@attrs.frozen(kw_only=True)
class BreakerTransition:
    """One change of state; `at` by the manager's clock."""

    at: float
    previous: BreakerState
    current: BreakerState
    reason: str


@attrs.frozen(kw_only=True)
class BreakerStatus:
    """What a breaker tells of itself. Rates are None without calls in the window."""

    state: BreakerState
    #: Why it is in this state, empty at the beginning.
    reason: str
    #: Calls in the window.
    calls: int
    failure_rate: float | None
    slow_call_rate: float | None
    consecutive_failures: int
    #: Seconds until somebody may be let through; 0 when it is not open, infinite when it was opened by hand.
    retry_after: float
    times_opened: int
    #: Probes under way.
    probes: int
    #: Whether the rules would have opened it; tells something while it only watches.
    would_open: bool
    #: The last changes, oldest first.
    history: tuple[BreakerTransition, ...]


class CircuitBreaker:
    """Leaves a failing candidate alone for a while.

    Args:
        rules: what opens it.
        clock: monotonic seconds.
        on_change: told the previous state, the new one and the reason after each change; must not raise.
    """

    __slots__ = (
        "_clock",
        "_closed_at",
        "_consecutive",
        "_epoch",
        "_history",
        "_in_row",
        "_last_open_time",
        "_open_until",
        "_opened",
        "_out",
        "_passed",
        "_probes",
        "_reason",
        "_recent",
        "_renew_at",
        "_rules",
        "_slow",
        "_window",
        "on_change",
        "state",
    )

    def __init__(self, rules: BreakerRules, *, clock: Callable[[], float], on_change: OnChange) -> None:
        self._rules = rules
        self._slow = rules.slow_call_seconds or inf
        self._clock = clock
        #: May be replaced: whoever takes the breaker over is told from then on.
        self.on_change = on_change
        #: Read it freely, never write it. It stays "open" after its time until somebody asks.
        self.state: BreakerState = _STATE_OF[rules.mode]
        self._reason = ""
        self._epoch = 1
        self._consecutive = 0
        self._window = _window_of(rules)
        #: When the last calls ended, and whether they succeeded.
        self._recent: deque[tuple[float, bool]] = deque(maxlen=_PROOF_KEPT)
        #: Half-open: probes that may still be given out, are out, have succeeded.
        self._probes = self._out = self._passed = 0
        self._renew_at = inf
        self._open_until = 0.0
        self._last_open_time = 0.0
        self._closed_at = -inf
        #: How often it opened without having been closed long enough in between.
        self._in_row = 0
        self._opened = 0
        self._history: deque[BreakerTransition] = deque(maxlen=_HISTORY)

    # -- permits -------------------------------------------------------------------------------------------------------

    def acquire(self) -> int | None:
        """Return a permit for one call, None when the call must not be made."""
        state = self.state
        if state == "closed" or state == "metrics_only" or state == "disabled":  # noqa: PLR1714 - the hot path
            return self._epoch
        if state == "forced_open":
            return None
        now = self._clock()
        if state == "open":
            if now < self._open_until:
                return None
            self._half_open(now)
        elif not self._probes and now >= self._renew_at:
            # Whoever is still out hangs, and must not keep the breaker half-open for ever.
            self._epoch += 1
            self._grant(now)
        if not self._probes:
            return None
        self._probes -= 1
        self._out += 1
        return self._epoch

    def admits(self) -> bool:
        """Return whether `acquire` would give a permit; changes nothing."""
        if self.state == "open":
            return self._clock() >= self._open_until
        if self.state == "half_open":
            return self._probes > 0 or self._clock() >= self._renew_at
        return self.state != "forced_open"

    def force(self) -> int | None:
        """Return a permit in any state but "forced_open"."""
        permit = self.acquire()
        if permit is None and self.state != "forced_open":
            return -self._epoch
        return permit

    def success(self, permit: int, seconds: float | None = None) -> None:
        """Take note that the call of *permit* succeeded.

        Args:
            permit: what `acquire` gave.
            seconds: to the first chunk of a stream, to the end of a whole answer; None says nothing.
        """
        if permit == self._epoch:
            slow = seconds is not None and seconds > self._slow
            if self.state == "disabled":
                return
            now = self._clock()
            self._recent.append((now, True))
            if self.state == "half_open":
                self._probe_ended(now, slow=slow)
                return
            self._consecutive = 0
            self._window.add(now, failed=False, slow=slow)
            # Otherwise a success makes no share larger, but it may be the call that makes them count.
            if slow or (self._window.failures and self._window.calls == self._rules.minimum_calls):
                self._judge(now, 0.0)
        elif permit == -self._epoch and self.state != "forced_open":
            self._close("a forced call succeeded")

    def failure(self, permit: int, *, retry_after: float | None = None, seconds: float | None = None) -> None:
        """Take note that the provider failed in the call of *permit*.

        Args:
            permit: what `acquire` gave.
            retry_after: seconds for which the provider wants to be left alone.
            seconds: to the first chunk of a stream that broke later; None without one.
        """
        if self.state == "disabled":
            return
        now = self._clock()
        advice = min(retry_after or 0.0, _LONGEST_ADVICE)
        if permit != self._epoch:
            if self.state == "open" and advice:
                self._open_until = max(self._open_until, now + advice)
            return
        self._recent.append((now, False))
        if self.state == "half_open":
            self._open(now, "retry_after" if advice else "a probe failed", advice, advised=bool(advice))
            return
        slow = seconds is not None and seconds > self._slow
        self._consecutive += 1
        self._window.add(now, failed=True, slow=slow)
        if advice and self.state == "closed" and not self._mostly_serves(now):
            self._open(now, "retry_after", advice, advised=True)
        else:
            self._judge(now, advice)

    def release(self, permit: int) -> None:
        """Take note that the call of *permit* told nothing about the provider."""
        if permit == self._epoch and self.state == "half_open":
            self._probes += 1
            self._out -= 1

    # -- what it tells -------------------------------------------------------------------------------------------------

    def retry_after(self) -> float:
        """Return the seconds until the provider may be asked again: 0 when it is not open, infinite when opened by hand."""
        if self.state == "open":
            return max(0.0, self._open_until - self._clock())
        return inf if self.state == "forced_open" else 0.0

    def status(self) -> BreakerStatus:
        """Return what there is to know."""
        window = self._window
        window.evict(self._clock())
        calls = window.calls
        return BreakerStatus(
            state=self.state,
            reason=self._reason,
            calls=calls,
            failure_rate=window.failures / calls if calls else None,
            slow_call_rate=window.slow / calls if calls else None,
            consecutive_failures=self._consecutive,
            retry_after=self.retry_after(),
            times_opened=self._opened,
            probes=self._out,
            would_open=bool(self._verdict()),
            history=tuple(self._history),
        )

    # -- by hand -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open it for the usual time."""
        self._open(self._clock(), "by hand", 0.0, advised=False)

    def isolate(self) -> None:
        """Refuse everyone until it is moved again."""
        self._move("forced_open", "by hand")

    def close(self) -> None:
        """Close it and begin anew."""
        self._close("by hand")

    def watch(self) -> None:
        """Let everyone pass and go on counting."""
        self._move("metrics_only", "by hand")

    def disable(self) -> None:
        """Let everyone pass and count nothing."""
        self._move("disabled", "by hand")

    def adopt(self, rules: BreakerRules) -> None:
        """Go on under other rules: state and history stay, and what was counted where the window is the same."""
        before, self._rules = self._rules, rules
        self._slow = rules.slow_call_seconds or inf
        if (before.window, before.window_size) != (rules.window, rules.window_size):
            self._window = _window_of(rules)
        if before.mode != rules.mode:
            self._move(_STATE_OF[rules.mode], "configuration")
        elif self.state == "half_open" and before.half_open_permits != rules.half_open_permits:
            self._epoch += 1
            self._grant(self._clock())

    # -- what decides --------------------------------------------------------------------------------------------------

    def _verdict(self) -> str:
        """Return which rule is broken, empty for none."""
        rules, window = self._rules, self._window
        if self._consecutive >= rules.threshold:
            return "failures in a row"
        calls = window.calls
        if calls >= rules.minimum_calls:
            if window.failures and window.failures >= rules.failure_rate * calls:
                return "failure rate"
            if window.slow and window.slow >= rules.slow_call_rate * calls:
                return "slow calls"
        return ""

    def _judge(self, now: float, floor: float) -> None:
        if self.state == "closed":
            verdict = self._verdict()
            if verdict:
                self._open(now, verdict, floor, advised=False)

    def _mostly_serves(self, now: float) -> bool:
        recent = [succeeded for at, succeeded in self._recent if at > now - _PROOF_SECONDS]
        return len(recent) >= _PROOF_OUTCOMES and 2 * sum(recent) >= len(recent)

    def _probe_ended(self, now: float, *, slow: bool) -> None:
        if slow:
            self._open(now, "a probe was slow", 0.0, advised=False)
            return
        self._out -= 1
        self._passed += 1
        if self._passed == self._rules.half_open_permits:
            self._close("probes succeeded")

    def _open(self, now: float, reason: str, floor: float, *, advised: bool) -> None:
        rules = self._rules
        if advised:
            seconds = floor
        else:
            if self.state == "closed" and now - self._closed_at >= self._last_open_time:
                self._in_row = 0
            grown: float = rules.reset_timeout * rules.open_time_growth ** min(self._in_row, 64)
            seconds = max(floor, min(grown, rules.max_open_time))
            self._in_row += 1
            self._last_open_time = seconds
        self._opened += 1
        self._open_until = now + seconds
        self._move("open", reason)

    def _half_open(self, now: float) -> None:
        self._move("half_open", "its time was over")
        self._grant(now)

    def _grant(self, now: float) -> None:
        self._probes = self._rules.half_open_permits
        self._out = self._passed = 0
        self._renew_at = now + max(self._last_open_time, self._rules.reset_timeout)

    def _close(self, reason: str) -> None:
        self._closed_at = self._clock()
        self._move("closed", reason)

    def _move(self, state: BreakerState, reason: str) -> None:
        previous, self.state = self.state, state
        self._reason = reason
        self._epoch += 1
        self._probes = self._out = self._passed = 0
        if state in {"closed", "metrics_only", "disabled"}:
            self._consecutive = 0
            self._window.clear()
        self._history.append(BreakerTransition(at=self._clock(), previous=previous, current=state, reason=reason))
        self.on_change(previous, state, reason)


def _window_of(rules: BreakerRules) -> CountWindow | TimeWindow:
    return CountWindow(rules.window_size) if rules.window == "count" else TimeWindow(rules.window_size)


__all__ = [
    "BreakerRules",
    "BreakerStatus",
    "BreakerTransition",
    "CircuitBreaker",
    "blames_provider",
]
