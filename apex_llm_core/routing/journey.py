"""The way of one request along its candidates: who is asked next, and who is passed over.

A candidate is passed over while its breaker is open, while its provider is full, when a limit is reached, when the request is
known not to fit its window, and when another chain led to it before. At the end those come again whom breaker or provider would
admit by then. So that nobody is left without any, one candidate behind an open breaker is asked all the same when nobody else
was: of those that were only busy the one that would be back first, else the first in the ranking.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import inf
from typing import Generic, TypeVar

from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError, PluginError, ServiceUnavailableError
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.policies.breaker import CircuitBreaker
from apex_llm_core.routing.balancer import LoadBalancer, Standing
from apex_llm_core.routing.bulkheads import Bulkhead
from apex_llm_core.routing.decisions import Draft
from apex_llm_core.routing.places import Option, Place, place_of

R = TypeVar("R", GenerateRequest, EmbedRequest, ImageRequest)


class Journey(Generic[R]):
    """The way of one request along its candidates, skipping those that are not admitted."""

    __slots__ = (
        "_asked",
        "_balancer",
        "_context",
        "_draft",
        "_forced",
        "_seen_ahead",
        "_sources",
        "_window",
        "broken",
        "full",
        "refused",
        "turned_away",
    )

    def __init__(
        self, options: Iterator[Option[R]], balancer: LoadBalancer, context: CallContext, draft: Draft
    ) -> None:
        #: The last one is read first.
        self._sources: list[Iterator[Option[R]]] = [options]
        self._balancer = balancer
        self._context = context
        self._draft = draft
        self._seen_ahead: deque[Option[R]] = deque()
        #: Whom their breaker kept from being asked, in the order of the ranking.
        self.turned_away: list[Option[R]] = []
        #: Whose provider had no room.
        self.full: list[Option[R]] = []
        self._forced = False
        #: Candidates that were asked; where the request was changed for one, the option.
        self._asked: set[Candidate | Option[R]] = set()
        #: What a limit said when it refused a candidate.
        self.refused: LLMError | None = None
        #: How the strategy broke after the first attempt.
        self.broken: PluginError | None = None
        #: After context-length errors: the largest window, in tokens, that was too small.
        self._window = 0

    def next(self, *, other_than: str | None = None) -> Place[R] | None:
        """Return the next place, None at the end; with *other_than*, at another provider if there is one."""
        if other_than is not None:
            self._prefer_other(other_than)
        while True:
            if not self._seen_ahead and not self._look_ahead():
                return None
            option = self._seen_ahead.popleft()
            if self._was_asked(option):
                continue
            if not self._fits(option.candidate):
                self._draft.passed_over(option.candidate, "its window is too small")
                continue
            place = self._admit(option)
            if place is not None:
                return place

    def taken(self, place: Place[R]) -> None:
        """Note that *place* is asked now."""
        option = place.option
        self._asked.add(option if option.adapted else option.candidate)
        self._draft.taken(option.candidate)

    def again(self) -> Place[R] | None:
        """Return a place at somebody who was passed over and would be admitted now."""
        for option in list(self.full):
            standing = self._balancer.standing(option.candidate)
            if not self._is_eligible(option) or not standing.bulkhead.full:
                self.full.remove(option)
                if self._is_eligible(option) and (place := self._admit(option)) is not None:
                    return place
        for option in list(self.turned_away):
            standing = self._balancer.standing(option.candidate)
            if self._is_eligible(option) and standing.breaker.admits():
                self.turned_away.remove(option)
                if (place := self._admit(option)) is not None:
                    return place
        return None

    def last_resort(self) -> Place[R] | None:
        """Return a place behind an open breaker, once, so that nobody is left without any.

        When others were asked, and failed, only a breaker that the provider's own advice opened is passed: the candidate was
        busy, not broken. Who comes back after the deadline is passed over then.
        """
        if self._forced:
            return None
        deadline = self._context.deadline
        for option in sorted(
            self.turned_away, key=lambda option: hope(self._balancer.standing(option.candidate).breaker)
        ):
            standing = self._balancer.standing(option.candidate)
            if not self._is_eligible(option):
                continue
            if self._asked:
                late = deadline is not None and self._return(option) > deadline - self._context.clock()
                if late or standing.breaker.reason != "retry_after":
                    continue
            if standing.bulkhead.bounded and not standing.bulkhead.try_acquire():
                self.full.append(option)
                continue
            permit = standing.breaker.force()
            if permit is None:
                if standing.bulkhead.bounded:
                    standing.bulkhead.release()
                continue
            self._forced = True
            return place_of(option, standing, permit, placed=standing.bulkhead.bounded)
        return None

    def take(self, bulkhead: Bulkhead, only: Option[R] | None = None) -> Place[R] | None:
        """Return a place at the provider of *bulkhead*, in which a place is held already; it is given back if there is none."""
        for option in list(self.full):
            standing = self._balancer.standing(option.candidate)
            if standing.bulkhead is bulkhead and only in {None, option}:
                self.full.remove(option)
                permit = standing.breaker.acquire()
                if permit is not None:
                    return place_of(option, standing, permit, placed=True)
                self._turn_away(option, standing)
        bulkhead.release()
        return None

    def is_full(self, option: Option[R]) -> bool:
        """Return whether *option* was passed over for want of room."""
        return option in self.full

    def rooms(self) -> list[Bulkhead]:
        """Return the bulkheads in which a place would help, those of the first candidates first."""
        found: dict[int, Bulkhead] = {}
        for option in self.full:
            bulkhead = self._balancer.standing(option.candidate).bulkhead
            found.setdefault(id(bulkhead), bulkhead)
        return list(found.values())

    def renew(self, place: Place[R]) -> Place[R] | None:
        """Return *place* once more, for a retry; None when it is not admitted any more."""
        return self._admit(place.option)

    def alternatives(self, most: int) -> list[Candidate]:
        """Return the next candidates that would be admitted now, *most* of them at most."""
        found: list[Candidate] = []
        position = 0
        while len(found) < most and (position < len(self._seen_ahead) or self._look_ahead()):
            option = self._seen_ahead[position]
            standing = self._balancer.standing(option.candidate)
            if self._is_eligible(option) and standing.breaker.admits() and not standing.bulkhead.full:
                found.append(option.candidate)
            position += 1
        return found

    def too_small(self, candidate: Candidate) -> None:
        """Note that the request does not fit the window of *candidate*."""
        if candidate.max_tokens is not None:
            self._window = max(self._window, candidate.max_tokens)

    def first(self, options: Iterator[Option[R]]) -> None:
        """Go to *options* before the rest."""
        left = self._seen_ahead
        if left:
            self._seen_ahead = deque()
            self._sources.append(iter(left))
        self._sources.append(options)

    def only(self, options: Iterator[Option[R]]) -> None:
        """Go to *options* and to nobody else."""
        self._seen_ahead.clear()
        self.turned_away.clear()
        self.full.clear()
        self._sources = [options]

    def last(self, option: Option[R]) -> None:
        """Go to *option* when all others were asked."""
        self._sources.insert(0, iter((option,)))

    def closed_to_all(self, model: str) -> LLMError:
        """Return the error for a request that no breaker let through."""
        back = min(map(self._return, self.turned_away))
        return ServiceUnavailableError(
            f"the circuit breakers of all candidates of model {model!r} are open"
            + ("; they were opened by hand" if back == inf else ""),
            model=model,
            retryable=back != inf,
            retry_after=None if back == inf else back,
        )

    def _admit(self, option: Option[R]) -> Place[R] | None:
        standing = self._balancer.standing(option.candidate)
        bulkhead, breaker = standing.bulkhead, standing.breaker
        if bulkhead.bounded and not bulkhead.try_acquire():
            self.full.append(option)
            self._draft.passed_over(option.candidate, "its provider has no room for another call")
            return None
        permit = breaker.acquire()
        if permit is None:
            if bulkhead.bounded:
                bulkhead.release()
            self._turn_away(option, standing)
            return None
        return place_of(option, standing, permit, placed=bulkhead.bounded)

    def _turn_away(self, option: Option[R], standing: Standing) -> None:
        self.turned_away.append(option)
        self._draft.passed_over(option.candidate, f"its circuit breaker is {standing.breaker.state}")

    def _prefer_other(self, provider: str) -> None:
        position = 0
        while position < len(self._seen_ahead) or self._look_ahead():
            option = self._seen_ahead[position]
            if option.candidate.provider != provider and self._is_eligible(option):
                del self._seen_ahead[position]
                self._seen_ahead.appendleft(option)
                return
            position += 1

    def _return(self, option: Option[R]) -> float:
        return self._balancer.standing(option.candidate).breaker.retry_after()

    def _is_eligible(self, option: Option[R]) -> bool:
        return self._fits(option.candidate) and not self._was_asked(option)

    def _was_asked(self, option: Option[R]) -> bool:
        return (option if option.adapted else option.candidate) in self._asked

    def _fits(self, candidate: Candidate) -> bool:
        return candidate.max_tokens is None or candidate.max_tokens > self._window

    def _look_ahead(self) -> bool:
        while self._sources:
            try:
                option = next(self._sources[-1], None)
            except PluginError as error:
                if not self._context.started:
                    raise
                # What the providers said matters more than a strategy that breaks on the way.
                self.broken = error
                self._sources.pop()
                continue
            if option is not None:
                self._seen_ahead.append(option)
                return True
            self._sources.pop()
        return False


def hope(breaker: CircuitBreaker) -> tuple[bool, float]:
    """Return how soon there is hope: the busy by their own word; the broken in their order, so that all are tried in turn."""
    busy = breaker.reason == "retry_after"
    return not busy, breaker.retry_after() if busy else 0.0


__all__ = ["Journey", "hope"]
