from __future__ import annotations

import asyncio
import json

import attrs
import pytest

from apex_llm_core.cache.memory import MemoryStore
from apex_llm_core.config.schema import LimitConfig
from apex_llm_core.errors import ServiceUnavailableError
from apex_llm_core.policies import shared_limits
from apex_llm_core.policies.limits import Actual, Charge, Refusal, Standing, Ticket
from apex_llm_core.policies.shared_limits import SharedLimiter
from apex_llm_core.testing import FakeClock, run_virtual

ALL = {"all": ""}


class Store(MemoryStore):
    """A memory store that can fail, be slow, call `change` twice, and notes what is asked of it."""

    def __init__(self, clock):
        super().__init__(max_entries=10_000, clock=clock)
        self.transactions = []
        self.failure = None
        self.delay = 0.0
        self.again = False
        self._lock = asyncio.Lock()

    async def transact(self, keys, change, ttl):
        self.transactions.append((list(keys), ttl))
        async with self._lock:
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.failure is not None:
                raise self.failure
            if self.again:
                change({})
            await super().transact(keys, change, ttl)

    def content(self):
        return {key: value for key, (value, _) in self._entries.items()}


class House:
    """Processes that share a store."""

    def __init__(self, *limits):
        self.clock = FakeClock(0.0)
        #: How much later it is on the wall.
        self.epoch = 1_700_000_000.0
        self.store = Store(self.wall)
        self.limits = limits
        self.errors = []

    def wall(self):
        return self.clock() + self.epoch

    def process(self, **options):
        return SharedLimiter(self.limits, self.store, wall=self.wall, on_error=self.errors.append, **options)

    def run(self, body):
        async def main():
            result = await body(self.process())
            assert self.errors == []
            return result

        return run_virtual(main(), clock=self.clock)


def chat(prompt, output=0):
    return Charge(prompt_tokens=prompt, output_tokens=output)


async def used(limits, what="tokens", **which):
    (found,) = (
        one for one in await limits.standing() if all(getattr(one, name) == value for name, value in which.items())
    )
    return getattr(found, what).used


class TestTogether:
    def test_what_one_process_counted_another_sees(self):
        house = House(LimitConfig(name="tpm", tokens=100, requests=3))

        async def body(first):
            second = house.process()
            assert isinstance(await first.enter(ALL, chat(60)), Ticket)
            refusal = await second.enter(ALL, chat(60))
            assert (refusal.limit, refusal.kind) == ("tpm", "tokens")
            assert 60 < refusal.retry_after <= 61
            assert isinstance(await second.enter(ALL, chat(40)), Ticket)
            assert await used(first) == await used(second) == 100
            assert await used(first, "requests") == 2

        house.run(body)

    def test_five_parallel_calls_do_not_pass_together(self):
        house = House(LimitConfig(name="tpm", tokens=100))
        house.store.delay = 0.01

        async def body(limits):
            others = [limits, house.process(), house.process()]
            answers = await asyncio.gather(*(others[n % 3].enter(ALL, chat(20, 20)) for n in range(5)))
            assert sum(isinstance(answer, Ticket) for answer in answers) == 2

        house.run(body)

    def test_one_refusal_leaves_every_other_limit_untouched(self):
        house = House(
            LimitConfig(name="total", requests=5, concurrent=5), LimitConfig(name="alone", scope="user", tokens=10)
        )

        async def body(limits):
            refusal = await limits.enter({**ALL, "user": "alice"}, chat(11))
            assert refusal.limit == "alone"
            assert await used(limits, "requests", limit="total") == 0
            assert await used(limits, "concurrent", limit="total") == 0

        house.run(body)

    def test_all_limits_of_a_request_are_one_transaction(self):
        house = House(
            LimitConfig(name="a", requests=5),
            LimitConfig(name="b", scope="user", tokens=100, per=3600),
            LimitConfig(name="c", scope="key", requests=5),
        )

        async def body(limits):
            ticket = await limits.enter({**ALL, "user": "alice"}, chat(5))
            ((keys, ttl),) = house.store.transactions
            assert (len(keys), ttl) == (2, 7200)
            await limits.settle(ticket, Actual(tokens=3))
            # Requests are not settled.
            assert [len(keys) for keys, _ in house.store.transactions] == [2, 1]

        house.run(body)

    def test_places_in_flight_are_counted_by_each_process(self):
        house = House(LimitConfig(name="slots", concurrent=1))

        async def body(limits):
            ticket = await limits.enter(ALL)
            assert await limits.enter(ALL) == Refusal(limit="slots", subject="", retry_after=None, kind="concurrent")
            assert isinstance(await house.process().enter(ALL), Ticket)
            await limits.settle(ticket, None)
            await limits.leave(ticket)
            assert isinstance(await limits.enter(ALL), Ticket)
            assert isinstance(await limits.enter(ALL), Refusal)
            assert house.store.transactions == []

        house.run(body)

    def test_who_is_refused_by_the_store_gives_its_place_back(self):
        house = House(LimitConfig(name="slots", concurrent=1), LimitConfig(name="pace", requests=1))

        async def body(limits):
            await limits.settle(await limits.enter(ALL), None)
            assert (await limits.enter(ALL)).limit == "pace"
            assert await used(limits, "concurrent", limit="slots") == 0

        house.run(body)

    def test_a_shadow_is_told_once_and_refuses_nobody(self):
        house = House(LimitConfig(name="trial", requests=1, tokens=10, concurrent=1, shadow=True))

        async def body(limits):
            assert (await limits.enter(ALL, chat(6))).shadowed == ()
            shadowed = (await limits.enter(ALL, chat(6))).shadowed
            assert [refusal.kind for refusal in shadowed] == ["concurrent"]
            other = await house.process().enter(ALL, chat(6))
            assert [refusal.kind for refusal in other.shadowed] == ["requests"]
            assert await used(limits) == 18

        house.run(body)

    def test_without_limits_that_concern_it_a_request_comes_in(self):
        house = House(LimitConfig(name="each", scope="user", requests=1))

        async def body(limits):
            for _ in range(3):
                await limits.settle(await limits.enter({**ALL, "key": "k"}), Actual(tokens=1))
            assert house.store.transactions == []

        house.run(body)

    def test_says_what_it_wants_to_know(self):
        pace, tpm = LimitConfig(name="pace", requests=1), LimitConfig(name="tpm", scope="user", tokens=1)
        assert (House().process().active, House(pace).process().active) == (False, True)
        both = House(pace, tpm).process()
        assert (both.scopes, both.counts_tokens, both.counts_cost, both.local) == ({"all", "user"}, True, False, False)


class TestKept:
    def test_a_restart_keeps_what_was_counted(self):
        house = House(LimitConfig(name="day", cost=1.0, per=86_400))

        async def body(limits):
            charge = Charge(prompt_tokens=10, input_price=0.05)
            await limits.settle(await limits.enter(ALL, charge), Actual(tokens=10, cost=0.625))
            house.clock.advance(40_000)
            again = house.process()
            refusal = await again.enter(ALL, charge)
            assert (refusal.kind, refusal.quota) == ("cost", True)
            assert 46_400 < refusal.retry_after <= 46_400 + 1440
            house.clock.advance(refusal.retry_after)
            assert isinstance(await again.enter(ALL, charge), Ticket)

        house.run(body)

    def test_the_entries_are_compact_and_name_nobody(self):
        house = House(LimitConfig(name="each", scope="user", requests=10, tokens=100))

        async def body(limits):
            await limits.enter({"user": "alice\udcff"}, chat(7))
            await limits.enter({"user": "alice\udcff"}, chat(8))

        house.run(body)
        ((key, value),) = house.store.content().items()
        slot = 1_700_000_000
        assert key.startswith("apex-llm:limit:1:")
        assert "alice" not in key
        assert value == b'{"r":[[%d,2]],"t":[[%d,15]]}' % (slot, slot)

    def test_other_numbers_go_on_with_what_was_counted(self):
        house = House(LimitConfig(name="tpm", tokens=100))

        async def body(limits):
            await limits.enter(ALL, chat(100))
            house.limits = (LimitConfig(name="tpm", tokens=150, assumed_output_tokens=1),)
            raised = house.process()
            assert isinstance(await raised.enter(ALL, chat(50)), Ticket)
            assert isinstance(await raised.enter(ALL, chat(1)), Refusal)

        house.run(body)

    def test_a_window_of_whole_seconds_is_the_same_however_it_is_written(self):
        house = House(LimitConfig(name="tpm", tokens=100, per=60))

        async def body(limits):
            await limits.enter(ALL, chat(100))
            house.limits = (LimitConfig(name="tpm", tokens=100, per=60.0),)
            assert isinstance(await house.process().enter(ALL, chat(1)), Refusal)

        house.run(body)

    @pytest.mark.parametrize("change", [{"name": "other"}, {"scope": "user"}, {"per": 30.0}])
    def test_another_name_scope_or_window_is_another_limit(self, change):
        table = LimitConfig(name="tpm", tokens=100)
        house = House(table)

        async def body(limits):
            await limits.enter({**ALL, "user": ""}, chat(100))
            house.limits = (attrs.evolve(table, **change),)
            assert isinstance(await house.process().enter({**ALL, "user": ""}, chat(100)), Ticket)

        house.run(body)

    def test_a_reload_keeps_places_and_subjects(self):
        house = House(LimitConfig(name="slots", scope="user", concurrent=2))

        async def body(limits):
            ticket = await limits.enter({"user": "alice"})
            again = house.process()
            again.adopt(limits)
            assert await used(again, "concurrent", subject="alice") == 1
            await limits.settle(ticket, None)
            assert await used(again, "concurrent", subject="alice") == 0

        house.run(body)

    def test_a_clock_that_is_set_back_blocks_nobody_for_long(self):
        house = House(LimitConfig(name="tpm", tokens=100, per=60))

        async def body(limits):
            house.epoch += 10_000_000
            await limits.enter(ALL, chat(100))
            house.epoch -= 10_000_000
            refusal = await limits.enter(ALL, chat(100))
            assert 60 < refusal.retry_after <= 61
            # The first that is written after that puts it right.
            house.limits = (LimitConfig(name="tpm", tokens=200, per=60),)
            assert isinstance(await house.process().enter(ALL, chat(100)), Ticket)
            house.clock.advance(62)
            assert isinstance(await limits.enter(ALL, chat(100)), Ticket)

        house.run(body)

    def test_settling_what_has_expired_brings_nothing_back(self):
        house = House(LimitConfig(name="tpm", tokens=100, per=60))

        async def body(limits):
            ticket = await limits.enter(ALL, chat(100))
            house.clock.advance(200)
            await limits.settle(ticket, Actual(tokens=500))

        house.run(body)
        assert house.store.content() == {}

    def test_a_store_that_calls_again_counts_once(self):
        house = House(LimitConfig(name="all", requests=10, tokens=100, shadow=True))
        house.store.again = True

        async def body(limits):
            ticket = await limits.enter(ALL, chat(60))
            assert ticket.shadowed == ()
            assert len((await limits.enter(ALL, chat(60))).shadowed) == 1
            await limits.settle(ticket, Actual(tokens=10))
            assert (await used(limits, "requests"), await used(limits)) == (2, 70)

        house.run(body)

    @pytest.mark.parametrize(
        "value",
        [b"\xff", b"[]", b"7", b'{"t":7}', b'{"t":[[1]]}', b'{"t":[["x",1]]}', b'{"t":[[1,-1]]}', b'{"t":[[1,NaN]]}',
         b'{"t":[[1,"x"]]}', b"[" * 100_000],
    )  # fmt: skip
    def test_an_unreadable_entry_is_told_and_counts_anew(self, value):
        house = House(LimitConfig(name="tpm", tokens=100))

        async def body():
            limits = house.process()
            await limits.enter(ALL, chat(1))
            (key,) = house.store.content()
            await house.store.put(key, value, None)
            assert isinstance(await limits.enter(ALL, chat(60)), Ticket)
            assert [str(error) for error in house.errors] == [
                "what the state store holds of the limit 'tpm' is unreadable; it counts anew"
            ]
            assert await used(limits) == 60

        run_virtual(body(), clock=house.clock)

    def test_what_is_written_can_be_read(self):
        house = House(LimitConfig(name="c", cost=10.0))

        async def body(limits):
            await limits.enter(ALL, Charge(prompt_tokens=1, input_price=0.1))

        house.run(body)
        (value,) = house.store.content().values()
        assert json.loads(value) == {"c": [[1_700_000_000, 0.1]]}


class TestFailure:
    def test_lets_in_and_tells(self):
        house = House(LimitConfig(name="tpm", tokens=1, concurrent=2))
        house.store.failure = OSError("disk full")

        async def body():
            limits = house.process()
            first = await limits.enter(ALL, chat(60))
            assert isinstance(first, Ticket)
            assert (house.errors, limits.unchecked) == ([house.store.failure], 1)
            # Places are counted all the same, and freed; there is nothing to settle in the store.
            await limits.enter(ALL, chat(60))
            assert (await limits.enter(ALL, chat(60))).kind == "concurrent"
            await limits.settle(first, Actual(tokens=60))
            assert isinstance(await limits.enter(ALL, chat(60)), Ticket)
            assert len(house.store.transactions) == 3

        run_virtual(body(), clock=house.clock)

    def test_keeps_out_if_it_is_to(self):
        house = House(LimitConfig(name="tpm", tokens=100, concurrent=1))
        house.store.failure = OSError("disk full")

        async def body():
            limits = house.process(fail_open=False)
            for _ in range(3):
                with pytest.raises(ServiceUnavailableError, match="disk full") as caught:
                    await limits.enter(ALL, chat(1))
                assert caught.value.__cause__ is house.store.failure
            assert len(house.errors) == 3
            house.store.failure = None
            assert isinstance(await limits.enter(ALL, chat(1)), Ticket)

        run_virtual(body(), clock=house.clock)

    def test_settling_never_raises_and_leaves_the_reservation(self):
        house = House(LimitConfig(name="tpm", tokens=100, concurrent=1))

        async def body():
            limits = house.process()
            ticket = await limits.enter(ALL, chat(60))
            house.store.failure = OSError("disk full")
            await limits.settle(ticket, Actual(tokens=1))
            await limits.settle(ticket, Actual(tokens=1))
            assert house.errors == [house.store.failure]
            house.store.failure = None
            assert (await used(limits), await used(limits, "concurrent")) == (60, 0)

        run_virtual(body(), clock=house.clock)

    def test_what_nobody_can_read_is_no_standing(self):
        house = House(LimitConfig(name="tpm", tokens=100))
        house.store.failure = OSError("disk full")

        async def body():
            with pytest.raises(ServiceUnavailableError, match="disk full"):
                await house.process().standing()

        run_virtual(body(), clock=house.clock)


class TestCancellation:
    def test_what_was_counted_of_it_is_given_back(self):
        house = House(LimitConfig(name="tpm", requests=9, tokens=100, concurrent=1))
        house.store.delay = 1.0

        async def body(limits):
            task = asyncio.create_task(limits.enter(ALL, chat(100)))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert limits._limits[0].in_flight.used("") == 0
            await limits.close()
            assert house.clock() == 2.0
            house.store.delay = 0.0
            # It stays counted as a request, as everybody who leaves.
            assert (await used(limits), await used(limits, "requests")) == (0, 1)

        house.run(body)

    @pytest.mark.parametrize("refused", [False, True])
    def test_there_is_nothing_to_give_back_when_the_store_counted_nothing(self, refused):
        house = House(LimitConfig(name="tpm", tokens=100))
        house.store.delay = 1.0
        house.store.failure = None if refused else OSError("disk full")

        async def body(limits):
            task = asyncio.create_task(limits.enter(ALL, chat(101)))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await limits.close()
            assert len(house.store.transactions) == 1
            assert house.store.content() == {}

        house.run(body)


class TestStanding:
    def test_names_who_was_seen_and_whom_a_pattern_names(self):
        house = House(
            LimitConfig(name="each", scope="user", requests=5),
            LimitConfig(name="some", scope="user", match="a*", tokens=50),
            LimitConfig(name="one", scope="key", match="ci", tokens=100),
            LimitConfig(name="total", requests=4),
        )

        async def body(limits):
            for user in ("bob", "alice"):
                await limits.enter({**ALL, "user": user}, chat(5))
            found = await limits.standing()
            assert [(one.limit, one.subject) for one in found] == [
                ("each", "bob"),
                ("each", "alice"),
                ("some", "alice"),
                ("one", "ci"),
                ("total", ""),
            ]
            assert [one.requests and one.requests.used for one in found] == [1, 1, None, None, 2]
            assert found[2].tokens == Standing(limit=50, used=5, remaining=45)
            assert found[2].resets_in == 61.0
            # Another process knows whom it has seen itself, and of them what everybody counted.
            other = house.process()
            assert [one.subject for one in await other.standing()] == ["ci", ""]
            await other.enter({"user": "bob"})
            assert await used(other, "requests", subject="bob") == 2

        house.run(body)

    def test_remembers_those_seen_last(self, monkeypatch):
        monkeypatch.setattr(shared_limits, "_REMEMBERED", 3)
        house = House(LimitConfig(name="each", scope="user", requests=5))

        async def body(limits):
            for user in ("a", "b", "a", "c", "d"):
                await limits.enter({"user": user})
            assert [one.subject for one in await limits.standing()] == ["a", "c", "d"]

        house.run(body)

    def test_looks_without_writing(self):
        house = House(LimitConfig(name="tpm", tokens=100))

        async def body(limits):
            await limits.enter(ALL, chat(5))
            before = house.store.content()
            house.clock.advance(100)
            assert await used(limits) == 0
            assert house.store.content() == before

        house.run(body)
