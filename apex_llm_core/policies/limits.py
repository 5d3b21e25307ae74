"""Limits on requests, tokens, money and calls in flight. Pure: no I/O, no timers, injected clock.

Rules:

1. A limit concerns a request when its scope is among the request's subjects and its pattern matches the subject. The scope
   "all" counts everything together and has nothing to match. Every subject is counted by itself.
2. `enter` asks all limits that concern a request and then counts it in all of them, or in none. Tokens and money are reserved
   then, by estimate; `settle` puts what was used in place of what was reserved. So however requests interleave, never more than
   the limit is reserved and used together; only an answer that used more than was reserved for it may go beyond.
3. Requests per window: in no half-open window [t, t + per) are more than `requests` admitted. The moments of the last
   `requests` admissions are kept; the next one may come when the oldest of them is `per` seconds old. (Token buckets and
   GCRA keep one number instead, and admit up to twice as many in a window.)
4. Tokens and money per window: as told in `policies.amounts`. A request for which more is to be reserved than the limit is, only
   because nobody said how long its answer may be, comes in when nothing else is counted and its prompt fits.
5. In flight: what was counted by `enter` is freed by `settle`, once, however often it is called.
6. A request whose price is not known is refused where money is counted: unknown is not free.
7. A limit in shadow counts like any other and says what it would have refused; it refuses nobody.
8. A subject of which nothing is in the window, and nothing in flight, leaves no trace.
9. A limit goes by its name, its scope and its window: with other numbers, another pattern, or out of the shadow, it goes on with
   what it counted. Who raises the budget of a day does not start the day anew.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from math import inf

from apex_llm_core.config.policies import LimitConfig
from apex_llm_core.policies.charges import Actual, Charge, Kind, LimitStanding, Refusal, Standing
from apex_llm_core.policies.counts import Amounts, InFlight, Moments, Pace, standing

#: Limits over so many seconds are quotas: waiting will not help the caller.
_A_DAY = 86_400.0
#: Of a request that is only counted.
NOTHING = Charge()
#: Of a request that was not made after all.
UNUSED = Actual()


class Held:
    """What one limit counted for one request."""

    __slots__ = ("cost", "cost_slot", "limit", "subject", "token_slot", "tokens")

    def __init__(self, limit: Limit, subject: str, tokens: float, cost: float) -> None:
        self.limit = limit
        self.subject = subject
        self.tokens = tokens
        self.cost = cost
        self.token_slot = self.cost_slot = 0


class Ticket:
    """Admission; give it to `settle` when the request has ended, however it ended."""

    __slots__ = ("held", "shadowed")

    def __init__(self, held: list[Held], shadowed: tuple[Refusal, ...] = ()) -> None:
        self.held = held
        #: What limits in shadow would have refused.
        self.shadowed = shadowed


class Limit:
    """One configured limit, and what it counted here."""

    __slots__ = ("_matches", "_reserves", "config", "cost", "in_flight", "moments", "scope", "tokens")

    def __init__(self, config: LimitConfig) -> None:
        self.config = config
        self.scope = config.scope
        self._reserves = config.tokens is not None or config.cost is not None
        everything = config.scope == "all" or config.match == "*"
        self._matches = None if everything else re.compile(fnmatch.translate(config.match)).match
        self.moments = None if config.requests is None else Moments(config.requests, config.per, shadow=config.shadow)
        self.tokens = None if config.tokens is None else Amounts(config.tokens, config.per)
        self.cost = None if config.cost is None else Amounts(config.cost, config.per)
        self.in_flight = None if config.concurrent is None else InFlight(config.concurrent)

    @property
    def identity(self) -> tuple[str, str, float]:
        """What makes it the same limit after a reload, whatever else of its table changed."""
        return (self.config.name, self.scope, self.config.per)

    @property
    def named_subject(self) -> str | None:
        """The only subject it concerns, None when its pattern may match several."""
        match = self.config.match
        return None if set(match) & set("*?[") else match

    def adopt(self, earlier: Limit) -> None:
        """Go on with what *earlier* counted, together with it: requests in flight are still settled there."""
        config = self.config
        if config.requests is not None and earlier.moments is not None:
            self.moments = Moments(config.requests, config.per, shadow=config.shadow, earlier=earlier.moments)
        if config.tokens is not None and earlier.tokens is not None:
            self.tokens = Amounts(config.tokens, config.per, earlier.tokens.windows)
        if config.cost is not None and earlier.cost is not None:
            self.cost = Amounts(config.cost, config.per, earlier.cost.windows)
        if config.concurrent is not None and earlier.in_flight is not None:
            self.in_flight = InFlight(config.concurrent, earlier.in_flight)

    def subject(self, subjects: Mapping[str, str]) -> str | None:
        """Return which of *subjects* is counted here, None when the limit does not concern the request."""
        subject = subjects.get(self.scope)
        if subject is None:
            return None
        if self.scope == "all":
            return ""
        return subject if self._matches is None or self._matches(subject) else None

    def held(self, subject: str, charge: Charge) -> Held:
        """Return what is to be reserved for a request; infinite money when its price is not known."""
        if not self._reserves:
            return Held(self, subject, 0.0, 0.0)
        config = self.config
        output = charge.output_tokens
        if output is None:
            output = config.assumed_output_tokens
        cost = 0.0 if config.cost is None else charge.cost(output)
        return Held(self, subject, float(charge.prompt_tokens + output), inf if cost is None else cost)

    def refusal(self, subject: str, kind: Kind, wait: float | None) -> Refusal:
        """Return the refusal of this limit."""
        quota = kind in {"cost", "price_unknown"} or (kind != "concurrent" and self.config.per >= _A_DAY)
        retry_after = None if wait is None or wait == inf else wait
        return Refusal(limit=self.config.name, subject=subject, retry_after=retry_after, kind=kind, quota=quota)

    def fits_alone(self, held: Held, charge: Charge) -> tuple[float, float]:
        """Return tokens and money to reserve when nothing else is counted.

        No more than the limit, if the prompt fits and the rest is only assumed.
        """
        tokens, cost = held.tokens, held.cost
        if charge.output_tokens is not None:
            return tokens, cost
        config = self.config
        if config.tokens is not None and charge.prompt_tokens <= config.tokens:
            tokens = min(tokens, float(config.tokens))
        if config.cost is not None and cost != inf and (charge.cost(0) or 0.0) <= config.cost:
            cost = min(cost, config.cost)
        return tokens, cost


class Limiter:
    """All configured limits, counted in this process.

    Args:
        limits: the `[[limits]]` tables.
        clock: monotonic seconds.
    """

    local = True

    def __init__(self, limits: Sequence[LimitConfig], clock: Callable[[], float]) -> None:
        self._limits = tuple(Limit(config) for config in limits)
        self._clock = clock
        #: False when there is nothing to ask.
        self.active = bool(self._limits)
        self.scopes: frozenset[str] = frozenset(limit.scope for limit in self._limits)
        #: Whether anybody wants to know sizes and prices.
        self.counts_tokens = any(limit.tokens is not None for limit in self._limits)
        self.counts_cost = any(limit.cost is not None for limit in self._limits)

    def adopt(self, earlier: Limiter) -> None:
        """Go on with what the same limits of *earlier* counted."""
        adopt(self._limits, earlier._limits)

    def enter(self, subjects: Mapping[str, str], charge: Charge = NOTHING) -> Ticket | Refusal:
        """Count one request in every limit that concerns it, or say which one refuses; a refused request counts nowhere.

        Args:
            subjects: the request's subject by scope: "all" (any text), "model", "user", "key", "provider". Limits of a
                scope that is missing are not asked.
            charge: what it will use.
        """
        now = self._clock()
        concerned, refusal, shadowed = self._ask(subjects, charge, now)
        if refusal is not None:
            return refusal
        for held in concerned:
            limit, subject = held.limit, held.subject
            if limit.moments is not None:
                limit.moments.admit(subject, now)
            if limit.tokens is not None:
                held.token_slot = limit.tokens.add(subject, held.tokens, now)
            if limit.cost is not None:
                held.cost = 0.0 if held.cost == inf else held.cost
                held.cost_slot = limit.cost.add(subject, held.cost, now)
            if limit.in_flight is not None:
                limit.in_flight.admit(subject)
        return Ticket(concerned, tuple(shadowed))

    def peek(self, subjects: Mapping[str, str], charge: Charge = NOTHING) -> Refusal | None:
        """Return what `enter` would refuse, None for nothing; counts nothing."""
        return self._ask(subjects, charge, self._clock())[1]

    def settle(self, ticket: Ticket, actual: Actual | None) -> None:
        """End *ticket*: free its places in flight, put what was used in place of what was reserved.

        *actual* None: nobody knows, and what was reserved stays. Further calls with the ticket change nothing.
        """
        held = ticket.held
        while held:
            one = held.pop()
            limit = one.limit
            if limit.in_flight is not None:
                limit.in_flight.free(one.subject)
            if actual is not None:
                if limit.tokens is not None:
                    limit.tokens.adjust(one.subject, one.token_slot, actual.tokens - one.tokens)
                if limit.cost is not None and actual.cost is not None:
                    limit.cost.adjust(one.subject, one.cost_slot, actual.cost - one.cost)

    def leave(self, ticket: Ticket) -> None:
        """End *ticket* of a request that used nothing; it stays counted as a request."""
        self.settle(ticket, UNUSED)

    def standing(self) -> tuple[LimitStanding, ...]:
        """Return how every limit stands, for each subject of which anything is counted, and for those it names."""
        now = self._clock()
        return tuple(
            standing_of(limit, subject, now, limit.moments, limit.tokens, limit.cost)
            for limit in self._limits
            for subject in _subjects_of(limit)
        )

    def _ask(
        self, subjects: Mapping[str, str], charge: Charge, now: float
    ) -> tuple[list[Held], Refusal | None, list[Refusal]]:
        concerned: list[Held] = []
        refusal: Refusal | None = None
        shadowed: list[Refusal] = []
        for limit in self._limits:
            subject = limit.subject(subjects)
            if subject is None:
                continue
            held = limit.held(subject, charge)
            concerned.append(held)
            refused = refusal_of(limit, held, charge, now, limit.moments, limit.tokens, limit.cost)
            if refused is None and limit.in_flight is not None and limit.in_flight.full(subject):
                refused = limit.refusal(subject, "concurrent", None)
            if refused is None:
                continue
            if limit.config.shadow:
                shadowed.append(refused)
            elif refusal is None or (refused.retry_after or 0.0) > (refusal.retry_after or 0.0):
                refusal = refused
        return concerned, refusal, shadowed


def adopt(limits: Sequence[Limit], earlier: Sequence[Limit]) -> None:
    """Let *limits* go on with what the same ones of *earlier* counted."""
    known = {limit.identity: limit for limit in earlier}
    for limit in limits:
        found = known.get(limit.identity)
        if found is not None:
            limit.adopt(found)


def refusal_of(
    limit: Limit,
    held: Held,
    charge: Charge,
    now: float,
    moments: Pace | None,
    tokens: Amounts | None,
    cost: Amounts | None,
) -> Refusal | None:
    """Return why *limit* does not admit by what is counted in *moments*, *tokens* and *cost*, None when it does.

    May lower what is reserved in *held* for a request that is alone. Requests in flight are not looked at.
    """
    subject = held.subject
    if cost is not None and held.cost == inf:
        return limit.refusal(subject, "price_unknown", None)
    longest = 0.0
    kind: Kind = "requests"
    if moments is not None:
        longest = moments.wait(subject, now)
    if tokens is not None:
        wait = tokens.wait(subject, held.tokens, now)
        if wait and tokens.empty(subject, now):
            held.tokens = limit.fits_alone(held, charge)[0]
            wait = tokens.wait(subject, held.tokens, now)
        if wait > longest:
            longest, kind = wait, "tokens"
    if cost is not None:
        wait = cost.wait(subject, held.cost, now)
        if wait and cost.empty(subject, now):
            held.cost = limit.fits_alone(held, charge)[1]
            wait = cost.wait(subject, held.cost, now)
        if wait > longest:
            longest, kind = wait, "cost"
    return limit.refusal(subject, kind, longest) if longest > 0.0 else None


def _subjects_of(limit: Limit) -> list[str]:
    if limit.scope == "all":
        return [""]
    found: dict[str, None] = {}
    if limit.named_subject is not None:
        found[limit.named_subject] = None
    for known in (limit.moments, limit.tokens, limit.cost, limit.in_flight):
        if known is not None:
            found.update(dict.fromkeys(known))
    # A pattern that a reload changed may not concern all of them any more.
    return [subject for subject in found if limit.subject({limit.scope: subject}) is not None]


def standing_of(
    limit: Limit, subject: str, now: float, moments: Pace | None, tokens: Amounts | None, cost: Amounts | None
) -> LimitStanding:
    """Return how *limit* stands for *subject* by what is counted in *moments*, *tokens* and *cost*."""
    resets: list[float] = []
    counted: list[Standing | None] = []
    for counts in (moments, tokens, cost):
        one, reset = (None, None) if counts is None else counts.standing(subject, now)
        counted.append(one)
        if reset is not None:
            resets.append(reset)
    config, in_flight = limit.config, limit.in_flight
    return LimitStanding(
        limit=config.name,
        scope=config.scope,
        subject=subject,
        per=config.per,
        shadow=config.shadow,
        requests=counted[0],
        tokens=counted[1],
        cost=counted[2],
        concurrent=None if in_flight is None else standing(in_flight.most, in_flight.used(subject)),
        resets_in=min(resets, default=None),
    )


__all__ = ["Actual", "Charge", "Limit", "LimitStanding", "Limiter", "Refusal", "Standing", "Ticket"]
