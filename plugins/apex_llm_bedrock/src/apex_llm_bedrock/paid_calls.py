"""One request as several calls: some at a time, and none of them paid for twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TypeVar

from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


async def paid_calls(
    keys: Sequence[K],
    call: Callable[[K], Awaitable[V]],
    *,
    concurrency: int,
    context: CallContext,
    purpose: str,
) -> list[V]:
    """Return what *call* gives for each of *keys*, in their order, at most *concurrency* calls at a time.

    Answers stay with the request: a further attempt for the same *purpose* makes the missing calls only.

    Raises:
        LLMError: of the first call that failed; the others are cancelled.
    """
    kept: dict[K, V] = context.state.setdefault(f"apex_llm_bedrock {purpose}", {})
    gate = asyncio.Semaphore(concurrency)

    async def answer(key: K) -> None:
        async with gate:
            if key not in kept:
                kept[key] = await call(key)

    missing = [key for key in dict.fromkeys(keys) if key not in kept]
    if len(missing) == 1:
        await answer(missing[0])
    elif missing:
        try:
            async with asyncio.TaskGroup() as group:
                for key in missing:
                    group.create_task(answer(key))
        except BaseExceptionGroup as failures:
            errors = [error for error in failures.exceptions if isinstance(error, LLMError)]
            raise errors[0] if errors else failures.exceptions[0] from failures
    return [kept[key] for key in keys]


__all__ = ["paid_calls"]
