from __future__ import annotations

from base64 import b64encode

import pytest
from apex_llm_gateway.openai.messages import read_messages
from apex_llm_gateway.openai.rules import ParameterError
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessageParam
from pydantic import TypeAdapter

from apex_llm_core.models import (
    CacheHintPart,
    ChatMessage,
    DocumentPart,
    FunctionCall,
    GenerateRequest,
    ImagePart,
    ReasoningPart,
    TextGenerationOptions,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

OFFICIAL = TypeAdapter(list[ChatCompletionMessageParam])
ASK = {"role": "user", "content": "What is the weather?"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
PIXEL = "iVBORw0KGgoAAAANSUhEUg=="


def read_one(message) -> ChatMessage:
    return read_messages([message])[0]


def refused(*messages) -> ParameterError:
    with pytest.raises(ParameterError) as caught:
        read_messages(list(messages))
    return caught.value


def user(*parts) -> dict:
    return {"role": "user", "content": list(parts)}


def image(url, **more) -> dict:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(**members) -> dict:
    return {"type": "file", "file": members}


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
@pytest.mark.parametrize("name", [None, "bob"])
def test_text_of_every_speaker(role, name):
    assert read_one({"role": role, "content": "hi", "name": name}) == ChatMessage(role=role, content="hi", name=name)
    parts = {"role": role, "content": [{"type": "text", "text": "hi"}], "name": name}
    assert read_one(parts) == ChatMessage(role=role, content=[TextPart(text="hi")], name=name)


def test_a_conversation_with_tools_as_the_official_client_writes_it():
    wire = [
        {"role": "developer", "content": "Be brief."},
        ASK,
        CALLS,
        {
            "role": "tool",
            "tool_call_id": "call_1",
            "content": [{"type": "text", "text": "21"}, {"type": "text", "text": " C"}],
        },
        {"role": "assistant", "content": "Warm.", "refusal": None},
    ]
    OFFICIAL.validate_python(wire)
    assert read_messages(wire) == (
        ChatMessage(role="developer", content="Be brief."),
        ChatMessage(role="user", content="What is the weather?"),
        ChatMessage(role="assistant", content=[ToolCallPart(id="call_1", name="weather", arguments='{"city":"Rome"}')]),
        ChatMessage(role="tool", content=[ToolResultPart(tool_call_id="call_1", content="21 C")]),
        ChatMessage(role="assistant", content="Warm."),
    )


def test_words_stand_before_the_calls_they_announce():
    message = read_one({**CALLS, "content": "Let me see."})
    assert message.content == (
        TextPart(text="Let me see."),
        ToolCallPart(id="call_1", name="weather", arguments='{"city":"Rome"}'),
    )
    assert read_one({**CALLS, "content": ""}).content == read_one(CALLS).content


def test_the_older_spelling_of_calls():
    wire = [
        ASK,
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
        {"role": "function", "name": "weather", "content": "21 C"},
    ]
    OFFICIAL.validate_python(wire)
    _, called, result = read_messages(wire)
    assert called == ChatMessage(role="assistant", function_call=FunctionCall(name="weather", arguments="{}"))
    assert result == ChatMessage(role="function", name="weather", content="21 C")


def test_a_refusal_is_what_the_assistant_said():
    assert read_one({"role": "assistant", "content": None, "refusal": "No."}).content == "No."
    assert read_one({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}).text == "No."
    assert read_one({"role": "assistant", "content": "Well.", "refusal": "No."}).text == "Well.No."


def test_reasoning_goes_back_whole_and_first():
    message = read_one(
        {
            "role": "assistant",
            "content": "42",
            "reasoning_content": "Hm.",
            "reasoning_details": [
                {"type": "reasoning", "text": "Hm.", "signature": "c2ln", "data": None},
                {"type": "reasoning", "data": "ZGF0YQ=="},
            ],
        }
    )
    assert message.content == (
        ReasoningPart(text="Hm.", signature="c2ln"),
        ReasoningPart(data="ZGF0YQ=="),
        TextPart(text="42"),
    )
    bare = {"role": "assistant", "content": "42", "reasoning_content": "Hm.", "reasoning_details": []}
    assert read_one(bare).content == (ReasoningPart(text="Hm."), TextPart(text="42"))


def test_images_in_base64_and_by_url():
    wire = user(
        {"type": "text", "text": "Which?"},
        image(f"data:image/png;base64,{PIXEL}", detail="low"),
        image("https://example.org/a.png"),
        image(f"DATA:Image/JPEG;Base64,{PIXEL}"),
    )
    OFFICIAL.validate_python([wire])
    assert read_one(wire).content == (
        TextPart(text="Which?"),
        ImagePart(data=PIXEL, media_type="image/png", detail="low"),
        ImagePart(url="https://example.org/a.png"),
        ImagePart(data=PIXEL, media_type="image/jpeg"),
    )


def test_documents_with_a_type_or_a_telling_name():
    wire = user(
        file(file_data="data:application/pdf;base64,JVBERi0=", filename="a.pdf"),
        file(file_data="JVBERi0=", filename="B.PDF"),
    )
    OFFICIAL.validate_python([wire])
    assert read_one(wire).content == (
        DocumentPart(data="JVBERi0=", media_type="application/pdf", name="a.pdf"),
        DocumentPart(data="JVBERi0=", media_type="application/pdf", name="B.PDF"),
    )


def test_documents_that_are_text_arrive_as_text():
    note = b64encode("a,ü".encode()).decode()
    latin = b64encode("a,ü".encode("latin-1")).decode()
    assert read_one(user(file(file_data=note, filename="x.csv"))).content == (
        DocumentPart(text="a,ü", media_type="text/csv", name="x.csv"),
    )
    assert read_one(user(file(file_data=f"data:text/plain;charset=utf-8;base64,{note}"))).content == (
        DocumentPart(text="a,ü", media_type="text/plain"),
    )
    assert read_one(user(file(file_data=latin, filename="x.csv"))).content == (
        DocumentPart(data=latin, media_type="text/csv", name="x.csv"),
    )


def test_hints_stand_after_what_they_speak_of():
    text = {"type": "text", "text": "long"}
    hint = {"type": "ephemeral", "ttl": "1h"}
    assert read_one(user({**text, "cache_control": hint}, text)).content == (
        TextPart(text="long"),
        CacheHintPart(ttl="1h"),
        TextPart(text="long"),
    )
    assert read_one(user({**text, "prompt_cache_breakpoint": {"mode": "explicit"}})).content[1] == CacheHintPart()
    assert read_one({"role": "system", "content": "long", "cache_control": {"type": "ephemeral"}}).content == (
        TextPart(text="long"),
        CacheHintPart(),
    )
    result = {"role": "tool", "tool_call_id": "call_1", "content": [{**text, "cache_control": hint}]}
    assert read_messages([ASK, CALLS, result])[2].content == (
        ToolResultPart(tool_call_id="call_1", content="long"),
        CacheHintPart(ttl="1h"),
    )


@pytest.mark.parametrize(
    ("message", "param", "words"),
    [
        ("hi", "messages[0]", "expected an object, not text"),
        ({}, "messages[0].role", "missing"),
        ({"role": "usr", "content": "x"}, "messages[0].role", "did you mean 'user'?"),
        ({"role": [], "content": "x"}, "messages[0].role", "expected text"),
        ({"role": "user"}, "messages[0].content", "missing"),
        ({"role": "user", "content": None}, "messages[0].content", "missing"),
        ({"role": "user", "content": 1}, "messages[0].content", "text or a list of parts, not a number"),
        (user(), "messages[0].content", "empty"),
        (user("x"), "messages[0].content[0]", "expected an object, not text"),
        (user({"text": "x"}), "messages[0].content[0].type", "missing"),
        (user({"type": "txt"}), "messages[0].content[0].type", "did you mean 'text'?"),
        (user({"type": "text"}), "messages[0].content[0].text", "missing"),
        (user({"type": "text", "text": 1}), "messages[0].content[0].text", "expected text"),
        (user({"type": "refusal", "refusal": "x"}), "messages[0].content[0].type", "of role 'user' cannot have"),
        ({"role": "system", "content": [image("https://x")]}, "messages[0].content[0].type", "valid: text"),
        (user({"type": "input_audio", "input_audio": {}}), "messages[0].content[0].type", "audio is not taken"),
        (user({"type": "image_url"}), "messages[0].content[0].image_url", "missing"),
        (
            user({"type": "image_url", "image_url": "https://x"}),
            "messages[0].content[0].image_url",
            "expected an object, not text",
        ),
        (user(image("ftp://x")), "messages[0].content[0].image_url.url", "http(s) or a data: URL"),
        (user(image("s3://bucket/x.png")), "messages[0].content[0].image_url.url", "http(s) or a data: URL"),
        (user(image("file:///etc/passwd")), "messages[0].content[0].image_url.url", "http(s) or a data: URL"),
        (user(image("data:image/png,x")), "messages[0].content[0].image_url.url", "data:TYPE;base64,DATA"),
        (user(image("data:image/png;base64,")), "messages[0].content[0].image_url.url", "no data"),
        (user(image("data:;base64,xxxx")), "messages[0].content[0].image_url.url", "of no type"),
        (user(image("data:application/pdf;base64,x")), "messages[0].content[0].image_url.url", "type 'file'"),
        (user(image("https://x", detail=1)), "messages[0].content[0].image_url.detail", "expected text"),
        (user(file(file_id="file-1")), "messages[0].content[0].file.file_id", "no files are stored here"),
        (user(file(filename="x.pdf")), "messages[0].content[0].file.file_data", "missing"),
        (user(file(file_data="")), "messages[0].content[0].file.file_data", "empty"),
        (user(file(file_data="eHg=", filename="x.exe")), "messages[0].content[0].file.file_data", "known ending"),
        (user(file(file_data="!!", filename="x.txt")), "messages[0].content[0].file.file_data", "no base64"),
        (
            user({"type": "text", "text": "x", "cache_control": {"type": "eternal"}}),
            "messages[0].content[0].cache_control.type",
            "valid: ephemeral",
        ),
        ({"role": "assistant"}, "messages[0].content", "missing"),
        ({"role": "assistant", "audio": {"id": "x"}}, "messages[0].audio", "in audio"),
        ({"role": "assistant", "tool_calls": {}}, "messages[0].tool_calls", "expected a list"),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "id": ""}]},
            "messages[0].tool_calls[0].id",
            "empty",
        ),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]},
            "messages[0].tool_calls[0].type",
            "'custom'",
        ),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "x", "arguments": {}}}]},
            "messages[0].tool_calls[0].function.arguments",
            "expected text, not an object",
        ),
        ({"role": "assistant", "function_call": {"name": "x"}}, "messages[0].function_call.arguments", "missing"),
        (
            {"role": "assistant", "content": "x", "reasoning_details": [{"type": "reasoning", "text": 1}]},
            "messages[0].reasoning_details[0].text",
            "expected text",
        ),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id", "missing"),
        ({"role": "user", "content": "x", "name": ""}, "messages[0].name", "empty"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(message, param, words):
    error = refused(message)
    assert error.param == param
    assert words in error.message


def test_results_follow_the_calls_they_answer():
    error = refused(ASK, CALLS, {"role": "tool", "tool_call_id": "call_2", "content": "x"})
    assert error.param == "messages[2].tool_call_id"
    assert "did you mean 'call_1'?" in error.message
    error = refused(ASK, {"role": "function", "name": "weather", "content": "x"})
    assert error.param == "messages[1].name"
    assert refused({"role": "function", "content": "x"}).param == "messages[0].name"


def test_an_empty_conversation_is_refused():
    assert "at least one message" in refused().message


ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=6) | st.sampled_from(["call_1", [{"type": "text", "text": "x"}]]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(
                ("type", "text", "image_url", "url", "file", "file_data", "filename", "id", "function", "name"), inner
            ),
        )
    ),
    max_leaves=6,
)
MEMBERS = (
    *("content", "name", "refusal", "tool_calls", "tool_call_id", "function_call", "reasoning_details"),
    *("reasoning_content", "cache_control", "audio"),
)
WIRE = st.lists(
    st.fixed_dictionaries({"role": ROLES}, optional=dict.fromkeys(MEMBERS, VALUES)) | st.just(CALLS), max_size=4
)


@given(wire=WIRE)
def test_what_is_read_is_what_the_core_takes(wire):
    place = "messages"
    try:
        messages = read_messages(wire)
    except ParameterError as error:
        place = error.param
    else:
        GenerateRequest(kind="chat", messages=messages, model="m", options=TextGenerationOptions())
    assert place is not None
    assert place.startswith("messages")
