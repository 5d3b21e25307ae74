from __future__ import annotations

import asyncio
import json
from itertools import pairwise

import pytest
from apex_llm_gateway.batch.journal import Journal
from apex_llm_gateway.batch.pace import Pace
from apex_llm_gateway.batch.progress import facts
from apex_llm_gateway.batch.runner import Plan, Runner, survey
from apex_llm_gateway.batch.tally import Tally
from apex_llm_gateway.http import Reply
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.testing import FakeClock, run_virtual

GOOD = Reply(body=b'{"ok":true}', headers={"x-request-id": "r"})


def bad(status, **headers):
    body = json.dumps({"error": {"code": f"c{status}"}}).encode()
    return Reply(body=body, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


class TestPace:
    @given(st.integers(1, 20), st.lists(st.sampled_from(["ask", "well", "slow", "time"]), max_size=80))
    def test_never_more_than_allowed(self, most, steps):
        pace, now, began = Pace(most), 0.0, []
        for step in steps:
            if step == "ask" and pace.wait(now) == 0.0:
                assert now >= pace.paused_until
                pace.began()
                began.append(now)
            elif step == "time":
                now += 0.4
            elif step != "ask" and began:
                pace.ended()
                begin = began.pop(0)
                if step == "well":
                    pace.went_well()
                else:
                    pace.slow_down(begin, now, None)
            assert pace.in_flight == len(began) <= most
            assert 1 <= pace.limit <= most

    def test_a_burst_of_refusals_halves_once(self):
        pace = Pace(16)
        for _ in range(16):
            pace.slow_down(began=0.0, now=1.0, retry_after=3.0)
        assert pace.limit == 8
        assert pace.wait(1.0) == 3.0
        pace.slow_down(began=2.0, now=2.5, retry_after=None)
        assert pace.limit == 4

    def test_it_recovers(self):
        pace = Pace(8)
        pace.slow_down(began=0.0, now=0.0, retry_after=0.0)
        for _ in range(60):
            pace.went_well()
        assert pace.limit == 8

    def test_what_is_allowed_is_found_out(self):
        pace, rounds = Pace(100, first=4), []
        for _ in range(4):
            rounds.append(pace.limit)
            for _ in range(pace.limit):
                pace.went_well()
        assert rounds == [4, 8, 16, 32]
        pace.slow_down(began=0.0, now=1.0, retry_after=None)
        assert pace.limit == 32
        for _ in range(32):
            pace.went_well()
        assert pace.limit == 32
        pace.went_well()
        assert pace.limit == 33

    def test_it_begins_with_no_more_than_the_most(self):
        assert Pace(3, first=8).limit == 3


@pytest.fixture
def batch(tmp_path):
    """Runs a batch of so many lines in virtual time; returns its tally, its records and when each line was asked. Beside it: `seconds` it took, and the `tally` so far."""

    def run(ask, lines=20, cancel_at=None, **plan):
        source = tmp_path / "in.jsonl"
        source.write_text(
            "".join(
                json.dumps({"custom_id": f"c{number}", "url": "/v1/embeddings", "body": {"number": number}}) + "\n"
                for number in range(lines)
            )
        )
        clock, asked, tally = FakeClock(), [], Tally(lines=lines)

        async def noted(line):
            asked.append((clock(), line.body["number"]))
            return await ask(line.body["number"], sum(number == line.body["number"] for _, number in asked))

        async def work(journal):
            runner = Runner(Plan(source=source, **plan), journal, noted, tally, clock=clock, tell=run.told.append)
            if cancel_at is None:
                await runner.run()
                return
            task = asyncio.create_task(runner.run())
            await asyncio.sleep(cancel_at)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        output, errors = tmp_path / "out.jsonl", tmp_path / "errors.jsonl"
        run.tally, run.told, began = tally, [], clock()
        with Journal(output, errors) as journal:
            run_virtual(work(journal), clock=clock)
        run.seconds = clock() - began
        records = [json.loads(text) for path in (output, errors) for text in path.read_text().splitlines()]
        return tally, records, asked

    return run


def test_every_line_is_answered_once(batch):
    async def ask(_number, _times):
        await asyncio.sleep(1)
        return GOOD

    tally, records, asked = batch(ask, lines=500, concurrency=7)
    assert sorted(record["custom_id"] for record in records) == sorted(f"c{number}" for number in range(500))
    assert tally.succeeded == len(asked) == 500
    by_second = {}
    for at, _ in asked:
        by_second[at] = by_second.get(at, 0) + 1
    assert max(by_second.values()) == 7


def test_what_may_pass_is_tried_again_and_then_written_down(batch):
    async def ask(number, times):
        if number == 3:
            return bad(500)
        return bad(502) if number == 4 and times < 3 else GOOD

    tally, records, asked = batch(ask, attempts=4)
    tries = [at for at, number in asked if number == 3]
    assert len(tries) == 4
    assert [later - earlier for earlier, later in pairwise(tries)] == [1.0, 2.0, 4.0]
    assert tally.failures == {"c500": 1}
    assert tally.succeeded == 19
    assert len(records) == 20


@pytest.mark.parametrize(
    "answer", [bad(400), bad(404), bad(429, x_should_retry="false"), bad(503, x_should_retry="false")]
)
def test_what_will_not_pass_is_asked_once(batch, answer):
    async def ask(_number, _times):
        return answer

    tally, _, asked = batch(ask)
    assert len(asked) == tally.failed_count == 20
    assert tally.slowed == 0


def test_a_rate_limit_slows_all_of_them_down(batch):
    open_at = FakeClock()() + 30.0

    async def ask(_number, _times):
        await asyncio.sleep(0.1)
        now = asyncio.get_running_loop().time()
        return GOOD if now >= open_at else bad(429, Retry_After="10")

    tally, records, asked = batch(ask, lines=50, concurrency=8, attempts=9)
    assert tally.succeeded == 50
    assert len(records) == 50
    # Eight at first, then as many as are left of them after each pause: not the whole file against a closed door.
    early = [at for at, _ in asked if at < open_at]
    assert len(early) <= 8 + 4 + 2 + 1
    assert tally.slowed == len(early)


def test_lines_that_wait_for_another_try_do_not_keep_others_waiting(batch):
    async def ask(number, times):
        await asyncio.sleep(0.1)
        return bad(500) if number < 4 and times < 5 else GOOD

    _, _, asked = batch(ask, lines=40, concurrency=2)
    assert max(at for at, number in asked if number >= 4) < FakeClock()() + 4.0


def test_the_pace_is_found_out(batch):
    under_way = []

    async def ask(_number, _times):
        under_way.append(None)
        busy = len(under_way) > 20
        await asyncio.sleep(1)
        under_way.pop()
        return bad(429, Retry_After="1") if busy else GOOD

    tally, records, asked = batch(ask, lines=400, concurrency=100, at_first=4, attempts=50)
    assert (tally.succeeded, len(records)) == (400, 400)
    by_second = {}
    for at, _ in asked:
        by_second[at] = by_second.get(at, 0) + 1
    together = list(by_second.values())
    assert together[:3] == [4, 8, 16]
    assert max(together) <= 32
    # Not one line at a time for the rest of it.
    assert len(together) < 50


def test_an_end_wakes_one_of_those_that_wait(batch, monkeypatch):
    looks = []
    wait = Pace.wait
    monkeypatch.setattr(Pace, "wait", lambda self, now: looks.append(now) or wait(self, now))

    async def ask(number, _times):
        await asyncio.sleep(1 + number / 1000)
        return GOOD

    batch(ask, lines=400, concurrency=20)
    assert len(looks) <= 3 * 400


def test_money_ends_it(batch):
    async def ask(_number, _times):
        batch.tally.cost += 1.0
        return GOOD

    tally, records, _ = batch(ask, lines=30, concurrency=1, max_cost=5.0)
    assert (tally.stopped, tally.succeeded, len(records)) == ("max_cost", 5, 5)


def test_the_end_of_the_money_does_not_wait_for_lines_that_would_be_asked_again_later(batch):
    async def ask(number, _times):
        await asyncio.sleep(2)
        batch.tally.cost += 1.0
        return GOOD if number else bad(500, Retry_After="50")

    tally, records, _ = batch(ask, lines=30, concurrency=2, max_cost=5.0)
    assert (tally.stopped, len(records)) == ("max_cost", 5)
    assert batch.seconds == 6.0


def test_an_interruption_lets_those_under_way_finish(batch):
    async def ask(number, _times):
        await asyncio.sleep(3 if number < 4 else 60)
        return GOOD

    tally, records, asked = batch(ask, lines=30, concurrency=6, cancel_at=2.0)
    assert batch.told == ["6 lines under way may take 10 seconds more; another Ctrl-C leaves them for the next run"]
    assert {record["custom_id"] for record in records} == {"c0", "c1", "c2", "c3"}
    assert len(asked) == 6
    assert tally.stopped == "interrupted"


def test_an_interruption_does_not_wait_for_lines_that_would_be_asked_again_later(batch):
    async def ask(_number, times):
        return bad(500) if times < 5 else GOOD

    tally, records, asked = batch(ask, lines=4, cancel_at=4.0)
    # Asked at 0, 1 and 3 seconds, and not again before the seventh.
    assert (len(asked), records, tally.stopped) == (12, [], "interrupted")
    assert batch.seconds == 4.0


def test_a_failure_to_write_ends_it(batch, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    async def ask(_number, _times):
        return GOOD

    monkeypatch.setattr(Journal, "answered", full)
    with pytest.raises(OSError, match="No space"):
        batch(ask)


def test_only_failures_of_its_own_lines_are_counted(batch, tmp_path):
    async def ask(number, _times):
        return bad(400) if number % 2 else GOOD

    batch(ask, lines=20)
    source, rest = tmp_path / "in.jsonl", tmp_path / "rest.jsonl"
    every = source.read_text().splitlines(keepends=True)
    with Journal(tmp_path / "out.jsonl", tmp_path / "errors.jsonl") as journal:
        for chosen, failed in ((every, 10), (every[::2], 0), (every[:5], 2)):
            rest.write_text("".join(chosen))
            found = survey(rest, journal.finished)
            assert (found.lines, found.skipped, found.failed_before) == (len(chosen), len(chosen), failed)
            assert found.document(1.0)["failed_before"] == failed


@pytest.mark.parametrize(
    ("so_far", "said"),
    [
        ({}, "cost unknown"),
        ({"skipped": 4}, "cost unknown"),
        ({"succeeded": 2, "cost_unknown": 2}, "cost unknown"),
        ({"succeeded": 2}, "cost 0.000000"),
        ({"succeeded": 2, "cost": 0.00003}, "cost 0.000030"),
        ({"cost": 0.00003}, "cost 0.000030"),
        ({"succeeded": 2, "cost": 0.5, "cost_unknown": 1}, "cost 0.500000 + 1 unknown"),
    ],
)
def test_what_is_known_of_the_cost_is_shown_and_nothing_else(so_far, said):
    assert said in facts(Tally(lines=9, **so_far), Pace(3), 10.0).split(", ")
