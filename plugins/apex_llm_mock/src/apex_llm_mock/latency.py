"""Draws waiting times."""

from __future__ import annotations

from math import inf, log
from random import Random

from apex_llm_mock.settings import Latency


class LatencySource:
    """Draws from one distribution; `never` tells that every draw is zero, so that nobody needs to ask."""

    __slots__ = ("_high", "_latency", "_random", "never")

    def __init__(self, latency: Latency, random: Random) -> None:
        self._latency = latency
        self._random = random
        self._high = inf if latency.high is None else latency.high
        self.never = self._high == 0.0 or (
            latency.low == 0.0
            and latency.seconds == 0.0
            and latency.distribution in ("constant", "lognormal", "exponential")
        )

    def draw(self) -> float:
        """Return the next waiting time in seconds."""
        latency = self._latency
        match latency.distribution:
            case "constant":
                seconds = latency.seconds
            case "uniform":
                return self._random.uniform(latency.low, self._high)
            case "normal":
                seconds = self._random.gauss(latency.seconds, latency.deviation)
            case "lognormal":
                seconds = (
                    self._random.lognormvariate(log(latency.seconds), latency.deviation) if latency.seconds else 0.0
                )
            case "exponential":
                seconds = self._random.expovariate(1.0 / latency.seconds) if latency.seconds else 0.0
        return min(max(seconds, latency.low), self._high)


__all__ = ["LatencySource"]
