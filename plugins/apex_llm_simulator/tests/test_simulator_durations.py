from __future__ import annotations

import math

import pytest
from apex_llm_simulator.durations import in_words, is_within, seconds, span, until_within
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400), ("1d", 86_400)],
)
def test_durations_are_read(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "5", "m5", "5 m", "-5m", "5min", "1h-2h", "5m!"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="must be a duration such as"):
        seconds(text)


def test_spans_are_read():
    assert span("5m-8m") == (300, 480)
    assert span("0 - 1h") == (0, 3600)


@pytest.mark.parametrize("text", ["5m", "8m-5m", "5m-5m", "-5m", "5m-", "1m-2m-3m"])
def test_what_is_no_span_is_refused(text):
    with pytest.raises(ValueError, match="must be a"):
        span(text)


def test_a_span_holds_its_beginning_and_not_its_end():
    assert is_within(300, (span("5m-8m"),))
    assert not is_within(480, (span("5m-8m"),))


@given(
    at=st.floats(0, 1000),
    windows=st.lists(st.tuples(st.floats(0, 1000), st.floats(0.001, 1000)).map(lambda w: (w[0], w[0] + w[1]))),
)
def test_waiting_until_within_leads_within_and_not_past_a_window(at, windows):
    windows = tuple(windows)
    wait = until_within(at, windows)
    assert wait >= 0
    assert (wait == 0) == is_within(at, windows)
    later = [begin for begin, _ in windows if begin > at]
    if wait and not math.isinf(wait):
        assert at + wait == pytest.approx(min(later))
    elif math.isinf(wait):
        assert later == []


@pytest.mark.parametrize(
    ("length", "expected"),
    [(86_400, "24 h"), (3_600, "1 h"), (5_400, "90 min"), (60, "1 min"), (90, "90 s"), (0.5, "0.5 s")],
)
def test_lengths_are_told_in_the_unit_that_people_use(length, expected):
    assert in_words(length) == expected
