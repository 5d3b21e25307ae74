"""What a strategy ranks and what it may use to do so."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain
from math import inf, log
from operator import truediv
from random import Random
from typing import Literal

import attrs

from apex_llm_core.models.info import HealthState

#: So few candidates are looked through one by one.
_FEW = 12
#: How often a shuffle draws one by one before it sorts the rest; more than the attempts a request usually has.
_SINGLE_DRAWS = 16
#: Share of requests that go as drawn where the less loaded would come first.
_AS_DRAWN = 1 / 32
#: Seconds added to every latency, so that instant answers still tell who has more in flight.
_INSTANT = 1e-6

#: "disabled", "metrics_only" and "forced_open" are set by hand or by the configuration, and stay until changed.
BreakerState = Literal["closed", "open", "half_open", "disabled", "metrics_only", "forced_open"]
#: How requests spread over equals; see `Turn.shuffle`.
Balance = Literal["weighted", "p2c", "least_busy"]
#: A part of a score, as strategies tell it for decision records; None is unknown.
ScorePart = float | str | None


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
    #: Latency by the tokens of the answer, where the provider counted them.
    seconds_per_output_token: float | None = None
    #: Peak EWMA: rises with the slowest at once, falls with time; of the first chunk for streams, of whole answers otherwise.
    peak_latency: float | None = None
    success_rate: float | None = None
    #: What `weight` is multiplied with: 1 for whoever succeeds, less for whoever fails.
    weight_factor: float = 1.0
    breaker: BreakerState = "closed"
    health: HealthState = HealthState.UNKNOWN
    #: What the provider said is left of its rate limits, and until when (by the manager's clock) that holds.
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    remaining_until: float = 0.0


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


# Every request makes one, and freezing takes longer than all the rest of it.
@attrs.define(kw_only=True, eq=False)
class Turn:
    """What a strategy may not keep itself: the count of requests for this model so far, and the seeded randomness.

    Beside these it knows how the load is to be spread over equals, so that strategies need not: they leave equals to
    `shuffle`, `by_priority` or `rank`.
    """

    sequence: int
    random: Random
    balance: Balance = "weighted"
    #: Whether candidates that fail lose weight (`LiveFacts.weight_factor`).
    adaptive: bool = True
    #: The time by the manager's clock, to which `LiveFacts.remaining_until` refers.
    now: float = 0.0
    #: What the request may take from a limit on tokens, by estimate.
    tokens: int = 0
    #: Score parts by the identity of the candidate, while somebody wants to know them; None otherwise.
    notes: dict[int, dict[str, ScorePart]] | None = None

    def note(self, candidate: Candidate, **parts: ScorePart) -> None:
        """Tell what the place of *candidate* follows from; call it while `notes` is not None only, it costs time."""
        if self.notes is not None:
            self.notes.setdefault(id(candidate), {}).update(parts)

    def weight(self, candidate: Candidate) -> float:
        """Return the weight that counts now: the configured one, less for whoever fails."""
        return candidate.weight * candidate.live.weight_factor if self.adaptive else candidate.weight

    def shuffle(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        """Yield *candidates*, which are equals, as the load is to be spread; the first places are lazy.

        ============  ====================================================================================================
        balance       order
        ============  ====================================================================================================
        weighted      at random, each place won in proportion to `weight`
        p2c           the less loaded of the first two so drawn, the other one, then as drawn; load is the expected seconds of
                      all that is in flight (peak EWMA of latency), by weight. One request in 32 goes as drawn: latencies that
                      nobody measures any more would stay as they are
        least_busy    fewest calls in flight for the weight, ties as drawn
        ============  ====================================================================================================

        A weight of zero or below is a last resort: those come after all others, in uniformly random order. Whoever has nothing
        left of the rate limits its provider told comes after these, still.
        """
        if len(candidates) <= 1:
            return iter(candidates)
        if max([candidate.live.remaining_until for candidate in candidates]) > self.now:
            rest, last = self._parted_by_rate_limits(candidates)
            if rest and last:
                if self.notes is not None:
                    for candidate in last:
                        self.note(candidate, rate_limit="spent")
                return chain.from_iterable(map(self._spread, (rest, last)))
        return self._spread(candidates)

    def _parted_by_rate_limits(self, candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
        """Return those that can take the request by what their providers told, and those that cannot."""
        now, tokens = self.now, self.tokens
        able, spent = [], []
        for candidate in candidates:
            live = candidate.live
            left = live.remaining_tokens
            told = live.remaining_until > now
            if told and (live.remaining_requests == 0 or (left is not None and left < tokens)):
                spent.append(candidate)
            else:
                able.append(candidate)
        return able, spent

    def _spread(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        if self.adaptive:
            weights = [candidate.weight * candidate.live.weight_factor for candidate in candidates]
        else:
            weights = [candidate.weight for candidate in candidates]
        if self.notes is not None:
            for candidate, weight in zip(candidates, weights, strict=True):
                self.note(candidate, weight=weight)
        if min(weights) > 0:
            return self._balanced(candidates, weights)
        return self._last_resorts_last(candidates, weights)

    def _last_resorts_last(self, candidates: Sequence[Candidate], weights: Sequence[float]) -> Iterator[Candidate]:
        weighted = [candidate for candidate, weight in zip(candidates, weights, strict=True) if weight > 0]
        unweighted = [candidate for candidate, weight in zip(candidates, weights, strict=True) if weight <= 0]
        if weighted:
            yield from self._balanced(weighted, [weight for weight in weights if weight > 0])
        yield from self._balanced(unweighted, [1.0] * len(unweighted))

    def _balanced(self, pool: Sequence[Candidate], weights: Sequence[float]) -> Iterator[Candidate]:
        """Yield *pool* as `balance` says by *weights*, all above zero."""
        if self.balance == "p2c":
            return self._less_loaded_first(pool, weights)
        if self.balance == "least_busy":
            return self._least_busy_first(pool, weights)
        return self._draw(pool, weights)

    def _less_loaded_first(self, pool: Sequence[Candidate], weights: Sequence[float]) -> Iterator[Candidate]:
        drawn = self._draw(pool, weights)
        first, second = next(drawn), next(drawn, None)
        if second is None:
            yield first
            return
        if self.random.random() >= _AS_DRAWN:
            load, other = self._load(first, second), self._load(second, first)
            if self.notes is not None:
                self.note(first, load=load)
                self.note(second, load=other)
            if other < load:
                first, second = second, first
        yield first
        yield second
        yield from drawn

    def _load(self, candidate: Candidate, other: Candidate) -> float:
        """Return the expected seconds of what *candidate* has in flight and of one more, by its weight.

        Whoever was never tried is free, so that it is tried, once: a call in flight is a try. Tried, but without a measurement
        (failures only, or answers under way), it passes for as fast as the *other* one.
        """
        live = candidate.live
        latency = live.peak_latency
        if latency is None:
            if not live.attempts:
                return 0.0
            latency = 1.0 if other.live.peak_latency is None else other.live.peak_latency
        weight = self.weight(candidate)
        # Last resorts are drawn as if they weighed 1.
        return (latency + _INSTANT) * (live.in_flight + 1) / (weight if weight > 0 else 1.0)

    def _least_busy_first(self, pool: Sequence[Candidate], weights: Sequence[float]) -> Iterator[Candidate]:
        busy = [candidate.live.in_flight / weight for candidate, weight in zip(pool, weights, strict=True)]
        for group in _groups(busy, 0.0):
            if len(group) == 1:
                yield pool[group[0]]
            else:
                yield from self._draw([pool[at] for at in group], [weights[at] for at in group])

    def rank(
        self, candidates: Sequence[Candidate], score: Callable[[Candidate], float], *, tolerance: float = 0.0
    ) -> Iterator[Candidate]:
        """Yield *candidates* by rising *score*; ties by priority, then as `shuffle` spreads them.

        Scores that exceed the lowest of their group by at most *tolerance* are ties. Scores may be infinite, never NaN.
        """
        for group in _groups(list(map(score, candidates)), tolerance):
            if len(group) == 1:
                yield candidates[group[0]]
            else:
                yield from self.by_priority([candidates[position] for position in group])

    def by_priority(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        """Yield *candidates* by rising `priority`, equals as `shuffle` spreads them; lazy after each group."""
        if len(candidates) <= _FEW and self.balance == "weighted" and self.notes is None:
            return self._few_by_priority(candidates)
        return self._by_priority(candidates)

    def _few_by_priority(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        """Do the same for few candidates: in one pass to the first place, which is usually all that is asked for."""
        first: list[Candidate] = []
        weights: list[float] = []
        total = 0.0
        lowest, now, adaptive = inf, self.now, self.adaptive
        for candidate in candidates:
            priority = candidate.priority
            if priority > lowest:
                continue
            if priority < lowest:
                lowest, total = priority, 0.0
                first.clear()
                weights.clear()
            live = candidate.live
            weight = candidate.weight * live.weight_factor if adaptive else candidate.weight
            if weight <= 0 or live.remaining_until > now:
                # Last resorts and rate limits have rules of their own.
                yield from self._by_priority(candidates)
                return
            first.append(candidate)
            weights.append(weight)
            total += weight
        draw = self.random.random
        while len(first) > 1:
            left = draw() * total
            position = 0
            while left >= weights[position] and position < len(first) - 1:
                left -= weights[position]
                position += 1
            yield first.pop(position)
            total -= weights.pop(position)
        yield from first
        later = [candidate for candidate in candidates if candidate.priority > lowest]
        if later:
            yield from self._by_priority(later)

    def _by_priority(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        priorities = [candidate.priority for candidate in candidates]
        if not priorities or min(priorities) == max(priorities):
            return self.shuffle(candidates)
        levels = sorted(set(priorities))
        groups: dict[int, list[Candidate]] = {level: [] for level in levels}
        for priority, candidate in zip(priorities, candidates, strict=True):
            groups[priority].append(candidate)
        return chain.from_iterable(map(self.shuffle, groups.values()))

    def _draw(self, pool: Sequence[Candidate], weights: Sequence[float]) -> Iterator[Candidate]:
        """Yield *pool* in random order by *weights*, all above zero."""
        draw = self.random.random
        count = len(weights)
        if count <= _FEW:
            # Usually the first place is all that is asked for, and there is little to look through.
            left = draw() * sum(weights)
            position = 0
            while position < count - 1 and left >= weights[position]:
                left -= weights[position]
                position += 1
            yield pool[position]
            drawn = {position}
            if count == 1:
                return
        else:
            drawn = set()
        bounds = list(accumulate(weights))
        total, last = bounds[-1], count - 1
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


def _groups(scores: Sequence[float], tolerance: float) -> Iterator[list[int]]:
    """Yield the positions of *scores* in rising order, ties together; see `Turn.rank`."""
    order = sorted(range(len(scores)), key=scores.__getitem__)
    start, count = 0, len(order)
    while start < count:
        limit = scores[order[start]] + tolerance
        end = start + 1
        while end < count and scores[order[end]] <= limit:
            end += 1
        yield order[start:end]
        start = end


__all__ = ["Balance", "BreakerState", "Candidate", "LiveFacts", "ScorePart", "Turn"]
