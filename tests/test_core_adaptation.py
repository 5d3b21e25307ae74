from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.messages import (
    CacheHintPart,
    ChatMessage,
    DocumentPart,
    FunctionCall,
    ImagePart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from apex_llm_core.models.options import (
    ChatGenerationOptions,
    EmbeddingOptions,
    FunctionChoice,
    FunctionDefinition,
    ImageGenerationOptions,
    ResponseFormat,
    TextGenerationOptions,
)
from apex_llm_core.models.requests import CAPABILITIES, EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.routing.adaptation import adapt, without

ALL = frozenset({"text", "chat", "stream", "tools", "vision", "documents", "json", "reasoning"})
WEATHER = FunctionDefinition(name="weather", parameters={"type": "object"})
IMAGE = ImagePart(data="aGk=", media_type="image/png")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
HELLO = ChatMessage(role="user", content="hello")


def chat(*messages, stream=False, **options):
    return GenerateRequest(
        kind="chat", messages=messages or (HELLO,), model="m", options=ChatGenerationOptions(**options), stream=stream
    )


def user(*parts):
    return ChatMessage(role="user", content=parts)


def said(text):
    return TextPart(text=text)


def lacking(*words, **facts):
    capabilities = facts.pop("capabilities", ALL - set(words))
    return frozenset(words), Candidate(provider="p", model="m", capabilities=capabilities, **facts)


def adapted(request, words, policy="emulate", **facts):
    return adapt(request, *lacking(*words.split(), **facts), policy)


class TestPolicies:
    def test_error_changes_nothing(self):
        request = chat(max_tokens=9000)
        assert adapted(request, "", "error", max_output_tokens=10).request is request
        assert adapted(request, "json", "error") is None

    @pytest.mark.parametrize("policy", ["drop", "emulate"])
    def test_what_fits_is_left_alone(self, policy):
        request = chat(temperature=1.0, max_tokens=10)
        found = adapted(request, "", policy, max_output_tokens=10)
        assert (found.request, found.changes) == (request, ())

    @pytest.mark.parametrize("word", ["chat", "embed", "image", "audio", "mind-reading"])
    def test_what_cannot_be_done_otherwise_is_not(self, word):
        assert adapted(chat(), word) is None

    def test_embeddings_and_images_are_never_adapted(self):
        embed = EmbedRequest(texts=("a",), model="m", options=EmbeddingOptions())
        image = ImageRequest(prompt="a", model="m", options=ImageGenerationOptions())
        for request in (embed, image):
            assert adapted(request, "") is None
            assert adapted(request, "stream") is None

    def test_several_changes_are_all_told(self):
        request = chat(
            user(said("look"), IMAGE, IMAGE),
            stream=True,
            tools=[WEATHER],
            response_format=ResponseFormat(type="json"),
            reasoning_effort="high",
            max_tokens=8000,
        )
        found = adapted(request, "stream tools json reasoning vision", max_output_tokens=4096)
        assert found.changes == (
            "stream: emulated from the whole answer",
            "tools: dropped",
            "response_format: emulated by an instruction",
            "reasoning_effort: dropped",
            "images: dropped (2)",
            "max_tokens: 8000 lowered to 4096",
        )
        assert found.request.needs == {"chat"}
        assert found.request.options.max_tokens == 4096


class TestStream:
    @pytest.mark.parametrize("policy", ["drop", "emulate"])
    def test_the_whole_answer_serves(self, policy):
        found = adapted(chat(stream=True), "stream", policy)
        assert found.request.stream is False
        assert found.changes == ("stream: emulated from the whole answer",)


class TestText:
    REQUEST = GenerateRequest(
        kind="text", messages=(HELLO,), model="m", options=TextGenerationOptions(temperature=0.5, seed=3)
    )

    def test_a_prompt_is_asked_in_chat(self):
        found = adapted(self.REQUEST, "text")
        assert found.request.kind == "chat"
        assert found.request.messages == (HELLO,)
        assert found.request.options == ChatGenerationOptions(temperature=0.5, seed=3)
        assert found.changes == ("text: emulated by chat",)

    def test_only_where_there_is_chat(self):
        assert adapted(self.REQUEST, "text", capabilities=frozenset({"embed"})) is None
        assert adapted(self.REQUEST, "text", capabilities=None).request.kind == "chat"

    def test_leaving_it_out_is_no_way(self):
        assert adapted(self.REQUEST, "text", "drop") is None

    def test_options_of_text_can_be_lowered(self):
        request = attrs.evolve(self.REQUEST, options=TextGenerationOptions(max_tokens=50))
        found = adapted(request, "", max_output_tokens=20)
        assert found.request.options == TextGenerationOptions(max_tokens=20)
        assert found.changes == ("max_tokens: 50 lowered to 20",)


class TestResponseFormat:
    def test_json_becomes_an_instruction(self):
        found = adapted(chat(response_format=ResponseFormat(type="json")), "json")
        system, question = found.request.messages
        assert system.role == "system"
        assert "one JSON object" in system.text
        assert question is HELLO
        assert found.request.options.response_format is None
        assert found.changes == ("response_format: emulated by an instruction",)

    def test_the_schema_is_in_it(self):
        form = ResponseFormat(type="json_schema", schema=SCHEMA)
        found = adapted(chat(response_format=form), "json")
        assert found.request.messages[0].text.endswith('{"type":"object","properties":{"city":{"type":"string"}}}')

    @pytest.mark.parametrize("role", ["system", "developer"])
    def test_it_follows_what_the_application_says_in_its_role(self, role):
        rules = ChatMessage(role=role, content="be brief")
        found = adapted(chat(rules, HELLO, response_format=ResponseFormat(type="json")), "json")
        assert [message.role for message in found.request.messages] == [role, role, "user"]
        assert found.request.messages[0] is rules

    def test_it_can_be_left_out(self):
        found = adapted(chat(response_format=ResponseFormat(type="json")), "json", "drop")
        assert found.request.messages == (HELLO,)
        assert found.request.options.response_format is None
        assert found.changes == ("response_format: dropped",)

    def test_a_schema_that_is_no_json_cannot_be_said(self):
        form = ResponseFormat(type="json_schema", schema={"type": object()})
        assert adapted(chat(response_format=form), "json") is None


class TestTools:
    @pytest.mark.parametrize("policy", ["drop", "emulate"])
    def test_they_and_what_belongs_to_them_are_left_out(self, policy):
        request = chat(tools=[WEATHER], tool_choice="auto", parallel_tool_calls=False)
        found = adapted(request, "tools", policy)
        assert found.request.options == ChatGenerationOptions()
        assert found.changes == ("tools: dropped", "tool_choice: dropped", "parallel_tool_calls: dropped")

    def test_the_older_spelling_too(self):
        found = adapted(chat(functions=[WEATHER], function_call="none"), "tools")
        assert found.changes == ("functions: dropped", "function_call: dropped")
        assert found.request.needs == {"chat"}

    @pytest.mark.parametrize(
        "forced",
        [
            {"tools": [WEATHER], "tool_choice": "required"},
            {"tools": [WEATHER], "tool_choice": FunctionChoice(name="weather")},
            {"functions": [WEATHER], "function_call": "weather"},
            {"functions": [WEATHER], "function_call": FunctionChoice(name="weather")},
        ],
    )
    @pytest.mark.parametrize("policy", ["drop", "emulate"])
    def test_a_call_that_must_be_made_cannot_be_left_out(self, forced, policy):
        assert adapted(chat(**forced), "tools", policy) is None

    def test_calls_and_results_of_before_become_text(self):
        request = chat(
            HELLO,
            ChatMessage(role="assistant", content=(said("let me see"), ToolCallPart(id="1", name="weather"))),
            ChatMessage(role="tool", content=(ToolResultPart(tool_call_id="1", content="sunny"),)),
            ChatMessage(role="assistant", content=(ToolCallPart(id="2", name="clock", arguments='{"zone":1}'),)),
            ChatMessage(role="tool", content=(ToolResultPart(tool_call_id="2", content="broken", is_error=True),)),
            tools=[WEATHER],
        )
        found = adapted(request, "tools")
        assert [message.role for message in found.request.messages] == [
            *("user", "assistant", "user", "assistant", "user")
        ]
        assert not any(message.tool_calls for message in found.request.messages)
        assert [message.text for message in found.request.messages] == [
            "hello",
            "let me see[called the tool weather with {}]\n",
            "[the tool weather answered]\nsunny\n[end of the tool's answer]\n",
            '[called the tool clock with {"zone":1}]\n',
            "[the tool clock failed]\nbroken\n[end of the tool's answer]\n",
        ]
        assert found.changes == ("tools: dropped", "tool calls and results: written as text (4)")

    def test_also_when_the_request_has_no_tools_any_more(self):
        request = chat(
            HELLO,
            ChatMessage(role="assistant", function_call=FunctionCall(name="weather", arguments="{}")),
            ChatMessage(role="function", name="weather", content="sunny"),
            response_format=ResponseFormat(type="json"),
        )
        found = adapted(request, "json", "drop", capabilities=frozenset({"chat"}))
        assistant, result = found.request.messages[1:]
        assert (assistant.text, assistant.function_call) == ("[called the tool weather with {}]\n", None)
        assert (result.role, result.name) == ("user", None)
        assert "sunny" in result.text
        assert "tool calls and results: written as text (2)" in found.changes

    def test_who_knows_tools_gets_them_as_they_are(self):
        request = chat(
            HELLO,
            ChatMessage(role="assistant", content=(ToolCallPart(id="1", name="weather"),)),
            ChatMessage(role="tool", content=(ToolResultPart(tool_call_id="1", content="sunny"),)),
            tools=[WEATHER],
            reasoning_effort="low",
        )
        found = adapted(request, "reasoning")
        assert found.request.messages == request.messages
        assert found.request.options.tools == (WEATHER,)


class TestImagesAndDocuments:
    @pytest.mark.parametrize("policy", ["drop", "emulate"])
    def test_a_note_stands_for_an_image(self, policy):
        found = adapted(chat(user(said("what is this?"), IMAGE, CacheHintPart())), "vision", policy)
        first, note, hint = found.request.messages[0].content
        assert first.text == "what is this?"
        assert "image" in note.text
        assert note.text.startswith("[")
        assert isinstance(hint, CacheHintPart)
        assert found.changes == ("images: dropped (1)",)
        assert found.request.needs == {"chat"}

    @pytest.mark.parametrize("only", [(IMAGE,), (IMAGE, CacheHintPart()), (said("  "), IMAGE)])
    def test_a_message_that_was_only_an_image_is_not_emptied(self, only):
        assert adapted(chat(user(*only)), "vision") is None
        assert adapted(chat(user(*only), HELLO), "vision") is None

    def test_an_assistant_may_have_shown_one(self):
        found = adapted(chat(HELLO, ChatMessage(role="assistant", content=(IMAGE,)), HELLO), "vision")
        assert found.changes == ("images: dropped (1)",)

    def test_a_document_is_told_in_its_text(self):
        report = DocumentPart(text="all is well", name="report")
        found = adapted(chat(user(report)), "documents")
        assert found.request.messages[0].text == "[document 'report']\nall is well\n[end of the document]\n"
        assert found.changes == ("documents: emulated by their text (1)",)

    def test_one_without_text_is_left_out(self):
        pdf = DocumentPart(data="aGk=", media_type="application/pdf", name="a.pdf")
        found = adapted(chat(user(said("sum up"), pdf, DocumentPart(text="b"))), "documents")
        assert "'a.pdf'" in found.request.messages[0].content[1].text
        assert found.changes == ("documents: emulated by their text (1)", "documents: dropped (1)")
        assert adapted(chat(user(pdf)), "documents") is None

    def test_by_drop_all_are(self):
        report = DocumentPart(text="all is well")
        assert adapted(chat(user(report)), "documents", "drop") is None
        found = adapted(chat(user(said("sum up"), report)), "documents", "drop")
        assert "all is well" not in found.request.messages[0].text
        assert found.changes == ("documents: dropped (1)",)

    def test_image_and_document_alone_do_not_stand_for_each_other(self):
        both = user(IMAGE, DocumentPart(data="aGk=", media_type="application/pdf"))
        assert adapted(chat(both), "vision").changes == ("images: dropped (1)",)
        # Of two notes, the first is no words of the user's.
        assert adapted(chat(both), "vision documents") is None


class TestWithout:
    def test_the_named_are_left_out(self):
        request = chat(temperature=0.2, seed=1, top_p=0.5)
        found = without(request, ["temperature", "seed", "temperature"])
        assert found.request.options == ChatGenerationOptions(top_p=0.5)
        assert found.changes == ("temperature: dropped", "seed: dropped")

    def test_what_means_nothing_alone_goes_with_it(self):
        request = chat(tools=[WEATHER], tool_choice="auto", logprobs=True, top_logprobs=3)
        found = without(request, ["tools", "tool_choice", "logprobs", "top_logprobs"])
        assert found.request.options == ChatGenerationOptions()

    def test_options_of_text(self):
        request = GenerateRequest(kind="text", messages=(HELLO,), model="m", options=TextGenerationOptions(seed=1))
        assert without(request, ["seed"]).request.options == TextGenerationOptions()
        assert without(request, ["tools"]) is None

    def test_parameters_of_the_provider(self):
        request = chat(extra={"top_k": 3, "safe": True})
        assert without(request, ["top_k"]).request.options.extra == {"safe": True}
        found = without(request, ["extra.top_k", "extra.safe"])
        assert found.request.options.extra is None
        assert found.changes == ("extra.top_k: dropped", "extra.safe: dropped")

    @pytest.mark.parametrize("name", ["max_tokens", "model", "provider", "timeout", "deadline", "no_cache", "messages"])
    def test_what_is_no_matter_of_taste_stays(self, name):
        assert without(chat(max_tokens=5, model="m", provider="p", timeout=1, deadline=1, seed=1), [name]) is None

    def test_one_that_cannot_be_spared_is_enough(self):
        request = chat(seed=1, tools=[WEATHER], tool_choice="required")
        assert without(request, ["seed", "tools"]) is None
        assert without(request, ["tool_choice"]) is None
        assert without(request, ["parallel_tool_calls"]) is None

    @pytest.mark.parametrize("names", [[], ["temperature"], ["nonsense"]])
    def test_nothing_to_leave_out_is_no_way(self, names):
        assert without(chat(seed=1), names) is None

    def test_images_and_documents(self):
        request = chat(user(said("look"), IMAGE, DocumentPart(text="b")))
        assert without(request, ["images", "documents"]).changes == ("images: dropped (1)", "documents: dropped (1)")
        assert without(chat(user(IMAGE)), ["images"]) is None

    def test_tools_of_before_become_text(self):
        request = chat(
            ChatMessage(role="assistant", content=(ToolCallPart(id="1", name="weather"),)),
            ChatMessage(role="tool", content=(ToolResultPart(tool_call_id="1", content="sunny"),)),
            tools=[WEATHER],
        )
        assert "sunny" in without(request, ["tools"]).request.messages[1].text

    def test_also_when_there_are_no_tools_any_more(self):
        request = chat(
            ChatMessage(role="assistant", content=(ToolCallPart(id="1", name="weather"),)),
            ChatMessage(role="tool", content=(ToolResultPart(tool_call_id="1", content="sunny"),)),
        )
        assert without(request, ["tools"]).changes == ("tool calls and results: written as text (2)",)


PARTS = st.lists(
    st.sampled_from(
        [said("a"), said(""), IMAGE, DocumentPart(text="b"), DocumentPart(data="aGk=", media_type="application/pdf")]
    ),
    max_size=4,
)
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), PARTS), min_size=1, max_size=5)


@given(
    turns=TURNS,
    tools=st.booleans(),
    form=st.sampled_from([None, ResponseFormat(type="json"), ResponseFormat(type="json_schema", schema=SCHEMA)]),
    effort=st.sampled_from([None, "low"]),
    stream=st.booleans(),
    called=st.booleans(),
    missing=st.sets(st.sampled_from(sorted(CAPABILITIES))),
    policy=st.sampled_from(["drop", "emulate"]),
)
def test_who_serves_an_adapted_request_needs_nothing_it_lacks(
    turns, tools, form, effort, stream, called, missing, policy
):
    messages = [ChatMessage(role=role, content=parts) for role, parts in turns]
    if called:
        messages += [
            ChatMessage(role="assistant", content=(ToolCallPart(id="1", name="weather"),)),
            ChatMessage(role="tool", content=(ToolResultPart(tool_call_id="1", content="sunny"),)),
        ]
    request = chat(
        *messages, tools=[WEATHER] if tools else None, response_format=form, reasoning_effort=effort, stream=stream
    )
    before = attrs.asdict(request, recurse=False)
    candidate = Candidate(provider="p", model="m", capabilities=CAPABILITIES - missing)
    found = adapt(request, request.needs & missing, candidate, policy)
    assert attrs.asdict(request, recurse=False) == before
    if found is None:
        assert request.needs & missing
        return
    assert found.request.needs <= candidate.capabilities
    assert bool(found.changes) == (found.request is not request)
    texts = [part.text for message in messages for part in message.content if isinstance(part, TextPart)]
    kept = [message.text for message in found.request.messages]
    assert all(any(text in words for words in kept) for text in texts)
    if "tools" in missing:
        assert not any(message.tool_calls or message.role == "tool" for message in found.request.messages)
