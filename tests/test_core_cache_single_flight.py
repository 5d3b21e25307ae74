from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_llm_core.cache import SingleFlight
from apex_llm_core.testing import FakeClock, run_virtual
from apex_llm_core.testing.interruption import interrupt, watching


class Work:
    """Takes a second; fails or is counted as told."""

    def __init__(self, failures: int = 0) -> None:
        self.begun = 0
        self.ended = 0
        self._failures = failures

    async def __call__(self) -> str:
        self.begun += 1
        number = self.begun
        await asyncio.sleep(1)
        if number <= self._failures:
            raise ConnectionError(f"failure {number}")
        self.ended += 1
        return f"answer {number}"


def test_one_works_for_all():
    async def main() -> None:
        flights, work = SingleFlight(), Work()
        answers = await asyncio.gather(*(flights.run("key", work) for _ in range(5)))
        assert answers == [("answer 1", True)] + [("answer 1", False)] * 4
        assert work.begun == 1
        assert flights.coalesced == 4
        assert len(flights) == 0

    run_virtual(main())


def test_the_very_same_object_is_shared():
    async def main() -> None:
        flights = SingleFlight()

        async def work() -> object:
            await asyncio.sleep(1)
            return object()

        (one, _), (other, _) = await asyncio.gather(flights.run("key", work), flights.run("key", work))
        assert one is other

    run_virtual(main())


@pytest.mark.parametrize("nothing", [None, False, ()])
def test_a_result_that_is_nothing_is_shared_as_well(nothing):
    async def main() -> None:
        flights = SingleFlight()

        async def work() -> object:
            await asyncio.sleep(1)
            return nothing

        assert await asyncio.gather(flights.run("key", work), flights.run("key", work)) == [
            (nothing, True),
            (nothing, False),
        ]

    run_virtual(main())


def test_keys_are_apart_and_what_has_ended_is_not_remembered():
    async def main() -> None:
        flights, work = SingleFlight(), Work()
        await asyncio.gather(flights.run("a", work), flights.run("b", work))
        assert work.begun == 2
        assert await flights.run("a", work) == ("answer 3", True)
        assert flights.coalesced == 0

    run_virtual(main())


def test_an_error_is_not_shared():
    async def main() -> None:
        clock = asyncio.get_running_loop().time
        flights, work = SingleFlight(), Work(failures=1)
        began = clock()
        answers = await asyncio.gather(*(flights.run("key", work) for _ in range(4)), return_exceptions=True)
        assert str(answers[0]) == "failure 1"
        assert sorted(answers[1:]) == [("answer 2", True), ("answer 3", True), ("answer 4", True)]
        # All at once, not one after the other.
        assert clock() - began == pytest.approx(2)
        assert len(flights) == 0

    run_virtual(main())


def test_everybody_gets_the_error_of_its_own_work():
    async def main() -> None:
        flights, work = SingleFlight(), Work(failures=9)
        errors = await asyncio.gather(*(flights.run("key", work) for _ in range(3)), return_exceptions=True)
        assert sorted(map(str, errors)) == ["failure 1", "failure 2", "failure 3"]

    run_virtual(main())


def test_when_the_first_is_cancelled_one_of_those_who_wait_works():
    async def main() -> None:
        flights, work = SingleFlight(), Work()
        first, second, third = (asyncio.create_task(flights.run("key", work)) for _ in range(3))
        await asyncio.sleep(0.5)
        first.cancel()
        assert await second == ("answer 2", True)
        assert await third == ("answer 2", False)
        assert first.cancelled()
        assert (work.begun, work.ended) == (2, 1)

    run_virtual(main())


def test_cancelling_who_waits_touches_nobody_else():
    async def main() -> None:
        flights, work = SingleFlight(), Work()
        first, second, third = (asyncio.create_task(flights.run("key", work)) for _ in range(3))
        await asyncio.sleep(0.5)
        second.cancel()
        assert await first == ("answer 1", True)
        assert await third == ("answer 1", False)
        assert second.cancelled()

    run_virtual(main())


def test_a_deadline_of_one_who_waits_is_its_own():
    async def main() -> None:
        flights, work = SingleFlight(), Work()

        async def impatient() -> str:
            try:
                async with asyncio.timeout(0.25):
                    return (await flights.run("key", work))[0]
            except TimeoutError:
                return "too late"

        assert await asyncio.gather(flights.run("key", work), impatient()) == [("answer 1", True), "too late"]

    run_virtual(main())


@pytest.mark.parametrize("failures", [0, 1])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_cancellation_at_every_await_leaves_nothing_behind(place, failures):
    async def main() -> None:
        at = 0
        while True:
            flights, work = SingleFlight(), Work(failures)
            async with watching() as leaks:
                before = [asyncio.create_task(flights.run("key", work)) for _ in range(place)]
                await asyncio.sleep(0)
                victim = asyncio.create_task(interrupt(flights.run("key", work), at))
                await asyncio.sleep(0)
                after = [asyncio.create_task(flights.run("key", work)) for _ in range(2)]
                reached, *others = await asyncio.gather(victim, *before, *after, return_exceptions=True)
                # Who failed itself is told so; nobody is told of the cancellation or of another's failure.
                assert all(isinstance(end, tuple | ConnectionError) for end in others)
                assert sum(isinstance(end, ConnectionError) for end in (reached, *others)) <= failures
                assert len(flights) == 0
                assert leaks.left() == []
            if reached is not True:
                break
            at += 1
        # The work itself is one await; waiting for another's work that fails is one more.
        assert at == (2 if place and failures else 1)

    run_virtual(main())


@settings(max_examples=150, deadline=None)
@given(
    people=st.lists(
        st.tuples(
            st.sampled_from("ab"),  # key
            st.sampled_from([0.0, 0.25, 0.5, 1.25]),  # arrives
            st.none() | st.sampled_from([0.3, 0.8, 1.3]),  # patience
            st.booleans(),  # its own work would fail
        ),
        min_size=1,
        max_size=7,
    )
)
def test_whoever_is_patient_gets_an_answer_or_the_error_of_its_own_work(people):
    clock = FakeClock(0.0)

    async def main() -> None:
        flights = SingleFlight()
        running: dict[str, int] = {}

        async def one(number: int, key: str, arrives: float, patience: float | None, fails: bool) -> object:
            await asyncio.sleep(arrives)

            async def work() -> tuple[str, int]:
                running[key] = running.get(key, 0) + 1
                await asyncio.sleep(1)
                if fails:
                    raise ConnectionError(number)
                return key, number

            try:
                async with asyncio.timeout(patience):
                    (answered_key, by), led = await flights.run(key, work)
            except TimeoutError:
                return "left"
            except ConnectionError as error:
                return "failed" if error.args == (number,) else "told of another's failure"
            assert answered_key == key
            assert led == (by == number)
            return "answered"

        ends = await asyncio.gather(*(one(number, *person) for number, person in enumerate(people)))
        for (_, _, patience, fails), end in zip(people, ends, strict=True):
            assert end != "left" or patience is not None
            assert end != "failed" or fails
            assert end != "told of another's failure"
        assert len(flights) == 0
        if not any(fails for *_, fails in people) and all(patience is None for _, _, patience, _ in people):
            # Two rounds at most: who comes after the first second finds nobody at work.
            assert all(count <= 2 for count in running.values())

    run_virtual(main(), clock=clock)
