"""What a strategy ranks and what it may use to do so."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from math import log
from operator import attrgetter, truediv
from random import Random
from typing import Literal

import attrs

from apex_llm_core.models.info import HealthState

_weight = attrgetter("weight")
#: Stands for a weight of zero: taken only when all others failed.
_LAST_RESORT = 1e-12

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
        """Yield *candidates* in random order, each place won in proportion to `weight`; lazy after the first.

        A weight of zero or below is a last resort.
        """
        if len(candidates) <= 1:
            yield from candidates
            return
        weights = list(map(_weight, candidates))
        if min(weights) <= 0:
            weights = [max(weight, _LAST_RESORT) for weight in weights]
        bounds = list(accumulate(weights))
        chosen = min(bisect_right(bounds, self.random.random() * bounds[-1]), len(weights) - 1)
        yield candidates[chosen]
        # Exponential keys give the remaining places the same law in one sort (Efraimidis and Spirakis).
        draw = self.random.random
        keys = list(map(truediv, map(log, [1.0 - draw() for _ in weights]), weights))
        for position in sorted(range(len(keys)), key=keys.__getitem__, reverse=True):
            if position != chosen:
                yield candidates[position]

    def rank(self, candidates: Sequence[Candidate], score: Callable[[Candidate], float]) -> Iterator[Candidate]:
        """Yield *candidates* by rising *score*; ties by priority, then at random by weight."""
        scores = [score(candidate) for candidate in candidates]
        order = sorted(range(len(scores)), key=scores.__getitem__)
        start, end, count = 0, 1, len(order)
        while start < count:
            mark = scores[order[start]]
            while end < count and scores[order[end]] == mark:
                end += 1
            if end - start == 1:
                yield candidates[order[start]]
            else:
                yield from self.by_priority([candidates[position] for position in order[start:end]])
            start, end = end, end + 1

    def by_priority(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        """Yield *candidates* by rising `priority`, equals at random by `weight`; lazy after each group."""
        groups: dict[int, list[Candidate]] = {}
        for candidate in candidates:
            group = groups.get(candidate.priority)
            if group is None:
                groups[candidate.priority] = [candidate]
            else:
                group.append(candidate)
        for priority in sorted(groups):
            yield from self.shuffle(groups[priority])


__all__ = ["BreakerState", "Candidate", "LiveFacts", "Turn"]
