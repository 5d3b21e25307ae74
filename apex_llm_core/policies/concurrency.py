"""The bound on calls in flight at one provider, fixed or found: a pure state machine without a clock.

The adaptive bound follows Netflix's gradient: it grows while calls take what they usually take, and shrinks when they take
longer, for then they queue somewhere. Rules:

1. A call brings a `sample` of how quickly it was served: seconds to the first chunk or seconds for each token of the answer,
   never total time, which tells how much was asked for. Samples of different kinds (another model, another unit) are
   compared with the baseline of their own kind only. What was cancelled, or failed otherwise, brings none and changes nothing.
2. `baseline` is the long moving average of a kind, `pressure` the short one of ``sample / baseline`` over all kinds.
3. The bound is judged once in a round: as many answers as calls were in flight when the round began (10 at least). If less
   than half of the bound was in use, nothing is known about it, and it stays. Otherwise it moves a fifth of the way to
   ``bound * 1.5 / pressure``, but aims no lower than half of itself and no higher than ``bound + sqrt(bound)``.
4. A drop (a 429, an overload) shrinks the bound to 0.9 of it at once and begins a round in which nothing else is judged:
   those dropped together count once.
5. Under lasting load the baseline would creep up to the latency of the queue, and the bound after it. So after 50 loaded
   rounds the bound is halved for two: one for calls of before to end, one to learn the baseline without a queue. At the
   lower bound, where nothing can be halved, the baseline is learnt as fast: a provider that became slower for good is not
   held there for ever.

=========  ==============================================  =======================================
phase      at the end of its round                         a drop
=========  ==============================================  =======================================
judging    judge; to draining after 50 loaded ones         shrink, to resting
resting    to judging                                      ignored
draining   to learning                                     shrink, to resting (bound whole again)
learning   to judging, the bound whole again               shrink, to resting (bound whole again)
=========  ==============================================  =======================================
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf, sqrt
from typing import Literal

from apex_llm_core.config.policies import ConcurrencyConfig

_TOLERANCE = 1.5
_SMOOTHING = 0.2
_DROP_FACTOR = 0.9
_LEAST_GRADIENT = 0.5
#: A longer sample counts as this many times the baseline: one alone never shrinks the bound.
_OUTLIER = 5.0
_LEAST_ROUND = 10
#: Loaded rounds after which the baseline is learnt anew.
_LOADED_ROUNDS = 50
#: The adaptive bound where the configuration names none.
_HIGHEST = 200
#: Weights of one sample in the moving averages: that of 600 samples for the baseline, of 20 for what is recent.
_LONG = 2 / 601
_SHORT = 0.1

_Phase = Literal["judging", "resting", "draining", "learning"]


class ConcurrencyLimit:
    """How many calls may be in flight at one provider.

    Every `try_acquire` that returned True is to be answered by one `release`.
    """

    __slots__ = (
        "_adaptive",
        "_baselines",
        "_bound",
        "_highest",
        "_loaded_rounds",
        "_lowest",
        "_peak",
        "_phase",
        "_pressure",
        "_round_left",
        "_weight",
        "in_flight",
        "limit",
    )

    def __init__(self, config: ConcurrencyConfig) -> None:
        self._adaptive = config.adaptive
        self._highest = config.max or _HIGHEST
        self._lowest = min(config.min, self._highest)
        #: Between rounds the bound has fractions, and it is remembered here while the limit is halved.
        self._bound = float(min(max(config.initial, self._lowest), self._highest))
        #: Calls in flight at most; infinite when there is no bound. Read it freely, never write it.
        self.limit: float = int(self._bound) if config.adaptive else config.max or inf
        #: Read it freely, never write it.
        self.in_flight = 0
        self._phase: _Phase = "judging"
        #: Answers until the round is over.
        self._round_left = _LEAST_ROUND
        #: The most that were in flight in this round.
        self._peak = 0
        self._loaded_rounds = 0
        self._pressure = 1.0
        #: By kind: the long moving average and the number of samples in it, counted while they are few.
        self._baselines: dict[Hashable, list[float]] = {}
        #: Of one sample in its baseline.
        self._weight = _LONG

    def try_acquire(self) -> bool:
        """Take a place; return False when all are taken."""
        if self.in_flight >= self.limit:
            return False
        self.in_flight += 1
        return True

    def release(self, sample: float | None = None, *, kind: Hashable = None, dropped: bool = False) -> None:
        """Give a place back.

        Args:
            sample: seconds to the first chunk, or seconds per token of the answer; None when the call tells nothing.
            kind: what the sample is of; only samples of the same kind are compared.
            dropped: the provider refused the call because it had too many.
        """
        in_flight = self.in_flight
        self.in_flight = in_flight - 1
        if not self._adaptive:
            return
        # Between two releases calls only begin, so that this sees every peak.
        self._peak = max(self._peak, in_flight)
        if dropped:
            if self._phase != "resting":
                self._drop()
                return
        elif sample is None or sample <= 0:
            return
        else:
            self._learn(sample, kind)
        self._round_left -= 1
        if self._round_left <= 0:
            self._end_round()

    def _learn(self, sample: float, kind: Hashable) -> None:
        baseline = self._baselines.get(kind)
        if baseline is None:
            self._baselines[kind] = [sample, 1]
            return
        usual, count = baseline
        self._pressure += _SHORT * (min(sample / usual, _OUTLIER) - self._pressure)
        weight = self._weight
        # The first samples weigh the same, as in a plain mean.
        if count < _LEAST_ROUND:
            count += 1
            baseline[1] = count
            weight = max(weight, 1 / count)
        baseline[0] = usual + weight * (sample - usual)

    def _drop(self) -> None:
        self._bound = max(self._lowest, self._bound * _DROP_FACTOR)
        self._enter("resting")

    def _end_round(self) -> None:
        if self._phase == "judging":
            self._judge()
            if self._loaded_rounds >= _LOADED_ROUNDS and self._bound >= 2 * self._lowest:
                self._loaded_rounds = 0
                self._enter("draining")
                return
        elif self._phase == "draining":
            self._enter("learning")
            return
        self._enter("judging")

    def _judge(self) -> None:
        bound = self._bound
        if 2 * self._peak < bound:
            self._loaded_rounds = 0
            return
        self._loaded_rounds += 1
        target = min(bound * max(_LEAST_GRADIENT, _TOLERANCE / self._pressure), bound + sqrt(bound))
        self._bound = min(max(bound + _SMOOTHING * (target - bound), self._lowest), self._highest)

    def _enter(self, phase: _Phase) -> None:
        self._phase = phase
        halved = phase in {"draining", "learning"}
        self.limit = max(self._lowest, int(self._bound / 2 if halved else self._bound))
        self._round_left = max(self.in_flight, _LEAST_ROUND)
        self._weight = self._weight_of_a_sample()
        self._peak = self.in_flight

    def _weight_of_a_sample(self) -> float:
        if self._phase == "learning" or self._bound <= self._lowest or self._pressure < 1 / _TOLERANCE:
            return _SHORT
        if 2 * self._peak < self._bound:
            return _LONG
        # Under load the baseline moves with rounds, however many samples they have.
        return _LONG / self._round_left


__all__ = ["ConcurrencyLimit"]
