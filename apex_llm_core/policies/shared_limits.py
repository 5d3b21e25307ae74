"""Limits counted in a state store: for several processes, and over restarts.

The rules are those of `policies.limits`, with these besides:

1. Requests are counted in slots of a sixtieth of a window, as tokens and money are: never more than the limit in any window, and
   up to a sixtieth of a window longer than it had to be. A log of all moments would be read and written with every request.
2. Requests in flight (`concurrent`) are counted by each process for itself: no store can tell a process that died from one
   that is slow. Who is refused there is not counted in the store.
3. All that concerns one request is read and written in one transaction: all limits admit it and count it, or none does.
4. Time is the wall clock, which processes share. Should it be set back, what was counted in the future counts as of now.
5. A store that fails lets the request in, unless it is to keep it out: that is the choice of whoever makes the limiter.
6. What was counted of a request that is cancelled on its way in is given back.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from apex_llm_core.config.policies import LimitConfig
from apex_llm_core.errors import ServiceUnavailableError
from apex_llm_core.interfaces import StateStore
from apex_llm_core.policies.charges import Actual, Charge, LimitStanding, Refusal
from apex_llm_core.policies.limit import NOTHING, UNUSED, Held, Limit, Ticket, adopt, refusal_of
from apex_llm_core.policies.stored_counts import StoredCounts, is_stored

#: Subjects that `standing` remembers at most.
_REMEMBERED = 1000


class SharedLimiter:
    """All configured limits, counted in a state store.

    Args:
        limits: the `[[limits]]` tables.
        store: where they are counted.
        wall: seconds of the wall clock.
        on_error: told what the store raised, or what in it was unreadable; must not raise.
        fail_open: whether requests are let in, uncounted, while the store fails; otherwise they are refused.
    """

    local = False

    def __init__(
        self,
        limits: Sequence[LimitConfig],
        store: StateStore,
        *,
        wall: Callable[[], float],
        on_error: Callable[[Exception], None],
        fail_open: bool = True,
    ) -> None:
        self._limits = tuple(Limit(config) for config in limits)
        self._store = store
        self._wall = wall
        self._on_error = on_error
        self._fail_open = fail_open
        #: False when there is nothing to ask.
        self.active = bool(self._limits)
        self.scopes: frozenset[str] = frozenset(limit.scope for limit in self._limits)
        #: Whether anybody wants to know sizes and prices.
        self.counts_tokens = any(limit.tokens is not None for limit in self._limits)
        self.counts_cost = any(limit.cost is not None for limit in self._limits)
        #: Requests that came in although the store failed.
        self.unchecked = 0
        #: Subjects that were here, with the scope and the tier of the limits concerned, the longest ago first.
        self._seen: OrderedDict[tuple[str, str | None, str], None] = OrderedDict()
        #: What is given back for requests that were cancelled on their way in.
        self._returning: set[asyncio.Future[None]] = set()

    def adopt(self, earlier: SharedLimiter) -> None:
        """Go on with what *earlier* knows of this process: requests in flight, and which subjects there are."""
        adopt(self._limits, earlier._limits)
        self._seen = earlier._seen
        self.unchecked = earlier.unchecked

    async def enter(self, subjects: Mapping[str, str], charge: Charge = NOTHING) -> Ticket | Refusal:
        """Count one request in every limit that concerns it, or say which one refuses; a refused request counts nowhere.

        Args:
            subjects: the request's subject by scope: "all" (any text), "model", "user", "key", "provider". Limits of a
                scope that is missing are not asked. Under "tier" stands the caller's tier.
            charge: what it will use.

        Raises:
            ServiceUnavailableError: the store failed, and requests are to be kept out then.
        """
        concerned = [(limit, subject) for limit in self._limits if (subject := limit.subject(subjects)) is not None]
        for limit, subject in concerned:
            self._remember(limit, subject)
        ticket = _take_places(concerned)
        counts = StoredCounts((limit, subject) for limit, subject in concerned if is_stored(limit))
        if isinstance(ticket, Refusal) or not counts.keys:
            return ticket
        try:
            refusal = await self._count(counts, charge, ticket)
        except BaseException:
            self.free(ticket)
            raise
        if refusal is not None:
            self.free(ticket)
            return refusal
        return ticket

    @staticmethod
    def free(ticket: Ticket) -> None:
        """Free the places of *ticket* in flight, at once; `settle` does the rest."""
        held, ticket.held = ticket.held, []
        for one in held:
            if not isinstance(one, _Place):
                ticket.held.append(one)
            elif one.limit.in_flight is not None:
                one.limit.in_flight.free(one.subject)

    async def settle(self, ticket: Ticket, actual: Actual | None) -> None:
        """End *ticket*: free its places in flight, put what was used in place of what was reserved.

        *actual* None: nobody knows, and what was reserved stays. Further calls with the ticket change nothing. A store that
        fails is told to `on_error`; what was reserved stays then.
        """
        self.free(ticket)
        held, ticket.held = ticket.held, []
        reserved = [one for one in held if one.limit.tokens is not None or one.limit.cost is not None]
        if actual is None or not reserved:
            return
        counts = StoredCounts((one.limit, one.subject) for one in reserved)

        def change(found: Mapping[str, bytes]) -> Mapping[str, bytes | None]:
            counts.read(found, self._wall())
            for one, count in zip(reserved, counts.each, strict=True):
                count.settle(one, actual)
            return counts.written()

        try:
            await self._store.transact(counts.keys, change, counts.ttl)
        except Exception as error:
            self._on_error(error)

    async def leave(self, ticket: Ticket) -> None:
        """End *ticket* of a request that used nothing; it stays counted as a request."""
        await self.settle(ticket, UNUSED)

    async def standing(self) -> tuple[LimitStanding, ...]:
        """Return how every limit stands, for the subjects that were seen in this process lately, and for those it names.

        Raises:
            ServiceUnavailableError: the store failed.
        """
        counts = StoredCounts((limit, subject) for limit in self._limits for subject in self._subjects_of(limit))
        now = self._wall()

        def change(found: Mapping[str, bytes]) -> Mapping[str, bytes | None]:
            counts.read(found, now)
            return {}

        if counts.keys:
            try:
                await self._store.transact(counts.keys, change, None)
            except Exception as error:
                raise ServiceUnavailableError(f"the state store that counts the limits failed: {error}") from error
        self._tell_unreadable(counts)
        return tuple(count.standing(now) for count in counts.each)

    async def close(self) -> None:
        """Wait until everything is given back."""
        while self._returning:
            await asyncio.wait(set(self._returning))

    async def _count(self, counts: StoredCounts, charge: Charge, ticket: Ticket) -> Refusal | None:
        """Ask the store and count there; adds to *ticket* what was reserved and who would have refused."""
        judgement = _Judgement()

        def change(found: Mapping[str, bytes]) -> Mapping[str, bytes | None]:
            now = self._wall()
            counts.read(found, now)
            judgement.pass_on(counts, charge, now)
            return {} if judgement.refusal is not None else counts.written()

        work = asyncio.ensure_future(self._store.transact(counts.keys, change, counts.ttl))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            # The store may count it all the same, now or in a moment.
            self._returning.add(work)
            work.add_done_callback(partial(self._give_back, judgement))
            raise
        except Exception as error:
            self._on_error(error)
            if not self._fail_open:
                raise ServiceUnavailableError(f"the state store that counts the limits failed: {error}") from error
            self.unchecked += 1
            return None
        self._tell_unreadable(counts)
        if judgement.refusal is None:
            ticket.held += judgement.held
            told = {refusal.limit for refusal in ticket.shadowed}
            ticket.shadowed += tuple(refusal for refusal in judgement.shadowed if refusal.limit not in told)
        return judgement.refusal

    def _give_back(self, judgement: _Judgement, work: asyncio.Future[None]) -> None:
        self._returning.discard(work)
        # The error is asked for, so that nobody reports one that was never looked at.
        if work.cancelled() or work.exception() is not None or judgement.refusal is not None:
            return
        task = asyncio.get_running_loop().create_task(self.leave(Ticket(judgement.held)))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    def _tell_unreadable(self, counts: StoredCounts) -> None:
        for name in counts.unreadable:
            self._on_error(
                ValueError(f"what the state store holds of the limit {name!r} is unreadable; it counts anew")
            )

    def _remember(self, limit: Limit, subject: str) -> None:
        key = (limit.scope, limit.config.tier, subject)
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _subjects_of(self, limit: Limit) -> list[str]:
        if limit.scope == "all":
            return [""]
        of_limit = (limit.scope, limit.config.tier)
        seen = [subject for scope, tier, subject in self._seen if (scope, tier) == of_limit]
        named = limit.named_subject
        subjects = seen if named is None else [named, *seen]
        return [subject for subject in dict.fromkeys(subjects) if limit.fits(subject)]


class _Judgement:
    """What a transaction decided; made anew each time the store calls for it."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.refusal: Refusal | None = None
        self.shadowed: list[Refusal] = []

    def pass_on(self, counts: StoredCounts, charge: Charge, now: float) -> None:
        """Decide, and count the request if it is admitted."""
        self.held, self.refusal, self.shadowed = [], None, []
        for count in counts.each:
            limit = count.limit
            held = limit.held(count.subject, charge)
            self.held.append(held)
            refused = refusal_of(limit, held, charge, now, count.requests, count.tokens, count.cost)
            if refused is None:
                continue
            if limit.config.shadow:
                self.shadowed.append(refused)
            elif self.refusal is None or (refused.retry_after or 0.0) > (self.refusal.retry_after or 0.0):
                self.refusal = refused
        if self.refusal is None:
            for count, held in zip(counts.each, self.held, strict=True):
                count.admit(held, now)


class _Place(Held):
    """A place in flight."""

    __slots__ = ()


def _take_places(concerned: Sequence[tuple[Limit, str]]) -> Ticket | Refusal:
    """Take a place in flight wherever places are counted, or none."""
    shadowed: list[Refusal] = []
    places: list[Held] = []
    for limit, subject in concerned:
        if limit.in_flight is not None:
            places.append(_Place(limit, subject, 0.0, 0.0))
            if limit.in_flight.full(subject):
                refusal = limit.refusal(subject, "concurrent", None)
                if not limit.config.shadow:
                    return refusal
                shadowed.append(refusal)
    for place in places:
        if place.limit.in_flight is not None:
            place.limit.in_flight.admit(place.subject)
    return Ticket(places, tuple(shadowed))


__all__ = ["SharedLimiter"]
