"""From the next candidate of a journey to one that breaker, bulkhead, limits and deadline admit."""

from __future__ import annotations

from typing import TypeVar

from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError, ModelNotFoundError, RateLimitError
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.routing.admission import Admission
from apex_llm_core.routing.bulkheads import wait_for_place
from apex_llm_core.routing.governor import Governor
from apex_llm_core.routing.journey import Journey
from apex_llm_core.routing.places import Place

R = TypeVar("R", GenerateRequest, EmbedRequest, ImageRequest)


class Placement:
    """Finds the next place for an attempt.

    Args:
        admission: the limits of providers and models.
        governor: knows what can still be done in time.
        wait: seconds a request waits when every provider is full.
    """

    def __init__(self, *, admission: Admission, governor: Governor, wait: float) -> None:
        self._admission = admission
        self._governor = governor
        self._wait = wait

    def at_once(self, journey: Journey[R]) -> Place[R] | None:
        """Return the next place where nobody has to be awaited; None says nothing."""
        if self._admission.active:
            return None
        return journey.next()

    async def next(
        self, journey: Journey[R], context: CallContext, *, other_than: str | None = None
    ) -> Place[R] | None:
        """Return the next place that breaker, bulkhead and limits admit, None at the end."""
        while True:
            place = journey.next(other_than=other_than)
            # Nobody waits for a copy, so it takes nobody's place, and breaks into nothing.
            if place is None and other_than is None and not context.shadow:
                if journey.full or journey.turned_away:
                    place = await self._wait_for_place(journey, context)
                if place is None and context.remaining() != 0.0:
                    place = journey.last_resort()
            if place is None:
                return None
            if self._admission.active:
                refusal = await self._admit(place, context)
                if refusal is not None:
                    journey.refused = refusal
                    continue
            return place

    async def next_in_time(
        self, journey: Journey[R], context: CallContext, *, streamed: bool, other_than: str | None = None
    ) -> Place[R] | None:
        """Return the next place whose answer can be expected before the deadline."""
        while (place := await self.next(journey, context, other_than=other_than)) is not None:
            if self._governor.in_time(place.standing, context, streamed=streamed):
                return place
            place.give_up()
        return None

    async def _wait_for_place(self, journey: Journey[R], context: CallContext) -> Place[R] | None:
        """Return a place at somebody who was passed over: at once if there is one, else wait for room."""
        until = context.clock() + self._patience(context)
        # Only who is full now is worth a wait: where nobody is in flight, nobody will make room.
        while (place := journey.again()) is None and (rooms := journey.rooms()):
            left = until - context.clock()
            bulkhead = await wait_for_place(rooms, left) if left > 0 else None
            if bulkhead is None:
                return None
            place = journey.take(bulkhead)
            if place is not None:
                return place
        return place

    def _patience(self, context: CallContext) -> float:
        remaining = context.remaining()
        return self._wait if remaining is None else min(self._wait, remaining)

    async def renewed(
        self, place: Place[R], error: LLMError, journey: Journey[R], context: CallContext
    ) -> tuple[Place[R], int] | None:
        """Pay for a retry at *place* and admit it once more; None when that cannot be."""
        provider = place.candidate.provider
        cost = self._governor.pay_retry(provider, error)
        if cost is None:
            return None
        renewed = None
        try:
            renewed = await self._admitted_again(place, journey, context)
        finally:
            if renewed is None:
                self._governor.refund_retry(provider, cost)
        return None if renewed is None else (renewed, cost)

    async def _admitted_again(self, place: Place[R], journey: Journey[R], context: CallContext) -> Place[R] | None:
        renewed = journey.renew(place)
        if renewed is None and journey.is_full(place.option) and (patience := self._patience(context)) > 0:
            bulkhead = await wait_for_place((place.standing.bulkhead,), patience)
            renewed = None if bulkhead is None else journey.take(bulkhead, place.option)
        if renewed is not None and self._admission.active and await self._admit(renewed, context) is not None:
            return None
        return renewed

    async def _admit(self, place: Place[R], context: CallContext) -> LLMError | None:
        """Ask the limits for *place*; return why they refuse, and give it up then."""
        try:
            answer = await self._admission.enter_candidate(place.request, place.candidate, context)
        except BaseException:
            # A shared store makes this a wait, in which a request may be cancelled.
            place.give_up()
            raise
        if isinstance(answer, LLMError):
            place.give_up()
            return answer
        place.settle = answer
        return None

    @staticmethod
    def nobody(request: R, journey: Journey[R]) -> LLMError:
        """Return why nobody could be asked."""
        if journey.refused is not None:
            return journey.refused
        if journey.full:
            return RateLimitError(
                "every provider of this model has as many calls in flight as it may have; raise [concurrency] max or wait",
                model=request.model,
            )
        if journey.turned_away:
            return journey.closed_to_all(request.model)
        return ModelNotFoundError(
            f"the strategy leaves out every candidate of model {request.model!r}", model=request.model
        )


__all__ = ["Placement"]
