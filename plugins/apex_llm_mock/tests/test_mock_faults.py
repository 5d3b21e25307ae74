from __future__ import annotations

import asyncio
from random import Random

import pytest
from apex_llm_mock import Fault, MockSettings, Reply
from apex_llm_mock.faults import STATUS_CODES, FaultPlanner
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_llm_core.errors import ERROR_CLASSES, LLMError, LLMErrorType, LLMTimeoutError, ServiceUnavailableError
from apex_llm_core.models import HealthState
from apex_llm_core.testing import FakeClock


def struck(fault, calls=20, *, operation="generate", model="m", seed=0):
    """The numbers of the calls that the fault strikes."""
    planner = FaultPlanner([fault], clock=FakeClock(), random=Random(seed))
    return [number for number in range(1, calls + 1) if planner.next(operation, model)]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(), list(range(1, 21))),
        (Fault(first=3), [1, 2, 3]),
        (Fault(every=5), [5, 10, 15, 20]),
        (Fault(calls=[2, 7]), [2, 7]),
        (Fault(first=10, every=5), [5, 10]),
        (Fault(probability=0.0), []),
        (Fault(probability=1.0), list(range(1, 21))),
        (Fault(models=["x*"]), []),
        (Fault(operations=["embed"]), []),
    ],
)
def test_conditions(fault, expected):
    assert struck(fault) == expected


def test_probability_is_met_and_repeatable():
    hits = struck(Fault(probability=0.3), 10_000)
    assert 2_800 < len(hits) < 3_200
    assert hits == struck(Fault(probability=0.3), 10_000)
    assert hits != struck(Fault(probability=0.3), 10_000, seed=1)


def test_windows_are_seconds_since_the_start():
    clock = FakeClock()
    planner = FaultPlanner([Fault(windows=[(10, 20), (30, 31)])], clock=clock, random=Random(0))
    found = []
    for second in range(40):
        if planner.next("stream", "m"):
            found.append(second)
        clock.advance(1)
    assert found == [*range(10, 20), 30]


def test_only_calls_that_a_fault_concerns_are_counted():
    planner = FaultPlanner([Fault(models=["a*"], calls=[2])], clock=FakeClock(), random=Random(0))
    assert [bool(planner.next("generate", model)) for model in ("a1", "b", "b", "a2", "a3")] == [
        False,
        False,
        False,
        True,
        False,
    ]


_faults = st.builds(
    Fault,
    probability=st.none() | st.floats(0, 1),
    first=st.none() | st.integers(1, 5),
    every=st.none() | st.integers(1, 5),
    calls=st.lists(st.integers(1, 8), max_size=3),
    windows=st.lists(st.sampled_from([(0.0, 2.0), (3.0, 5.0)]), max_size=2),
    models=st.lists(st.sampled_from(["a", "b", "*"]), max_size=2),
    operations=st.lists(st.sampled_from(["generate", "embed", "health"]), min_size=1, unique=True),
)
_calls = st.lists(st.tuples(st.sampled_from(["generate", "embed", "health"]), st.sampled_from(["a", "b"])), max_size=12)


@settings(deadline=None)
@given(st.lists(_faults, min_size=1, max_size=3), _calls, st.integers(0, 99))
def test_planner_agrees_with_a_plain_model(faults, calls, seed):
    clock, draws = FakeClock(), Random(seed)
    planner = FaultPlanner(faults, clock=clock, random=Random(seed))
    counts = {id(fault): 0 for fault in faults}
    for second, (operation, model) in enumerate(calls):
        expected = None
        for fault in faults:
            if operation not in fault.operations or (fault.models and not {"*", model} & set(fault.models)):
                continue
            counts[id(fault)] += 1
            number = counts[id(fault)]
            strikes = all(
                [
                    fault.probability is None or draws.random() < fault.probability,
                    fault.first is None or number <= fault.first,
                    fault.every is None or number % fault.every == 0,
                    not fault.calls or number in fault.calls,
                    not fault.windows or any(low <= second < high for low, high in fault.windows),
                ]
            )
            if strikes and expected is None:
                expected = fault
        assert planner.next(operation, model) is expected
        clock.advance(1)


def test_a_fault_that_is_added_does_not_move_the_draws_of_the_calls_before():
    alone = struck(Fault(probability=0.5), 50)
    planner = FaultPlanner([Fault(probability=0.5, first=10), Fault(calls=[1])], clock=FakeClock(), random=Random(0))
    found = [number for number in range(1, 51) if planner.next("generate", "m")]
    assert {number for number in found if number > 1} == {number for number in alone if 1 < number <= 10}


# -- as the provider shows them


@pytest.mark.parametrize("kind", list(LLMErrorType))
def test_each_type_of_error_strikes_every_operation(mock, kind):
    own = mock(faults=[Fault(error=kind, message="on order", retry_after=3.0)])
    for call in (own.generate, own.batches, lambda: own.embed("x"), own.image):
        with pytest.raises(LLMError, match="on order") as caught:
            call()
        assert type(caught.value) is ERROR_CLASSES[kind]
        assert caught.value.type is kind
        assert caught.value.status_code == STATUS_CODES[kind]
        assert caught.value.retry_after == 3.0
        assert caught.value.provider == "a-mock"
    assert own.health().status is HealthState.HEALTHY


def test_status_and_retryable_can_be_chosen(mock):
    with pytest.raises(ServiceUnavailableError) as caught:
        mock(faults=[Fault(status_code=502, retryable=False)]).generate()
    assert (caught.value.status_code, caught.value.retryable) == (502, False)


@pytest.mark.parametrize("after", [0, 1, 3, 99])
def test_a_stream_breaks_after_so_many_chunks(mock, after):
    own, batches = mock(chunk_size=2, faults=[Fault(when="mid_stream", after_chunks=after)]), []
    with pytest.raises(ServiceUnavailableError):
        own.batches("0123456789", into=batches)
    chunks = [chunk for batch in batches for chunk in batch]
    assert len(chunks) == min(after, 5)
    assert all(chunk.finish_reason is None for chunk in chunks)


def test_a_truncated_stream_just_ends(mock):
    own = mock(chunk_size=2, faults=[Fault(when="truncated", after_chunks=2)])
    assert [chunk.text for batch in own.batches("0123456789") for chunk in batch] == ["01", "23"]
    with pytest.raises(ServiceUnavailableError):
        own.generate("0123456789")


def test_several_alternatives_are_all_left_unfinished(mock):
    own = mock(chunk_size=2, faults=[Fault(when="truncated", after_chunks=99)])
    chunks = [chunk for batch in own.batches("0123", n=2) for chunk in batch]
    assert "".join(chunk.text for chunk in chunks if chunk.index == 1) == "0123 (2)"
    assert all(chunk.finish_reason is None and chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("after", [None, 2])
def test_a_hang_lasts_until_it_is_cancelled(mock, after):
    own, batches = mock(chunk_size=2, faults=[Fault(when="hang", after_chunks=after)]), []

    async def wait(coroutine):
        async with asyncio.timeout(3600):
            await coroutine

    async def read():
        request = own.request("0123456789", "mock-large", stream=True)
        async for batch in own.provider.apex_stream(request, own.context("mock-large")):
            batches.append(batch)  # noqa: PERF401 - kept when the timeout strikes

    start = own.clock()
    with pytest.raises(TimeoutError) as caught:
        own.run(wait(read()))
    assert not isinstance(caught.value, LLMTimeoutError)
    assert own.clock() - start == 3600
    assert len(batches) == (after or 0)
    with pytest.raises(TimeoutError):
        own.run(wait(own.provider.apex_generate(own.request("x", "mock-large"), own.context("mock-large"))))


def test_health_and_models_fail_when_named(mock):
    own = mock(faults=[Fault(operations=["health", "models"], error="authentication_error")], health="degraded")
    with pytest.raises(LLMError, match="authentication_error"):
        own.health()
    with pytest.raises(LLMError, match="authentication_error"):
        own.run(own.provider.apex_models(own.context("mock-large")))
    assert own.generate().message.text == "hello"
    assert mock(health="unavailable", health_message="maintenance").health().message == "maintenance"


def test_providers_of_one_seed_do_not_fail_in_step(mock):
    def pattern(name):
        own, found = mock(name=name, faults=[Fault(probability=0.5)]), []
        for _ in range(40):
            try:
                own.generate()
                found.append(True)
            except ServiceUnavailableError:
                found.append(False)
        return found

    assert pattern("one") == pattern("one")
    assert pattern("one") != pattern("two")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fault(error="rate_limit"), "did you mean 'rate_limit_error'"),
        (lambda: Fault(when="befor"), "did you mean 'before'"),
        (lambda: Fault(operations=["generat"]), "did you mean 'generate'"),
        (lambda: Fault(operations=[]), "never strikes"),
        (lambda: Fault(probability=1.1), "at most 1"),
        (lambda: Fault(probability=float("nan")), "finite number"),
        (lambda: Fault(first=0), "at least 1"),
        (lambda: Fault(calls=[0]), "counted from 1"),
        (lambda: Fault(windows=[(2, 1)]), r"a window is \[from, until\]"),
        (lambda: Fault(windows=[(1, 2, 3)]), r"a window is \[from, until\]"),
        (lambda: Fault(after_chunks=2), "set 'when'"),
        (lambda: Reply(retry_after=1.0), "belongs to an 'error'"),
        (lambda: Reply(error="nonsense"), "error is 'nonsense'"),
        (lambda: MockSettings(health="fine"), "health is 'fine'"),
        (lambda: MockSettings(image_size="large"), "expected 'WIDTHxHEIGHT'"),
        (lambda: MockSettings(chunk_size=0), "at least 1"),
        (lambda: MockSettings(script_end="stop"), "script_end is 'stop'"),
        (lambda: MockSettings(unknown_models="ignore"), "unknown_models is 'ignore'"),
    ],
)
def test_wrong_settings_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()
