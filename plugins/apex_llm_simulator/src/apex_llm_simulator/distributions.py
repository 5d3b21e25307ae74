"""Quantities that differ from call to call, told the way dashboards tell them: a median and a 95th percentile."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, inf, log
from random import Random

import attrs

from apex_llm_core.config import setting

#: The 95th percentile of the standard normal distribution.
_Z95 = 1.6448536269514722


@attrs.frozen(kw_only=True)
class Distribution:
    """Always the median, or lognormal around it when a 95th percentile is given."""

    median: float = setting(doc="Half of the values are below this.", above=0)
    p95: float | None = setting(None, doc="One value of twenty is above this; absent: all are the median.", above=0)
    most: float | None = setting(None, doc="None is above this.", above=0)

    def __attrs_post_init__(self) -> None:
        if self.p95 is not None and self.p95 < self.median:
            raise ValueError(f"'p95' must be at least the median, which is {self.median:g}, not {self.p95:g}")
        if self.most is not None and self.most < self.median:
            raise ValueError(f"'most' must be at least the median, which is {self.median:g}, not {self.most:g}")

    def sampler(self, random: Random) -> Callable[[], float]:
        """Return what draws values with *random*."""
        median, most = self.median, inf if self.most is None else self.most
        if self.p95 is None or self.p95 == median:
            return lambda: median
        centre, sigma, gauss = log(median), log(self.p95 / median) / _Z95, random.gauss
        return lambda: min(exp(gauss(centre, sigma)), most)


__all__ = ["Distribution"]
