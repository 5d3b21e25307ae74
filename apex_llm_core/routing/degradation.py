"""Graceful degradation: what is done, step by step, when every candidate failed and something less is better than nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import attrs

from apex_llm_core.config.schema import DegradationConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError, LLMErrorType, ServiceUnavailableError
from apex_llm_core.models.events import Degraded
from apex_llm_core.models.requests import GenerateRequest

T = TypeVar("T")
#: Failures of providers. What is wrong with a request, or refused by a policy, less would not make right.
_OUTAGES = frozenset(
    {
        LLMErrorType.AUTHENTICATION_ERROR,
        LLMErrorType.AUTHORIZATION_ERROR,
        LLMErrorType.QUOTA_EXCEEDED_ERROR,
        LLMErrorType.RATE_LIMIT_ERROR,
        LLMErrorType.SERVICE_UNAVAILABLE_ERROR,
        LLMErrorType.TIMEOUT_ERROR,
        LLMErrorType.UNKNOWN_ERROR,
    }
)


class Degradation:
    """The configured steps.

    Args:
        steps: the `[[degradation]]` tables.
        lists: tells whether a model (first) is one of a provider's (second).
        exhausted: tells whether a request may have no further attempt.
    """

    def __init__(
        self,
        steps: Sequence[DegradationConfig],
        lists: Callable[[str, str], bool],
        exhausted: Callable[[CallContext], bool],
    ) -> None:
        self._exhausted = exhausted
        self._steps = tuple(steps)
        self._lists = lists

    async def answer(
        self,
        error: LLMError,
        request: Any,
        context: CallContext,
        *,
        ask: Callable[[Any], Awaitable[T]],
        recall: Callable[[], Awaitable[T | None]],
    ) -> T:
        """Return what the first step gives that gives anything; `context.delivery.degraded` says which.

        Args:
            error: how the request itself failed.
            request: the request.
            context: its context.
            ask: answers another request in its place, under the same deadline and cap of attempts.
            recall: gives an answer from the cache that is out of date, None when there is none.

        Raises:
            LLMError: *error* when no step gives anything; the refusal of the step "refuse".
        """
        if error.type not in _OUTAGES:
            raise error
        for step in self._steps:
            if not fnmatchcase(request.model, step.model):
                continue
            if step.step == "refuse":
                self._tell(step, request, context, error)
                raise ServiceUnavailableError(
                    step.message, model=request.model, retry_after=error.retry_after, attempts=context.attempts
                ) from error
            answer = await self._taken(step, request, context, error, ask, recall)
            if answer is not None:
                return answer
        error.attempts = tuple(context.attempts)
        raise error

    async def _taken(
        self,
        step: DegradationConfig,
        request: Any,
        context: CallContext,
        error: LLMError,
        ask: Callable[[Any], Awaitable[T]],
        recall: Callable[[], Awaitable[T | None]],
    ) -> T | None:
        """Return what *step* gives, None when it gives nothing."""
        if step.step == "cached_answer":
            answer = await recall()
            if answer is not None:
                self._tell(step, request, context, error)
            return answer
        less = None if self._exhausted(context) else self._less(step, request)
        if less is None:
            return None
        self._tell(step, request, context, error)
        try:
            return await ask(less)
        except LLMError:
            context.delivery.degraded = ""
            return None

    def _less(self, step: DegradationConfig, request: Any) -> Any | None:
        """Return the request that *step* makes of *request*, None when that would be nothing less."""
        if step.step == "smaller_model":
            provider = request.options.provider
            if step.to_model is None or step.to_model == request.model:
                return None
            # Who names a provider has reasons; another one would not do.
            if provider is not None and not self._lists(step.to_model, provider):
                return None
            return attrs.evolve(request, model=step.to_model)
        if not isinstance(request, GenerateRequest):
            return None
        asked = request.options.max_tokens
        if step.max_tokens is None or (asked is not None and asked <= step.max_tokens):
            return None
        return attrs.evolve(request, options=attrs.evolve(request.options, max_tokens=step.max_tokens))

    @staticmethod
    def _tell(step: DegradationConfig, request: Any, context: CallContext, error: LLMError) -> None:
        context.delivery.degraded = step.step
        context.emit(
            Degraded(request_id=context.request_id, step=step.step, model=request.model, error_type=error.type)
        )


__all__ = ["Degradation"]
