"""The fallback handler: goes through the ranking until one candidate answers, retrying each as long as that makes sense.

What happens after a failure:

===============================  ==========================  ==================================================
error type                       same provider again         next candidate
===============================  ==========================  ==================================================
rate_limit, service_unavailable, while `retryable`, retries  yes
timeout                          are left and paid; no
                                 timeout of a charged call
                                 (`context.charged`); not
                                 while an equal is free,
                                 nor on the attempts that
                                 those not asked yet need
context_length_exceeded          no                          `[fallback] context_length` of the model first,
                                                             then only a larger (or unknown) window
content_filter                   no                          only `[fallback] content_filter` of the model
authentication, authorization,   no                          yes
quota_exceeded, model_not_found,
unknown
invalid_request                  no                          no: it would fail everywhere; but yes when only this
                                                             candidate does not take an option of the request
===============================  ==========================  ==================================================

After the candidates of the model come those of `[fallback] models`, then, where `[fallback] missing_features` allows it, candidates
that lack something, with the request changed for them. How many attempts there may be altogether is the governor's matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from apex_llm_core.config.schema import Config
from apex_llm_core.context import CallContext
from apex_llm_core.errors import (
    AttemptReason,
    LLMError,
    LLMErrorType,
    LLMTimeoutError,
    UnsupportedParameterError,
)
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.events import FellBack, RequestAdapted, RetryScheduled
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.policies.deadline import Sweeper
from apex_llm_core.policies.retry import RetryPolicy
from apex_llm_core.routing.affinity import Affinity
from apex_llm_core.routing.attempts import Attempts
from apex_llm_core.routing.balancer import LoadBalancer
from apex_llm_core.routing.decisions import DecisionLog
from apex_llm_core.routing.detours import Detours
from apex_llm_core.routing.flight import Flight
from apex_llm_core.routing.governor import Governor
from apex_llm_core.routing.hedging import Hedger
from apex_llm_core.routing.itinerary import Itinerary
from apex_llm_core.routing.journey import Journey
from apex_llm_core.routing.placement import Placement
from apex_llm_core.routing.places import Place

R = TypeVar("R", GenerateRequest, EmbedRequest, ImageRequest)
T = TypeVar("T")

_RETRIED = frozenset(
    {LLMErrorType.RATE_LIMIT_ERROR, LLMErrorType.SERVICE_UNAVAILABLE_ERROR, LLMErrorType.TIMEOUT_ERROR}
)


async def _nothing(answer: Any) -> None:
    """Stand in for `discard` where an unused answer holds nothing."""


class FallbackHandler:
    """Runs a request to its first success."""

    def __init__(
        self,
        *,
        config: Config,
        itinerary: Itinerary,
        placement: Placement,
        balancer: LoadBalancer,
        affinity: Affinity,
        governor: Governor,
        retry: RetryPolicy,
        sweeper: Sweeper,
        decisions: DecisionLog,
        scrub: Callable[[str], str],
    ) -> None:
        self._enabled = config.manager.fallback_enabled
        self._itinerary = itinerary
        self._placement = placement
        self._balancer = balancer
        self._affinity = affinity
        self._governor = governor
        self._retry = retry
        self._decisions = decisions
        self._attempts = Attempts(balancer=balancer, governor=governor, sweeper=sweeper, scrub=scrub)
        self._detours = Detours(config.fallback, itinerary)
        self._hedger = Hedger(config.hedging, governor) if config.hedging.enabled else None

    def candidates(self, request: R, context: CallContext) -> tuple[Candidate, ...]:
        """Return everybody who may be asked, fallbacks included; nobody is asked, and nothing is recorded.

        Raises:
            ModelNotFoundError: nobody could serve *request*.
        """
        options = self._itinerary.of(request, context, self._decisions.nothing, dry=True)
        return tuple(option.candidate for option in options)

    async def run(
        self,
        request: R,
        context: CallContext,
        call: Callable[[R, Flight], Awaitable[T]],
        *,
        reason: AttemptReason = "first",
        discard: Callable[[T], Awaitable[None]] = _nothing,
    ) -> T:
        """Return the answer of the first candidate that succeeds.

        *call* gets the request for its candidate and the attempt's flight, which it ends, or hands on, when it succeeds;
        *discard* gets an answer that nobody needs any more.

        Raises:
            LLMError: the last failure; its `attempts` tell all of them.
            PluginError: the strategy broke its contract.
        """
        if reason == "first":
            self._governor.request()
        draft = self._decisions.nothing if reason == "shadow" else self._decisions.draft(request, context)
        outcome = "cancelled"
        try:
            if context.remaining() == 0.0:
                # A middleware, or the same request of somebody else, took all the time.
                raise LLMTimeoutError(
                    "the deadline of the request passed before anybody was asked", model=request.model
                )
            journey = Journey(self._itinerary.of(request, context, draft), self._balancer, context, draft)
            streamed = getattr(request, "stream", False)
            governor, hedger = self._governor, self._hedger
            error: LLMError | None = None
            # What is worth telling the caller when the last candidate only did not take an option.
            telling: LLMError | None = None
            place = self._placement.at_once(journey) or await self._placement.next(journey, context)
            while place is not None:
                retries = cost = 0
                while True:
                    journey.taken(place)
                    begun = context.started + 1
                    failures: list[tuple[Place[R], LLMError]] = []
                    try:
                        delay = None
                        if hedger is not None and not retries and reason != "shadow":
                            delay = hedger.delay(place, context, streamed=streamed)
                        if delay is None:
                            answer = await self._attempts.make(place, reason, context, call)
                        else:
                            answer, place = await self._race(
                                place, reason, delay, journey, context, call, discard, failures
                            )
                    except LLMError as failed:
                        error = failed
                        failures = failures or [(place, failed)]
                        for where, why in failures:
                            draft.failed(where.candidate, why.type.value)
                            if not isinstance(why, UnsupportedParameterError):
                                telling = why
                    else:
                        for where, why in failures:
                            draft.failed(where.candidate, why.type.value)
                        governor.succeeded(place.candidate.provider, cost)
                        if context.caller.session is not None and reason != "shadow":
                            self._affinity.remember(context.caller, request.model, place.candidate)
                        outcome = "ok"
                        return answer
                    if governor.exhausted(context):
                        raise self._with_attempts(telling or error, context)
                    # After a race nobody is asked again: all of them were asked already.
                    delay = None if context.started > begun else self._delay(place, error, retries, journey, context)
                    if delay is None:
                        break
                    retries += 1
                    self._tell_retry(place.candidate, error, delay, context)
                    await asyncio.sleep(delay)
                    renewed = await self._placement.renewed(place, error, journey, context)
                    if renewed is None:
                        break
                    place, cost = renewed
                    reason = "retry" if reason != "shadow" else reason
                if not self._enabled:
                    break
                final = self._detours.follow(failures, journey, request, context, draft)
                if final is not None:
                    telling = final
                    break
                left, place = place.candidate, await self._placement.next_in_time(journey, context, streamed=streamed)
                reason = "fallback" if reason in {"first", "retry"} else reason
                if place is not None and reason != "shadow":
                    self._tell_fallback(left, place, error, context)
            if error is not None:
                shown = telling or error
                raise self._with_attempts(shown, context) from journey.broken or shown.__cause__
            raise self._placement.nobody(request, journey)
        except LLMError as failure:
            outcome = failure.type.value
            raise
        finally:
            draft.close(outcome)

    async def _race(
        self,
        place: Place[R],
        reason: AttemptReason,
        delay: float,
        journey: Journey[R],
        context: CallContext,
        call: Callable[[R, Flight], Awaitable[T]],
        discard: Callable[[T], Awaitable[None]],
        failures: list[tuple[Place[R], LLMError]],
    ) -> tuple[T, Place[R]]:
        """Make an attempt that gets company when it is slow; return the first answer, and where it came from.

        Who fails is added to *failures*.
        """
        assert self._hedger is not None  # noqa: S101 - nobody else told the delay
        streamed = getattr(place.request, "stream", False)

        async def attempt(where: Place[R], why: AttemptReason) -> T:
            if where is not place:
                journey.taken(where)
            try:
                return await self._attempts.make(where, why, context, call)
            except LLMError as error:
                failures.append((where, error))
                raise

        return await self._hedger.race(
            place,
            reason,
            delay,
            journey=journey,
            context=context,
            attempt=attempt,
            find=lambda other: self._placement.next_in_time(journey, context, streamed=streamed, other_than=other),
            discard=discard,
        )

    def _delay(
        self, place: Place[R], error: LLMError, retries: int, journey: Journey[R], context: CallContext
    ) -> float | None:
        """Return the seconds to wait before trying the same candidate again, None to leave it."""
        allowed = place.request.options.retry_count
        candidate = place.candidate
        if allowed is None:
            allowed = candidate.retry_count
        if not error.retryable or error.type not in _RETRIED or retries >= allowed:
            return None
        if place.charged and error.type is LLMErrorType.TIMEOUT_ERROR and error.status_code is None:
            return None
        if not self._governor.covers_retry(candidate.provider, error):
            return None
        delay = self._retry.delay(retries + 1, error)
        if place.standing.breaker.retry_after() > delay:
            # It would not be admitted then.
            return None
        remaining = context.remaining()
        if remaining is not None and delay >= remaining:
            return None
        if self._enabled:
            left = self._governor.left(context)
            others = journey.alternatives(left)
            # What is left of the attempts is for those who were not asked yet: one of them may be well.
            if len(others) >= left:
                return None
            # Waiting for one while its equal is free would be for nothing.
            if others and (delay > self._retry.patience or others[0].priority <= candidate.priority):
                return None
        return delay

    # -- what is told --------------------------------------------------------------------------------------------------

    @staticmethod
    def _with_attempts(error: LLMError, context: CallContext) -> LLMError:
        error.attempts = tuple(context.attempts)
        return error

    @staticmethod
    def _tell_retry(candidate: Candidate, error: LLMError, delay: float, context: CallContext) -> None:
        context.emit(
            RetryScheduled(
                request_id=context.request_id,
                provider=candidate.provider,
                model=candidate.model,
                number=context.started + 1,
                delay=delay,
                error_type=error.type,
            )
        )

    @staticmethod
    def _tell_fallback(left: Candidate, place: Place[Any], error: LLMError, context: CallContext) -> None:
        taken = place.candidate
        context.emit(
            FellBack(
                request_id=context.request_id,
                from_provider=left.provider,
                from_model=left.model,
                to_provider=taken.provider,
                to_model=taken.model,
                error_type=error.type,
            )
        )
        if place.option.adapted:
            context.emit(
                RequestAdapted(
                    request_id=context.request_id,
                    provider=taken.provider,
                    model=taken.model,
                    changes=place.option.adapted,
                )
            )


__all__ = ["FallbackHandler"]
