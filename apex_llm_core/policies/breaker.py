"""The circuit breaker: a pure state machine; everything that decides its state lives in this file.

Rules:

1. `acquire` gives a permit or refuses; every permit comes back through exactly one of `success`, `failure` and `release`.
   `release` is for outcomes that say nothing about the provider: cancelled, or the caller's mistake.
2. A permit is the number of the epoch it was given in. Every change of state begins a new epoch, and what comes back with a
   permit of an older one is ignored: a call that began before the provider failed tells nothing about it now.
3. Closed: everyone passes. `threshold` failures in a row open the breaker; one success begins the count anew.
4. Open: everyone is refused for `reset_timeout` seconds. The first `acquire` after that half-opens the breaker; nothing
   happens by itself, so there is no timer to own.
5. Half-open: at most `half_open_permits` probes are out or have succeeded at any time. One failure opens the breaker anew;
   it closes only when that many probes have succeeded. A released probe gives its permit to the next one.
6. `force` is for the engine that finds all breakers open and would rather ask someone than no one. In an open or half-open
   breaker its permit stands outside the counts: success closes the breaker, failure changes nothing, so that forced calls
   neither prolong the time it is open nor spend the probes. Where `acquire` would give a permit, `force` gives that one.

What happens (an empty cell changes nothing):

=================  =================================  =====================  ========================================
event              closed                             open                   half_open
=================  =================================  =====================  ========================================
acquire            permit                             refused, or half_open  permit while probes are left, else refused
                                                      and permit when due
success            count = 0                                                 count + 1; closed when all probes succeeded
failure            count + 1; open at threshold                              open
release                                                                      probe is given back
forced success     as success                         closed                 closed
forced failure     as failure
=================  =================================  =====================  ========================================
"""

from __future__ import annotations

from collections.abc import Callable

from apex_llm_core.errors import LLMErrorType
from apex_llm_core.models.candidates import BreakerState

#: These would have failed at any provider; they say nothing about this one.
_CALLERS_MISTAKES = frozenset(
    {
        LLMErrorType.INVALID_REQUEST_ERROR,
        LLMErrorType.MODEL_NOT_FOUND_ERROR,
        LLMErrorType.CONTEXT_LENGTH_EXCEEDED_ERROR,
        LLMErrorType.CONTENT_FILTER_ERROR,
    }
)


def blames_provider(error_type: LLMErrorType) -> bool:
    """Tell whether an error of this type is a `failure` of the provider; otherwise the permit is to be released."""
    return error_type not in _CALLERS_MISTAKES


class CircuitBreaker:
    """Leaves a failing candidate alone for a while.

    Args:
        threshold: consecutive failures that open it.
        reset_timeout: seconds it stays open.
        half_open_permits: probes that may be out at the same time, and that must all succeed.
        clock: monotonic seconds.
        on_change: told the previous and the new state after each change; must not raise.
    """

    __slots__ = (
        "_clock",
        "_count",
        "_epoch",
        "_opened_at",
        "_permits",
        "_probes",
        "_reset",
        "_threshold",
        "on_change",
        "state",
    )

    def __init__(
        self,
        *,
        threshold: int,
        reset_timeout: float,
        half_open_permits: int,
        clock: Callable[[], float],
        on_change: Callable[[BreakerState, BreakerState], None],
    ) -> None:
        self._threshold = threshold
        self._reset = reset_timeout
        self._permits = half_open_permits
        self._clock = clock
        #: May be replaced: whoever takes the breaker over is told from then on.
        self.on_change = on_change
        #: Read it freely, never write it. It stays "open" after `reset_timeout` until somebody asks.
        self.state: BreakerState = "closed"
        self._epoch = 1
        #: Consecutive failures when closed, successful probes when half-open.
        self._count = 0
        #: Probes that may still be given out.
        self._probes = 0
        self._opened_at = 0.0

    def acquire(self) -> int | None:
        """Return a permit for one call, None when the call must not be made."""
        if self.state == "closed":
            return self._epoch
        if self.state == "open":
            if self.retry_after() > 0:
                return None
            self._move("half_open")
        if not self._probes:
            return None
        self._probes -= 1
        return self._epoch

    def force(self) -> int:
        """Return a permit in any state."""
        permit = self.acquire()
        return -self._epoch if permit is None else permit

    def success(self, permit: int) -> None:
        """Take note that the call of *permit* succeeded."""
        if permit == self._epoch:
            if self.state == "closed":
                self._count = 0
                return
            self._count += 1
            if self._count == self._permits:
                self._move("closed")
        elif permit == -self._epoch:
            self._move("closed")

    def failure(self, permit: int) -> None:
        """Take note that the provider failed in the call of *permit*."""
        if permit != self._epoch:
            return
        self._count += 1
        if self.state == "half_open" or self._count >= self._threshold:
            self._move("open")

    def release(self, permit: int) -> None:
        """Take note that the call of *permit* told nothing about the provider."""
        if permit == self._epoch and self.state == "half_open":
            self._probes += 1

    def retry_after(self) -> float:
        """Return the seconds until the provider may be asked again, 0 when the breaker is not open."""
        if self.state != "open":
            return 0.0
        return max(0.0, self._opened_at + self._reset - self._clock())

    def _move(self, state: BreakerState) -> None:
        previous, self.state = self.state, state
        self._epoch += 1
        self._count = 0
        self._probes = self._permits if state == "half_open" else 0
        if state == "open":
            self._opened_at = self._clock()
        self.on_change(previous, state)


__all__ = ["CircuitBreaker", "blames_provider"]
