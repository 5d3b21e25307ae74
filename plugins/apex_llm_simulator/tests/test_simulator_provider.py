from __future__ import annotations

import asyncio

import pytest
from apex_llm_simulator import prompts
from apex_llm_simulator.behaviour import Behaviour
from apex_llm_simulator.distributions import Distribution
from apex_llm_simulator.faults import Fault, FaultScript
from apex_llm_simulator.ledger import Ledger
from apex_llm_simulator.provider import HANGING, SimulatedProvider

from apex_llm_core.config import ModelConfig, ProviderConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import (
    AuthenticationError,
    InvalidRequestError,
    LLMErrorType,
    RateLimitError,
    ServiceUnavailableError,
)
from apex_llm_core.models import ChatGenerationOptions, ChatMessage, GenerateRequest
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.testing import FakeClock, run_virtual


class Bench:
    """A simulated provider whose answers take 1 second to begin and 2 seconds to write 100 tokens."""

    def __init__(self, *faults, prices=True, **behaviour):
        costs = {"cost_per_input_token": 1e-6, "cost_per_output_token": 2e-6} if prices else {}
        config = ProviderConfig(name="east", type="simulated", models=(ModelConfig(id="m", **costs),))
        self.clock = FakeClock(0.0)
        self.ledger = Ledger()
        pace = {"first_chunk": Distribution(median=1.0), "tokens_per_second": Distribution(median=50.0)}
        self.provider = SimulatedProvider(
            config,
            Behaviour(**{**pace, **behaviour}),
            FaultScript(faults, seed="s"),
            self.ledger,
            clock=self.clock,
            seed="s",
        )
        self.context = CallContext(candidate=Candidate(provider="east", model="m"))
        self.times = []

    def request(self, *, max_tokens=None, text=None):
        text = text or prompts.write(1, prompt_tokens=40, answer_tokens=100)
        options = ChatGenerationOptions(max_tokens=max_tokens)
        messages = (ChatMessage(role="user", content=text),)
        return GenerateRequest(kind="chat", messages=messages, model="m", options=options)

    async def whole(self, **keywords):
        return await self.provider.apex_generate(self.request(**keywords), self.context)

    async def streamed(self):
        chunks = []
        async for batch in self.provider.apex_stream(self.request(), self.context):
            chunks += batch
            self.times.append(self.clock())
        return chunks

    def run(self, work):
        return run_virtual(work, clock=self.clock)

    def failure(self, work, kind):
        async def caught():
            with pytest.raises(kind) as found:
                await work
            return found.value

        return self.run(caught())


def test_a_whole_answer_takes_as_long_as_its_stream():
    bench = Bench()
    result = bench.run(bench.whole())
    assert bench.clock() == pytest.approx(3.0)
    assert (result.usage.prompt_tokens, result.usage.completion_tokens, result.finish_reason) == (40, 100, "stop")
    assert len(result.message.text) == 400


def test_a_stream_begins_after_the_first_chunk_and_ends_with_its_usage():
    bench = Bench()
    chunks = bench.run(bench.streamed())
    assert bench.times == pytest.approx([1.0, 3.0])
    assert [chunk.finish_reason for chunk in chunks] == [None, "stop"]
    assert chunks[-1].usage.completion_tokens == 100


def test_a_slow_stream_is_never_silent_for_long():
    bench = Bench(tokens_per_second=Distribution(median=5.0))
    bench.run(bench.streamed())
    assert bench.times[-1] == pytest.approx(21.0)
    assert max(later - earlier for earlier, later in zip(bench.times, bench.times[1:], strict=False)) <= 5.0 + 1e-9


def test_max_tokens_ends_an_answer_early():
    bench = Bench()
    result = bench.run(bench.whole(max_tokens=50))
    assert (result.finish_reason, result.usage.completion_tokens) == ("length", 50)
    assert bench.clock() == pytest.approx(2.0)


def test_what_is_written_is_billed():
    bench = Bench()
    bench.run(bench.whole())
    assert bench.ledger.cost == pytest.approx(40e-6 + 200e-6)
    assert (bench.ledger.calls, bench.ledger.answered, bench.ledger.in_flight) == (1, 1, 0)


def test_without_prices_the_bill_is_unknown_and_not_nothing():
    bench = Bench(prices=False)
    bench.run(bench.whole())
    assert bench.ledger.cost is None


@pytest.mark.parametrize(("patience", "written"), [(0.5, 0), (2.0, 50), (2.5, 75)])
def test_whoever_leaves_pays_for_what_was_written_until_then(patience, written):
    bench = Bench()

    async def impatient():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.whole(), patience)

    bench.run(impatient())
    assert (bench.ledger.completion_tokens, bench.ledger.prompt_tokens) == (written, 40)
    assert (bench.ledger.answered, bench.ledger.in_flight) == (0, 0)


def test_an_outage_refuses_after_its_delay_and_bills_nothing():
    bench = Bench(Fault(kind="outage", delay=0.2, retry_after=7.0))
    error = bench.failure(bench.whole(), ServiceUnavailableError)
    assert (error.status_code, error.retry_after, error.provider, error.model) == (503, 7.0, "east", "m")
    assert bench.clock() == pytest.approx(0.2)
    assert (bench.ledger.cost, bench.ledger.failures) == (0.0, {"service_unavailable_error": 1})


def test_an_error_is_of_the_type_that_the_script_says():
    bench = Bench(Fault(kind="error", error=LLMErrorType.AUTHENTICATION_ERROR))
    assert bench.failure(bench.whole(), AuthenticationError).status_code == 401


def test_a_throttled_call_is_refused_with_429():
    bench = Bench(Fault(kind="throttle", retry_after=1.0))
    error = bench.failure(bench.streamed(), RateLimitError)
    assert (error.status_code, error.retry_after) == (429, 1.0)


def test_a_brownout_slows_everything_down():
    bench = Bench(Fault(kind="brownout", factor=4.0))
    bench.run(bench.streamed())
    assert bench.times[0] == pytest.approx(4.0)
    assert bench.times[-1] == pytest.approx(12.0)


def test_a_hanging_call_is_dropped_in_the_end_so_that_a_simulation_always_ends():
    bench = Bench(Fault(kind="hang"))
    bench.failure(bench.whole(), ServiceUnavailableError)
    assert bench.clock() == pytest.approx(HANGING)


def test_a_stream_that_is_cut_delivers_half_and_bills_half():
    bench = Bench(Fault(kind="cut"))
    bench.failure(bench.streamed(), ServiceUnavailableError)
    assert bench.times == pytest.approx([1.0, 2.0])
    assert (bench.ledger.completion_tokens, bench.ledger.failures) == (50, {"cut": 1})


def test_a_whole_answer_that_is_cut_fails_half_way():
    bench = Bench(Fault(kind="cut"))
    bench.failure(bench.whole(), ServiceUnavailableError)
    assert bench.clock() == pytest.approx(1.5)


def test_more_requests_than_a_minute_admits_are_refused_with_advice_that_is_right():
    bench = Bench(requests_per_minute=2)

    async def calls():
        found = await asyncio.gather(bench.whole(), bench.whole(), bench.whole(), return_exceptions=True)
        (error,) = (answer for answer in found if isinstance(answer, RateLimitError))
        # The refused call was told at once; what it waits from there is long enough.
        await asyncio.sleep(error.retry_after)
        await bench.whole()
        return error.retry_after

    assert bench.run(calls()) == 30.0
    assert bench.ledger.failures == {"limit": 1}


def test_tokens_of_prompt_and_answer_count_against_a_limit():
    bench = Bench(tokens_per_minute=300)

    async def calls():
        return await asyncio.gather(*(bench.whole() for _ in range(3)), return_exceptions=True)

    kinds = [type(found).__name__ for found in bench.run(calls())]
    assert sorted(kinds) == ["ChatGenerationResult", "ChatGenerationResult", "RateLimitError"]


def test_what_is_left_of_limits_is_told_with_answers_and_refusals():
    bench = Bench(requests_per_minute=2, tokens_per_minute=1_000)
    told = []
    bench.context.note_rate_limits = lambda **left: told.append((left["remaining_requests"], left["remaining_tokens"]))

    async def calls():
        await asyncio.gather(*(bench.whole() for _ in range(3)), return_exceptions=True)

    bench.run(calls())
    assert told == [(1, 860), (0, 720), (0, 720)]


def test_an_overloaded_provider_slows_down_by_the_ratio():
    bench = Bench(concurrent=2)

    async def calls():
        await asyncio.gather(*(bench.whole() for _ in range(4)))

    bench.run(calls())
    # The last to come found four in flight where two are served at full pace.
    assert bench.clock() == pytest.approx(6.0)
    assert bench.ledger.peak == 4


def test_an_overloaded_provider_may_refuse_instead():
    bench = Bench(concurrent=2, overload="refuse")

    async def calls():
        return await asyncio.gather(*(bench.whole() for _ in range(3)), return_exceptions=True)

    found = bench.run(calls())
    assert [type(answer).__name__ for answer in found].count("ServiceUnavailableError") == 1
    assert bench.ledger.failures == {"overload": 1}


@pytest.mark.parametrize("text", ["hello", "1 two three", "1 2"])
def test_prompts_that_no_simulation_wrote_are_refused(text):
    bench = Bench()
    bench.failure(bench.whole(text=text), InvalidRequestError)


@pytest.mark.parametrize("size", [1, 40, 30_000])
def test_prompts_have_the_size_they_should(size):
    text = prompts.write(7, prompt_tokens=size, answer_tokens=123)
    found = prompts.read(Bench().request(text=text))
    assert found[1] == 123
    assert found[0] == max(size, len("7 123 ") // 4)
