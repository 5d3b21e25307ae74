"""What a circuit breaker goes by and what it tells of itself. The machine is in `breaker`."""

from __future__ import annotations

from typing import Literal

import attrs

from apex_llm_core.config.policies import BreakerConfig
from apex_llm_core.config.schema import ManagerConfig
from apex_llm_core.models.candidates import BreakerState

BreakerMode = Literal["enforce", "metrics_only", "disabled"]
#: Why a breaker is in its state; "" since its beginning.
BreakerReason = Literal[
    "",
    "failures in a row",
    "failure rate",
    "slow calls",
    "retry_after",
    "a probe failed",
    "a probe was slow",
    "its time was over",
    "probes succeeded",
    "a forced call succeeded",
    "by hand",
    "configuration",
]


@attrs.frozen(kw_only=True)
class BreakerRules:
    """What opens a breaker, and for how long. Times in seconds, rates between 0 and 1."""

    mode: BreakerMode = "enforce"
    #: Failures in a row that open it.
    threshold: int = 5
    reset_timeout: float = 30.0
    open_time_growth: float = 2.0
    max_open_time: float = 300.0
    half_open_permits: int = 1
    window: Literal["count", "time"] = "count"
    #: Calls or seconds, as `window` says.
    window_size: int = 100
    minimum_calls: int = 20
    failure_rate: float = 0.5
    slow_call_rate: float = 1.0
    #: 0: no call is slow.
    slow_call_seconds: float = 60.0

    @classmethod
    def of(cls, manager: ManagerConfig, config: BreakerConfig) -> BreakerRules:
        """Return the rules of a configuration."""
        minimum = config.minimum_calls
        return cls(
            mode=config.mode if manager.circuit_breaker_enabled else "disabled",
            threshold=manager.circuit_breaker_threshold,
            reset_timeout=manager.circuit_breaker_reset_timeout,
            open_time_growth=config.open_time_growth,
            # The bound is on growth: who wants a long time does not want it cut.
            max_open_time=max(config.max_open_time, manager.circuit_breaker_reset_timeout),
            half_open_permits=config.half_open_permits,
            window=config.window,
            window_size=config.window_size,
            # More than the window holds would never be there.
            minimum_calls=min(minimum, config.window_size) if config.window == "count" else minimum,
            failure_rate=config.failure_rate,
            slow_call_rate=config.slow_call_rate,
            slow_call_seconds=config.slow_call_seconds,
        )


@attrs.frozen(kw_only=True)
class BreakerTransition:
    """One change of state; `at` by the breaker's clock."""

    at: float
    previous: BreakerState
    current: BreakerState
    reason: BreakerReason


@attrs.frozen(kw_only=True)
class BreakerStatus:
    """What a breaker tells of itself. Rates are None while there are no calls in the window."""

    state: BreakerState
    reason: BreakerReason
    #: In the window; in an open or half-open breaker those that were there when it opened.
    calls: int
    failure_rate: float | None
    slow_call_rate: float | None
    consecutive_failures: int
    #: Seconds until somebody may be let through: 0 when it is not open, infinite when it was opened by hand.
    retry_after: float
    #: Since it was made.
    times_opened: int
    #: Probes under way.
    permits_out: int
    #: It only watches, and would be open.
    would_open: bool
    #: The last changes, oldest first.
    history: tuple[BreakerTransition, ...]


__all__ = ["BreakerMode", "BreakerReason", "BreakerRules", "BreakerStatus", "BreakerTransition"]
