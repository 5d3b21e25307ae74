"""The circuit breaker: a pure state machine; everything that decides its state lives in this file.

Rules:

1. `acquire` gives a permit or refuses; every permit comes back through exactly one of `success`, `failure` and `release`.
   `release` is for outcomes that say nothing about the provider: cancelled, or the caller's mistake.
2. A permit is the number of the epoch it was given in. Every change of state begins a new epoch, and what comes back with
   a permit of an older one is late and ignored: a call that began before the provider failed tells nothing about it now.
3. Closed: everyone passes. It opens after `threshold` failures in a row, and when the share of failures or that of slow
   calls in the window has reached its rate, once there are `minimum_calls`. Slow is longer than `slow_call_seconds`,
   whether the call ended well or not.
4. Open: everyone is refused for a time, `reset_timeout` at first. Each further time in a row it is `open_time_growth`
   times as long, up to `max_open_time`; a breaker that stayed closed for as long as it was open last begins with the
   first time again. The first `acquire` after the time half-opens it; nothing happens by itself, so there is no timer.
5. Half-open: at most `half_open_permits` probes are out or have succeeded at any time. One failure, or one slow success,
   opens it anew; it closes only when that many probes have succeeded. A released probe gives its permit to the next one.
   Probes that hang keep others waiting no longer than the time of rule 4: then a new epoch begins with all its permits.
   Each such epoch is twice as patient, lest a provider that needs longer for an answer be found late for ever.
6. Advice is a failure's `retry_after`, an hour of it at most. It opens the breaker for that time, without growth. Not so
   while the last ten seconds prove that the candidate mostly serves (of at least 5 outcomes, this one included, half are
   successes): who turns away one call in five still serves four. Then the failure counts as any other, and its advice
   is the time when it is the last of `threshold` in a row. When a rule opens the breaker for a shorter time than one of
   the failures in a row before advised, that advice is heeded. Late advice extends the time of an open breaker: it is
   about the future, not about its call.
7. By hand or by `mode`: "disabled" lets everyone pass and takes note of nothing, "metrics_only" lets everyone pass and
   goes on counting, "forced_open" refuses everyone. Nothing but a hand or another `mode` ends these.
8. `force` is for the engine that finds all breakers open and would rather ask someone than no one. In an open or half-open
   breaker its permit stands outside the counts: success closes the breaker, failure changes nothing but what late advice
   does, so that forced calls neither prolong the time nor spend the probes. Where `acquire` would give a permit, `force`
   gives that one. What was opened by hand it does not pass.

What happens (an empty cell changes nothing):

====================  ===================================  ======================  =========================================
event                 closed (metrics_only: never opens)   open                    half_open
====================  ===================================  ======================  =========================================
acquire               permit                               refused, or half_open   permit while probes are left or when they
                                                           and permit when due     are overdue, else refused
success               in a row = 0, window + 1; open at a                          count + 1, closed when all succeeded;
                      rate                                                         slow: open
failure               in a row + 1, window + 1; open at                            open
                      `threshold` or at a rate
failure with advice   the same; open at once, unless it                            open for that time
                      mostly serves
release                                                                            probe is given back
forced success        as success                           closed                  closed
forced failure        as failure                           advice extends
late failure                                               advice extends
====================  ===================================  ======================  =========================================

In the state "disabled" every call gets a permit, in "forced_open" none; results change nothing in either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from apex_llm_core.errors import LLMErrorType
from apex_llm_core.models.candidates import BreakerState
from apex_llm_core.policies.breaker_rules import (
    BreakerMode,
    BreakerReason,
    BreakerRules,
    BreakerStatus,
    BreakerTransition,
)
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
#: Seconds for which advice is believed (somebody may have raised the quota that was used up for the day) and for which a
#: probe is waited for.
_LONGEST = 3600.0
#: What proves that a candidate mostly serves: so many outcomes within so many seconds, half of them successes.
_PROOF_OUTCOMES = 5
_PROOF_SECONDS = 10
_HISTORY = 20

#: The state that is natural to a mode.
_STATES: dict[BreakerMode, BreakerState] = {
    "enforce": "closed",
    "metrics_only": "metrics_only",
    "disabled": "disabled",
}


def blames_provider(error_type: LLMErrorType) -> bool:
    """Tell whether an error of this type is a `failure` of the provider; otherwise the permit is to be released."""
    return error_type not in _CALLERS_MISTAKES


class CircuitBreaker:
    """Leaves a failing candidate alone for a while.

    Args:
        rules: what opens it, and for how long.
        clock: monotonic seconds.
        on_change: told the previous state, the new one and the reason after each change; must not raise, nor use the breaker
            but to read it.
    """

    __slots__ = (
        "_clock",
        "_closed_at",
        "_consecutive",
        "_epoch",
        "_history",
        "_next_open_time",
        "_open_time",
        "_open_until",
        "_patience",
        "_probes",
        "_recent",
        "_renew_at",
        "_rules",
        "_slow",
        "_succeeded",
        "_times_opened",
        "_window",
        "on_change",
        "reason",
        "state",
    )

    def __init__(
        self,
        rules: BreakerRules,
        *,
        clock: Callable[[], float],
        on_change: Callable[[BreakerState, BreakerState, BreakerReason], None],
    ) -> None:
        self._rules = rules
        self._slow = rules.slow_call_seconds or inf
        self._clock = clock
        #: May be replaced: whoever takes the breaker over is told from then on.
        self.on_change = on_change
        #: Read it freely, never write it. It stays "open" after its time until somebody asks.
        self.state: BreakerState = _STATES[rules.mode]
        #: Why it is in this state. Read it freely, never write it.
        self.reason: BreakerReason = ""
        self._history: deque[BreakerTransition] = deque(maxlen=_HISTORY)
        self._epoch = 1
        #: Failures in a row.
        self._consecutive = 0
        self._window = _window(rules)
        #: The proof that it mostly serves; unlike the window it outlives changes of state.
        self._recent = TimeWindow(_PROOF_SECONDS)
        #: Where the state is not "open": until when the failures in a row advised to leave it alone.
        self._open_until = 0.0
        self._times_opened = 0
        #: How long it was open last by a rule, and would be next; 0 when that is forgotten.
        self._open_time = 0.0
        self._next_open_time = rules.reset_timeout
        self._closed_at = -inf
        #: Probes that may still be given out, and those that succeeded.
        self._probes = 0
        self._succeeded = 0
        #: When probes that are out are given up, and how long that is after they were first to be had.
        self._renew_at = 0.0
        self._patience = 0.0

    # -- permits -----------------------------------------------------------------------------------------------------------

    def acquire(self) -> int | None:
        """Return a permit for one call, None when the call must not be made."""
        state = self.state
        if state == "closed":
            return self._epoch
        if state == "open":
            now = self._clock()
            if now < self._open_until:
                return None
            self._half_open(now)
        elif state == "half_open":
            if not self._probes:
                now = self._clock()
                if now < self._renew_at:
                    return None
                self._epoch += 1
                self._patience = min(2 * self._patience, _LONGEST)
                self._renew(now)
        else:
            return None if state == "forced_open" else self._epoch
        self._probes -= 1
        return self._epoch

    def admits(self) -> bool:
        """Tell whether `acquire` would give a permit; this changes nothing."""
        if self.state == "open":
            return self._clock() >= self._open_until
        if self.state == "half_open":
            return self._probes > 0 or self._clock() >= self._renew_at
        return self.state != "forced_open"

    def force(self) -> int | None:
        """Return a permit in every state but "forced_open"."""
        permit = self.acquire()
        return -self._epoch if permit is None and self.state != "forced_open" else permit

    def success(self, permit: int, seconds: float | None = None) -> None:
        """Take note that the call of *permit* succeeded.

        Args:
            permit: what was given for the call.
            seconds: to the first chunk of a stream, to the end of a whole answer; None: not measured, hence not slow.
        """
        if permit != self._epoch:
            if permit == -self._epoch:
                self._close("a forced call succeeded")
            return
        state = self.state
        if state == "disabled":
            return
        now = self._clock()
        slow = seconds is not None and seconds > self._slow
        self._recent.add(now, False, slow)
        if state == "half_open":
            if slow:
                self._open(now, "a probe was slow")
                return
            self._succeeded += 1
            if self._succeeded == self._rules.half_open_permits:
                self._close("probes succeeded")
            return
        self._consecutive = 0
        self._open_until = 0.0
        window = self._window
        window.add(now, False, slow)
        # A success may be the call that makes the window count, or comes when time has taken other successes.
        if (window.failures or window.slow) and state == "closed":
            verdict = self._verdict()
            if verdict:
                self._open(now, verdict)

    def failure(self, permit: int, *, retry_after: float | None = None, seconds: float | None = None) -> None:
        """Take note that the provider failed in the call of *permit*.

        Args:
            permit: what was given for the call.
            retry_after: seconds for which the provider asked to be left alone.
            seconds: to the first chunk of a stream that broke later; None: not measured, hence not slow.
        """
        state = self.state
        if state == "disabled":
            return
        now = self._clock()
        advice = min(retry_after, _LONGEST) if retry_after is not None and retry_after > 0 else 0.0
        if permit != self._epoch:
            if advice and state == "open":
                self._open_until = max(self._open_until, now + advice)
            return
        slow = seconds is not None and seconds > self._slow
        self._recent.add(now, True, slow)
        if state == "half_open":
            if advice:
                self._open(now, "retry_after", advice)
            else:
                self._open(now, "a probe failed")
            return
        self._consecutive += 1
        self._window.add(now, True, slow)
        self._open_until = max(self._open_until, now + advice)
        if state == "metrics_only":
            return
        verdict = self._verdict()
        if advice and (verdict == "failures in a row" or not self._mostly_serves()):
            self._open(now, "retry_after", advice)
        elif verdict:
            self._open(now, verdict)

    def release(self, permit: int) -> None:
        """Take note that the call of *permit* told nothing about the provider."""
        if permit == self._epoch and self.state == "half_open":
            self._probes += 1

    # -- what it tells -----------------------------------------------------------------------------------------------------

    def retry_after(self) -> float:
        """Return the seconds until the provider may be asked: 0 when it is not open, infinite when it was opened by hand."""
        if self.state == "open":
            return max(0.0, self._open_until - self._clock())
        return inf if self.state == "forced_open" else 0.0

    def status(self) -> BreakerStatus:
        """Return what there is to know."""
        now, window = self._clock(), self._window
        if self.state in {"closed", "metrics_only"}:
            window.evict(now)
        calls = window.calls
        watches = self.state == "metrics_only"
        probes = self._rules.half_open_permits - self._probes - self._succeeded if self.state == "half_open" else 0
        return BreakerStatus(
            state=self.state,
            reason=self.reason,
            calls=calls,
            failure_rate=window.failures / calls if calls else None,
            slow_call_rate=window.slow / calls if calls else None,
            consecutive_failures=self._consecutive,
            retry_after=self.retry_after(),
            times_opened=self._times_opened,
            permits_out=probes,
            would_open=watches and (bool(self._verdict()) or (now < self._open_until and not self._mostly_serves())),
            history=tuple(self._history),
        )

    # -- by hand -----------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Refuse everyone for `reset_timeout`, then probe as ever."""
        self._open(self._clock(), "by hand", self._rules.reset_timeout)

    def isolate(self) -> None:
        """Refuse everyone until it is moved again."""
        self._move("forced_open", "by hand")

    def close(self) -> None:
        """Begin anew, closed."""
        self._forget_growth()
        self._move("closed", "by hand")

    def watch(self) -> None:
        """Let everyone pass and count, until it is moved again."""
        self._move("metrics_only", "by hand")

    def disable(self) -> None:
        """Let everyone pass and take note of nothing, until it is moved again."""
        self._move("disabled", "by hand")

    def adopt(self, rules: BreakerRules) -> None:
        """Go on with other *rules*.

        State, history and the running time stay, and what was counted where the window is the same. Another `mode` changes
        the state, and is stronger than a hand.
        """
        before, self._rules = self._rules, rules
        self._slow = rules.slow_call_seconds or inf
        if (rules.window, rules.window_size) != (before.window, before.window_size):
            self._window = _window(rules)
        times = (rules.reset_timeout, rules.open_time_growth, rules.max_open_time)
        if times != (before.reset_timeout, before.open_time_growth, before.max_open_time):
            self._forget_growth()
        if rules.mode != before.mode:
            self._move(_STATES[rules.mode], "configuration")
        elif self.state == "half_open" and rules.half_open_permits != before.half_open_permits:
            self._epoch += 1
            self._renew(self._clock())

    # -- what decides ------------------------------------------------------------------------------------------------------

    def _verdict(self) -> BreakerReason:
        """Return which rule says that it should open, "" for none."""
        rules, window = self._rules, self._window
        if self._consecutive >= rules.threshold:
            return "failures in a row"
        calls = window.calls
        if calls >= rules.minimum_calls:
            # A quotient is rounded as the rate was; a product with the rate would not be: 0.1 * 30 is more than 3.
            if window.failures / calls >= rules.failure_rate:
                return "failure rate"
            if window.slow / calls >= rules.slow_call_rate:
                return "slow calls"
        return ""

    def _mostly_serves(self) -> bool:
        recent = self._recent
        return recent.calls >= _PROOF_OUTCOMES and 2 * recent.failures <= recent.calls

    # -- changes -----------------------------------------------------------------------------------------------------------

    def _open(self, now: float, reason: BreakerReason, seconds: float | None = None) -> None:
        """Open it for *seconds*, without growth; None: for the time that the rules make due."""
        if self.state == "closed" and now - self._closed_at >= self._open_time:
            self._forget_growth()
        if seconds is None:
            seconds = self._open_time = self._next_open_time
            self._next_open_time = min(seconds * self._rules.open_time_growth, self._rules.max_open_time)
        # Advice that is longer is heeded: that of this failure, of those before it, or the one it is already open by.
        self._open_until = max(self._open_until, now + seconds)
        self._times_opened += 1
        self._move("open", reason)

    def _half_open(self, now: float) -> None:
        self._patience = max(self._open_time, self._rules.reset_timeout)
        self._renew(now)
        self._move("half_open", "its time was over")

    def _renew(self, now: float) -> None:
        self._probes = self._rules.half_open_permits
        self._succeeded = 0
        self._renew_at = now + self._patience

    def _close(self, reason: BreakerReason) -> None:
        self._closed_at = self._clock()
        # Somebody may have opened by hand what the configuration does not enforce.
        self._move(_STATES[self._rules.mode], reason)

    def _forget_growth(self) -> None:
        self._open_time = 0.0
        self._next_open_time = self._rules.reset_timeout

    def _move(self, state: BreakerState, reason: BreakerReason) -> None:
        previous, self.state = self.state, state
        self.reason = reason
        self._epoch += 1
        if state != "open":
            self._open_until = 0.0
        if state in {"closed", "metrics_only", "disabled"}:
            self._consecutive = 0
            self._window.clear()
        self._history.append(BreakerTransition(at=self._clock(), previous=previous, current=state, reason=reason))
        if state != previous:
            self.on_change(previous, state, reason)


def _window(rules: BreakerRules) -> CountWindow | TimeWindow:
    return CountWindow(rules.window_size) if rules.window == "count" else TimeWindow(rules.window_size)


__all__ = [
    "BreakerReason",
    "BreakerRules",
    "BreakerStatus",
    "BreakerTransition",
    "CircuitBreaker",
    "blames_provider",
]
