"""Which call goes where, how often, and when it ends: retries, other regions, credentials, streams, profiles, lists."""

from __future__ import annotations

import asyncio

import pytest
from apex_llm_mock.emulation import BedrockEmulator

from apex_llm_core.errors import (
    AuthenticationError,
    ConfigurationWarning,
    ContentFilterError,
    ContextLengthExceededError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServiceUnavailableError,
)
from apex_llm_core.models import FunctionDefinition, ImagePart
from apex_llm_core.models.events import FellBack, RetryScheduled
from apex_llm_core.testing import FakeClock

CLAUDE, NOVA = "us.anthropic.claude-sonnet-4-20250514-v1:0", "amazon.nova-lite-v1:0"
EMBEDDING = "amazon.titan-embed-text-v2:0"
ACCOUNT = "arn:aws:bedrock:us-east-1:123456789012"
SONNET = "anthropic.claude-sonnet-4-20250514-v1:0"
PROFILE = f"{ACCOUNT}:application-inference-profile/novareports1"
ROLE = "arn:aws:iam::123456789012:role/apex-llm"
PROMPT = "Hello there, who is there?"
WEATHER = FunctionDefinition(name="get_weather", description="Look it up.", parameters={"type": "object"})
#: Retries that cost no time unless the service asks for some.
AT_ONCE = {"retry": {"base": 0.001, "max_delay": 0.002}}
EAST, WEST = "east", "west"


@pytest.fixture
def clock():
    return FakeClock()


def asked(bedrock):
    """Return the operations that were asked for, in order."""
    return [received.operation for received in bedrock.journal]


def waits(client):
    return [event for event in client.events if isinstance(event, RetryScheduled)]


# -- retries -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-amz-retry-after": "20"}, 0.02),
        ({"retry-after": "0.03"}, 0.03),
        ({"x-amz-retry-after": "40", "retry-after": "0"}, 0.04),
        ({"x-amz-retry-after": "10", "retry-after": "0.05"}, 0.05),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_retry_waits_as_long_as_the_service_asks(bedrock, headers, seconds, streamed):
    client = bedrock.client(retry_count=1, tables=AT_ONCE)
    bedrock.faults.add("throttling", headers=headers)
    text = client.stream(PROMPT).text if streamed else client.chat(PROMPT).message.text
    assert text == PROMPT
    [wait] = waits(client)
    # Some jitter, so that not all who were told the same come back together.
    assert seconds <= wait.delay <= seconds * 1.1 + 0.001
    assert len(bedrock.journal) == 2


@pytest.mark.parametrize(
    "fault",
    [
        "throttling",
        "throttling_tokens",
        "throttling_400",
        "slow_down",
        "request_limit",
        "model_not_ready",
        "internal_server",
        "service_unavailable",
        "bad_gateway",
        "gateway_timeout",
        "drop",
        "error_with_200",
    ],
)
def test_what_may_pass_is_tried_again(bedrock, fault):
    client = bedrock.client(retry_count=2, tables=AT_ONCE)
    bedrock.faults.add(fault, times=2)
    result = client.chat(PROMPT)
    assert (result.message.text, len(result.attempts), len(bedrock.journal)) == (PROMPT, 3, 3)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("model_error", ServiceUnavailableError),
        ("model_timeout", LLMTimeoutError),
        ("service_quota", QuotaExceededError),
        ("throttling_day", QuotaExceededError),
        ("validation", InvalidRequestError),
        ("input_too_long", ContextLengthExceededError),
        ("content_policy", ContentFilterError),
        ("access_denied", LLMError),
        ("signature_expired", AuthenticationError),
        ("redirect", ServiceUnavailableError),
    ],
)
def test_what_will_not_pass_or_was_paid_for_is_not_tried_again(bedrock, fault, error):
    client = bedrock.client(retry_count=3, tables=AT_ONCE)
    bedrock.faults.add(fault, times=None)
    with pytest.raises(error):
        client.chat(PROMPT)
    assert len(bedrock.journal) == 1


@pytest.mark.parametrize("fault", ["exception_throttling", "exception_service_unavailable", "reset", "truncated"])
def test_a_stream_that_breaks_before_its_first_words_is_begun_again(bedrock, fault):
    client = bedrock.client(retry_count=1, tables=AT_ONCE)
    bedrock.faults.add(fault, after_chunks=0)
    stream = client.stream(PROMPT)
    assert (stream.text, len(waits(client)), asked(bedrock)) == (PROMPT, 1, ["converse-stream"] * 2)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("exception_throttling", RateLimitError), ("exception_internal_server", ServiceUnavailableError)],
)
def test_a_stream_that_breaks_after_its_first_words_is_not(bedrock, fault, error):
    client = bedrock.client(retry_count=3, tables=AT_ONCE)
    bedrock.faults.add(fault, after_chunks=1)
    stream = client.read(PROMPT)
    assert type(stream.error) is error
    assert stream.text
    assert PROMPT.startswith(stream.text)
    assert (len(bedrock.journal), waits(client)) == (1, [])


def test_the_credit_for_retries_is_shared_by_all_requests(bedrock):
    client = bedrock.client(retry_count=3, tables={"retry": {**AT_ONCE["retry"], "quota": 33}})
    bedrock.faults.add("internal_server", times=None)
    attempts = []
    for _ in range(3):
        with pytest.raises(ServiceUnavailableError) as caught:
            client.chat(PROMPT)
        attempts.append(len(caught.value.attempts))
    # 14 for each retry: two of them; then none.
    assert attempts == [3, 1, 1]
    bedrock.forget()
    # A retry of what was throttled costs 5, and a success gives it back.
    for _ in range(4):
        bedrock.faults.add("throttling")
        assert client.chat(PROMPT).message.text == PROMPT


def test_a_deadline_ends_the_retries(bedrock):
    client = bedrock.client(retry_count=5, tables=AT_ONCE)
    bedrock.faults.add("throttling_seconds", times=None, headers={"retry-after": "30"})
    with pytest.raises(RateLimitError) as caught:
        client.chat(PROMPT, deadline=5.0)
    # To wait for longer than there is time would be in vain.
    assert len(bedrock.journal) == len(caught.value.attempts) == 1


@pytest.mark.parametrize("fault", ["hang", "stall"])
def test_a_deadline_ends_a_call(bedrock, fault):
    client = bedrock.client(retry_count=5, tables=AT_ONCE)
    bedrock.faults.add(fault, times=None)
    stream = client.read(PROMPT, deadline=0.1)
    assert isinstance(stream.error, LLMTimeoutError)
    bedrock.quiet()
    assert client.connections_in_use == 0


# -- credentials ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_role(bedrock):
    """A client that assumes a role, by the emulator's own token service."""
    keys = {"access_key_id": bedrock.emulator.access_key_id, "secret_access_key": "env:SECRET_KEY", "role_arn": ROLE}
    bedrock.emulator.identity.calls.clear()
    return bedrock.client(
        auth={"type": "iam", "credentials": keys}, options={"sts_endpoint": bedrock.emulator.url}, retry_count=3
    )


def assumed(bedrock):
    return bedrock.emulator.identity.count("AssumeRole")


@pytest.mark.parametrize(
    "fault", ["expired_token", "expired_token_code", "unrecognized_client", "invalid_client_token"]
)
@pytest.mark.parametrize("streamed", [False, True])
def test_expired_credentials_are_renewed_once(bedrock, with_role, fault, streamed):
    bedrock.faults.add(fault)
    text = with_role.stream(PROMPT).text if streamed else with_role.chat(PROMPT).message.text
    assert (text, assumed(bedrock), len(bedrock.journal)) == (PROMPT, 2, 2)
    first, second = (received.headers["x-amz-security-token"] for received in bedrock.journal)
    assert first != second
    # That is no retry: nothing was waited for.
    assert waits(with_role) == []


@pytest.mark.parametrize("fault", ["expired_token", "unrecognized_client"])
def test_and_not_twice(bedrock, with_role, fault):
    bedrock.faults.add(fault, times=None)
    for sent in (2, 3):
        with pytest.raises(AuthenticationError):
            with_role.chat(PROMPT)
        # The next request does not renew what was renewed a moment ago.
        assert (assumed(bedrock), len(bedrock.journal)) == (2, sent)


@pytest.mark.parametrize("fault", ["signature_expired", "invalid_signature", "access_denied", "incomplete_signature"])
def test_other_refusals_renew_nothing(bedrock, with_role, fault):
    bedrock.faults.add(fault)
    with pytest.raises(LLMError):
        with_role.chat(PROMPT)
    assert (assumed(bedrock), len(bedrock.journal)) == (1, 1)


def test_revoked_keys_are_renewed_by_one_for_all(bedrock, with_role):
    with_role.chat(PROMPT)
    bedrock.emulator.keys.revoke_all()
    bedrock.emulator.keys.add(bedrock.emulator.access_key_id, bedrock.emulator.secret_access_key)

    async def ask_all():
        asking = (with_role.manager.generate_chat(f"number {number}", model=CLAUDE) for number in range(10))
        return await asyncio.gather(*asking)

    answers = [result.message.text for result in bedrock.run(ask_all())]
    assert answers == [f"number {number}" for number in range(10)]
    assert assumed(bedrock) == 2


def test_a_role_that_cannot_be_assumed_is_an_error_of_the_call(bedrock, with_role):
    bedrock.emulator.identity.fail("AccessDenied", times=5)
    with pytest.raises(LLMError, match="AssumeRole"):
        with_role.chat(PROMPT)
    assert asked(bedrock) == []
    bedrock.emulator.identity.faults.clear()


# -- other regions -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def west(account):
    """The same service in another region."""
    emulator = BedrockEmulator(region="us-west-2")
    account.run(emulator.start())
    yield emulator
    account.run(emulator.stop())


@pytest.fixture
def regions(bedrock, west, clock):
    """Open a client of two regions, then of no service at all; keywords change the first table."""
    west.journal.clear()
    west.faults.clear()

    def regions(*, tables=(), **keys):
        elsewhere = {"region": west.region, "endpoint": west.url}
        return bedrock.client(
            bedrock.provider(EAST, **{"priority": 1, "region": "us-east-1", **keys}),
            bedrock.provider(WEST, priority=2, region="us-west-2", options=elsewhere),
            {"name": "nowhere", "type": "mock", "priority": 3, "models": [{"id": CLAUDE}]},
            manager={"circuit_breaker_enabled": True},
            tables={"retry": {"patience": 0, "base": 0.001}, **dict(tables)},
            settings={"clock": clock},
        )

    return regions


@pytest.mark.parametrize("streamed", [False, True])
def test_another_region_takes_over_and_then_another_service(bedrock, west, regions, streamed):
    client = regions()

    def answered_by():
        if streamed:
            assert client.stream(PROMPT).text == PROMPT
            left = [event.to_provider for event in client.events if isinstance(event, FellBack)]
            client.events.clear()
            return [EAST, *left]
        result = client.chat(PROMPT)
        assert result.message.text == PROMPT
        return [attempt.provider for attempt in result.attempts]

    assert answered_by() == [EAST]
    bedrock.faults.add("throttling")
    assert answered_by() == [EAST, WEST]
    bedrock.faults.add("service_unavailable")
    west.faults.add("drop")
    assert answered_by() == [EAST, WEST, "nowhere"]
    # Each signs for its own region.
    assert "/us-west-2/bedrock/" in west.journal[-1].headers["authorization"]
    assert "/us-east-1/bedrock/" in bedrock.journal[-1].headers["authorization"]


@pytest.mark.parametrize(
    "fault",
    ["throttling_day", "service_quota", "model_error", "model_timeout", "access_denied", "on_demand_unsupported"],
)
def test_other_reasons_to_leave_a_region(bedrock, regions, fault):
    client = regions(retry_count=3)
    bedrock.faults.add(fault)
    assert client.chat(PROMPT).provider == WEST
    assert len(bedrock.journal) == 1


@pytest.mark.parametrize(
    ("fault", "error"), [("validation", InvalidRequestError), ("content_policy", ContentFilterError)]
)
def test_what_would_fail_everywhere_is_not_asked_elsewhere(bedrock, west, regions, fault, error):
    client = regions()
    bedrock.faults.add(fault)
    with pytest.raises(error):
        client.chat(PROMPT)
    assert (len(bedrock.journal), len(west.journal)) == (1, 0)


@pytest.mark.parametrize("fault", ["exception_throttling", "exception_internal_server", "reset", "truncated"])
def test_a_stream_goes_on_elsewhere_only_before_its_first_words(bedrock, west, regions, fault):
    client = regions()
    bedrock.faults.add(fault, after_chunks=0)
    assert client.stream(PROMPT).text == PROMPT
    assert len(west.journal) == 1
    bedrock.faults.add(fault, after_chunks=1)
    broken = client.read(PROMPT)
    assert isinstance(broken.error, LLMError)
    assert len(west.journal) == 1


@pytest.mark.parametrize(
    ("fault", "headers"),
    [
        ("throttling", {"x-amz-retry-after": "20000"}),
        ("throttling", {"retry-after": "20"}),
        ("throttling", {"x-amz-retry-after": "5000", "retry-after": "20"}),
        ("service_unavailable", {"retry-after": "20"}),
    ],
)
def test_a_region_is_left_alone_for_as_long_as_it_asks(bedrock, regions, clock, fault, headers):
    client = regions()
    bedrock.faults.add(fault, headers=headers)
    assert client.chat(PROMPT).provider == WEST
    bedrock.forget()
    for seconds in (0.0, 10.0, 9.9):
        clock.advance(seconds)
        assert client.chat(PROMPT).provider == WEST
        assert client.stream(PROMPT).text == PROMPT
    assert asked(bedrock) == []
    clock.advance(0.2)
    assert client.chat(PROMPT).provider == EAST


def test_the_limits_of_the_service_itself_are_kept_to(opened, clock):
    with opened(requests_per_minute=2, clock=clock) as bedrock:
        client = bedrock.client(
            bedrock.provider(EAST, priority=1),
            {"name": "nowhere", "type": "mock", "priority": 2, "models": [{"id": CLAUDE}]},
            tables={"retry": {"patience": 0}},
            settings={"clock": clock},
        )
        served = [client.chat(PROMPT).provider for _ in range(4)]
        assert served == [EAST, EAST, "nowhere", "nowhere"]


# -- ends ----------------------------------------------------------------------------------------------------------------


async def until(condition):
    """Let others work until *condition* holds, which nobody tells of."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def cancelled(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def nothing_is_left(bedrock, client):
    bedrock.quiet()
    assert (bedrock.counts.open_requests, bedrock.counts.open_streams, client.connections_in_use) == (0, 0, 0)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_cancelled_before_the_answer_is_ended_there(bedrock, streamed):
    client = bedrock.client()
    before = bedrock.counts.disconnects
    bedrock.faults.add("hang")

    async def give_up():
        call = client.reading(PROMPT) if streamed else client.manager.generate_chat(PROMPT, model=CLAUDE)
        task = asyncio.create_task(call)
        await bedrock.emulator.traffic.until(lambda counts: counts.open_requests == 1)
        await cancelled(task)
        await bedrock.emulator.traffic.until(lambda counts: counts.disconnects > before)

    bedrock.run(give_up())
    nothing_is_left(bedrock, client)


def test_a_call_cancelled_while_it_waits_for_credentials_sends_nothing(bedrock, with_role):
    identity = bedrock.emulator.identity

    async def give_up():
        identity.gate = asyncio.Event()
        task = asyncio.create_task(with_role.manager.generate_chat(PROMPT, model=CLAUDE))
        await until(lambda: identity.calls)
        await cancelled(task)
        identity.gate.set()
        identity.gate = None

    bedrock.run(give_up())
    assert asked(bedrock) == []
    # What was got for it serves the next one.
    assert with_role.chat(PROMPT).message.text == PROMPT
    assert assumed(bedrock) == 1


def test_a_call_cancelled_while_it_waits_for_its_retry_sends_no_more(bedrock):
    client = bedrock.client(retry_count=3)
    bedrock.faults.add("throttling_seconds", times=None, headers={"retry-after": "20"})

    async def give_up():
        task = asyncio.create_task(client.manager.generate_chat(PROMPT, model=CLAUDE))
        await until(lambda: waits(client))
        await cancelled(task)

    bedrock.run(give_up())
    assert len(bedrock.journal) == 1
    nothing_is_left(bedrock, client)


@pytest.mark.parametrize("how", ["cancelled", "closed", "left"])
@pytest.mark.parametrize("model", [CLAUDE, "meta.llama3-70b-instruct-v1:0"])
def test_a_stream_that_nobody_reads_any_more_is_ended_there(bedrock, how, model):
    client = bedrock.client(models=(model,), options={"invoke": {"meta.llama3-70b-instruct-v1:0": "llama"}})
    before = bedrock.counts.disconnects
    bedrock.faults.add("stall", after_chunks=1)

    async def read_on(stream, first):
        async for _ in stream:
            first.set()

    async def give_up():
        stream = client.manager.generate_chat_stream(PROMPT, model=model)
        if how == "left":
            async with stream:
                async for _ in stream:
                    break
        elif how == "closed":
            await anext(aiter(stream))
            await stream.aclose()
        else:
            first = asyncio.Event()
            task = asyncio.create_task(read_on(stream, first))
            await first.wait()
            await cancelled(task)
        await bedrock.emulator.traffic.until(lambda counts: counts.disconnects > before)

    bedrock.run(give_up())
    nothing_is_left(bedrock, client)


def test_embeddings_and_images_under_way_are_ended_with_their_request(bedrock):
    client = bedrock.client()
    for operation in ("embed", "image"):
        bedrock.faults.add("hang", operation="invoke", times=3)

        async def give_up(operation=operation):
            if operation == "embed":
                call = client.manager.generate_embedding(["a", "b", "c"], model=EMBEDDING)
            else:
                call = client.manager.generate_image("a cat", model="amazon.nova-canvas-v1:0", n=12)
            task = asyncio.create_task(call)
            await bedrock.emulator.traffic.until(lambda counts: counts.open_requests == 3)
            await cancelled(task)

        bedrock.run(give_up())
        nothing_is_left(bedrock, client)


def test_one_connection_serves_one_call_after_the_other(bedrock):
    client = bedrock.client(models=(CLAUDE, NOVA, "meta.llama3-70b-instruct-v1:0"))
    for _ in range(3):
        client.stream(PROMPT)
        client.chat(PROMPT)
        client.stream(PROMPT, model="meta.llama3-70b-instruct-v1:0")
        for fault in ("throttling", "validation"):
            bedrock.faults.add(fault)
            with pytest.raises(LLMError):
                client.chat(PROMPT)
    client.health()
    assert (client.connections_kept, client.connections_in_use) == (1, 0)


@pytest.mark.parametrize("fault", ["exception_throttling", "corrupt_payload", "json_stream", "html_stream"])
def test_a_stream_that_failed_leaves_no_connection_in_use(bedrock, fault):
    client = bedrock.client()
    bedrock.faults.add(fault)
    assert client.read(PROMPT).error is not None
    nothing_is_left(bedrock, client)
    assert client.stream(PROMPT).text == PROMPT


# -- models that cannot do everything --------------------------------------------------------------------------------------


def test_tools_refused_in_streams_are_asked_for_without_and_that_is_remembered(opened):
    # Nothing tells what stands behind the id.
    with opened(models={"prod": "ai21.jamba-1-5-large-v1:0", "other": "ai21.jamba-1-5-large-v1:0"}) as bedrock:
        client = bedrock.client(models=("prod", "other"))
        for _ in range(2):
            stream = client.stream("get_weather", model="prod", tools=[WEATHER])
            [choice] = stream.whole.choices
            assert ([call.name for call in choice.tool_calls], choice.finish_reason) == (["get_weather"], "tool_calls")
            assert stream.whole.usage.total_tokens > 0
        assert asked(bedrock) == ["converse-stream", "converse", "converse"]
        bedrock.forget()
        # Without tools it streams, and other models find out for themselves.
        assert client.stream(PROMPT, model="prod").text == PROMPT
        client.stream("get_weather", model="other", tools=[WEATHER])
        assert asked(bedrock) == ["converse-stream", "converse-stream", "converse"]


def test_a_family_known_to_refuse_them_is_not_tried(bedrock):
    model = "us.meta.llama3-1-70b-instruct-v1:0"
    client = bedrock.client(models=(model,))
    stream = client.stream("get_weather", model=model, tools=[WEATHER])
    assert [call.name for call in stream.whole.choices[0].tool_calls] == ["get_weather"]
    assert asked(bedrock) == ["converse"]


def test_other_refusals_of_streams_with_tools_stay_refusals(bedrock):
    client = bedrock.client()
    bedrock.faults.add("validation", operation="converse-stream")
    assert isinstance(client.read("get_weather", tools=[WEATHER]).error, InvalidRequestError)
    assert asked(bedrock) == ["converse-stream"]


# -- profiles and regions ------------------------------------------------------------------------------------------------


def test_an_application_profile_is_looked_up_once_for_all(bedrock):
    client = bedrock.client(models=(PROFILE,))

    async def ask_all():
        asking = (client.manager.generate_chat(f"number {number}", model=PROFILE) for number in range(10))
        return await asyncio.gather(*asking)

    assert len(bedrock.run(ask_all())) == 10
    client.stream(PROMPT, model=PROFILE)
    assert asked(bedrock) == ["inference-profile", *["converse"] * 10, "converse-stream"]
    assert bedrock.journal[0].deployment == PROFILE
    # What the model behind it takes is known now.
    with pytest.raises(InvalidRequestError, match="reasoning_effort"):
        client.chat(PROMPT, model=PROFILE, reasoning_effort="low")


@pytest.mark.parametrize("fault", ["access_denied", "resource_not_found", "validation"])
def test_a_refused_look_up_hinders_nobody_and_is_not_repeated(bedrock, fault):
    client = bedrock.client(models=(PROFILE,))
    bedrock.faults.add(fault, operation="inference-profile", times=None)
    for _ in range(3):
        assert client.chat(PROMPT, model=PROFILE, temperature=0.5, top_p=0.5).message.text == PROMPT
    assert asked(bedrock) == ["inference-profile", *["converse"] * 3]


@pytest.mark.parametrize("fault", ["throttling", "service_unavailable", "drop"])
def test_a_look_up_that_failed_for_now_is_repeated_after_a_rest(bedrock, fault):
    now = 1000.0
    client = bedrock.client(models=(PROFILE,), settings={"clock": lambda: now})
    bedrock.faults.add(fault, operation="inference-profile", times=None)
    for _ in range(3):
        assert client.chat(PROMPT, model=PROFILE).message.text == PROMPT
    # AWS repeats a GET once when the connection breaks; three requests make one look-up.
    assert asked(bedrock).count("inference-profile") <= 2
    bedrock.forget()
    now += 61
    for _ in range(2):
        client.chat(PROMPT, model=PROFILE)
    assert asked(bedrock) == ["inference-profile", "converse", "converse"]


def test_a_look_up_without_an_answer_does_not_keep_the_request(bedrock, monkeypatch):
    monkeypatch.setattr("apex_llm_bedrock.models._LOOK_UP", 0.05)
    client = bedrock.client(models=(PROFILE,))
    bedrock.faults.add("hang", operation="inference-profile", times=None)
    assert client.chat(PROMPT, model=PROFILE).message.text == PROMPT
    assert client.chat(PROMPT, model=PROFILE).message.text == PROMPT
    assert asked(bedrock) == ["inference-profile", "converse", "converse"]


def test_an_arn_and_its_profile_count_in_their_own_regions(bedrock):
    arn = f"arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.{SONNET}"
    client = bedrock.client(models=(f"us.{SONNET}", arn))
    client.count(PROMPT, model=f"us.{SONNET}")
    with pytest.raises(LLMError):
        # The emulator is in us-east-1 and refuses signatures for elsewhere.
        client.count(PROMPT, model=arn)
    assert "/eu-west-1/bedrock/" in bedrock.journal[-1].headers["authorization"]


@pytest.mark.parametrize(
    "keys",
    [
        {"models": [{"id": PROFILE, "base_model": "amazon.nova-pro-v1:0"}]},
        {"models": [PROFILE], "options": {"look_up_profiles": False}},
    ],
)
def test_nobody_is_asked_what_the_configuration_says(bedrock, keys):
    bedrock.client(**keys).chat(PROMPT, model=PROFILE)
    assert asked(bedrock) == ["converse"]


def test_an_application_profile_embeds_as_its_model_does(bedrock):
    profile = f"{ACCOUNT}:application-inference-profile/searchcohere"
    client = bedrock.client(models=(profile,))
    assert len(client.embed(["one", "two"], model=profile).embeddings) == 2
    assert asked(bedrock) == ["inference-profile", "invoke"]
    assert bedrock.bodies[-1] == {"texts": ["one", "two"], "input_type": "search_document"}


def test_the_region_of_an_arn_wins_for_all_that_is_asked_of_it(bedrock):
    client = bedrock.client(models=(PROFILE, NOVA), options={"region": "us-west-2"})
    client.chat(PROMPT, model=PROFILE)
    client.stream(PROMPT, model=PROFILE)
    assert asked(bedrock) == ["inference-profile", "converse", "converse-stream"]
    for received in bedrock.journal:
        assert "/us-east-1/bedrock/" in received.headers["authorization"]
    with pytest.raises(AuthenticationError):
        client.chat(PROMPT, model=NOVA)
    assert "/us-west-2/bedrock/" in bedrock.journal[-1].headers["authorization"]


def test_ids_get_no_geography_unless_it_is_asked_for(bedrock):
    bare = CLAUDE.removeprefix("us.")
    with pytest.raises(ModelNotFoundError, match="inference profile"):
        bedrock.client(models=(bare,)).chat(PROMPT, model=bare)
    assert [received.deployment for received in bedrock.journal] == [bare]
    client = bedrock.client(models=(bare, CLAUDE, PROFILE), options={"geo_prefix": "us"})
    for model in (bare, CLAUDE, PROFILE):
        result = client.chat(PROMPT, model=model)
        # The answer is that of the model which was asked.
        assert result.model == model
    called = [received.deployment for received in bedrock.journal if received.operation == "converse"]
    assert called == [bare, CLAUDE, CLAUDE, PROFILE]


def test_the_control_plane_has_an_address_of_its_own(bedrock, west):
    west.journal.clear()
    client = bedrock.client(
        models=(PROFILE,),
        options={"region": "us-west-2", "endpoint": "http://127.0.0.1:1", "control_endpoint": west.url},
    )
    assert len(client.models()) > 10
    assert client.health()["bedrock"].status == "healthy"
    assert {received.operation for received in west.journal} == {"foundation-models", "inference-profiles"}
    assert asked(bedrock) == []
    with pytest.raises(ServiceUnavailableError, match="refuses connections"):
        client.chat(PROMPT, model=NOVA, provider="bedrock")


# -- lists and health ----------------------------------------------------------------------------------------------------


def test_lists_have_all_pages_and_are_kept_for_a_while(opened, clock):
    with opened(page_size=3) as bedrock:
        client = bedrock.client(options={"models_ttl": 60.0}, settings={"clock": clock})
        listed = {model.id for model in client.models()}
        profiles = [received for received in bedrock.journal if received.operation == "inference-profiles"]
        kinds = [received.query["type"] for received in profiles]
        assert kinds.count("SYSTEM_DEFINED") > 3
        assert kinds.count("APPLICATION") == 2
        assert sum("nextToken" in received.query for received in profiles) == len(profiles) - 2
        assert {CLAUDE, NOVA, EMBEDDING, PROFILE} <= listed
        bedrock.forget()
        clock.advance(59.0)
        assert {model.id for model in client.models()} == listed
        assert asked(bedrock) == []
        clock.advance(2.0)
        assert {model.id for model in client.models()} == listed
        assert asked(bedrock).count("foundation-models") == 1
    with opened() as bedrock:
        assert {model.id for model in bedrock.client().models()} == listed


def test_a_list_that_failed_is_not_kept(bedrock):
    client = bedrock.client()
    bedrock.faults.add("service_unavailable", operation="foundation-models")
    with pytest.warns(ConfigurationWarning, match="models cannot be listed: Bedrock is unable"):
        few = {model.id for model in client.models()}
    many = {model.id for model in client.models()}
    assert few < many


def test_profiles_that_may_not_be_listed_take_the_models_from_nobody(bedrock):
    client = bedrock.client(models=())
    bedrock.faults.add("access_denied", operation="inference-profiles", times=None)
    listed = {model.id for model in client.models()}
    assert NOVA in listed
    assert not any(model.startswith(("us.", "arn:")) for model in listed)


def test_an_endpoint_of_the_runtime_alone_is_healthy(bedrock):
    client = bedrock.client()
    bedrock.faults.add("unknown_operation", operation="foundation-models")
    status = client.health()["bedrock"]
    assert status.status == "healthy"
    assert "cannot be listed" in status.message


def test_plain_http_from_the_environment_is_refused(bedrock, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://bedrock.example")
    table = bedrock.provider()
    del table["options"]["endpoint"]
    with pytest.raises(LLMError, match="plain http") as told:
        bedrock.client(table).chat(PROMPT)
    assert told.value.type == "authentication_error"


def test_the_region_of_the_table_is_that_of_aws_where_no_other_is_given(bedrock):
    table = bedrock.provider(region="us-east-1")
    del table["options"]["region"]
    assert bedrock.client(table).chat(PROMPT).message.text == PROMPT


def test_a_silent_whole_answer_is_not_bought_again(bedrock):
    client = bedrock.client(retry_count=2, tables=AT_ONCE)
    bedrock.faults.add("hang", operation="converse", times=None)
    with pytest.raises(LLMError) as told:
        client.chat(PROMPT, timeout=0.1)
    assert (told.value.type, len(told.value.attempts)) == ("timeout_error", 1)


def test_health_spends_nothing(bedrock):
    client = bedrock.client()
    status = client.health()["bedrock"]
    assert (status.status, status.details["region"]) == ("healthy", "us-east-1")
    assert asked(bedrock) == ["foundation-models"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        # Who may call a model need not be allowed to list them.
        ("access_denied", "healthy"),
        ("invalid_signature", "unavailable"),
        ("expired_token", "unavailable"),
        ("service_unavailable", "unavailable"),
        ("throttling", "healthy"),
        ("html_answer", "unavailable"),
        ("drop", "unavailable"),
    ],
)
@pytest.mark.parametrize("by", ["iam", "key"])
def test_health_tells_denied_lists_from_failures(bedrock, by, fault, expected):
    client = bedrock.client(by=by)
    bedrock.faults.add(fault, times=None)
    status = client.health()["bedrock"]
    assert status.status == expected
    assert status.message
    assert {received.operation for received in bedrock.journal} == {"foundation-models"}
    bedrock.forget()
    assert client.health()["bedrock"].status == "healthy"


def test_images_are_not_drawn_twice_by_a_retry(bedrock):
    model = "stability.sd3-5-large-v1:0"
    client = bedrock.client(models=(model,), retry_count=1, tables=AT_ONCE, options={"embedding_concurrency": 1})
    bedrock.faults.add("slow_answer", operation="invoke", times=2)
    bedrock.faults.add("internal_server", operation="invoke")
    result = client.image("a cat", model=model, n=3, seed=5)
    assert result.details["seeds"] == [5, 6, 7]
    assert [body["seed"] for body in bedrock.bodies] == [5, 6, 7, 7]
    changed = client.image(
        "a dog", model=model, n=1, seed=5, images=[ImagePart(data=result.images[0], media_type="image/png")]
    )
    assert changed.images[0] != result.images[0]
