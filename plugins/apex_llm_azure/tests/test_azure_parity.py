"""The official client and ours, asked the same at the same resource, say the same."""

from __future__ import annotations

import asyncio
import json
from array import array
from base64 import b64decode
from collections import defaultdict
from io import BytesIO
from typing import NamedTuple

import pytest
from apex_llm_mock.emulation import FAULTS
from apex_llm_mock.emulation.fault_forms import InsteadFault

from apex_llm_core.errors import (
    AuthenticationError,
    AuthorizationError,
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
from apex_llm_core.models import FunctionChoice, FunctionDefinition, ImagePart, ResponseFormat, TextPart

openai = pytest.importorskip("openai")

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
#: One pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def user(content):
    return [{"role": "user", "content": content}]


def ours_of(name):
    return FunctionDefinition(name=name, description="Look it up.", parameters=PARAMETERS)


def theirs_of(name):
    function = {"name": name, "description": "Look it up.", "parameters": PARAMETERS}
    return {"type": "function", "function": function}


#: What both are asked: the options they spell alike, then those of ours, then those of theirs.
REQUESTS = {
    "plain": ("Hello there, this is a longer text.", {}, {}, {}),
    "not ascii": ("Grüß Gott, 你好 👋", {}, {}, {}),
    "conversation": (
        [
            {"role": "system", "content": "Be brief."},
            *user("First"),
            {"role": "assistant", "content": "Yes?"},
            *user("Second"),
        ],
        {},
        {},
        {},
    ),
    "three choices": ("Choose", {"n": 3}, {}, {}),
    "sampling": (
        "Hello",
        {"temperature": 0.2, "top_p": 0.5, "presence_penalty": 0.1, "frequency_penalty": 0.1, "seed": 7, "user": "ada"},
        {},
        {},
    ),
    "cut": ("A text of more than four tokens, certainly.", {"max_tokens": 4}, {}, {}),
    "stopped": ("One, two, three", {"stop": [", three", "###"]}, {}, {}),
    "log probabilities": ("Hello there", {"logprobs": True, "top_logprobs": 2, "n": 2}, {}, {}),
    "json": (
        "Answer with JSON",
        {},
        {"response_format": ResponseFormat(type="json")},
        {"response_format": {"type": "json_object"}},
    ),
    "json schema": (
        "The weather as JSON",
        {},
        {"response_format": ResponseFormat(type="json_schema", name="weather", schema=PARAMETERS, strict=False)},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "weather", "schema": PARAMETERS, "strict": False},
            }
        },
    ),
    "one tool": ("get_weather", {}, {"tools": [ours_of("get_weather")]}, {"tools": [theirs_of("get_weather")]}),
    "parallel tools": (
        "get_weather and get_time, please",
        {"parallel_tool_calls": True, "n": 2},
        {"tools": [ours_of("get_weather"), ours_of("get_time")]},
        {"tools": [theirs_of("get_weather"), theirs_of("get_time")]},
    ),
    "one tool at a time": (
        "get_weather and get_time, please",
        {"parallel_tool_calls": False},
        {"tools": [ours_of("get_weather"), ours_of("get_time")]},
        {"tools": [theirs_of("get_weather"), theirs_of("get_time")]},
    ),
    "a tool chosen": (
        "Hello",
        {},
        {"tools": [ours_of("get_weather"), ours_of("get_time")], "tool_choice": FunctionChoice(name="get_time")},
        {
            "tools": [theirs_of("get_weather"), theirs_of("get_time")],
            "tool_choice": {"type": "function", "function": {"name": "get_time"}},
        },
    ),
}
#: By fault: the official client's exception and its code, and our error. Where the code is None or repeats the status,
#: the official client knows no more than the status.
ERRORS = {
    "content_filter": (openai.BadRequestError, "content_filter", ContentFilterError),
    "content_filter_500": (openai.InternalServerError, "content_filter", ContentFilterError),
    "content_filter_specified": (openai.BadRequestError, "content_filter", ContentFilterError),
    "content_filter_inner_only": (openai.BadRequestError, "BadRequest", ContentFilterError),
    "content_filter_bare": (openai.BadRequestError, "content_filter", ContentFilterError),
    "content_filter_text": (openai.BadRequestError, "400", ContentFilterError),
    "content_policy_violation": (openai.BadRequestError, "content_policy_violation", ContentFilterError),
    "content_filter_image": (openai.BadRequestError, "contentFilter", ContentFilterError),
    "safety_system": (openai.BadRequestError, None, ContentFilterError),
    "context_length": (openai.BadRequestError, "context_length_exceeded", ContextLengthExceededError),
    "context_length_configured": (openai.BadRequestError, None, ContextLengthExceededError),
    "context_length_window": (openai.BadRequestError, None, ContextLengthExceededError),
    "context_length_input": (openai.BadRequestError, None, ContextLengthExceededError),
    "context_length_embedding": (openai.BadRequestError, None, ContextLengthExceededError),
    "string_above_max_length": (openai.BadRequestError, "string_above_max_length", InvalidRequestError),
    "prompt_above_max_length": (openai.BadRequestError, "string_above_max_length", ContextLengthExceededError),
    "unauthorized": (openai.AuthenticationError, "401", AuthenticationError),
    "unauthorized_token": (openai.AuthenticationError, None, AuthenticationError),
    "unauthorized_code": (openai.AuthenticationError, "Unauthorized", AuthenticationError),
    "permission_denied": (openai.AuthenticationError, "PermissionDenied", AuthorizationError),
    "public_access_disabled": (openai.PermissionDeniedError, "403", AuthorizationError),
    "firewall": (openai.PermissionDeniedError, "403", AuthorizationError),
    "key_disabled": (openai.PermissionDeniedError, "AuthenticationTypeDisabled", AuthorizationError),
    "blocked": (openai.PermissionDeniedError, "Forbidden", AuthorizationError),
    "call_volume": (openai.PermissionDeniedError, None, QuotaExceededError),
    "deployment_not_found": (openai.NotFoundError, "DeploymentNotFound", ModelNotFoundError),
    "resource_not_found": (openai.NotFoundError, "404", ModelNotFoundError),
    "model_not_found": (openai.NotFoundError, "model_not_found", ModelNotFoundError),
    "operation_not_supported": (openai.BadRequestError, "OperationNotSupported", ModelNotFoundError),
    "operation_not_supported_404": (openai.NotFoundError, "OperationNotSupported", ModelNotFoundError),
    "unknown_parameter": (openai.BadRequestError, "unknown_parameter", InvalidRequestError),
    "unsupported_max_tokens": (openai.BadRequestError, "unsupported_parameter", InvalidRequestError),
    "unsupported_max_completion_tokens": (openai.BadRequestError, "unsupported_parameter", InvalidRequestError),
    "unsupported_value": (openai.BadRequestError, "unsupported_value", InvalidRequestError),
    "invalid_value": (openai.BadRequestError, "invalid_value", InvalidRequestError),
    "bad_request": (openai.BadRequestError, "BadRequest", InvalidRequestError),
    "unsupported_api_version": (openai.BadRequestError, "UnsupportedApiVersion", InvalidRequestError),
    "conflict": (openai.ConflictError, "Conflict", InvalidRequestError),
    "too_large": (openai.APIStatusError, "RequestTooLarge", InvalidRequestError),
    "unsupported_media_type": (openai.APIStatusError, "UnsupportedMediaType", InvalidRequestError),
    "unprocessable": (openai.UnprocessableEntityError, None, InvalidRequestError),
    "rate_limit": (openai.RateLimitError, "429", RateLimitError),
    "rate_limit_seconds": (openai.RateLimitError, "429", RateLimitError),
    "rate_limit_date": (openai.RateLimitError, "429", RateLimitError),
    "rate_limit_reset_requests": (openai.RateLimitError, "429", RateLimitError),
    "rate_limit_reset_tokens": (openai.RateLimitError, "429", RateLimitError),
    "rate_limit_reset_both": (openai.RateLimitError, "429", RateLimitError),
    "rate_limit_text": (openai.RateLimitError, "429", RateLimitError),
    "rate_limit_try_again": (openai.RateLimitError, None, RateLimitError),
    "rate_limit_wait": (openai.RateLimitError, "429", RateLimitError),
    "rate_limit_bare": (openai.RateLimitError, "RateLimitReached", RateLimitError),
    "too_many_requests": (openai.RateLimitError, "too_many_requests", RateLimitError),
    "rate_limit_exceeded": (openai.RateLimitError, "rate_limit_exceeded", RateLimitError),
    "insufficient_quota": (openai.RateLimitError, "insufficient_quota", QuotaExceededError),
    "quota_exceeded": (openai.RateLimitError, "quota_exceeded", QuotaExceededError),
    "retry_after_day": (openai.RateLimitError, "429", QuotaExceededError),
    "capacity": (openai.RateLimitError, "too_many_requests", RateLimitError),
    "no_capacity": (openai.RateLimitError, "NoCapacity", RateLimitError),
    "server_error": (openai.InternalServerError, None, ServiceUnavailableError),
    "internal_error": (openai.InternalServerError, "InternalServerError", ServiceUnavailableError),
    "bad_gateway": (openai.InternalServerError, None, ServiceUnavailableError),
    "unavailable": (openai.InternalServerError, "ServiceUnavailable", ServiceUnavailableError),
    "unavailable_text": (openai.InternalServerError, None, ServiceUnavailableError),
    "gateway_timeout": (openai.InternalServerError, "Timeout", LLMTimeoutError),
    "request_timeout": (openai.APIStatusError, "Timeout", LLMTimeoutError),
    "string_error": (openai.BadRequestError, None, InvalidRequestError),
    "integer_code": (openai.BadRequestError, "400", InvalidRequestError),
    "top_level_error": (openai.BadRequestError, "BadRequest", InvalidRequestError),
    "object_error": (openai.BadRequestError, "40303", InvalidRequestError),
    "array_error": (openai.BadRequestError, None, InvalidRequestError),
    "plain_text_error": (openai.BadRequestError, None, InvalidRequestError),
    "empty_error": (openai.InternalServerError, None, ServiceUnavailableError),
    "truncated_error": (openai.InternalServerError, None, ServiceUnavailableError),
    "huge_error": (openai.InternalServerError, None, ServiceUnavailableError),
    "drop": (openai.APIConnectionError, None, ServiceUnavailableError),
    "garbage": (openai.APIConnectionError, None, ServiceUnavailableError),
    "hang": (openai.APITimeoutError, None, LLMTimeoutError),
}
#: Answers under a good status that the official client takes for answers.
UNSEEN = {"error_with_200", "html_answer"}
#: Under a good status; the broken JSON of whole answers reaches users of the official client as it was raised.
WHOLE_ERRORS = {
    "empty_answer": (json.JSONDecodeError, None, ServiceUnavailableError),
    "truncated_json": (json.JSONDecodeError, None, ServiceUnavailableError),
    "cut_answer": (openai.APIConnectionError, None, ServiceUnavailableError),
}
STREAM_ERRORS = {
    "stream_error": (openai.APIError, None, ServiceUnavailableError),
    "stream_error_content_filter": (openai.APIError, "content_filter", ContentFilterError),
    "stream_error_rate_limit": (openai.APIError, "429", RateLimitError),
    "broken_json": (json.JSONDecodeError, None, ServiceUnavailableError),
    "invalid_utf8": (UnicodeDecodeError, None, ServiceUnavailableError),
    "reset": (openai.APIConnectionError, None, ServiceUnavailableError),
    "stall": (openai.APITimeoutError, None, LLMTimeoutError),
}
#: Unusual streams that both read.
READABLE = (
    "annotations",
    "bom",
    "byte_packets",
    "comments",
    "completion_filtered",
    "cr",
    "crlf",
    "crlf_split",
    "filter_not_run",
    "late_filter",
    "many_events",
    "missing_usage",
    "multi_line",
    "no_final_newline",
    "no_space",
    "one_packet",
    "other_fields",
    "prompt_annotations",
    "slow_stream",
    "utf8_split",
)


class Said(NamedTuple):
    """One choice, however it came."""

    text: str
    finish_reason: str | None
    calls: tuple[tuple[str, str, str], ...]
    logprobs: list | None


class Answer(NamedTuple):
    choices: list[Said]
    #: Prompt, completion, total, of those cached, of those spent on thinking.
    usage: tuple[int, ...] | None


def our_usage(usage):
    if usage is None:
        return None
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    return (*counts, usage.cached_tokens, usage.reasoning_tokens)


def their_usage(usage):
    if usage is None:
        return None
    cached = usage.prompt_tokens_details.cached_tokens
    thought = usage.completion_tokens_details.reasoning_tokens
    return (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, cached, thought)


class Both:
    """The official client and ours at one surface of one resource."""

    def __init__(self, azure, ours, theirs):
        self.azure = azure
        self.ours = ours
        self.theirs = theirs

    def our_answer(self, prompt, **options):
        result = self.ours.chat(prompt, **options)
        choices = [
            Said(
                choice.message.text,
                choice.finish_reason,
                tuple((call.id, call.name, call.arguments) for call in choice.message.tool_calls),
                choice.logprobs and choice.logprobs["content"],
            )
            for choice in result.choices
        ]
        return Answer(choices, our_usage(result.usage))

    def our_stream(self, prompt, **options):
        stream = self.ours.stream(prompt, **options)
        logprobs = defaultdict(list)
        for chunk in stream.chunks:
            logprobs[chunk.index] += chunk.logprobs["content"] if chunk.logprobs else []
        choices = [
            Said(
                choice.text,
                choice.finish_reason,
                tuple((call.id, call.name, call.arguments) for call in choice.tool_calls),
                logprobs[index] or None,
            )
            for index, choice in enumerate(stream.whole.choices)
        ]
        return Answer(choices, our_usage(stream.whole.usage))

    def their_answer(self, prompt, *, client=None, **options):
        messages = user(prompt) if isinstance(prompt, str) else prompt
        create = (client or self.theirs).chat.completions.create
        result = self.azure.run(create(**{"model": "gpt-4o", "messages": messages, **options}))
        choices = [
            Said(
                choice.message.content or "",
                choice.finish_reason,
                tuple(
                    (call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()
                ),
                choice.logprobs and choice.logprobs.model_dump()["content"],
            )
            for choice in result.choices
        ]
        return Answer(choices, their_usage(result.usage))

    def their_stream(self, prompt, *, client=None, **options):
        return self.azure.run(self._their_stream(prompt, client or self.theirs, options))

    async def _their_stream(self, prompt, client, options):
        messages = user(prompt) if isinstance(prompt, str) else prompt
        chosen = {"model": "gpt-4o", "messages": messages, "stream_options": {"include_usage": True}, **options}
        usage = None
        texts, reasons, logprobs = defaultdict(str), {}, defaultdict(list)
        calls = defaultdict(dict)
        async with await client.chat.completions.create(stream=True, **chosen) as stream:
            async for chunk in stream:
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    reasons[choice.index] = choice.finish_reason or reasons.get(choice.index)
                    logprobs[choice.index] += choice.logprobs.model_dump()["content"] if choice.logprobs else []
                    # The asynchronous filter sends choices without a delta.
                    texts[choice.index] += (choice.delta.content or "") if choice.delta else ""
                    for call in (choice.delta.tool_calls or ()) if choice.delta else ():
                        whole = calls[choice.index].setdefault(call.index, [call.id, call.function.name, ""])
                        whole[2] += call.function.arguments or ""
        choices = [
            Said(texts[index], reasons[index], tuple(map(tuple, calls[index].values())), logprobs[index] or None)
            for index in sorted(texts)
        ]
        return Answer(choices, their_usage(usage))


@pytest.fixture(scope="module", params=["v1", "dated"])
def both(request, resource):
    url, key = resource.emulator.url, resource.emulator.api_key
    if request.param == "v1":
        theirs = openai.AsyncOpenAI(base_url=f"{url}/openai/v1/", api_key=key, max_retries=0)
    else:
        theirs = openai.AsyncAzureOpenAI(
            azure_endpoint=url, api_key=key, api_version="2025-04-01-preview", max_retries=0
        )
    with resource.unopened(surface=request.param) as ours:
        yield Both(resource, ours, theirs)
    resource.run(theirs.close())


@pytest.fixture
def strike(resource):
    """Order a fault, and forget what is left of it after the test."""
    yield resource.faults.add
    resource.faults.clear()


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_are_the_same(both, name):
    prompt, shared, ours, theirs = REQUESTS[name]
    answer = both.our_answer(prompt, **shared, **ours)
    assert answer == both.their_answer(prompt, **shared, **theirs)
    assert answer.usage is not None


@pytest.mark.parametrize("name", REQUESTS)
def test_streams_are_the_same(both, name):
    prompt, shared, ours, theirs = REQUESTS[name]
    answer = both.our_stream(prompt, **shared, **ours)
    assert answer == both.their_stream(prompt, **shared, **theirs)
    assert answer.usage is not None


def test_the_requests_show_what_they_are_about(both):
    answers = {
        name: both.our_answer(prompt, **shared, **ours).choices for name, (prompt, shared, ours, _) in REQUESTS.items()
    }
    assert [len(answers[name]) for name in ("plain", "three choices", "parallel tools")] == [1, 3, 2]
    assert {answers[name][0].finish_reason for name in ("plain", "stopped", "json")} == {"stop"}
    assert answers["cut"][0].finish_reason == "length"
    assert answers["stopped"][0].text == "One, two"
    assert len(answers["log probabilities"][0].logprobs[0]["top_logprobs"]) == 2
    assert json.loads(answers["json schema"][0].text).keys() == {"city"}
    assert [call[1] for call in answers["parallel tools"][0].calls] == ["get_weather", "get_time"]
    assert [call[1] for call in answers["one tool at a time"][0].calls] == ["get_weather"]
    assert [call[1] for call in answers["a tool chosen"][0].calls] == ["get_time"]
    assert answers["one tool"][0].finish_reason == "tool_calls"


def test_the_same_requests_go_out(both):
    prompt, shared, ours, theirs = REQUESTS["parallel tools"]
    both.our_stream(prompt, **shared, **ours)
    both.their_stream(prompt, **shared, **theirs)
    sent, expected = both.azure.bodies[-2:]
    assert sent == expected
    assert both.azure.journal[-2].path == both.azure.journal[-1].path
    assert both.azure.journal[-2].query == both.azure.journal[-1].query


def test_pictures_are_looked_at_by_both(both):
    content = [TextPart(text="What is this?"), ImagePart(data=PNG, media_type="image/png", detail="low")]
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}}
    answer = both.our_answer([{"role": "user", "content": content}])
    assert answer == both.their_answer(user([{"type": "text", "text": "What is this?"}, picture]))
    assert answer.choices[0].text == "What is this? [image image/png]"


def test_results_of_tools_are_answered_by_both(both):
    tools = [ours_of("get_weather")]
    asked = user("what does get_weather say?")
    called = both.ours.chat(asked, tools=tools).message
    [call] = called.tool_calls
    answer = both.our_answer(
        [
            *asked,
            called,
            {"role": "tool", "content": [{"type": "tool_result", "tool_call_id": call.id, "content": "Sunny."}]},
        ],
        tools=tools,
    )
    function = {"name": call.name, "arguments": call.arguments}
    conversation = [
        *asked,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": call.id, "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny."},
    ]
    assert answer == both.their_answer(conversation, tools=[theirs_of("get_weather")])
    assert answer.choices[0].text == "The tool get_weather answered: Sunny."


def test_functions_are_the_older_spelling_of_tools(both):
    result = both.ours.chat("get_weather", functions=[ours_of("get_weather")])
    stream = both.ours.stream("get_weather", functions=[ours_of("get_weather")])
    create = both.theirs.chat.completions.create
    functions = [theirs_of("get_weather")["function"]]
    theirs = both.azure.run(create(model="gpt-4o", messages=user("get_weather"), functions=functions)).choices[0]
    called = (theirs.message.function_call.name, theirs.message.function_call.arguments)
    assert (result.message.function_call.name, result.message.function_call.arguments) == called
    [piece, *rest] = [delta for chunk in stream.chunks for delta in chunk.tool_calls]
    assert (piece.name, "".join(delta.arguments for delta in (piece, *rest))) == called
    # One word in either spelling.
    assert theirs.finish_reason == "function_call"
    assert result.finish_reason == stream.chunks[-1].finish_reason == "tool_calls"


def test_thinking_is_counted_by_both(both):
    prompt, effort = "How many?", {"model": "o3-mini", "reasoning_effort": "high"}
    answer = both.our_answer(prompt, max_tokens=500, **effort)
    assert answer == both.their_answer(prompt, max_completion_tokens=500, **effort)
    assert answer.usage[-1] > 0
    assert answer == both.our_stream(prompt, max_tokens=500, **effort)


@pytest.mark.parametrize("fault", READABLE)
@pytest.mark.parametrize("both", ["v1"], indirect=True)
def test_unusual_streams_are_read_by_both(both, strike, fault):
    strike(fault, times=2)
    prompt = "Grüß Gott, 你好 👋, and some more words"
    answer = both.our_stream(prompt)
    assert answer == both.their_stream(prompt)
    assert answer.choices[0].finish_reason == ("content_filter" if "filtered" in fault or "late" in fault else "stop")


# -- embeddings, images, models ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [None, 64])
def test_embeddings_are_the_same(both, dimensions):
    texts = ["a quiet harbour", "Zürich", "a quiet harbour"]
    wanted = {} if dimensions is None else {"dimensions": dimensions}
    ours = both.ours.embed(texts, **wanted)
    create = both.theirs.embeddings.create
    # The official client asks for base64 by itself, and takes it apart.
    theirs = both.azure.run(create(model="text-embedding-3-small", input=texts, **wanted))
    assert [list(vector) for vector in ours.embeddings] == [item.embedding for item in theirs.data]
    assert {len(vector) for vector in ours.embeddings} == {dimensions or 1536}
    assert ours.usage.prompt_tokens == theirs.usage.prompt_tokens
    assert both.azure.bodies[-2] == both.azure.bodies[-1]


def test_embeddings_as_floats_are_the_same(both):
    texts = ["a quiet harbour", "Zürich"]
    packed = both.ours.embed(texts, dimensions=64)
    ours = both.ours.embed(texts, dimensions=64, extra={"encoding_format": "float"})
    theirs = both.azure.run(
        both.theirs.embeddings.create(
            model="text-embedding-3-small", input=texts, dimensions=64, encoding_format="float"
        )
    )
    assert [list(vector) for vector in ours.embeddings] == [item.embedding for item in theirs.data]
    # In base64 they have 32 bits.
    assert [array("f", vector) for vector in ours.embeddings] == [array("f", vector) for vector in packed.embeddings]


def test_images_are_the_same(both):
    ours = both.ours.image("a lighthouse", n=2, size="1024x1536", quality="low")
    generate = both.theirs.images.generate
    theirs = both.azure.run(generate(model="gpt-image-1", prompt="a lighthouse", n=2, size="1024x1536", quality="low"))
    assert list(ours.images) == [item.b64_json for item in theirs.data]
    assert ours.media_type == "image/png"
    assert our_usage(ours.usage)[:3] == (
        theirs.usage.input_tokens,
        theirs.usage.output_tokens,
        theirs.usage.total_tokens,
    )


def test_images_of_the_older_family_are_the_same(both):
    ours = both.ours.image("a lighthouse", model="dall-e-3", style="vivid", quality="hd")
    theirs = both.azure.run(
        both.theirs.images.generate(
            model="dall-e-3", prompt="a lighthouse", style="vivid", quality="hd", response_format="b64_json"
        )
    )
    assert list(ours.images) == [item.b64_json for item in theirs.data]
    assert ours.details["images"][0]["revised_prompt"] == theirs.data[0].revised_prompt


def test_changed_images_are_the_same(both):
    first, second = both.ours.image("a cat", n=2).images
    images = [ImagePart(data=data, media_type="image/png") for data in (first, second)]
    ours = both.ours.image("a dog", images=images, mask=images[0], size="1024x1024")
    files = [("image-0.png", BytesIO(b64decode(data)), "image/png") for data in (first, second)]
    theirs = both.azure.run(
        both.theirs.images.edit(
            model="gpt-image-1",
            prompt="a dog",
            image=files,
            mask=("mask.png", BytesIO(b64decode(first)), "image/png"),
            size="1024x1024",
        )
    )
    assert list(ours.images) == [item.b64_json for item in theirs.data]
    assert ours.images[0] not in {first, second}
    assert our_usage(ours.usage)[:2] == (theirs.usage.input_tokens, theirs.usage.output_tokens)


def test_models_are_the_same(both):
    async def listed():
        return [model.id async for model in both.theirs.models.list()]

    theirs = both.azure.run(listed())
    assert set(theirs) <= {model.id for model in both.ours.models()}
    assert len(theirs) > 10


# -- errors ------------------------------------------------------------------------------------------------------------


def check_error(both, strike, fault, expected, ask, their_ask):
    their_class, code, our_class = expected
    strike(fault, times=2)
    with pytest.raises(their_class) as theirs:
        their_ask("x", client=both.theirs.with_options(timeout=0.1 if fault in {"hang", "stall"} else 10))
    with pytest.raises(LLMError) as ours:
        ask("x", timeout=0.05 if fault in {"hang", "stall"} else 10)
    assert type(theirs.value) is their_class
    assert type(ours.value) is our_class
    assert getattr(theirs.value, "code", None) == code
    their_status = getattr(theirs.value, "status_code", None)
    if their_status is not None:
        assert ours.value.status_code == their_status
        assert ours.value.request_id


@pytest.mark.parametrize("fault", ERRORS | WHOLE_ERRORS)
@pytest.mark.parametrize("both", ["v1"], indirect=True)
def test_error_classes_match(both, strike, fault):
    expected = (ERRORS | WHOLE_ERRORS)[fault]
    check_error(both, strike, fault, expected, both.our_answer, both.their_answer)


# Of a stream, we send what has an unknown parameter once more without it: complaint 22.
@pytest.mark.parametrize("fault", [fault for fault in ERRORS | STREAM_ERRORS if fault != "unknown_parameter"])
@pytest.mark.parametrize("both", ["dated"], indirect=True)
def test_error_classes_of_streams_match(both, strike, fault):
    expected = (ERRORS | STREAM_ERRORS)[fault]
    check_error(both, strike, fault, expected, both.our_stream, both.their_stream)


def test_no_refusal_is_missing_in_the_table():
    refusals = {name for name, fault in FAULTS.items() if isinstance(fault, InsteadFault)}
    assert refusals - ERRORS.keys() == UNSEEN


@pytest.mark.parametrize("both", ["v1"], indirect=True)
def test_wrong_keys_and_unknown_deployments_are_told_apart_by_both(both):
    wrong = both.theirs.with_options(api_key="another-key")
    with pytest.raises(openai.AuthenticationError):
        both.their_answer("x", client=wrong)
    with pytest.raises(openai.NotFoundError):
        both.their_answer("x", model="no-such-deployment")
    with pytest.raises(ModelNotFoundError):
        both.our_answer("x", model="no-such-deployment", provider="azure")
    wrong_key = {"type": "api_key", "credentials": {"api_key": "env:WRONG_KEY"}}
    with both.azure.unopened(auth=wrong_key) as ours, pytest.raises(AuthenticationError):
        ours.chat("x")


def test_both_are_served_at_the_same_time(both):
    async def ask(number):
        prompt = f"number {number}"
        theirs = await both.theirs.chat.completions.create(model="gpt-4o", messages=user(prompt))
        ours = await both.ours.manager.generate_chat(prompt, model="gpt-4o")
        return theirs.choices[0].message.content == ours.message.text == prompt

    async def ask_all():
        return await asyncio.gather(*map(ask, range(20)))

    assert all(both.azure.run(ask_all()))
