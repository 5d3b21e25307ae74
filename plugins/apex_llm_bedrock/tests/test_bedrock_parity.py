"""AWS's own client and ours, asked the same at the same Bedrock, send the same and say the same."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections import defaultdict
from contextlib import closing
from typing import Any, NamedTuple

import attrs
import pytest

from apex_llm_core.models import (
    CacheHintPart,
    ChatMessage,
    DocumentPart,
    FunctionChoice,
    FunctionDefinition,
    ImagePart,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

pytest.importorskip("boto3")

CLAUDE, CLAUDE_45 = "us.anthropic.claude-sonnet-4-20250514-v1:0", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU, NOVA, LLAMA = (
    "anthropic.claude-3-haiku-20240307-v1:0",
    "amazon.nova-lite-v1:0",
    "meta.llama3-70b-instruct-v1:0",
)
#: One pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = b64encode(b"%PDF-1.7 a report").decode()
#: The words by which Anthropic shows anybody what redacted reasoning looks like.
REDACTION = (
    "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_46C9A13E193C177646C7398A98432ECCCE4C1253D5E2D82641AC0E52CC2876CB"
)
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
GUARDRAIL = {"guardrail_identifier": "emulated", "guardrail_version": "1", "guardrail_trace": "enabled"}
#: The service's words for why an answer ended, in ours.
REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "guardrail_intervened": "content_filter",
}


def user(*blocks):
    return [{"role": "user", "content": [{"text": block} if isinstance(block, str) else block for block in blocks]}]


def ours_of(name):
    return FunctionDefinition(name=name, description="Look it up.", parameters=PARAMETERS)


def theirs_of(*names, **choice):
    specs = [
        {"toolSpec": {"name": name, "description": "Look it up.", "inputSchema": {"json": PARAMETERS}}}
        for name in names
    ]
    return {"toolConfig": {"tools": specs, **choice}}


@attrs.frozen(kw_only=True)
class Request:
    """One request in both spellings, and what of the answer shows that it was understood."""

    model: str = NOVA
    prompt: Any
    options: dict[str, Any] = attrs.Factory(dict)
    settings: dict[str, Any] = attrs.Factory(dict)
    messages: Any = attrs.field()
    arguments: dict[str, Any] = attrs.Factory(dict)
    finish: str = "stop"
    #: Kinds of the blocks of the answer.
    kinds: tuple[str, ...] = ("text",)
    #: Members that are told beside the answer.
    told: tuple[str, ...] = ()

    @messages.default
    def _said(self):
        return user(self.prompt)


SYSTEM = [{"role": "system", "content": "Be brief."}]
TOOLS = {"tools": [ours_of("get_weather"), ours_of("get_time")]}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
REQUESTS = {
    "text": Request(prompt="Hello there, this is a longer text."),
    "not ascii": Request(prompt="Grüß Gott, 你好 👋"),
    "a profile": Request(model=CLAUDE, prompt="Hello there"),
    "several turns": Request(
        prompt=[
            {"role": "user", "content": "First"},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "Second"},
        ],
        messages=[*user("First"), {"role": "assistant", "content": [{"text": "Yes?"}]}, *user("Second")],
    ),
    "system": Request(
        model=CLAUDE,
        prompt=[*SYSTEM, {"role": "user", "content": "Hello"}],
        messages=user("Hello"),
        arguments={"system": [{"text": "Be brief."}]},
    ),
    "sampling": Request(
        prompt="Hello",
        options={"temperature": 0.2, "top_p": 0.5},
        arguments={"inferenceConfig": {"temperature": 0.2, "topP": 0.5}},
    ),
    "cut": Request(
        prompt="A text of more than four tokens, certainly.",
        options={"max_tokens": 4},
        arguments={"inferenceConfig": {"maxTokens": 4}},
        finish="length",
    ),
    "stopped": Request(
        prompt="One, two, three",
        options={"stop": [", three", "###"]},
        arguments={"inferenceConfig": {"stopSequences": [", three", "###"]}},
    ),
    "one tool": Request(
        prompt="get_weather",
        options={"tools": [ours_of("get_weather")]},
        arguments=theirs_of("get_weather"),
        finish="tool_calls",
        kinds=("tool",),
    ),
    "parallel tools": Request(
        model=CLAUDE,
        prompt="get_weather and get_time, please",
        options=TOOLS,
        arguments=theirs_of("get_weather", "get_time"),
        finish="tool_calls",
        kinds=("tool", "tool"),
    ),
    "a tool is chosen": Request(
        model=CLAUDE,
        prompt="Hello",
        options={**TOOLS, "tool_choice": FunctionChoice(name="get_time")},
        arguments=theirs_of("get_weather", "get_time", toolChoice={"tool": {"name": "get_time"}}),
        finish="tool_calls",
        kinds=("tool",),
    ),
    "any tool": Request(
        model=CLAUDE,
        prompt="Hello",
        options={**TOOLS, "tool_choice": "required"},
        arguments=theirs_of("get_weather", "get_time", toolChoice={"any": {}}),
        finish="tool_calls",
        kinds=("tool",),
    ),
    "one tool at a time": Request(
        model=CLAUDE,
        prompt="get_weather and get_time, please",
        options={**TOOLS, "parallel_tool_calls": False},
        arguments={
            **theirs_of("get_weather", "get_time"),
            "additionalModelRequestFields": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        },
        finish="tool_calls",
        kinds=("tool",),
    ),
    "results of tools": Request(
        model=CLAUDE,
        prompt=[
            {"role": "user", "content": "get_weather and get_time"},
            ChatMessage(
                role="assistant",
                content=[
                    ToolCallPart(id="one", name="get_weather", arguments='{"city": "Bonn"}'),
                    ToolCallPart(id="two", name="get_time", arguments='{"city": "Bonn"}'),
                ],
            ),
            ChatMessage(
                role="tool",
                content=[
                    ToolResultPart(tool_call_id="one", content="Sunny."),
                    ToolResultPart(tool_call_id="two", content="No clock.", is_error=True),
                ],
            ),
        ],
        options=TOOLS,
        messages=[
            *user("get_weather and get_time"),
            {
                "role": "assistant",
                "content": [
                    {"toolUse": {"toolUseId": "one", "name": "get_weather", "input": {"city": "Bonn"}}},
                    {"toolUse": {"toolUseId": "two", "name": "get_time", "input": {"city": "Bonn"}}},
                ],
            },
            *user(
                {"toolResult": {"toolUseId": "one", "content": [{"text": "Sunny."}]}},
                {"toolResult": {"toolUseId": "two", "content": [{"text": "No clock."}], "status": "error"}},
            ),
        ],
        arguments=theirs_of("get_weather", "get_time"),
    ),
    "a picture": Request(
        prompt=[
            ChatMessage(
                role="user", content=[TextPart(text="What is this?"), ImagePart(data=PNG, media_type="image/png")]
            )
        ],
        messages=user("What is this?", {"image": {"format": "png", "source": {"bytes": b64decode(PNG)}}}),
    ),
    "documents": Request(
        model=CLAUDE,
        prompt=[
            ChatMessage(
                role="user",
                content=[
                    TextPart(text="Read these."),
                    DocumentPart(data=PDF, media_type="application/pdf", name="The report.pdf"),
                    DocumentPart(text="Some notes.", name="notes"),
                ],
            )
        ],
        messages=user(
            "Read these.",
            {"document": {"format": "pdf", "name": "The report", "source": {"bytes": b64decode(PDF)}}},
            {"document": {"format": "txt", "name": "notes", "source": {"bytes": b"Some notes."}}},
        ),
    ),
    "reasoning": Request(
        model=CLAUDE,
        prompt="How many?",
        options={"reasoning_effort": "low", "max_tokens": 9000},
        arguments={"additionalModelRequestFields": THINKING, "inferenceConfig": {"maxTokens": 9000}},
        kinds=("reasoning", "text"),
    ),
    "redacted reasoning": Request(
        model=CLAUDE,
        prompt=REDACTION,
        options={"reasoning_effort": "low", "max_tokens": 9000},
        arguments={"additionalModelRequestFields": THINKING, "inferenceConfig": {"maxTokens": 9000}},
        kinds=("redacted", "text"),
    ),
    "reasoning without a signature": Request(
        model="openai.gpt-oss-20b-1:0",
        prompt="How many?",
        options={"reasoning_effort": "low"},
        arguments={"additionalModelRequestFields": {"reasoning_effort": "low"}},
        kinds=("reasoning", "text"),
    ),
    "a guardrail that traces": Request(
        prompt="Hello there",
        settings={**GUARDRAIL, "guardrail_trace": "enabled_full"},
        arguments={
            "guardrailConfig": {
                "guardrailIdentifier": "emulated",
                "guardrailVersion": "1",
                "trace": "enabled_full",
            }
        },
        told=("trace",),
    ),
    "a guardrail that blocks": Request(
        prompt="This is forbidden.",
        settings=GUARDRAIL,
        arguments={"guardrailConfig": {"guardrailIdentifier": "emulated", "guardrailVersion": "1", "trace": "enabled"}},
        finish="content_filter",
        told=("trace",),
    ),
    "json schema": Request(
        model=CLAUDE_45,
        prompt="The weather as JSON",
        options={"response_format": ResponseFormat(type="json_schema", name="weather", schema=PARAMETERS)},
        arguments={
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {
                        "jsonSchema": {"schema": json.dumps(PARAMETERS, separators=(",", ":")), "name": "weather"}
                    },
                }
            }
        },
    ),
    "service tier": Request(
        prompt="Hello there",
        settings={"service_tier": "priority"},
        arguments={"serviceTier": {"type": "priority"}},
        told=("serviceTier",),
    ),
    "latency": Request(
        prompt="Hello there",
        settings={"latency": "optimized"},
        arguments={"performanceConfig": {"latency": "optimized"}},
        told=("performanceConfig",),
    ),
    "metadata": Request(
        prompt="Hello there",
        options={"user": "ada"},
        settings={"request_metadata": {"team": "search"}},
        arguments={"requestMetadata": {"team": "search", "user": "ada"}},
    ),
    "the model's own": Request(
        model=CLAUDE,
        prompt="One, two, three",
        options={
            "stop": [", three"],
            "extra": {"top_k": 5, "additional_model_response_field_paths": ["/stop_sequence"]},
        },
        arguments={
            "inferenceConfig": {"stopSequences": [", three"]},
            "additionalModelRequestFields": {"top_k": 5},
            "additionalModelResponseFieldPaths": ["/stop_sequence"],
        },
        told=("additionalModelResponseFields",),
    ),
}
#: Ours by theirs.
DETAILS = {
    "trace": "trace",
    "serviceTier": "service_tier",
    "performanceConfig": "performance_config",
    "additionalModelResponseFields": "additional_model_response_fields",
}


class Answer(NamedTuple):
    """An answer, however it came."""

    #: Kind and what it holds, in order.
    blocks: list[tuple[Any, ...]]
    finish_reason: str
    #: Input with and without the cache, output, total.
    usage: dict[str, int]
    told: dict[str, Any]
    latency: int


def our_usage(usage):
    return {
        "input": usage.prompt_tokens,
        "read": usage.cached_tokens,
        "written": usage.cache_write_tokens,
        "output": usage.completion_tokens,
        "total": usage.total_tokens,
    }


def their_usage(usage):
    read, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    return {
        "input": usage["inputTokens"] + read + written,
        "read": read,
        "written": written,
        "output": usage["outputTokens"],
        "total": usage["totalTokens"],
    }


def our_blocks(parts):
    for part in parts:
        if isinstance(part, TextPart):
            yield "text", part.text
        elif isinstance(part, ToolCallPart):
            yield "tool", part.id, part.name, json.loads(part.arguments)
        elif isinstance(part, ReasoningPart):
            yield ("redacted", part.data) if part.data else ("reasoning", part.text, part.signature)


def their_blocks(content):
    for block in content:
        if "text" in block:
            yield "text", block["text"]
        elif "toolUse" in block:
            use = block["toolUse"]
            yield "tool", use["toolUseId"], use["name"], use["input"]
        else:
            thought = block["reasoningContent"]
            if "redactedContent" in thought:
                yield "redacted", b64encode(thought["redactedContent"]).decode()
            else:
                words = thought["reasoningText"]
                yield "reasoning", words["text"], words.get("signature")


def our_answer(client, asked):
    result = client.chat(asked.prompt, model=asked.model, **asked.options)
    content = result.message.content
    parts = [TextPart(text=content)] if isinstance(content, str) else content
    details = dict(result.details)
    told = {name: details[ours] for name, ours in DETAILS.items() if ours in details}
    return Answer(list(our_blocks(parts)), result.finish_reason, our_usage(result.usage), told, details["latency_ms"])


def our_stream(client, asked):
    stream = client.stream(asked.prompt, model=asked.model, **asked.options)
    [choice] = stream.whole.choices
    parts = [*choice.reasoning_parts, *([TextPart(text=choice.text)] if choice.text else []), *choice.tool_calls]
    told = {name: stream.details[ours] for name, ours in DETAILS.items() if ours in stream.details}
    return Answer(
        list(our_blocks(parts)),
        choice.finish_reason,
        our_usage(stream.whole.usage),
        told,
        stream.details["latency_ms"],
    )


def told_by(*documents):
    return {name: document[name] for document in documents for name in DETAILS if name in document}


def their_answer(bedrock, client, asked):
    said = bedrock.blocking(client.converse, modelId=asked.model, messages=asked.messages, **asked.arguments)
    return Answer(
        list(their_blocks(said["output"]["message"]["content"])),
        REASONS[said["stopReason"]],
        their_usage(said["usage"]),
        told_by(said),
        said["metrics"]["latencyMs"],
    )


def their_stream(bedrock, client, asked):
    def read():
        stream = client.converse_stream(modelId=asked.model, messages=asked.messages, **asked.arguments)["stream"]
        with closing(stream):
            return list(stream)

    events = bedrock.blocking(read)
    blocks = defaultdict(dict)
    for event in events:
        [(name, said)] = event.items()
        if name == "contentBlockStart":
            blocks[said["contentBlockIndex"]] = {"toolUse": {**said["start"]["toolUse"], "input": ""}}
        elif name == "contentBlockDelta":
            _add(blocks[said["contentBlockIndex"]], said["delta"])
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"])
    [stop] = [event["messageStop"] for event in events if "messageStop" in event]
    [metadata] = [event["metadata"] for event in events if "metadata" in event]
    return Answer(
        list(their_blocks(block for _, block in sorted(blocks.items()))),
        REASONS[stop["stopReason"]],
        their_usage(metadata["usage"]),
        told_by(stop, metadata),
        metadata["metrics"]["latencyMs"],
    )


def _add(block, delta):
    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    elif "toolUse" in delta:
        block["toolUse"]["input"] += delta["toolUse"]["input"]
    elif "redactedContent" in delta["reasoningContent"]:
        block["reasoningContent"] = delta["reasoningContent"]
    else:
        words = block.setdefault("reasoningContent", {}).setdefault("reasoningText", {"text": ""})
        words["text"] += delta["reasoningContent"].get("text", "")
        if "signature" in delta["reasoningContent"]:
            words["signature"] = delta["reasoningContent"]["signature"]


@pytest.fixture(scope="module")
def official(account):
    return account.official()


@pytest.fixture
def opened_for(bedrock):
    """Open our client with the settings of a request."""

    def opened_for(**settings):
        models = (CLAUDE, CLAUDE_45, HAIKU, NOVA, LLAMA, "openai.gpt-oss-20b-1:0")
        return bedrock.client(models=models, options=settings)

    return opened_for


def check_same_request(bedrock):
    """See that the last two requests are the same but for who signed them."""
    ours, theirs = bedrock.journal[-2:]
    assert ours.body == theirs.body
    assert (ours.method, ours.path, ours.query) == (theirs.method, theirs.path, theirs.query)
    assert ours.headers["content-type"] == theirs.headers["content-type"] == "application/json"


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_are_the_same(bedrock, official, opened_for, name):
    asked = REQUESTS[name]
    answer = our_answer(opened_for(**asked.settings), asked)
    assert answer == their_answer(bedrock, official, asked)
    check_same_request(bedrock)
    assert tuple(kind for kind, *_ in answer.blocks) == asked.kinds
    assert (answer.finish_reason, tuple(answer.told)) == (asked.finish, asked.told)


@pytest.mark.parametrize("name", REQUESTS)
def test_streams_are_the_same(bedrock, official, opened_for, name):
    asked = REQUESTS[name]
    answer = our_stream(opened_for(**asked.settings), asked)
    assert answer == their_stream(bedrock, official, asked)
    check_same_request(bedrock)
    assert tuple(kind for kind, *_ in answer.blocks) == asked.kinds
    assert (answer.finish_reason, tuple(answer.told)) == (asked.finish, asked.told)


def test_the_requests_show_what_they_are_about(bedrock, official):
    answers = {
        name: their_answer(bedrock, official, REQUESTS[name])
        for name in ("cut", "stopped", "json schema", "reasoning", "parallel tools", "the model's own")
    }
    assert answers["cut"].usage["output"] == 4
    assert answers["stopped"].blocks == [("text", "One, two")]
    assert json.loads(answers["json schema"].blocks[0][1]).keys() == {"city"}
    assert all(answers["reasoning"].blocks[0][1:])
    assert [call[2] for call in answers["parallel tools"].blocks] == ["get_weather", "get_time"]
    assert answers["the model's own"].told == {"additionalModelResponseFields": {"stop_sequence": ", three"}}


def test_a_schema_where_the_model_has_none_is_a_tool_that_must_be_called(bedrock, official, opened_for):
    wish = ResponseFormat(type="json_schema", name="weather", schema=PARAMETERS)
    client = opened_for()
    stream = client.stream("The weather as JSON", model=NOVA, response_format=wish)
    result = client.chat("The weather as JSON", model=NOVA, response_format=wish)
    [config] = {json.dumps(body["toolConfig"]) for body in bedrock.bodies}
    arguments = {"toolConfig": json.loads(config)}
    asked = Request(prompt="The weather as JSON", arguments=arguments)
    answer = their_answer(bedrock, official, asked)
    check_same_request(bedrock)
    [(_, _, _, said)] = answer.blocks
    assert json.loads(result.message.text) == json.loads(stream.text) == said
    assert (answer.finish_reason, result.finish_reason, stream.finish_reason) == ("tool_calls", "stop", "stop")
    assert our_usage(result.usage) == our_usage(stream.whole.usage) == answer.usage


def test_hints_for_the_cache_are_cache_points(opened):
    long = "A sentence that is worth keeping. " * 300
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    prompt = [
        ChatMessage(role="system", content=[TextPart(text=long), CacheHintPart(ttl="1h")]),
        ChatMessage(role="user", content=[TextPart(text=long), CacheHintPart(), TextPart(text="Sum it up.")]),
    ]
    asked = Request(
        model=CLAUDE_45,
        prompt=prompt,
        messages=user(long, {"cachePoint": {"type": "default"}}, "Sum it up."),
        arguments={"system": [{"text": long}, point]},
    )
    # Whoever comes first fills the cache: each has a service of its own.
    with opened() as one, opened() as other:
        client = one.client(models=(CLAUDE_45,))
        official = other.official()
        ours = [our_answer(client, asked), our_stream(client, asked), our_answer(client, asked)]
        theirs = [
            their_answer(other, official, asked),
            their_stream(other, official, asked),
            their_answer(other, official, asked),
        ]
        assert ours == theirs
        assert one.bodies == other.bodies
        assert [(answer.usage["written"] > 0, answer.usage["read"] > 0) for answer in ours] == [
            (True, False),
            (False, True),
            (False, True),
        ]
        details = client.chat(prompt, model=CLAUDE_45, user="ada").details
        assert "cache_details" not in details
        with opened() as third:
            first = third.client(models=(CLAUDE_45,)).chat(prompt, model=CLAUDE_45)
            assert [entry["ttl"] for entry in first.details["cache_details"]] == ["1h", "5m"]


def test_reasoning_and_its_tool_calls_go_back_as_they_came(bedrock, official, opened_for):
    client = opened_for()
    options = {"model": CLAUDE, "tools": [ours_of("get_weather")], "reasoning_effort": "low", "max_tokens": 9000}
    asked = [{"role": "user", "content": f"get_weather {REDACTION}"}]
    for prompt in ([{"role": "user", "content": "get_weather"}], asked):
        called = client.chat(prompt, **options).message
        [call] = called.tool_calls
        results = ChatMessage(role="tool", content=[ToolResultPart(tool_call_id=call.id, content="Sunny.")])
        answer = client.chat([*prompt, called, results], **options)
        # What boto3 would send with the blocks that it got.
        said = bedrock.blocking(
            official.converse,
            modelId=CLAUDE,
            messages=user(prompt[0]["content"]),
            **theirs_of("get_weather"),
            additionalModelRequestFields=THINKING,
            inferenceConfig={"maxTokens": 9000},
        )
        [_, use] = said["output"]["message"]["content"]
        result = {"toolUseId": use["toolUse"]["toolUseId"], "content": [{"text": "Sunny."}]}
        their = bedrock.blocking(
            official.converse,
            modelId=CLAUDE,
            messages=[*user(prompt[0]["content"]), said["output"]["message"], *user({"toolResult": result})],
            **theirs_of("get_weather"),
            additionalModelRequestFields=THINKING,
            inferenceConfig={"maxTokens": 9000},
        )
        assert bedrock.bodies[-3] == bedrock.bodies[-1]
        assert answer.message.text == their["output"]["message"]["content"][-1]["text"]


# -- without Converse --------------------------------------------------------------------------------------------------


#: boto3 leaves both out, or accepts anything.
AS_JSON = {"contentType": "application/json", "accept": "application/json"}


def invoked(bedrock, official, model, body, **more):
    said = bedrock.blocking(official.invoke_model, modelId=model, body=json.dumps(body), **AS_JSON, **more)
    return json.loads(said["body"].read()), said["ResponseMetadata"]["HTTPHeaders"]


#: What is asked of a model by InvokeModel, what boto3 sends, and where the answer and its tokens stand.
INVOKED = {
    HAIKU: (
        "anthropic",
        {"messages": user({"type": "text", "text": "Hello there"}), "max_tokens": 50},
        lambda body: "".join(block["text"] for block in body["content"]),
    ),
    LLAMA: ("llama", {"max_gen_len": 50}, lambda body: body["generation"]),
    "amazon.titan-text-express-v1": ("titan", {}, lambda body: body["results"][0]["outputText"]),
    "mistral.mistral-7b-instruct-v0:2": ("mistral", {"max_tokens": 50}, lambda body: body["outputs"][0]["text"]),
}


@pytest.mark.parametrize("model", INVOKED)
def test_invoked_text_is_the_same(bedrock, official, model):
    form, expected, text_of = INVOKED[model]
    client = bedrock.client(models=(model,), options={"invoke": {model: form}})
    result = client.chat("Hello there", model=model, max_tokens=50)
    sent = bedrock.bodies[-1]
    assert expected.items() <= sent.items()
    document, headers = invoked(bedrock, official, model, sent)
    check_same_request(bedrock)
    assert result.message.text == text_of(document)
    assert result.usage.prompt_tokens == int(headers["x-amzn-bedrock-input-token-count"])
    assert result.usage.completion_tokens == int(headers["x-amzn-bedrock-output-token-count"])


@pytest.mark.parametrize("model", INVOKED)
def test_invoked_streams_are_the_same(bedrock, official, model):
    form, *_ = INVOKED[model]
    client = bedrock.client(models=(model,), options={"invoke": {model: form}})
    stream = client.stream("Hello there", model=model, max_tokens=50)

    def read():
        said = official.invoke_model_with_response_stream(modelId=model, body=json.dumps(bedrock.bodies[0]), **AS_JSON)
        return [json.loads(event["chunk"]["bytes"]) for event in said["body"]]

    documents = bedrock.blocking(read)
    check_same_request(bedrock)
    metrics = documents[-1]["amazon-bedrock-invocationMetrics"]
    assert stream.text == client.chat("Hello there", model=model, max_tokens=50).message.text
    assert stream.whole.usage.prompt_tokens == metrics["inputTokenCount"]
    assert stream.whole.usage.completion_tokens == metrics["outputTokenCount"]


def test_headers_of_invoked_models_are_the_same(bedrock, official):
    options = {
        **GUARDRAIL,
        "invoke": {HAIKU: "anthropic"},
        "service_tier": "flex",
        "latency": "optimized",
        "request_metadata": {"team": "search"},
    }
    client = bedrock.client(models=(HAIKU,), options=options)
    client.chat("Hello there", model=HAIKU, max_tokens=50)
    more = {
        "guardrailIdentifier": "emulated",
        "guardrailVersion": "1",
        "trace": "ENABLED",
        "serviceTier": "flex",
        "performanceConfigLatency": "optimized",
    }
    bedrock.blocking(official.invoke_model, modelId=HAIKU, body=json.dumps(bedrock.bodies[-1]), **more)
    client.stream("Hello there", model=HAIKU, max_tokens=50)
    stream = official.invoke_model_with_response_stream
    bedrock.blocking(stream, modelId=HAIKU, body=json.dumps(bedrock.bodies[-1]), accept="application/json", **more)[
        "body"
    ].close()

    def special(received):
        return {name: value for name, value in received.headers.items() if name.startswith("x-amzn-bedrock-")}

    ours, theirs, our_stream, their_stream = map(special, bedrock.journal)
    # This version of boto3 has no argument for it.
    assert json.loads(ours.pop("x-amzn-bedrock-request-metadata")) == {"team": "search"}
    del our_stream["x-amzn-bedrock-request-metadata"]
    assert (ours, our_stream) == (theirs, their_stream)
    assert (len(ours), our_stream["x-amzn-bedrock-accept"]) == (5, "application/json")


# -- embeddings, images, counts, models --------------------------------------------------------------------------------

TEXTS = ["a quiet harbour", "Zürich"]
#: By model: options, the bodies that boto3 sends, and where vectors stand.
EMBEDDINGS = {
    "amazon.titan-embed-text-v1": ({}, [{"inputText": text} for text in TEXTS], lambda body: [body["embedding"]]),
    "amazon.titan-embed-text-v2:0": (
        {"dimensions": 256},
        [{"inputText": text, "dimensions": 256} for text in TEXTS],
        lambda body: [body["embedding"]],
    ),
    "amazon.titan-embed-image-v1": (
        {"dimensions": 384},
        [{"inputText": text, "embeddingConfig": {"outputEmbeddingLength": 384}} for text in TEXTS],
        lambda body: [body["embedding"]],
    ),
    "cohere.embed-english-v3": (
        {"extra": {"input_type": "search_query"}},
        [{"texts": TEXTS, "input_type": "search_query"}],
        lambda body: body["embeddings"],
    ),
    "cohere.embed-multilingual-v3": (
        {"extra": {"embedding_types": ["int8"]}},
        [{"texts": TEXTS, "input_type": "search_document", "embedding_types": ["int8"]}],
        lambda body: body["embeddings"]["int8"],
    ),
    "us.cohere.embed-v4:0": (
        {"dimensions": 512},
        [{"texts": TEXTS, "input_type": "search_document", "output_dimension": 512}],
        lambda body: body["embeddings"],
    ),
    "amazon.nova-2-multimodal-embeddings-v1:0": (
        {"dimensions": 256},
        [
            {
                "schemaVersion": "nova-multimodal-embed-v1",
                "taskType": "SINGLE_EMBEDDING",
                "singleEmbeddingParams": {
                    "embeddingPurpose": "GENERIC_INDEX",
                    "text": {"truncationMode": "NONE", "value": text},
                    "embeddingDimension": 256,
                },
            }
            for text in TEXTS
        ],
        lambda body: [entry["embedding"] for entry in body["embeddings"]],
    ),
}


@pytest.mark.parametrize("model", EMBEDDINGS)
def test_embeddings_are_the_same(bedrock, official, model):
    options, bodies, vectors_of = EMBEDDINGS[model]
    client = bedrock.client(models=(model,), options={"embedding_concurrency": 1})
    ours = client.embed(TEXTS, model=model, **options)
    sent = bedrock.bodies
    theirs = [invoked(bedrock, official, model, body) for body in bodies]
    assert sent == bodies == bedrock.bodies[len(sent) :]
    assert [list(vector) for vector in ours.embeddings] == [vector for body, _ in theirs for vector in vectors_of(body)]
    counts = [int(headers["x-amzn-bedrock-input-token-count"]) for _, headers in theirs]
    assert ours.usage.prompt_tokens == sum(counts) > 0


CANVAS = {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a lighthouse"}}
#: By model: options of ours, and the bodies that boto3 sends.
IMAGES = {
    "amazon.nova-canvas-v1:0": (
        {"n": 2, "size": "512x320", "quality": "high", "seed": 7},
        [
            {
                **CANVAS,
                "imageGenerationConfig": {
                    "width": 512,
                    "height": 320,
                    "quality": "premium",
                    "seed": 7,
                    "numberOfImages": 2,
                },
            }
        ],
    ),
    "amazon.titan-image-generator-v2:0": (
        {"size": "512x512", "extra": {"negativeText": "fog", "cfgScale": 5}},
        [
            {
                "taskType": "TEXT_IMAGE",
                "textToImageParams": {"text": "a lighthouse", "negativeText": "fog"},
                "imageGenerationConfig": {"width": 512, "height": 512, "cfgScale": 5},
            }
        ],
    ),
    "stability.sd3-5-large-v1:0": (
        {"n": 2, "size": "1024x1024", "seed": 7},
        [{"prompt": "a lighthouse", "aspect_ratio": "1:1", "seed": seed} for seed in (7, 8)],
    ),
    "stability.stable-image-core-v1:1": ({"seed": 7}, [{"prompt": "a lighthouse", "seed": 7}]),
    "stability.stable-image-ultra-v1:1": (
        {"seed": 7, "extra": {"negative_prompt": "fog"}},
        [{"prompt": "a lighthouse", "negative_prompt": "fog", "seed": 7}],
    ),
}


@pytest.mark.parametrize("model", IMAGES)
def test_images_are_the_same(bedrock, official, model):
    options, bodies = IMAGES[model]
    client = bedrock.client(models=(model,), options={"embedding_concurrency": 1})
    ours = client.image("a lighthouse", model=model, **options)
    sent = bedrock.bodies
    theirs = [invoked(bedrock, official, model, body)[0] for body in bodies]
    assert sent == bodies
    assert list(ours.images) == [image for body in theirs for image in body["images"]]
    seeds = [seed for body in theirs for seed in body.get("seeds", ())]
    assert ((ours.details or {}).get("seeds") or []) == seeds


def test_changed_images_are_the_same(bedrock, official):
    client = bedrock.client()
    picture = client.image("a cat", size="320x320").images[0]
    image = ImagePart(data=picture, media_type="image/png")
    ours = client.image("a dog", images=[image])
    body = {"taskType": "IMAGE_VARIATION", "imageVariationParams": {"text": "a dog", "images": [picture]}}
    assert bedrock.bodies[-1] == body
    document, _ = invoked(bedrock, official, "amazon.nova-canvas-v1:0", body)
    assert list(ours.images) == document["images"]
    assert ours.images[0] != picture


@pytest.mark.parametrize("name", ["text", "system", "results of tools", "a picture", "reasoning"])
def test_counts_of_tokens_are_the_same(bedrock, official, opened_for, name):
    asked = REQUESTS[name]
    counted = opened_for().count(asked.prompt, model=CLAUDE, **asked.options)
    # The operation knows no limits of the answer.
    arguments = {name: value for name, value in asked.arguments.items() if name != "inferenceConfig"}
    wanted = {"messages": asked.messages, **arguments}
    # The operation knows no profiles.
    foundation = CLAUDE.removeprefix("us.")
    theirs = bedrock.blocking(official.count_tokens, modelId=foundation, input={"converse": wanted})
    check_same_request(bedrock)
    assert (counted.prompt_tokens, counted.estimated) == (theirs["inputTokens"], False)


def test_lists_are_the_same(bedrock):
    control = bedrock.official("bedrock")
    listed = {model.id for model in bedrock.client().models()}
    summaries = bedrock.blocking(control.list_foundation_models)["modelSummaries"]
    on_demand = {each["modelId"] for each in summaries if "ON_DEMAND" in each["inferenceTypesSupported"]}

    def profiles(kind, name):
        pages = control.get_paginator("list_inference_profiles").paginate(typeEquals=kind)
        return {profile[name] for page in pages for profile in page["inferenceProfileSummaries"]}

    system = bedrock.blocking(profiles, kind="SYSTEM_DEFINED", name="inferenceProfileId")
    applications = bedrock.blocking(profiles, kind="APPLICATION", name="inferenceProfileArn")
    assert listed - {CLAUDE} == (on_demand | system | applications) - {CLAUDE}
    assert min(map(len, (on_demand, system, applications))) > 2


def test_both_are_served_at_the_same_time(bedrock, official):
    client = bedrock.client()

    async def ask(number):
        prompt = f"number {number}"
        theirs = await asyncio.to_thread(official.converse, modelId=NOVA, messages=user(prompt))
        ours = await client.manager.generate_chat(prompt, model=NOVA)
        return theirs["output"]["message"]["content"][0]["text"] == ours.message.text == prompt

    async def ask_all():
        return await asyncio.gather(*map(ask, range(20)))

    assert all(bedrock.run(ask_all()))
