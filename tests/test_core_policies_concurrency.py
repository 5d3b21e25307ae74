from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from math import inf
from random import Random
from statistics import mean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_llm_core.config.policies import ConcurrencyConfig
from apex_llm_core.policies.concurrency import ConcurrencyLimit


class Upstream:
    """A service with *capacity* places under a demand that never ends; the limit decides how much of it gets in.

    queue: who finds no place waits for one, so the first chunk comes late. share: everyone is served at once, and slower.
    shed: who finds no place gets a 429.
    """

    def __init__(self, config, *, capacity=30, mode="queue", demand=10_000, seed=1, first_chunk=0.5, answer=4.0):
        self.limit = ConcurrencyLimit(config)
        self.capacity, self.mode, self.demand = capacity, mode, demand
        self.first_chunk, self.answer = first_chunk, answer
        self.random = Random(seed)
        self.now, self.serial = 0.0, 0
        self.events, self.waiting = [], deque()
        self.serving = self.served = self.dropped = 0
        self.seen = []

    def run(self, seconds):
        """Let *seconds* pass; return the limits that were seen, each release one."""
        self.seen = []
        self.served = self.dropped = 0
        end = self.now + seconds
        self.fill()
        while self.events and self.events[0][0] <= end:
            self.now, _, sample, dropped = heappop(self.events)
            self.finish(sample, dropped)
            self.fill()
        self.now = end
        return self.seen

    def fill(self):
        while self.limit.in_flight < self.demand and self.limit.try_acquire():
            if self.mode == "shed" and self.serving >= self.capacity:
                self.schedule(0.05, None, dropped=True)
            elif self.mode == "queue" and self.serving >= self.capacity:
                self.waiting.append(self.now)
            else:
                self.begin(self.now)

    def begin(self, arrived):
        self.serving += 1
        noise = self.random.lognormvariate(-0.08, 0.4)
        slower = max(1.0, self.serving / self.capacity) if self.mode == "share" else 1.0
        first = self.first_chunk * noise * slower
        rest = self.answer * self.random.lognormvariate(-0.125, 0.5) * slower
        self.schedule(first + rest, self.now - arrived + first, dropped=False)

    def schedule(self, delay, sample, *, dropped):
        self.serial += 1
        heappush(self.events, (self.now + delay, self.serial, sample, dropped))

    def finish(self, sample, dropped):
        if dropped:
            self.dropped += 1
        else:
            self.serving -= 1
            self.served += 1
        self.limit.release(sample, dropped=dropped)
        self.seen.append(self.limit.limit)
        while self.waiting and self.serving < self.capacity:
            self.begin(self.waiting.popleft())


ADAPTIVE = ConcurrencyConfig(adaptive=True)
MODES = ["queue", "share", "shed"]
#: Where everyone shares, 45 in flight are answered in one and a half times what 30 are, which is tolerated.
SETTLED = {"queue": (20, 45), "share": (30, 70), "shed": (20, 45)}


def share_within(values, low, high):
    return mean(low <= value <= high for value in values)


class TestFixed:
    def test_without_a_bound_everybody_gets_in(self):
        limit = ConcurrencyLimit(ConcurrencyConfig())
        assert limit.limit == inf
        assert all(limit.try_acquire() for _ in range(1000))
        assert limit.in_flight == 1000

    def test_a_bound_is_kept_whatever_the_answers_are(self):
        limit = ConcurrencyLimit(ConcurrencyConfig(max=2))
        assert [limit.try_acquire() for _ in range(3)] == [True, True, False]
        limit.release(dropped=True)
        limit.release(5.0)
        assert (limit.in_flight, limit.limit) == (0, 2)
        assert [limit.try_acquire() for _ in range(3)] == [True, True, False]


class TestBounds:
    @pytest.mark.parametrize(
        ("given", "start"),
        [({}, 20), ({"initial": 2}, 4), ({"max": 10}, 10), ({"max": 3}, 3), ({"initial": 500}, 200)],
    )
    def test_the_start_is_within_the_bounds(self, given, start):
        assert ConcurrencyLimit(ConcurrencyConfig(adaptive=True, **given)).limit == start

    @settings(max_examples=200)
    @given(
        st.integers(0, 40),
        st.integers(1, 30),
        st.integers(1, 60),
        st.lists(st.one_of(st.just("acquire"), st.none(), st.floats(1e-6, 1e6), st.just("drop")), max_size=400),
    )
    def test_no_history_leads_out_of_them_or_past_the_limit(self, highest, lowest, initial, events):
        limit = ConcurrencyLimit(ConcurrencyConfig(adaptive=True, max=highest, min=lowest, initial=initial))
        ceiling = highest or 200
        held = 0
        for event in events:
            if event == "acquire":
                room = held < limit.limit
                assert limit.try_acquire() is room
                held += room
            elif held:
                held -= 1
                limit.release(dropped=True) if event == "drop" else limit.release(event)
            assert limit.in_flight == held
            assert min(lowest, ceiling) <= limit.limit <= ceiling
            assert isinstance(limit.limit, int)


class TestFinding:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("initial", [4, 20, 150])
    def test_it_settles_near_what_the_upstream_can_do(self, mode, initial):
        upstream = Upstream(ConcurrencyConfig(adaptive=True, initial=initial), mode=mode)
        upstream.run(600)
        seen = upstream.run(3600)
        low, high = SETTLED[mode]
        assert low <= median(seen) <= high
        # Besides, there are the rounds in which the limit is halved on purpose.
        assert share_within(seen, low, high) > 0.9
        assert share_within(seen, low / 2, high * 1.2) > 0.99

    @pytest.mark.parametrize("mode", MODES)
    def test_it_uses_what_is_there(self, mode):
        free, found = Upstream(ConcurrencyConfig(max=30), mode=mode), Upstream(ADAPTIVE, mode=mode)
        for upstream in (free, found):
            upstream.run(3600)
        assert found.served > 0.9 * free.served

    def test_few_are_refused(self):
        upstream = Upstream(ADAPTIVE, mode="shed")
        upstream.run(600)
        upstream.run(3600)
        assert upstream.dropped < 0.1 * upstream.served

    @pytest.mark.parametrize("mode", MODES)
    def test_it_follows_a_loss_of_capacity_and_its_return(self, mode):
        upstream = Upstream(ADAPTIVE, mode=mode)
        low, high = SETTLED[mode]
        upstream.run(900)
        upstream.capacity = 8
        upstream.run(900)
        assert median(upstream.run(300)) <= 0.8 * low
        upstream.capacity = 30
        upstream.run(900)
        assert low <= median(upstream.run(300)) <= high

    def test_a_model_that_became_slower_for_good_does_not_hold_it_down(self):
        upstream = Upstream(ADAPTIVE)
        upstream.run(600)
        upstream.first_chunk *= 4
        upstream.run(1800)
        assert 20 <= median(upstream.run(600)) <= 45

    def test_lasting_load_does_not_make_it_creep_up(self):
        upstream = Upstream(ADAPTIVE, mode="share")
        upstream.run(900)
        upstream.run(6 * 3600)
        assert median(upstream.run(3600)) <= 70

    def test_it_does_not_grow_while_less_than_half_is_used(self):
        upstream = Upstream(ConcurrencyConfig(adaptive=True, initial=40), demand=19)
        assert set(upstream.run(3600)) == {40}

    def test_it_grows_to_the_highest_when_nothing_gets_slower(self):
        assert Upstream(ADAPTIVE, capacity=1000).run(3600)[-1] in {200, 100}
        assert max(Upstream(ConcurrencyConfig(adaptive=True, max=60), capacity=1000).run(3600)) == 60


class TestDrops:
    @staticmethod
    def full(initial=100):
        limit = ConcurrencyLimit(ConcurrencyConfig(adaptive=True, initial=initial))
        while limit.try_acquire():
            pass
        return limit

    def test_a_burst_counts_once(self):
        limit = self.full()
        for _ in range(100):
            limit.release(dropped=True)
        assert limit.limit == 90

    def test_the_next_round_counts_again(self):
        limit = self.full()
        for _ in range(100):
            limit.release(dropped=True)
        while limit.try_acquire():
            pass
        limit.release(dropped=True)
        assert limit.limit == 81

    def test_the_lowest_is_kept(self):
        limit = self.full(5)
        for _ in range(500):
            limit.try_acquire()
            limit.release(dropped=True)
        assert limit.limit == 4


class TestSamples:
    @staticmethod
    def serve(limit, samples):
        for sample, kind in samples:
            while limit.try_acquire():
                pass
            limit.release(sample, kind=kind)

    def test_without_one_nothing_is_learnt(self):
        limit = ConcurrencyLimit(ADAPTIVE)
        self.serve(limit, [(None, None), (0.0, None)] * 500)
        assert limit.limit == 20

    def test_kinds_are_compared_with_themselves_only(self):
        # Seconds per token, then ever more streams, measured to the first chunk: fifty times as long.
        mixed, alike = ConcurrencyLimit(ADAPTIVE), ConcurrencyLimit(ADAPTIVE)
        random = Random(5)
        streamed = [random.random() < position / 1500 for position in range(1500)]
        self.serve(mixed, [(0.5, "first chunk") if stream else (0.01, "token") for stream in streamed])
        self.serve(alike, [(0.5, None)] * 1500)
        assert mixed.limit == alike.limit > 20

    def test_a_model_that_became_faster_is_measured_by_that(self):
        limit = ConcurrencyLimit(ADAPTIVE)
        self.serve(limit, [(0.4, None)] * 100 + [(0.1, None)] * 150)
        before = limit.limit
        self.serve(limit, [(0.3, None)] * 150)
        assert limit.limit < before

    def test_a_round_that_ends_in_quiet_was_loaded_all_the_same(self):
        limit = ConcurrencyLimit(ConcurrencyConfig(adaptive=True, initial=10))
        for _ in range(10):
            for _ in range(10):
                limit.try_acquire()
            while limit.in_flight:
                limit.release(0.5)
        assert limit.limit > 10

    def test_one_outlier_shrinks_nothing(self):
        limit = ConcurrencyLimit(ADAPTIVE)
        self.serve(limit, [(0.5, None)] * 100)
        before = limit.limit
        self.serve(limit, [(500.0, None)] + [(0.5, None)] * 100)
        assert limit.limit > before

    def test_slower_answers_shrink_it(self):
        limit = ConcurrencyLimit(ADAPTIVE)
        self.serve(limit, [(0.5, None)] * 100)
        before = limit.limit
        self.serve(limit, [(2.0, None)] * 150)
        assert limit.limit < before
