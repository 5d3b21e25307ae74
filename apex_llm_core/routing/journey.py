"""The way of one request along its candidates: who is asked next, and who is passed over.

A candidate is passed over while its breaker is open, while it is cooling (its provider said when to come back), when a limit
is reached, and when the request is known not to fit its window. Those that were only turned away for a while are the last
resort, so that nobody is left without any.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, TypeVar

import attrs

from apex_llm_core.context import CallContext
from apex_llm_core.errors import PluginError, RateLimitError
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.events import LimitRejected
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.policies.breaker import CircuitBreaker
from apex_llm_core.policies.limits import Limiter, Refusal
from apex_llm_core.routing.balancer import LoadBalancer

R = TypeVar("R", GenerateRequest, EmbedRequest, ImageRequest)


@attrs.define(kw_only=True, eq=False)
class Place(Generic[R]):
    """A candidate that breaker and limits admit now; `request` is the one to send there."""

    request: R
    candidate: Candidate
    breaker: CircuitBreaker | None
    permit: int
    #: Gives back what the limits counted.
    leave: Callable[[], None] | None


class Journey(Generic[R]):
    """The way of one request along its candidates, skipping those that are not admitted."""

    __slots__ = (
        "_asked",
        "_balancer",
        "_context",
        "_limiter",
        "_pairs",
        "_seen_ahead",
        "_turned_away",
        "_window",
        "broken",
        "refused",
    )

    def __init__(
        self, pairs: Iterator[tuple[R, Candidate]], balancer: LoadBalancer, limiter: Limiter, context: CallContext
    ) -> None:
        self._pairs: Iterator[tuple[R, Candidate]] = pairs
        self._balancer = balancer
        self._limiter = limiter
        self._context = context
        self._seen_ahead: deque[tuple[R, Candidate]] = deque()
        #: Whom their breaker or their provider's wish for rest kept from being asked, in the order of the ranking.
        self._turned_away: list[tuple[R, Candidate, CircuitBreaker | None]] = []
        self._asked = False
        #: How the strategy broke after the first attempt.
        self.broken: PluginError | None = None
        #: What a limit said when it refused a candidate.
        self.refused: RateLimitError | None = None
        #: After context-length errors: the largest window, in tokens, that was too small.
        self._window = 0

    def next(self) -> Place[R] | None:
        """Return the next place, None at the end."""
        return self._next_ranked() or self._last_resort()

    def _next_ranked(self) -> Place[R] | None:
        while True:
            if not self._seen_ahead and not self._look_ahead():
                return None
            request, candidate = self._seen_ahead.popleft()
            if not self._fits(candidate):
                continue
            breaker = self._balancer.breaker(candidate)
            permit = None if self._cooling(candidate) else breaker.acquire() if breaker is not None else 0
            if permit is None:
                self._turned_away.append((request, candidate, breaker))
            elif (place := self._place(request, candidate, breaker, permit)) is not None:
                return place

    def _last_resort(self) -> Place[R] | None:
        """Return the next of those that were turned away, so that nobody is left without any.

        Cooling ones come by the time of their return. Unless nobody was asked yet, one that returns after the deadline of the
        request is passed over, and so is an open breaker: it is forced for want of anybody, and one only.
        """
        deadline = self._context.deadline
        while self._turned_away:
            entry = min(self._turned_away, key=_by_return)
            self._turned_away.remove(entry)
            request, candidate, breaker = entry
            late = deadline is not None and candidate.live.cooling_until > deadline
            if not self._fits(candidate) or (late and self._asked):
                continue
            permit = breaker.acquire() if breaker is not None else 0
            if permit is None:
                if self._asked or breaker is None:
                    continue
                permit = breaker.force()
            if (place := self._place(request, candidate, breaker, permit)) is not None:
                return place
        return None

    def _place(self, request: R, candidate: Candidate, breaker: CircuitBreaker | None, permit: int) -> Place[R] | None:
        place = Place(request=request, candidate=candidate, breaker=breaker, permit=permit, leave=None)
        if not self._admitted(place):
            return None
        self._asked = True
        return place

    def renew(self, place: Place[R]) -> bool:
        """Admit *place* once more, for a retry."""
        permit = place.breaker.acquire() if place.breaker is not None else 0
        if permit is None:
            return False
        place.permit = permit
        return self._admitted(place)

    def has_alternative(self) -> bool:
        """Return whether another candidate, not known to be failing, is left."""
        position = 0
        while position < len(self._seen_ahead) or self._look_ahead():
            _, candidate = self._seen_ahead[position]
            if self._fits(candidate) and candidate.live.breaker != "open" and not self._cooling(candidate):
                return True
            position += 1
        return False

    def too_small(self, candidate: Candidate) -> None:
        """Note that the request does not fit the window of *candidate*."""
        if candidate.max_tokens is not None:
            self._window = max(self._window, candidate.max_tokens)

    def _cooling(self, candidate: Candidate) -> bool:
        until = candidate.live.cooling_until
        return until > 0.0 and until > self._context.clock()

    def _fits(self, candidate: Candidate) -> bool:
        return candidate.max_tokens is None or candidate.max_tokens > self._window

    def _look_ahead(self) -> bool:
        try:
            pair = next(self._pairs, None)
        except PluginError as error:
            if not self._context.attempts:
                raise
            # What the providers said matters more than a strategy that breaks on the way.
            self.broken = error
            return False
        if pair is None:
            return False
        self._seen_ahead.append(pair)
        return True

    def _admitted(self, place: Place[R]) -> bool:
        if not self._limiter.active:
            return True
        answer = self._limiter.enter({"provider": place.candidate.provider, "model": place.candidate.model})
        if isinstance(answer, Refusal):
            if place.breaker is not None:
                place.breaker.release(place.permit)
            self.refused = refusal(answer, self._context, place.candidate)
            return False
        place.leave = partial(self._limiter.leave, answer)
        return True


def _by_return(turned_away: tuple[object, Candidate, object]) -> tuple[bool, float]:
    live = turned_away[1].live
    return live.breaker == "open", live.cooling_until


def refusal(answer: Refusal, context: CallContext, candidate: Candidate | None = None) -> RateLimitError:
    """Report a limit's *answer* to observers and return it as an error for the caller."""
    context.emit(
        LimitRejected(
            request_id=context.request_id, limit=answer.limit, subject=answer.subject, retry_after=answer.retry_after
        )
    )
    return RateLimitError(
        f"the configured limit {answer.limit!r} is reached" + (f" for {answer.subject!r}" if answer.subject else ""),
        provider=candidate.provider if candidate is not None else None,
        model=candidate.model if candidate is not None else None,
        retry_after=answer.retry_after,
    )


__all__ = ["Journey", "Place", "refusal"]
