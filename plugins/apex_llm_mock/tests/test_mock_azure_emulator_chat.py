"""What chat requests may say, by version and model, and what they are answered."""

from __future__ import annotations

import json

import jsonschema
import pytest
from apex_llm_mock.emulation.azure.models import BASE_MODELS

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
FUNCTION = TOOL["function"]
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
V = "2025-04-01-preview"


def chat(emulated, prompt="hello", **fields):
    async def main(caller):
        return await caller.chat(prompt, **{"version": V, **fields})

    return emulated(main)


def refused(answer, code, param):
    assert answer.status == 400
    assert (answer.error["code"], answer.error["param"]) == (code, param)
    return answer.error["message"]


class TestAnswers:
    def test_the_document(self, emulated):
        document = chat(emulated).json
        assert document.keys() == {
            "choices",
            "created",
            "id",
            "model",
            "object",
            "prompt_filter_results",
            "system_fingerprint",
            "usage",
        }
        assert document["id"].startswith("chatcmpl-")
        [verdict] = document["prompt_filter_results"]
        assert verdict["prompt_index"] == 0
        assert verdict["content_filter_results"]["hate"] == {"filtered": False, "severity": "safe"}
        assert verdict["content_filter_results"]["jailbreak"] == {"filtered": False, "detected": False}
        [choice] = document["choices"]
        assert choice["content_filter_results"]["protected_material_text"] == {"filtered": False, "detected": False}
        assert choice["message"]["refusal"] is None
        assert document["usage"]["prompt_tokens_details"] == {"audio_tokens": 0, "cached_tokens": 0}

    def test_old_versions_tell_no_details_of_usage(self, emulated):
        assert "completion_tokens_details" not in chat(emulated, version="2024-06-01").json["usage"]

    def test_the_time_is_that_of_the_clock(self, emulated):
        async def main(caller):
            return (await caller.chat()).json["created"]

        assert emulated(main, wall=lambda: 1_700_000_000.9) == 1_700_000_000

    def test_max_tokens_end_it(self, emulated):
        [choice] = chat(emulated, "a long way to go", max_tokens=2).json["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("a long w", "length")

    def test_stop_words_end_it(self, emulated):
        for stop in ("way", ["nowhere", "way"]):
            [choice] = chat(emulated, "a long way to go", stop=stop).json["choices"]
            assert (choice["message"]["content"], choice["finish_reason"]) == ("a long ", "stop")

    def test_log_probabilities(self, emulated):
        [choice] = chat(emulated, "häl", logprobs=True, top_logprobs=2).json["choices"]
        [token] = choice["logprobs"]["content"]
        assert bytes(token["bytes"]).decode() == token["token"] == "häl"
        assert [other["logprob"] <= token["logprob"] for other in token["top_logprobs"]] == [True, True]
        assert chat(emulated).json["choices"][0]["logprobs"] is None

    def test_json_mode_gives_an_object_and_wants_the_word(self, emulated):
        wanted = {"type": "json_object"}
        assert json.loads(chat(emulated, "as JSON", response_format=wanted).text) == {"reply": "as JSON"}
        assert "must contain the word 'json'" in refused(chat(emulated, response_format=wanted), None, "messages")

    def test_a_schema_is_obeyed(self, emulated):
        schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 7}}, "required": ["n"]}
        wanted = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema, "strict": True}}
        jsonschema.validate(json.loads(chat(emulated, response_format=wanted).text), schema)

    def test_images_leave_a_note_and_need_a_model_that_sees(self, emulated):
        async def main(caller):
            parts = [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/cat.png", "detail": "low"}},
            ]
            answer = await caller.chat(messages=[{"role": "user", "content": parts}])
            assert answer.text == "see [image image/png] [image https://example.com/cat.png]"
            blind = await caller.chat(deployment="gpt-4", messages=[{"role": "user", "content": parts}])
            assert "only supported by certain models" in refused(blind, None, "messages")

        emulated(main)

    def test_lone_surrogates_do_not_break_it(self, emulated):
        assert chat(emulated, "\ud800").text == "\ud800"


class TestTools:
    def test_the_newer_spelling(self, emulated):
        [choice] = chat(emulated, "look up", tools=[TOOL]).json["choices"]
        assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
        [call] = choice["message"]["tool_calls"]
        assert call["type"] == "function"
        assert call["function"] == {"name": "look_up", "arguments": "{}"}

    def test_the_older_spelling(self, emulated):
        [choice] = chat(emulated, "look up", functions=[FUNCTION]).json["choices"]
        assert choice["finish_reason"] == "function_call"
        assert choice["message"]["function_call"] == {"name": "look_up", "arguments": "{}"}

    def test_choices(self, emulated):
        named = {"type": "function", "function": {"name": "look_up"}}
        for choice in ("required", named):
            assert chat(emulated, tools=[TOOL], tool_choice=choice).json["choices"][0]["message"]["tool_calls"]
        assert chat(emulated, "look up", tools=[TOOL], tool_choice="none").text == "look up"

    def test_one_at_a_time(self, emulated):
        other = {"type": "function", "function": {**FUNCTION, "name": "write_down"}}
        both = chat(emulated, "look up, write down", tools=[TOOL, other])
        one = chat(emulated, "look up, write down", tools=[TOOL, other], parallel_tool_calls=False)
        assert len(both.json["choices"][0]["message"]["tool_calls"]) == 2
        assert len(one.json["choices"][0]["message"]["tool_calls"]) == 1

    @pytest.mark.parametrize(
        ("messages", "param"),
        [
            ([{"role": "tool", "tool_call_id": "call_1", "content": "x"}], "messages.[0].role"),
            ([{"role": "assistant", "tool_calls": [CALL]}], "messages"),
            ([{"role": "assistant", "tool_calls": [CALL]}, {"role": "user", "content": "x"}], "messages"),
            (
                [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "2", "content": "x"}],
                "messages.[1].role",
            ),
        ],
    )
    def test_results_follow_their_calls(self, emulated, messages, param):
        refused(chat(emulated, messages=messages), None, param)

    def test_results_are_acknowledged(self, emulated):
        messages = [
            {"role": "user", "content": "look up"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "found"}]},
        ]
        assert chat(emulated, messages=messages, tools=[TOOL]).text == "The tool look_up answered: found"

    def test_results_of_functions(self, emulated):
        messages = [
            {"role": "assistant", "content": None, "function_call": {"name": "look_up", "arguments": "{}"}},
            {"role": "function", "name": "look_up", "content": "found"},
        ]
        assert chat(emulated, messages=messages).text == "The tool look_up answered: found"


class TestReasoningModels:
    @pytest.mark.parametrize("model", [name for name, model in BASE_MODELS.items() if model.reasoning])
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("temperature", 1),
            ("top_p", 0.5),
            ("presence_penalty", 0),
            ("frequency_penalty", 0),
            ("logprobs", True),
            ("top_logprobs", 1),
            ("logit_bias", {}),
            ("max_tokens", 10),
        ],
    )
    def test_they_take_no_sampling_parameters(self, emulated, model, name, value):
        message = refused(chat(emulated, deployment=model, **{name: value}), "unsupported_parameter", name)
        assert message.startswith(f"Unsupported parameter: '{name}' is not supported with this model.")
        assert ("Use 'max_completion_tokens' instead." in message) == (name == "max_tokens")

    def test_their_thoughts_count_but_are_not_told(self, emulated):
        document = chat(emulated, deployment="o3-mini", reasoning_effort="high").json
        assert document["choices"][0]["message"]["content"] == "hello"
        usage = document["usage"]
        assert usage["completion_tokens_details"]["reasoning_tokens"] == usage["completion_tokens"] - 2 > 0

    def test_thoughts_use_up_the_room(self, emulated):
        [choice] = chat(emulated, deployment="gpt-5", max_completion_tokens=3).json["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")

    def test_the_newest_do_not_think_unless_told_to(self, emulated):
        def thoughts(**fields):
            usage = chat(emulated, deployment="gpt-5.1", **fields).json["usage"]
            return usage["completion_tokens_details"]["reasoning_tokens"]

        assert thoughts() == 0
        assert thoughts(reasoning_effort="low") > 0

    def test_some_take_no_stop_words(self, emulated):
        refused(chat(emulated, deployment="o4-mini", stop="x"), "unsupported_parameter", "stop")
        assert chat(emulated, deployment="o1", stop="x").status == 200

    def test_others_take_no_effort(self, emulated):
        refused(chat(emulated, reasoning_effort="low"), "unsupported_parameter", "reasoning_effort")


class TestVersions:
    @pytest.mark.parametrize(
        ("name", "value", "before", "since"),
        [
            ("stream_options", {"include_usage": True}, "2024-08-01-preview", "2024-09-01-preview"),
            ("max_completion_tokens", 9, "2024-08-01-preview", "2024-10-21"),
            ("parallel_tool_calls", True, "2024-06-01", "2024-09-01-preview"),
            ("tools", [TOOL], "2023-05-15", "2023-12-01-preview"),
            ("seed", 1, "2023-05-15", "2024-02-01"),
            ("logprobs", True, "2024-02-01", "2024-06-01"),
            ("metadata", {}, "2024-10-21", "2024-12-01-preview"),
        ],
    )
    def test_parameters_came_with_versions(self, emulated, name, value, before, since):
        more = {"stream": True} if name == "stream_options" else {}
        message = refused(chat(emulated, version=before, **more, **{name: value}), "unknown_parameter", name)
        assert message == f"Unknown parameter: '{name}'."
        assert chat(emulated, version=since, **more, **{name: value}).status == 200

    def test_some_are_for_v1_only(self, emulated):
        async def main(caller):
            assert (await caller.v1(verbosity="low", service_tier="auto")).status == 200

        emulated(main)
        refused(chat(emulated, verbosity="low"), "unknown_parameter", "verbosity")

    def test_schemas_came_with_a_version(self, emulated):
        wanted = {"type": "json_schema", "json_schema": {"name": "any", "schema": {}}}
        answer = chat(emulated, version="2024-06-01", response_format=wanted)
        assert "only for api versions 2024-08-01-preview" in refused(answer, "BadRequest", "response_format")

    def test_the_developer_came_with_a_version_and_stands_alone(self, emulated):
        developer, system = ({"role": role, "content": "be brief"} for role in ("developer", "system"))
        user = {"role": "user", "content": "hi"}
        refused(chat(emulated, version="2024-10-21", messages=[developer, user]), "invalid_value", "messages[0].role")
        assert chat(emulated, messages=[developer, user]).status == 200
        refused(chat(emulated, messages=[system, developer, user]), None, "messages")


class TestMistakes:
    @pytest.mark.parametrize(
        ("fields", "code", "param"),
        [
            ({"nonsense": 1}, "unknown_parameter", "nonsense"),
            ({"temperature": 3}, "decimal_above_max_value", "temperature"),
            ({"temperature": "hot"}, "invalid_type", "temperature"),
            ({"top_p": -1}, "decimal_below_min_value", "top_p"),
            ({"n": 0}, "integer_below_min_value", "n"),
            ({"n": 129}, "integer_above_max_value", "n"),
            ({"n": 1.5}, "invalid_type", "n"),
            ({"seed": True}, "invalid_type", "seed"),
            ({"stream": "yes"}, "invalid_type", "stream"),
            ({"top_logprobs": 3}, None, "top_logprobs"),
            ({"logprobs": True, "top_logprobs": 21}, "integer_above_max_value", "top_logprobs"),
            ({"stream_options": {"include_usage": True}}, None, "stream_options"),
            ({"stop": ["a", "b", "c", "d", "e"]}, "array_above_max_length", "stop"),
            ({"stop": [1]}, "invalid_type", "stop"),
            ({"tools": [TOOL] * 129}, "array_above_max_length", "tools"),
            ({"tools": {}}, "invalid_type", "tools"),
            ({"tools": [{"type": "retrieval"}]}, "invalid_value", "tools[0].type"),
            ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].function"),
            ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "invalid_value", "tools[0].function.name"),
            ({"tool_choice": "auto"}, None, "tool_choice"),
            ({"tools": [TOOL], "tool_choice": "any"}, "invalid_value", "tool_choice"),
            ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, None, None),
            ({"max_tokens": 0}, "integer_below_min_value", "max_tokens"),
            ({"max_tokens": 16_385}, "invalid_value", "max_tokens"),
            ({"max_tokens": 9, "max_completion_tokens": 9}, "invalid_parameter_combination", None),
            ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
            (
                {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
                "missing_required_parameter",
                "response_format.json_schema.schema",
            ),
            ({"messages": []}, "empty_array", "messages"),
            ({"messages": "hi"}, "invalid_type", "messages"),
            ({"messages": ["hi"]}, "invalid_type", "messages[0]"),
            ({"messages": [{"role": "king", "content": "x"}]}, "invalid_value", "messages[0].role"),
            ({"messages": [{"role": "user", "content": None}]}, None, "messages[0].content"),
            ({"messages": [{"role": "user", "content": 1}]}, "invalid_type", "messages[0].content"),
            (
                {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
                "invalid_value",
                "messages[0].content[0].type",
            ),
        ],
    )
    def test_they_get_the_errors_of_the_service(self, emulated, fields, code, param):
        answer = chat(emulated, **fields)
        refused(answer, code, param)
        assert answer.error["type"] == "invalid_request_error"

    def test_messages_must_be_there(self, emulated):
        async def main(caller):
            answer = await caller.ask("POST", "/openai/v1/chat/completions", json={"model": "gpt-4o"})
            refused(answer, "missing_required_parameter", "messages")

        emulated(main)

    @pytest.mark.parametrize(("deployment", "code"), [("text-embedding-3-small", "OperationNotSupported")])
    def test_the_model_must_chat(self, emulated, deployment, code):
        assert chat(emulated, deployment=deployment).error["code"] == code


class TestContextWindow:
    # Four characters are a token, a message takes three more; gpt-4 has room for 8,192.
    def test_the_prompt_does_not_fit(self, emulated):
        message = refused(chat(emulated, "x" * 33_000, deployment="gpt-4"), "context_length_exceeded", "messages")
        assert message.startswith(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 8253"
        )

    def test_the_prompt_fits_but_not_the_answer(self, emulated):
        answer = chat(emulated, "x" * 32_000, deployment="gpt-4", max_tokens=1_000)
        message = refused(answer, "context_length_exceeded", "messages")
        assert "you requested 9003 tokens (8003 in the messages, 1000 in the completion)" in message

    def test_the_newer_models_say_it_in_other_words(self, emulated):
        message = refused(chat(emulated, "x" * 1_100_000, deployment="gpt-5"), "context_length_exceeded", "messages")
        assert message.startswith("Input tokens exceed the configured limit of 272000 tokens.")

    def test_what_fits_is_served(self, emulated):
        assert chat(emulated, "x" * 16_000, deployment="gpt-4").json["choices"][0]["finish_reason"] == "stop"
        [choice] = chat(emulated, "x" * 20_000, deployment="gpt-4").json["choices"]
        assert choice["finish_reason"] == "length"
