"""What a strategy ranks and what it may use to do so."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain
from math import log
from operator import attrgetter, truediv
from random import Random
from typing import Literal

import attrs

from apex_llm_core.models.info import HealthState

_weight = attrgetter("weight")
_priority = attrgetter("priority")
#: How often a shuffle draws one by one before it sorts the rest; more than the attempts a request usually has.
_SINGLE_DRAWS = 16

BreakerState = Literal["closed", "open", "half_open"]


@attrs.define(kw_only=True, eq=False)
class LiveFacts:
    """What is observed of one candidate; written by the balancer and the breaker, read by strategies.

    None means not observed yet. Latencies are moving averages in seconds over successful attempts only, so that fast
    failures do not attract traffic; `success_rate` is a moving average between 0 and 1 over attempts whose outcome says
    something about the provider.
    """

    in_flight: int = 0
    attempts: int = 0
    #: Until the whole answer was there.
    latency: float | None = None
    #: Until the first chunk of a stream.
    time_to_first_chunk: float | None = None
    success_rate: float | None = None
    breaker: BreakerState = "closed"
    #: The provider asked to be left alone until then, by the manager's clock.
    cooling_until: float = 0.0
    health: HealthState = HealthState.UNKNOWN


@attrs.frozen(kw_only=True, eq=False)
class Candidate:
    """One (provider, model) pair that could serve a request. Compared by identity: a ranking holds the very objects.

    Sizes in tokens, costs per token; None is unknown, never zero or unlimited. `capabilities` None: nobody declared any.
    """

    provider: str
    model: str
    provider_type: str = ""
    provider_model_id: str = ""
    base_model: str | None = None
    #: Lower is preferred.
    priority: int = 100
    #: Share among equals.
    weight: float = 1.0
    region: str | None = None
    tags: frozenset[str] = frozenset()
    capabilities: frozenset[str] | None = None
    #: Context window.
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    cost_per_input_token: float | None = None
    cost_per_output_token: float | None = None
    #: Seconds of silence per attempt; 0 is no limit.
    timeout: float = 0.0
    retry_count: int = 0
    live: LiveFacts = attrs.field(factory=LiveFacts)


@attrs.frozen(kw_only=True, eq=False)
class Turn:
    """What a strategy may not keep itself: the count of requests for this model so far, and the seeded randomness."""

    sequence: int
    random: Random

    def shuffle(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        """Yield *candidates* in random order, each place won in proportion to `weight`; the first places are lazy.

        A weight of zero or below is a last resort: those come after all others, in uniformly random order.
        """
        if len(candidates) <= 1:
            return iter(candidates)
        weights = list(map(_weight, candidates))
        if min(weights) > 0:
            return self._draw(candidates, weights)
        return self._last_resorts_last(candidates, weights)

    def _last_resorts_last(self, candidates: Sequence[Candidate], weights: Sequence[float]) -> Iterator[Candidate]:
        weighted = [candidate for candidate, weight in zip(candidates, weights, strict=True) if weight > 0]
        unweighted = [candidate for candidate, weight in zip(candidates, weights, strict=True) if weight <= 0]
        if weighted:
            yield from self._draw(weighted, list(map(_weight, weighted)))
        yield from self._draw(unweighted, [1.0] * len(unweighted))

    def rank(
        self, candidates: Sequence[Candidate], score: Callable[[Candidate], float], *, tolerance: float = 0.0
    ) -> Iterator[Candidate]:
        """Yield *candidates* by rising *score*; ties by priority, then at random by weight.

        Scores that exceed the lowest of their group by at most *tolerance* are ties. Scores may be infinite, never NaN.
        """
        scores = list(map(score, candidates))
        order = sorted(range(len(scores)), key=scores.__getitem__)
        start, count = 0, len(order)
        while start < count:
            limit = scores[order[start]] + tolerance
            end = start + 1
            while end < count and scores[order[end]] <= limit:
                end += 1
            if end - start == 1:
                yield candidates[order[start]]
            else:
                yield from self.by_priority([candidates[position] for position in order[start:end]])
            start = end

    def by_priority(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        """Yield *candidates* by rising `priority`, equals at random by `weight`; lazy after each group."""
        priorities = list(map(_priority, candidates))
        levels = sorted(set(priorities))
        if len(levels) == 1:
            return self.shuffle(candidates)
        groups: dict[int, list[Candidate]] = {level: [] for level in levels}
        for priority, candidate in zip(priorities, candidates, strict=True):
            groups[priority].append(candidate)
        return chain.from_iterable(map(self.shuffle, groups.values()))

    def _draw(self, pool: Sequence[Candidate], weights: Sequence[float]) -> Iterator[Candidate]:
        """Yield *pool* in random order by *weights*, all above zero."""
        draw = self.random.random
        count = len(weights)
        bounds = list(accumulate(weights))
        total, last = bounds[-1], count - 1
        drawn: set[int] = set()
        # The first places, usually all that is asked for, cost no sort: passing over what was drawn before leaves the
        # law of the following draws as it is.
        for _ in range(_SINGLE_DRAWS):
            position = bisect_right(bounds, draw() * total, 0, last)
            if position not in drawn:
                drawn.add(position)
                yield pool[position]
                if len(drawn) == count:
                    return
        # Exponential keys give the remaining places the same law in one sort (Efraimidis and Spirakis).
        keys = [1.0 - draw() for _ in range(count)]
        if min(weights) != max(weights):
            keys = list(map(truediv, map(log, keys), weights))
        for position in sorted(range(count), key=keys.__getitem__, reverse=True):
            if position not in drawn:
                yield pool[position]


__all__ = ["BreakerState", "Candidate", "LiveFacts", "Turn"]
