"""One request as several calls: some at a time, and none of them paid for twice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TypeVar

from apex_llm_core.context import CallContext

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

    After a failure no new call begins, but those under way end: the service has them in work, and bills them. Whoever cancels
    the whole cancels these, too.

    Raises:
        Exception: that of the first call that failed.
    """
    kept: dict[K, V] = context.state.setdefault(f"apex_llm_bedrock {purpose}", {})
    waiting = deque(key for key in dict.fromkeys(keys) if key not in kept)
    failures: list[Exception] = []

    async def work() -> None:
        while waiting and not failures:
            key = waiting.popleft()
            try:
                kept[key] = await call(key)
            except Exception as error:
                failures.append(error)

    if len(waiting) == 1:
        await work()
    elif waiting:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(waiting))):
                group.create_task(work())
    if failures:
        raise failures[0]
    return [kept[key] for key in keys]


__all__ = ["paid_calls"]
