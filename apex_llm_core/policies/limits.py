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
   because nobody said how long its answer may be, comes in when it is alone and its prompt fits.
5. In flight: what was counted by `enter` is freed by `settle`, once, however often it is called.
6. A request whose price is not known is refused where money is counted: unknown is not free.
7. A limit in shadow counts like any other and says what it would have refused; it refuses nobody.
8. A subject of which nothing is in the window, and nothing in flight, leaves no trace.
"""

from __future__ import annotations

import fnmatch
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from typing import Literal

import attrs

from apex_llm_core.config.policies import LimitConfig
from apex_llm_core.policies.amounts import AmountWindow

Kind = Literal["requests", "tokens", "cost", "concurrent", "price_unknown"]
#: Limits over so many seconds are quotas: waiting will not help the caller.
_A_DAY = 86_400.0


@attrs.frozen(kw_only=True)
class Charge:
    """What a request will use, by estimate. Prices per token; None is unknown, for `output_tokens` that nobody said."""

    prompt_tokens: int = 0
    output_tokens: int | None = 0
    input_price: float | None = None
    output_price: float | None = None

    def tokens(self, assumed: int) -> int:
        """Return prompt and answer; *assumed* is the length of an answer of which nobody said it."""
        return self.prompt_tokens + (assumed if self.output_tokens is None else self.output_tokens)

    def cost(self, output_tokens: int) -> float | None:
        """Return the price of the prompt and *output_tokens*, None when a price that matters is not known."""
        cost = 0.0
        for tokens, price in ((self.prompt_tokens, self.input_price), (output_tokens, self.output_price)):
            if tokens:
                if price is None:
                    return None
                cost += tokens * price
        return cost


@attrs.frozen(kw_only=True)
class Actual:
    """What a request used; `cost` None when it is not known: then the reservation stays."""

    tokens: int = 0
    cost: float | None = 0.0


_NOTHING = Charge()
_UNUSED = Actual()


@attrs.frozen(kw_only=True)
class Refusal:
    """What did not let a request in.

    Several limits may refuse together; the one with the longest known wait is named.
    """

    #: The name of the limit.
    limit: str
    #: The provider, model, user or key whose share is used up; empty for the scope "all".
    subject: str
    #: Seconds until there is room, if nobody else comes first; None when waiting alone does not help.
    retry_after: float | None
    kind: Kind = "requests"
    #: Used up for long: money, or a window of a day or more.
    quota: bool = False


@attrs.frozen(kw_only=True)
class Standing:
    """How much of one limit is used."""

    limit: float
    used: float
    remaining: float


@attrs.frozen(kw_only=True)
class LimitStanding:
    """How a limit stands for one subject."""

    limit: str
    scope: str
    subject: str
    #: Seconds.
    per: float
    shadow: bool
    requests: Standing | None = None
    tokens: Standing | None = None
    cost: Standing | None = None
    concurrent: Standing | None = None
    #: Seconds until something is given back; None when nothing is used.
    resets_in: float | None = None


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


class _Moments:
    """Admissions of each subject within the last `per` seconds; at most `requests` moments each."""

    __slots__ = ("_admitted", "_per", "_requests")

    def __init__(self, requests: int, per: float) -> None:
        self._requests = requests
        self._per = per
        # In the order of the subjects' last admission, so that the expired ones stand in front.
        self._admitted: dict[str, deque[float]] = {}

    def wait(self, subject: str, now: float) -> float:
        """Return the seconds until *subject* may be admitted, 0 for now."""
        moments = self._admitted.get(subject)
        if moments is None or len(moments) < self._requests:
            return 0.0
        return max(0.0, moments[0] + self._per - now)

    def admit(self, subject: str, now: float) -> None:
        moments = self._admitted.pop(subject, None)
        if moments is None:
            moments = deque(maxlen=self._requests)
        moments.append(now)
        self._admitted[subject] = moments
        # One comes, up to two go: the expired never pile up, and no single request pays for many of them.
        for oldest in tuple(islice(self._admitted, 2)):
            if self._admitted[oldest][-1] + self._per > now:
                return
            del self._admitted[oldest]

    def used(self, subject: str, now: float) -> list[float]:
        return [moment for moment in self._admitted.get(subject, ()) if moment + self._per > now]

    def __iter__(self) -> Iterator[str]:
        return iter(self._admitted)

    def __len__(self) -> int:
        return len(self._admitted)


class _Amounts:
    """An `AmountWindow` for each subject."""

    __slots__ = ("_per", "_windows", "limit")

    def __init__(self, limit: float, per: float) -> None:
        self.limit = limit
        self._per = per
        # In the order of the subjects' last request.
        self._windows: dict[str, AmountWindow] = {}

    def wait(self, subject: str, amount: float, now: float) -> float:
        window = self._windows.get(subject)
        if window is None:
            return 0.0 if amount <= self.limit else inf
        return window.wait(amount, self.limit, now)

    def empty(self, subject: str, now: float) -> bool:
        window = self._windows.get(subject)
        if window is None:
            return True
        window.evict(now)
        return not window.total

    def add(self, subject: str, amount: float, now: float) -> int:
        window = self._windows.pop(subject, None)
        if window is None:
            window = AmountWindow(self._per)
        self._windows[subject] = window
        slot = window.add(amount, now)
        for oldest in tuple(islice(self._windows, 2)):
            if oldest != subject and self.empty(oldest, now):
                del self._windows[oldest]
        return slot

    def adjust(self, subject: str, slot: int, difference: float) -> None:
        window = self._windows.get(subject)
        if window is not None:
            window.adjust(slot, difference)

    def standing(self, subject: str, now: float) -> tuple[Standing, float | None]:
        window = self._windows.get(subject, AmountWindow(self._per))
        window.evict(now)
        return standing(self.limit, window.total), window.resets_in(now)

    def __iter__(self) -> Iterator[str]:
        return iter(self._windows)

    def __len__(self) -> int:
        return len(self._windows)


class _InFlight:
    """Requests in flight of each subject that has any."""

    __slots__ = ("_counts", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._counts: dict[str, int] = {}

    def full(self, subject: str) -> bool:
        return self._counts.get(subject, 0) >= self.most

    def admit(self, subject: str) -> None:
        self._counts[subject] = self._counts.get(subject, 0) + 1

    def free(self, subject: str) -> None:
        left = self._counts[subject] - 1
        if left:
            self._counts[subject] = left
        else:
            del self._counts[subject]

    def used(self, subject: str) -> int:
        return self._counts.get(subject, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)


class Limit:
    """One configured limit, and what it counted here."""

    __slots__ = ("_matches", "config", "cost", "in_flight", "moments", "scope", "tokens")

    def __init__(self, config: LimitConfig) -> None:
        self.config = config
        self.scope = config.scope
        everything = config.scope == "all" or config.match == "*"
        self._matches = None if everything else re.compile(fnmatch.translate(config.match)).match
        self.moments = None if config.requests is None else _Moments(config.requests, config.per)
        self.tokens = None if config.tokens is None else _Amounts(config.tokens, config.per)
        self.cost = None if config.cost is None else _Amounts(config.cost, config.per)
        self.in_flight = None if config.concurrent is None else _InFlight(config.concurrent)

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
        config = self.config
        tokens = 0.0
        cost: float | None = 0.0
        if config.tokens is not None or config.cost is not None:
            tokens = float(charge.tokens(config.assumed_output_tokens))
        if config.cost is not None:
            cost = charge.cost(int(tokens) - charge.prompt_tokens)
        return Held(self, subject, tokens, inf if cost is None else cost)

    def refusal(self, subject: str, kind: Kind, wait: float | None) -> Refusal:
        """Return the refusal of this limit."""
        quota = kind in {"cost", "price_unknown"} or (kind != "concurrent" and self.config.per >= _A_DAY)
        retry_after = None if wait is None or wait == inf else wait
        return Refusal(limit=self.config.name, subject=subject, retry_after=retry_after, kind=kind, quota=quota)

    def fits_alone(self, held: Held, charge: Charge) -> tuple[float, float]:
        """Return tokens and money to reserve when nobody else is counted: no more than the limit if the prompt fits."""
        tokens, cost = held.tokens, held.cost
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
        """Go on with what limits of *earlier* counted whose tables are the same."""
        known = {limit.config: limit for limit in earlier._limits}
        self._limits = tuple(known.get(limit.config, limit) for limit in self._limits)

    def enter(self, subjects: Mapping[str, str], charge: Charge = _NOTHING) -> Ticket | Refusal:
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

    def peek(self, subjects: Mapping[str, str], charge: Charge = _NOTHING) -> Refusal | None:
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
        self.settle(ticket, _UNUSED)

    def standing(self) -> tuple[LimitStanding, ...]:
        """Return how every limit stands, for each subject of which anything is counted, and for those it names."""
        now = self._clock()
        return tuple(_standing_of(limit, subject, now) for limit in self._limits for subject in _subjects_of(limit))

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
            refused = _refused(limit, held, charge, now)
            if refused is None:
                continue
            if limit.config.shadow:
                shadowed.append(refused)
            elif refusal is None or (refused.retry_after or 0.0) > (refusal.retry_after or 0.0):
                refusal = refused
        return concerned, refusal, shadowed


def _refused(limit: Limit, held: Held, charge: Charge, now: float) -> Refusal | None:
    """Return the refusal of one limit, None when it admits; may lower what is reserved for a request that is alone."""
    subject = held.subject
    if limit.cost is not None and held.cost == inf:
        return limit.refusal(subject, "price_unknown", None)
    longest, kind = 0.0, "requests"
    if limit.moments is not None:
        longest = limit.moments.wait(subject, now)
    if limit.tokens is not None:
        wait = limit.tokens.wait(subject, held.tokens, now)
        if wait and limit.tokens.empty(subject, now):
            held.tokens = limit.fits_alone(held, charge)[0]
            wait = limit.tokens.wait(subject, held.tokens, now)
        if wait > longest:
            longest, kind = wait, "tokens"
    if limit.cost is not None:
        wait = limit.cost.wait(subject, held.cost, now)
        if wait and limit.cost.empty(subject, now):
            held.cost = limit.fits_alone(held, charge)[1]
            wait = limit.cost.wait(subject, held.cost, now)
        if wait > longest:
            longest, kind = wait, "cost"
    if longest > 0.0:
        return limit.refusal(subject, kind, longest)  # type: ignore[arg-type]
    if limit.in_flight is not None and limit.in_flight.full(subject):
        return limit.refusal(subject, "concurrent", None)
    return None


def standing(limit: float, used: float) -> Standing:
    """Return how a limit stands of which *used* is counted."""
    return Standing(limit=limit, used=used, remaining=max(0.0, limit - used))


def _subjects_of(limit: Limit) -> list[str]:
    config = limit.config
    if limit.scope == "all":
        return [""]
    found: dict[str, None] = {}
    if not set(config.match) & set("*?["):
        found[config.match] = None
    for known in (limit.moments, limit.tokens, limit.cost, limit.in_flight):
        if known is not None:
            found.update(dict.fromkeys(known))
    return list(found)


def _standing_of(limit: Limit, subject: str, now: float) -> LimitStanding:
    config = limit.config
    requests = tokens = cost = concurrent = None
    resets: list[float] = []
    if limit.moments is not None and config.requests is not None:
        moments = limit.moments.used(subject, now)
        requests = standing(config.requests, len(moments))
        resets += [moments[0] + config.per - now] if moments else []
    if limit.tokens is not None:
        tokens, reset = limit.tokens.standing(subject, now)
        resets += [] if reset is None else [reset]
    if limit.cost is not None:
        cost, reset = limit.cost.standing(subject, now)
        resets += [] if reset is None else [reset]
    if limit.in_flight is not None:
        concurrent = standing(limit.in_flight.most, limit.in_flight.used(subject))
    return LimitStanding(
        limit=config.name,
        scope=config.scope,
        subject=subject,
        per=config.per,
        shadow=config.shadow,
        requests=requests,
        tokens=tokens,
        cost=cost,
        concurrent=concurrent,
        resets_in=min(resets, default=None),
    )


__all__ = ["Actual", "Charge", "Held", "Limit", "LimitStanding", "Limiter", "Refusal", "Standing", "Ticket", "standing"]
