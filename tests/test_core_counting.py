from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from apex_llm_core import LLMProviderManager
from apex_llm_core.errors import AuthenticationError, LLMTimeoutError, ServiceUnavailableError, UnknownError
from apex_llm_core.markers import hookimpl
from apex_llm_core.models import TokenCount
from apex_llm_core.testing import FakeClock, run_virtual


class Silent:
    """Answers nobody, counts nothing."""

    def __init__(self):
        self.calls = []

    @hookimpl
    async def apex_generate(self, request, context):
        self.calls.append(request)
        raise ServiceUnavailableError("counting asks for no answer")


class Counting(Silent):
    """Counts what it is told to, or does what it is told to do instead."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.asked = []

    @hookimpl
    async def apex_count_tokens(self, request, context):
        self.asked.append((request, context))
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is ...:
            await asyncio.Event().wait()
        return self.answer


class Plugin:
    def __init__(self, providers):
        self._providers = providers

    @hookimpl
    def apex_register(self, registrar):
        registrar.provider("silent", lambda config, settings, runtime: self._providers[config.name])


@pytest.fixture
def count():
    """Count the tokens of "hi there, you" with *providers*, the first preferred."""

    def run(providers, *, plugins=(), tables=(), **keywords):
        clock = FakeClock()

        configured = [
            {"name": name, "type": "silent", "priority": position, "timeout": 5, "models": [{"id": "m"}]}
            for position, name in enumerate(providers)
        ]

        async def main():
            async with LLMProviderManager(
                {"providers": configured, **dict(tables)},
                plugins=[Plugin(providers), *plugins],
                clock=clock,
                environ={},
            ) as manager:
                found = await manager.count_tokens("hi there, you", model="m", **keywords)
                return SimpleNamespace(found=found, stats=manager.stats())

        return run_virtual(main(), clock=clock)

    return run


def test_the_provider_counts(count):
    provider = Counting(7)
    assert count({"a": provider}).found == TokenCount(prompt_tokens=7, model="m", provider="a")
    [(request, context)] = provider.asked
    assert request.messages[0].text == "hi there, you"
    assert (context.candidate.provider, context.timeout) == ("a", 5)


def test_it_is_no_request_and_no_attempt(count):
    provider = Counting(7)
    answer = count({"a": provider})
    assert not provider.calls
    assert answer.stats["requests"] == count({"a": Counting(None)}).stats["requests"]


def test_where_nobody_counts_it_is_an_estimate_that_says_so(count):
    for provider in (Silent(), Counting(None)):
        found = count({"a": provider}).found
        assert found.estimated
        assert found.provider == ""
        assert found.prompt_tokens > 0


@pytest.mark.parametrize("first", [None, AuthenticationError("no"), ServiceUnavailableError("down"), "seven", True, -1])
def test_the_next_candidate_counts_when_the_first_does_not(count, first):
    assert count({"a": Counting(first), "b": Counting(9)}).found.provider == "b"


def test_a_failure_is_told_when_nobody_answers(count):
    with pytest.raises(ServiceUnavailableError) as told:
        count({"a": Counting(ServiceUnavailableError("down")), "b": Counting(None)})
    assert told.value.provider == "a"


@pytest.mark.parametrize("wrong", ["seven", True, -1, 1.5])
def test_what_is_no_count_is_the_providers_mistake(count, wrong):
    with pytest.raises(UnknownError, match="counted"):
        count({"a": Counting(wrong)})


def test_silence_ends_by_the_providers_timeout(count):
    with pytest.raises(LLMTimeoutError):
        count({"a": Counting(...)})


def test_a_provider_that_cancels_itself_has_failed(count):
    with pytest.raises(UnknownError, match="cancelled its own call"):
        count({"a": Counting(asyncio.CancelledError())})


def test_a_request_has_its_own_timeout(count):
    provider = Counting(7)
    count({"a": provider}, timeout=2)
    assert provider.asked[0][1].timeout == 2


class HousePlugin:
    @hookimpl
    def apex_register(self, registrar):
        registrar.middleware("house", lambda config, settings, runtime: House())


class House:
    """Middleware that keeps prompts in the house."""

    @hookimpl
    async def apex_around_generate(self, request, context, call_next):
        return await call_next(request, context)


def test_with_middleware_the_prompt_is_not_sent_anywhere(count):
    provider = Counting(7)
    answer = count({"a": provider}, plugins=[HousePlugin()], tables={"middleware": [{"type": "house"}]})
    assert answer.found.estimated
    assert not provider.asked
