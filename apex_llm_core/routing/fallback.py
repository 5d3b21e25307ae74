"""The fallback handler: goes through the ranking until one candidate answers, retrying each as long as that makes sense.

What happens after a failure:

===============================  ======================  ====================================================
error type                       same provider again     next candidate
===============================  ======================  ====================================================
rate_limit, service_unavailable, while `retryable`, and  yes
timeout                          retries are left
context_length_exceeded          no                      only one with a larger (or unknown) window
authentication, authorization,   no                      yes
quota_exceeded, model_not_found,
unknown
invalid_request, content_filter  no                      no: it would fail, or be refused, everywhere
===============================  ======================  ====================================================

A candidate whose provider said when to come back is left alone until then, by this request and by all others, as long as
there is another one. One deadline and one cap of attempts hold over all of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Generic, TypeVar

import attrs

from apex_llm_core.config.schema import ManagerConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError, LLMErrorType, ModelNotFoundError, PluginError, RateLimitError
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.events import FellBack, LimitRejected, RetryScheduled
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.policies.breaker import CircuitBreaker
from apex_llm_core.policies.deadline import Sweeper
from apex_llm_core.policies.limits import Limiter, Refusal
from apex_llm_core.policies.retry import RetryPolicy
from apex_llm_core.routing.balancer import LoadBalancer
from apex_llm_core.routing.flight import Flight, being_cancelled
from apex_llm_core.routing.router import Route, Router
from apex_llm_core.routing.selector import Selector

R = TypeVar("R", GenerateRequest, EmbedRequest, ImageRequest)
T = TypeVar("T")

_FINAL = frozenset({LLMErrorType.INVALID_REQUEST_ERROR, LLMErrorType.CONTENT_FILTER_ERROR})
_RETRIED = frozenset(
    {LLMErrorType.RATE_LIMIT_ERROR, LLMErrorType.SERVICE_UNAVAILABLE_ERROR, LLMErrorType.TIMEOUT_ERROR}
)


@attrs.define(kw_only=True, eq=False)
class _Place(Generic[R]):
    """A candidate that breaker and limits admit now; `request` is the one to send there."""

    request: R
    candidate: Candidate
    breaker: CircuitBreaker | None
    permit: int
    #: Gives back what the limits counted.
    leave: Callable[[], None] | None


class _Journey(Generic[R]):
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

    def next(self) -> _Place[R] | None:
        """Return the next place, None at the end."""
        return self._next_ranked() or self._last_resort()

    def _next_ranked(self) -> _Place[R] | None:
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

    def _last_resort(self) -> _Place[R] | None:
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

    def _place(self, request: R, candidate: Candidate, breaker: CircuitBreaker | None, permit: int) -> _Place[R] | None:
        place = _Place(request=request, candidate=candidate, breaker=breaker, permit=permit, leave=None)
        if not self._admitted(place):
            return None
        self._asked = True
        return place

    def renew(self, place: _Place[R]) -> bool:
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

    def _admitted(self, place: _Place[R]) -> bool:
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
        self._limiter = limiter
        self._sweeper = sweeper

    async def run(self, request: R, context: CallContext, call: Callable[[R, Flight], Awaitable[T]]) -> T:
        """Return the answer of the first candidate that succeeds.

        *call* gets the request for its candidate and the attempt's flight, which it ends, or hands on, when it succeeds.

        Raises:
            LLMError: the last failure; its `attempts` tell all of them.
            PluginError: the strategy broke its contract.
        """
        journey = _Journey(self._pairs(request, context), self._balancer, self._limiter, context)
        number = 0
        error: LLMError | None = None
        place = journey.next()
        while place is not None:
            retries = 0
            while True:
                number += 1
                flight = self._take_off(place, context, number)
                try:
                    with flight.watch:
                        return await call(place.request, flight)
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
                delay = self._delay(place, error, retries, journey, context)
                if delay is None:
                    break
                retries += 1
                self._tell_retry(place.candidate, error, delay, number, context)
                await asyncio.sleep(delay)
                if not journey.renew(place):
                    break
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

    def _take_off(self, place: _Place[R], context: CallContext, number: int) -> Flight:
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
        self, place: _Place[R], error: LLMError, retries: int, journey: _Journey[R], context: CallContext
    ) -> float | None:
        """Return the seconds to wait before trying the same candidate again, None to leave it."""
        allowed = place.request.options.retry_count
        if allowed is None:
            allowed = place.candidate.retry_count
        if not error.retryable or error.type not in _RETRIED or retries >= allowed:
            return None
        delay = self._retry.delay(retries + 1, error)
        remaining = context.remaining()
        if remaining is not None and delay >= remaining:
            return None
        if delay > self._retry.patience and self._enabled and journey.has_alternative():
            return None
        return delay

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


__all__ = ["FallbackHandler", "refusal"]
