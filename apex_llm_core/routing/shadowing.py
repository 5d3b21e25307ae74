"""Shadow traffic: a copy of a request goes to another model, its answer is dropped, its cost is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from apex_llm_core.context import CallContext
from apex_llm_core.errors import ApexLLMError, LLMError
from apex_llm_core.models.events import ShadowFinished
from apex_llm_core.models.requests import GenerateRequest
from apex_llm_core.routing.router import Router

#: Copies under way at most; further ones are not made, so that a slow shadow never piles up.
_MOST = 64
Run = Callable[[Any, CallContext], Awaitable[Any]]


class Shadowing:
    """Makes the copies, and ends them with the generation."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._running: set[asyncio.Task[None]] = set()
        #: Copies that were not made because too many were under way.
        self.skipped = 0

    def cast(self, request: Any, context: CallContext, run: Run) -> None:
        """Send a copy of *request* where a routing rule wants one; *run* answers it whole."""
        target = self._router.shadow(request, context)
        if target is None:
            return
        if len(self._running) >= _MOST:
            self.skipped += 1
            return
        model, provider = target
        # One try: further ones would be paid from the budget of those who wait for an answer.
        options = attrs.evolve(request.options, provider=provider, no_cache=True, retry_count=0)
        copy = attrs.evolve(request, model=model, options=options)
        if isinstance(copy, GenerateRequest) and copy.stream:
            # Nobody reads it piece by piece.
            copy = attrs.evolve(copy, stream=False)
        remaining = context.remaining()
        own = CallContext(
            request_id=context.request_id,
            operation=context.operation,
            caller=context.caller,
            clock=context.clock,
            deadline=None if remaining is None else context.clock() + remaining,
            emit=context.emit,
            shadow=True,
        )
        task = asyncio.get_running_loop().create_task(self._follow(copy, own, run))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Cancel the copies under way."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(set(self._running))

    @staticmethod
    async def _follow(request: Any, context: CallContext, run: Run) -> None:
        started = context.clock()
        outcome, usage = "ok", None
        try:
            usage = (await run(request, context)).usage
        except LLMError as error:
            outcome = error.type.value
        except ApexLLMError:
            outcome = "plugin_error"
        last = context.attempts[-1] if context.attempts else None
        context.emit(
            ShadowFinished(
                request_id=context.request_id,
                provider=last.provider if last is not None else request.options.provider,
                model=last.model if last is not None else request.model,
                outcome=outcome,
                duration=context.clock() - started,
                usage=usage,
                cost=context.bill.cost,
            )
        )


__all__ = ["Shadowing"]
