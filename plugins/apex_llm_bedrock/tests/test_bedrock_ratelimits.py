from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from apex_llm_bedrock.ratelimits import header, retry_delay
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

NOW = 1_800_000_000.0


def in_seconds(seconds):
    return format_datetime(datetime.fromtimestamp(NOW + seconds, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"x-amz-retry-after": "1500"}, 1.5),
        ({"x-amz-retry-after": "0"}, 0.0),
        ({"X-Amz-Retry-After": "250"}, 0.25),
        ({"retry-after": "3"}, 3.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after-ms": "40"}, 0.04),
        ({"Retry-After": in_seconds(90)}, 90.0),
        ({"Retry-After": in_seconds(-90)}, 0.0),
        ({"x-amz-retry-after": "9000", "Retry-After": "3"}, 9.0),
        ({"x-amz-retry-after": "9000", "Retry-After": "12"}, 12.0),
        ({"x-amz-retry-after": "9000", "Retry-After": in_seconds(30)}, 30.0),
        ({"x-amz-retry-after": "soon", "Retry-After": "2"}, 2.0),
        ({"x-amz-retry-after": "-5"}, None),
        ({"retry-after": "NaN"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "9" * 400}, None),
    ],
)
def test_longest_of_the_headers_counts(headers, seconds):
    assert retry_delay(headers, "", now=NOW) == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Too many tokens, please wait before trying again.", None),
        ("Please retry after 26 seconds.", 26.0),
        ("Please try again in 250ms", 0.25),
        ("Wait for 2 minutes", 120.0),
        ("Please wait at least 1 hour.", 3600.0),
        ("Retry your request after 5", 5.0),
        ("Retry after 2 monkeys", None),
        ("Retry after 2026-01-01", None),
        ("wait " * 1_000 + "wait 5 seconds", None),
    ],
)
def test_message_counts_where_no_header_does(message, seconds):
    assert retry_delay({}, message, now=NOW) == seconds


def test_headers_go_before_the_message():
    assert retry_delay({"retry-after": "3"}, "Please retry after 26 seconds.", now=NOW) == 3.0


@pytest.mark.parametrize("make", [dict, lambda headers: CIMultiDictProxy(CIMultiDict(headers))])
def test_header_is_found_in_any_case(make):
    assert header(make({"X-AMZN-RequestId": " r "}), "x-amzn-requestid") == "r"
    assert header(make({}), "x-amzn-requestid") == ""


@given(
    st.dictionaries(st.sampled_from(["x-amz-retry-after", "Retry-After"]), st.text(max_size=30) | st.floats().map(str)),
    st.text(max_size=60) | st.builds("retry after {}".format, st.text(max_size=20)),
)
def test_delay_is_a_finite_time_or_none(headers, message):
    delay = retry_delay(headers, message, now=NOW)

    assert delay is None or 0 <= delay < 1e19
