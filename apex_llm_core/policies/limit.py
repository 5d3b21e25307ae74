"""One limit: whom it concerns, what it reserves, whom it refuses. Pure; the rules are told in `policies.limits`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from math import inf

from apex_llm_core.config.policies import LimitConfig
from apex_llm_core.policies.amounts import HAIR
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

    __slots__ = ("_matches", "_matches_tier", "_reserves", "config", "cost", "in_flight", "moments", "scope", "tokens")

    def __init__(self, config: LimitConfig) -> None:
        self.config = config
        self.scope = config.scope
        self._reserves = config.tokens is not None or config.cost is not None
        everything = config.scope == "all" or config.match == "*"
        self._matches = None if everything else re.compile(fnmatch.translate(config.match)).match
        self._matches_tier = None if config.tier is None else re.compile(fnmatch.translate(config.tier)).match
        self.moments = None if config.requests is None else Moments(config.requests, config.per, shadow=config.shadow)
        self.tokens = None if config.tokens is None else Amounts(config.tokens, config.per)
        self.cost = None if config.cost is None else Amounts(config.cost, config.per)
        self.in_flight = None if config.concurrent is None else InFlight(config.concurrent)

    @property
    def identity(self) -> tuple[str, str, float]:
        """What makes it the same limit after a reload, whatever else of its table changed."""
        # A window of 60 seconds is one of 60.0, also where it becomes part of a name.
        return (self.config.name, self.scope, float(self.config.per))

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
        if self._matches_tier is not None and not self._matches_tier(subjects.get("tier", "")):
            return None
        if self.scope == "all":
            return ""
        return subject if self.fits(subject) else None

    def fits(self, subject: str) -> bool:
        """Return whether its pattern fits *subject*, whatever the tier."""
        return self._matches is None or self._matches(subject) is not None

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

    def refusal(
        self, subject: str, kind: Kind, wait: float | None, *, asked: float | None = None, most: float | None = None
    ) -> Refusal:
        """Return the refusal of this limit; *asked* and *most* as in `Refusal`."""
        quota = kind in {"cost", "price_unknown"} or (kind != "concurrent" and self.config.per >= _A_DAY)
        retry_after = None if wait is None or wait == inf else wait
        return Refusal(
            limit=self.config.name,
            subject=subject,
            retry_after=retry_after,
            kind=kind,
            quota=quota,
            asked=asked,
            most=most,
        )

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
    if longest <= 0.0:
        return None
    if kind == "requests":
        return limit.refusal(subject, kind, longest)
    alone = limit.fits_alone(held, charge)
    asked, at_least, most = (
        (held.tokens, alone[0], limit.config.tokens) if kind == "tokens" else (held.cost, alone[1], limit.config.cost)
    )
    too_large = most is not None and at_least > most * (1.0 + HAIR)
    return limit.refusal(subject, kind, longest, asked=asked, most=most if too_large else None)


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


__all__ = ["NOTHING", "UNUSED", "Held", "Limit", "Ticket", "adopt", "refusal_of", "standing_of"]
