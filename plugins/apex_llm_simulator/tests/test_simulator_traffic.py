from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest
from apex_llm_simulator import parse_scenario, report, simulate
from apex_llm_simulator.traffic import Requester, closed_loop, open_loop
from apex_llm_simulator.workload import Burst, Workload

from apex_llm_core.testing import FakeClock, run_virtual


class Recorder:
    """Stands in for a requester: notes when requests are made and lets each take a while."""

    def __init__(self, clock, takes=0.0):
        self.clock, self.takes, self.begun = clock, takes, []
        self.running = self.most = 0

    def draw(self):
        return None

    async def make(self, _asked):
        self.begun.append(self.clock())
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(self.takes)
        self.running -= 1


def arrivals(until, takes=0.0, seed="s", **keys):
    clock = FakeClock(0.0)
    recorder = Recorder(clock, takes)
    workload = Workload(model="m", **keys)
    if workload.concurrency is None:
        run_virtual(open_loop(recorder, workload, until, clock, seed=seed), clock=clock)
    else:
        run_virtual(closed_loop(recorder, workload, until, clock), clock=clock)
    return recorder


def test_arrivals_of_an_open_loop_are_a_poisson_process():
    begun = arrivals(2_000, requests_per_second=5).begun
    assert len(begun) == pytest.approx(10_000, rel=0.03)
    gaps = [later - earlier for earlier, later in itertools.pairwise(begun)]
    mean = sum(gaps) / len(gaps)
    # Exponential gaps: as wide as they are long.
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(mean**2, rel=0.1)


def test_an_open_loop_does_not_wait_for_answers():
    recorder = arrivals(100, takes=50.0, requests_per_second=1)
    assert recorder.most > 30
    assert recorder.running == 0


def test_the_curve_of_a_day_is_followed():
    curve = [0.0] * 24
    curve[6] = 2.0
    begun = arrivals(86_400, requests_per_second=0.2, by_hour=tuple(curve)).begun
    by_hour = Counter(int(at // 3_600) for at in begun)
    # Up to twice the rate at six, in straight lines from five and to seven.
    assert set(by_hour) == {5, 6}
    assert by_hour[5] == pytest.approx(720, rel=0.15)
    assert by_hour[6] == pytest.approx(720, rel=0.15)


def test_a_burst_multiplies_what_arrives():
    burst = Burst(windows=("10m-20m",), factor=5.0)
    begun = arrivals(1_800, requests_per_second=1, bursts=(burst,)).begun
    within = sum(600 <= at < 1_200 for at in begun)
    assert within == pytest.approx(3_000, rel=0.1)
    assert len(begun) - within == pytest.approx(1_200, rel=0.1)


@pytest.mark.parametrize("keys", [{"requests_per_second": 2}, {"concurrency": 3}])
def test_nothing_arrives_outside_the_windows(keys):
    begun = arrivals(600, windows=("1m-2m", "5m-6m"), **keys).begun
    assert begun
    assert all(60 <= at < 120 or 300 <= at < 360 for at in begun)
    assert any(at > 300 for at in begun)


def test_clients_of_a_closed_loop_wait_for_their_answers():
    recorder = arrivals(100, takes=0.9, concurrency=4, pause=0.1)
    assert recorder.most == 4
    assert len(recorder.begun) == pytest.approx(400, abs=4)


def test_clients_that_are_refused_at_once_do_not_stop_time():
    assert len(arrivals(10, takes=0.0, concurrency=1, pause=0.5).begun) == pytest.approx(20, abs=1)


def test_arrivals_depend_on_their_seed_alone():
    def at(seed, **keys):
        return arrivals(60, seed=seed, requests_per_second=2, **keys).begun

    assert at("a") == at("a", takes=3.0) != at("b")


def test_a_defect_in_a_request_is_not_swallowed():
    class Broken(Recorder):
        async def make(self, _asked):
            raise ZeroDivisionError

    clock = FakeClock(0.0)
    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        run_virtual(open_loop(Broken(clock), Workload(requests_per_second=1), 60, clock, seed="s"), clock=clock)


class TestContents:
    def drawn(self, count=2_000, **keys):
        requester = Requester(Workload(model="m", requests_per_second=1, **keys), None, seed="s")
        return [requester.draw() for _ in range(count)]

    def test_a_share_of_the_requests_wants_a_stream(self):
        assert sum(asked.stream for asked in self.drawn(stream_share=0.3)) / 2_000 == pytest.approx(0.3, abs=0.03)

    def test_without_users_callers_are_anonymous(self):
        assert {asked.caller for asked in self.drawn(10)} == {None}

    def test_sessions_belong_to_one_user_each(self):
        callers = [asked.caller for asked in self.drawn(users=5, sessions=20)]
        assert len({caller.user for caller in callers}) == 5
        assert len({caller.session for caller in callers}) == 20
        assert len({(caller.user, caller.session) for caller in callers}) == 20

    def test_prompts_are_all_different_unless_a_number_is_given(self):
        assert len({asked.prompt for asked in self.drawn(500)}) == 500
        assert len({asked.prompt for asked in self.drawn(500, distinct_prompts=7)}) == 7


def test_a_cache_answers_what_was_asked_before(tables):
    more = {"manager": {"cache_enabled": True}}
    found = report(simulate(parse_scenario(tables(workload={"distinct_prompts": 10}, more=more))))
    assert found.figures.cached > found.figures.requests * 0.9
    assert found.figures.upstream_calls + found.figures.cached == found.figures.requests
    assert found.figures.amplification == 1.0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "either 'requests_per_second' or 'concurrency'"),
        ({"requests_per_second": 1, "concurrency": 1}, "either"),
        ({"concurrency": 1, "by_hour": (1.0,) * 24}, "belong to 'requests_per_second'"),
        ({"requests_per_second": 1, "by_hour": (1.0,) * 23}, "24 factors"),
        ({"requests_per_second": 1, "by_hour": (0.0,) * 24}, "not all of them 0"),
    ],
)
def test_contradictions_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        Workload(model="m", **keys)
