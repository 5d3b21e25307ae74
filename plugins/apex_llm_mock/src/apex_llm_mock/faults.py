"""Which call fails, and how: pure rules over injected time and randomness.

======================  =====================================================================
condition of a fault    holds for a call when
======================  =====================================================================
``operations, models``  the call is one of these; only such calls are counted
``first = n``           it is among the first *n* counted
``every = n``           its number is a multiple of *n*
``calls = [...]``       its number is listed
``windows = [[a, b]]``  a <= seconds since the provider was made < b, for one of them
``probability = p``     a draw falls below *p*
======================  =====================================================================

Every fault counts and draws at every call that it concerns, whatever the other faults do: adding one does not move the
others. The first fault whose conditions all hold wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from random import Random

from apex_llm_core.errors import ERROR_CLASSES, LLMError, LLMErrorType
from apex_llm_mock.settings import Failure, Fault, Operation

#: The HTTP status with which such a failure usually comes.
STATUS_CODES = {
    LLMErrorType.AUTHENTICATION_ERROR: 401,
    LLMErrorType.AUTHORIZATION_ERROR: 403,
    LLMErrorType.RATE_LIMIT_ERROR: 429,
    LLMErrorType.QUOTA_EXCEEDED_ERROR: 429,
    LLMErrorType.INVALID_REQUEST_ERROR: 400,
    LLMErrorType.MODEL_NOT_FOUND_ERROR: 404,
    LLMErrorType.CONTEXT_LENGTH_EXCEEDED_ERROR: 400,
    LLMErrorType.CONTENT_FILTER_ERROR: 400,
    LLMErrorType.SERVICE_UNAVAILABLE_ERROR: 503,
    LLMErrorType.TIMEOUT_ERROR: 504,
    LLMErrorType.UNKNOWN_ERROR: 500,
}


class FaultPlanner:
    """Decides call by call; keeps a count per fault."""

    def __init__(self, faults: Sequence[Fault], *, clock: Callable[[], float], random: Random) -> None:
        self._faults = tuple(faults)
        self._counts = [0] * len(self._faults)
        self._clock = clock
        self._random = random
        self._start = clock()

    def next(self, operation: Operation, model: str) -> Fault | None:
        """Count one call and return the fault that strikes it, None when it goes well."""
        struck: Fault | None = None
        for position, fault in enumerate(self._faults):
            if operation not in fault.operations or not _matches(fault.models, model):
                continue
            self._counts[position] += 1
            if self._strikes(fault, self._counts[position]) and struck is None:
                struck = fault
        return struck

    def _strikes(self, fault: Fault, number: int) -> bool:
        # The draw comes first, so that the other conditions do not decide how many draws there are.
        drawn = fault.probability is None or self._random.random() < fault.probability
        age = self._clock() - self._start
        return (
            drawn
            and (fault.first is None or number <= fault.first)
            and (fault.every is None or number % fault.every == 0)
            and (not fault.calls or number in fault.calls)
            and (not fault.windows or any(begin <= age < end for begin, end in fault.windows))
        )


def _matches(patterns: Sequence[str], model: str) -> bool:
    return not patterns or any(fnmatchcase(model, pattern) for pattern in patterns)


def error_for(failure: Failure, *, provider: str, model: str) -> LLMError:
    """Return the error that *failure* describes."""
    kind = failure.error or LLMErrorType.UNKNOWN_ERROR
    return ERROR_CLASSES[kind](
        failure.message or f"the mock fails on order with {kind.value}",
        provider=provider,
        model=model,
        status_code=STATUS_CODES[kind] if failure.status_code is None else failure.status_code,
        retry_after=failure.retry_after,
        retryable=failure.retryable,
    )


__all__ = ["STATUS_CODES", "FaultPlanner", "error_for"]
