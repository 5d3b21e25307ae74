"""What users of other libraries complained about, number by number, end to end: none of it may be true here."""

from __future__ import annotations

import asyncio
import json
import re
import time
from functools import partial

import pytest
from apex_llm_azure.auth import TokenSources
from apex_llm_azure.endpoints import parse_endpoint

from apex_llm_core.errors import (
    ConfigurationError,
    ContentFilterError,
    ContextLengthExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServiceUnavailableError,
)
from apex_llm_core.models import ChatMessage, ImagePart, ReasoningPart, TextPart
from apex_llm_core.models.events import RetryScheduled
from apex_llm_core.transport import AiohttpClient

#: Where each was made, as repository and number of the issue or pull request.
COMPLAINTS = {
    1: "pydantic/pydantic-ai#164, simonw/llm#294, run-llama/llama_index#7640",
    2: "BerriAI/litellm#3811, openai/openai-python#1677 #2313, microsoft/semantic-kernel#7250, pydantic/pydantic-ai#797",
    3: "BerriAI/litellm#40260",
    4: "BerriAI/litellm#42247",
    5: "BerriAI/litellm#19328 #9496 #4941",
    6: "pydantic/pydantic-ai#7789 #1035",
    7: "pydantic/pydantic-ai#5221",
    8: "microsoft/PyRIT#825",
    9: "BerriAI/litellm#1564",
    10: "BerriAI/litellm#15968 #22695",
    11: "BerriAI/litellm#13432 #13714, OpenHands/OpenHands#11662",
    12: "BerriAI/litellm#8855",
    13: "openai/openai-python#1526",
    14: "BerriAI/litellm#4417 #6790",
    15: "BerriAI/litellm#41251",
    16: "BerriAI/litellm#29113 #28627",
    17: "mozilla-ai/any-llm#1348",
    18: "BerriAI/litellm#1852, Azure/azure-workload-identity#693, Azure/azure-sdk-for-python#44488",
    19: "openai/openai-python#2584, UKGovernmentBEIS/inspect_ai#4192",
    20: "BerriAI/litellm#8572 #9266, andrewyng/aisuite#194",
    21: "openai/openai-python#2608, BerriAI/litellm#11660, Azure-Samples/openai#146",
    22: "openai/openai-python#1469, microsoft/semantic-kernel#8996, langfuse/langfuse#2521",
    23: "BerriAI/litellm#7669 #3617 #1339, github/copilot-cli#3679",
    24: "langchain-ai/langchainjs#1929",
    25: "langchain-ai/langchain#25462 #4575, microsoft/semantic-kernel#2099",
    26: "langchain-ai/langchain#6259 #6200, openai/openai-python#447",
    27: "mozilla-ai/any-llm#299, openai/openai-python#460",
    28: "microsoft/semantic-kernel#6255",
    29: "OpenHands/software-agent-sdk#4549",
    30: "pydantic/pydantic-ai#2915",
    31: "BerriAI/litellm#4312, danny-avila/LibreChat#15760",
}
#: Retries without noticeable waits of our own.
QUICK = {"retry": {"base": 0.001, "max_delay": 0.001}}
VIOLENCE = {"filtered": True, "severity": "high"}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def resource(opened):
    """A resource whose operator has names of his own for some deployments."""
    own = {"chatty": "o3-mini", "o3-mini-for-the-team": "gpt-4o", "gpt-4o-vision": "gpt-35-turbo"}
    models = ("gpt-4o", "o3-mini", "text-embedding-3-small", "gpt-image-1", "dall-e-3")
    with opened(chunk_size=4, deployments={**{model: model for model in models}, **own}) as azure:
        yield azure


def refused(client, kind, *arguments, ask=None, **options):
    """Return the error of a chat, which must be of *kind*."""
    with pytest.raises(kind) as caught:
        (ask or client.chat)(*arguments, **options)
    return caught.value


def authorizations(azure):
    return [received.headers.get("authorization") for received in azure.journal]


class Wall:
    """The wall clock of the token sources, which can be put forward."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead


@pytest.fixture
def wall(azure, monkeypatch):
    """Put the clock of token sources forward; tokens live for 200 seconds, so that msal asks whenever it is asked."""
    wall = Wall()
    monkeypatch.setattr("apex_llm_azure.plugin.TokenSources", partial(TokenSources, wall=wall))
    monkeypatch.setattr(azure.emulator.book, "lifetime", 200)
    return wall


# -- the shapes of streams and filters ---------------------------------------------------------------------------------


def test_complaint_01_a_first_chunk_without_choices(azure):
    stream = azure.client().stream("Hello there")
    assert stream.text == "Hello there"
    # What came in their place is kept.
    assert stream.details["prompt_filter_results"][0]["content_filter_results"]["hate"]["severity"] == "safe"


def test_complaint_02_choices_without_a_delta_also_after_stop(azure):
    client = azure.client()
    azure.faults.add("annotations")
    annotated = client.stream("Hello there")
    assert (annotated.text, annotated.finish_reason) == ("Hello there", "stop")
    azure.faults.add("late_filter")
    filtered = client.stream("Hello there")
    assert (filtered.text, filtered.finish_reason) == ("Hello there", "content_filter")
    assert filtered.details["content_filter_results"]["protected_material_text"]["filtered"] is True
    # The verdict may come as a mere annotation, or as a mere reason.
    for verdict in (
        {"index": 0, "finish_reason": None, "content_filter_results": {"violence": VIOLENCE}},
        {"index": 0, "finish_reason": "content_filter"},
    ):
        said = {"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}
        events = [json.dumps({"choices": [choice]}) for choice in (said, verdict)]
        body = "".join(f"data: {event}\n\n" for event in (*events, "[DONE]"))
        azure.faults.add("empty_error", status=200, headers={"content-type": "text/event-stream"}, body=body)
        stream = client.stream("Hello there")
        assert (stream.text, stream.finish_reason) == ("Hello", "content_filter")


@pytest.mark.parametrize("fault", ["no_finish", "truncated", "no_done", "done_without_finish", "empty_stream"])
def test_complaint_03_a_stream_that_just_ends_is_no_success(azure, fault):
    azure.faults.add(fault)
    stream = azure.client().read("Hello there")
    assert type(stream.error) is ServiceUnavailableError
    assert "incomplete" in stream.error.message
    assert "Hello there".startswith(stream.text)


@pytest.mark.parametrize("fault", ["content_filter", "content_filter_bare", "content_filter_inner_only"])
def test_complaint_04_the_code_of_the_content_filter_is_known(azure, fault):
    client = azure.client()
    azure.faults.add(fault, times=2)
    refused(client, ContentFilterError)
    assert type(client.read().error) is ContentFilterError


def test_complaint_05_the_details_of_the_filter_are_kept(azure):
    azure.faults.add("content_filter")
    error = refused(azure.client(), ContentFilterError)
    assert error.status_code == 400
    assert error.details["inner_code"] == "ResponsibleAIPolicyViolation"
    assert error.details["content_filter_result"]["violence"] == VIOLENCE
    assert error.details["content_filter_result"]["hate"] == {"filtered": False, "severity": "safe"}
    assert "held back by: violence (high)" in error.message


def test_complaint_06_filtered_prompts_and_filtered_answers_tell_their_verdict_alike(azure):
    client = azure.client()
    verdicts = []
    for fault in ("content_filter", "content_filter_specified"):
        azure.faults.add(fault)
        verdicts.append(refused(client, ContentFilterError).details["content_filter_result"])
    # Nothing but the verdict tells.
    error = {"code": "BadRequest", "message": "No.", "innererror": {"content_filter_result": {"violence": VIOLENCE}}}
    azure.faults.add("bad_request", body={"error": error})
    verdicts.append(refused(client, ContentFilterError).details["content_filter_result"])
    azure.faults.add("stream_error_content_filter")
    verdicts.append(client.read().error.details["content_filter_result"])
    azure.faults.add("completion_filtered", times=2)
    verdicts.append(client.chat("Hello there").details["content_filter_results"]["0"])
    verdicts.append(client.stream("Hello there").details["content_filter_results"])
    assert [verdict["violence"] for verdict in verdicts] == [VIOLENCE] * 6


def test_complaint_07_a_filtered_answer_does_not_pass_for_a_complete_one(azure):
    client = azure.client()
    azure.faults.add("completion_filtered", times=2)
    result = client.chat("Hello there")
    assert (result.message.text, result.finish_reason) == ("Hello", "content_filter")
    assert result.choices[0].finish_reason == "content_filter"
    stream = client.stream("Hello there")
    assert (stream.text, stream.finish_reason) == ("Hell", "content_filter")


def test_complaint_08_the_content_filter_with_status_500(azure):
    azure.faults.add("content_filter_500", times=None)
    error = refused(azure.client(retry_count=2), ContentFilterError)
    assert (error.status_code, error.retryable, len(error.attempts)) == (500, False, 1)


def test_complaint_09_a_filter_that_did_not_run_refuses_nothing(azure):
    client = azure.client()
    azure.faults.add("filter_not_run", times=2)
    result = client.chat("Hello there")
    assert (result.message.text, result.finish_reason) == ("Hello there", "stop")
    assert result.details["content_filter_results"]["0"]["error"]["code"] == "content_filter_error"
    stream = client.stream("Hello there")
    assert (stream.text, stream.finish_reason) == ("Hello there", "stop")
    assert stream.details["content_filter_results"]["error"]["code"] == "content_filter_error"


def test_complaint_10_a_prompt_that_is_too_long_in_all_its_texts(azure):
    client = azure.client()
    for fault in (
        "context_length",
        "context_length_configured",
        "context_length_window",
        "context_length_input",
        "context_length_embedding",
    ):
        azure.faults.add(fault, times=2)
        refused(client, ContextLengthExceededError)
        assert type(client.read().error) is ContextLengthExceededError
    # Too long a name of the end user is no such thing.
    azure.faults.add("string_above_max_length")
    refused(client, InvalidRequestError)
    # The emulator counts, too.
    refused(client, ContextLengthExceededError, "word " * 130_000)
    refused(client, ContextLengthExceededError, "word " * 10_000, ask=client.embed)


# -- parameters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", ["v1", "dated"])
def test_complaint_11_the_name_of_max_tokens_follows_the_model_not_the_deployment(azure, surface):
    models = [{"id": "chatty", "base_model": "o3-mini"}, {"id": "o3-mini-for-the-team", "base_model": "gpt-4o"}]
    client = azure.client(surface=surface, models=models)
    for model, key in (("chatty", "max_completion_tokens"), ("o3-mini-for-the-team", "max_tokens")):
        assert client.chat("Hello there", model=model, max_tokens=100).message.text == "Hello there"
        assert {"max_tokens", "max_completion_tokens"} & azure.bodies[-1].keys() == {key}
    assert len(azure.journal) == 2
    # Neither do other parameters follow it; what is left out on demand is told.
    refused(client, InvalidRequestError, model="chatty", temperature=0.2)
    lenient = azure.client(surface=surface, models=models, options={"unsupported_parameters": "drop"})
    for ask in (lenient.chat, lenient.stream):
        assert ask(model="chatty", temperature=0.2).details["dropped_parameters"] == ["temperature"]
        assert "temperature" not in azure.bodies[-1]
    assert len(azure.journal) == 4


def test_complaint_12_some_deployments_take_the_older_name_alone(azure):
    client = azure.client(models=[{"id": "gpt-4o-from-2024", "provider_model_id": "gpt-4o"}])
    azure.faults.add("unsupported_max_completion_tokens")
    for _ in range(2):
        assert client.chat("Hello there", model="gpt-4o-from-2024", max_tokens=100).message.text == "Hello there"
    keys = [{"max_tokens", "max_completion_tokens"} & body.keys() for body in azure.bodies]
    # Asked once more with the other name, which is remembered.
    assert keys == [{"max_completion_tokens"}, {"max_tokens"}, {"max_tokens"}]


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_complaint_13_a_retry_does_not_send_an_expired_token(azure, wall):
    client = azure.client(by="entra", retry_count=1, tables=QUICK)

    def wait_long(event):
        if isinstance(event, RetryScheduled):
            wall.ahead = 195.0

    client.manager.subscribe("time passes", wait_long)
    azure.faults.add("unavailable")
    result = client.chat("Hello there")
    assert [attempt.error_type is None for attempt in result.attempts] == [False, True]
    assert len(set(authorizations(azure))) == len(azure.journal) == 2


@pytest.mark.parametrize("surface", ["v1", "dated"])
def test_complaint_14_tokens_are_renewed(azure, surface):
    client = azure.client(by="entra", surface=surface)
    for _ in range(3):
        assert client.chat("Hello there").message.text == "Hello there"
    assert azure.emulator.entra.token_requests == 1
    azure.emulator.book.revoke_all()
    assert client.stream("Hello there").text == "Hello there"
    assert azure.emulator.entra.token_requests == 2
    # The rejected one, then the renewed one.
    assert len(set(authorizations(azure)[-2:])) == 2


def test_complaint_15_tokens_are_kept_by_scope_and_with_a_margin(azure, wall):
    client = azure.client(*(azure.provider(name, by="entra", surface=name) for name in ("v1", "dated")))
    for _ in range(2):
        for name in ("v1", "dated"):
            client.chat("Hello there", provider=name)
    asked = [call.scope for call in azure.emulator.entra.calls if call.place == "token"]
    assert asked == ["https://ai.azure.com/.default", "https://cognitiveservices.azure.com/.default"]
    one, other, *again = authorizations(azure)
    assert (one != other, again) == (True, [one, other])
    # A token might expire on its way to the service.
    wall.ahead = 175.0
    client.chat("Hello there", provider="v1")
    assert authorizations(azure)[-1] not in {one, other}


def test_complaint_16_on_v1_tokens_are_fresh_and_nobody_waits_for_those_of_others(azure):
    client = azure.client(azure.provider("slow", by="entra"), azure.provider("keyed"))

    async def ask():
        azure.emulator.entra.gate = asyncio.Event()
        waiting = asyncio.create_task(client.manager.generate_chat("slow", model="gpt-4o", provider="slow"))
        for number in range(5):
            result = await client.manager.generate_chat(f"fast {number}", model="gpt-4o", provider="keyed")
            assert result.message.text == f"fast {number}"
        assert not waiting.done()
        azure.emulator.entra.gate.set()
        return await waiting

    try:
        assert azure.run(ask()).message.text == "slow"
    finally:
        azure.emulator.entra.gate = None
    azure.emulator.book.revoke_all()
    assert client.chat("Hello there", provider="slow").message.text == "Hello there"
    assert azure.journal[-1].path == "/openai/v1/chat/completions"


def test_complaint_17_several_credentials_at_once_are_refused(azure):
    credentials = {
        "tenant_id": "contoso",
        "client_id": "app",
        "client_secret": "env:CLIENT_SECRET",
        "managed_identity": True,
    }
    with pytest.raises(ConfigurationError, match="client_secret and managed_identity contradict each other"):
        azure.client(auth={"type": "azure_ad", "credentials": credentials})
    credentials = {"api_key": "env:AZURE_KEY", "client_secret": "env:CLIENT_SECRET"}
    with pytest.raises(ConfigurationError, match="client_secret"):
        azure.client(auth={"type": "api_key", "credentials": credentials})


def test_complaint_18_the_file_of_a_workload_identity_is_read_again(azure, tmp_path, monkeypatch):
    file = tmp_path / "federated"
    accepted = azure.emulator.entra.federated_tokens
    monkeypatch.setattr(azure.emulator.entra, "federated_tokens", {"the first token"})
    file.write_text("the first token")
    credentials = {"tenant_id": "contoso", "client_id": "app", "federated_token_file": str(file)}
    client = azure.client(by="entra", auth={"type": "azure_ad", "credentials": credentials})
    assert client.chat("Hello there").message.text == "Hello there"
    # The cluster replaces it, and the first one is worth nothing any more.
    monkeypatch.setattr(azure.emulator.entra, "federated_tokens", {"the second token"})
    file.write_text("the second token")
    azure.emulator.book.revoke_all()
    assert client.chat("Hello there").message.text == "Hello there"
    assert [call.proof for call in azure.emulator.entra.calls if call.place == "token"] == ["federated"] * 2
    assert accepted == set()


# -- addresses and versions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["preview", "v1"])
def test_complaint_19_versions_of_v1_are_not_sent_to_deployments(azure, version):
    client = azure.client(options={"api_version": version})
    assert client.chat("Hello there").message.text == "Hello there"
    [received] = azure.journal
    assert (received.path, received.query) == ("/openai/v1/chat/completions", {"api-version": version})
    with pytest.raises(ConfigurationError, match="contradict each other"):
        azure.client(options={"api_version": version, "surface": "dated"})
    with pytest.raises(ConfigurationError, match="a dated version belongs to /openai/deployments"):
        azure.client(options={"api_version": "2024-10-21", "surface": "v1"})
    # What slips through is explained.
    azure.faults.add("resource_not_found")
    assert "one of three is wrong" in refused(client, ModelNotFoundError).message


@pytest.mark.parametrize(
    ("pasted", "path"),
    [
        ("{url}", "/openai/v1/chat/completions"),
        ("{url}/", "/openai/v1/chat/completions"),
        ("{url}/openai", "/openai/v1/chat/completions"),
        ("{url}/openai/v1/", "/openai/v1/chat/completions"),
        ("{url}/openai/v1/chat/completions", "/openai/v1/chat/completions"),
        ("{url}/openai/v1/embeddings?api-version=preview", "/openai/v1/chat/completions"),
        ("{url}/openai/deployments", "/openai/deployments/gpt-4o/chat/completions"),
        ("{url}/openai/deployments/chatty", "/openai/deployments/gpt-4o/chat/completions"),
        (
            "{url}/openai/deployments/chatty/embeddings?api-version=2024-06-01",
            "/openai/deployments/gpt-4o/chat/completions",
        ),
        ("{url}/openai/?api-version=2024-06-01", "/openai/deployments/gpt-4o/chat/completions"),
    ],
)
def test_complaint_20_any_address_of_the_resource_can_be_pasted(azure, pasted, path):
    client = azure.client(options={"endpoint": pasted.format(url=azure.emulator.url)})
    assert client.chat("Hello there").message.text == "Hello there"
    assert [received.path for received in azure.journal] == [path]


@pytest.mark.parametrize(
    ("options", "path", "version"),
    [
        ({}, "/openai/v1/images/edits", "preview"),
        (
            {"api_version": "2025-04-01-preview"},
            "/openai/deployments/gpt-image-1/images/edits",
            "2025-04-01-preview",
        ),
    ],
)
def test_complaint_21_edits_of_images_go_where_they_are_taken(azure, options, path, version):
    picture = ImagePart(data=PNG, media_type="image/png")
    assert azure.client(options=options).image("a dog", images=[picture]).images
    [received] = azure.journal
    assert (received.path, received.query) == (path, {"api-version": version})
    older = azure.client(options={"api_version": "2024-10-21"})
    error = refused(older, InvalidRequestError, "a dog", ask=older.image, images=[picture])
    assert "2025-04-01-preview" in error.message
    assert len(azure.journal) == 1


@pytest.mark.parametrize(
    ("version", "asked"), [("2024-06-01", False), ("2024-08-01-preview", False), ("2024-10-21", True), ("", True)]
)
def test_complaint_22_usage_of_streams_is_asked_for_where_it_is_known(azure, version, asked):
    client = azure.client(options={"api_version": version})
    stream = client.stream("Hello there")
    assert (stream.text, stream.whole.usage is not None) == ("Hello there", asked)
    assert ("stream_options" in azure.bodies[0]) is asked
    # A service that does not know it after all is asked once more without, and so ever after.
    azure.forget()
    azure.faults.add("unknown_parameter")
    streams = [client.stream("Hello there") if asked else stream for _ in range(2)]
    assert {stream.text for stream in streams} == {"Hello there"}
    assert ["stream_options" in body for body in azure.bodies] == ([True, False, False] if asked else [])


# -- waiting -----------------------------------------------------------------------------------------------------------


def test_complaint_23_retries_wait_as_long_as_the_service_asks(azure):
    client = azure.client(retry_count=2, tables=QUICK)
    azure.faults.add("rate_limit", headers={"retry-after-ms": "30", "retry-after": "1"})
    assert client.chat("Hello there").message.text == "Hello there"
    [retry] = [event for event in client.events if isinstance(event, RetryScheduled)]
    assert 0.03 <= retry.delay <= 0.033
    impatient = azure.client()
    for fault, seconds in (
        ("rate_limit_seconds", 2),
        ("rate_limit_reset_requests", 3),
        ("rate_limit_reset_tokens", 360),
        ("rate_limit_text", 7),
        ("rate_limit_try_again", 3),
    ):
        azure.faults.add(fault, times=2)
        assert refused(impatient, RateLimitError).retry_after == seconds
        assert impatient.read().error.retry_after == seconds


@pytest.mark.parametrize("fault", ["insufficient_quota", "quota_exceeded", "retry_after_day", "call_volume"])
def test_complaint_24_a_quota_is_no_rate_limit(azure, fault):
    client = azure.client(retry_count=2, tables=QUICK)
    azure.faults.add(fault, times=None)
    error = refused(client, QuotaExceededError)
    assert (error.retryable, len(error.attempts), len(azure.journal)) == (False, 1, 1)


# -- models and deployments --------------------------------------------------------------------------------------------


def test_complaint_25_long_lists_are_embedded_in_as_many_calls_as_it_takes(azure):
    texts = [f"text {number}" for number in range(7)]
    at_once = azure.client().embed(texts, dimensions=8)
    result = azure.client(options={"embedding_batch": 3}).embed(texts, dimensions=8)
    assert sorted(len(body["input"]) for body in azure.bodies) == [1, 3, 3, 7]
    assert result.embeddings == at_once.embeddings
    assert result.usage == at_once.usage
    azure.forget()
    # The cap of the service itself, which the emulator enforces.
    many = azure.client().embed(["x"] * 2_049, dimensions=2)
    assert (len(many.embeddings), many.usage.prompt_tokens) == (2_049, 2_049)
    assert sorted(len(body["input"]) for body in azure.bodies) == [1, 2_048]


def test_complaint_26_the_name_of_a_deployment_tells_nothing_about_its_model(azure):
    prices = {"cost_per_input_token": 0.25, "cost_per_output_token": 0.5}
    client = azure.client(
        models=[
            {"id": "thinker", "provider_model_id": "chatty", "base_model": "o3-mini", **prices},
            {"id": "cheap", "provider_model_id": "gpt-4o-vision", "base_model": "gpt-35-turbo"},
            {"id": "mystery", "provider_model_id": "gpt-4o"},
        ]
    )
    thinker, cheap, mystery = client.models()[:3]
    assert (thinker.base_model, thinker.max_tokens, cheap.max_tokens, mystery.max_tokens) == (
        "o3-mini",
        200_000,
        16_385,
        None,
    )
    assert ("reasoning" in thinker.capabilities, "vision" in cheap.capabilities) == (True, False)
    # Not taken for what its name says.
    assert (mystery.base_model, mystery.capabilities) == (None, None)
    result = client.chat("Hello there", model="thinker")
    assert (result.model, azure.bodies[-1]["model"]) == ("thinker", "chatty")
    assert result.cost == 0.25 * result.usage.prompt_tokens + 0.5 * result.usage.completion_tokens
    picture = [ChatMessage(role="user", content=[ImagePart(data=PNG, media_type="image/png")])]
    assert "lacks vision" in refused(client, ModelNotFoundError, picture, model="cheap").message
    assert client.chat(picture, model="mystery").message.text == "[image image/png]"


def test_complaint_27_the_catalogue_is_not_the_deployments(azure):
    client = azure.client(models=[{"id": "thinker", "provider_model_id": "chatty", "base_model": "o3-mini"}])
    configured, *catalogue = client.models()
    assert (configured.id, configured.provider_model_id) == ("thinker", "chatty")
    available = {model.id: model for model in catalogue}
    assert "called by its deployment's name" in available["gpt-4.1-2025-04-14"].description
    assert available["gpt-4.1-2025-04-14"].max_tokens == 1_047_576
    azure.forget()
    # What is only available is not called.
    refused(client, ModelNotFoundError, model="gpt-4.1-2025-04-14")
    assert len(azure.journal) == 0


class Rerouted:
    """An HTTP client for which a host of Azure is the emulator."""

    def __init__(self, host, url):
        self._http = AiohttpClient()
        self._host = host
        self._url = url

    async def send(self, method, url, **more):
        assert url.startswith(f"{self._host}/")
        return await self._http.send(method, url.replace(self._host, self._url, 1), **more)

    async def close(self):
        await self._http.close()


@pytest.mark.parametrize(
    ("suffix", "surface", "scope"),
    [
        ("us", "dated", "https://cognitiveservices.azure.us/.default"),
        ("cn", "dated", "https://cognitiveservices.azure.cn/.default"),
        ("com", "dated", "https://cognitiveservices.azure.com/.default"),
        ("com", "v1", "https://ai.azure.com/.default"),
    ],
)
def test_complaint_28_tokens_are_for_the_audience_of_the_cloud(azure, suffix, surface, scope):
    host = f"https://contoso.openai.azure.{suffix}"
    http = Rerouted(host, azure.emulator.url)
    table = azure.provider(by="entra", surface=surface)
    table["options"]["endpoint"] = host
    client = azure.client(table, settings={"http": http})
    assert client.chat("Hello there").message.text == "Hello there"
    azure.run(http.close())
    assert [call.scope for call in azure.emulator.entra.calls if call.place == "token"] == [scope]
    authorities = {
        "us": "https://login.microsoftonline.us",
        "cn": "https://login.partner.microsoftonline.cn",
        "com": "https://login.microsoftonline.com",
    }
    assert parse_endpoint(host).cloud.authority == authorities[suffix]


@pytest.mark.parametrize(
    ("pasted", "path"),
    [
        (
            "{url}/openai/responses?api-version=2025-04-01-preview",
            "/openai/deployments/gpt-4o/chat/completions",
        ),
        ("{url}/openai/v1/responses", "/openai/v1/chat/completions"),
    ],
)
def test_complaint_29_an_address_of_the_responses_api_is_understood(azure, pasted, path):
    models = [
        "gpt-4o",
        {"id": "coder", "base_model": "gpt-5-codex"},
        {"id": "undeclared", "provider_model_id": "gpt-4o"},
    ]
    client = azure.client(models=models, options={"endpoint": pasted.format(url=azure.emulator.url)})
    assert client.chat("Hello there").message.text == "Hello there"
    assert [received.path for received in azure.journal] == [path]
    # A model that answers there alone is refused before anything is sent …
    error = refused(client, ModelNotFoundError, model="coder")
    assert "cannot do chat" in error.message
    assert len(azure.journal) == 1
    # … and where nobody declared it, as soon as the service says so.
    azure.faults.add("operation_not_supported")
    error = refused(client, ModelNotFoundError, model="undeclared")
    assert "does not work with the specified model, gpt-5-codex" in error.message
    assert "does not offer the operation" in error.message


def test_complaint_30_nothing_is_included_that_azure_does_not_know(azure):
    client = azure.client()
    thought = ReasoningPart(text="Let me think.", signature="opaque", data="encrypted")
    messages = [
        ChatMessage(role="user", content="First"),
        ChatMessage(role="assistant", content=[thought, TextPart(text="Yes?")]),
        ChatMessage(role="user", content="Second"),
    ]
    for model, more in (("o3-mini", {"reasoning_effort": "low"}), ("gpt-4o", {})):
        assert client.chat(messages, model=model, **more).message.text == "Second"
        assert client.stream(messages, model=model, **more).text == "Second"
    assert len(azure.bodies) == 4
    for body in azure.bodies:
        assert "include" not in body
        # The thoughts of an earlier turn stay here.
        assert body["messages"][1] == {"role": "assistant", "content": "Yes?"}
        assert "encrypted" not in str(body)


@pytest.mark.parametrize("fault", ["reset", "stream_error", "truncated"])
def test_complaint_31_a_break_in_the_middle_says_what_its_support_asks_for(azure, fault):
    azure.faults.add(fault, times=None, after_chunks=2)
    stream = azure.client(retry_count=2, tables=QUICK).read("Hello there, you")
    assert stream.text == "Hello th"
    assert type(stream.error) is ServiceUnavailableError
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", stream.error.request_id)
    assert stream.error.details["region"] == "East US"
    assert stream.error.details["received_bytes"] > 500
    # What has been handed out cannot be taken back: there is no second attempt.
    assert (len(stream.error.attempts), len(azure.journal)) == (1, 1)


def test_every_complaint_has_its_test():
    names = [name for name, value in globals().items() if name.startswith("test_complaint_") and callable(value)]
    numbers = [int(re.fullmatch(r"test_complaint_(\d\d)_\w+", name)[1]) for name in names]
    assert sorted(numbers) == list(COMPLAINTS) == list(range(1, 32))
