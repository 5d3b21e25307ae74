from __future__ import annotations

import math

import pytest
from apex_llm_azure.auth import TokenSources
from apex_llm_azure.provider import AzureProvider
from apex_llm_azure.ratelimits import advised_delay, duration, header, note_remaining, remaining, retry_delay
from apex_llm_azure.settings import AzureSettings
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from apex_llm_core.config import AuthConfig, ProviderConfig
from apex_llm_core.errors import RateLimitError
from apex_llm_core.testing import FakeRuntime, make_context, run_virtual

#: Sun, 22 Nov 2026 12:00:00 GMT.
NOON = 1_795_348_800.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"Retry-After-Ms": " 250 "}, 0.25),
        ({"retry-after": "26"}, 26.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "2.5"}, 2.5),
        ({"Retry-After": "86400"}, 86400.0),
        ({"Retry-After": "Sun, 22 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"Retry-After": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"x-ratelimit-reset-requests": "10"}, 10.0),
        ({"x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "900",
            },
            1.0,
        ),
        ({"retry-after": "3", "x-ratelimit-reset-tokens": "6m0s"}, 3.0),
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Sun, 99 Nov 99999 12:01:30 GMT"}, None),
        ({"x-ratelimit-reset-requests": "later"}, None),
    ],
)
def test_retry_after_headers_of_every_form_are_honoured(headers, seconds):
    assert retry_delay(headers, "", now=NOON) == seconds
    assert retry_delay(CIMultiDictProxy(CIMultiDict(headers)), "", now=NOON) == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        (
            (
                "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate "
                "limit of your current OpenAI S0 pricing tier. Please retry after 26 seconds. Please go here: "
                "https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."
            ),
            26.0,
        ),
        ("Rate limit is exceeded. Try again in 5 seconds.", 5.0),
        ("Too many requests. Please wait 3 seconds.", 3.0),
        ("Please retry after 1 second.", 1.0),
        ("Please retry after 86400 seconds.", 86400.0),
        ("Please try again in 6m0s.", 360.0),
        ("Please try again in 120ms. Visit …", 0.12),
        ("Please try again in 1.2s.", 1.2),
        ("Please retry your request after 1 minute and 3 seconds", 63.0),
        ("Please retry after 10", 10.0),
        ("Out of call volume quota. Quota will be replenished in 00:10:00.", 600.0),
        ("Out of call volume quota. Quota will be replenished in 2.01:00:00.", 176400.0),
        ("Please retry later.", None),
        ("Please retry after 2024-10-21", None),
        ("You exceeded your current quota.", None),
        ("wait for the 3 of us", None),
        ("", None),
    ],
)
def test_retry_after_said_in_the_message_only_is_honoured(message, seconds):
    assert retry_delay({}, message) == seconds


def test_headers_count_before_the_message_and_the_message_before_resets():
    said = "Please retry after 26 seconds."

    assert retry_delay({"retry-after": "7"}, said) == 7.0
    assert retry_delay({"x-ratelimit-reset-tokens": "60"}, said) == 26.0
    assert advised_delay({"x-ratelimit-reset-tokens": "60"}, "") is None


def test_date_is_not_guessed_at_without_a_clock():
    assert retry_delay({"Retry-After": "Sun, 22 Nov 2026 12:01:30 GMT"}, "") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10.0),
        ("0.5", 0.5),
        ("1s", 1.0),
        ("120ms", 0.12),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("2 minutes", 120.0),
        ("", None),
        ("s", None),
        ("1x", None),
        ("1s later", None),
        ("in 1s", None),
        ("-1", None),
        ("-1s", None),
        ("1e9", None),
        ("2 monkeys", None),
    ],
)
def test_duration(text, seconds):
    assert duration(text) == seconds


def test_remaining_limits_are_numbers_by_their_names():
    headers = {
        "X-RateLimit-Limit-Requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-limit-tokens": "10000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-reset-tokens": "10",
        "x-ratelimit-renewalperiod-tokens": "60",
        "content-type": "application/json",
    }

    assert remaining(headers) == {
        "limit_requests": 60,
        "remaining_requests": 59,
        "limit_tokens": 10_000,
        "remaining_tokens": 0,
        "reset_requests": 1.0,
        "reset_tokens": 10.0,
    }


def test_remaining_leaves_out_what_is_unknown():
    headers = {"x-ratelimit-remaining-tokens": "-1", "x-ratelimit-limit-tokens": "many", "x-ratelimit-reset-tokens": ""}

    assert remaining(headers) == {}


def test_header_is_found_in_any_case():
    assert header({"APIM-Request-Id": " r1 "}, "apim-request-id") == "r1"
    assert header({}, "apim-request-id") == ""


_waits = st.one_of(st.text(max_size=30), st.text("0123456789.:- smhdGMTretryafin", max_size=30))


@given(
    st.dictionaries(
        st.sampled_from(["retry-after-ms", "Retry-After", "x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"]),
        _waits,
    ),
    st.builds("retry after {}".format, _waits),
    st.none() | st.just(NOON),
)
def test_any_advice_is_a_finite_wait_or_none(headers, message, now):
    delay = retry_delay(headers, message, now=now)

    assert delay is None or (math.isfinite(delay) and delay >= 0)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_written_durations_are_read_back(hours, minutes, seconds, milliseconds):
    written = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"

    assert duration(written) == pytest.approx(hours * 3600 + minutes * 60 + seconds + milliseconds / 1000)


def told(**headers):
    """What is noted of the answer with these ``x-ratelimit-…`` headers: requests, tokens, seconds; None for nothing."""
    found = []
    names = {f"X-RateLimit-{name.replace('_', '-').title()}": value for name, value in headers.items()}
    note_remaining(CIMultiDictProxy(CIMultiDict(names)), lambda **said: found.append(tuple(said.values())))
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"limit_requests": "5", "reset_requests": "10"}, None),
        ({"remaining_requests": "-1", "remaining_tokens": "many"}, None),
        ({"remaining_requests": "7"}, (7, None, None)),
        ({"remaining_requests": "-1", "remaining_tokens": "900"}, (None, 900, None)),
        ({"remaining_requests": "7", "remaining_tokens": "900", "reset_tokens": "6m0s"}, (7, 900, 360.0)),
        # Nothing is used up: so much holds until the first reset at the latest.
        (
            {"remaining_requests": "7", "reset_requests": "1s", "remaining_tokens": "900", "reset_tokens": "6m0s"},
            (7, 900, 1.0),
        ),
        # Used up: so much holds until then.
        (
            {"remaining_requests": "7", "reset_requests": "1s", "remaining_tokens": "0", "reset_tokens": "20"},
            (7, 0, 20.0),
        ),
        (
            {"remaining_requests": "0", "reset_requests": "1s", "remaining_tokens": "0", "reset_tokens": "20"},
            (0, 0, 20.0),
        ),
        # When the other is whole again says nothing about what is used up.
        ({"remaining_requests": "0", "reset_tokens": "6m0s"}, (0, None, None)),
    ],
)
def test_what_is_left_is_noted_for_as_long_as_it_holds(headers, expected):
    assert told(**headers) == expected


@pytest.mark.parametrize("status", [200, 429])
def test_the_balancer_is_told_with_answers_and_refusals(status):
    class Response:
        headers = CIMultiDictProxy(CIMultiDict({"x-ratelimit-remaining-tokens": "0", "retry-after": "3"}))

        def __init__(self):
            self.status = status

        async def read(self):
            return b'{"data": []}'

    class Http:
        async def send(self, *_, **__):
            return Response()

    notes = []
    context = make_context(note_rate_limits=lambda **said: notes.append(said))
    config = ProviderConfig(name="a", type="azure", auth=AuthConfig(type="api_key", credentials={"api_key": "a-key"}))
    settings = AzureSettings(endpoint="https://r.openai.azure.com")
    provider = AzureProvider(config, settings, FakeRuntime(http=Http()), TokenSources())
    if status == 200:
        assert run_virtual(provider.apex_models(context)) == []
    else:
        with pytest.raises(RateLimitError):
            run_virtual(provider.apex_models(context))
    assert notes == [{"remaining_requests": None, "remaining_tokens": 0, "seconds": None}]
