"""One attempt: from a place to the provider's call and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from apex_llm_core.context import CallContext
from apex_llm_core.errors import AttemptReason
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.policies.deadline import Sweeper
from apex_llm_core.routing.balancer import LoadBalancer
from apex_llm_core.routing.flight import Flight, being_cancelled
from apex_llm_core.routing.governor import Governor
from apex_llm_core.routing.places import Place

R = TypeVar("R", GenerateRequest, EmbedRequest, ImageRequest)
T = TypeVar("T")


class Attempts:
    """Makes attempts; each is settled when it has failed, and handed on when it has not."""

    def __init__(
        self, *, balancer: LoadBalancer, governor: Governor, sweeper: Sweeper, scrub: Callable[[str], str]
    ) -> None:
        self._balancer = balancer
        self._governor = governor
        self._sweeper = sweeper
        self._scrub = scrub

    async def make(
        self, place: Place[R], reason: AttemptReason, context: CallContext, call: Callable[[R, Flight], Awaitable[T]]
    ) -> T:
        """Make one attempt.

        Raises:
            LLMError: it failed, and is settled.
        """
        flight = self._take_off(place, reason, context)
        try:
            with flight.watch:
                return await call(place.request, flight)
        except asyncio.CancelledError as cancelled:
            if being_cancelled():
                if place.lost:
                    flight.lose(place.request.estimated_prompt_tokens)
                else:
                    flight.abandon()
                raise
            place.charged = flight.context.charged
            raise flight.fail(cancelled) from cancelled
        except Exception as raised:
            place.charged = flight.context.charged
            error = flight.fail(raised)
            if error is raised:
                raise
            raise error from error.__cause__
        except BaseException:
            flight.abandon()
            raise

    def _take_off(self, place: Place[R], reason: AttemptReason, context: CallContext) -> Flight:
        candidate = place.candidate
        timeout = place.request.options.timeout
        if timeout is None:
            timeout = candidate.timeout
        watch = self._sweeper.watch(silence=timeout, deadline=context.deadline)
        return Flight(
            context=context.for_attempt(
                candidate,
                self._governor.begin(context, reason),
                timeout=timeout,
                touch=watch.touch,
                note_rate_limits=place.standing.note_rate_limits,
            ),
            watch=watch,
            balancer=self._balancer,
            place=place,
            reason=reason,
            scrub=self._scrub,
        )


__all__ = ["Attempts"]
