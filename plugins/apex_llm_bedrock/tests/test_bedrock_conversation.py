"""Conversations on the wire: Bedrock's rules written down as a checker, every row of the module's table, and any conversation."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections import Counter

import attrs
import pytest
from apex_llm_bedrock.conversation import wire_conversation
from apex_llm_bedrock.families import UNKNOWN, family_of
from apex_llm_bedrock.family import CACHEABLE
from apex_llm_bedrock.tool_names import ToolNames
from hypothesis import assume, given
from hypothesis import strategies as st

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import (
    CacheHintPart,
    ChatGenerationOptions,
    ChatMessage,
    DocumentPart,
    FunctionCall,
    GenerateRequest,
    ImagePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

CLAUDE = family_of("anthropic.claude-sonnet-4-5-20250929-v1:0")
NOVA = family_of("amazon.nova-lite-v1:0")
LLAMA = family_of("meta.llama3-1-70b-instruct-v1:0")
MISTRAL_7B = family_of("mistral.mistral-7b-instruct-v0:2")
WRITER = family_of("writer.palmyra-x5-v1:0")
GPT_OSS = family_of("openai.gpt-oss-120b-1:0")
FAMILIES = [
    *(CLAUDE, NOVA, LLAMA, MISTRAL_7B, WRITER, GPT_OSS, UNKNOWN),
    family_of("anthropic.claude-3-haiku-20240307-v1:0"),
    family_of("deepseek.r1-v1:0"),
    # No model is like this one, so far.
    attrs.evolve(UNKNOWN, system=False, tool_results_alone=True, tool_result_status=False, cache_points=CACHEABLE),
    attrs.evolve(UNKNOWN, media_beside_tool_results=False, cache_points=CACHEABLE, reasoning_back="none"),
]
PDF = b64encode(b"%PDF-1.7 and so on").decode()
PNG = b64encode(b"\x89PNG\r\n\x1a\n and so on").decode()
FILLER = {"text": "."}


def message(role, *parts, **more):
    return ChatMessage(role=role, content=parts[0] if len(parts) == 1 and isinstance(parts[0], str) else parts, **more)


def said(text):
    return TextPart(text=text)


def calls(*ids, name="look", arguments="{}"):
    return tuple(ToolCallPart(id=each, name=name, arguments=arguments) for each in ids)


def result(call_id, content="fine", **more):
    return ToolResultPart(tool_call_id=call_id, content=content, **more)


def pdf(name="report.pdf"):
    return DocumentPart(data=PDF, media_type="application/pdf", name=name)


def image():
    return ImagePart(data=PNG, media_type="image/png")


HINT = CacheHintPart()


def written(*messages, family=CLAUDE):
    request = GenerateRequest(kind="chat", messages=messages, model="m", options=ChatGenerationOptions())
    found = wire_conversation(request.messages, family, ToolNames())
    assert broken_rules(found, family) == []
    return found


def turns(*messages, family=CLAUDE):
    """The turns, shortly: role and blocks."""
    return [(turn["role"], turn["content"]) for turn in written(*messages, family=family).turns]


def use(call_id, name="look", arguments=None):
    return {"toolUse": {"toolUseId": call_id, "name": name, "input": arguments or {}}}


def answered(call_id, text="fine", **more):
    return {"toolResult": {"toolUseId": call_id, "content": [{"text": text}], **more}}


POINT = {"cachePoint": {"type": "default"}}


class Rules:
    """What the service refuses; one method a rule, each yielding what is wrong."""

    def __init__(self, conversation, family):
        self.system, self.turns, self.family = conversation.system, conversation.turns, family
        self.blocks = [(turn["role"], block) for turn in self.turns for block in turn["content"]]

    def order_of_turns(self):
        roles = [turn["role"] for turn in self.turns]
        if roles != [("user", "assistant")[position % 2] for position in range(len(roles))] or not roles:
            yield f"roles are {roles}"

    def content_of_turns(self):
        for turn in self.turns:
            if turn.keys() != {"role", "content"}:
                yield f"a turn is {turn}"
            if any(len(block) != 1 for block in turn["content"]):
                yield f"a block of {turn} is no union"

    def texts(self):
        for block in (*self.system, *(block for _, block in self.blocks)):
            if "text" in block and not block["text"].strip():
                yield "a text is blank"
        last = [block for block in self.turns[-1]["content"] if "cachePoint" not in block][-1]
        if self.turns[-1]["role"] == "assistant" and "text" in last and last["text"] != last["text"].rstrip():
            yield "the beginning of the answer ends in blanks"

    def system_prompts(self):
        if self.system and not self.family.system:
            yield "the model takes no system prompts"
        if any(block.keys() - {"text", "cachePoint"} for block in self.system):
            yield "the system prompt is no text"

    def places(self):
        allowed = {
            "user": {"text", "image", "document", "toolResult", "cachePoint"},
            "assistant": {"text", "toolUse", "reasoningContent", "cachePoint"},
        }
        for role, block in self.blocks:
            if block.keys() - allowed[role]:
                yield f"{role} has {list(block)}"

    def calls_and_results(self):
        pending = []
        for turn in [*self.turns, {"role": "user", "content": []}]:
            uses = [block["toolUse"] for block in turn["content"] if "toolUse" in block]
            results = [block["toolResult"] for block in turn["content"] if "toolResult" in block]
            if turn["role"] == "user":
                if [each["toolUseId"] for each in results] != pending:
                    yield f"results {results} do not answer {pending}"
                if any("toolResult" not in block for block in turn["content"][: len(results)]):
                    yield "results do not come first"
                pending = []
            else:
                pending = [each["toolUseId"] for each in uses]
                if len(set(pending)) < len(pending):
                    yield f"ids come twice: {pending}"

    def forms_of_calls(self):
        for _, block in self.blocks:
            call = block.get("toolUse")
            if call is None:
                continue
            if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call["name"]):
                yield f"a tool is called {call['name']!r}"
            if not re.fullmatch(r"[a-zA-Z0-9_.:-]{1,64}", call["toolUseId"]):
                yield f"a call has the id {call['toolUseId']!r}"
            if not isinstance(call["input"], dict):
                yield f"arguments are {call['input']!r}"

    def forms_of_results(self):
        for _, block in self.blocks:
            found = block.get("toolResult")
            if found is None:
                continue
            if "status" in found and not self.family.tool_result_status:
                yield "the model takes no status of results"
            if not found["content"] or any("text" in each and not each["text"].strip() for each in found["content"]):
                yield "a result is blank"
            if any("json" in each and not isinstance(each["json"], dict) for each in found["content"]):
                yield "the JSON of a result is no object"

    def what_stands_beside_results(self):
        for turn in self.turns:
            kinds = {kind for block in turn["content"] for kind in block}
            if "toolResult" not in kinds:
                continue
            if self.family.tool_results_alone and kinds != {"toolResult"}:
                yield f"results stand beside {kinds}"
            if not self.family.media_beside_tool_results and "document" in kinds:
                yield "a document stands beside results"

    def documents(self):
        names = []
        for turn in self.turns:
            found = [block["document"] for block in turn["content"] if "document" in block]
            names += [each["name"] for each in found]
            if found and not any("text" in block for block in turn["content"]):
                yield "a document has no text beside it"
        if len({name.lower() for name in names}) < len(names):
            yield f"names of documents come twice: {names}"
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9()\[\]-]+( [A-Za-z0-9()\[\]-]+)*", name) or len(name) > 200:
                yield f"a document is called {name!r}"

    def cache_points(self):
        sections = {"system": [self.system], "messages": [turn["content"] for turn in self.turns]}
        number = 0
        for section, lists in sections.items():
            for blocks in lists:
                for before, block in zip([None, *blocks], blocks, strict=False):
                    if "cachePoint" not in block:
                        continue
                    number += 1
                    if section not in self.family.cache_points:
                        yield f"the model takes no cache points in {section}"
                    if before is None or "document" in before or "cachePoint" in before:
                        yield f"a cache point follows {before}"
        if number > 4:
            yield f"there are {number} cache points"

    def reasoning(self):
        for role, block in self.blocks:
            if "reasoningContent" in block:
                found = block["reasoningContent"]
                if role != "assistant" or self.family.reasoning_back == "none":
                    yield "reasoning is not taken"
                if self.family.reasoning_back == "signed" and not (
                    "redactedContent" in found or "signature" in found["reasoningText"]
                ):
                    yield "reasoning has no signature"
        for turn in self.turns:
            if all("reasoningContent" in block or "cachePoint" in block for block in turn["content"]):
                yield "a turn has reasoning only"

    def json_of_it(self):
        json.dumps([self.system, self.turns], allow_nan=False)
        return ()


def broken_rules(conversation, family):
    """What the service would refuse of *conversation*."""
    if not all(turn["content"] for turn in conversation.turns):
        return ["a turn is empty"]
    rules = Rules(conversation, family)
    found = [getattr(rules, name) for name in vars(Rules) if not name.startswith("_")]
    return [broken for rule in found for broken in rule()]


class TestRules:
    @pytest.mark.parametrize(
        "wire",
        [
            [],
            [("assistant", [{"text": "a"}])],
            [("user", [{"text": "a"}]), ("user", [{"text": "a"}])],
            [("user", [])],
            [("user", [{"text": " "}])],
            [("user", [{"text": "a"}]), ("assistant", [{"text": "b "}])],
            [("user", [use("a")])],
            [("user", [{"text": "a"}]), ("assistant", [use("a")])],
            [("user", [{"text": "a"}]), ("assistant", [use("a")]), ("user", [{"text": "a"}])],
            [("user", [{"text": "a"}]), ("assistant", [use("a")]), ("user", [{"text": "a"}, answered("a")])],
            [("user", [{"text": "a"}]), ("assistant", [use("a", "b c")]), ("user", [answered("a")])],
            [("user", [{"text": "a"}]), ("assistant", [use("a b")]), ("user", [answered("a b")])],
            [("user", [{"text": "a"}]), ("assistant", [use("a")]), ("user", [answered("a", " ")])],
            [("user", [{"document": {"name": "a"}}])],
            [("user", [{"text": "a"}, {"document": {"name": "a"}}, {"document": {"name": "A"}}])],
            [("user", [{"text": "a"}, {"document": {"name": "a.b"}}])],
            [("user", [POINT, {"text": "a"}])],
            [("user", [{"text": "a"}, {"document": {"name": "a"}}, POINT])],
            [("user", [{"text": "a"}, POINT] * 5)],
        ],
    )
    def test_are_seen_to_be_broken(self, wire):
        conversation = type(
            "Wire", (), {"system": [], "turns": [{"role": role, "content": list(c)} for role, c in wire]}
        )
        if not wire:
            assert list(Rules(conversation, CLAUDE).order_of_turns())
        else:
            assert broken_rules(conversation, CLAUDE)


class TestTurns:
    def test_of_one_question_is_itself(self):
        assert turns(message("user", " Hi ")) == [("user", [{"text": " Hi "}])]

    def test_of_one_role_in_a_row_are_one(self):
        # langchain-aws#130, cline#431
        assert turns(
            message("user", "a"),
            message("user", "b"),
            message("assistant", "c"),
            message("assistant", "d"),
            message("user", "e"),
        ) == [
            ("user", [{"text": "a"}, {"text": "b"}]),
            ("assistant", [{"text": "c"}, {"text": "d"}]),
            ("user", [{"text": "e"}]),
        ]

    def test_around_a_blank_one_are_one(self):
        # langchain-aws#403, botocore#3525, OpenHands#5339
        for blank in ("", " \n\t"):
            assert turns(message("user", "a"), message("assistant", blank), message("user", "b")) == [
                ("user", [{"text": "a"}, {"text": "b"}])
            ]

    def test_begin_with_the_user(self):
        assert turns(message("assistant", "Welcome"), message("user", "Hi")) == [
            ("user", [FILLER]),
            ("assistant", [{"text": "Welcome"}]),
            ("user", [{"text": "Hi"}]),
        ]

    def test_may_end_with_the_beginning_of_an_answer_without_blanks_at_its_end(self):
        assert turns(message("user", "a"), message("assistant", "It is \n"))[-1] == ("assistant", [{"text": "It is"}])

    def test_may_end_with_such_a_beginning_before_a_cache_point(self):
        found = turns(message("user", "a"), message("assistant", said("It is "), HINT))
        assert found[-1] == ("assistant", [{"text": "It is"}, POINT])

    def test_keep_blanks_in_all_other_places(self):
        found = turns(message("user", "a "), message("assistant", "b "), message("user", "c "))
        assert [content for _, content in found] == [[{"text": "a "}], [{"text": "b "}], [{"text": "c "}]]

    @pytest.mark.parametrize("family", [CLAUDE, MISTRAL_7B])
    def test_need_something_to_say(self, family):
        with pytest.raises(InvalidRequestError, match="messages say nothing"):
            written(message("user", " "), message("assistant", ""), family=family)

    def test_are_not_made_of_system_prompts(self):
        with pytest.raises(InvalidRequestError, match="messages say nothing"):
            written(message("system", "Be brief."))

    @pytest.mark.parametrize("role", ["user", "system", "developer"])
    def test_of_others_make_no_calls(self, role):
        older = message(role, "x", function_call=FunctionCall(name="look"))
        for wrong in (message(role, *calls("a")), older):
            with pytest.raises(InvalidRequestError, match=r"messages\[1\]"):
                written(message("user", "a"), wrong)


class TestSystemPrompts:
    def test_from_anywhere_are_one_list(self):
        found = written(
            message("system", "a"), message("user", "Hi"), message("developer", "b"), message("user", "there")
        )
        assert found.system == [{"text": "a"}, {"text": "b"}]
        assert [turn["content"] for turn in found.turns] == [[{"text": "Hi"}, {"text": "there"}]]

    def test_go_before_the_first_turn_where_the_model_takes_none(self):
        found = written(message("user", "Hi"), message("system", "Be brief."), family=MISTRAL_7B)
        assert found.system == []
        assert found.turns == [{"role": "user", "content": [{"text": "Be brief."}, {"text": "Hi"}]}]

    def test_are_the_first_turn_where_the_model_takes_none_and_the_assistant_begins(self):
        found = turns(message("system", "Be brief."), message("assistant", "Hi"), family=MISTRAL_7B)
        assert found == [("user", [{"text": "Be brief."}]), ("assistant", [{"text": "Hi"}])]

    def test_that_are_blank_are_left_out(self):
        assert written(message("system", "  "), message("user", "Hi")).system == []

    @pytest.mark.parametrize("part", [image(), pdf(), ReasoningPart(text="x"), *calls("a")])
    def test_are_text(self, part):
        with pytest.raises(InvalidRequestError, match=r"messages\[0\]: a system message takes text only"):
            written(message("system", said("x"), part), message("user", "Hi"))


class TestToolCalls:
    def test_are_answered_in_one_turn_and_in_their_order(self):
        # litellm#7099, langchain-aws#451, crewAI#4749, genkit aws-bedrock-js-plugin#664
        found = turns(
            message("user", "a"),
            message("assistant", said("Looking."), *calls("x", "y", "z")),
            message("tool", result("z", "3")),
            message("tool", result("x", "1"), result("y", "2")),
            message("user", "Well?"),
        )
        assert found[1] == ("assistant", [{"text": "Looking."}, use("x"), use("y"), use("z")])
        assert found[2] == ("user", [answered("x", "1"), answered("y", "2"), answered("z", "3"), {"text": "Well?"}])

    def test_may_be_answered_by_the_user_and_late_in_the_turn(self):
        found = turns(message("user", "a"), message("assistant", *calls("x")), message("user", said("b"), result("x")))
        assert found[2] == ("user", [answered("x"), {"text": "b"}])

    def test_may_come_in_several_messages(self):
        found = turns(
            message("user", "a"),
            message("assistant", *calls("x")),
            message("assistant", *calls("y")),
            message("tool", result("x"), result("y")),
        )
        assert found[1:] == [("assistant", [use("x"), use("y")]), ("user", [answered("x"), answered("y")])]

    def test_of_several_turns_may_have_the_same_id(self):
        again = (message("assistant", *calls("x")), message("tool", result("x")))
        assert len(turns(message("user", "a"), *again, *again)) == 5

    def test_of_one_turn_have_ids_of_their_own(self):
        with pytest.raises(InvalidRequestError, match="same id"):
            written(message("user", "a"), message("assistant", *calls("x", "x")), message("tool", result("x")))

    def test_need_results(self):
        for rest in ((), (message("user", "b"),), (message("tool", result("x")), message("assistant", "b"))):
            with pytest.raises(InvalidRequestError, match=r"tool call 'y' has no result.*role 'tool'"):
                written(message("user", "a"), message("assistant", *calls("y", "x")), *rest)

    def test_have_one_result(self):
        with pytest.raises(InvalidRequestError, match=r"messages\[3\] is a second result of tool call 'x'"):
            written(
                message("user", "a"),
                message("assistant", *calls("x")),
                message("tool", result("x")),
                message("tool", result("x")),
            )

    def test_have_their_result_in_the_next_turn(self):
        with pytest.raises(InvalidRequestError, match="'x' does not follow the assistant message that makes the call"):
            written(
                message("user", "a"),
                message("assistant", *calls("x")),
                message("tool", result("x")),
                message("assistant", "b"),
                message("tool", result("x")),
            )

    def test_have_results_in_messages_of_tools_and_users_only(self):
        with pytest.raises(InvalidRequestError, match=r"messages\[2\]: results of tools stand in"):
            written(message("user", "a"), message("assistant", *calls("x")), message("assistant", result("x")))

    def test_are_not_answered_by_text_alone(self):
        with pytest.raises(InvalidRequestError, match=r"messages\[2\] has role 'tool' but no tool result"):
            written(message("user", "a"), message("assistant", *calls("x")), message("tool", "sunny"))

    @pytest.mark.parametrize(
        ("arguments", "wire"),
        [
            ('{"a": 1}', {"a": 1}),
            ("", {}),
            (" \n", {}),
            # litellm#18667
            ('{"a": ', {"arguments": '{"a": '}),
            ("[1]", {"arguments": "[1]"}),
            ("null", {"arguments": "null"}),
            ("NaN", {"arguments": "NaN"}),
            ("[" * 5000, {"arguments": "[" * 5000}),
            ('{"a": "\ud800"}', {"a": "?"}),
        ],
    )
    def test_have_an_object_as_arguments(self, arguments, wire):
        found = turns(
            message("user", "a"), message("assistant", *calls("x", arguments=arguments)), message("tool", result("x"))
        )
        assert found[1][1][0]["toolUse"]["input"] == wire

    def test_have_names_and_ids_that_the_service_takes(self):
        # litellm#28874, #5138, #19384
        call = ToolCallPart(id="call|" + "x" * 80, name="weather.look up")
        found = turns(message("user", "a"), message("assistant", call), message("tool", result(call.id)))
        wire = found[1][1][0]["toolUse"]
        assert wire["name"].startswith("weather_look_up_")
        assert found[2][1][0]["toolResult"]["toolUseId"] == wire["toolUseId"]

    def test_in_the_older_spelling_get_ids(self):
        older = message("assistant", "", function_call=FunctionCall(name="look", arguments='{"a": 1}'))
        answer = message("function", "fine", name="look")
        found = turns(message("user", "a"), older, answer, older, answer)
        assert found[1:] == [
            ("assistant", [use("call_1", arguments={"a": 1})]),
            ("user", [answered("call_1")]),
            ("assistant", [use("call_2", arguments={"a": 1})]),
            ("user", [answered("call_2")]),
        ]

    @pytest.mark.parametrize("family", FAMILIES)
    def test_are_noticed(self, family):
        assert not written(message("user", "a"), family=family).has_tools
        assert not written(message("user", "a"), message("assistant", "b"), family=family).has_tools
        with_tools = (message("user", "a"), message("assistant", *calls("x")), message("tool", result("x")))
        assert written(*with_tools, family=family).has_tools


class TestResults:
    def test_that_are_blank_are_empty_objects(self):
        found = turns(message("user", "a"), message("assistant", *calls("x")), message("tool", result("x", " ")))
        assert found[2][1] == [{"toolResult": {"toolUseId": "x", "content": [{"json": {}}]}}]

    @pytest.mark.parametrize("content", ['{"a": 1}', "[1]", "5", "null"])
    def test_that_are_json_are_text(self, content):
        # aichat#1544/#1550
        found = turns(message("user", "a"), message("assistant", *calls("x")), message("tool", result("x", content)))
        assert found[2][1] == [answered("x", content)]

    def test_that_are_errors_say_so(self):
        failed = result("x", "down", is_error=True)
        asked = (message("user", "a"), message("assistant", *calls("x")), message("tool", failed))
        assert turns(*asked)[2][1] == [answered("x", "down", status="error")]
        assert turns(*asked, family=WRITER)[2][1] == [answered("x", "Error: down")]

    @pytest.mark.parametrize("family", [LLAMA, WRITER])
    @pytest.mark.parametrize("beside", [said("Well?"), image(), pdf()])
    def test_stand_alone_for_models_that_want_it(self, family, beside):
        # langchain-aws#141, pydantic-ai#6081/#3253
        found = turns(
            message("user", "a"),
            message("assistant", *calls("x")),
            message("tool", result("x")),
            message("user", beside),
            family=family,
        )
        assert found[2:4] == [("user", [answered("x")]), ("assistant", [FILLER])]
        assert [role for role, _ in found] == ["user", "assistant", "user", "assistant", "user"]

    def test_stand_beside_text_and_images_but_not_documents_for_claude(self):
        asked = (message("user", "a"), message("assistant", *calls("x")), message("tool", result("x")))
        assert len(turns(*asked, message("user", said("b"), image()))) == 3
        found = turns(*asked, message("user", pdf(), said("Summarise")))
        assert found[2:4] == [("user", [answered("x")]), ("assistant", [FILLER])]
        assert [list(block) for block in found[4][1]] == [["document"], ["text"]]

    def test_stand_beside_documents_for_others(self):
        asked = (message("user", "a"), message("assistant", *calls("x")), message("tool", result("x")))
        found = turns(*asked, message("user", pdf()), family=NOVA)
        assert [list(block) for block in found[2][1]] == [["toolResult"], ["document"], ["text"]]

    @pytest.mark.parametrize("family", [LLAMA, WRITER])
    def test_are_not_split_from_blank_text_and_cache_hints(self, family):
        found = turns(
            message("user", "a"),
            message("assistant", *calls("x")),
            message("tool", result("x"), HINT, said(" ")),
            family=family,
        )
        assert found[2:] == [("user", [answered("x")])]


class TestMedia:
    @pytest.mark.parametrize("part", [image(), pdf()])
    @pytest.mark.parametrize("role", ["assistant"])
    def test_stand_in_user_messages_only(self, role, part):
        with pytest.raises(
            InvalidRequestError, match=rf"messages\[1\]: Bedrock takes an {part.type} in user messages only"
        ):
            written(message("user", "a"), message(role, part))

    def test_documents_have_text_beside_them(self):
        found = turns(message("user", pdf()))
        assert [list(block) for block in found[0][1]] == [["document"], ["text"]]
        assert found[0][1][-1] == FILLER

    def test_documents_have_names_of_their_own_in_the_whole_request(self):
        found = turns(
            message("user", said("a"), pdf("r.pdf"), pdf("R.pdf")),
            message("assistant", "b"),
            message("user", said("c"), pdf("r.docx")),
        )
        names = [block["document"]["name"] for _, content in found for block in content if "document" in block]
        assert names == ["r", "R 2", "r 3"]

    def test_images_need_no_text(self):
        assert [list(block) for block in turns(message("user", image()))[0][1]] == [["image"]]

    def test_tell_their_place_when_they_are_wrong(self):
        with pytest.raises(InvalidRequestError, match=r"messages\[1\]: Bedrock fetches no images from the web"):
            written(message("system", "a"), message("user", ImagePart(url="https://example.com/a.png")))


SIGNED_BLOCK = {"reasoningContent": {"reasoningText": {"text": "Let me see. ", "signature": "c2ln"}}}


class TestReasoning:
    SIGNED = ReasoningPart(text="Let me see. ", signature="c2ln")
    ENCRYPTED = ReasoningPart(data="ZW5j")

    def test_goes_back_unmodified_and_in_its_place(self):
        # langchain-aws#844/#1229/#1299, litellm#25375, inspect_ai#5217
        found = turns(
            message("user", "a"),
            message("assistant", self.SIGNED, self.ENCRYPTED, said("b"), *calls("x")),
            message("tool", result("x")),
        )
        encrypted = {"reasoningContent": {"redactedContent": "ZW5j"}}
        assert found[1] == ("assistant", [SIGNED_BLOCK, encrypted, {"text": "b"}, use("x")])

    def test_of_another_model_goes_back_as_text_or_not_at_all(self):
        # strands#682: models that sign nothing refuse signatures.
        conversation = (
            message("user", "a"),
            message("assistant", self.SIGNED, self.ENCRYPTED, ReasoningPart(text="Hm.", signature=""), *calls("x")),
            message("tool", result("x")),
        )
        thoughts = [
            block["reasoningContent"]
            for block in written(*conversation, family=GPT_OSS).turns[1]["content"]
            if "reasoningContent" in block
        ]
        assert thoughts == [{"reasoningText": {"text": "Let me see. "}}, {"reasoningText": {"text": "Hm."}}]
        signed = [block for block in written(*conversation).turns[1]["content"] if "reasoningContent" in block]
        assert signed == [SIGNED_BLOCK, {"reasoningContent": {"redactedContent": "ZW5j"}}]

    def test_is_missing_where_another_model_made_the_calls(self):
        conversation = (message("user", "a"), message("assistant", *calls("x")), message("tool", result("x")))
        assert written(*conversation).thoughtless
        thought = (conversation[0], message("assistant", self.SIGNED, *calls("x")), conversation[2])
        assert not written(*thought).thoughtless
        assert not written(*thought, message("user", "b")).thoughtless

    def test_has_no_cache_point_directly_after_it(self):
        # rig#1673
        found = turns(
            message("user", "a"),
            message("assistant", said("b"), self.SIGNED, CacheHintPart(), *calls("x")),
            message("tool", result("x")),
        )
        assert [next(iter(block)) for block in found[1][1]] == ["text", "cachePoint", "reasoningContent", "toolUse"]

    def test_without_text_goes_back_with_its_signature(self):
        found = turns(
            message("user", "a"),
            message("assistant", ReasoningPart(signature="s"), *calls("x")),
            message("tool", result("x")),
        )
        assert found[1][1][0] == {"reasoningContent": {"reasoningText": {"text": "", "signature": "s"}}}

    def test_without_a_signature_goes_back_to_models_that_have_none(self):
        unsigned = message("assistant", ReasoningPart(text="Hm."), said("b"))
        with_text = {"reasoningContent": {"reasoningText": {"text": "Hm."}}}
        asked = (message("user", "a"), unsigned, message("user", "c"))
        assert turns(*asked)[1][1] == [{"text": "b"}]
        assert turns(*asked, family=GPT_OSS)[1][1] == [with_text, {"text": "b"}]

    def test_does_not_go_to_models_that_take_none(self):
        asked = (message("user", "a"), message("assistant", self.SIGNED, said("b")), message("user", "c"))
        assert turns(*asked, family=NOVA)[1][1] == [{"text": "b"}]

    def test_alone_is_no_turn(self):
        found = turns(message("user", "a"), message("assistant", self.SIGNED, self.ENCRYPTED), message("user", "b"))
        assert found == [("user", [{"text": "a"}, {"text": "b"}])]
        assert len(turns(message("user", "a"), message("assistant", self.SIGNED))) == 1

    def test_of_a_message_of_its_own_stays_before_what_follows_it(self):
        found = turns(message("user", "a"), message("assistant", self.SIGNED), message("assistant", "b"))
        assert found[1] == ("assistant", [SIGNED_BLOCK, {"text": "b"}])

    def test_of_the_user_is_left_out(self):
        assert turns(message("user", self.SIGNED, said("a"))) == [("user", [{"text": "a"}])]


class TestCacheHints:
    # litellm#39210, langchain-aws#326, pydantic-ai#3438
    def test_are_points_after_what_comes_before_them(self):
        found = written(message("system", said("s"), HINT), message("user", said("a"), HINT, said("b")))
        assert found.system == [{"text": "s"}, POINT]
        assert found.turns[0]["content"] == [{"text": "a"}, POINT, {"text": "b"}]

    def test_may_say_how_long(self):
        found = turns(message("user", said("a"), CacheHintPart(ttl="1h")))
        assert found[0][1][-1] == {"cachePoint": {"type": "default", "ttl": "1h"}}

    def test_are_left_out_where_the_model_takes_none(self):
        found = written(message("system", said("s"), HINT), message("user", said("a"), HINT), family=UNKNOWN)
        assert (found.system, found.turns[0]["content"]) == ([{"text": "s"}], [{"text": "a"}])

    def test_are_left_out_of_system_prompts_that_become_text(self):
        family = attrs.evolve(CLAUDE, system=False)
        found = turns(message("system", said("s"), HINT), message("user", "a"), family=family)
        assert found == [("user", [{"text": "s"}, {"text": "a"}])]

    def test_are_left_out_where_nothing_comes_before_them(self):
        found = written(message("system", HINT, said("s")), message("user", HINT, said(" "), HINT, said("a")))
        assert (found.system, found.turns[0]["content"]) == ([{"text": "s"}], [{"text": "a"}])

    def test_in_a_row_are_one(self):
        assert turns(message("user", said("a"), HINT, HINT), message("user", HINT, said("b")))[0][1] == [
            {"text": "a"},
            POINT,
            {"text": "b"},
        ]

    def test_are_never_after_a_document(self):
        found = turns(message("user", said("a"), pdf(), HINT), message("user", HINT, said("b")))
        assert [next(iter(block)) for block in found[0][1]] == ["text", "cachePoint", "document", "text"]
        assert "cachePoint" not in str(turns(message("user", pdf(), HINT)))

    def test_after_results_stay_with_them(self):
        asked = (message("user", "a"), message("assistant", *calls("x")), message("tool", result("x"), HINT))
        assert turns(*asked)[2][1] == [answered("x"), POINT]
        found = turns(*asked, message("user", pdf(), said("b")))
        assert found[2:4] == [("user", [answered("x"), POINT]), ("assistant", [FILLER])]

    def test_before_results_are_none(self):
        found = turns(message("user", "a"), message("assistant", *calls("x")), message("tool", HINT, result("x")))
        assert found[2][1] == [answered("x")]

    def test_beyond_four_leave_the_latest_turns_after_the_system_prompt(self):
        part = [each for letter in "abcdef" for each in (said(letter), HINT)]
        found = written(message("system", said("s"), HINT), message("user", *part))
        assert found.system == [{"text": "s"}, POINT]
        kept = [block.get("text", "|") for block in found.turns[0]["content"]]
        assert "".join(kept) == "abcd|e|f|"

    def test_beyond_four_in_the_system_prompt_leave_its_latest(self):
        part = [each for letter in "abcdef" for each in (said(letter), HINT)]
        found = written(message("system", *part), message("user", said("a"), HINT))
        assert "".join(block.get("text", "|") for block in found.system) == "abc|d|e|f|"
        assert found.turns[0]["content"] == [{"text": "a"}]


ids = st.sampled_from(["a", "b", "c", "call|1", "x" * 80, ""])
tools = st.sampled_from(["look", "weather.look up", "y" * 70, "погода"])
texts = st.sampled_from(["", " ", "Hi", "Hi \n", "\u2003", "größer", "a\ud800b"]) | st.text(max_size=5)
text_parts = texts.map(said)
call_parts = st.builds(
    ToolCallPart, id=ids, name=tools, arguments=st.sampled_from(["", "{}", '{"a": 1}', "{", "[]", "1", " "])
)
result_parts = st.builds(ToolResultPart, tool_call_id=ids, content=texts, is_error=st.booleans())
media_parts = st.one_of(
    st.builds(ImagePart, data=st.sampled_from([PNG, PDF, ""]), media_type=st.sampled_from(["image/png", "image/bmp"])),
    st.builds(
        ImagePart, url=st.sampled_from(["https://a.example/b.png", "s3://b/c.png", f"data:image/png;base64,{PNG}"])
    ),
    st.builds(
        DocumentPart,
        data=st.sampled_from([PDF, PNG]),
        media_type=st.just("application/pdf"),
        name=st.none() | st.sampled_from(["r.pdf", "R.docx", "a  b__c.txt", "Ω"]) | st.text(max_size=6),
    ),
    st.builds(DocumentPart, text=texts, name=st.none() | st.just("r")),
)
reasoning_parts = st.one_of(
    st.builds(ReasoningPart, text=texts, signature=st.none() | st.just("c2ln")), st.just(ReasoningPart(data="ZW5j"))
)
hints = st.builds(CacheHintPart, ttl=st.sampled_from([None, "5m", "1h"]))
user_parts = st.one_of(text_parts, text_parts, hints, media_parts, reasoning_parts)
assistant_parts = st.one_of(text_parts, text_parts, hints, reasoning_parts)


@st.composite
def exchanges(draw, beside=user_parts):
    """Messages that mostly make sense: questions, calls with their results, answers, and some of it blank."""
    questions = st.one_of(
        st.builds(lambda content: message("user", *content), st.lists(beside, max_size=4)),
        st.builds(lambda content: message("system", *content), st.lists(text_parts | hints, max_size=4)),
        st.builds(lambda text: message("system", text), texts),
    )
    found = []
    for _ in range(draw(st.integers(1, 4))):
        found += draw(st.lists(questions, max_size=3))
        call_ids = draw(st.lists(ids, max_size=3, unique=True))
        made = [ToolCallPart(id=each, name=draw(tools), arguments="{}") for each in call_ids]
        found.append(message("assistant", *draw(st.lists(assistant_parts, max_size=3)), *made))
        answers = [result(each, draw(texts)) for each in draw(st.permutations(call_ids))]
        if draw(st.booleans()):
            found += [message("tool", each) for each in answers]
        else:
            found.append(message("user", *answers, *draw(st.lists(beside, max_size=2))))
    return found


anything = st.lists(
    st.builds(
        lambda role, content, name, call: ChatMessage(role=role, content=content, name=name, function_call=call),
        st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]),
        texts | st.lists(st.one_of(user_parts, assistant_parts, call_parts, result_parts), max_size=4),
        st.none() | st.just("look"),
        st.none() | st.none() | st.none() | st.just(FunctionCall(name="look")),
    ),
    min_size=1,
    max_size=8,
)
families = st.sampled_from(FAMILIES)


def accepted(messages):
    """Whether the core lets *messages* through."""
    try:
        GenerateRequest(kind="chat", messages=tuple(messages), model="m", options=ChatGenerationOptions())
    except InvalidRequestError:
        return False
    return True


class TestAnyConversation:
    @given(exchanges() | anything, families)
    def test_that_the_core_accepts_keeps_all_rules_or_is_refused(self, messages, family):
        assume(accepted(messages))
        try:
            found = wire_conversation(messages, family, ToolNames())
        except InvalidRequestError:
            return
        assert broken_rules(found, family) == []

    @given(exchanges(), families)
    def test_loses_no_words_and_no_results(self, messages, family):
        assume(accepted(messages))
        try:
            found = wire_conversation(messages, family, ToolNames())
        except InvalidRequestError:
            return
        words = Counter(
            part.text.rstrip()
            for each in messages
            if each.role != "system"
            for part in ((said(each.content),) if isinstance(each.content, str) else each.content)
            if isinstance(part, TextPart) and part.text.strip()
        )
        blocks = [block for turn in found.turns for block in turn["content"]]
        wire = Counter(block["text"].rstrip() for block in blocks if "text" in block)
        assert words <= wire
        if family.system:
            assert (wire - words).keys() <= {"."}
        given_results = sum(isinstance(part, ToolResultPart) for each in messages for part in each.content)
        assert sum("toolResult" in block for block in blocks) == given_results

    @given(exchanges(beside=text_parts | hints | reasoning_parts), families)
    def test_of_good_sense_is_never_refused(self, messages, family):
        found = wire_conversation([message("user", "Hi"), *messages], family, ToolNames())
        assert broken_rules(found, family) == []
