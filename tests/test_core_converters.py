from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_llm_core.config.schema import AuthConfig, ManagerConfig, ModelConfig, ProviderConfig
from apex_llm_core.converters import (
    StructureError,
    camel,
    dumps,
    jsontext,
    loads,
    place,
    structure,
    structure_strictly,
    unstructure,
)
from apex_llm_core.errors import Attempt, InvalidRequestError, LLMErrorType, RateLimitError
from apex_llm_core.models import (
    CAPABILITIES,
    CacheHintPart,
    Caller,
    ChatGenerationChunk,
    ChatGenerationOptions,
    ChatGenerationResult,
    ChatMessage,
    Choice,
    DocumentPart,
    EmbeddingOptions,
    EmbeddingResult,
    FunctionCall,
    FunctionChoice,
    FunctionDefinition,
    GenerateRequest,
    HealthState,
    HealthStatus,
    ImageGenerationOptions,
    ImageGenerationResult,
    ImagePart,
    ModelInfo,
    ProviderCapabilities,
    ReasoningPart,
    ResponseFormat,
    TextGenerationOptions,
    TextGenerationResult,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from apex_llm_core.redaction import Secret

# -- round trips: what was written is read again, in both spellings and through text -----------------------------------

text = st.text(max_size=20)
name = st.text(min_size=1, max_size=12)
scalar = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text
)
json_value = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
json_object = st.dictionaries(text, json_value, max_size=4)
positive = st.floats(0, 1e6, allow_nan=False)
count = st.integers(0, 10**9)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


parts = st.one_of(
    st.builds(TextPart, text=text),
    st.builds(ImagePart, data=text, media_type=name, detail=maybe(text)),
    st.builds(ImagePart, url=text),
    st.builds(DocumentPart, text=text, name=maybe(text)),
    st.builds(DocumentPart, data=text, media_type=name),
    st.builds(ToolCallPart, id=name, name=name, arguments=text),
    st.builds(ToolResultPart, tool_call_id=name, content=text, is_error=st.booleans()),
    st.builds(ReasoningPart, text=text, signature=maybe(text), data=maybe(text)),
    st.builds(CacheHintPart, ttl=maybe(text)),
)
messages = st.builds(
    ChatMessage,
    role=st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]),
    content=text | st.lists(parts, max_size=4).map(tuple),
    name=maybe(name),
    function_call=maybe(st.builds(FunctionCall, name=name, arguments=text)),
)
functions = st.builds(
    FunctionDefinition, name=name, description=maybe(text), parameters=maybe(json_object), strict=maybe(st.booleans())
)
# Its keys are drawn from letters of no word, at any depth: some words may not stand there.
harmless = st.text("bdg_", min_size=1, max_size=5)
extra = maybe(
    st.dictionaries(
        harmless,
        st.recursive(scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(harmless, inner, max_size=3)),
        max_size=3,
    )
)
common: dict[str, st.SearchStrategy[Any]] = {
    "model": text,
    "provider": maybe(name),
    "timeout": maybe(positive),
    "retry_count": maybe(count),
    "deadline": maybe(positive),
    "user": maybe(text),
    "extra": extra,
}
generation: dict[str, st.SearchStrategy[Any]] = {
    **common,
    "max_tokens": maybe(st.integers(1, 10**6)),
    "temperature": maybe(st.floats(0, 2)),
    "top_p": maybe(st.floats(0, 1)),
    "frequency_penalty": maybe(st.floats(-2, 2)),
    "stop": maybe(st.lists(text, max_size=3).map(tuple)),
    "seed": maybe(st.integers(-(2**63), 2**63)),
    "logprobs": maybe(st.booleans()),
    "no_cache": st.booleans(),
}
choice = maybe(st.sampled_from(["auto", "none"]) | st.builds(FunctionChoice, name=name))
usages = st.builds(
    Usage,
    prompt_tokens=count,
    completion_tokens=count,
    total_tokens=count,
    cached_tokens=count,
    estimated=st.booleans(),
)
attempts = st.lists(
    st.builds(
        Attempt,
        number=st.integers(1, 9),
        provider=name,
        model=name,
        duration=positive,
        error_type=maybe(st.sampled_from(LLMErrorType)),
        status_code=maybe(st.integers(100, 599)),
    ),
    max_size=2,
).map(tuple)
answered: dict[str, st.SearchStrategy[Any]] = {
    "model": name,
    "provider": name,
    "usage": maybe(usages),
    "cost": maybe(positive),
    "request_id": maybe(text),
    "attempts": attempts,
}
choices = st.builds(Choice, index=st.integers(0, 3), message=messages, finish_reason=name, logprobs=json_value)
vectors = st.lists(st.lists(st.floats(-1, 1), max_size=5).map(tuple), min_size=1, max_size=3).map(tuple)

DATA = {
    "message": messages,
    "text options": st.builds(TextGenerationOptions, **generation),
    "chat options": st.builds(
        ChatGenerationOptions,
        **generation,
        tools=maybe(st.lists(functions, max_size=2).map(tuple)),
        functions=maybe(st.lists(functions, max_size=2).map(tuple)),
        tool_choice=choice,
        function_call=choice,
        response_format=maybe(st.builds(ResponseFormat, type=st.just("json_schema"), schema=json_object)),
    ),
    "embedding options": st.builds(EmbeddingOptions, **common, dimensions=maybe(st.integers(1, 4096))),
    "image options": st.builds(ImageGenerationOptions, **common, size=maybe(text), n=maybe(st.integers(1, 4))),
    "usage": usages,
    "chat result": st.builds(
        lambda first, more, **rest: ChatGenerationResult.of((first, *more), **rest),
        choices,
        st.lists(choices, max_size=2),
        details=maybe(json_object),
        **answered,
    ),
    "text result": st.builds(
        TextGenerationResult, text=text, finish_reason=name, details=maybe(json_object), **answered
    ),
    "embedding result": st.builds(EmbeddingResult, embeddings=vectors, **answered),
    "image result": st.builds(
        ImageGenerationResult, images=st.lists(text, max_size=2).map(tuple), media_type=maybe(text), **answered
    ),
    "chunk": st.builds(
        ChatGenerationChunk,
        text=text,
        reasoning=text,
        tool_calls=st.lists(
            st.builds(ToolCallDelta, index=st.integers(0, 5), id=maybe(name), name=maybe(name), arguments=text),
            max_size=2,
        ).map(tuple),
        finish_reason=maybe(name),
        usage=maybe(usages),
        index=st.integers(0, 3),
    ),
    "model": st.builds(
        ModelInfo,
        id=name,
        capabilities=maybe(st.frozensets(st.sampled_from(sorted(CAPABILITIES)))),
        max_tokens=maybe(count),
    ),
    "health": st.builds(
        HealthStatus, status=st.sampled_from(HealthState), latency=maybe(positive), details=maybe(json_object)
    ),
}


@pytest.mark.parametrize("camel_case", [False, True], ids=["snake_case", "camelCase"])
@pytest.mark.parametrize("kind", DATA)
def test_structure_undoes_unstructure(kind, camel_case):
    @settings(max_examples=40, deadline=None)
    @given(DATA[kind])
    def round_trip(obj):
        document = unstructure(obj, camel_case=camel_case)
        assert structure(document, type(obj), camel_case=camel_case) == obj
        assert loads(dumps(obj, camel_case=camel_case)) == document
        assert structure(loads(dumps(obj, camel_case=camel_case)), type(obj), camel_case=camel_case) == obj

    round_trip()


def test_a_request_and_capabilities_survive_the_round_trip():
    capabilities = ProviderCapabilities(features={"chat", "text"}, models={"m": ModelInfo(id="m")})
    assert structure(unstructure(capabilities), ProviderCapabilities) == capabilities
    request = GenerateRequest(
        kind="chat",
        messages=(ChatMessage(role="user", content="hi"),),
        model="m",
        options=ChatGenerationOptions(tools=[FunctionDefinition(name="f")]),
    )
    again = structure(unstructure(request), GenerateRequest)
    assert (again.messages, again.options) == (request.messages, request.options)


def test_a_text_request_keeps_the_smaller_class_of_options():
    document = {"kind": "text", "messages": [{"role": "user"}], "model": "m", "options": {"model": "m"}}
    assert type(structure(document, GenerateRequest).options) is TextGenerationOptions


def test_a_lone_stop_text_is_one_stop():
    assert structure({"stop": "abc"}, TextGenerationOptions).stop == ("abc",)
    assert structure({"stop": "abc"}, ChatGenerationOptions, camel_case=True).stop == ("abc",)


# -- errors ------------------------------------------------------------------------------------------------------------


def test_an_error_has_a_document_without_its_cause():
    attempt = Attempt(number=1, provider="p", model="m", duration=0.5, error_type=LLMErrorType.RATE_LIMIT_ERROR)
    error = RateLimitError(
        "slow down",
        provider="p",
        model="m",
        status_code=429,
        retry_after=2.0,
        request_id="r-1",
        attempts=[attempt],
        original_error=RuntimeError("canary"),
    )
    document = {
        "type": "rate_limit_error",
        "message": "slow down",
        "provider": "p",
        "model": "m",
        "retryable": True,
        "status_code": 429,
        "retry_after": 2.0,
        "request_id": "r-1",
        "attempts": [unstructure(attempt)],
        "details": None,
    }
    assert unstructure(error) == document
    assert loads(dumps({"errors": [error]})) == {"errors": [document]}
    in_camel = unstructure(error, camel_case=True)
    assert list(in_camel) == [camel(key) for key in document]
    assert (in_camel["statusCode"], in_camel["attempts"][0]["errorType"]) == (429, "rate_limit_error")


def test_other_exceptions_have_no_document():
    with pytest.raises(TypeError, match="RuntimeError has no JSON form"):
        unstructure(RuntimeError("canary"))


# -- the specification's interfaces, field by field (sections 3.5 and 3.6) ---------------------------------------------

FUNCTION = FunctionDefinition(name="f", parameters={"type": "object"})
MESSAGE = ChatMessage(role="assistant", content="hi", name="a", function_call=FunctionCall(name="f", arguments="{}"))
USAGE = Usage(prompt_tokens=1, completion_tokens=2)
USAGE_FIELDS = {"promptTokens": 1, "completionTokens": 2, "totalTokens": 3}
TEXT_OPTIONS: dict[str, Any] = {
    "model": "m",
    "max_tokens": 1,
    "temperature": 0.5,
    "top_p": 0.5,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "stop": ("x",),
    "provider": "p",
    "timeout": 1.0,
    "retry_count": 2,
}
TEXT_OPTION_FIELDS = {
    "model": "m",
    "maxTokens": 1,
    "temperature": 0.5,
    "topP": 0.5,
    "frequencyPenalty": 0.5,
    "presencePenalty": 0.5,
    "stop": ["x"],
    "provider": "p",
    "timeout": 1.0,
    "retryCount": 2,
}
MESSAGE_FIELDS = {
    "role": "assistant",
    "content": "hi",
    "name": "a",
    "functionCall": {"name": "f", "arguments": "{}"},
}
MODEL = ModelConfig(
    id="g",
    provider_model_id="pm",
    capabilities=("chat",),
    max_tokens=9,
    cost_per_input_token=1.0,
    cost_per_output_token=2.0,
)
MODEL_FIELDS = {
    "id": "g",
    "providerModelId": "pm",
    "capabilities": ["chat"],
    "maxTokens": 9,
    "costPerInputToken": 1.0,
    "costPerOutputToken": 2.0,
}
AUTH = AuthConfig(type="api_key", credentials={"api_key": "env:X"})
AUTH_FIELDS = {"type": "api_key", "credentials": {"api_key": "env:X"}}

SPECIFICATION = [
    (TextGenerationOptions(**TEXT_OPTIONS), TEXT_OPTION_FIELDS),
    (MESSAGE, MESSAGE_FIELDS),
    (
        ChatGenerationOptions(**TEXT_OPTIONS, functions=(FUNCTION,), function_call=FunctionChoice(name="f")),
        TEXT_OPTION_FIELDS
        | {"functions": [{"name": "f", "parameters": {"type": "object"}}], "functionCall": {"name": "f"}},
    ),
    (ChatGenerationOptions(function_call="auto"), {"functionCall": "auto"}),
    (EmbeddingOptions(model="m", dimensions=2, provider="p"), {"model": "m", "dimensions": 2, "provider": "p"}),
    (
        ImageGenerationOptions(model="m", size="1x1", quality="q", style="s", provider="p"),
        {"model": "m", "size": "1x1", "quality": "q", "style": "s", "provider": "p"},
    ),
    (
        TextGenerationResult(text="t", model="m", provider="p", usage=USAGE, finish_reason="stop"),
        {"text": "t", "model": "m", "provider": "p", "usage": USAGE_FIELDS, "finishReason": "stop"},
    ),
    (
        ChatGenerationResult(message=MESSAGE, model="m", provider="p", usage=USAGE, finish_reason="stop"),
        {"message": MESSAGE_FIELDS, "model": "m", "provider": "p", "usage": USAGE_FIELDS, "finishReason": "stop"},
    ),
    (
        EmbeddingResult(embeddings=((0.5,),), model="m", provider="p", usage=Usage(prompt_tokens=3)),
        {"embedding": [0.5], "model": "m", "provider": "p", "usage": {"promptTokens": 3, "totalTokens": 3}},
    ),
    (ImageGenerationResult(images=("x",), model="m", provider="p"), {"images": ["x"], "model": "m", "provider": "p"}),
    (MODEL, MODEL_FIELDS),
    (AUTH, AUTH_FIELDS),
    (
        ProviderConfig(
            name="n",
            type="t",
            enabled=True,
            priority=1,
            weight=2.0,
            timeout=3.0,
            retry_count=4,
            models=(MODEL,),
            auth=AUTH,
            options={"some_key": 1},
        ),
        {
            "name": "n",
            "type": "t",
            "enabled": True,
            "priority": 1,
            "weight": 2.0,
            "timeout": 3.0,
            "retryCount": 4,
            "models": [MODEL_FIELDS],
            "auth": AUTH_FIELDS,
            "options": {"some_key": 1},
        },
    ),
    (
        ManagerConfig(default_provider="p", selection_strategy="cost", cache_ttl=5.0),
        {
            "defaultProvider": "p",
            "selectionStrategy": "cost",
            "fallbackEnabled": True,
            "circuitBreakerEnabled": True,
            "circuitBreakerThreshold": 5,
            "circuitBreakerResetTimeout": 30.0,
            "metricsEnabled": True,
            "cacheEnabled": False,
            "cacheTTL": 5.0,
        },
    ),
]


def assert_holds(document: Any, expected: Any) -> None:
    if isinstance(expected, Mapping):
        assert set(expected) <= set(document)
        for key, value in expected.items():
            assert_holds(document[key], value)
    elif isinstance(expected, list):
        assert len(document) == len(expected)
        for item, value in zip(document, expected, strict=True):
            assert_holds(item, value)
    else:
        assert document == expected


@pytest.mark.parametrize(("obj", "fields"), SPECIFICATION, ids=lambda value: type(value).__name__)
def test_camel_case_documents_have_the_fields_of_the_specification(obj, fields):
    document = unstructure(obj, camel_case=True)
    assert_holds(document, fields)
    assert structure(document, type(obj), camel_case=True) == obj


def test_a_document_with_only_the_fields_of_the_specification_is_enough():
    document = {
        "message": MESSAGE_FIELDS,
        "model": "m",
        "provider": "p",
        "usage": USAGE_FIELDS,
        "finishReason": "length",
    }
    result = structure(document, ChatGenerationResult, camel_case=True)
    assert (result.message, result.usage, result.choices[0].finish_reason) == (MESSAGE, USAGE, "length")


def test_keys_inside_free_tables_are_not_renamed():
    options = ChatGenerationOptions(
        tools=(FunctionDefinition(name="f", parameters={"max_tokens": {"some_key": 1}, "aKey": 2}),), extra={"top_k": 1}
    )
    document = unstructure(options, camel_case=True)
    assert document["tools"][0]["parameters"] == {"max_tokens": {"some_key": 1}, "aKey": 2}
    assert document["extra"] == {"top_k": 1}
    assert structure(document, ChatGenerationOptions, camel_case=True) == options


def test_camel():
    assert [camel(key) for key in ("model", "max_tokens", "cache_ttl")] == ["model", "maxTokens", "cacheTTL"]


# -- nothing is guessed ------------------------------------------------------------------------------------------------


def refused(data: Any, cls: Any, **options: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        structure(data, cls, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"no_cache": "false"}, "no_cache: expected true or false, not a string"),
        ({"no_cache": 1}, "no_cache: expected true or false, not 1"),
        ({"max_tokens": 2.9}, "max_tokens: expected a whole number, not 2.9"),
        ({"max_tokens": 2.0}, "max_tokens: expected a whole number, not 2.0"),
        ({"max_tokens": True}, "max_tokens: expected a whole number, not true"),
        ({"max_tokens": "3"}, "max_tokens: expected a whole number, not a string"),
        ({"temperature": "nan"}, "temperature: expected a number, not a string"),
        ({"temperature": True}, "temperature: expected a number, not true"),
        ({"temperature": math.nan}, "temperature: expected a finite number, not nan"),
        ({"temperature": 10**400}, "temperature: expected a finite number, not inf"),
        ({"model": 3}, "model: expected a string, not 3"),
        ({"model": None}, "model: expected a string, not null"),
        ({"stop": 3}, "stop: expected a list, not 3"),
        ({"stop": ["a", 1]}, "stop[1]: expected a string, not 1"),
        ({"stop": {"a": 1}}, "stop: expected a list, not an object"),
        ({"tools": [{"name": "f", "parameters": []}]}, "tools[0].parameters: expected an object, not a list"),
        (
            {"tools": [{"name": "f", "parameters": {1: 2}}]},
            "tools[0].parameters: expected keys that are strings, not 1",
        ),
        ({"tool_choice": 3}, "tool_choice: expected a string or an object, not 3"),
        ({"tool_choice": {}}, "tool_choice.name: is required"),
        ({"tool_choice": "require"}, "tool_choice is 'require'; did you mean 'required'?"),
        (
            {"extra": {"a": {"apiKey": "x"}}},
            "extra may not set a.apiKey: addresses, headers and credentials come from the configuration",
        ),
        ({"max_token": 3}, "max_token: unknown key; did you mean 'max_tokens'?"),
        ({"response_format": {"type": "jsn"}}, "response_format.type: unknown value 'jsn'; did you mean 'json'?"),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format: response_format of type 'json_schema' needs 'schema'",
        ),
        ({"temperature": -1}, "temperature is -1.0; expected a finite number of at least 0.0"),
        ([], "expected an object, not a list"),
        ("x", "expected an object, not a string"),
    ],
)
def test_options_that_do_not_fit(data, message):
    assert refused(data, ChatGenerationOptions) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"content": "x"}, "messages[2].role: is required"),
        ({"role": "usr"}, "messages[2].role: unknown value 'usr'; did you mean 'user'?"),
        ({"role": ["user"]}, "messages[2].role: expected"),
        ({"role": "user", "content": 3}, "messages[2].content: expected a string or a list, not 3"),
        (
            {"role": "user", "content": [{"type": "txt"}]},
            "messages[2].content[0].type: unknown value 'txt'; did you mean",
        ),
        ({"role": "user", "content": [{"text": "x"}]}, "messages[2].content[0].type: is required; valid: cache_hint,"),
        ({"role": "user", "content": [{"type": []}]}, "messages[2].content[0].type: unknown value; valid: cache_hint,"),
        ({"role": "user", "content": ["x"]}, "messages[2].content[0]: expected an object, not a string"),
        (
            {"role": "tool", "content": [{"type": "tool_result", "tool_callid": "1"}]},
            "messages[2].content[0].tool_callid: unknown key; did you mean 'tool_call_id'? (and 1 more)",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image"}]},
            "messages[2].content[1]: an image part needs exactly one of 'data' (base64) and 'url'",
        ),
        ({"role": "user", "function_call": "auto"}, "messages[2].function_call: expected an object, not a string"),
    ],
)
def test_messages_that_do_not_fit(data, message):
    assert refused(data, ChatMessage, path="messages[2]").startswith(message)


def test_camel_case_problems_are_told_in_camel_case():
    part = {"type": "tool_result", "tool_call_id": "1"}
    message = refused({"role": "tool", "content": [part]}, ChatMessage, camel_case=True)
    assert message == "content[0].tool_call_id: unknown key; did you mean 'toolCallId'? (and 1 more)"
    assert refused({"maxTokens": "1"}, ChatGenerationOptions, camel_case=True).startswith("maxTokens: expected")


def test_prompts_are_not_repeated_in_messages():
    for data, cls in (({"role": "user", "name": ["my secret prompt"]}, ChatMessage), ("my secret prompt", ChatMessage)):
        assert "secret" not in refused(data, cls)


def test_all_problems_are_found():
    with pytest.raises(StructureError) as caught:
        structure_strictly({"role": "usr", "content": 1, "nam": "x"}, ChatMessage)
    assert [place(problem.path) for problem in caught.value.problems] == ["nam", "role", "content"]
    assert "role: unknown value" in str(caught.value)


def test_an_enumeration_takes_its_values_only():
    assert structure({"status": "healthy"}, HealthStatus).status is HealthState.HEALTHY
    assert refused({"status": "healty"}, HealthStatus) == "status: unknown value 'healty'; did you mean 'healthy'?"
    assert refused({"status": 3}, HealthStatus).startswith('status: expected "healthy" or')


def test_instances_inside_data_are_taken_as_they_are():
    part = TextPart(text="x")
    message = structure({"role": "user", "content": [part]}, ChatMessage)
    assert message.content == (part,)
    assert structure(message, ChatMessage) is message
    assert structure([message], tuple[ChatMessage, ...]) == (message,)


def test_vectors_are_strict_and_take_whole_numbers():
    data = {"embeddings": [[1, 0.5]], "embedding": [1.0, 0.5], "model": "m", "provider": "p"}
    assert structure(data, EmbeddingResult).embeddings == ((1.0, 0.5),)
    assert refused(data | {"embedding": [0.1, "x", True]}, EmbeddingResult).startswith(
        "embedding[1]: expected a number"
    )
    assert refused(data | {"embedding": [0.1, math.inf]}, EmbeddingResult) == (
        "embedding[1]: expected a finite number, not inf"
    )
    assert structure(data | {"embedding": [1e308, 1e308]}, EmbeddingResult).embedding == (1e308, 1e308)
    assert refused(data | {"embedding": "x"}, EmbeddingResult) == "embedding: expected a list, not a string"


def test_fields_of_plugin_classes():
    @attrs.frozen(kw_only=True)
    class Inner:
        size: int = attrs.field(validator=attrs.validators.ge(1))

    @attrs.frozen(kw_only=True)
    class Settings:
        pair: tuple[int, str] = (1, "a")
        names: frozenset[str] = frozenset()
        items: list[Inner] = attrs.field(factory=list)
        table: dict[str, Inner] = attrs.field(factory=dict)
        place: Path = Path()
        key: Secret | None = None
        mode: Literal["a", "b"] | None = None
        number: int | float | None = None
        flag: bool | str = False

    # Annotations of local classes cannot be resolved by name.
    attrs.resolve_types(Settings, None, locals())
    data = {
        "pair": [2, "b"],
        "names": ["b", "a"],
        "items": [{"size": 1}],
        "table": {"x.y": {"size": 2}},
        "place": "/srv",
        "key": "k",
        "mode": "b",
        "number": 3,
        "flag": "x",
    }
    made = structure(data, Settings)
    assert made.key == Secret("k")
    assert type(made.number) is int
    assert unstructure(made) == data | {"names": ["a", "b"], "key": "***"}
    assert refused({"pair": [2]}, Settings) == "pair: expected a list of 2, not a list"
    assert refused({"pair": ["x", "b"]}, Settings) == "pair[0]: expected a whole number, not a string"
    assert refused({"items": [{"size": 0}]}, Settings) == "items[0].size: 'size' must be >= 1: 0"
    assert refused({"table": {"x.y": {"size": "1"}}}, Settings).startswith('table["x.y"].size: expected a whole number')
    assert refused({"mode": "c"}, Settings).startswith("mode: unknown value 'c'")
    assert refused({"number": "3"}, Settings) == "number: expected a whole number or a number, not a string"
    assert refused({"flag": 1}, Settings) == "flag: expected true, false or a string, not 1"


def test_a_class_no_json_fits_is_not_the_callers_mistake():
    @attrs.frozen(kw_only=True)
    class Odd:
        stream: io.StringIO

    attrs.resolve_types(Odd, None, {"io": io})
    with pytest.raises(TypeError, match=r"StringIO.* has no JSON form"):
        structure({"stream": "x"}, Odd)


# -- objects to data and text ------------------------------------------------------------------------------------------


def test_documents_are_predictable():
    document = unstructure(ModelInfo(id="x", capabilities={"vision", "chat"}))
    assert document["capabilities"] == ["chat", "vision"]
    assert document["max_tokens"] is None
    assert list(document) == [field.name for field in attrs.fields(ModelInfo)]


def test_secrets_are_masked_wherever_they_stand():
    caller = Caller(metadata={"a": "b"})
    auth = AuthConfig(type="api_key", credentials={"api_key": Secret("hush"), "more": [Secret("hush")]})
    assert unstructure(auth)["credentials"] == {"api_key": "***", "more": ["***"]}
    assert "hush" not in dumps([auth, caller, {"x": Secret("hush")}])


def test_plain_data_of_any_form():
    proxy = types.MappingProxyType({"a": (1, frozenset({"y", "x"})), "state": HealthState.HEALTHY})
    document = unstructure({"p": proxy, "m": MESSAGE})
    assert document["p"] == {"a": [1, ["x", "y"]], "state": "healthy"}
    assert type(document["p"]["state"]) is str
    assert document["m"]["role"] == "assistant"
    assert json.loads(dumps(document)) == document


@pytest.mark.parametrize("value", [object(), {1: 2}, b"x", {"a": [object()]}])
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises(TypeError):
        dumps(value)


class FakeOrjson:
    """Stands in for orjson's borders: UTF-8 bytes out, null for NaN, no integers beyond 64 bits, no half surrogates."""

    def __init__(self) -> None:
        self.dumped = 0
        self.loaded = 0

    def dumps(self, document: Any) -> bytes:
        if document in (2**70, "\ud83d"):
            raise TypeError("not serializable")
        self.dumped += 1
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace("NaN", "null").encode()

    def loads(self, text: str | bytes) -> Any:
        if any(refused in str(text) for refused in ("\\ud83d", "NaN", "Infinity", "[" * 2000)):
            raise json.JSONDecodeError("bad", str(text), 0)
        self.loaded += 1
        return json.loads(text)


@pytest.fixture(params=["without orjson", "with orjson"])
def fast(request, monkeypatch):
    module = FakeOrjson() if request.param == "with orjson" else None
    monkeypatch.setitem(sys.modules, "orjson", module)
    jsontext._orjson.cache_clear()
    yield module
    jsontext._orjson.cache_clear()


def test_text_is_the_same_with_and_without_orjson(fast):
    assert dumps({"a": "é", "b": [1.5, None]}) == '{"a":"é","b":[1.5,null]}'
    assert dumps([math.nan]) == "[null]"
    assert dumps(2**70) == str(2**70)
    assert dumps("\ud83d").encode() == b'"\\ud83d"'
    assert loads('"\\ud83d"') == "\ud83d"
    assert loads(b'{"a":1}') == loads(' \n{"a": 1}\t ') == {"a": 1}
    if fast is not None:
        assert fast.dumped >= 1
        assert fast.loaded >= 1


@pytest.mark.parametrize("document", ["", " ", "{", "{} {}", '{"a": NaN}', "[Infinity]", b"\xff", "[" * 100_000])
def test_what_is_not_json_is_refused(document, fast):
    with pytest.raises(InvalidRequestError, match="not valid JSON"):
        loads(document)


def test_numbers_that_are_not_finite_become_null_deep_inside(fast):
    assert loads(dumps({"a": [math.nan, {"b": 1.5}]})) == {"a": [None, {"b": 1.5}]}


@given(st.lists(st.text("ab.$0-_ é", min_size=1, max_size=4) | st.integers(0, 99), max_size=4))
def test_places_are_unambiguous(steps):
    written = place(steps)
    assert place(steps, "root") == (f"root.{written}" if written and not written.startswith("[") else f"root{written}")
    found: list[str | int] = []
    rest = written
    while rest:
        if rest.startswith("["):
            value, end = json.JSONDecoder().raw_decode(rest, 1)
            found.append(value)
            rest = rest[end + 1 :]
        else:
            word = rest.removeprefix(".").split(".")[0].split("[")[0]
            found.append(word)
            rest = rest.removeprefix(".")[len(word) :]
    assert found == steps


def test_importing_the_module_does_not_import_cattrs():
    code = "import sys, apex_llm_core.converters; sys.exit('cattrs' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
