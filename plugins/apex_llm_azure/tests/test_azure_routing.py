"""Several deployments of one model: provisioned throughput first, spill-over at once, cooling, regions and tags."""

from __future__ import annotations

from collections import Counter

import pytest

from apex_llm_core.errors import (
    ContentFilterError,
    ContextLengthExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    RateLimitError,
)
from apex_llm_core.models import Caller
from apex_llm_core.models.events import FellBack, RetryScheduled
from apex_llm_core.testing import FakeClock

PTU, EAST, WEST = "ptu-sweden", "paygo-east", "paygo-west"
#: A full deployment is left at once while there is another one.
AT_ONCE = {"retry": {"patience": 0}}
#: The one who remembers that somebody wants to rest.
BREAKERS = {"circuit_breaker_enabled": True}
#: How a deployment says that it wants 20 seconds of rest.
REST = 20.0
WISHES = {
    "retry-after-ms": ("rate_limit", {"retry-after-ms": "20000", "retry-after": "21"}),
    "retry-after": ("rate_limit_bare", {"retry-after": "20"}),
    "reset of requests": ("rate_limit_bare", {"x-ratelimit-reset-requests": "20"}),
    "reset of tokens": ("rate_limit_bare", {"x-ratelimit-reset-tokens": "20s"}),
    "the reset of what is used up": (
        "rate_limit_bare",
        {
            "x-ratelimit-remaining-requests": "5",
            "x-ratelimit-reset-requests": "300",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "20",
        },
    ),
    "out of service": ("unavailable", {"retry-after": "20"}),
}


@pytest.fixture(scope="module")
def resource(opened):
    with opened(deployments={PTU: "gpt-4o", EAST: "gpt-4o", WEST: "gpt-4o"}) as azure:
        yield azure


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def open_client(azure, clock):
    """Open a client of a provisioned deployment and two others; keywords change the first table."""

    def deployment(name, **keys):
        models = [{"id": "gpt-4o", "provider_model_id": name, "base_model": "gpt-4o"}]
        return azure.provider(name, **{"models": models, **keys})

    def open_client(*, tables=(), ptu=(), east=(), breakers=True):
        return azure.client(
            deployment(PTU, **{"priority": 1, "region": "swedencentral", "tags": ["ptu", "eu"], **dict(ptu)}),
            deployment(EAST, **{"priority": 2, "weight": 3, "region": "eastus", "tags": ["paygo"], **dict(east)}),
            deployment(WEST, priority=2, weight=1, region="westeurope", tags=["paygo", "eu"]),
            manager={"circuit_breaker_enabled": breakers},
            tables={**AT_ONCE, "seed": 7, **dict(tables)},
            settings={"clock": clock},
        )

    return open_client


def asked(azure):
    """Return the deployments that were asked, in order."""
    return [received.deployment for received in azure.journal]


def waits(client):
    return [event for event in client.events if isinstance(event, RetryScheduled)]


# -- provisioned first -------------------------------------------------------------------------------------------------


def test_provisioned_throughput_comes_first(azure, open_client):
    client = open_client()
    results = [client.chat("Hello there") for _ in range(5)]
    assert {result.provider for result in results} == {PTU}
    assert asked(azure) == [PTU] * 5


@pytest.mark.parametrize("streamed", [False, True])
def test_a_full_deployment_is_left_at_once(azure, open_client, streamed):
    client = open_client(ptu={"retry_count": 2})
    azure.faults.add("rate_limit", deployment=PTU)
    if streamed:
        assert client.stream("Hello there").text == "Hello there"
    else:
        result = client.chat("Hello there")
        assert result.message.text == "Hello there"
        assert [attempt.provider for attempt in result.attempts] == [PTU, result.provider]
    first, second = asked(azure)
    assert (first, second in {EAST, WEST}) == (PTU, True)
    assert waits(client) == []
    [left] = [event for event in client.events if isinstance(event, FellBack)]
    assert (left.from_provider, left.to_provider) == (PTU, second)


def test_without_that_patience_a_short_wait_is_worth_it(azure, open_client):
    # The clock of the test stands still, and an open breaker would never see the millisecond pass.
    client = open_client(ptu={"retry_count": 2}, tables={"retry": {"patience": 1.0, "base": 0.001}}, breakers=False)
    azure.faults.add("rate_limit", deployment=PTU, headers={"retry-after-ms": "1"})
    assert client.chat("Hello there").provider == PTU
    assert (asked(azure), len(waits(client))) == ([PTU, PTU], 1)


@pytest.mark.parametrize("fault", ["server_error", "unavailable", "bad_gateway", "drop", "capacity", "retry_after_day"])
def test_other_reasons_to_spill_over(azure, open_client, fault):
    client = open_client()
    azure.faults.add(fault, deployment=PTU)
    assert client.chat("Hello there").provider in {EAST, WEST}


@pytest.mark.parametrize("fault", ["stream_error", "stream_error_rate_limit", "truncated", "reset"])
def test_a_stream_that_breaks_before_its_first_words_is_begun_elsewhere(azure, open_client, fault):
    client = open_client()
    azure.faults.add(fault, deployment=PTU, after_chunks=0)
    assert client.stream("Hello there").text == "Hello there"
    first, second = asked(azure)
    assert (first, second in {EAST, WEST}) == (PTU, True)


@pytest.mark.parametrize(
    ("fault", "error"), [("content_filter", ContentFilterError), ("bad_request", InvalidRequestError)]
)
def test_what_would_fail_everywhere_is_not_asked_elsewhere(azure, open_client, fault, error):
    client = open_client()
    azure.faults.add(fault, deployment=PTU)
    with pytest.raises(error):
        client.chat("Hello there")
    assert asked(azure) == [PTU]


def test_a_prompt_too_long_for_provisioned_throughput_goes_where_the_window_is_larger(azure, open_client):
    small = {"id": "gpt-4o", "provider_model_id": PTU, "base_model": "gpt-4o", "max_tokens": 64_000}
    client = open_client(ptu={"models": [small]})
    azure.faults.add("context_length", deployment=PTU)
    assert client.chat("Hello there").provider in {EAST, WEST}
    # As large as the one that was too small.
    azure.faults.add("context_length", times=None)
    with pytest.raises(ContextLengthExceededError) as caught:
        client.chat("Hello there")
    assert len(caught.value.attempts) == 2


def test_pay_as_you_go_is_shared_by_weight(azure, open_client):
    client = open_client(ptu={"enabled": False})
    for _ in range(120):
        client.chat("Hello there")
    counts = Counter(asked(azure))
    assert counts.keys() == {EAST, WEST}
    assert 75 <= counts[EAST] <= 105


# -- cooling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wish", WISHES)
def test_a_deployment_is_left_alone_for_as_long_as_it_asks(azure, open_client, clock, wish):
    client = open_client()
    fault, headers = WISHES[wish]
    azure.faults.add(fault, deployment=PTU, headers=headers)
    assert client.chat("Hello there").provider != PTU
    azure.forget()
    for seconds in (0.0, REST / 2, REST / 2 - 0.1):
        clock.advance(seconds)
        assert client.chat("Hello there").provider != PTU
        assert client.stream("Hello there").text == "Hello there"
    assert PTU not in asked(azure)
    clock.advance(0.2)
    assert client.chat("Hello there").provider == PTU


def test_the_wish_may_be_a_date_or_words(azure, open_client, clock):
    client = open_client()
    for fault, seconds in (("rate_limit_date", 5), ("rate_limit_text", 7), ("rate_limit_wait", 4)):
        azure.faults.add(fault, deployment=PTU)
        assert client.chat("Hello there").provider != PTU
        clock.advance(seconds - 2)
        assert client.chat("Hello there").provider != PTU
        clock.advance(2)
        assert client.chat("Hello there").provider == PTU


def test_a_shorter_wish_does_not_end_a_longer_one(azure, open_client, clock):
    client = open_client()
    azure.faults.add("rate_limit_bare", deployment=PTU, headers={"retry-after": "60"})
    client.chat("Hello there")
    azure.faults.add("rate_limit_bare", deployment=PTU, headers={"retry-after": "5"})
    with pytest.raises(RateLimitError):
        client.chat("Hello there", provider=PTU)
    clock.advance(30.0)
    assert client.chat("Hello there").provider != PTU


def test_a_wish_of_a_day_is_tried_again_within_the_hour(azure, open_client, clock):
    client = open_client()
    azure.faults.add("retry_after_day", deployment=PTU)
    client.chat("Hello there")
    clock.advance(3599.0)
    assert client.chat("Hello there").provider != PTU
    clock.advance(2.0)
    assert client.chat("Hello there").provider == PTU


def test_when_all_rest_the_first_is_asked_all_the_same(azure, open_client):
    client = open_client()
    azure.faults.add("rate_limit_bare", times=3, headers={"retry-after": "20"})
    with pytest.raises(RateLimitError) as caught:
        client.chat("Hello there")
    assert sorted(attempt.provider for attempt in caught.value.attempts) == sorted([PTU, EAST, WEST])
    azure.forget()
    assert client.chat("Hello there").provider == PTU
    assert asked(azure) == [PTU]


def test_a_deployment_that_was_chosen_by_the_caller_is_asked_although_it_rests(azure, open_client):
    client = open_client()
    azure.faults.add("rate_limit_bare", deployment=PTU, headers={"retry-after": "20"})
    client.chat("Hello there")
    azure.forget()
    assert client.chat("Hello there", provider=PTU).provider == PTU
    assert asked(azure) == [PTU]


def test_the_limits_of_the_service_itself_are_kept_to(opened, clock):
    limited = {"deployments": {PTU: "gpt-4o", EAST: "gpt-4o"}, "requests_per_minute": 3, "clock": clock}
    with opened(**limited) as azure:
        tables = [
            azure.provider(
                name, priority=number, models=[{"id": "gpt-4o", "provider_model_id": name, "base_model": "gpt-4o"}]
            )
            for number, name in enumerate((PTU, EAST))
        ]
        client = azure.client(*tables, manager=BREAKERS, tables=AT_ONCE, settings={"clock": clock})
        served = [client.chat("Hello there").provider for _ in range(6)]
        # Refused once, then left alone.
        assert served == [PTU] * 3 + [EAST] * 3
        assert asked(azure) == [PTU] * 4 + [EAST] * 3
        clock.advance(60.0)
        assert client.chat("Hello there").provider == PTU


# -- spill-over by the service -----------------------------------------------------------------------------------------


def test_the_service_itself_spills_over(azure, open_client):
    client = open_client(ptu={"options": {"spillover_deployment": EAST}})
    azure.faults.add("rate_limit", deployment=PTU, times=2)
    result = client.chat("Hello there")
    # One request, answered by the other deployment in the name of the first.
    assert (result.provider, len(result.attempts)) == (PTU, 1)
    assert result.details["spilled_over_from"] == PTU
    assert [received.headers["x-ms-spillover-deployment"] for received in azure.journal] == [EAST]
    stream = client.stream("Hello there")
    assert (stream.text, stream.details["spilled_over_from"]) == ("Hello there", PTU)
    assert asked(azure) == [PTU, PTU]
    # It is not sent where it is not configured.
    client.chat("Hello there", provider=WEST)
    assert "x-ms-spillover-deployment" not in azure.journal[-1].headers
    assert "spilled_over_from" not in client.chat("Hello there").details


def test_where_the_service_cannot_spill_over_the_next_provider_takes_over(azure, open_client):
    client = open_client(ptu={"options": {"spillover_deployment": "no-such-deployment"}})
    azure.faults.add("rate_limit", deployment=PTU)
    assert client.chat("Hello there").provider in {EAST, WEST}


# -- rules -------------------------------------------------------------------------------------------------------------


def test_routes_by_region_and_tag(azure, open_client):
    routes = [
        {"name": "at home", "tier": "eu-*", "tags": ["eu"]},
        {"name": "batch", "user": "batch", "tags": ["paygo"]},
        {"name": "one region", "user": "west", "regions": ["westeurope"]},
        {"name": "nowhere", "user": "mars", "regions": ["mars"]},
    ]
    client = open_client(tables={"routes": routes})
    assert client.chat("Hello there", caller=Caller(tier="eu-gold")).provider == PTU
    assert client.chat("Hello there", caller=Caller(user="west")).provider == WEST
    for _ in range(10):
        assert client.chat("Hello there", caller=Caller(user="batch")).provider in {EAST, WEST}
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        client.chat("Hello there", caller=Caller(user="mars"))
    # The data stays at home also when it spills over.
    azure.forget()
    azure.faults.add("rate_limit_bare", deployment=PTU, headers={"retry-after": "20"})
    for _ in range(10):
        assert client.chat("Hello there", caller=Caller(tier="eu-gold")).provider == WEST
    assert asked(azure) == [PTU] + [WEST] * 10
    azure.faults.add("unavailable", times=None)
    with pytest.raises(Exception, match="temporarily unable") as caught:
        client.chat("Hello there", caller=Caller(tier="eu-gold"))
    assert {attempt.provider for attempt in caught.value.attempts} <= {PTU, WEST}


def test_one_resource_under_several_names_answers_in_the_name_that_was_asked(azure, open_client):
    client = open_client()
    for name in (PTU, EAST, WEST):
        result = client.chat("Hello there", provider=name)
        assert (result.provider, result.model) == (name, "gpt-4o")
    assert asked(azure) == [PTU, EAST, WEST]
    assert {status.status.value for status in client.health().values()} == {"healthy"}
