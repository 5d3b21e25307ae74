"""The fallback handler: goes through the ranking until one candidate answers, retrying each as long as that makes sense.

What happens after a failure:

===============================  ======================  ====================================================
error type                       same provider again     next candidate
===============================  ======================  ====================================================
rate_limit, service_unavailable, while `retryable`, and  yes
timeout                          retries are left; no
                                 timeout of a charged
                                 call (`context.charged`)
context_length_exceeded          no                      only one with a larger (or unknown) window
authentication, authorization,   no                      yes
quota_exceeded, model_not_found,
unknown
invalid_request, content_filter  no                      no: it would fail, or be refused, everywhere
===============================  ======================  ====================================================

Retries are paid from their provider's credit (`policies.quota`), which runs out while most calls there fail. A candidate
whose provider said when to come back is left alone until then, by this request and by all others, as long as there is
another one. One deadline and one cap of attempts hold over all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

import attrs

from apex_llm_core.config.schema import ManagerConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError, LLMErrorType, ModelNotFoundError
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.events import FellBack, RetryScheduled
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.policies.deadline import Sweeper
from apex_llm_core.policies.limits import Limiter
from apex_llm_core.policies.quota import RetryQuota
from apex_llm_core.policies.retry import RetryPolicy
from apex_llm_core.routing.balancer import LoadBalancer
from apex_llm_core.routing.flight import Flight, being_cancelled
from apex_llm_core.routing.journey import Journey, Place
from apex_llm_core.routing.router import Route, Router
from apex_llm_core.routing.selector import Selector

R = TypeVar("R", GenerateRequest, EmbedRequest, ImageRequest)
T = TypeVar("T")

_FINAL = frozenset({LLMErrorType.INVALID_REQUEST_ERROR, LLMErrorType.CONTENT_FILTER_ERROR})
_RETRIED = frozenset(
    {LLMErrorType.RATE_LIMIT_ERROR, LLMErrorType.SERVICE_UNAVAILABLE_ERROR, LLMErrorType.TIMEOUT_ERROR}
)


class FallbackHandler:
    """Runs a request to its first success."""

    def __init__(
        self,
        *,
        config: ManagerConfig,
        fallback_models: Mapping[str, tuple[str, ...]],
        router: Router,
        selector: Selector,
        balancer: LoadBalancer,
        retry: RetryPolicy,
        retry_quota: int,
        limiter: Limiter,
        sweeper: Sweeper,
        scrub: Callable[[str], str],
    ) -> None:
        self._scrub = scrub
        self._enabled = config.fallback_enabled
        self._max_attempts = config.max_attempts
        self._models = fallback_models
        self._router = router
        self._selector = selector
        self._balancer = balancer
        self._retry = retry
        self._retry_quota = retry_quota
        #: By provider; none has one before its first retry.
        self._quotas: dict[str, RetryQuota] = {}
        self._limiter = limiter
        self._sweeper = sweeper

    async def run(self, request: R, context: CallContext, call: Callable[[R, Flight], Awaitable[T]]) -> T:
        """Return the answer of the first candidate that succeeds.

        *call* gets the request for its candidate and the attempt's flight, which it ends, or hands on, when it succeeds.

        Raises:
            LLMError: the last failure; its `attempts` tell all of them.
            PluginError: the strategy broke its contract.
        """
        journey = Journey(self._pairs(request, context), self._balancer, self._limiter, context)
        number = 0
        error: LLMError | None = None
        place = journey.next()
        while place is not None:
            retries = cost = 0
            while True:
                number += 1
                flight = self._take_off(place, context, number)
                try:
                    with flight.watch:
                        answer = await call(place.request, flight)
                    if self._quotas and (quota := self._quotas.get(place.candidate.provider)) is not None:
                        quota.succeed(cost)
                    return answer
                except asyncio.CancelledError as cancelled:
                    if being_cancelled():
                        flight.abandon()
                        raise
                    error = flight.fail(cancelled)
                except Exception as raised:
                    error = flight.fail(raised)
                except BaseException:
                    flight.abandon()
                    raise
                if error.type in _FINAL or number >= self._max_attempts or context.remaining() == 0.0:
                    raise self._with_attempts(error, context)
                delay = self._delay(place, error, retries, journey, flight.context)
                if delay is None:
                    break
                retries += 1
                self._tell_retry(place.candidate, error, delay, number, context)
                await asyncio.sleep(delay)
                quota = self._quota(place.candidate)
                paid = 0 if quota is None else quota.take(error)
                if paid is None:
                    break
                if not journey.renew(place):
                    if quota is not None:
                        quota.refund(paid)
                    break
                cost = paid
            if error.type is LLMErrorType.CONTEXT_LENGTH_EXCEEDED_ERROR:
                journey.too_small(place.candidate)
            if not self._enabled:
                break
            left, place = place.candidate, journey.next()
            if place is not None:
                self._tell_fallback(left, place.candidate, error, context)
        if error is not None:
            raise self._with_attempts(error, context) from journey.broken or error.__cause__
        raise journey.refused or ModelNotFoundError(
            f"the strategy leaves out every candidate of model {request.model!r}", model=request.model
        )

    def _pairs(self, request: R, context: CallContext) -> Iterator[tuple[R, Candidate]]:
        """Yield (request, candidate): the ranking of the model asked for, then those of its fallback models."""
        route = self._router.route(request, context)
        yield from self._ranked(request, route, context)
        provider = request.options.provider
        for model in self._models.get(route.model, ()):
            if provider is None or self._router.lists(model, provider):
                asked = attrs.evolve(request, model=model)
                try:
                    route = self._router.route(asked, context)
                except ModelNotFoundError:
                    # It cannot do what this request needs, or the rules forbid it.
                    continue
                yield from self._ranked(asked, route, context)

    def _ranked(self, request: R, route: Route, context: CallContext) -> Iterator[tuple[R, Candidate]]:
        asked = request if route.model == request.model else attrs.evolve(request, model=route.model)
        first = None
        if context.preferred is not None:
            first = next((c for c in route.candidates if c.provider == context.preferred), None)
            if first is not None:
                yield asked, first
        for candidate in self._selector.rank(asked, route):
            if candidate is not first:
                yield asked, candidate

    def _take_off(self, place: Place[R], context: CallContext, number: int) -> Flight:
        candidate = place.candidate
        timeout = place.request.options.timeout
        if timeout is None:
            timeout = candidate.timeout
        watch = self._sweeper.watch(silence=timeout, deadline=context.deadline)
        return Flight(
            candidate=candidate,
            context=CallContext(
                request_id=context.request_id,
                operation=context.operation,
                caller=context.caller,
                clock=context.clock,
                deadline=context.deadline,
                attempts=context.attempts,
                state=context.state,
                delivery=context.delivery,
                emit=context.emit,
                candidate=candidate,
                attempt=number,
                timeout=timeout,
                touch=watch.touch,
            ),
            watch=watch,
            breaker=place.breaker,
            permit=place.permit,
            leave=place.leave,
            scrub=self._scrub,
        )

    def _delay(
        self, place: Place[R], error: LLMError, retries: int, journey: Journey[R], context: CallContext
    ) -> float | None:
        """Return the seconds to wait before trying the same candidate again, None to leave it."""
        allowed = place.request.options.retry_count
        if allowed is None:
            allowed = place.candidate.retry_count
        if not error.retryable or error.type not in _RETRIED or retries >= allowed:
            return None
        if context.charged and error.type is LLMErrorType.TIMEOUT_ERROR and error.status_code is None:
            return None
        quota = self._quota(place.candidate)
        if quota is not None and not quota.covers(error):
            return None
        delay = self._retry.delay(retries + 1, error)
        remaining = context.remaining()
        if remaining is not None and delay >= remaining:
            return None
        if delay > self._retry.patience and self._enabled and journey.has_alternative():
            return None
        return delay

    def _quota(self, candidate: Candidate) -> RetryQuota | None:
        """Return the credit of the candidate's provider, None without limits."""
        if not self._retry_quota:
            return None
        quota = self._quotas.get(candidate.provider)
        if quota is None:
            quota = self._quotas[candidate.provider] = RetryQuota(self._retry_quota)
        return quota

    @staticmethod
    def _with_attempts(error: LLMError, context: CallContext) -> LLMError:
        error.attempts = tuple(context.attempts)
        return error

    @staticmethod
    def _tell_retry(candidate: Candidate, error: LLMError, delay: float, number: int, context: CallContext) -> None:
        context.emit(
            RetryScheduled(
                request_id=context.request_id,
                provider=candidate.provider,
                model=candidate.model,
                number=number + 1,
                delay=delay,
                error_type=error.type,
            )
        )

    @staticmethod
    def _tell_fallback(left: Candidate, taken: Candidate, error: LLMError, context: CallContext) -> None:
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


__all__ = ["FallbackHandler"]
