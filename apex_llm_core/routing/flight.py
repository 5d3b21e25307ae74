"""One attempt in flight: begun before the provider is called, ended exactly once, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from apex_llm_core.context import CallContext
from apex_llm_core.errors import Attempt, LLMError, UnknownError
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.events import AttemptFinished
from apex_llm_core.policies.breaker import CircuitBreaker, blames_provider
from apex_llm_core.policies.deadline import Watch
from apex_llm_core.routing.balancer import LoadBalancer


class Flight:
    """Settles breaker, live facts, the request's list of attempts and the event of one attempt.

    A stream's attempt ends when the stream does, so that a broken stream counts as the failure it is.
    """

    __slots__ = (
        "_breaker",
        "_ended",
        "_leave",
        "_permit",
        "_scrub",
        "_started",
        "candidate",
        "context",
        "first_chunk_after",
        "watch",
    )

    def __init__(
        self,
        *,
        candidate: Candidate,
        context: CallContext,
        watch: Watch,
        breaker: CircuitBreaker | None,
        permit: int,
        leave: Callable[[], None] | None = None,
        scrub: Callable[[str], str] = str,
    ) -> None:
        self.candidate = candidate
        #: The attempt's context.
        self.context = context
        self.watch = watch
        #: Seconds from the start to the first chunk of a stream.
        self.first_chunk_after: float | None = None
        self._breaker = breaker
        self._permit = permit
        self._leave = leave
        self._scrub = scrub
        self._started = context.clock()
        self._ended = False
        LoadBalancer.begin(candidate)

    def first_chunk(self) -> None:
        """Note that the first chunk of a stream is there."""
        self.first_chunk_after = self.context.clock() - self._started

    def succeed(self) -> None:
        """End well."""
        if self._ended:
            return
        duration = self._end()
        if self._breaker is not None:
            self._breaker.success(self._permit)
        LoadBalancer.end(self.candidate, succeeded=True, latency=duration, time_to_first_chunk=self.first_chunk_after)
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
        if self._breaker is not None:
            if blamed:
                self._breaker.failure(self._permit)
            else:
                self._breaker.release(self._permit)
        LoadBalancer.end(self.candidate, succeeded=False if blamed else None)
        if blamed and error.retry_after:
            LoadBalancer.cool(self.candidate, error.retry_after, self.context.clock())
        self._record(error.type.value, duration, error)
        return error

    def abandon(self) -> None:
        """End without a verdict: the caller left."""
        if self._ended:
            return
        duration = self._end()
        if self._breaker is not None:
            self._breaker.release(self._permit)
        LoadBalancer.end(self.candidate, succeeded=None)
        self._record("cancelled", duration, None)

    def _end(self) -> float:
        self._ended = True
        if self._leave is not None:
            self._leave()
        return self.context.clock() - self._started

    def _record(self, outcome: str, duration: float, error: LLMError | None) -> None:
        context, candidate = self.context, self.candidate
        if error is None:
            attempt = Attempt(
                number=context.attempt, provider=candidate.provider, model=candidate.model, duration=duration
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


__all__ = ["Flight", "being_cancelled", "typed"]
