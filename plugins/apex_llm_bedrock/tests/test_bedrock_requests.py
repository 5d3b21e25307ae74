"""Bodies of Converse: options by family and by policy, tools, forms of answers, reasoning, and what callers add."""

from __future__ import annotations

import json
import re

import attrs
import pytest
from apex_llm_bedrock.families import UNKNOWN, family_of
from apex_llm_bedrock.model_ids import parse_model_id
from apex_llm_bedrock.models import Model
from apex_llm_bedrock.requests import add_extra, converse_body, refuse_dropped
from apex_llm_bedrock.settings import BedrockSettings

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    FunctionChoice,
    FunctionDefinition,
    GenerateRequest,
    ResponseFormat,
    TextGenerationOptions,
    ToolCallPart,
    ToolResultPart,
)

CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"
CLAUDE_45 = "anthropic.claude-sonnet-4-5-20250929-v1:0"
ADAPTIVE = "anthropic.claude-opus-4-8-v1:0"
NOVA = "amazon.nova-lite-v1:0"
NOVA_2 = "amazon.nova-2-lite-v1:0"
LLAMA = "meta.llama3-1-70b-instruct-v1:0"
MISTRAL_7B = "mistral.mistral-7b-instruct-v0:2"
MISTRAL_LARGE = "mistral.mistral-large-2407-v1:0"
JAMBA = "ai21.jamba-1-5-large-v1:0"
GPT_OSS = "openai.gpt-oss-120b-1:0"
QWEN = "qwen.qwen3-32b-v1:0"
KIMI = "moonshot.kimi-k2-thinking"
UNKNOWN_MODEL = "somebody.model-v1:0"

DROP = {"unsupported_parameters": "drop"}
USER = (ChatMessage(role="user", content="Hi"),)
LOOK = FunctionDefinition(name="look", description="Looks.", parameters={"type": "object", "properties": {}})
FIND = FunctionDefinition(name="find")
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORM = ResponseFormat(type="json_schema", name="point", schema=SCHEMA)
CALLED = (
    ChatMessage(role="user", content="Hi"),
    ChatMessage(
        role="assistant", content=(ToolCallPart(id="a", name="look"), ToolCallPart(id="b", name="weather.now"))
    ),
    ChatMessage(role="tool", content=(ToolResultPart(tool_call_id="a"), ToolResultPart(tool_call_id="b"))),
)


def model_of(name, **changes):
    model_id = parse_model_id(name)
    family = attrs.evolve(family_of(model_id.base or name), **changes)
    return Model(name=name, id=model_id, family=family, base=model_id.base, invoke_format="")


def body(model=CLAUDE, messages=USER, *, settings=None, stream=False, streamed=None, family=None, **options):
    request = GenerateRequest(
        kind="chat", messages=messages, model=model, options=ChatGenerationOptions(**options), stream=stream
    )
    return converse_body(
        request, model_of(model, **(family or {})), BedrockSettings(**(settings or {})), streamed=streamed
    )


def document(model=CLAUDE, messages=USER, **more):
    return body(model, messages, **more).document


def dropped(model, **more):
    """The options that are left out by the policy; the other policy refuses them by name."""
    found = body(model, settings=DROP, **more)
    assert found.reading.told().get("dropped_parameters", []) == list(found.reading.dropped)
    if found.reading.dropped:
        with pytest.raises(InvalidRequestError) as caught:
            body(model, **more)
        # Without the reasons that stand behind some names.
        told = re.sub(r" \([^)]*\)", "", str(caught.value))
        assert told.startswith(f"{', '.join(found.reading.dropped)}: not taken by the model {model!r}")
        assert "unsupported_parameters = 'drop'" in str(caught.value)
    else:
        assert body(model, **more).document == found.document
    return found.reading.dropped, found.document


class TestPlainRequest:
    def test_is_nothing_but_its_message(self):
        for model in (CLAUDE, NOVA, LLAMA, UNKNOWN_MODEL):
            found = body(model)
            assert found.document == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
            assert found.reading.told() == {}

    def test_of_text_is_that_of_a_chat(self):
        request = GenerateRequest(
            kind="text", messages=USER, model=CLAUDE, options=TextGenerationOptions(max_tokens=5, temperature=0.5)
        )
        found = converse_body(request, model_of(CLAUDE), BedrockSettings())
        assert found.document == document(max_tokens=5, temperature=0.5)

    def test_has_its_system_prompt_apart(self):
        found = document(messages=(ChatMessage(role="system", content="Be brief."), *USER))
        assert found["system"] == [{"text": "Be brief."}]

    def test_can_be_written(self):
        assert json.loads(json.dumps(document(tools=[LOOK], response_format=FORM, user="u"), allow_nan=False))


class TestOptions:
    def test_stand_in_inference_config(self):
        found = document(max_tokens=7, temperature=0.5, stop=["END"])
        assert found["inferenceConfig"] == {"maxTokens": 7, "temperature": 0.5, "stopSequences": ["END"]}
        assert document(top_p=0.5)["inferenceConfig"] == {"topP": 0.5}

    def test_may_be_zero(self):
        assert document(temperature=0, top_p=0)["inferenceConfig"] == {"temperature": 0, "topP": 0}

    def test_that_change_nothing_are_left_out(self):
        options = {"frequency_penalty": 0, "presence_penalty": 0.0, "logprobs": False, "top_logprobs": 0, "n": 1}
        assert dropped(CLAUDE, **options) == ((), document())

    @pytest.mark.parametrize(
        "options",
        [
            {"frequency_penalty": 0.5},
            {"presence_penalty": -0.5},
            {"seed": 0},
            {"logprobs": True},
            {"top_logprobs": 3},
            {"temperature": 1.5},
            {"user": "x" * 257},
            {"user": "a|b"},
            {"user": "größe"},
        ],
    )
    def test_that_the_service_has_no_place_for_follow_the_policy(self, options):
        names, found = dropped(NOVA, **options)
        assert names == tuple(options)
        assert found == document(NOVA)

    def test_that_are_several_are_told_together(self):
        assert dropped(NOVA, seed=1, logprobs=True)[0] == ("seed", "logprobs")

    def test_of_several_answers_are_refused(self):
        for settings in ({}, DROP):
            with pytest.raises(InvalidRequestError, match="n: Bedrock gives one answer"):
                body(n=2, settings=settings)

    def test_for_sampling_are_one_for_newer_claudes(self):
        names, found = dropped(CLAUDE_45, temperature=0.5, top_p=0.9)
        assert (names, found["inferenceConfig"]) == (("top_p",), {"temperature": 0.5})
        assert dropped(CLAUDE_45, temperature=0.5, top_p=1)[0] == ()
        assert dropped(CLAUDE, temperature=0.5, top_p=0.9)[0] == ()

    def test_for_sampling_are_none_for_some(self):
        names, found = dropped(ADAPTIVE, temperature=0.5, top_p=0.9)
        assert (names, "inferenceConfig" in found) == (("temperature", "top_p"), False)
        assert dropped(ADAPTIVE, temperature=1, top_p=1) == ((), document(ADAPTIVE))

    def test_for_the_end_are_left_out_where_blank(self):
        # litellm#5592, langchain-aws#62, litellm#3286
        names, found = dropped(CLAUDE, stop=["END", "\n", ""])
        assert (names, found["inferenceConfig"]) == (("stop",), {"stopSequences": ["END"]})
        assert dropped(CLAUDE, stop=["\n"]) == (("stop",), document())
        assert dropped(CLAUDE, stop=[]) == ((), document())

    def test_for_the_end_are_as_many_as_the_model_takes(self):
        stops = [str(number) for number in range(6)]
        names, found = dropped(NOVA, stop=stops)
        assert (names, found["inferenceConfig"]["stopSequences"]) == (("stop",), stops[:4])
        assert dropped(NOVA, stop=stops[:4])[0] == ()
        assert dropped(LLAMA, stop=["END"]) == (("stop",), document(LLAMA))
        assert dropped(UNKNOWN_MODEL, stop=["x"] * 2501)[0] == ("stop",)

    def test_of_the_user_stand_in_the_metadata(self):
        assert document(user="ann@example.com")["requestMetadata"] == {"user": "ann@example.com"}
        found = document(user="ann", settings={"request_metadata": {"team": "x"}})
        assert found["requestMetadata"] == {"team": "x", "user": "ann"}


class TestSettings:
    GUARDED = {"guardrail_identifier": "g", "guardrail_version": "DRAFT"}  # noqa: RUF012

    def test_of_guardrails_are_in_every_request(self):
        guardrail = {"guardrailIdentifier": "g", "guardrailVersion": "DRAFT"}
        assert document(settings=self.GUARDED)["guardrailConfig"] == guardrail
        traced = document(settings={**self.GUARDED, "guardrail_trace": "enabled"})
        assert traced["guardrailConfig"] == {**guardrail, "trace": "enabled"}

    def test_of_guardrails_in_streams_are_for_streams_only(self):
        settings = {**self.GUARDED, "guardrail_stream_mode": "async"}
        assert "streamProcessingMode" not in document(settings=settings)["guardrailConfig"]
        assert document(settings=settings, stream=True)["guardrailConfig"]["streamProcessingMode"] == "async"
        whole = document(settings=settings, stream=True, streamed=False)
        assert "streamProcessingMode" not in whole["guardrailConfig"]
        # Nothing of one request is in the next.
        assert "streamProcessingMode" not in document(settings=settings)["guardrailConfig"]

    def test_of_tiers_and_latency_are_in_every_request(self):
        found = document(settings={"service_tier": "flex", "latency": "optimized", "request_metadata": {"a": "b"}})
        assert found["serviceTier"] == {"type": "flex"}
        assert found["performanceConfig"] == {"latency": "optimized"}
        assert found["requestMetadata"] == {"a": "b"}


class TestExtra:
    @pytest.mark.parametrize(
        ("name", "member", "value"),
        [
            ("guardrail_config", "guardrailConfig", {"guardrailIdentifier": "g", "guardrailVersion": "1"}),
            ("performance_config", "performanceConfig", {"latency": "optimized"}),
            ("prompt_variables", "promptVariables", {"a": {"text": "b"}}),
            ("request_metadata", "requestMetadata", {"a": "b"}),
            ("service_tier", "serviceTier", {"type": "priority"}),
            ("output_config", "outputConfig", {"effort": "high"}),
            ("additional_model_response_field_paths", "additionalModelResponseFieldPaths", ["/stop_sequence"]),
        ],
    )
    def test_members_of_converse_may_be_in_either_spelling(self, name, member, value):
        for spelling in (name, member):
            assert document(extra={spelling: value}) == {**document(), member: value}

    def test_everything_else_is_the_models_own(self):
        found = document(extra={"top_k": 5, "anthropic_beta": ["x"]})
        assert found["additionalModelRequestFields"] == {"top_k": 5, "anthropic_beta": ["x"]}

    @pytest.mark.parametrize("name", ["additional_model_request_fields", "additionalModelRequestFields"])
    def test_the_models_own_may_be_said_as_a_whole(self, name):
        found = document(extra={name: {"inferenceConfig": {"topK": 5}}, "top_k": 5})
        assert found["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 5}, "top_k": 5}
        with pytest.raises(InvalidRequestError, match=rf"extra\.{name} is a list; expected a mapping"):
            document(extra={name: [1]})

    def test_the_callers_word_goes_before_the_configurations(self):
        settings = {"service_tier": "flex", "request_metadata": {"a": "1", "b": "2"}}
        found = document(settings=settings, extra={"service_tier": {"type": "priority"}, "requestMetadata": {"b": "3"}})
        assert found["serviceTier"] == {"type": "priority"}
        assert found["requestMetadata"] == {"a": "1", "b": "3"}

    def test_the_callers_word_goes_before_what_the_request_makes_of_effort(self):
        found = document(reasoning_effort="low", extra={"thinking": {"type": "enabled", "budget_tokens": 3000}})
        assert found["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 3000}}

    @pytest.mark.parametrize(
        "name",
        [
            "modelId",
            "model_id",
            "messages",
            "system",
            "inferenceConfig",
            "inference_config",
            "toolConfig",
            "tool_config",
        ],
    )
    def test_what_the_request_says_is_refused(self, name):
        with pytest.raises(InvalidRequestError, match=f"extra may not set {name}: the request itself does"):
            document(extra={name: {}})

    @pytest.mark.parametrize("name", ["guardrailConfig", "guardrail_config"])
    def test_a_configured_guardrail_is_not_replaced(self, name):
        with pytest.raises(InvalidRequestError, match="the configuration has a guardrail"):
            document(settings=TestSettings.GUARDED, extra={name: {}})

    def test_does_not_change_what_the_caller_gave(self):
        extra = {"additional_model_request_fields": {"a": 1}, "b": 2, "request_metadata": {"c": "d"}}
        document(extra=extra, user="u", reasoning_effort="low")
        assert extra == {"additional_model_request_fields": {"a": 1}, "b": 2, "request_metadata": {"c": "d"}}

    def test_of_other_bodies_may_not_contradict_them(self):
        found = {"a": 1}
        add_extra(found, {"b": 2}, ours=frozenset({"a"}))
        add_extra(found, None, ours=frozenset({"a"}))
        assert found == {"a": 1, "b": 2}
        with pytest.raises(InvalidRequestError, match="extra may not set a"):
            add_extra(found, {"a": 2}, ours=frozenset({"a"}))


class TestTools:
    def test_are_written_with_a_schema_of_an_object(self):
        tools = [LOOK, FIND, FunctionDefinition(name="n", description=" ", parameters={"properties": {}}, strict=True)]
        assert document(CLAUDE_45, tools=tools)["toolConfig"] == {
            "tools": [
                {
                    "toolSpec": {
                        "name": "look",
                        "description": "Looks.",
                        "inputSchema": {"json": {"type": "object", "properties": {}}},
                    }
                },
                {"toolSpec": {"name": "find", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
                {
                    "toolSpec": {
                        "name": "n",
                        "inputSchema": {"json": {"type": "object", "properties": {}, "additionalProperties": False}},
                        "strict": True,
                    }
                },
            ]
        }

    @pytest.mark.parametrize(
        ("model", "schema"),
        [(CLAUDE, {"properties": {}}), (LLAMA, {}), (CLAUDE_45, {"additionalProperties": {"type": "string"}})],
    )
    def test_are_not_held_to_a_schema_where_that_cannot_be(self, model, schema):
        found = body(model, tools=[FunctionDefinition(name="n", parameters=schema, strict=True)])
        [tool] = found.document["toolConfig"]["tools"]
        assert "strict" not in tool["toolSpec"]
        assert found.reading.told() == {"dropped_parameters": ["strict"]}

    def test_may_be_in_the_older_spelling(self):
        assert document(functions=[LOOK]) == document(tools=[LOOK])
        assert document(functions=[LOOK], function_call="look") == document(
            tools=[LOOK], tool_choice=FunctionChoice(name="look")
        )
        assert document(functions=[LOOK], function_call="none") == document(tools=[LOOK], tool_choice="none")

    def test_have_one_name_in_specifications_history_and_choice(self):
        # litellm#28874, #5138, #19384
        tool = FunctionDefinition(name="weather.now")
        found = body(messages=CALLED, tools=[tool], tool_choice=FunctionChoice(name="weather.now"))
        written = found.document["toolConfig"]["tools"][0]["toolSpec"]["name"]
        assert written.startswith("weather_now_")
        assert found.document["messages"][1]["content"][1]["toolUse"]["name"] == written
        assert found.document["toolConfig"]["toolChoice"] == {"tool": {"name": written}}
        assert found.reading.names.original(written) == "weather.now"

    @pytest.mark.parametrize("options", [{}, {"tool_choice": "none"}, {"tools": [LOOK], "tool_choice": "none"}])
    def test_are_named_if_the_history_has_calls(self, options):
        # pydantic-ai#1966, dify#16421
        found = body(messages=CALLED, **options)
        names = [each["toolSpec"]["name"] for each in found.document["toolConfig"]["tools"]]
        assert [found.reading.names.original(name) for name in names] == ["look", "weather.now"]
        assert "toolChoice" not in found.document["toolConfig"]

    def test_are_named_for_texts_too(self):
        request = GenerateRequest(kind="text", messages=CALLED, model=CLAUDE, options=TextGenerationOptions())
        found = converse_body(request, model_of(CLAUDE), BedrockSettings())
        assert len(found.document["toolConfig"]["tools"]) == 2

    def test_that_may_not_be_called_are_left_out(self):
        assert document(tools=[LOOK], tool_choice="none") == document()


class TestToolChoice:
    @pytest.mark.parametrize(
        ("choice", "wire"),
        [
            (None, None),
            ("auto", {"auto": {}}),
            ("required", {"any": {}}),
            (FunctionChoice(name="look"), {"tool": {"name": "look"}}),
        ],
    )
    def test_is_the_services_word(self, choice, wire):
        for model in (CLAUDE, NOVA, UNKNOWN_MODEL):
            assert document(model, tools=[LOOK, FIND], tool_choice=choice)["toolConfig"].get("toolChoice") == wire

    def test_of_nobody_is_the_services_default(self):
        for model in (JAMBA, GPT_OSS):
            names, found = dropped(model, tools=[LOOK], tool_choice="auto")
            assert (names, "toolChoice" in found["toolConfig"]) == ((), False)

    @pytest.mark.parametrize("model", [LLAMA, JAMBA, GPT_OSS])
    @pytest.mark.parametrize("choice", ["required", FunctionChoice(name="look")])
    def test_that_the_model_does_not_know_follows_the_policy(self, model, choice):
        # bedrock-access-gateway#92
        names, found = dropped(model, tools=[LOOK], tool_choice=choice)
        assert (names, "toolChoice" in found["toolConfig"]) == (("tool_choice",), False)

    def test_of_one_tool_may_be_said_by_another_word(self):
        found = body(MISTRAL_LARGE, tools=[LOOK], tool_choice=FunctionChoice(name="look"))
        assert found.document["toolConfig"]["toolChoice"] == {"any": {}}
        assert found.reading.told() == {"emulated_parameters": ["tool_choice"]}
        names, _ = dropped(MISTRAL_LARGE, tools=[LOOK, FIND], tool_choice=FunctionChoice(name="look"))
        assert names == ("tool_choice",)

    def test_in_the_older_spelling_is_called_so(self):
        assert dropped(LLAMA, functions=[LOOK], function_call="look")[0] == ("function_call",)

    def test_of_a_tool_that_is_not_there_is_refused_with_the_nearest(self):
        with pytest.raises(InvalidRequestError, match=r"tool_choice is 'lok', which is no tool of the request.*'look'"):
            body(tools=[LOOK], tool_choice=FunctionChoice(name="lok"))
        with pytest.raises(InvalidRequestError, match="function_call is 'lok'"):
            body(functions=[LOOK], function_call="lok")

    def test_without_tools_is_refused_if_it_asks_for_one(self):
        with pytest.raises(InvalidRequestError, match="tool_choice is 'required', but the request has no tools"):
            body(tool_choice="required")
        assert document(tool_choice="auto") == document() == document(tool_choice="none")
        assert "toolChoice" not in document(messages=CALLED, tool_choice="auto")["toolConfig"]

    @pytest.mark.parametrize("choice", ["required", FunctionChoice(name="look")])
    def test_cannot_be_forced_while_claude_thinks_in_a_budget(self, choice):
        names, found = dropped(CLAUDE, tools=[LOOK], tool_choice=choice, reasoning_effort="low")
        assert (names, "toolChoice" in found["toolConfig"]) == (("tool_choice",), False)
        assert dropped(ADAPTIVE, tools=[LOOK], tool_choice=choice, reasoning_effort="low")[0] == ()
        auto = document(tools=[LOOK], tool_choice="auto", reasoning_effort="low")
        assert auto["toolConfig"]["toolChoice"] == {"auto": {}}


class TestParallelCalls:
    @pytest.mark.parametrize(
        ("choice", "wire"),
        [
            (None, {"type": "auto"}),
            ("auto", {"type": "auto"}),
            ("required", {"type": "any"}),
            (FunctionChoice(name="look"), {"type": "tool", "name": "look"}),
        ],
    )
    def test_are_forbidden_in_claudes_own_words(self, choice, wire):
        found = document(tools=[LOOK], tool_choice=choice, parallel_tool_calls=False)
        assert found["additionalModelRequestFields"] == {"tool_choice": {**wire, "disable_parallel_tool_use": True}}
        assert "toolChoice" not in found["toolConfig"]

    def test_are_not_forbidden_to_others(self):
        names, found = dropped(NOVA, tools=[LOOK], tool_choice="required", parallel_tool_calls=False)
        assert (names, found["toolConfig"]["toolChoice"]) == (("parallel_tool_calls",), {"any": {}})

    @pytest.mark.parametrize("model", [CLAUDE, NOVA])
    def test_need_no_word_if_they_are_allowed_or_cannot_be(self, model):
        plain = document(model, tools=[LOOK])
        assert document(model, tools=[LOOK], parallel_tool_calls=True) == plain
        assert document(model, parallel_tool_calls=False) == document(model)


class TestAnswerForms:
    # litellm#14005(#13963)/#35218/#42717
    def test_of_text_say_nothing(self):
        assert document(response_format=ResponseFormat(type="text")) == document()

    @pytest.mark.parametrize("model", [CLAUDE_45, GPT_OSS])
    def test_are_the_services_where_the_model_knows_them(self, model):
        found = body(model, response_format=FORM)
        form = found.document["outputConfig"]["textFormat"]
        assert form["type"] == "json_schema"
        assert form["structure"]["jsonSchema"]["name"] == "point"
        assert json.loads(form["structure"]["jsonSchema"]["schema"]) == {**SCHEMA, "additionalProperties": False}
        assert "toolConfig" not in found.document
        assert found.reading.told() == {}
        assert found.reading.json_tool == ""

    @pytest.mark.parametrize("model", [CLAUDE_45])
    def test_that_the_service_refuses_are_asked_for_by_a_tool(self, model):
        schema = {**SCHEMA, "additionalProperties": {"type": "string"}}
        found = body(model, response_format=ResponseFormat(type="json_schema", schema=schema))
        assert "outputConfig" not in found.document
        assert found.document["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"] == schema

    def test_of_the_service_stand_beside_effort(self):
        found = document(CLAUDE_45, response_format=FORM, extra={"output_config": {"effort": "high"}})
        assert found["outputConfig"].keys() == {"textFormat", "effort"}

    @pytest.mark.parametrize(
        ("model", "choice"), [(CLAUDE, {"tool": {"name": "json_answer"}}), (MISTRAL_LARGE, {"any": {}})]
    )
    def test_are_a_tool_that_must_be_called_elsewhere(self, model, choice):
        found = body(model, response_format=FORM)
        (tool,) = found.document["toolConfig"]["tools"]
        assert tool["toolSpec"]["name"] == found.reading.json_tool == "json_answer"
        assert tool["toolSpec"]["inputSchema"]["json"] == SCHEMA
        assert found.document["toolConfig"]["toolChoice"] == choice
        assert "system" not in found.document
        assert found.reading.told() == {"emulated_parameters": ["response_format"]}

    def test_have_a_tool_that_nobody_else_is(self):
        found = body(response_format=FORM, tools=[FunctionDefinition(name="json_answer")])
        assert found.reading.json_tool == "json_answer_2"
        assert [each["toolSpec"]["name"] for each in found.document["toolConfig"]["tools"]] == [
            "json_answer",
            "json_answer_2",
        ]

    @pytest.mark.parametrize(
        ("choice", "wire"), [(None, {"any": {}}), ("auto", {"any": {}}), ("required", {"any": {}})]
    )
    def test_beside_tools_are_one_of_them(self, choice, wire):
        found = document(response_format=FORM, tools=[LOOK], tool_choice=choice)
        assert len(found["toolConfig"]["tools"]) == 2
        assert found["toolConfig"]["toolChoice"] == wire

    def test_beside_a_tool_that_is_chosen_leave_it_that(self):
        found = document(response_format=FORM, tools=[LOOK], tool_choice=FunctionChoice(name="look"))
        assert found["toolConfig"]["toolChoice"] == {"tool": {"name": "look"}}

    def test_beside_tools_that_may_not_be_called_are_the_only_one(self):
        found = document(response_format=FORM, tools=[LOOK], tool_choice="none", messages=CALLED)
        assert [each["toolSpec"]["name"] for each in found["toolConfig"]["tools"]] == ["json_answer"]
        assert found["toolConfig"]["toolChoice"] == {"tool": {"name": "json_answer"}}

    def test_are_asked_for_in_words_where_nothing_can_be_forced(self):
        for model, options in ((CLAUDE, {"reasoning_effort": "low"}), (KIMI, {})):
            found = document(
                model, response_format=FORM, family={"json": "tool", "tool_choices": frozenset({"auto"})}, **options
            )
            assert found["system"] == [{"text": "Give your answer by calling the tool json_answer."}]
            assert "toolChoice" not in found["toolConfig"]

    def test_are_nothing_where_the_model_knows_none(self):
        assert dropped(LLAMA, response_format=FORM) == (("response_format",), document(LLAMA))

    @pytest.mark.parametrize("model", [CLAUDE, CLAUDE_45, LLAMA, UNKNOWN_MODEL])
    def test_without_a_schema_are_asked_for_in_words(self, model):
        found = body(model, response_format=ResponseFormat(type="json"))
        assert [each["text"] for each in found.document["system"]] == [
            "Answer with one JSON object only: no text before or after it, no code fence."
        ]
        assert "toolConfig" not in found.document
        assert found.reading.told() == {"emulated_parameters": ["response_format"]}

    def test_in_words_come_after_the_system_prompt(self):
        messages = (ChatMessage(role="system", content="Be brief."), *USER)
        found = document(messages=messages, response_format=ResponseFormat(type="json"))
        assert [each["text"].split()[0] for each in found["system"]] == ["Be", "Answer"]

    def test_in_words_are_the_users_where_the_model_takes_no_system_prompt(self):
        messages = (*USER, ChatMessage(role="assistant", content="It is {"))
        found = document(MISTRAL_7B, messages=messages, response_format=ResponseFormat(type="json"))
        assert [each["text"].split()[0] for each in found["messages"][0]["content"]] == ["Hi", "Answer"]
        assert found["messages"][1]["content"] == [{"text": "It is {"}]
        assert "system" not in found

    def test_in_words_never_stand_beside_results(self):
        found = document(
            messages=CALLED,
            response_format=ResponseFormat(type="json"),
            family={"system": False, "tool_results_alone": True},
        )
        assert [list(each) for each in found["messages"][2]["content"]] == [["toolResult"], ["toolResult"]]
        assert [each["text"].split()[0] for each in found["messages"][0]["content"]] == ["Hi", "Answer"]


class TestReasoning:
    @pytest.mark.parametrize(
        ("effort", "max_tokens", "budget"),
        [
            ("minimal", None, 1024),
            ("low", None, 2048),
            ("medium", None, 8192),
            ("high", None, 16384),
            ("high", 20000, 10000),
            ("high", 1500, 1024),
            ("low", 1025, 1024),
            ("low", 50_000, 2048),
        ],
    )
    def test_of_claude_is_a_budget_within_max_tokens(self, effort, max_tokens, budget):
        found = document(reasoning_effort=effort, max_tokens=max_tokens)
        assert found["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": budget}}

    @pytest.mark.parametrize("max_tokens", [1, 1024])
    def test_of_claude_needs_room(self, max_tokens):
        with pytest.raises(InvalidRequestError, match=f"max_tokens is {max_tokens}, but reasoning alone takes 1024"):
            document(reasoning_effort="low", max_tokens=max_tokens)

    @pytest.mark.parametrize(
        ("model", "fields"),
        [
            (ADAPTIVE, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
            (NOVA_2, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}),
            (GPT_OSS, {"reasoning_effort": "low"}),
            (QWEN, {"reasoning_config": "low"}),
            ("openai.gpt-5.6", {"reasoning": {"effort": "low"}}),
        ],
    )
    def test_of_others_is_a_word(self, model, fields):
        assert document(model, reasoning_effort="low")["additionalModelRequestFields"] == fields

    @pytest.mark.parametrize("model", [ADAPTIVE, NOVA_2, GPT_OSS, QWEN])
    def test_that_is_minimal_is_the_least(self, model):
        assert "low" in json.dumps(document(model, reasoning_effort="minimal")["additionalModelRequestFields"])

    @pytest.mark.parametrize("model", [CLAUDE, ADAPTIVE, NOVA_2, GPT_OSS])
    def test_by_a_word_that_nobody_knows_is_refused_with_the_nearest(self, model):
        with pytest.raises(InvalidRequestError, match=r"reasoning_effort is 'hihg'.*high"):
            document(model, reasoning_effort="hihg")

    @pytest.mark.parametrize("model", [NOVA, LLAMA, UNKNOWN_MODEL])
    def test_follows_the_policy_where_the_model_does_none(self, model):
        assert dropped(model, reasoning_effort="low") == (("reasoning_effort",), document(model))

    def test_of_nova_at_its_highest_refuses_other_limits(self):
        options = {"max_tokens": 5000, "temperature": 0.5, "top_p": 0.5, "stop": ["END"]}
        names, found = dropped(NOVA_2, reasoning_effort="high", **options)
        assert names == ("max_tokens", "temperature", "top_p")
        assert found["inferenceConfig"] == {"stopSequences": ["END"]}
        assert dropped(NOVA_2, reasoning_effort="medium", **options)[0] == ()

    def test_of_claude_refuses_sampling(self):
        names, found = dropped(CLAUDE, reasoning_effort="low", max_tokens=4000, temperature=0.2, top_p=0.5)
        assert (names, found["inferenceConfig"]) == (("temperature", "top_p"), {"maxTokens": 4000})
        assert dropped(CLAUDE, reasoning_effort="low", temperature=1, top_p=0.95)[0] == ()
        assert dropped("anthropic.claude-opus-4-6-v1", reasoning_effort="low", temperature=0.2)[0] == ("temperature",)
        assert dropped(GPT_OSS, reasoning_effort="low", temperature=0.2)[0] == ()


class TestRefusal:
    def test_names_what_would_be_lost(self):
        refuse_dropped((), "m")
        with pytest.raises(InvalidRequestError, match="seed, stop: not taken by the model 'm' on Bedrock"):
            refuse_dropped(("seed", "stop"), "m")

    def test_of_the_unknown_model_is_for_what_no_model_takes_only(self):
        assert model_of(UNKNOWN_MODEL).family is not None
        assert attrs.evolve(model_of(UNKNOWN_MODEL).family) == UNKNOWN
        options = {"temperature": 0.5, "top_p": 0.5, "stop": ["x"], "tools": [LOOK], "tool_choice": "required"}
        assert dropped(UNKNOWN_MODEL, **options)[0] == ()
