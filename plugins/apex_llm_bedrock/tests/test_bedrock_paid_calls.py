"""One request as several calls: what is under way when one of them fails, and what is left for the next attempt."""

from __future__ import annotations

import asyncio

import pytest
from apex_llm_bedrock.paid_calls import paid_calls
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import RateLimitError, ServiceUnavailableError
from apex_llm_core.testing import FakeClock, make_context, run_virtual


class Service:
    """Answers a key with its double, after as many seconds as *seconds* says; *fails* are raised once each."""

    def __init__(self, *, seconds=None, fails=None):
        self.begun = []
        self.ended = []
        self.cancelled = []
        self._seconds = seconds or {}
        self._fails = dict(fails or {})

    async def call(self, key):
        self.begun.append(key)
        try:
            await asyncio.sleep(self._seconds.get(key, 1))
        except asyncio.CancelledError:
            self.cancelled.append(key)
            raise
        self.ended.append(key)
        if key in self._fails:
            raise self._fails.pop(key)
        return 2 * key


def ask(service, keys, context, *, concurrency=5, purpose="x"):
    return paid_calls(keys, service.call, concurrency=concurrency, context=context, purpose=purpose)


def test_answers_come_in_the_order_of_their_keys():
    clock = FakeClock(0.0)
    service = Service(seconds={0: 5, 1: 3})
    assert run_virtual(ask(service, range(6), make_context(), concurrency=3), clock=clock) == [0, 2, 4, 6, 8, 10]
    assert clock() == 5
    assert service.ended == [2, 3, 1, 4, 5, 0]


def test_the_calls_under_way_end_after_a_failure_and_no_other_begins():
    clock = FakeClock(0.0)
    service = Service(seconds={0: 9, 1: 2, 2: 4}, fails={1: RateLimitError("slow down")})
    context = make_context()
    with pytest.raises(RateLimitError, match="slow down"):
        run_virtual(ask(service, range(10), context, concurrency=3), clock=clock)
    assert clock() == 9
    assert (service.begun, service.ended, service.cancelled) == ([0, 1, 2], [1, 2, 0], [])
    assert run_virtual(ask(service, range(4), context, concurrency=3)) == [0, 2, 4, 6]
    assert service.begun == [0, 1, 2, 1, 3]


@pytest.mark.parametrize("concurrency", [1, 5])
def test_a_single_call_fails_as_it_is(concurrency):
    error = RateLimitError("slow down")
    with pytest.raises(RateLimitError) as raised:
        run_virtual(ask(Service(fails={3: error}), [3], make_context(), concurrency=concurrency))
    assert raised.value is error


@pytest.mark.parametrize("kind", [RateLimitError, RuntimeError])
def test_the_first_of_several_failures_is_raised(kind):
    fails = {0: ServiceUnavailableError("late"), 1: kind("early"), 2: ServiceUnavailableError("later")}
    service = Service(seconds={0: 5, 1: 1, 2: 9}, fails=fails)
    with pytest.raises(kind, match="early"):
        run_virtual(ask(service, range(4), make_context(), concurrency=3))
    assert service.ended == [1, 0, 2]


def test_another_purpose_or_another_request_is_asked_for_anew():
    service, context = Service(), make_context()
    run_virtual(ask(service, [1], context))
    run_virtual(ask(service, [1, 1], context))
    run_virtual(ask(service, [1], context, purpose="y"))
    run_virtual(ask(service, [1], make_context()))
    assert service.begun == [1, 1, 1]


@pytest.mark.parametrize("failing", [{}, {1: RateLimitError("slow down")}], ids=["well", "failing"])
@pytest.mark.parametrize("turns", range(16))
def test_survives_cancellation_at_every_await(turns, failing):
    service, context = Service(seconds=dict.fromkeys(range(6), 0), fails=failing), make_context()

    async def main():
        task = asyncio.create_task(ask(service, range(6), context, concurrency=2))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled = task.cancel()
        [outcome] = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError) is cancelled
        # What did not end was cancelled with the whole: nothing goes on behind our back.
        assert sorted(service.ended + service.cancelled) == sorted(service.begun)
        paid = set(service.ended) - set(failing)
        before = len(service.begun)
        for _ in range(2):
            # The failure may still be to come.
            try:
                assert await ask(service, range(6), context) == [0, 2, 4, 6, 8, 10]
            except RateLimitError:
                continue
            break
        assert paid.isdisjoint(service.begun[before:])

    run_virtual(main())


def test_cancelling_while_the_rest_ends_after_a_failure_cancels_the_rest():
    clock = FakeClock(0.0)
    service = Service(seconds={0: 9, 1: 2}, fails={1: RateLimitError("slow down")})

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4):
                await ask(service, range(3), make_context(), concurrency=2)

    run_virtual(main(), clock=clock)
    assert clock() == 4
    assert (service.begun, service.ended, service.cancelled) == ([0, 1], [1], [0])


@given(
    st.lists(st.integers(0, 9), max_size=20),
    st.integers(1, 6),
    st.dictionaries(st.integers(0, 9), st.floats(0, 5)),
    st.sets(st.integers(0, 9)),
)
def test_however_often_it_fails_no_answer_is_bought_twice(keys, concurrency, seconds, failing):
    service = Service(seconds=seconds, fails={key: RateLimitError("slow down") for key in failing})
    context = make_context()
    for _ in range(len(failing) + 1):
        try:
            found = run_virtual(ask(service, keys, context, concurrency=concurrency))
        except RateLimitError:
            continue
        break
    assert found == [2 * key for key in keys]
    assert sorted(service.begun) == sorted([*set(keys), *(failing & set(keys))])
