"""The requests of a workload, made on the manager as any application makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from random import Random

import attrs

from apex_llm_core.errors import LLMError
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models import Caller, ChatGenerationOptions
from apex_llm_simulator import prompts
from apex_llm_simulator.durations import until_within
from apex_llm_simulator.workload import Workload


@attrs.frozen(kw_only=True)
class Asked:
    """One request, before it is made."""

    prompt: str
    stream: bool
    caller: Caller | None


class Requester:
    """Draws requests of one workload and makes them.

    Arrivals and contents are drawn apart, so that a workload keeps its arrivals when its contents change.
    """

    def __init__(self, workload: Workload, manager: LLMProviderManager, *, seed: str) -> None:
        self._workload = workload
        self._manager = manager
        self._random = Random(f"{seed}/contents")
        self._prompt_tokens = workload.prompt_tokens.sampler(Random(f"{seed}/prompt_tokens"))
        self._answer_tokens = workload.answer_tokens.sampler(Random(f"{seed}/answer_tokens"))
        self._options = ChatGenerationOptions(model=workload.model, max_tokens=workload.max_tokens)
        self._callers = _callers(workload)
        self._kept: dict[int, str] = {}
        self._number = 0

    def draw(self) -> Asked:
        """Draw the next request."""
        workload, random = self._workload, self._random
        share = workload.stream_share
        stream = share > 0.0 and (share >= 1.0 or random.random() < share)
        caller = random.choice(self._callers) if self._callers else None
        return Asked(prompt=self._prompt(), stream=stream, caller=caller)

    async def make(self, asked: Asked) -> None:
        """Make a request and take what comes. Its end is told by the manager's events."""
        try:
            if asked.stream:
                stream = self._manager.generate_chat_stream(asked.prompt, self._options, caller=asked.caller)
                async with aclosing(stream):
                    async for _ in stream.batches():
                        pass
            else:
                await self._manager.generate_chat(asked.prompt, self._options, caller=asked.caller)
        except LLMError:
            pass

    def _prompt(self) -> str:
        most = self._workload.distinct_prompts
        if not most:
            self._number += 1
            return self._written(self._number)
        number = self._random.randrange(most)
        if number not in self._kept:
            self._kept[number] = self._written(number)
        return self._kept[number]

    def _written(self, number: int) -> str:
        return prompts.write(
            number,
            prompt_tokens=max(1, round(self._prompt_tokens())),
            answer_tokens=max(1, round(self._answer_tokens())),
        )


async def open_loop(
    requester: Requester, workload: Workload, until: float, clock: Callable[[], float], *, seed: str
) -> None:
    """Make requests as they arrive, up to *until* seconds after the start; return when all have ended."""
    random = Random(f"{seed}/arrivals")
    highest = workload.highest_rate
    at = 0.0
    async with asyncio.TaskGroup() as requests:
        while True:
            # A Poisson process of a changing rate: arrivals of the highest rate, thinned out.
            at += random.expovariate(highest)
            if at >= until:
                return
            if random.random() * highest < workload.rate(at):
                await asyncio.sleep(max(0.0, at - clock()))
                requests.create_task(requester.make(requester.draw()))


async def closed_loop(requester: Requester, workload: Workload, until: float, clock: Callable[[], float]) -> None:
    """Let every client make one request after the other, up to *until* seconds after the start.

    They do not begin all at once, but spread over one pause.
    """
    count = workload.concurrency or 0

    async def client(number: int) -> None:
        await asyncio.sleep(number / count * workload.pause)
        while (at := clock()) < until:
            wait = until_within(at, workload.times)
            if wait:
                await asyncio.sleep(min(wait, until - at))
                continue
            await requester.make(requester.draw())
            await asyncio.sleep(workload.pause)

    async with asyncio.TaskGroup() as clients:
        for number in range(count):
            clients.create_task(client(number))


def _callers(workload: Workload) -> list[Caller]:
    """Return the callers to choose from; a session belongs to one user."""
    if not (workload.users or workload.sessions or workload.tier):
        return []
    name = workload.name or "workload"
    return [
        Caller(
            user=f"{name}-user-{number % workload.users + 1}" if workload.users else None,
            session=f"{name}-session-{number + 1}" if workload.sessions else None,
            tier=workload.tier,
        )
        for number in range(max(workload.users, workload.sessions, 1))
    ]


__all__ = ["Asked", "Requester", "closed_loop", "open_loop"]
