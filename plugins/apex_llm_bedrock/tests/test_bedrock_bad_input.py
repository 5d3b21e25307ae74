"""Whatever users, operators and broken services do wrong: a typed error that says what and where, or the right answer."""

from __future__ import annotations

import asyncio
import json
import math
import traceback
from base64 import b64decode, b64encode
from copy import deepcopy
from itertools import pairwise
from types import SimpleNamespace

import pytest
from apex_llm_bedrock.event_stream import EventStreamDecoder
from apex_llm_mock.emulation import BEDROCK_FAULTS
from apex_llm_mock.emulation.bedrock.event_frames import EventStream, StreamEvent, StreamException
from apex_llm_mock.emulation.fault_forms import concerns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from apex_llm_core.errors import (
    ConfigurationError,
    ContentFilterError,
    ContextLengthExceededError,
    InvalidRequestError,
    LLMError,
    ModelNotFoundError,
    ServiceUnavailableError,
    UnknownError,
    UnsupportedParameterError,
)
from apex_llm_core.models import (
    CacheHintPart,
    ChatMessage,
    DocumentPart,
    FunctionChoice,
    FunctionDefinition,
    HealthState,
    ImagePart,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from apex_llm_core.transport import AiohttpClient

PROMPT = "Grüß Gott 👋, das ist eine Antwort."
CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
CANVAS = "amazon.nova-canvas-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/chatsupport1"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
JSON = "application/json"
EVENTS = "application/vnd.amazon.eventstream"
#: What stands in the place of something else.
JUNK = (None, True, 7, -1, 1.5, "", "text", [], {}, [None], ["text"], {"text": 7}, {"a": {"b": []}})


def refused(kind, ask, *arguments, **options):
    """Return the error of a call, which must be of *kind*, at most what another model may take."""
    with pytest.raises(kind) as caught:
        ask(*arguments, **options)
    assert type(caught.value) in {kind, UnsupportedParameterError}
    return caught.value


@pytest.fixture
def client(bedrock):
    return bedrock.client()


@pytest.fixture
def lenient(bedrock):
    return bedrock.client(options={"unsupported_parameters": "drop"})


# -- configuration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"region": "us-east"}, "region: 'us-east' is no region; did you mean 'us-east-1'"),
        ({"region": "US-EAST-1"}, "did you mean 'us-east-1'"),
        ({"region": "us-east-1a"}, "availability zone; write its region 'us-east-1'"),
        ({"region": "eu-wst-1"}, "did you mean 'eu-west-1'"),
        ({"region": " "}, "region: the region is empty"),
        ({"region": ""}, "no AWS region is known: set options.region, AWS_REGION"),
        ({"region": 7}, "options.region: expected a string"),
        ({"endpoint": "bedrock"}, "endpoint: the endpoint does not begin with https://"),
        ({"endpoint": "https://key:secret@h"}, "endpoint"),
        ({"endpoint": "https://h?x=1"}, "query"),
        ({"endpoint": "https://h#f"}, "fragment"),
        ({"endpoint": "ftp://h"}, "https://"),
        ({"endpoint": "https://"}, "no valid host"),
        ({"endpoint": "https://h:99999"}, "port"),
        ({"endpoint": "https://h/model/x/converse"}, "up to what stands before '/model'"),
        ({"endpoint": "https:// h"}, "space"),
        ({"endpoint": "http://bedrock.example"}, "plain http"),
        ({"endpoint": 7}, "options.endpoint: expected a string"),
        ({"control_endpoint": "x"}, "control_endpoint: "),
        ({"control_endpoint": "http://bedrock.example"}, "control_endpoint: plain http"),
        ({"sts_endpoint": "sts.amazonaws.com"}, "sts_endpoint: "),
        ({"use_fips": True}, "leave out use_fips"),
        ({"use_fips": "yes"}, "use_fips: expected true or false"),
        ({"use_dualstack": 1}, "use_dualstack: expected true or false"),
        ({"role_session_name": ""}, "role_session_name is ''"),
        ({"role_session_name": "two words"}, "role_session_name is 'two words'"),
        ({"role_session_name": "x" * 65}, "2 to 64"),
        ({"role_duration": 60}, "role_duration: must be a finite number of at least 900"),
        ({"role_duration": "long"}, "role_duration: expected a whole number"),
        ({"geo_prefix": "usa"}, "geo_prefix is 'usa'; did you mean 'us'"),
        ({"guardrail_identifier": "x"}, "belong together"),
        ({"guardrail_version": "1"}, "belong together"),
        ({"guardrail_identifier": "My guardrail", "guardrail_version": "1"}, "guardrail_identifier is 'My guardrail'"),
        ({"guardrail_identifier": "g1\n", "guardrail_version": "1"}, "guardrail_identifier is 'g1\\n'"),
        (
            {"guardrail_identifier": "arn:aws:bedrock:us-east-1:1:guardrail/g1", "guardrail_version": "1"},
            "or its ARN: 'arn:aws:bedrock:",
        ),
        (
            {"guardrail_identifier": "g1", "guardrail_version": "0"},
            "guardrail_version is '0'; it is a number, or 'DRAFT'",
        ),
        ({"guardrail_identifier": "g1", "guardrail_version": "draft"}, "guardrail_version is 'draft'"),
        ({"guardrail_identifier": "g1", "guardrail_version": "1\n"}, "guardrail_version is '1\\n'"),
        ({"guardrail_trace": "enabled"}, "need guardrail_identifier"),
        (
            {"guardrail_identifier": "x", "guardrail_version": "1", "guardrail_trace": "enable"},
            "did you mean 'enabled'",
        ),
        (
            {"guardrail_identifier": "x", "guardrail_version": "1", "guardrail_stream_mode": "snyc"},
            "did you mean 'sync'",
        ),
        ({"service_tier": "prio"}, "did you mean 'priority'"),
        ({"latency": "optimised"}, "did you mean 'optimized'"),
        ({"embedding_input_type": "search_documents"}, "did you mean 'search_document'"),
        ({"embedding_batch": 97}, "embedding_batch: must be a finite number of at least 1 and at most 96"),
        ({"embedding_batch": 0}, "embedding_batch"),
        ({"embedding_concurrency": 0}, "embedding_concurrency"),
        ({"invoke": {"m": "lama"}}, "invoke.m is 'lama'; did you mean 'llama'"),
        ({"invoke": {"m": ""}}, "invoke.m is empty"),
        ({"invoke": "llama"}, "invoke: expected an object"),
        ({"request_metadata": {"a": 1}}, "request_metadata.a: expected a string"),
        ({"request_metadata": {"a": "é"}}, "request_metadata.a: names and values are letters"),
        ({"request_metadata": {"a": "x" * 257}}, "request_metadata.a: names and values are letters"),
        ({"request_metadata": {"": "x"}}, "request_metadata.: names and values are letters"),
        ({"request_metadata": {"a;b": "x"}}, "request_metadata.a;b: names and values are letters"),
        ({"request_metadata": {str(n): "x" for n in range(17)}}, "request_metadata has 17 names; AWS takes 16"),
        ({"unsupported_parameters": "drp"}, "did you mean 'drop'"),
        ({"unsupported_parameters": ""}, "unsupported_parameters is empty"),
        ({"look_up_profiles": "no"}, "look_up_profiles: expected true or false"),
        ({"models_ttl": -1}, "models_ttl"),
        ({"quota_after": 0}, "quota_after"),
        ({"quota_after": math.nan}, "quota_after"),
        ({"ca_file": 7}, "ca_file: expected a string"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file: there is no file '/nowhere/ca.pem'"),
        ({"reigon": "us-east-1"}, "reigon: unknown key; did you mean 'region'"),
    ],
)
def test_settings_that_cannot_be_are_told_with_their_place(bedrock, options, said):
    error = refused(ConfigurationError, bedrock.client, options=options)
    assert said in str(error)
    assert str(error).startswith("providers[0]")
    assert "secret" not in str(error)


ROLE = "arn:aws:iam::123456789012:role/x"


@pytest.mark.parametrize(
    ("kind", "credentials", "said"),
    [
        ("azure_ad", {}, "valid: api_key, iam"),
        ("api_key", {}, "lacks 'api_key'"),
        ("api_key", {"api_key": ""}, "api_key: is empty"),
        ("api_key", {"api_key": 7}, "api_key: expected a string"),
        ("api_key", {"api_key": "env:MISSING"}, "the environment variable MISSING is not set"),
        ("api_key", {"apikey": "env:BEDROCK_KEY"}, "did you mean 'api_key'"),
        ("api_key", {"api_key": "env:BEDROCK_KEY", "profile": "p"}, "profile"),
        ("iam", {"acces_key_id": "a"}, "did you mean 'access_key_id'"),
        ("iam", {"access_key_id": "a"}, "lacks 'secret_access_key'"),
        ("iam", {"secret_access_key": "env:SECRET_KEY"}, "lacks 'access_key_id'"),
        ("iam", {"session_token": "env:SECRET_KEY"}, "lacks 'access_key_id'"),
        ("iam", {"access_key_id": "a", "secret_access_key": "env:SECRET_KEY", "profile": "p"}, "contradict"),
        ("iam", {"role_arn": "role"}, "arn:aws:iam::123456789012:role/NAME"),
        ("iam", {"external_id": "x"}, "lacks 'role_arn'"),
        ("iam", {"web_identity_token_file": "/x"}, "lacks 'role_arn'"),
        ("iam", {"role_arn": ROLE, "web_identity_token_file": "/x", "profile": "p"}, "contradict"),
        ("iam", {"region": "us-east-1"}, "[providers.options]"),
        ("iam", {"profile": " "}, "profile: is empty"),
        ("iam", {"profile": ["a"]}, "profile"),
    ],
)
def test_credentials_that_cannot_be_are_told_with_their_place(bedrock, kind, credentials, said):
    error = refused(ConfigurationError, bedrock.client, auth={"type": kind, "credentials": credentials})
    assert said in str(error)
    assert "auth" in str(error)
    assert bedrock.emulator.secret_access_key not in str(error)


WRONG_IDS = {
    "": "is empty",
    " ": "is empty",
    "a b": "space",
    "a\nb": "line break",
    "größe": "character",
    "\ud83d": "character",
    "a%3Ab": "percent-encoded",
    "..": "path",
    "x" * 3000: "3000 characters",
    "us:anthropic.claude-x": "did you mean 'us.anthropic.claude-x'",
    "anthropic/claude-3": "did you mean 'anthropic.claude-3'",
    "bedrock/amazon.nova-lite-v1:0": "write 'amazon.nova-lite-v1:0'",
    "arn:aws:bedrock": "cannot be read",
    "arn:aws:lambda:us-east-1:123456789012:function/x": "of the service 'lambda'",
    "arn:aws:bedrock:us-east-1:123456789012:guardrail/x": "no model",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profil/x": "did you mean 'inference-profile'",
    "arn:aws:bedrock::123456789012:provisioned-model/x": "no region",
    f"{PROFILE}/invocations": "goes on after the id",
}


@pytest.mark.parametrize("model", WRONG_IDS)
def test_ids_that_no_model_can_have_are_told_at_the_start(bedrock, model):
    error = refused(ConfigurationError, bedrock.client, models=["amazon.nova-lite-v1:0", model])
    assert WRONG_IDS[model] in str(error)
    assert str(error).startswith("providers[0]")
    assert "models[1].id" in str(error)
    if model.strip():
        under_a_name = [{"id": "chat", "provider_model_id": model}]
        error = refused(ConfigurationError, bedrock.client, models=under_a_name)
        assert "models[0].provider_model_id" in str(error)


@pytest.mark.parametrize("model", [model for model in WRONG_IDS if model.strip()])
def test_ids_that_no_model_can_have_are_told_to_callers(bedrock, client, model):
    for ask in (client.chat, client.stream, client.count, client.embed, client.image):
        error = refused(InvalidRequestError, ask, PROMPT, model=model, provider="bedrock")
        assert WRONG_IDS[model] in error.message
    assert len(bedrock.journal) == 0


def test_a_model_that_is_not_there_is_told_with_what_to_do(bedrock, client):
    for ask in (client.chat, client.stream):
        error = refused(ModelNotFoundError, ask, PROMPT, model="nobody.knows-this-v1:0", provider="bedrock")
        assert "apex-llm models" in error.message


def test_a_file_of_authorities_that_is_not_there_is_named(bedrock, tmp_path):
    missing = str(tmp_path / "missing.pem")
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"providers\[0\]\.options.*missing\.pem"):
        bedrock.client(options={"ca_file": missing})
    client = bedrock.client(options={"ca_file": str(empty)}, settings={"http": None})
    error = refused(ServiceUnavailableError, client.chat)
    assert (str(empty) in error.message, error.retryable) == (True, False)


# -- requests ----------------------------------------------------------------------------------------------------------


def user(*parts):
    return [ChatMessage(role="user", content=parts)]


@pytest.mark.parametrize("make", [ImagePart, DocumentPart])
@pytest.mark.parametrize(
    "data", ["!!!!", "", "a", "iVBOR\nw0KGgo=", "é" * 20, "\ud83d" * 8, f"data:image/png;base64,{PNG}"]
)
def test_data_that_is_no_base64_is_told_before_it_is_sent(bedrock, client, make, data):
    media_type = "image/png" if make is ImagePart else "application/pdf"
    error = refused(
        InvalidRequestError, client.chat, user(TextPart(text="Look"), make(data=data, media_type=media_type))
    )
    assert error.message.startswith("messages[0]: ")
    assert len(bedrock.journal) == 0


def test_data_that_breaks_off_later_is_told_by_the_service(bedrock, client):
    broken = ImagePart(data=f"{PNG[:50]}!!{PNG[52:]}", media_type="image/png")
    refused(InvalidRequestError, client.chat, user(broken))
    refused(InvalidRequestError, client.stream, user(broken))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (ImagePart(data="QUJDREVGR0g=", media_type="image/tiff"), "'image/tiff' are not taken"),
        (ImagePart(data="QUJDREVGR0g=", media_type="image/jpgg"), "did you mean 'image/jpg'"),
        (ImagePart(data="QUJDREVGR0g=", media_type=""), "are not taken"),
        (DocumentPart(data="QUJDREVGR0g=", media_type="application/pdff"), "did you mean 'application/pdf'"),
        (DocumentPart(data="QUJDREVGR0g=", media_type="video/mp4"), "are not taken"),
        (DocumentPart(text=" \n"), "the document is empty"),
        (ImagePart(url="http://example.com/a.png"), "fetches no images"),
        (ImagePart(url="https://example.com/a.png"), "fetches no images"),
        (ImagePart(url="file:///etc/passwd"), "fetches no images"),
        (ImagePart(url=""), "fetches no images"),
        (ImagePart(url="data:"), "fetches no images"),
        (ImagePart(url="data:image/png,abc"), "not in base64"),
        (ImagePart(url="data:image/png;base64,"), "no data"),
        (ImagePart(url="s3://bucket/key"), "give its media_type"),
        (ToolCallPart(id="1", name="f"), "only assistant messages make tool calls"),
    ],
)
def test_parts_that_cannot_be_sent_are_told_with_their_place(bedrock, client, part, said):
    for ask in (client.chat, client.stream):
        error = refused(InvalidRequestError, ask, [*user(TextPart(text="First")), *user(part)])
        assert said in error.message
        assert error.message.startswith("messages[1]: ")
    assert len(bedrock.journal) == 0


@pytest.mark.parametrize(
    "part",
    [
        TextPart(text=None),
        TextPart(text=7),
        ImagePart(data=b"bytes", media_type="image/png"),
        ImagePart(data=PNG, media_type=7),
        ImagePart(url=7),
        DocumentPart(data=b"bytes", media_type="application/pdf"),
        DocumentPart(text=7),
        DocumentPart(text="words", name=7),
        CacheHintPart(ttl=7),
    ],
)
def test_parts_with_members_of_another_type_are_told(client, part):
    for ask in (client.chat, client.stream):
        refused(InvalidRequestError, ask, user(TextPart(text=PROMPT), part))


@pytest.mark.parametrize(
    ("made", "answered"),
    [
        (ToolCallPart(id=7, name="f"), ToolResultPart(tool_call_id=7, content="x")),
        (ToolCallPart(id="1", name=7), ToolResultPart(tool_call_id="1", content="x")),
        (ToolCallPart(id="1", name="f", arguments={"a": 1}), ToolResultPart(tool_call_id="1", content="x")),
        (ToolCallPart(id="1", name="f"), ToolResultPart(tool_call_id="1", content={"a": 1})),
    ],
)
def test_calls_and_results_with_members_of_another_type_are_told(client, made, answered):
    messages = [
        *user(TextPart(text=PROMPT)),
        ChatMessage(role="assistant", content=[made]),
        ChatMessage(role="tool", content=[answered]),
    ]
    for ask in (client.chat, client.stream):
        refused(InvalidRequestError, ask, messages)


CALL = ChatMessage(role="assistant", content=[ToolCallPart(id="1", name="f")])


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [ChatMessage(role="system", content="Be brief.")],
        [ChatMessage(role="user", content="")],
        [ChatMessage(role="user", content=[])],
        [ChatMessage(role="user", content=[CacheHintPart()])],
        [ChatMessage(role="assistant", content=[ReasoningPart(text="Hm")])],
        [*user(TextPart(text="Hi")), ChatMessage(role="tool", content="result")],
        [*user(TextPart(text="Hi")), ChatMessage(role="tool", content=[ToolResultPart(tool_call_id="9", content="x")])],
        [*user(TextPart(text="Hi")), CALL],
        [*user(TextPart(text="Hi")), CALL, *user(TextPart(text="Well?"))],
        [ChatMessage(role="system", content=[ImagePart(data=PNG, media_type="image/png")]), *user(TextPart(text="Hi"))],
        [
            *user(TextPart(text="Hi")),
            ChatMessage(role="assistant", content=[ImagePart(data=PNG, media_type="image/png")]),
        ],
        [
            *user(TextPart(text="Hi")),
            ChatMessage(
                role="assistant",
                content=[ToolCallPart(id="1", name="f"), ToolResultPart(tool_call_id="1", content="x")],
            ),
        ],
        [*user(TextPart(text="Hi")), ChatMessage(role="function", name="f", content="x")],
    ],
)
def test_conversations_that_are_none_are_told_before_they_are_sent(bedrock, client, messages):
    for ask in (client.chat, client.stream):
        assert refused(InvalidRequestError, ask, messages).message
    assert len(bedrock.journal) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 2}, "n: Bedrock gives one answer"),
        ({"temperature": 1.5}, "temperature (0 to 1): not taken"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"max_tokens": 10**9}, "lower max_tokens"),
        ({"top_p": 2}, "top_p is 2"),
        ({"stop": [" "]}, "stop (blank sequences are refused): not taken"),
        ({"stop": [""]}, "stop (blank sequences are refused): not taken"),
        ({"stop": ["a"] * 3000}, "stop (2500 sequences at most): not taken"),
        ({"seed": 1, "logprobs": True, "frequency_penalty": 1}, "frequency_penalty, seed, logprobs: not taken"),
        ({"user": "x" * 300}, "user (only the characters of AWS's metadata, 256 at most): not taken"),
        ({"reasoning_effort": "hgh"}, "did you mean 'high'"),
        ({"reasoning_effort": "low", "max_tokens": 100}, "leave out reasoning_effort"),
        ({"tool_choice": "required"}, "no tools"),
        (
            {"tools": [FunctionDefinition(name="get_time")], "tool_choice": FunctionChoice(name="get_tme")},
            "did you mean 'get_time'",
        ),
        ({"tools": [FunctionDefinition(name="f", parameters={"type": "array"})]}, "object"),
        ({"tools": [FunctionDefinition(name="f")] * 2}, "unique"),
        ({"response_format": ResponseFormat(type="json_schema", schema={"x": object()})}, "cannot be written as JSON"),
        ({"extra": {"x": {1, 2}}}, "cannot be written as JSON"),
        ({"extra": {"x": b"bytes"}}, "cannot be written as JSON"),
        ({"extra": {7: 8}}, "extra has the key 7"),
        ({"extra": {"messages": []}}, "extra may not set messages"),
        ({"extra": {"modelId": "x"}}, "extra may not set modelId"),
        ({"extra": {"toolConfig": {}}}, "extra may not set toolConfig"),
        ({"extra": {"headers": {"x": "y"}}}, "extra may not set headers"),
        ({"extra": {"endpoint_url": "http://x"}}, "extra may not set endpoint_url"),
        ({"extra": {"aws_secret_access_key": "x"}}, "extra may not set aws_secret_access_key"),
        ({"extra": {"authorization": "x"}}, "extra may not set authorization"),
        ({"extra": {"additional_model_request_fields": 7}}, "expected a mapping"),
        ({"extra": {"service_tier": "flex"}}, "Unexpected field type"),
        ({"extra": {"service_tier": {"type": "best"}}}, "serviceTier.type"),
        ({"extra": {"additionalModelResponseFieldPaths": ["stop"]}}, "JSON Pointer"),
        ({"extra": {"unheard_of": 7}}, "unheard_of"),
    ],
)
def test_options_that_cannot_be_are_told(client, options, said):
    for ask in (client.chat, client.stream):
        assert said in refused(InvalidRequestError, ask, PROMPT, **options).message


def test_extra_that_is_too_deep_is_told(bedrock, client):
    deep = {}
    for _ in range(100_000):
        deep = {"x": deep}
    assert "cannot be written as JSON" in refused(InvalidRequestError, client.chat, PROMPT, extra={"x": deep}).message


@pytest.mark.parametrize(
    ("options", "dropped"),
    [
        ({"temperature": 1.5}, ["temperature"]),
        ({"stop": [" ", "\n"]}, ["stop"]),
        ({"seed": 1, "logprobs": True, "top_logprobs": 2}, ["seed", "logprobs", "top_logprobs"]),
        ({"frequency_penalty": 1.0, "presence_penalty": 0.5}, ["frequency_penalty", "presence_penalty"]),
        ({"user": "x" * 300}, ["user"]),
    ],
)
def test_options_that_are_left_out_on_demand_are_told(bedrock, lenient, options, dropped):
    assert lenient.chat(PROMPT, **options).details["dropped_parameters"] == dropped
    assert lenient.stream(PROMPT, **options).details["dropped_parameters"] == dropped
    assert bedrock.bodies[-1].keys() == {"messages"}


@pytest.mark.parametrize(
    "neutral", [{"n": 1}, {"seed": None}, {"logprobs": False}, {"presence_penalty": 0}, {"tools": []}]
)
def test_options_that_change_nothing_are_none(bedrock, client, neutral):
    assert client.chat(PROMPT, **neutral).message.text == PROMPT
    assert bedrock.bodies[-1].keys() == {"messages"}


@pytest.mark.parametrize("text", ["half a pair: \ud83d", "nul: \x00", "\u2028 \ufeff \U0010ffff", '"\\', "x" * 200_000])
def test_any_text_is_sent_as_it_is(bedrock, client, text):
    assert client.chat(text).message.text == text
    assert client.stream(text).text == text
    named = [FunctionDefinition(name="f", description=text)]
    assert client.chat(PROMPT, tools=named).message.text == PROMPT
    system = [ChatMessage(role="system", content=text), *user(TextPart(text=PROMPT))]
    assert client.stream(system).text == PROMPT


def test_half_of_a_character_is_sent_to_every_operation(client):
    half = "half a pair: \ud83d"
    assert client.embed(half, dimensions=256).embeddings
    assert client.image(half).images
    assert client.count(half).prompt_tokens
    document = DocumentPart(text=half, name=half)
    assert client.chat(user(TextPart(text=PROMPT), document)).message.text


def test_giant_names_and_ids_pass(bedrock, client):
    name = "tool " * 5_000
    messages = [
        *user(TextPart(text="Hi")),
        ChatMessage(role="assistant", content=[ToolCallPart(id="i" * 5_000, name=name)]),
        ChatMessage(role="tool", content=[ToolResultPart(tool_call_id="i" * 5_000, content="done")]),
    ]
    assert "done" in client.chat(messages, tools=[FunctionDefinition(name=name)]).message.text
    report = DocumentPart(text="words", name="n" * 5_000)
    assert client.chat(user(TextPart(text=PROMPT), report)).message.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dimensions": 7}, "256, 512, 1024"),
        ({"extra": {"inputText": "x"}}, "may not set inputText"),
        ({"extra": {"input_type": 7}}, "extra.input_type is 7"),
        ({"extra": {"embedding_types": ["base64"]}}, "extra.embedding_types"),
        ({"extra": {"embedding_types": ["float", "int8"]}}, "extra.embedding_types"),
        ({"extra": {"normalize": "yes"}}, "normalize"),
        ({"extra": {"normalise": True}}, "normalise"),
    ],
)
def test_embeddings_that_cannot_be_are_told(client, options, said):
    assert said in refused(InvalidRequestError, client.embed, "text", **options).message


@pytest.mark.parametrize("texts", ["", [], [7], [None]])
def test_texts_that_are_none_are_told(client, texts):
    refused(InvalidRequestError, client.embed, texts)


PICTURE = ImagePart(data=PNG, media_type="image/png")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": "big"}, "WIDTHxHEIGHT"),
        ({"size": "0x0"}, "size is '0x0'"),
        ({"size": "100x100"}, "320 to 4096"),
        ({"quality": "premum"}, "did you mean 'premium'"),
        ({"seed": -1}, "seed"),
        ({"extra": {"task_type": "TEXT_IMGE"}}, "did you mean 'TEXT_IMAGE'"),
        ({"extra": {"textToImageParams": 7}}, "extra.textToImageParams is 7"),
        ({"images": [ImagePart(data="!!", media_type="image/png")]}, "decode"),
        ({"images": [PICTURE] * 9}, "images"),
        ({"images": [PICTURE], "mask": ImagePart(data="!!", media_type="image/png")}, "mask"),
        ({"mask": PICTURE}, "there are none"),
    ],
)
def test_images_that_cannot_be_are_told(client, options, said):
    assert said in refused(InvalidRequestError, client.image, "a cat", **options).message


def test_prompts_of_images_that_are_too_short_or_too_long_are_told(client):
    refused(InvalidRequestError, client.image, "")
    refused(ContextLengthExceededError, client.image, "x" * 2_000)


def test_models_are_asked_for_what_they_do(bedrock, client):
    for ask, model in (
        (client.embed, CLAUDE),
        (client.image, CLAUDE),
        (client.chat, TITAN),
        (client.stream, CANVAS),
        (client.image, TITAN),
    ):
        assert "cannot do" in refused(ModelNotFoundError, ask, PROMPT, model=model).message
    assert len(bedrock.journal) == 0


# -- every fault -------------------------------------------------------------------------------------------------------


def tried(ask, *arguments, **options):
    """Return what *ask* returns, and its error; one of them is None."""
    try:
        return ask(*arguments, **options), None
    except LLMError as error:
        return None, error


def check_settled(bedrock, client):
    """Nothing of the last call is left, and the next ones are answered."""
    bedrock.faults.clear()
    assert client.connections_in_use == 0
    bedrock.quiet()
    assert client.stream(PROMPT).text == PROMPT
    assert client.chat(PROMPT).message.text == PROMPT


def patience(fault):
    return 0.05 if fault in {"hang", "stall"} else 10


def check_typed(error):
    assert isinstance(error, LLMError)
    assert "which is no LLMError" not in error.message
    assert len(error.message) < 1000
    assert error.provider == "bedrock"


@pytest.mark.parametrize("fault", [name for name, fault in BEDROCK_FAULTS.items() if concerns(fault, streamed=False)])
def test_a_whole_answer_is_right_or_a_typed_error(bedrock, client, fault):
    # Credentials that are not taken are replaced once.
    bedrock.faults.add(fault, times=None)
    answer, error = tried(client.chat, PROMPT, timeout=patience(fault))
    if error is not None:
        check_typed(error)
        assert type(error) is not UnknownError
    else:
        assert PROMPT.startswith(answer.message.text)
        assert fault in {
            *(
                "wrong_content_type",
                "huge_answer",
                "no_usage",
                "slow_answer",
                "guardrail_intervened",
                "content_filtered",
            ),
            *("context_window_exceeded", "malformed_output", "malformed_tool_use", "unknown_stop_reason"),
        }
    check_settled(bedrock, client)


@pytest.mark.parametrize("fault", [name for name, fault in BEDROCK_FAULTS.items() if concerns(fault, streamed=True)])
def test_a_stream_is_right_or_ends_with_a_typed_error(bedrock, client, fault):
    bedrock.faults.add(fault, times=None)
    stream = client.read(PROMPT, timeout=patience(fault))
    assert PROMPT.startswith(stream.text)
    if stream.error is None:
        assert stream.finish_reason
        assert stream.text in {PROMPT, ""}
    else:
        check_typed(stream.error)
        assert type(stream.error) is not UnknownError or fault in {"exception_unknown", "unknown_message_type"}
        assert all(chunk.finish_reason is None for chunk in stream.chunks)
    check_settled(bedrock, client)


# -- answers and streams of unknown form -------------------------------------------------------------------------------


class Answer:
    """One HTTP answer out of thin air."""

    def __init__(self, body, kind=JSON, status=200, pieces=None):
        self.status = status
        self.headers = CIMultiDict({"content-type": kind, "x-amzn-requestid": "the-request"})
        self._pieces = [body] if pieces is None else pieces

    async def read(self):
        return b"".join(self._pieces)

    async def chunks(self):
        for piece in self._pieces:
            await asyncio.sleep(0)
            yield piece

    def close(self):
        pass


class Service:
    """An HTTP client that always gets the same answer."""

    def __init__(self):
        self.answer = Answer(b"")
        self.seen = 0

    async def send(self, _method, _url, **_):
        self.seen += 1
        return self.answer

    async def close(self):
        pass


FORMS = {
    "anthropic": "anthropic.claude-3-haiku-20240307-v1:0",
    "titan": "amazon.titan-text-express-v1",
    "llama": "meta.llama3-8b-instruct-v1:0",
    "mistral": "mistral.mistral-7b-instruct-v0:2",
    "openai": "openai.gpt-oss-20b-1:0",
    "ai21": "ai21.jamba-1-5-mini-v1:0",
}
INVOKED = {model: form for form, model in FORMS.items()}
COHERE, NOVA_EMBED, STABILITY = (
    "cohere.embed-v4:0",
    "amazon.nova-2-multimodal-embeddings-v1:0",
    "stability.sd3-5-large-v1:0",
)
ALL = (CLAUDE, TITAN, CANVAS, COHERE, NOVA_EMBED, STABILITY, PROFILE, *INVOKED)


@pytest.fixture
def alien(bedrock):
    """A service that answers what a test likes, and a client of it."""
    service = Service()
    client = bedrock.client(models=ALL, options={"invoke": INVOKED, "models_ttl": 0}, settings={"http": service})
    return SimpleNamespace(service=service, client=client)


def tell(alien, document, **more):
    alien.service.answer = Answer(document if isinstance(document, bytes) else json.dumps(document).encode(), **more)


def mutations(value, path=()):
    """Yield every place in *value*, with what could stand there instead; `...` for nothing."""
    for junk in (..., *JUNK):
        if path or junk is not ...:
            yield path, junk
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from mutations(item, (*path, name))


def mutated(value, path, junk):
    if not path:
        return junk
    value = deepcopy(value)
    inner = value
    for name in path[:-1]:
        inner = inner[name]
    if junk is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = junk
    return value


def outcome(ask, *arguments, **options):
    """Return what *ask* returns, None for an error, which must be a proper one."""
    answer, error = tried(ask, *arguments, **options)
    if error is not None:
        assert "which is no LLMError" not in error.message, (error.message, error.__cause__)
        assert type(error) is not UnknownError, error.message
    return answer


CONVERSED = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": "cmVk"}},
                {"text": "Hello"},
                {"citationsContent": {"content": [{"text": "cited"}], "citations": [{"title": "t"}]}},
                {"toolUse": {"toolUseId": "call-1", "name": "f", "input": {"city": "Oslo"}}},
                {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {
        "inputTokens": 3,
        "outputTokens": 4,
        "totalTokens": 7,
        "cacheReadInputTokens": 1,
        "cacheWriteInputTokens": 2,
        "cacheDetails": [{"ttl": "5m", "inputTokens": 2}],
    },
    "metrics": {"latencyMs": 12},
    "trace": {"guardrail": {"modelOutput": ["x"]}},
    "additionalModelResponseFields": {"stop_sequence": None},
    "serviceTier": {"type": "flex"},
    "performanceConfig": {"latency": "standard"},
}


def test_the_answer_that_is_broken_below_is_good(alien):
    tell(alien, CONVERSED)
    answer = alien.client.chat(PROMPT)
    assert (answer.message.text, answer.finish_reason, answer.usage.prompt_tokens) == ("Hellocited", "tool_calls", 6)


def test_any_member_of_an_answer_may_be_of_any_form(alien):
    good = 0
    for path, junk in mutations(CONVERSED):
        tell(alien, mutated(CONVERSED, path, junk))
        answer = outcome(alien.client.chat, PROMPT)
        # What was paid for stands, whatever the rest looks like.
        if path and path[0] not in {"output", "stopReason"}:
            assert answer is not None, (path, junk)
        if answer is not None:
            good += 1
            assert isinstance(answer.message.text, str)
            for call in answer.message.tool_calls:
                assert (type(call.id), type(call.name)) == (str, str)
                json.loads(call.arguments)
            assert isinstance(answer.finish_reason, str)
            json.dumps(answer.details)
    assert good > 100


@pytest.mark.parametrize("junk", [*JUNK, CONVERSED["output"], {"output": {}}, {"output": {"message": {}}}])
@pytest.mark.parametrize("what", ["chat", "embed", "image", "count", *INVOKED])
def test_junk_under_200_is_a_typed_error(alien, junk, what):
    client = alien.client
    ask = {"chat": client.chat, "embed": client.embed, "image": client.image}.get(what)
    tell(alien, junk)
    if what == "count":
        refused(ServiceUnavailableError, client.count, PROMPT)
        return
    for kind in (JSON, "text/html", "", "application/x-amz-json-1.0"):
        tell(alien, junk, kind=kind)
        if ask is not None:
            error = refused(ServiceUnavailableError, ask, PROMPT)
        else:
            error = refused(ServiceUnavailableError, client.chat, PROMPT, model=what)
        assert (error.status_code, error.request_id) == (200, "the-request")


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b"\xff\xfe", b"<html>", b"nan", b'{"a":NaN}x', b"\xef\xbb\xbf", b"[" * 100_000]
)
def test_bytes_that_are_no_json_are_a_typed_error(alien, body):
    client = alien.client
    for status in (200, 400, 403, 404, 418, 429, 500, 503, 599):
        tell(alien, body, status=status)
        for ask in (client.chat, client.embed, client.image):
            with pytest.raises(LLMError) as caught:
                ask(PROMPT)
            check_typed(caught.value)
            assert caught.value.status_code == status


@given(
    st.integers(201, 599),
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["message", "Message", "code", "__type", "error", "Output", "type", "originalStatusCode"]
                    ),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=6,
        ),
    ),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_refusal_is_a_typed_error(alien, status, body):
    tell(alien, body, status=status)
    stream = alien.client.read(PROMPT)
    if status >= 300:
        check_typed(stream.error)
        assert stream.error.status_code == status
    _, error = tried(alien.client.chat, PROMPT)
    check_typed(error)


class Overhearing(AiohttpClient):
    """Keeps the bodies of answers that pass."""

    def __init__(self):
        super().__init__()
        self.bodies = []

    async def send(self, *arguments, **more):
        response = await super().send(*arguments, **more)
        self.bodies.append(await response.read())
        return Answer(self.bodies[-1], response.headers["content-type"], response.status)


@pytest.fixture
def overheard(bedrock):
    """Ask the emulator, and return the body of its answer."""
    http = Overhearing()
    client = bedrock.client(models=ALL, options={"invoke": INVOKED}, settings={"http": http})

    def overheard(ask, *arguments, **options):
        getattr(client, ask)(*arguments, **options)
        return http.bodies[-1]

    yield overheard
    bedrock.close()
    bedrock.run(http.close())


@pytest.mark.parametrize("model", INVOKED)
def test_any_member_of_an_answer_of_invoke_model_may_be_of_any_form(alien, overheard, model):
    document = json.loads(overheard("chat", PROMPT, model=model))
    tell(alien, document)
    assert alien.client.chat(PROMPT, model=model).message.text == PROMPT
    for path, junk in mutations(document):
        tell(alien, mutated(document, path, junk))
        answer = outcome(alien.client.chat, PROMPT, model=model)
        assert answer is None or isinstance(answer.message.text, str)


@pytest.mark.parametrize("model", [TITAN, COHERE, NOVA_EMBED])
def test_any_member_of_embeddings_may_be_of_any_form(alien, overheard, model):
    document = json.loads(overheard("embed", PROMPT, model=model, dimensions=256))
    document = json.loads(json.dumps(document), parse_float=lambda _: 0.5)
    if model == TITAN:
        document["embedding"] = document["embedding"][:3]
        document.pop("embeddingsByType", None)
    elif model == COHERE:
        found = document["embeddings"]
        for name in found if isinstance(found, dict) else ():
            found[name] = [found[name][0][:3]]
    else:
        document["embeddings"][0]["embedding"] = document["embeddings"][0]["embedding"][:3]
    tell(alien, document)
    assert len(alien.client.embed(PROMPT, model=model).embeddings[0]) in {3, 256}
    for path, junk in mutations(document):
        tell(alien, mutated(document, path, junk))
        found = outcome(alien.client.embed, PROMPT, model=model)
        if found is not None:
            assert all(type(number) is float and math.isfinite(number) for number in found.embeddings[0]), (path, junk)


IMAGES = {
    CANVAS: {"images": [PNG], "error": None},
    STABILITY: {"images": [PNG], "seeds": [1], "finish_reasons": [None]},
}


@pytest.mark.parametrize("model", IMAGES)
def test_any_member_of_images_may_be_of_any_form(alien, model):
    tell(alien, IMAGES[model])
    assert alien.client.image("a cat", model=model).images == (PNG,)
    for path, junk in mutations(IMAGES[model]):
        tell(alien, mutated(IMAGES[model], path, junk))
        found = outcome(alien.client.image, "a cat", model=model)
        if found is not None:
            assert all(isinstance(image, str) and image for image in found.images), (path, junk)


@pytest.mark.parametrize("held_back", ["All of the generated images have been blocked by our content filters."])
def test_images_that_were_held_back_say_so(alien, held_back):
    tell(alien, {"error": held_back})
    refused(ContentFilterError, alien.client.image)
    tell(alien, {"seeds": [1], "finish_reasons": ["Filter reason: output image"]})
    refused(ContentFilterError, alien.client.image, model=STABILITY)


# -- streams -----------------------------------------------------------------------------------------------------------

STREAMED = (
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm."}}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "c2ln"}}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"reasoningContent": {"redactedContent": "cmVk"}}}),
    ("contentBlockStop", {"contentBlockIndex": 1}),
    ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"text": "Hello"}}),
    ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"citation": {"title": "t"}}}),
    ("contentBlockStop", {"contentBlockIndex": 2}),
    ("contentBlockStart", {"contentBlockIndex": 3, "start": {"toolUse": {"toolUseId": "call-1", "name": "f"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 3, "delta": {"toolUse": {"input": '{"city": '}}}),
    ("contentBlockDelta", {"contentBlockIndex": 3, "delta": {"toolUse": {"input": '"Oslo"}'}}}),
    ("contentBlockStop", {"contentBlockIndex": 3}),
    ("messageStop", {"stopReason": "tool_use", "additionalModelResponseFields": {"a": 1}}),
    ("metadata", {"usage": CONVERSED["usage"], "metrics": {"latencyMs": 12}, "trace": {}}),
)


def framed(events):
    return b"".join(EventStream().frames([StreamEvent(name, document) for name, document in events]))


def flow(alien, *pieces):
    alien.service.answer = Answer(b"", EVENTS, pieces=pieces)


def check_stream(stream):
    """It is complete, or it ended with a proper error and pretends nothing."""
    if stream.error is None:
        assert stream.finish_reason
        return stream.whole
    check_typed(stream.error)
    assert all(chunk.finish_reason is None for chunk in stream.chunks)
    return None


def test_the_stream_that_is_broken_below_is_good(alien):
    flow(alien, framed(STREAMED))
    whole = check_stream(alien.client.read(PROMPT))
    [choice] = whole.choices
    assert (choice.text, choice.finish_reason, whole.usage.prompt_tokens) == ("Hello", "tool_calls", 6)
    assert json.loads(choice.tool_calls[0].arguments) == {"city": "Oslo"}
    assert [(part.signature, part.data) for part in choice.reasoning_parts] == [("c2ln", None), (None, "cmVk")]


def plain(document):
    """Return *document* as the framing takes it: events are objects."""
    return document if isinstance(document, dict) else {"value": document}


@pytest.mark.parametrize("position", range(len(STREAMED)))
def test_any_member_of_an_event_may_be_of_any_form(alien, position):
    name, document = STREAMED[position]
    for path, junk in mutations(document):
        events = [*STREAMED[:position], (name, plain(mutated(document, path, junk))), *STREAMED[position + 1 :]]
        flow(alien, framed(events))
        stream = alien.client.read(PROMPT)
        check_stream(stream)
        if stream.error is not None:
            assert type(stream.error) is ServiceUnavailableError
            assert stream.error.request_id == "the-request"


@pytest.mark.parametrize("name", [*sorted({name for name, _ in STREAMED}), "", "chunk", "unknown"])
@pytest.mark.parametrize("position", [0, 7, len(STREAMED)])
def test_events_may_lack_everything_or_come_twice_or_never(alien, name, position):
    for document in ({}, {"contentBlockIndex": 99}, {"contentBlockIndex": 3, "delta": {}}):
        flow(alien, framed([*STREAMED[:position], (name, document), *STREAMED[position:]]))
        check_stream(alien.client.read(PROMPT))
    flow(alien, framed([event for event in STREAMED if event[0] != name]))
    check_stream(alien.client.read(PROMPT))


@given(st.lists(st.sampled_from(STREAMED), max_size=12))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_events_may_come_in_any_order(alien, events):
    flow(alien, framed(events))
    stream = alien.client.read(PROMPT)
    check_stream(stream)
    if not any(name == "messageStop" for name, _ in events):
        assert stream.error is not None


@given(st.lists(st.integers(0, len(framed(STREAMED))), max_size=30))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_does_not_matter_where_a_stream_is_cut(alien, cuts):
    data = framed(STREAMED)
    places = [0, *sorted(cuts), len(data)]
    flow(alien, *(data[start:end] for start, end in pairwise(places)))
    whole = check_stream(alien.client.read(PROMPT))
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == ("Hello", "tool_calls")


@given(st.integers(0, len(framed(STREAMED)) - 1), st.integers(1, 255))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damaged_byte_goes_unnoticed(alien, place, change):
    data = bytearray(framed(STREAMED))
    data[place] ^= change
    flow(alien, bytes(data))
    stream = alien.client.read(PROMPT)
    if stream.error is None:
        # After the answer itself: it is whole, and what was broken is told.
        assert place >= len(framed(STREAMED[:-1]))
        assert (
            "checksum" in stream.details["broken_after_the_answer"]
            or "lengths" in stream.details["broken_after_the_answer"]
        )
    else:
        assert type(stream.error) is ServiceUnavailableError
    check_stream(stream)


@given(st.integers(0, len(framed(STREAMED)) - 1))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_missing_end_goes_unnoticed(alien, length):
    flow(alien, framed(STREAMED)[:length])
    stream = alien.client.read(PROMPT)
    if stream.error is None:
        # Only metadata may be missing: what was said is complete.
        assert length >= len(framed(STREAMED[:-1]))
    check_stream(stream)


@given(st.lists(st.binary(max_size=200), max_size=5))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_are_no_stream_are_a_typed_error(alien, pieces):
    flow(alien, *pieces)
    stream = alien.client.read(PROMPT)
    assert type(stream.error) is ServiceUnavailableError
    assert stream.text == ""
    flow(alien, *pieces)
    stream = alien.client.read(PROMPT, model=FORMS["anthropic"])
    assert type(stream.error) is ServiceUnavailableError


@pytest.mark.parametrize("kind", ["text/html", "text/event-stream", "application/json", "application/octet-stream"])
def test_a_stream_of_another_content_type_is_a_typed_error(alien, kind):
    tell(alien, framed(STREAMED), kind=kind)
    error = alien.client.read(PROMPT).error
    assert type(error) is ServiceUnavailableError
    assert error.request_id == "the-request"
    tell(alien, {"message": "No.", "__type": "ThrottlingException"}, kind="application/json")
    assert type(alien.client.read(PROMPT).error).__name__ == "RateLimitError"


@given(
    st.text(max_size=30),
    st.dictionaries(
        st.sampled_from(["message", "Message", "originalStatusCode", "originalMessage"]),
        st.sampled_from(JUNK),
        max_size=3,
    ),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_exception_in_a_stream_is_a_typed_error(alien, name, document):
    messages = [StreamEvent(*STREAMED[6]), StreamException(name, document)]
    flow(alien, b"".join(EventStream().frames(messages)))
    stream = alien.client.read(PROMPT)
    check_typed(stream.error)
    assert stream.text == "Hello"


@pytest.mark.parametrize("model", INVOKED)
def test_any_member_of_a_piece_of_invoke_model_may_be_of_any_form(bedrock, alien, overheard, model):
    pieces = pieces_of(overheard("read", PROMPT, model=model))
    flow(alien, chunked(pieces))
    assert check_stream(alien.client.read(PROMPT, model=model)).text == PROMPT
    for position in sorted({0, 1, 2, len(pieces) // 2, *range(len(pieces) - 3, len(pieces))} & set(range(len(pieces)))):
        for path, junk in mutations(pieces[position]):
            broken = [*pieces[:position], mutated(pieces[position], path, junk), *pieces[position + 1 :]]
            flow(alien, chunked(broken))
            check_stream(alien.client.read(PROMPT, model=model))


def pieces_of(data):
    """Return the documents that the ``chunk`` events in *data* carry."""
    messages = EventStreamDecoder().feed(data)
    return [json.loads(b64decode(json.loads(message.payload)["bytes"])) for message in messages]


def chunked(documents):
    payloads = [b64encode(json.dumps(document).encode()).decode() for document in documents]
    return framed([("chunk", {"bytes": payload}) for payload in payloads])


@pytest.mark.parametrize(
    "junk", [None, 7, "~~~~", "AAAA", [], {}, "", b64encode(b"[1]").decode(), b64encode(b"{").decode()]
)
def test_pieces_that_carry_nothing_are_a_typed_error(alien, junk):
    for document in ({"bytes": junk}, {"other": junk}):
        flow(alien, framed([("chunk", document)]))
        error = alien.client.read(PROMPT, model=FORMS["anthropic"]).error
        assert type(error) is ServiceUnavailableError


@pytest.mark.parametrize("by", ["iam", "key"])
@pytest.mark.parametrize("status", [200, 400, 403, 429, 500])
@pytest.mark.parametrize("form", ["json", "text", "page", "stream"])
def test_a_service_that_repeats_credentials_is_not_quoted(bedrock, by, status, form):
    secret = bedrock.emulator.secret_access_key if by == "iam" else bedrock.emulator.api_key
    told = f"The key '{secret}' is not known here; Authorization: Bearer {secret}"
    service = Service()
    client = bedrock.client(bedrock.provider(by=by), settings={"http": service})
    if form == "stream":
        exception = StreamException("validationException", {"message": told})
        service.answer = Answer(b"".join(EventStream().frames([exception])), EVENTS)
    else:
        body = {"json": json.dumps({"message": told, "__type": secret}), "page": f"<title>{told}</title>", "text": told}
        service.answer = Answer(body[form].encode(), JSON if form == "json" else "text/html", status)
    error = client.read(PROMPT).error
    facts = [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
    assert not [fact for fact in facts if secret in fact]
    assert not [event for event in client.events if secret in repr(event)]


# -- the control plane -------------------------------------------------------------------------------------------------

LISTS = {
    "modelSummaries": [
        {
            "modelArn": "arn:aws:bedrock:us-east-1::foundation-model/acme.new-model-v1:0",
            "modelId": "acme.new-model-v1:0",
            "modelName": "New",
            "providerName": "Acme",
            "inputModalities": ["TEXT", "IMAGE"],
            "outputModalities": ["TEXT"],
            "responseStreamingSupported": True,
            "inferenceTypesSupported": ["ON_DEMAND"],
            "modelLifecycle": {"status": "ACTIVE"},
        }
    ],
    "inferenceProfileSummaries": [
        {
            "inferenceProfileId": "us.acme.new-model-v1:0",
            "inferenceProfileArn": "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/p",
            "inferenceProfileName": "US New",
            "type": "SYSTEM_DEFINED",
            "status": "ACTIVE",
            "models": [{"modelArn": "arn:aws:bedrock:us-east-1::foundation-model/acme.new-model-v1:0"}],
        }
    ],
}


# A list that cannot be read is told by a warning.
@pytest.mark.filterwarnings("ignore::apex_llm_core.errors.ConfigurationWarning")
def test_any_member_of_a_list_of_models_may_be_of_any_form(alien):
    tell(alien, LISTS)
    assert {"acme.new-model-v1:0", "us.acme.new-model-v1:0"} <= {model.id for model in alien.client.models()}
    for path, junk in mutations(LISTS):
        tell(alien, mutated(LISTS, path, junk))
        listed = {model.id for model in alien.client.models()}
        # What is configured is there in any case.
        assert set(ALL) <= listed, (path, junk)
        for model in alien.client.models():
            assert model.capabilities is None or all(isinstance(word, str) for word in model.capabilities)
            assert model.description is None or isinstance(model.description, str)


@pytest.mark.parametrize("junk", [*JUNK, {"modelSummaries": 7}, {"modelSummaries": None}, {"summaries": []}])
def test_junk_in_place_of_a_list_is_told_by_health(alien, junk):
    for kind in (JSON, "text/html"):
        tell(alien, junk, kind=kind)
        status = alien.client.health()["bedrock"]
        assert (status.status, bool(status.message)) == (HealthState.UNAVAILABLE, True)


def test_a_list_without_an_end_has_one_here(alien):
    tell(alien, {**LISTS, "nextToken": "again"})
    assert "acme.new-model-v1:0" in {model.id for model in alien.client.models()}
    assert alien.service.seen < 500


def test_any_answer_about_a_profile_leaves_its_model_usable(alien, bedrock):
    profile = {
        "inferenceProfileArn": PROFILE,
        "models": [{"modelArn": "arn:aws:bedrock:us-east-1::foundation-model/x"}],
    }

    class Halfway(AiohttpClient):
        """Answers questions about the profile, and lets everything else pass."""

        async def send(self, method, url, **more):
            return said if method == "GET" else await super().send(method, url, **more)

    for path, junk in mutations(profile):
        said = Answer(json.dumps(mutated(profile, path, junk)).encode())
        http = Halfway()
        with bedrock.unopened(models=[PROFILE], settings={"http": http}) as client:
            assert client.chat(PROMPT, model=PROFILE).message.text == PROMPT, (path, junk)
        bedrock.run(http.close())


@pytest.mark.parametrize("junk", [*JUNK, {"inputTokens": "7"}, {"inputTokens": None}, {"inputTokens": 1.5}])
def test_counts_that_are_none_are_a_typed_error(alien, junk):
    tell(alien, junk)
    refused(ServiceUnavailableError, alien.client.count, PROMPT)
