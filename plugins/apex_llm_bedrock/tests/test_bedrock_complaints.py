"""What users of other libraries complained about, number by number, end to end: none of it may be true here.

The emulator refuses what Bedrock refuses, so that a request that is put together wrongly fails here as it does there.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from base64 import b64encode
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from apex_llm_mock.emulation.bedrock.reasoning import REDACTION_TRIGGER
from apex_llm_mock.settings import MockSettings, Reply, ScriptedToolCall

from apex_llm_core.errors import (
    AuthenticationError,
    AuthorizationError,
    ConfigurationError,
    ContextLengthExceededError,
    InvalidRequestError,
    LLMTimeoutError,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServiceUnavailableError,
    UnsupportedParameterError,
)
from apex_llm_core.models import (
    CacheHintPart,
    ChatMessage,
    DocumentPart,
    FunctionCall,
    FunctionChoice,
    FunctionDefinition,
    ImagePart,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from apex_llm_core.models.events import FellBack

#: Where each was made, as repository and number of the issue or pull request.
COMPLAINTS = {
    1: "langchain-ai/langchain-aws#130, cline/cline#431",
    2: "BerriAI/litellm#7099, langchain-ai/langchain-aws#451, crewAIInc/crewAI#4749, genkit-ai/aws-bedrock-js-plugin#664",
    3: "langchain-ai/langchain-aws#141, pydantic/pydantic-ai#6081 #3253",
    4: "pydantic/pydantic-ai#1966, langgenius/dify#16421",
    5: "langchain-ai/langchain-aws#403, boto/botocore#3525, OpenHands/OpenHands#5339",
    6: "BerriAI/litellm#28874 #5138 #19384",
    7: "BerriAI/litellm#18667",
    8: "sigoden/aichat#1544 #1550",
    9: "crewAIInc/crewAI#6149, langchain-ai/langchain-aws#140 #447, run-llama/llama_index#19655, "
    "aws-samples/bedrock-access-gateway#92",
    10: "langchain-ai/langchain-aws#1286 #1287, BerriAI/litellm#32686 #32159",
    11: "BerriAI/litellm#30946 #24608 #38606 #1790",
    12: "crewAIInc/crewAI#7613, sst/opencode#39621",
    13: "BerriAI/litellm#15270 #9221 #34373 #36878, crmne/ruby_llm#832, langchain-ai/langchain-aws#983",
    14: "BerriAI/litellm#40165, anthropics/anthropic-sdk-python#1770",
    15: "Aider-AI/aider#3556, agno-agi/agno#3968, langgenius/dify-official-plugins#3519",
    16: "BerriAI/litellm#15788 #8911 #18258 #18761, anthropics/anthropic-sdk-python#740 #894",
    17: "andrewyng/aisuite#207, danny-avila/LibreChat#5021",
    18: "mozilla-ai/any-llm#1183, BerriAI/litellm#39411",
    19: "BerriAI/litellm#8652 #23375 #38210, langchain-ai/langchain-aws#819 #947, strands-agents/sdk-python#829",
    20: "langchain-ai/langchain-aws#844 #1229 #1299, BerriAI/litellm#25375, UKGovernmentBEIS/inspect_ai#5217",
    21: "BerriAI/litellm#42717 #25740 #14005 #13963 #35218",
    22: "BerriAI/litellm#39210, langchain-ai/langchain-aws#326, pydantic/pydantic-ai#3438",
    23: "langchain-ai/langchain-aws#176 #214, camel-ai/camel#4261",
    24: "hermes-agent#55429, QwenPaw#3313, BerriAI/litellm#18068, llm-bedrock#8, vercel/ai#20365, "
    "generative-ai-use-cases#1671, opencode#48756",
    25: "BerriAI/litellm#5592 #3286 #2327 #3368, langchain-ai/langchain-aws#62 #867, mozilla-ai/any-llm",
}
CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
CLAUDE_45 = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU_3 = "anthropic.claude-3-haiku-20240307-v1:0"
NOVA = "amazon.nova-lite-v1:0"
NOVA_2 = "us.amazon.nova-2-lite-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
LLAMA_3 = "meta.llama3-8b-instruct-v1:0"
MISTRAL = "mistral.mistral-large-2402-v1:0"
MISTRAL_7B = "mistral.mistral-7b-instruct-v0:2"
WRITER = "us.writer.palmyra-x5-v1:0"
COMMAND = "cohere.command-r-plus-v1:0"
DEEPSEEK = "us.deepseek.r1-v1:0"
GPT_OSS = "openai.gpt-oss-20b-1:0"
TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-multilingual-v3"
NOVA_EMBED = "amazon.nova-2-multimodal-embeddings-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/chatsupport1"
CHATTING = (CLAUDE, CLAUDE_45, HAIKU_3, NOVA, NOVA_2, LLAMA, MISTRAL, MISTRAL_7B, WRITER, COMMAND, DEEPSEEK, GPT_OSS)
MODELS = (*CHATTING, LLAMA_3, TITAN, COHERE, NOVA_EMBED)
#: Models that take tools, each in its way.
TOOL_USERS = (CLAUDE, CLAUDE_45, NOVA, LLAMA, MISTRAL, WRITER, COMMAND, GPT_OSS)
#: Retries without noticeable waits of our own.
QUICK = {"retry": {"base": 0.001, "max_delay": 0.001}}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = FunctionDefinition(name="get_weather", description="Tells the weather.", parameters=CITY)
CLOCK = FunctionDefinition(name="get_time", parameters={"type": "object", "properties": {}})
ANSWER = ResponseFormat(
    type="json_schema",
    name="city",
    schema={**CITY, "additionalProperties": False},
)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
JPEG = b64encode(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(20)).decode()
PDF = b64encode(b"%PDF-1.7\n" + bytes(20)).decode()


@pytest.fixture
def client(bedrock):
    return bedrock.client(models=MODELS)


@pytest.fixture
def lenient(bedrock):
    return bedrock.client(models=MODELS, options={"unsupported_parameters": "drop"})


def user(*content):
    return ChatMessage(role="user", content=content[0] if isinstance(content[0], str) else content)


def assistant(*content):
    return ChatMessage(role="assistant", content=content[0] if isinstance(content[0], str) else content)


def call(call_id, name="get_weather", arguments='{"city": "Oslo"}'):
    return ToolCallPart(id=call_id, name=name, arguments=arguments)


def result(call_id, content="rainy", **more):
    return ToolResultPart(tool_call_id=call_id, content=content, **more)


def tool(*results):
    return ChatMessage(role="tool", content=results)


def refused(kind, ask, *arguments, **options):
    """Return the error of a call, which must be of *kind*, at most what another model may take."""
    with pytest.raises(kind) as caught:
        ask(*arguments, **options)
    assert type(caught.value) in {kind, UnsupportedParameterError}
    return caught.value


def turns(body):
    """Return roles and kinds of blocks of a body."""
    return [(turn["role"], [next(iter(block)) for block in turn["content"]]) for turn in body["messages"]]


def blocks(body, kind):
    return [block[kind] for turn in body["messages"] for block in turn["content"] if kind in block]


# -- 1 to 5: conversations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", CHATTING)
def test_complaint_01_turns_of_one_role_in_a_row(bedrock, client, model):
    messages = [
        ChatMessage(role="system", content="Be brief."),
        user("First"),
        user("Second"),
        assistant("Yes?"),
        assistant("And?"),
        ChatMessage(role="developer", content="Be kind."),
        user("Third"),
    ]
    for ask in (
        lambda: client.chat(messages, model=model).message.text,
        lambda: client.stream(messages, model=model).text,
    ):
        assert ask().endswith("Third")
        body = bedrock.bodies[-1]
        assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
        assert "First" in str(body["messages"][0])
        assert "Second" in str(body["messages"][0])
        assert "Be kind." in str(body)


def test_complaint_01_a_conversation_that_begins_with_the_assistant(bedrock, client):
    assert client.chat([assistant("Hello, I am here."), user("Who?")]).message.text == "Who?"
    assert turns(bedrock.bodies[-1]) == [("user", ["text"]), ("assistant", ["text"]), ("user", ["text"])]


PARALLEL = [user("Weather and time?"), assistant(call("call-1"), call("call-2", "get_time", "{}"))]


@pytest.mark.parametrize("model", TOOL_USERS)
@pytest.mark.parametrize(
    "answers",
    [
        [tool(result("call-1"), result("call-2", "noon"))],
        [tool(result("call-1")), tool(result("call-2", "noon"))],
        # In another order, and split over roles.
        [tool(result("call-2", "noon")), user(result("call-1"))],
    ],
)
def test_complaint_02_all_results_of_a_turn_stand_in_the_next_one(bedrock, client, model, answers):
    said = client.chat([*PARALLEL, *answers], model=model, tools=[WEATHER, CLOCK]).message.text
    assert "rainy" in said
    assert "noon" in said
    body = bedrock.bodies[-1]
    assert turns(body)[-2:] == [("assistant", ["toolUse", "toolUse"]), ("user", ["toolResult", "toolResult"])]
    assert [each["toolUseId"] for each in blocks(body, "toolResult")] == ["call-1", "call-2"]


def test_complaint_02_a_missing_a_second_and_a_late_result_are_told_with_the_call(bedrock, client):
    tools = {"tools": [WEATHER, CLOCK]}
    error = refused(InvalidRequestError, client.chat, [*PARALLEL, tool(result("call-1"))], **tools)
    assert "'call-2' has no result" in error.message
    twice = [*PARALLEL, tool(result("call-1"), result("call-1"), result("call-2"))]
    assert "second result of tool call 'call-1'" in refused(InvalidRequestError, client.chat, twice, **tools).message
    late = [*PARALLEL, tool(result("call-1"), result("call-2")), assistant("Well."), tool(result("call-2"))]
    assert "does not follow" in refused(InvalidRequestError, client.chat, late, **tools).message
    assert len(bedrock.journal) == 0


@pytest.mark.parametrize("model", TOOL_USERS)
def test_complaint_03_words_beside_results(bedrock, client, model):
    messages = [user("Weather?"), assistant(call("call-1")), tool(result("call-1")), user("And tomorrow?")]
    said = client.chat(messages, model=model, tools=[WEATHER]).message.text
    assert said
    alone = model in (LLAMA, MISTRAL, WRITER)
    last = [("user", ["toolResult"]), ("assistant", ["text"]), ("user", ["text"])]
    assert turns(bedrock.bodies[-1])[2:] == (last if alone else [("user", ["toolResult", "text"])])
    if alone:
        assert bedrock.bodies[-1]["messages"][3]["content"] == [{"text": "."}]


def test_complaint_03_documents_beside_results(bedrock, client):
    report = DocumentPart(data=PDF, media_type="application/pdf", name="report.pdf")
    messages = [
        user("Weather?"),
        assistant(call("call-1")),
        tool(result("call-1")),
        user(report, TextPart(text="And?")),
    ]
    for model in (CLAUDE, NOVA):
        assert client.chat(messages, model=model, tools=[WEATHER]).message.text
    claude, nova = bedrock.bodies
    assert turns(claude)[2:] == [("user", ["toolResult"]), ("assistant", ["text"]), ("user", ["document", "text"])]
    assert turns(nova)[2:] == [("user", ["toolResult", "document", "text"])]


@pytest.mark.parametrize("model", TOOL_USERS)
@pytest.mark.parametrize("choice", [{}, {"tools": [WEATHER], "tool_choice": "none"}, {"tool_choice": "none"}])
def test_complaint_04_the_service_wants_to_know_tools_that_were_used(bedrock, client, model, choice):
    messages = [user("Weather?"), assistant(call("call-1")), tool(result("call-1", "cold"))]
    assert "cold" in client.chat(messages, model=model, **choice).message.text
    [spec] = bedrock.bodies[-1]["toolConfig"]["tools"]
    assert spec["toolSpec"]["name"] == "get_weather"
    assert "toolChoice" not in bedrock.bodies[-1]["toolConfig"]
    # Without any in the conversation, none are sent that may not be called.
    client.chat("Hello", model=model, **choice)
    assert "toolConfig" not in bedrock.bodies[-1]


def test_complaint_04_functions_in_the_older_spelling_are_tools_too(bedrock, client):
    messages = [
        user("Weather?"),
        ChatMessage(role="assistant", function_call=FunctionCall(name="get_weather", arguments='{"city": "Oslo"}')),
        ChatMessage(role="function", name="get_weather", content="cold"),
    ]
    assert "cold" in client.stream(messages).text
    assert bedrock.bodies[-1]["toolConfig"]["tools"][0]["toolSpec"]["name"] == "get_weather"


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u00a0"])
def test_complaint_05_blank_text_is_not_sent(bedrock, client, blank):
    messages = [
        ChatMessage(role="system", content=blank),
        user(TextPart(text=blank), TextPart(text="First"), TextPart(text=blank)),
        assistant(blank),
        user(blank),
        assistant(TextPart(text=blank), call("call-1")),
        tool(result("call-1", blank)),
    ]
    for model in (CLAUDE, NOVA, LLAMA, MISTRAL):
        assert client.chat(messages, model=model, tools=[WEATHER]).message.text is not None
        body = bedrock.bodies[-1]
        assert turns(body) == [("user", ["text"]), ("assistant", ["toolUse"]), ("user", ["toolResult"])]
        assert "system" not in body
        assert all(text.strip() for text in blocks(body, "text"))
        [answered] = blocks(body, "toolResult")
        assert answered["content"]


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
def test_complaint_05_nothing_but_blanks_is_an_error_of_ours(bedrock, client, blank):
    for ask in (client.chat, client.stream):
        assert "say nothing" in refused(InvalidRequestError, ask, blank).message
    assert len(bedrock.journal) == 0


def test_complaint_05_the_beginning_of_an_answer_may_not_end_in_blanks(bedrock, client):
    client.chat([user("Count"), assistant("One, two, \n")])
    assert bedrock.bodies[-1]["messages"][-1]["content"] == [{"text": "One, two,"}]


# -- 6 to 9: tools -----------------------------------------------------------------------------------------------------

STRANGE = ("my.tool/get weather", "größe", "x" * 100, "x" * 99 + "y", "a:b", "a b")


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("streamed", [False, True])
def test_complaint_06_names_of_tools_are_written_anew_everywhere_and_read_back(bedrock, client, name, streamed):
    tools = [FunctionDefinition(name=each, parameters=CITY) for each in STRANGE]
    history = [
        user("Weather?"),
        assistant(call("call-1", name)),
        tool(result("call-1")),
        assistant("Rain."),
        user("Now?"),
    ]
    options = {"tools": tools, "tool_choice": FunctionChoice(name=name)}
    if streamed:
        [made] = client.stream(history, **options).whole.choices[0].tool_calls
    else:
        [made] = client.chat(history, **options).message.tool_calls
    assert made.name == name
    body = bedrock.bodies[-1]
    written = [spec["toolSpec"]["name"] for spec in body["toolConfig"]["tools"]]
    assert len(set(written)) == len(STRANGE)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", each) for each in written)
    there = written[STRANGE.index(name)]
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": there}}
    assert [use["name"] for use in blocks(body, "toolUse")] == [there]


def test_complaint_06_ids_of_calls_fit_on_both_sides(bedrock, client):
    ids = ["call|1/ü", "c" * 100, "c" * 99 + "d", "fine-1"]
    messages = [user("Weather?"), assistant(*map(call, ids)), tool(*(result(each, each) for each in ids))]
    client.chat(messages, tools=[WEATHER])
    body = bedrock.bodies[-1]
    uses = [use["toolUseId"] for use in blocks(body, "toolUse")]
    assert uses == [each["toolUseId"] for each in blocks(body, "toolResult")]
    assert len(set(uses)) == 4
    assert all(re.fullmatch(r"[a-zA-Z0-9_.:-]{1,64}", each) for each in uses)


def test_complaint_06_names_of_models_by_invoke_model_too(bedrock):
    client = bedrock.client(models=[CLAUDE], options={"invoke": {CLAUDE: "anthropic"}})
    tools = [FunctionDefinition(name=name, parameters=CITY) for name in STRANGE]
    for ask in (
        lambda **options: client.chat("Hello", **options).message.tool_calls,
        lambda **options: client.stream("Hello", **options).whole.choices[0].tool_calls,
    ):
        [made] = ask(tools=tools, tool_choice=FunctionChoice(name="größe"))
        assert made.name == "größe"


@pytest.mark.parametrize("arguments", ["", "   ", '{"city": "Os', "Oslo", "[1, 2]", "null", "7", "{} {}", "\ud83d"])
def test_complaint_07_broken_arguments_in_the_history_do_no_harm(bedrock, client, arguments):
    messages = [user("Weather?"), assistant(call("call-1", arguments=arguments)), tool(result("call-1", "which city?"))]
    for model in (CLAUDE, NOVA, LLAMA):
        assert "which city?" in client.chat(messages, model=model, tools=[WEATHER]).message.text
        [use] = blocks(bedrock.bodies[-1], "toolUse")
        assert use["input"] == ({"arguments": arguments} if arguments.strip() else {})


@pytest.mark.parametrize("content", ["[1, 2]", "7", "null", '"text"', '{"a": 1}', "<xml/>", ""])
def test_complaint_08_results_of_tools_that_are_no_objects(bedrock, client, content):
    messages = [user("Weather?"), assistant(call("call-1")), tool(result("call-1", content))]
    for model in TOOL_USERS:
        assert content in client.chat(messages, model=model, tools=[WEATHER]).message.text
        [answered] = blocks(bedrock.bodies[-1], "toolResult")
        assert answered["content"] == ([{"text": content}] if content else [{"json": {}}])


def test_complaint_08_failed_tools(bedrock, client):
    messages = [user("Weather?"), assistant(call("call-1")), tool(result("call-1", "no network", is_error=True))]
    for model in (CLAUDE, NOVA, WRITER):
        assert "no network" in client.chat(messages, model=model, tools=[WEATHER]).message.text
    claude, nova, writer = (blocks(body, "toolResult")[0] for body in bedrock.bodies)
    assert claude["status"] == nova["status"] == "error"
    assert "status" not in writer


def scripted(*replies):
    return {"replies": MockSettings(script=replies)}


def test_complaint_09_arguments_come_in_pieces_by_block(opened):
    long = {"city": "Llanfairpwllgwyngyll", "days": list(range(20))}
    reply = Reply(
        text="Let me see.",
        tool_calls=(
            ScriptedToolCall(name="get_weather", arguments=long, id="call-a"),
            ScriptedToolCall(name="get_time", arguments_text="", id="call-b"),
            ScriptedToolCall(name="get_weather", arguments={"city": "Oslo"}, id="call-c"),
        ),
    )
    with opened(chunk_size=5, **scripted(reply)) as bedrock:
        client = bedrock.client(models=MODELS)
        stream = client.stream("Weather?", tools=[WEATHER, CLOCK])
        pieces = [delta for chunk in stream.chunks for delta in chunk.tool_calls]
        assert len(pieces) > 20
        made = stream.whole.choices[0].tool_calls
        assert [each.id for each in made] == ["call-a", "call-b", "call-c"]
        assert [json.loads(each.arguments) for each in made] == [long, {}, {"city": "Oslo"}]
        assert (stream.text, stream.finish_reason) == ("Let me see.", "tool_calls")
        # Whole answers say the same.
        message = client.chat("Weather?", tools=[WEATHER, CLOCK]).message
        assert [(each.id, each.name, json.loads(each.arguments)) for each in message.tool_calls] == [
            (each.id, each.name, json.loads(each.arguments)) for each in made
        ]


@pytest.mark.parametrize("model", [LLAMA, WRITER, MISTRAL])
def test_complaint_09_models_without_tools_in_streams_answer_whole(bedrock, client, model):
    stream = client.stream("Please get_weather", model=model, tools=[WEATHER])
    [made] = stream.whole.choices[0].tool_calls
    assert (made.name, stream.finish_reason) == ("get_weather", "tool_calls")
    assert stream.whole.usage.completion_tokens
    assert [received.operation for received in bedrock.journal] == ["converse"]
    # Without tools they stream.
    assert client.stream("Hello there", model=model).text == "Hello there"
    assert bedrock.journal[-1].operation == "converse-stream"


def test_complaint_09_a_model_nobody_knows_is_asked_once(opened):
    with opened(models={"house-model": LLAMA}) as bedrock:
        client = bedrock.client(models=["house-model"])
        for _ in range(2):
            stream = client.stream("Please get_weather", model="house-model", tools=[WEATHER])
            assert [made.name for made in stream.whole.choices[0].tool_calls] == ["get_weather"]
        assert [received.operation for received in bedrock.journal] == ["converse-stream", "converse", "converse"]
        assert client.stream("Hello there", model="house-model").text == "Hello there"


@pytest.mark.parametrize(
    ("model", "choice", "sent"),
    [
        (CLAUDE, "required", {"any": {}}),
        (CLAUDE, FunctionChoice(name="get_time"), {"tool": {"name": "get_time"}}),
        (CLAUDE, "auto", {"auto": {}}),
        (NOVA, "required", {"any": {}}),
        (MISTRAL, "required", {"any": {}}),
        (LLAMA, "auto", {"auto": {}}),
        (COMMAND, "auto", None),
        (GPT_OSS, "auto", None),
    ],
)
def test_complaint_09_choices_are_sent_where_they_are_taken(bedrock, client, model, choice, sent):
    message = client.chat("Please get_time", model=model, tools=[WEATHER, CLOCK], tool_choice=choice).message
    assert message.tool_calls
    assert bedrock.bodies[-1]["toolConfig"].get("toolChoice") == sent


@pytest.mark.parametrize("model", [LLAMA, COMMAND, GPT_OSS, WRITER])
@pytest.mark.parametrize("choice", ["required", FunctionChoice(name="get_time")])
def test_complaint_09_choices_that_are_not_taken_are_told_before_they_are_sent(bedrock, client, lenient, model, choice):
    options = {"model": model, "tools": [WEATHER, CLOCK], "tool_choice": choice}
    assert "tool_choice" in refused(InvalidRequestError, client.chat, "Please get_time", **options).message
    assert len(bedrock.journal) == 0
    result = lenient.chat("Please get_time", **options)
    assert result.message.tool_calls
    assert result.details["dropped_parameters"] == ["tool_choice"]


def test_complaint_09_one_tool_is_chosen_where_only_any_is_taken(bedrock, client):
    result = client.chat("Hello", model=MISTRAL, tools=[CLOCK], tool_choice=FunctionChoice(name="get_time"))
    assert [made.name for made in result.message.tool_calls] == ["get_time"]
    assert bedrock.bodies[-1]["toolConfig"]["toolChoice"] == {"any": {}}
    assert result.details["emulated_parameters"] == ["tool_choice"]


# -- 10 to 12: what goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("invoked", "fault"),
    [
        *((False, fault) for fault in ("no_message_stop", "truncated", "empty_stream", "truncated_frame", "reset")),
        # Claude's own streams tell their stop reason before their last event.
        *((True, fault) for fault in ("truncated", "empty_stream", "truncated_frame", "reset")),
    ],
)
def test_complaint_10_a_stream_that_just_ends_is_no_success(bedrock, fault, invoked):
    client = bedrock.client(models=[CLAUDE], options={"invoke": {CLAUDE: "anthropic"}} if invoked else {})
    bedrock.faults.add(fault)
    stream = client.read("Hello there, you")
    assert type(stream.error) is ServiceUnavailableError
    assert "Hello there, you".startswith(stream.text)
    assert all(chunk.finish_reason is None for chunk in stream.chunks)
    assert stream.error.request_id
    assert stream.error.details["received_bytes"] >= 0


EXCEPTIONS = {
    "exception_internal_server": (ServiceUnavailableError, 500),
    "exception_model_stream": (ServiceUnavailableError, 424),
    "exception_validation": (InvalidRequestError, 400),
    "exception_too_long": (ContextLengthExceededError, 400),
    "exception_throttling": (RateLimitError, 429),
    "exception_service_unavailable": (ServiceUnavailableError, 503),
    "exception_model_timeout": (LLMTimeoutError, 408),
}


@pytest.mark.parametrize("fault", EXCEPTIONS)
@pytest.mark.parametrize("invoked", [False, True])
def test_complaint_11_exceptions_in_a_stream_have_their_real_status(bedrock, fault, invoked):
    client = bedrock.client(models=[CLAUDE], options={"invoke": {CLAUDE: "anthropic"}} if invoked else {})
    # By InvokeModel, the beginnings of message and block are pieces, too.
    bedrock.faults.add(fault, after_chunks=3 if invoked else 1)
    stream = client.read("Hello there, who is there?")
    assert (type(stream.error), stream.error.status_code) == EXCEPTIONS[fault]
    assert stream.text == "Hello there, who"


@pytest.mark.parametrize(
    "fault", ["exception_throttling", "exception_service_unavailable", "exception_internal_server"]
)
def test_complaint_11_there_is_a_second_attempt_before_the_first_content_and_none_after_it(bedrock, fault):
    client = bedrock.client(retry_count=2, tables=QUICK)
    bedrock.faults.add(fault, after_chunks=0)
    stream = client.stream("Hello there")
    assert (stream.text, len(bedrock.journal)) == ("Hello there", 2)
    bedrock.forget()
    bedrock.faults.add(fault, after_chunks=1, times=None)
    broken = client.read("Hello there, who is there?")
    assert broken.text == "Hello there, who"
    assert (len(broken.error.attempts), len(bedrock.journal)) == (1, 1)


def test_complaint_11_another_model_takes_over_before_the_first_content_alone(bedrock):
    first, second = ({"id": "assistant", "provider_model_id": model} for model in (CLAUDE, NOVA))
    client = bedrock.client(
        bedrock.provider("first", models=[first], priority=1), bedrock.provider("second", models=[second], priority=2)
    )
    bedrock.faults.add("exception_model_timeout", after_chunks=0, deployment=CLAUDE)
    assert client.stream("Hello there", model="assistant").text == "Hello there"
    assert [received.deployment for received in bedrock.journal] == [CLAUDE, NOVA]
    assert [type(event) for event in client.events if isinstance(event, FellBack)] == [FellBack]
    bedrock.forget()
    bedrock.faults.add("exception_model_timeout", after_chunks=1, deployment=CLAUDE)
    assert type(client.read("Hello there, who is there?", model="assistant").error) is LLMTimeoutError
    assert len(bedrock.journal) == 1


def test_complaint_12_too_many_tokens_a_minute_is_a_rate_limit(bedrock, client):
    bedrock.faults.add("throttling_tokens", times=2)
    error = refused(RateLimitError, client.chat)
    assert (error.status_code, error.retryable) == (429, True)
    assert type(client.read().error) is RateLimitError
    # A day's worth, or a quota, is not worth waiting for.
    for fault in ("throttling_day", "service_quota"):
        bedrock.faults.add(fault)
        assert refused(QuotaExceededError, client.chat).retryable is False


def test_complaint_12_too_long_a_prompt_is_none(bedrock, client):
    for fault in ("input_too_long", "prompt_too_long", "input_tokens_exceeded", "max_length"):
        bedrock.faults.add(fault)
        assert refused(ContextLengthExceededError, client.chat).retryable is False
    # The emulator counts, too.
    for model in (CLAUDE, LLAMA):
        refused(ContextLengthExceededError, client.chat, "word " * 200_000, model=model)
    refused(ContextLengthExceededError, client.embed, "word " * 20_000, model=TITAN)


def test_complaint_12_the_limit_of_a_model_is_a_rate_limit(opened):
    with opened(tokens_per_minute=100) as bedrock:
        client = bedrock.client(models=MODELS)
        client.chat("word " * 200)
        error = refused(RateLimitError, client.chat)
        assert "Too many tokens" in error.message


# -- 13: tokens --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_complaint_13_tokens_of_the_cache_are_part_of_the_prompt(opened, streamed):
    with opened() as bedrock:
        client = bedrock.client(models=MODELS)
        words = TextPart(text="A rule of the house. " * 400)
        messages = [ChatMessage(role="system", content=[words, CacheHintPart()]), user("Hello there")]
        bare = [ChatMessage(role="system", content=[words]), user("Hello there")]

        def used(messages):
            return client.stream(messages).whole.usage if streamed else client.chat(messages).usage

        plain, first, second = used(bare), used(messages), used(messages)
        assert plain.prompt_tokens == first.prompt_tokens == second.prompt_tokens > 2_000
        assert first.cache_write_tokens == second.cached_tokens > 2_000
        assert first.cached_tokens == second.cache_write_tokens == 0
        assert first.total_tokens == plain.total_tokens
        assert plain.prompt_tokens == client.count(bare).prompt_tokens


def test_complaint_13_prices_of_the_cache_are_counted_once(opened):
    with opened() as bedrock:
        priced = {"id": CLAUDE, "cost_per_input_token": 1.0, "cost_per_output_token": 0.0}
        client = bedrock.client(models=[priced])
        words = TextPart(text="A rule of the house. " * 400)
        hinted = [ChatMessage(role="system", content=[words, CacheHintPart()]), user("Hello there")]
        costs = [client.chat(hinted).cost for _ in range(2)]
        assert costs[0] == client.chat(hinted).usage.prompt_tokens
        assert costs[1] <= costs[0]


@pytest.mark.parametrize(("model", "form"), [(CLAUDE, "anthropic"), (LLAMA_3, "llama"), (GPT_OSS, "openai")])
def test_complaint_13_streams_of_invoke_model_tell_usage(bedrock, model, form):
    client = bedrock.client(models=[model], options={"invoke": {model: form}})
    whole = client.chat("Hello there, you", model=model).usage
    stream = client.stream("Hello there, you", model=model).whole.usage
    assert whole == stream
    assert min(stream.prompt_tokens, stream.completion_tokens) > 0


def test_complaint_13_an_answer_without_usage_is_worth_having(bedrock, client):
    bedrock.faults.add("no_usage")
    assert client.chat("Hello there").usage is None
    bedrock.faults.add("no_metadata")
    stream = client.stream("Hello there")
    assert (stream.text, stream.whole.usage) == ("Hello there", None)


# -- 14 to 18: credentials, ids and regions ----------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files of AWS's configuration."""
    found = SimpleNamespace(config=tmp_path / "config", credentials=tmp_path / "credentials", home=tmp_path)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(found.config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(found.credentials))
    return found


def written(key, profile="default"):
    token = f"aws_session_token = {key.session_token}\n" if key.session_token else ""
    return f"[{profile}]\naws_access_key_id = {key.access_key_id}\naws_secret_access_key = {key.secret_access_key}\n{token}"


def test_complaint_14_looking_for_credentials_does_not_stop_the_loop(bedrock, files):
    key = bedrock.emulator.keys.issue(session=False)
    gate = files.home / "gate"
    os.mkfifo(gate)
    said = {"Version": 1, "AccessKeyId": key.access_key_id, "SecretAccessKey": key.secret_access_key}
    script = files.home / "process.py"
    script.write_text(f"open({str(gate)!r}).read()\nprint({json.dumps(said)!r})\n")
    files.config.write_text(f'[profile slow]\ncredential_process = "{sys.executable}" "{script}"\n')
    auth = {"type": "iam", "credentials": {"profile": "slow"}}
    client = bedrock.client(auth=auth)

    async def ask():
        waiting = asyncio.create_task(client.manager.generate_chat("Hello", model=CLAUDE))
        # The loop turns while a thread waits for the process.
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.to_thread(gate.write_text, "go on")
        return await waiting

    assert bedrock.run(ask()).message.text == "Hello"


@pytest.mark.parametrize("streamed", [False, True])
def test_complaint_15_expired_credentials_are_replaced(bedrock, files, streamed):
    keys, late = bedrock.emulator.keys, SimpleNamespace(by=0.0)
    old = keys.issue()
    files.credentials.write_text(written(old))
    client = bedrock.client(auth=None, settings={"clock": lambda: time.monotonic() + late.by})
    assert client.chat("Hello").message.text == "Hello"
    keys.add(old.access_key_id, old.secret_access_key, session_token=old.session_token, expires_on=time.time() - 1)
    # Nobody has logged in again yet: said so, and not for ever.
    error = refused(AuthenticationError, client.chat, "Hello")
    assert error.details["code"] == "ExpiredTokenException"
    assert "renew" in error.message or "log in" in error.message
    files.credentials.write_text(written(keys.issue()))
    # A file that brought nothing better is left alone for a while.
    late.by = 11.0
    assert (client.stream("Hello").text if streamed else client.chat("Hello").message.text) == "Hello"


def test_complaint_15_roles_are_assumed_again(bedrock):
    credentials = {
        "role_arn": "arn:aws:iam::123456789012:role/apex-llm",
        "access_key_id": bedrock.emulator.access_key_id,
        "secret_access_key": "env:SECRET_KEY",
    }
    auth = {"type": "iam", "credentials": credentials}
    client = bedrock.client(auth=auth, options={"sts_endpoint": bedrock.emulator.url})
    assert client.chat("Hello").message.text == "Hello"
    assert client.chat("Hello").message.text == "Hello"
    first, second = (received.headers["x-amz-security-token"] for received in bedrock.journal if received.operation)
    assert first == second
    for key in list(bedrock.emulator.keys._keys.values()):
        if key.session_token:
            bedrock.emulator.keys.revoke(key.access_key_id)
    assert client.chat("Hello").message.text == "Hello"
    assert bedrock.journal[-1].headers["x-amz-security-token"] != first


IDS = {
    HAIKU_3: "foundation",
    CLAUDE: "profile",
    PROFILE: "application profile",
    f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{CLAUDE}": "profile by ARN",
    f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}": "foundation by ARN",
    "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/novapro12345": "provisioned throughput",
    "arn:aws:bedrock:us-east-1:123456789012:imported-model/ownqwen12345": "imported",
    "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/tunednova123": "deployment",
}


@pytest.mark.parametrize("model", IDS)
def test_complaint_16_ids_of_every_kind_reach_their_model(bedrock, model):
    client = bedrock.client(models=[model])
    assert client.chat("Hello there", model=model).message.text == "Hello there"
    assert client.stream("Hello there", model=model).text == "Hello there"
    asked = [received for received in bedrock.journal if received.operation.startswith("converse")]
    assert {received.deployment for received in asked} == {model}
    assert {received.path.split("/")[2] for received in asked} == {quote(model, safe="")}


def test_complaint_16_an_application_profile_has_the_abilities_of_its_model(bedrock):
    client = bedrock.client(models=[PROFILE])
    for _ in range(2):
        # Claude 4.5: temperature and top_p exclude each other, and schemas are native.
        refused(InvalidRequestError, client.chat, "Hello", model=PROFILE, temperature=0.5, top_p=0.5)
        answer = client.chat("Hello", model=PROFILE, response_format=ANSWER)
        assert json.loads(answer.message.text) == {"city": answer_city(answer)}
        assert "outputConfig" in bedrock.bodies[-1]
    assert [received.operation for received in bedrock.journal].count("inference-profile") == 1
    bedrock.forget()
    # Nobody is asked about what is declared.
    declared = bedrock.client(models=[{"id": PROFILE, "base_model": "anthropic.claude-sonnet-4-5-20250929-v1:0"}])
    declared.chat("Hello", model=PROFILE, response_format=ANSWER)
    assert [received.operation for received in bedrock.journal] == ["converse"]
    assert "outputConfig" in bedrock.bodies[-1]


def answer_city(result):
    return json.loads(result.message.text)["city"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("us:anthropic.claude-sonnet-4-20250514-v1:0", "did you mean 'us.anthropic.claude-sonnet-4-20250514-v1:0'"),
        ("bedrock/us.amazon.nova-lite-v1:0", "another library's route"),
        ("US.Amazon.nova-lite-v1:0", "did you mean 'us.amazon.nova-lite-v1:0'"),
        ("us.amazon.nova lite", "space"),
    ],
)
def test_complaint_17_ids_that_are_nearly_right_are_told_at_once(bedrock, wrong, said):
    error = refused(ConfigurationError, bedrock.client, models=[wrong])
    assert said in str(error)
    assert "models[0].id" in str(error)


def test_complaint_17_a_profile_is_never_put_before_an_id_unless_told_to(bedrock):
    bare = CLAUDE.removeprefix("us.")
    error = refused(ModelNotFoundError, bedrock.client(models=[bare]).chat, "Hello", model=bare)
    assert "inference profile" in error.message
    assert bedrock.journal[-1].deployment == bare
    told = bedrock.client(models=[bare, PROFILE, NOVA], options={"geo_prefix": "us"})
    assert told.chat("Hello", model=bare).message.text == "Hello"
    assert bedrock.journal[-1].deployment == CLAUDE
    # What has a place already keeps it.
    assert told.chat("Hello", model=PROFILE).message.text == "Hello"
    assert bedrock.journal[-1].deployment == PROFILE


def test_complaint_17_a_profile_of_another_geography_is_told(bedrock):
    elsewhere = f"eu.{CLAUDE.removeprefix('us.')}"
    error = refused(ModelNotFoundError, bedrock.client(models=[elsewhere]).chat, "Hello", model=elsewhere)
    assert "region" in error.message
    assert bedrock.journal[-1].deployment == elsewhere


@pytest.mark.parametrize("by", ["iam", "key"])
def test_complaint_18_explicit_credentials_pass_by_what_is_around(bedrock, files, monkeypatch, by):
    files.config.write_text("[default\nthis is no file of profiles")
    for name, value in {
        "AWS_PROFILE": "missing",
        "AWS_ACCESS_KEY_ID": "AKIDWRONG",
        "AWS_SECRET_ACCESS_KEY": "wrong",
        "AWS_SESSION_TOKEN": "wrong",
        "AWS_BEARER_TOKEN_BEDROCK": "wrong",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/missing",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/missing",
    }.items():
        monkeypatch.setenv(name, value)
    client = bedrock.client(by=by)
    assert client.chat("Hello").message.text == "Hello"
    assert client.stream("Hello").text == "Hello"


# -- 19: waiting -------------------------------------------------------------------------------------------------------


def test_complaint_19_the_limit_is_silence_and_it_counts_in_streams(bedrock, client):
    for fault in ("hang", "stall"):
        bedrock.faults.add(fault)
        started = time.monotonic()
        stream = client.read("Hello there, who is there?", timeout=0.05)
        assert type(stream.error) is LLMTimeoutError
        assert time.monotonic() - started < 5
    assert stream.text


def test_complaint_19_an_answer_that_takes_long_is_waited_for(opened):
    with opened(read_pause=0.01) as bedrock:
        prompt = "Word. " * 100
        started = time.monotonic()
        assert bedrock.client().stream(prompt, timeout=0.25).text == prompt
        assert time.monotonic() - started > 0.25


def test_complaint_19_the_limit_of_the_provider_holds_and_a_whole_answer_is_not_sent_twice_for_it(bedrock):
    client = bedrock.client(timeout=0.05, retry_count=0)
    bedrock.faults.add("hang", times=None)
    assert refused(LLMTimeoutError, client.chat).attempts
    assert len(bedrock.journal) == 1


# -- 20: reasoning -----------------------------------------------------------------------------------------------------


def thought(message):
    return [part for part in message.content if isinstance(part, ReasoningPart)]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("redacted", [False, True])
def test_complaint_20_reasoning_goes_back_unchanged(bedrock, client, streamed, redacted):
    question = f"Please get_weather {REDACTION_TRIGGER if redacted else ''}"
    options = {"tools": [WEATHER], "reasoning_effort": "low"}
    if streamed:
        [choice] = client.stream(question, **options).whole.choices
        reasoning, calls = choice.reasoning_parts, choice.tool_calls
        assert choice.reasoning == ("" if redacted else reasoning[0].text)
    else:
        message = client.chat(question, **options).message
        reasoning, calls = thought(message), message.tool_calls
    [part] = reasoning
    assert (bool(part.data), bool(part.signature), bool(part.text)) == (redacted, not redacted, not redacted)
    answered = [user(question), assistant(part, *calls), tool(*(result(each.id, "sunny") for each in calls))]
    # The emulator verifies the signature, and wants the thoughts of a turn that used tools.
    assert "sunny" in client.chat(answered, **options).message.text
    assert "sunny" in client.stream(answered, **options).text
    without = [answered[0], assistant(*calls), answered[2]]
    # Calls that another model made: Claude refuses to begin thinking in the middle, and is not asked to.
    answer = client.chat(without, **options)
    assert "sunny" in answer.message.text
    assert answer.details["dropped_parameters"] == ["reasoning_effort"]
    if not redacted:
        forged = ReasoningPart(text=f"{part.text}!", signature=part.signature)
        forged = [answered[0], assistant(forged, *calls), answered[2]]
        assert "signature" in refused(InvalidRequestError, client.chat, forged, **options).message


@pytest.mark.parametrize("model", CHATTING)
def test_complaint_20_thoughts_of_another_model_are_left_out_where_they_are_not_taken(bedrock, client, model):
    thoughts = [ReasoningPart(text="Let me think.", signature=None), ReasoningPart(text=" ")]
    messages = [user("First"), assistant(*thoughts, TextPart(text="Yes?")), user("Second")]
    assert client.chat(messages, model=model).message.text.endswith("Second")
    kept = blocks(bedrock.bodies[-1], "reasoningContent")
    assert len(kept) == (1 if model in (NOVA_2, GPT_OSS) else 0)


def test_complaint_20_a_model_that_thinks_by_itself(bedrock, client):
    message = client.chat("Hello", model=DEEPSEEK).message
    assert (thought(message)[0].text != "", message.text) == (True, "Hello")
    assert client.chat([user("Hello"), message, user("Again")], model=DEEPSEEK).message.text == "Again"
    assert blocks(bedrock.bodies[-1], "reasoningContent") == []


# -- 21: JSON ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", [CLAUDE, CLAUDE_45, NOVA, MISTRAL, GPT_OSS])
def test_complaint_21_a_schema_holds(bedrock, client, model, streamed):
    options = {"model": model, "response_format": ANSWER}
    if streamed:
        stream = client.stream("Where?", **options)
        text, finish = stream.text, stream.finish_reason
        assert not stream.whole.choices[0].tool_calls
    else:
        answer = client.chat("Where?", **options)
        text, finish = answer.message.text, answer.finish_reason
        assert not answer.message.tool_calls
    assert list(json.loads(text)) == ["city"]
    assert finish == "stop"
    native = model in (CLAUDE_45, GPT_OSS)
    assert ("outputConfig" in bedrock.bodies[-1], "toolConfig" in bedrock.bodies[-1]) == (native, not native)


@pytest.mark.parametrize("model", [CLAUDE, CLAUDE_45, NOVA])
def test_complaint_21_calls_of_the_callers_own_tools_stay_calls(bedrock, client, model):
    options = {"model": model, "response_format": ANSWER, "tools": [WEATHER]}
    for ask in (
        lambda prompt: client.chat(prompt, **options).message.tool_calls,
        lambda prompt: client.stream(prompt, **options).whole.choices[0].tool_calls,
    ):
        assert [made.name for made in ask("Please get_weather")] == ["get_weather"]


def test_complaint_21_a_tool_of_the_caller_may_have_the_name_of_ours(bedrock, client):
    own = FunctionDefinition(name="json_answer", parameters=CITY)
    answer = client.chat("Hello", tools=[own], response_format=ANSWER, tool_choice=FunctionChoice(name="json_answer"))
    assert [made.name for made in answer.message.tool_calls] == ["json_answer"]
    names = [spec["toolSpec"]["name"] for spec in bedrock.bodies[-1]["toolConfig"]["tools"]]
    assert len(set(names)) == 2


@pytest.mark.parametrize("model", [CLAUDE, CLAUDE_45, NOVA, NOVA_2, MISTRAL, GPT_OSS])
def test_complaint_21_any_object_needs_no_schema(bedrock, client, model):
    options = {"model": model, "response_format": ResponseFormat(type="json")}
    answer = client.chat("Hello", **options)
    assert type(json.loads(answer.message.text)) is dict
    assert answer.details["emulated_parameters"] == ["response_format"]
    body = bedrock.bodies[-1]
    assert "outputConfig" not in body
    assert "toolConfig" not in body
    assert type(json.loads(client.stream("Hello", **options).text)) is dict


@pytest.mark.parametrize("model", [LLAMA, COMMAND, DEEPSEEK])
def test_complaint_21_a_schema_that_cannot_hold_is_told(bedrock, client, model):
    for ask in (client.chat, client.stream):
        error = refused(ModelNotFoundError, ask, "Hello", model=model, response_format=ANSWER)
        assert "lacks json" in error.message
    assert len(bedrock.journal) == 0


# -- 22: the cache -----------------------------------------------------------------------------------------------------

HINT = CacheHintPart()
WORDS = TextPart(text="Some words.")


@pytest.mark.parametrize("model", CHATTING)
def test_complaint_22_cache_points_go_to_models_that_take_them(bedrock, client, model):
    messages = [
        ChatMessage(role="system", content=[WORDS, HINT]),
        user(WORDS, HINT),
        assistant("Yes"),
        user(WORDS, HINT),
    ]
    assert client.chat(messages, model=model).message.text
    assert client.stream(messages, model=model).text
    taken = model in (CLAUDE, CLAUDE_45, NOVA, NOVA_2)
    # Nova 2 is as Nova is.
    assert ("cachePoint" in json.dumps(bedrock.bodies[-1])) is taken


def test_complaint_22_a_model_nobody_knows_gets_none(opened):
    with opened(models={"house-model": LLAMA}) as bedrock:
        client = bedrock.client(models=["house-model"])
        assert client.chat([user(WORDS, HINT)], model="house-model").message.text == "Some words."


def test_complaint_22_at_most_four_and_the_latest_ones(bedrock, client):
    messages = [ChatMessage(role="system", content=[WORDS, HINT])]
    for number in range(6):
        messages += [user(TextPart(text=f"Number {number}"), HINT), assistant("Yes")]
    assert client.chat([*messages, user("Now?")]).message.text == "Now?"
    body = bedrock.bodies[-1]
    assert body["system"] == [{"text": "Some words."}, {"cachePoint": {"type": "default"}}]
    marked = [
        turn["content"][0]["text"]
        for turn in body["messages"]
        if {"cachePoint": {"type": "default"}} in turn["content"]
    ]
    assert marked == ["Number 3", "Number 4", "Number 5"]


@pytest.mark.parametrize(
    "content",
    [
        [WORDS, DocumentPart(data=PDF, media_type="application/pdf"), HINT],
        [DocumentPart(data=PDF, media_type="application/pdf"), HINT],
        [HINT, WORDS],
        [WORDS, HINT, HINT],
        [WORDS, ImagePart(data=PNG, media_type="image/png"), HINT],
    ],
)
def test_complaint_22_cache_points_stand_where_they_may(bedrock, client, content):
    for model in (CLAUDE, NOVA):
        assert client.chat([user(*content)], model=model).message.text
        [turn] = bedrock.bodies[-1]["messages"]
        kinds = [next(iter(block)) for block in turn["content"]]
        assert kinds.count("cachePoint") <= 1
        if "cachePoint" in kinds:
            place = kinds.index("cachePoint")
            assert place
            assert kinds[place - 1] != "document"


def test_complaint_22_the_life_of_the_cache(bedrock, client):
    client.chat([ChatMessage(role="system", content=[WORDS, CacheHintPart(ttl="1h")]), user("Hello")])
    assert bedrock.bodies[-1]["system"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}


def test_complaint_22_a_refused_cache_point_is_no_missing_permission(bedrock, client):
    bedrock.faults.add("caching_not_allowed", times=2)
    error = refused(InvalidRequestError, client.chat)
    assert (error.status_code, "cache" in error.message) == (403, True)
    assert type(client.read().error) is InvalidRequestError
    bedrock.faults.add("access_denied_model")
    refused(AuthorizationError, client.chat)


# -- 23: why an answer ends --------------------------------------------------------------------------------------------

ENDS = {
    "guardrail_intervened": ("content_filter", "guardrail_intervened"),
    "content_filtered": ("content_filter", "content_filtered"),
    "context_window_exceeded": ("length", "model_context_window_exceeded"),
    "malformed_output": ("malformed_model_output", "malformed_model_output"),
    "malformed_tool_use": ("malformed_tool_use", "malformed_tool_use"),
    "unknown_stop_reason": (None, None),
}


@pytest.mark.parametrize("fault", ENDS)
def test_complaint_23_reasons_are_told_in_one_word_and_in_the_services(bedrock, client, fault):
    bedrock.faults.add(fault, times=2)
    answer = client.chat("Hello there")
    stream = client.stream("Hello there")
    assert answer.finish_reason == stream.finish_reason
    assert answer.details["stop_reason"] == stream.details["stop_reason"]
    word, reason = ENDS[fault]
    if word is not None:
        assert (answer.finish_reason, answer.details["stop_reason"]) == (word, reason)
    else:
        assert answer.finish_reason == answer.details["stop_reason"]


def test_complaint_23_a_filtered_answer_without_content_is_an_answer(bedrock, client):
    bedrock.faults.add("content_filtered", times=2)
    answer = client.chat("Hello there")
    assert (answer.message.text, answer.finish_reason) == ("", "content_filter")
    stream = client.stream("Hello there")
    assert (stream.text, stream.finish_reason) == ("", "content_filter")


@pytest.mark.parametrize("trace", ["enabled", "enabled_full", "disabled", ""])
def test_complaint_23_guardrails_intervene_and_tell_why(bedrock, trace):
    options = {
        "guardrail_identifier": "emulated",
        "guardrail_version": "1",
        **({"guardrail_trace": trace} if trace else {}),
    }
    client = bedrock.client(models=MODELS, options=options)
    for answer in (client.chat("Something forbidden"), client.stream("Something forbidden")):
        details = answer.details
        assert answer.finish_reason == "content_filter"
        assert details["stop_reason"] == "guardrail_intervened"
        assert ("trace" in details) is (trace in ("enabled", "enabled_full"))
        if "trace" in details:
            assert "forbidden" in json.dumps(details["trace"]["guardrail"])
    assert client.chat("Something allowed").finish_reason == "stop"
    assert "may not set" in refused(InvalidRequestError, client.chat, extra={"guardrail_config": {}}).message


# -- 24: pictures and documents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (ImagePart(data=JPEG, media_type="image/jpg"), "jpeg"),
        (ImagePart(data=JPEG, media_type="image/png"), "jpeg"),
        (ImagePart(data=PNG, media_type="image/jpeg"), "png"),
        (ImagePart(data=PNG, media_type="application/octet-stream"), "png"),
        (ImagePart(url=f"data:image/jpg;base64,{JPEG}"), "jpeg"),
        (DocumentPart(data=PNG, media_type="image/png"), "png"),
    ],
)
def test_complaint_24_formats_of_images_are_those_of_their_bytes(bedrock, client, part, kind):
    assert client.chat([user(TextPart(text="Look"), part)]).message.text
    [image] = blocks(bedrock.bodies[-1], "image")
    assert image["format"] == kind


@pytest.mark.parametrize(
    "part",
    [
        ImagePart(data=PDF, media_type="application/pdf"),
        ImagePart(data=PDF, media_type="image/png"),
        DocumentPart(data=PDF, media_type="application/octet-stream", name="x.bin"),
        ImagePart(url=f"data:application/pdf;base64,{PDF}"),
    ],
)
def test_complaint_24_pdfs_are_documents(bedrock, client, part):
    # Without a word beside it, which the service wants.
    assert client.chat([user(part)]).message.text
    [document] = blocks(bedrock.bodies[-1], "document")
    assert (document["format"], bool(document["name"])) == ("pdf", True)


def test_complaint_24_names_of_documents_pass_and_differ(bedrock, client):
    names = [
        "Q3 report.pdf",
        "Q3 report.docx",
        "q3  report",
        "böse\u00a0Datei.v2.txt",
        "../../etc",
        "",
        None,
        "x" * 300,
        "a_b.md",
        "[1] (2)",
    ]
    for start in range(0, len(names), 5):
        parts = [DocumentPart(text="Words", name=name) for name in names[start : start + 5]]
        assert client.chat([user(*parts)]).message.text
        sent = [document["name"] for document in blocks(bedrock.bodies[-1], "document")]
        assert len({name.lower() for name in sent}) == 5
        for name in sent:
            assert re.fullmatch(r"[a-zA-Z0-9()\[\]-]+( [a-zA-Z0-9()\[\]-]+)*", name), name
            assert len(name) <= 200
            assert not name.endswith(("pdf", "docx", "txt"))


def test_complaint_24_images_of_the_web_are_told_before_they_are_sent(bedrock, client):
    picture = ImagePart(url="https://example.com/cat.png")
    assert "fetches no images" in refused(InvalidRequestError, client.chat, [user(picture)]).message
    assert len(bedrock.journal) == 0


# -- 25: stop sequences, embeddings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [CLAUDE, NOVA, MISTRAL, WRITER])
def test_complaint_25_stop_sequences_stop(bedrock, client, model):
    for ask in (
        lambda: client.chat("One STOP two", model=model, stop=["STOP"]).message.text,
        lambda: client.stream("One STOP two", model=model, stop=["STOP"]).text,
    ):
        assert ask() == "One "
    assert bedrock.bodies[-1]["inferenceConfig"]["stopSequences"] == ["STOP"]


@pytest.mark.parametrize(
    ("model", "stop"),
    [(CLAUDE, ["\n\n"]), (CLAUDE, ["END", " "]), (LLAMA, ["END"]), (GPT_OSS, ["END"]), (NOVA, list("abcde"))],
)
def test_complaint_25_stop_sequences_that_are_not_taken_are_told(bedrock, client, lenient, model, stop):
    assert "stop" in refused(InvalidRequestError, client.chat, "Hello", model=model, stop=stop).message
    assert len(bedrock.journal) == 0
    answer = lenient.chat("Hmm", model=model, stop=stop)
    assert (answer.message.text, answer.details["dropped_parameters"]) == ("Hmm", ["stop"])


@pytest.mark.parametrize(
    ("model", "query", "document"),
    [(COHERE, "search_query", "search_document"), (NOVA_EMBED, "GENERIC_RETRIEVAL", "GENERIC_INDEX")],
)
def test_complaint_25_embeddings_say_what_they_are_for(bedrock, client, model, query, document):
    def purpose(body):
        return body.get("input_type") or body["singleEmbeddingParams"]["embeddingPurpose"]

    client.embed("Hello", model=model)
    assert purpose(bedrock.bodies[-1]) == document
    client.embed("Hello", model=model, extra={"input_type": "search_query"})
    assert purpose(bedrock.bodies[-1]) == query
    searching = bedrock.client(models=MODELS, options={"embedding_input_type": "search_query"})
    searching.embed("Hello", model=model)
    assert purpose(bedrock.bodies[-1]) == query


def test_complaint_25_embeddings_wait_for_each_other_no_more_than_they_must(opened):
    with opened(first_pause=3600) as bedrock:
        client = bedrock.client(models=MODELS, options={"embedding_concurrency": 10})

        async def ask():
            texts = [f"text {number}" for number in range(11)]
            task = asyncio.create_task(client.manager.generate_embedding(texts, model=TITAN, dimensions=256))
            await bedrock.emulator.traffic.until(lambda counts: counts.open_requests == 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await bedrock.emulator.traffic.until(lambda counts: not counts.open_requests)

        bedrock.run(ask())
        assert bedrock.counts.requests == 10


def test_every_complaint_has_its_test():
    names = [name for name, value in globals().items() if name.startswith("test_complaint_") and callable(value)]
    numbers = {int(re.fullmatch(r"test_complaint_(\d\d)_\w+", name)[1]) for name in names}
    assert sorted(numbers) == list(COMPLAINTS) == list(range(1, 26))
