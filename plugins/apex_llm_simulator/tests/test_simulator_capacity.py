from __future__ import annotations

import pytest
from apex_llm_simulator.capacity import Allowance, advised
from hypothesis import given
from hypothesis import strategies as st


@given(
    per_minute=st.integers(1, 600),
    steps=st.lists(st.tuples(st.floats(0, 120), st.integers(1, 50)), max_size=60),
)
def test_what_is_admitted_never_exceeds_a_full_bucket_and_what_was_refilled(per_minute, steps):
    bucket = Allowance(per_minute, 0.0)
    now, admitted = 0.0, []
    for pause, amount in steps:
        now += pause
        if bucket.wait(amount, now) == 0:
            bucket.take(amount, now)
            admitted.append((now, amount))
    # Over any span: a bucket full at its beginning, what came since, and one request larger than a bucket.
    for position, (begin, _) in enumerate(admitted):
        total = 0
        for at, amount in admitted[position:]:
            total += min(amount, per_minute)
            assert total <= per_minute + (at - begin) * per_minute / 60 + 1e-6


@given(per_minute=st.integers(1, 600), used=st.integers(0, 600), amount=st.integers(1, 600))
def test_who_waits_as_told_is_admitted_and_not_earlier(per_minute, used, amount):
    bucket = Allowance(per_minute, 0.0)
    bucket.take(min(used, per_minute), 0.0)
    wait = bucket.wait(amount, 0.0)
    assert bucket.wait(amount, wait + 1e-6) == pytest.approx(0.0, abs=1e-5)
    if wait > 0.001:
        assert bucket.wait(amount, wait - 0.001) > 0


def test_a_request_larger_than_the_bucket_passes_when_it_is_full():
    bucket = Allowance(60, 0.0)
    assert bucket.wait(1_000, 0.0) == 0
    bucket.take(1_000, 0.0)
    assert bucket.wait(1, 0.0) == pytest.approx(941)
    assert bucket.remaining(0.0) == 0


def test_advice_is_in_whole_seconds_and_enough():
    assert [advised(wait) for wait in (0.01, 1.0, 1.2)] == [1.0, 1.0, 2.0]
