from __future__ import annotations

import json

import pytest
from apex_llm_mock import Reply, ScriptedToolCall, tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_llm_core.config import ModelConfig
from apex_llm_core.errors import (
    ContextLengthExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    RateLimitError,
)
from apex_llm_core.models import (
    ChatMessage,
    DocumentPart,
    FunctionChoice,
    FunctionDefinition,
    ImagePart,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolResultPart,
)

texts = st.text(max_size=200)


def user(content):
    return ChatMessage(role="user", content=content)


def test_the_prompt_comes_back(mock):
    assert mock().generate("hello there").message.text == "hello there"
    assert mock().generate("hello there", kind="text").message.text == "hello there"


def test_the_last_user_message_is_the_prompt(mock):
    messages = [
        ChatMessage(role="system", content="s"),
        user("a"),
        ChatMessage(role="assistant", content="b"),
        user("c"),
    ]
    assert mock().generate(messages).message.text == "c"


def test_images_and_documents_leave_a_note(mock):
    parts = [
        TextPart(text="what is this?"),
        ImagePart(data="AAAA", media_type="image/png"),
        DocumentPart(text="long", name="report"),
    ]
    assert mock().generate([user(parts)]).message.text == "what is this? [image image/png] [document report]"


def test_a_fixed_reply_may_hold_the_prompt(mock):
    assert mock(reply="You said: {prompt}!").generate("{x}").message.text == "You said: {x}!"


@settings(deadline=None)
@given(texts, st.integers(1, 50), st.integers(1, 7), st.integers(1, 3))
def test_chunks_join_to_the_whole_text(mock, text, size, per_read, n):
    own = mock(chunk_size=size, chunks_per_read=per_read)
    whole = own.generate(text, n=n)
    batches = own.batches(text, n=n)
    streamed = own.stream(text, n=n)
    assert [choice.text for choice in streamed.choices] == [choice.message.text for choice in whole.choices]
    assert streamed.usage == whole.usage
    assert all(len(chunk.text) <= size for batch in batches for chunk in batch)
    assert all(len(batch) == per_read for batch in batches[:-1])


def test_alternatives_take_turns_in_a_stream(mock):
    own = mock(chunk_size=3)
    indexes = [chunk.index for batch in own.batches("abcdef", n=2) for chunk in batch]
    assert indexes == [0, 1, 0, 1, 1, 1, 0, 1]
    assert [choice.text for choice in own.stream("abcdef", n=2).choices] == ["abcdef", "abcdef (2)"]


def test_too_many_alternatives_are_refused(mock):
    with pytest.raises(InvalidRequestError, match="n is 129"):
        mock().generate(n=129)


@settings(deadline=None)
@given(texts, st.integers(1, 20))
def test_max_tokens_cuts(mock, text, limit):
    result = mock().generate(text, max_tokens=limit)
    assert result.message.text == text[: 4 * limit]
    assert result.finish_reason == ("length" if len(text) > 4 * limit else "stop")
    assert result.usage.completion_tokens <= limit


def test_stop_words_end_the_answer_before_them(mock):
    result = mock().generate("one two three", stop=("three", "two"))
    assert (result.message.text, result.finish_reason) == ("one ", "stop")


def test_the_models_longest_answer_cuts_too(mock):
    result = mock().generate("x" * 40_000, model="mock-small")
    assert result.usage.completion_tokens == 4_096
    assert result.finish_reason == "length"


def test_a_prompt_that_leaves_no_room_is_refused(mock):
    own = mock(models=(ModelConfig(id="tiny", max_tokens=10),))
    with pytest.raises(
        ContextLengthExceededError, match="has 10 tokens; the context window of 'tiny' has 10"
    ) as caught:
        own.generate("x" * 28, model="tiny")
    assert (caught.value.provider, caught.value.model, caught.value.status_code) == ("a-mock", "tiny", 400)
    assert own.generate("x" * 24, model="tiny").message.text == "x" * 4


def test_usage_counts_four_characters_a_token(mock):
    usage = mock().generate("x" * 9).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (tokens.TOKENS_PER_MESSAGE + 3, 3)
    assert not usage.estimated


def test_reasoning_comes_first_and_is_counted(mock):
    own = mock()
    result = own.generate("why?", reasoning_effort="low")
    reasoning, text = result.message.content
    assert isinstance(reasoning, ReasoningPart)
    assert text == TextPart(text="why?")
    assert result.usage.reasoning_tokens == tokens.count(reasoning.text)
    assert result.usage.completion_tokens == result.usage.reasoning_tokens + 1
    assert own.stream("why?", reasoning_effort="low").choices[0].reasoning == reasoning.text
    assert own.generate("why?", reasoning_effort="none").message.content == "why?"


def test_log_probabilities_cover_the_text(mock):
    found = mock().generate("hello there", logprobs=True).choices[0].logprobs
    assert "".join(token["token"] for token in found) == "hello there"
    assert all(-1 <= token["logprob"] <= 0 for token in found)


# -- models


def test_an_unknown_model_is_refused_with_the_nearest(mock):
    with pytest.raises(ModelNotFoundError, match="did you mean 'mock-large'"):
        mock().generate(model="mock-larg")
    assert mock(unknown_models="serve").generate(model="mock-larg").model == "mock-larg"


def test_a_configured_model_is_served(mock):
    own = mock(models=(ModelConfig(id="gpt-4o", provider_model_id="prod", capabilities=("chat",)),))
    assert own.generate("hi", model="prod").message.text == "hi"
    with pytest.raises(ModelNotFoundError, match="does not offer stream"):
        own.batches("hi", model="prod")


def test_a_base_model_gives_its_facts(mock):
    own = mock(models=(ModelConfig(id="mine", base_model="mock-small"),))
    with pytest.raises(ContextLengthExceededError):
        own.generate("x" * 70_000, model="mine")
    with pytest.raises(ModelNotFoundError, match="'mine' does not offer tools; valid: mock-large"):
        own.generate("x", model="mine", tools=[FunctionDefinition(name="t")])


def test_operations_go_to_their_models_only(mock):
    with pytest.raises(ModelNotFoundError, match="does not offer embed; valid: mock-embed"):
        mock().embed("x", model="mock-large")
    with pytest.raises(ModelNotFoundError, match="does not offer chat"):
        mock().generate(model="mock-embed")


# -- tools

WEATHER = FunctionDefinition(
    name="get_weather",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 2},
            "unit": {"enum": ["C", "F"]},
        },
        "required": ["city", "days", "unit"],
    },
)
TIME = FunctionDefinition(name="get_time")


@pytest.mark.parametrize(
    ("prompt", "options", "called"),
    [
        ("hello", {}, []),
        ("hello", {"tool_choice": "auto"}, []),
        ("hello", {"tool_choice": "required"}, ["get_weather"]),
        ("call get_time", {"tool_choice": "required"}, ["get_time"]),
        ("hello", {"tool_choice": FunctionChoice(name="get_time")}, ["get_time"]),
        ("please Get Weather and get-time", {}, ["get_weather", "get_time"]),
        ("please get_weather and get_time", {"parallel_tool_calls": False}, ["get_weather"]),
        ("please get_weather", {"tool_choice": "none"}, []),
    ],
)
def test_when_tools_are_called(mock, prompt, options, called):
    result = mock().generate(prompt, tools=[WEATHER, TIME], **options)
    assert [call.name for call in result.message.tool_calls] == called
    assert result.finish_reason == ("tool_calls" if called else "stop")
    assert result.message.text == ("" if called else prompt)


def test_arguments_follow_the_schema(mock):
    call = mock().generate("get_weather in Paris", tools=[WEATHER]).message.tool_calls[0]
    assert json.loads(call.arguments) == {"city": "get_weather in Paris", "days": 2, "unit": "C"}


def test_calls_are_repeatable_and_ids_differ_by_turn_choice_and_seed(mock):
    def ids(prompt, seed=0, n=1):
        result = mock(seed=seed).generate(prompt, tools=[WEATHER, TIME], n=n)
        return [call.id for choice in result.choices for call in choice.message.tool_calls]

    first = ids("get_weather get_time")
    assert first == ids("get_weather get_time")
    longer = ids([user("hi"), ChatMessage(role="assistant", content="hi"), user("get_weather get_time")])
    everything = ids("get_weather get_time", n=2) + longer + ids("get_weather get_time", seed=1)
    assert len(set(everything)) == len(everything) == 8


def test_results_are_acknowledged(mock):
    own = mock()
    first = own.generate("get_weather and get_time", tools=[WEATHER, TIME]).message
    weather, time = first.tool_calls
    results = [
        ChatMessage(role="tool", content=[ToolResultPart(tool_call_id=weather.id, content="21 degrees")]),
        ChatMessage(role="tool", content=[ToolResultPart(tool_call_id=time.id, content="no clock", is_error=True)]),
    ]
    second = own.generate([user("get_weather and get_time"), first, *results], tools=[WEATHER, TIME])
    assert second.message.text == "The tool get_weather answered: 21 degrees\nThe tool get_time failed: no clock"
    assert second.finish_reason == "stop"


def test_the_older_spelling_goes_round(mock):
    own = mock()
    first = own.generate("get_time", functions=[TIME]).message
    assert first.function_call.name == "get_time"
    result = ChatMessage(role="function", name="get_time", content="noon")
    assert own.generate([user("get_time"), first, result]).message.text == "The tool get_time answered: noon"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tool_choice": FunctionChoice(name="get_tim"), "tools": [TIME]}, "did you mean 'get_time'"),
        ({"function_call": "require", "functions": [TIME]}, "did you mean 'required'"),
        ({"tool_choice": "required"}, "no tools are given"),
    ],
)
def test_impossible_choices_are_refused(mock, options, message):
    with pytest.raises(InvalidRequestError, match=message) as caught:
        mock().generate(**options)
    assert caught.value.provider == "a-mock"


def test_max_tokens_cuts_arguments_too(mock):
    result = mock().generate("get_weather in Paris", tools=[WEATHER], max_tokens=5)
    assert result.finish_reason == "length"
    assert result.message.tool_calls[0].arguments == '{"city":'


# -- json


def test_json_mode_wraps_what_is_no_object(mock):
    form = ResponseFormat(type="json")
    assert json.loads(mock().generate("hé", response_format=form).message.text) == {"reply": "hé"}
    assert mock().generate('{"a": 1}', response_format=form).message.text == '{"a": 1}'
    assert json.loads(mock().generate("[1]", response_format=form).message.text) == {"reply": "[1]"}


def test_json_alternatives_stay_json(mock):
    form = ResponseFormat(type="json_schema", schema=WEATHER.parameters)
    result = mock().generate("x", response_format=form, n=2)
    assert [json.loads(choice.message.text) for choice in result.choices] == [{"city": "x", "days": 2, "unit": "C"}] * 2


# -- scripts


def test_a_script_goes_on_and_begins_again(mock):
    own = mock(script=[Reply(text="one"), Reply(text="two {prompt}")])
    assert [own.generate("x").message.text for _ in range(3)] == ["one", "two x", "one"]


def test_a_script_may_repeat_its_end(mock):
    own = mock(script=[Reply(text="one"), Reply(text="two")], script_end="repeat")
    assert [own.stream("x").text for _ in range(4)] == ["one", "two", "two", "two"]


def test_everything_can_be_scripted(mock):
    reply = Reply(
        reasoning="hm",
        text="a",
        tool_calls=[
            ScriptedToolCall(name="t", arguments={"x": 1}, id="id1"),
            ScriptedToolCall(name="t", arguments_text="{broken"),
            ScriptedToolCall(name="t"),
        ],
        finish_reason="content_filter",
    )
    own = mock(script=[reply])
    result = own.generate("x")
    first, second, third = result.message.tool_calls
    assert (first.id, json.loads(first.arguments), second.arguments) == ("id1", {"x": 1}, "{broken")
    assert second.id != third.id
    assert result.finish_reason == "content_filter"
    streamed = own.stream("x").choices[0]
    assert (streamed.text, streamed.reasoning, streamed.tool_calls) == ("a", "hm", result.message.tool_calls)


def test_a_scripted_error_is_raised_and_the_script_goes_on(mock):
    own = mock(script=[Reply(error="rate_limit_error", retry_after=2.5, message="slow down"), Reply(text="ok")])
    with pytest.raises(RateLimitError, match="slow down") as caught:
        own.generate("x")
    assert (caught.value.retry_after, caught.value.status_code, caught.value.retryable) == (2.5, 429, True)
    assert own.generate("x").message.text == "ok"


def test_a_scripted_error_after_text_breaks_the_stream(mock):
    own, batches = mock(script=[Reply(text="half an answer", error="unknown_error")], chunk_size=4), []
    with pytest.raises(Exception, match="unknown_error"):
        own.batches("x", into=batches)
    assert "".join(chunk.text for batch in batches for chunk in batch) == "half an answer"
    assert all(chunk.finish_reason is None for batch in batches for chunk in batch)
