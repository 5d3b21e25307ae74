"""The size of a prompt, asked of the provider that would answer it; estimated where nobody counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from random import Random

from apex_llm_core.context import CallContext
from apex_llm_core.errors import LLMError, UnknownError
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.requests import GenerateRequest
from apex_llm_core.models.results import TokenCount
from apex_llm_core.plugin.registry import ProviderRegistry
from apex_llm_core.policies.deadline import Sweeper
from apex_llm_core.routing.decisions import Draft
from apex_llm_core.routing.flight import being_cancelled, typed
from apex_llm_core.routing.router import Router
from apex_llm_core.routing.selector import Selector


class TokenCounter:
    """Asks the candidates of a request in the order of the ranking, the first that counts decides.

    Counting is no attempt: it is neither retried nor limited, and says nothing of a provider's health. It passes no middleware
    either, since that is made for answers; where there is any, which may be there to keep prompts in the house, nobody is asked.

    Args:
        alone: there is no middleware around whole answers.
        busy: keeps the configuration alive while inside.
    """

    def __init__(
        self,
        *,
        registry: ProviderRegistry,
        router: Router,
        selector: Selector,
        sweeper: Sweeper,
        scrub: Callable[[str], str],
        alone: bool,
        busy: Callable[[], AbstractContextManager[None]],
        random: Random,
    ) -> None:
        self._registry = registry
        self._router = router
        self._selector = selector
        self._sweeper = sweeper
        self._scrub = scrub
        self._alone = alone
        self._busy = busy
        self._draft = Draft(random)

    async def count(self, request: GenerateRequest, context: CallContext) -> TokenCount:
        """Return the size of the prompt of *request*.

        Raises:
            LLMError: providers that count failed, and none of them answered; the first failure.
        """
        failure: LLMError | None = None
        route = self._router.route(request, context)
        for candidate in self._selector.rank(request, route, context, self._draft, dry=True) if self._alone else ():
            try:
                tokens = await self._ask(candidate, request, context)
            except LLMError as error:
                failure = failure or error
                continue
            if tokens is not None:
                return TokenCount(prompt_tokens=tokens, model=candidate.model, provider=candidate.provider)
        if failure is not None:
            raise failure
        return TokenCount(
            prompt_tokens=request.estimated_prompt_tokens, model=request.model, provider="", estimated=True
        )

    async def _ask(self, candidate: Candidate, request: GenerateRequest, context: CallContext) -> int | None:
        """Return what *candidate* counts, None when it does not."""
        hook = self._registry.get(candidate.provider).hooks.get("apex_count_tokens")
        if hook is None:
            return None
        timeout = candidate.timeout if request.options.timeout is None else request.options.timeout
        watch = self._sweeper.watch(silence=timeout, deadline=context.deadline)
        inner = CallContext(
            request_id=context.request_id,
            operation=context.operation,
            caller=context.caller,
            clock=context.clock,
            deadline=context.deadline,
            state=context.state,
            emit=context.emit,
            candidate=candidate,
            attempt=1,
            timeout=timeout,
            touch=watch.touch,
        )
        try:
            with self._busy(), watch:
                tokens = await hook(request, inner)
            if tokens is not None and (type(tokens) is not int or tokens < 0):
                raise UnknownError(f"provider {candidate.provider!r} counted {tokens!r} tokens; expected a number")
        except asyncio.CancelledError as cancelled:
            if being_cancelled():
                raise
            raise typed(cancelled, candidate) from cancelled
        except Exception as raised:
            error = typed(raised, candidate)
            error.restate(self._scrub)
            if error is raised:
                raise
            raise error from raised
        return tokens


__all__ = ["TokenCounter"]
