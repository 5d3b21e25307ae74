"""A value that is made when somebody first needs it, once for everybody who waits."""

from __future__ import annotations

import asyncio
import contextvars
import copy
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from apex_llm_bedrock.credential_source import closed
from apex_llm_core.errors import ApexLLMError

T = TypeVar("T")


class Once(Generic[T]):
    """Keeps what *make* returned. A failure is raised to everybody who waited for it, and forgotten.

    Args:
        make: makes the value; raises an `ApexLLMError` that tells why it could not.
    """

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self._make = make
        self._made: list[T] = []
        self._flight: asyncio.Task[T | ApexLLMError] | None = None
        self._closed = False

    async def get(self) -> T:
        """Return the value. Cancelling takes it from nobody else.

        Raises:
            ApexLLMError: it cannot be made; each caller gets an instance of its own.
        """
        if self._made:
            return self._made[0]
        if self._closed:
            raise closed()
        if self._flight is None:
            self._flight = asyncio.create_task(self._fly(), name="once", context=contextvars.Context())
            self._flight.add_done_callback(self._landed)
        flight = self._flight
        await asyncio.wait((flight,))
        if flight.cancelled():
            raise closed()
        outcome = flight.result()
        if isinstance(outcome, ApexLLMError):
            raise copy.copy(outcome) from outcome.__cause__
        return outcome

    async def close(self) -> None:
        """Stop; whoever still waits gets an error."""
        self._closed = True
        flight = self._flight
        if flight is not None:
            flight.cancel()
            await asyncio.wait((flight,))

    def _landed(self, _flight: asyncio.Task[T | ApexLLMError]) -> None:
        self._flight = None

    async def _fly(self) -> T | ApexLLMError:
        try:
            made = await self._make()
        except ApexLLMError as error:
            return error
        self._made.append(made)
        return made


__all__ = ["Once"]
