"""One attempt in flight: begun before the provider is called, ended exactly once, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from apex_llm_core.context import CallContext
from apex_llm_core.errors import Attempt, AttemptReason, LLMError, LLMErrorType, UnknownError
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.events import AttemptFinished
from apex_llm_core.models.results import Usage
from apex_llm_core.policies.breaker import blames_provider
from apex_llm_core.policies.deadline import Watch
from apex_llm_core.routing.balancer import LoadBalancer
from apex_llm_core.routing.places import Place

#: They tell a bulkhead that the provider has too much to do.
_OVERLOADED = frozenset({LLMErrorType.RATE_LIMIT_ERROR, LLMErrorType.TIMEOUT_ERROR})


class Flight:
    """Settles breaker, bulkhead, limits, live facts, the request's bill and attempts, and the event of one attempt.

    A stream's attempt ends when the stream does, so that a broken stream counts as the failure it is.
    """

    __slots__ = (
        "_balancer",
        "_ended",
        "_place",
        "_scrub",
        "_started",
        "adapted",
        "candidate",
        "context",
        "cost",
        "first_chunk_after",
        "reason",
        "watch",
    )

    def __init__(
        self,
        *,
        context: CallContext,
        watch: Watch,
        balancer: LoadBalancer,
        place: Place[Any],
        reason: AttemptReason,
        scrub: Callable[[str], str],
    ) -> None:
        self.candidate: Candidate = place.candidate
        #: The attempt's context.
        self.context = context
        self.watch = watch
        self.reason: AttemptReason = reason
        #: What was changed in the request for this candidate.
        self.adapted = place.option.adapted
        #: What this attempt cost, None while that is not known.
        self.cost: float | None = None
        #: Seconds from the start to the first chunk of a stream.
        self.first_chunk_after: float | None = None
        self._balancer = balancer
        self._place = place
        self._scrub = scrub
        self._started = context.clock()
        self._ended = False
        LoadBalancer.begin(place.standing)

    def first_chunk(self) -> None:
        """Note that the first chunk of a stream is there."""
        self.first_chunk_after = after = self.context.clock() - self._started
        # However the stream ends, and whoever leaves it: this is how long it took to begin.
        self._place.standing.first_chunks.add(after)

    def succeed(self, usage: Usage | None = None) -> None:
        """End well; *usage* is what the provider counted."""
        if self._ended:
            return
        duration = self._end()
        first = self.first_chunk_after
        self._place.standing.breaker.success(self._place.permit, duration if first is None else first)
        output = usage.completion_tokens if usage is not None else 0
        self._balancer.end(
            self._place.standing, succeeded=True, latency=duration, time_to_first_chunk=first, output_tokens=output
        )
        if self._place.placed:
            sample = first if first is not None else duration / output if output > 0 else None
            self._place.standing.bulkhead.release(sample, kind=(self.candidate.model, first is None), succeeded=True)
        self._charge(usage)
        self._record("ok", duration, None)

    def fail(self, raised: BaseException) -> LLMError:
        """End badly; return what *raised* is in our taxonomy."""
        error = typed(raised, self.candidate)
        # Some providers and libraries quote the request, credentials included.
        error.restate(self._scrub)
        if self._ended:
            return error
        duration = self._end()
        blamed = blames_provider(error.type)
        if blamed:
            self._place.standing.breaker.failure(
                self._place.permit, retry_after=error.retry_after, seconds=self.first_chunk_after
            )
        else:
            self._place.standing.breaker.release(self._place.permit)
        self._balancer.end(self._place.standing, succeeded=False if blamed else None)
        if self._place.placed:
            self._place.standing.bulkhead.release(
                dropped=error.type in _OVERLOADED, succeeded=False if blamed else None
            )
        if self.first_chunk_after is not None:
            self._charge(self.context.delivery.usage)
        elif self.context.charged and error.type is LLMErrorType.TIMEOUT_ERROR:
            self._charge(None)
        elif self._place.settle is not None:
            self._place.settle(0, 0.0)
        self._record(error.type.value, duration, error)
        return error

    def abandon(self) -> None:
        """End without a verdict: the caller left, or another attempt was faster. What it cost is not known."""
        if self._ended:
            return
        duration = self._end()
        self._place.standing.breaker.release(self._place.permit)
        self._balancer.end(self._place.standing, succeeded=None)
        if self._place.placed:
            self._place.standing.bulkhead.release()
        self._charge(self.context.delivery.usage if self.first_chunk_after is not None else None)
        self._record("cancelled", duration, None, "the caller left")

    def lose(self, prompt_tokens: int) -> None:
        """End because another attempt was faster: the prompt at least, *prompt_tokens* by estimate, is paid for."""
        if self._ended:
            return
        duration = self._end()
        self._place.standing.breaker.release(self._place.permit)
        self._balancer.end(self._place.standing, succeeded=None)
        if self._place.placed:
            self._place.standing.bulkhead.release()
        if self.first_chunk_after is None:
            # It would have taken longer still. Left out, the slowest would be missing, and ever more requests be hedged.
            standing = self._place.standing
            window = standing.first_chunks if getattr(self._place.request, "stream", False) else standing.answers
            window.add(duration)
        price = self.candidate.cost_per_input_token
        self.cost = None if price is None else prompt_tokens * price
        self.context.bill.add(prompt_tokens, self.cost)
        if self._place.settle is not None:
            self._place.settle(None, None)
        self._record("cancelled", duration, None, "another attempt was faster")

    def _end(self) -> float:
        self._ended = True
        return self.context.clock() - self._started

    def _charge(self, usage: Usage | None) -> None:
        """Put what was used on the request's bill and on the limits."""
        tokens = None
        if usage is not None:
            tokens = usage.prompt_tokens + usage.completion_tokens
            self.cost = cost_of(self.candidate, usage)
        self.context.bill.add(tokens, self.cost)
        if self._place.settle is not None:
            self._place.settle(tokens, self.cost)

    def _record(self, outcome: str, duration: float, error: LLMError | None, message: str = "") -> None:
        context, candidate = self.context, self.candidate
        if error is None:
            attempt = Attempt(
                number=context.attempt,
                provider=candidate.provider,
                model=candidate.model,
                duration=duration,
                message=message,
                reason=self.reason,
                adapted=self.adapted,
                cost=self.cost,
            )
        else:
            attempt = Attempt(
                number=context.attempt,
                provider=candidate.provider,
                model=candidate.model,
                duration=duration,
                error_type=error.type,
                message=error.message,
                status_code=error.status_code,
                retry_after=error.retry_after,
                request_id=error.request_id,
                reason=self.reason,
                adapted=self.adapted,
                cost=self.cost,
            )
        context.attempts.append(attempt)
        context.emit(
            AttemptFinished(
                request_id=context.request_id,
                operation=context.operation,
                outcome=outcome,
                attempt=attempt,
                time_to_first_chunk=self.first_chunk_after,
            )
        )


def cost_of(candidate: Candidate, usage: Usage | None) -> float | None:
    """Return the cost of *usage* at the candidate's prices, None when usage or a price that matters is unknown."""
    if usage is None:
        return None
    total = 0.0
    for tokens, price in (
        (usage.prompt_tokens, candidate.cost_per_input_token),
        (usage.completion_tokens, candidate.cost_per_output_token),
    ):
        if tokens:
            if price is None:
                return None
            total += tokens * price
    return total


def being_cancelled() -> bool:
    """Return whether somebody cancelled the running task; otherwise a `CancelledError` is the provider's own doing."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def typed(raised: BaseException, candidate: Candidate) -> LLMError:
    """Return *raised* as an `LLMError` that names the provider and model; what is none becomes an `UnknownError`."""
    if isinstance(raised, LLMError):
        if raised.provider is None:
            raised.provider = candidate.provider
        if raised.model is None:
            raised.model = candidate.model
        return raised
    if isinstance(raised, asyncio.CancelledError):
        message = f"provider {candidate.provider!r} cancelled its own call"
    else:
        message = f"provider {candidate.provider!r} raised {type(raised).__name__}, which is no LLMError: {raised}"
    error = UnknownError(message, provider=candidate.provider, model=candidate.model, original_error=raised)
    error.__cause__ = raised
    return error


__all__ = ["Flight", "being_cancelled", "cost_of", "typed"]
