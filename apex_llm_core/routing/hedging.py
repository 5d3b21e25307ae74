"""Hedging: a further attempt beside one that is slower than usual; the first answer wins, all are paid.

When: nothing arrived within the candidate's usual time (a percentile of its first chunks, for whole answers of its answers), somebody
else is well, there is time and budget left, and the price is bearable. Another provider is asked first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from apex_llm_core.config.schema import HedgingConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import AttemptReason, LLMError
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.events import Hedged, HedgeFinished
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.routing.governor import Governor
from apex_llm_core.routing.journey import Journey
from apex_llm_core.routing.places import Place

R = TypeVar("R", GenerateRequest, EmbedRequest, ImageRequest)
T = TypeVar("T")
#: Makes one attempt, raises a settled `LLMError`.
Attempting = Callable[[Place[R], AttemptReason], Awaitable[T]]
#: Gets the next place at another provider than this one if there is one.
Finding = Callable[[str], Awaitable[Place[R] | None]]


class Hedger:
    """Decides when a request is hedged, and runs the race."""

    def __init__(self, config: HedgingConfig, governor: Governor) -> None:
        self._config = config
        self._governor = governor
        self._operations = frozenset(config.operations)

    def delay(self, place: Place[Any], context: CallContext, *, streamed: bool) -> float | None:
        """Return the seconds after which *place* deserves company, None for never."""
        config = self._config
        if context.operation not in self._operations:
            return None
        delay = config.delay
        if delay is None:
            delay = place.standing.typical(config.percentile, streamed=streamed, minimum=config.minimum_samples)
        remaining = context.remaining()
        if delay is None or (remaining is not None and delay >= remaining):
            return None
        return delay

    def affordable(self, request: R, candidate: Candidate) -> bool:
        """Return whether a further attempt there costs, by estimate, no more than is allowed."""
        if self._config.max_cost is None:
            return True
        estimate = _estimated_cost(request, candidate)
        return estimate is not None and estimate <= self._config.max_cost

    async def race(
        self,
        first: Place[R],
        reason: AttemptReason,
        delay: float,
        *,
        journey: Journey[R],
        context: CallContext,
        attempt: Attempting[R, T],
        find: Finding[R],
        discard: Callable[[T], Awaitable[None]],
    ) -> tuple[T, Place[R]]:
        """Return the first answer, and where it came from. Losers are cancelled and waited for.

        Raises:
            LLMError: all of them failed; the last failure.
        """
        race = _Race(attempt, discard)
        race.enter(first, reason)
        try:
            extra = self._config.max_extra
            while True:
                won = await race.wait(delay if extra else None)
                if won is not None:
                    return await self._finish(race, won, first, context)
                if not extra:
                    continue
                extra -= 1
                hedge = await self._company(first, journey, context, find)
                if hedge is None:
                    extra = 0
                    continue
                context.emit(
                    Hedged(
                        request_id=context.request_id,
                        from_provider=first.candidate.provider,
                        from_model=first.candidate.model,
                        to_provider=hedge.candidate.provider,
                        to_model=hedge.candidate.model,
                        delay=delay,
                    )
                )
                race.enter(hedge, "hedge")
        finally:
            await race.end()

    async def _company(
        self, first: Place[R], journey: Journey[R], context: CallContext, find: Finding[R]
    ) -> Place[R] | None:
        governor = self._governor
        if governor.exhausted(context) or not journey.alternatives(1) or not governor.pay_hedge():
            return None
        try:
            hedge = await find(first.candidate.provider)
        except BaseException:
            governor.refund_hedge()
            raise
        if hedge is not None and not self.affordable(hedge.request, hedge.candidate):
            hedge.give_up()
            journey.last(hedge.option)
            hedge = None
        if hedge is None:
            governor.refund_hedge()
        return hedge

    @staticmethod
    async def _finish(
        race: _Race[R, T], won: tuple[T, Place[R]], first: Place[R], context: CallContext
    ) -> tuple[T, Place[R]]:
        if race.hedged:
            place = won[1]
            context.emit(
                HedgeFinished(
                    request_id=context.request_id,
                    provider=place.candidate.provider,
                    model=place.candidate.model,
                    won=place is not first,
                )
            )
        try:
            await race.end()
        except BaseException:
            # Cancelled while the losers end: nobody will take the winner's answer.
            await race.throw_away(won[0])
            raise
        return won


class _Race(Generic[R, T]):
    """Attempts under way side by side."""

    def __init__(self, attempt: Attempting[R, T], discard: Callable[[T], Awaitable[None]]) -> None:
        self._attempt: Attempting[R, T] = attempt
        self.throw_away = discard
        self._running: dict[asyncio.Task[T], Place[R]] = {}
        self.hedged = False
        self._decided = False

    def enter(self, place: Place[R], reason: AttemptReason) -> None:
        self.hedged = bool(self._running)
        task = asyncio.ensure_future(self._attempt(place, reason))
        self._running[task] = place

    async def wait(self, seconds: float | None) -> tuple[T, Place[R]] | None:
        """Return the first answer; None when there is none after *seconds*.

        Raises:
            LLMError: the last one failed, too.
        """
        done, _ = await asyncio.wait(self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        failure: LLMError | None = None
        for task in done:
            if task.cancelled() or task.exception() is not None:
                del self._running[task]
                error = None if task.cancelled() else task.exception()
                if error is not None and not isinstance(error, LLMError):
                    raise error
                failure = error
        for task in done & self._running.keys():
            self._decided = True
            return task.result(), self._running.pop(task)
        if failure is not None and not self._running:
            raise failure
        return None

    async def end(self) -> None:
        """Cancel whoever is still under way and wait until they have ended; an answer that came all the same is thrown away."""
        for task, place in self._running.items():
            place.lost = self._decided
            task.cancel()
        cancelled: asyncio.CancelledError | None = None
        while self._running:
            try:
                await asyncio.wait(self._running)
                for task in list(self._running):
                    del self._running[task]
                    if not task.cancelled() and task.exception() is None:
                        await self.throw_away(task.result())
            except asyncio.CancelledError as again:
                # Left alone now, the others would leave behind what nobody gives back.
                cancelled = again
        if cancelled is not None:
            raise cancelled


def _estimated_cost(request: R, candidate: Candidate) -> float | None:
    """Return what the request costs at *candidate* if its answer is as long as it may be, None when that is not known."""
    price_in, price_out = candidate.cost_per_input_token, candidate.cost_per_output_token
    if price_in is None:
        return None
    cost = request.estimated_prompt_tokens * price_in
    if isinstance(request, EmbedRequest):
        return cost
    longest = getattr(request.options, "max_tokens", None) or candidate.max_output_tokens
    if price_out is None or longest is None:
        return None
    return cost + float(longest * price_out)


__all__ = ["Hedger"]
