from __future__ import annotations

import typing

import pytest
from apex_llm_gateway.openai.chat_request import PARAMETERS, ChatRequest, read_chat
from apex_llm_gateway.openai.rules import ParameterError, Rules
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from apex_llm_core.models import ChatMessage, FunctionChoice, FunctionDefinition, ResponseFormat

HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
PASS, DROP, REJECT = Rules(), Rules(unknown="drop"), Rules(unknown="reject")
FUNCTION = {"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}, "strict": True}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def read(**members) -> ChatRequest:
    return read_chat({**HELLO, **members}, PASS)


def refused(rules: Rules = PASS, **members) -> ParameterError:
    with pytest.raises(ParameterError) as caught:
        read_chat({**HELLO, **members}, rules)
    return caught.value


def test_a_small_request_has_its_model_and_message_and_nothing_else():
    request = read_chat(HELLO, PASS)
    assert request.messages == (ChatMessage(role="user", content="hello"),)
    assert (request.options.model, request.options.provider, request.options.extra) == ("gpt-4o", None, None)
    assert (request.stream, request.include_usage, request.functions) == (False, False, False)


def test_what_is_equal_but_of_another_type_is_not_the_same():
    first, second = read(temperature=1, n=1).options, read(temperature=1.0, n=1).options
    assert (type(first.temperature), type(second.temperature)) == (int, float)
    assert refused(temperature=True).param == "temperature"
    assert refused(n=1.0).param == "n"
    assert refused(temperature=[1]).param == "temperature"


def test_the_same_options_are_made_once():
    assert read(temperature=0.5).options is read(temperature=0.5).options
    # Whatever callers send in these must not stay in memory.
    for members in ({"user": "x"}, {"stop": "x"}, {"reasoning_effort": "x"}, {"metadata": {"a": "x"}}):
        assert read(**members).options is not read(**members).options
    assert read(model="m" * 300).options is not read(model="m" * 300).options


def test_options_arrive_under_their_names():
    given_ = {
        "temperature": 1,
        "top_p": 0.5,
        "n": 2,
        "stop": ["a", "b", "c", "d", "e"],
        "seed": -7,
        "user": "alice",
        "logprobs": True,
        "top_logprobs": 3,
        "presence_penalty": -1.5,
        "frequency_penalty": 2,
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
        "max_tokens": 10,
    }
    options = read(**given_).options
    for name, value in given_.items():
        assert getattr(options, name) == (tuple(value) if name == "stop" else value), name


def test_one_stop_sequence_may_stand_alone():
    assert read(stop="END").options.stop == ("END",)


@pytest.mark.parametrize("order", [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")])
def test_the_newer_limit_of_tokens_wins(order):
    values = {"max_tokens": 1, "max_completion_tokens": 2}
    assert read(**{name: values[name] for name in order}).options.max_tokens == 2


def test_null_is_absent_everywhere():
    request = read(**dict.fromkeys(PARAMETERS.names - HELLO.keys()), api_key=None, novelty=None)
    assert request == read_chat(HELLO, PASS)


def test_the_model_may_name_its_provider():
    def place(model):
        provider, _, rest = model.rpartition("/")
        return provider or None, rest

    options = read_chat({**HELLO, "model": "azure-eu/gpt-4o"}, Rules(place=place)).options
    assert (options.provider, options.model) == ("azure-eu", "gpt-4o")
    assert read_chat(HELLO, Rules(place=place)).options.provider is None


def test_streaming_with_usage():
    request = read(stream=True, stream_options={"include_usage": True, "include_obfuscation": False})
    assert (request.stream, request.include_usage) == (True, True)
    assert read(stream=False, stream_options={}).stream is False


def test_tools_and_which_to_call():
    request = read(
        tools=[{"type": "function", "function": FUNCTION}, {"type": "function", "function": {"name": "now"}}],
        tool_choice={"type": "function", "function": {"name": "now"}},
    )
    assert request.options.tools == (FunctionDefinition(**FUNCTION), FunctionDefinition(name="now"))
    assert request.options.tool_choice == FunctionChoice(name="now")
    assert not request.functions
    assert read(tool_choice="required").options.tool_choice == "required"


def test_the_older_spelling_of_tools_is_kept_and_noted():
    request = read(functions=[FUNCTION], function_call={"name": "weather"})
    assert request.options.functions == (FunctionDefinition(**FUNCTION),)
    assert request.options.function_call == FunctionChoice(name="weather")
    assert request.functions
    assert read(function_call="none").options.function_call == "none"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"type": "text"}, ResponseFormat(type="text")),
        ({"type": "json_object"}, ResponseFormat(type="json")),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}},
            ResponseFormat(type="json_schema", name="x", schema={"type": "object"}, strict=True),
        ),
    ],
)
def test_the_form_of_the_answer(written, expected):
    assert read(response_format=written).options.response_format == expected


@pytest.mark.parametrize("rules", [PASS, DROP, REJECT])
def test_parameters_of_openai_without_a_field_pass_to_the_provider(rules):
    more = {"store": True, "metadata": {"team": "a"}, "service_tier": "flex", "verbosity": "low"}
    assert read_chat({**HELLO, **more}, rules).options.extra == more


def test_unknown_parameters_pass_are_dropped_or_rejected():
    more = {**HELLO, "top_k": 5, "store": True}
    assert read_chat(more, PASS).options.extra == {"top_k": 5, "store": True}
    assert read_chat(more, DROP).options.extra == {"store": True}
    assert read_chat({**HELLO, "top_k": 5}, DROP).options.extra is None
    error = refused(REJECT, temprature=1)
    assert error.param == "temprature"
    assert "no parameter of /v1/chat/completions; did you mean 'temperature'?" in error.message


@pytest.mark.parametrize("rules", [PASS, DROP, REJECT])
@pytest.mark.parametrize(
    ("more", "param", "named"),
    [
        ({"api_base": "http://evil"}, "api_base", "api_base"),
        ({"store": True, "Extra-Headers": {}}, "Extra-Headers", "Extra-Headers"),
        ({"metadata": {"a": [{"api_key": "sk-very-secret"}]}}, "metadata", "metadata.a[0].api_key"),
    ],
)
def test_addresses_headers_and_credentials_are_refused_by_every_rule(rules, more, param, named):
    error = refused(rules, **more)
    assert error.param == param
    assert error.message.startswith(f"callers cannot set {named}: ")
    assert "sk-very-secret" not in error.message


@pytest.mark.parametrize(
    ("members", "param", "words"),
    [
        ({"model": None}, "model", "model is missing"),
        ({"model": ""}, "model", "model is empty"),
        ({"model": 3}, "model", "expected text, not a number"),
        ({"model": "m" * 3000}, "model", "has 3000 characters"),
        ({"messages": None}, "messages", "messages is missing"),
        ({"temperature": "1"}, "temperature", "expected a number"),
        ({"temperature": True}, "temperature", "expected a number"),
        ({"temperature": -1}, "temperature", "at least 0"),
        ({"top_p": 1.5}, "top_p", "between 0.0 and 1.0"),
        ({"n": 0}, "n", "at least 1"),
        ({"n": 129}, "n", "at most 128"),
        ({"n": 1.0}, "n", "whole number"),
        ({"n": True}, "n", "whole number"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens is 0"),
        ({"max_completion_tokens": 0}, "max_completion_tokens", "max_completion_tokens is 0"),
        ({"stop": 1}, "stop", "string or a sequence of strings"),
        ({"stop": ["a", 1]}, "stop", "stop[1] is 1"),
        ({"seed": "1"}, "seed", "whole number"),
        ({"user": ["x"]}, "user", "end user"),
        ({"logprobs": "true"}, "logprobs", "True or False"),
        ({"logprobs": 1}, "logprobs", "True or False"),
        ({"stream": "true"}, "stream", "expected a boolean, not text"),
        ({"stream": 1}, "stream", "expected a boolean, not a number"),
        ({"stream_options": True}, "stream_options", "expected an object, not a boolean"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "expected a boolean"),
        ({"tools": {}}, "tools", "expected a list"),
        ({"tools": ["weather"]}, "tools[0]", "expected an object, not text"),
        ({"tools": [{"function": FUNCTION}]}, "tools[0].type", "missing"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type", "only tools of type 'function'"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "missing"),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "parameters": "{}"}}]},
            "tools[0].function.parameters",
            "expected an object, not text",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "strict": "yes"}}]},
            "tools[0].function.strict",
            "expected a boolean",
        ),
        ({"functions": [{"name": 1}]}, "functions[0].name", "expected text"),
        ({"tool_choice": "any"}, "tool_choice", "valid: auto, none, required"),
        ({"tool_choice": 1}, "tool_choice", "expected text or an object"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type", "send only those tools"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice.function", "missing"),
        ({"function_call": "weather"}, "function_call", "valid: auto, none"),
        ({"response_format": "json"}, "response_format", "expected an object"),
        ({"response_format": {"type": "json"}}, "response_format.type", "valid: json_object"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
            "missing",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(members, param, words):
    error = refused(**members)
    assert error.param == param
    assert words in error.message


@pytest.mark.parametrize("body", [None, [], "x", 1, True])
def test_a_body_is_an_object(body):
    with pytest.raises(ParameterError, match="expected an object") as caught:
        read_chat(body, PASS)
    assert caught.value.param is None


@pytest.mark.parametrize("members", [{"user": ["x" * 100_000]}, {"tool_choice": "x" * 100_000}])
def test_a_huge_value_is_not_repeated(members):
    assert len(refused(**members).message) < 700


def test_every_parameter_of_the_official_client_is_known():
    official = typing.get_type_hints(CompletionCreateParamsBase).keys() | {"stream"}
    assert official == PARAMETERS.names


@given(document=JSON)
def test_whatever_is_sent_is_read_or_refused(document):
    for rules in (PASS, REJECT):
        try:
            read_chat(document, rules)
        except ParameterError:
            continue


@given(name=st.sampled_from(sorted(PARAMETERS.names)), value=JSON, rules=st.sampled_from([PASS, DROP, REJECT]))
def test_whatever_a_parameter_holds_is_read_or_refused_with_its_place(name, value, rules):
    place = name
    try:
        read_chat({**HELLO, name: value}, rules)
    except ParameterError as error:
        place = error.param
    assert place is not None
    assert place.startswith(name)
