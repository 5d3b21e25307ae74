"""Limits on the way of a request: of everybody, users and keys at its door, of providers and models at each attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from apex_llm_core.config.schema import LimitConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError, QuotaExceededError, RateLimitError
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.events import LimitRejected
from apex_llm_core.models.requests import EmbedRequest, Request
from apex_llm_core.policies.limits import Actual, Charge, Limiter, LimitStanding, Refusal, Ticket
from apex_llm_core.policies.shared_limits import SharedLimiter
from apex_llm_core.routing.places import Settle

_AT_THE_DOOR = frozenset({"all", "user", "key"})
_OF_CANDIDATES = frozenset({"provider", "model"})


class Admission:
    """Asks the limits and reports what they refuse.

    Args:
        limiter: the limits, counted here or in a shared store.
        limits: their tables.
    """

    def __init__(self, limiter: Limiter | SharedLimiter, limits: Sequence[LimitConfig]) -> None:
        self._limiter = limiter
        #: Whether anybody wants to know the size, and the price, of whole requests and of attempts.
        self._sizes_requests, self._prices_requests = _wanted(limits, _AT_THE_DOOR)
        self._sizes_attempts, self._prices_attempts = _wanted(limits, _OF_CANDIDATES)
        #: False when no limit concerns attempts.
        self.active = limiter.active and not limiter.scopes.isdisjoint(_OF_CANDIDATES)
        #: False when no limit concerns whole requests.
        self.at_the_door = limiter.active and not limiter.scopes.isdisjoint(_AT_THE_DOOR)
        #: Whether asking means waiting for a store.
        self.shared = isinstance(limiter, SharedLimiter)
        #: Settlements in a shared store that are under way.
        self._settling: set[asyncio.Task[None]] = set()

    async def enter_request(
        self, request: Request, context: CallContext, candidates: Callable[[], tuple[Candidate, ...]]
    ) -> Settle | None:
        """Admit a whole request; *candidates* tells who could serve it, for its price.

        Raises:
            RateLimitError: a limit is reached.
            QuotaExceededError: a limit on money, or over a day or more, is reached.
        """
        if not self.at_the_door:
            return None
        caller = context.caller
        subjects = {"all": "all"}
        if caller.user is not None:
            subjects["user"] = caller.user
        if caller.key is not None:
            subjects["key"] = caller.key
        if caller.tier is not None:
            subjects["tier"] = caller.tier
        charge = _NOTHING
        if self._sizes_requests:
            able = candidates() if self._prices_requests else ()
            # What nobody can serve uses nothing; whoever looks for a provider next says so.
            if able or not self._prices_requests:
                charge = _charge(request, able)
        answer = await self._ask(subjects, charge, context, None)
        if isinstance(answer, LLMError):
            raise answer
        return answer

    async def enter_candidate(
        self, request: Request, candidate: Candidate, context: CallContext
    ) -> Settle | RateLimitError | QuotaExceededError:
        """Admit one attempt at *candidate*; return what settles it, or why it is refused."""
        subjects = {"provider": candidate.provider, "model": candidate.model}
        return await self._ask(subjects, self._charge_of(request, candidate), context, candidate)

    def peek(self, request: Request, candidate: Candidate) -> str | None:
        """Return why *candidate* would be refused now, None when it would not; shared limits are not asked."""
        if not self.active or isinstance(self._limiter, SharedLimiter):
            return None
        subjects = {"provider": candidate.provider, "model": candidate.model}
        refusal = self._limiter.peek(subjects, self._charge_of(request, candidate))
        return None if refusal is None else _words(refusal)

    async def standing(self) -> list[LimitStanding]:
        """Return what is used and left of every limit, by subject."""
        limiter = self._limiter
        if self._settling:
            # Who has its answer expects to find it counted.
            await asyncio.wait(set(self._settling))
        return list(await limiter.standing() if isinstance(limiter, SharedLimiter) else limiter.standing())

    async def close(self) -> None:
        """Wait for settlements under way."""
        while self._settling:
            await asyncio.wait(set(self._settling))
        if isinstance(self._limiter, SharedLimiter):
            await self._limiter.close()

    async def _ask(
        self, subjects: Mapping[str, str], charge: Charge, context: CallContext, candidate: Candidate | None
    ) -> Settle | RateLimitError | QuotaExceededError:
        limiter = self._limiter
        if isinstance(limiter, SharedLimiter):
            answer = await limiter.enter(subjects, charge)
        else:
            answer = limiter.enter(subjects, charge)
        if isinstance(answer, Refusal):
            self._tell(answer, context, shadow=False)
            return _error(answer, candidate)
        for refusal in answer.shadowed:
            self._tell(refusal, context, shadow=True)
        if isinstance(limiter, SharedLimiter):
            return partial(self._settle_soon, limiter, answer)
        return partial(_settle, limiter, answer)

    def _charge_of(self, request: Request, candidate: Candidate) -> Charge:
        if not self._sizes_attempts:
            return _NOTHING
        return _charge(request, (candidate,) if self._prices_attempts else ())

    def _settle_soon(self, limiter: SharedLimiter, ticket: Ticket, tokens: int | None, cost: float | None) -> None:
        # Whoever settles is on the way out, often cancelled; the store is told beside that.
        limiter.free(ticket)
        if tokens is None or not ticket.held:
            return
        actual = Actual(tokens=tokens, cost=cost)
        task = asyncio.get_running_loop().create_task(_awaited(limiter.settle(ticket, actual)))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    @staticmethod
    def _tell(refusal: Refusal, context: CallContext, *, shadow: bool) -> None:
        context.emit(
            LimitRejected(
                request_id=context.request_id,
                limit=refusal.limit,
                subject=refusal.subject,
                retry_after=refusal.retry_after,
                shadow=shadow,
            )
        )


_NOTHING = Charge()


def _wanted(limits: Sequence[LimitConfig], scopes: frozenset[str]) -> tuple[bool, bool]:
    """Return whether limits of *scopes* count tokens or money, and whether they count money."""
    concerned = [limit for limit in limits if limit.scope in scopes]
    prices = any(limit.cost is not None for limit in concerned)
    return prices or any(limit.tokens is not None for limit in concerned), prices


def _charge(request: Request, candidates: tuple[Candidate, ...]) -> Charge:
    """Return what *request* will use; at the prices of the dearest, so that whoever serves it the reservation is enough."""
    input_price = output_price = None
    for candidate in candidates:
        price = candidate.cost_per_input_token
        if price is not None and (input_price is None or price > input_price):
            input_price = price
        price = candidate.cost_per_output_token
        if price is not None and (output_price is None or price > output_price):
            output_price = price
    output: int | None = 0
    if not isinstance(request, EmbedRequest):
        output = getattr(request.options, "max_tokens", None)
        if output is not None:
            output *= getattr(request.options, "n", None) or 1
    return Charge(
        prompt_tokens=request.estimated_prompt_tokens,
        output_tokens=output,
        input_price=input_price,
        output_price=output_price,
    )


def _settle(limiter: Limiter, ticket: Ticket, tokens: int | None, cost: float | None) -> None:
    limiter.settle(ticket, None if tokens is None else Actual(tokens=tokens, cost=cost))


async def _awaited(settlement: Awaitable[None]) -> None:
    await settlement


def _words(refusal: Refusal) -> str:
    if refusal.kind == "price_unknown":
        return (
            f"the configured limit {refusal.limit!r} counts money, and the price is not known; "
            "the configuration of a model tells it by cost_per_input_token and cost_per_output_token"
        )
    of = f" for {refusal.subject!r}" if refusal.subject else ""
    if refusal.asked is None:
        return f"the configured limit {refusal.limit!r} is reached{of}"
    tokens = refusal.kind == "tokens"
    asked = f"use {refusal.asked:,.0f} tokens" if tokens else f"cost {refusal.asked:.6g}"
    if refusal.most is not None:
        most = f"{refusal.most:,.0f} tokens" if tokens else f"a cost of {refusal.most:.6g}"
        return (
            f"the configured limit {refusal.limit!r} admits {most}{of}, and this request alone may {asked}; "
            "a shorter prompt or a lower max_tokens asks for less"
        )
    # What others have used is not for everybody to know.
    return f"the configured limit {refusal.limit!r} is reached{of}: this request may {asked}, and less is left"


def _error(refusal: Refusal, candidate: Candidate | None) -> RateLimitError | QuotaExceededError:
    kind = QuotaExceededError if refusal.quota else RateLimitError
    return kind(
        _words(refusal),
        provider=candidate.provider if candidate is not None else None,
        model=candidate.model if candidate is not None else None,
        retry_after=refusal.retry_after,
        # What is larger than the whole limit will not be smaller the next time.
        retryable=False if refusal.most is not None else None,
    )


__all__ = ["Admission"]
