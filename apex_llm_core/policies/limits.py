"""Limits on requests, tokens, money and calls in flight. Pure: no I/O, no timers, injected clock.

Rules:

1. A limit concerns a request when its scope is among the request's subjects, its pattern matches the subject, and the caller's
   tier that of the limit, if it has one. The scope "all" counts everything together and has nothing to match. Every subject is
   counted by itself.
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

from collections.abc import Callable, Mapping, Sequence
from math import inf

from apex_llm_core.config.policies import LimitConfig
from apex_llm_core.policies.charges import Actual, Charge, LimitStanding, Refusal, Standing
from apex_llm_core.policies.limit import NOTHING, UNUSED, Held, Limit, Ticket, adopt, refusal_of, standing_of


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
                scope that is missing are not asked. Under "tier" stands the caller's tier.
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
    return [subject for subject in found if limit.fits(subject)]


__all__ = ["Actual", "Charge", "Limit", "LimitStanding", "Limiter", "Refusal", "Standing", "Ticket"]
