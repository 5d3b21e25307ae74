"""Texts through InvokeModel of the Bedrock emulator, in the form of each family."""

from __future__ import annotations

import json

import pytest
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.invoke import invoke_events, serve_invoke
from apex_llm_mock.emulation.bedrock.models import find
from apex_llm_mock.emulation.bedrock.prompt_formats import last_said
from apex_llm_mock.replies import Replier
from apex_llm_mock.settings import MockSettings, Reply

ANTHROPIC, SONNET = "anthropic.claude-3-haiku-20240307-v1:0", "us.anthropic.claude-sonnet-4-20250514-v1:0"
OPENAI, QWEN = "openai.gpt-oss-20b-1:0", "qwen.qwen3-32b-v1:0"
TITAN, LLAMA = "amazon.titan-text-express-v1", "meta.llama3-8b-instruct-v1:0"
MISTRAL, DEEPSEEK = "mistral.mistral-7b-instruct-v0:2", "us.deepseek.r1-v1:0"
COMMAND, COMMAND_R = "cohere.command-text-v14", "cohere.command-r-v1:0"
AI21, NOVA = "ai21.jamba-1-5-mini-v1:0", "amazon.nova-lite-v1:0"
METRICS = "amazon-bedrock-invocationMetrics"
SAID = [{"role": "user", "content": "hello there world"}]
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def claude(messages=SAID, **more):
    return {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": messages, **more}


def nova(text="hello there world", **config):
    return {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": config}


#: A body for each form, and how its stop sequences and its limit of tokens are called.
BODIES = {
    ANTHROPIC: (claude(), "stop_sequences", "max_tokens"),
    QWEN: ({"messages": SAID}, "stop", "max_tokens"),
    AI21: ({"messages": SAID}, "stop", "max_tokens"),
    MISTRAL: ({"prompt": "hello there world"}, "stop", "max_tokens"),
    DEEPSEEK: ({"prompt": "hello there world"}, "stop", "max_tokens"),
    COMMAND: ({"prompt": "hello there world", "max_tokens": 50}, "stop_sequences", "max_tokens"),
    COMMAND_R: ({"message": "hello there world"}, "stop_sequences", "max_tokens"),
    LLAMA: ({"prompt": "hello there world"}, None, "max_gen_len"),
}


def replier(**settings):
    return Replier(MockSettings(**settings))


def invoke(model, body, **settings):
    return serve_invoke(find(model), body, key="k", replier=replier(**settings))


def stream(model, body, chunk_size=4, **settings):
    return invoke_events(find(model), body, key="k", replier=replier(**settings), chunk_size=chunk_size)


def refused(model, body, **settings):
    with pytest.raises(RefusedError) as caught:
        invoke(model, body, **settings)
    answer = caught.value.answer
    assert (answer.status, answer.headers["x-amzn-errortype"].split(":")[0]) == (400, "ValidationException")
    return json.loads(answer.body)["message"]


def text_in(model, document):
    """Return the text of a whole answer or of one document of a stream, and why it ended."""
    match model:
        case _ if model == ANTHROPIC:
            return document["content"][0]["text"], document["stop_reason"]
        case _ if model in (QWEN, AI21):
            return document["choices"][0]["message"]["content"], document["choices"][0]["finish_reason"]
        case _ if model in (MISTRAL, DEEPSEEK):
            (output,) = document["outputs" if model == MISTRAL else "choices"]
            return output["text"], output["stop_reason"]
        case _ if model == COMMAND:
            (generation,) = document["generations"]
            return generation["text"], generation["finish_reason"]
        case _ if model == COMMAND_R:
            return document["text"], document["finish_reason"]
    return document["generation"], document["stop_reason"]


@pytest.mark.parametrize("model", BODIES)
class TestEveryForm:
    def test_whole_answers_have_text_a_reason_and_counts_in_headers(self, model):
        body, _, _ = BODIES[model]
        answer = invoke(model, body, reply="well {prompt}")
        text, reason = text_in(model, answer.document)
        assert text.endswith("well hello there world")
        assert reason in ("stop", "end_turn", "COMPLETE")
        assert int(answer.headers["x-amzn-bedrock-input-token-count"]) > 4
        assert int(answer.headers["x-amzn-bedrock-output-token-count"]) >= 6
        json.dumps(answer.document)

    def test_the_limit_of_tokens_is_kept_and_told(self, model):
        body, _, limit = BODIES[model]
        text, reason = text_in(model, invoke(model, {**body, limit: 2}, reply="abcdefghijkl").document)
        assert text == "abcdefgh"
        assert reason in ("length", "max_tokens", "MAX_TOKENS")

    def test_stop_sequences_end_the_answer(self, model):
        body, stop, _ = BODIES[model]
        if stop is None:
            assert "extraneous key [stop]" in refused(model, {**body, "stop": ["x"]})
            return
        text, reason = text_in(model, invoke(model, {**body, stop: ["there"]}, reply="hello there").document)
        assert text == "hello "
        assert reason in ("stop", "stop_sequence", "COMPLETE")

    def test_a_limit_beyond_the_model_is_refused(self, model):
        body, _, limit = BODIES[model]
        assert "1000000" in refused(model, {**body, limit: 1_000_000})

    def test_extraneous_keys_are_refused(self, model):
        body, _, _ = BODIES[model]
        message = refused(model, {**body, "wrong": 1})
        assert message in (
            "Malformed input request: #: extraneous key [wrong] is not permitted, please reformat your input and try again.",
            "wrong: Extra inputs are not permitted",
        )

    def test_streams_say_the_same_and_end_with_metrics(self, model):
        body, _, _ = BODIES[model]
        documents = stream(model, body)
        whole = invoke(model, body)
        assert [METRICS in document for document in documents] == [False] * (len(documents) - 1) + [True]
        metrics = documents[-1][METRICS]
        assert metrics["inputTokenCount"] == whole.input_tokens
        assert metrics["outputTokenCount"] == whole.output_tokens
        assert len(documents) > 4
        written = json.dumps(documents)
        assert "hell" in written
        assert "o th" in written

    def test_a_prompt_longer_than_the_window_is_refused(self, model):
        body, _, _ = BODIES[model]
        long = "x" * 4 * 300_000
        changed = {
            name: long if name in ("prompt", "message") else [{"role": "user", "content": long}]
            for name in body
            if name in ("prompt", "message", "messages")
        }
        message = refused(model, {**body, **changed})
        assert "too long" in message

    def test_what_is_no_json_object_is_refused(self, model):
        assert refused(model, None) == "Malformed input request, please reformat your input and try again."


class TestTitan:
    def test_document_and_stream(self):
        body = {"inputText": "User: hello there\nBot:", "textGenerationConfig": {"maxTokenCount": 3}}
        answer = invoke(TITAN, body, reply="abcdefghijklmnop")
        assert answer.document == {
            "inputTextTokenCount": answer.input_tokens,
            "results": [{"tokenCount": 3, "outputText": "abcdefghijkl", "completionReason": "LENGTH"}],
        }
        documents = stream(TITAN, body, reply="abcdefghijklmnop")
        assert "".join(document["outputText"] for document in documents) == "abcdefghijkl"
        assert [document["completionReason"] for document in documents] == [None, None, "LENGTH"]
        assert documents[-1]["totalOutputTextTokenCount"] == 3

    def test_stop_sequences_are_a_list(self):
        config = {"stopSequences": "x"}
        message = refused(TITAN, {"inputText": "a", "textGenerationConfig": config})
        assert "#/textGenerationConfig/stopSequences: expected type: JSONArray, found: String" in message

    def test_a_stop_sequence_has_its_own_reason(self):
        body = {"inputText": "a", "textGenerationConfig": {"stopSequences": ["|"]}}
        (result,) = invoke(TITAN, body, reply="one|two").document["results"]
        assert (result["outputText"], result["completionReason"]) == ("one", "STOP_CRITERIA_MET")


class TestPrompts:
    @pytest.mark.parametrize(
        "prompt",
        [
            "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            "<|begin_of_text|><|header_start|>user<|header_end|>\n\nhi<|eot|><|header_start|>assistant<|header_end|>\n\n",
            "<s>[INST] first [/INST] answer </s>[INST] hi [/INST]",
            "<\uff5cbegin\u2581of\u2581sentence\uff5c><\uff5cUser\uff5c>hi<\uff5cAssistant\uff5c><think>\n",
            "User: first\nBot: answer\nUser: hi\nBot:",
            "hi",
        ],
    )
    def test_what_the_user_says_is_found_in_chat_templates(self, prompt):
        assert last_said(prompt) == "hi"

    def test_the_template_counts_as_input(self):
        bare = invoke(MISTRAL, {"prompt": "hi"})
        marked = invoke(MISTRAL, {"prompt": "<s>[INST] hi [/INST]"})
        assert marked.document == bare.document
        assert marked.input_tokens > bare.input_tokens

    def test_llama_counts_in_the_body_the_prompt_only_once_in_a_stream(self):
        answer = invoke(LLAMA, {"prompt": "hi"}, reply="abcdefgh")
        assert answer.document["prompt_token_count"] == answer.input_tokens
        assert answer.document["generation_token_count"] == 2
        documents = stream(LLAMA, {"prompt": "hi"}, reply="abcdefgh")
        assert [document["prompt_token_count"] for document in documents] == [answer.input_tokens, None, None]
        assert [document["generation_token_count"] for document in documents] == [1, 2, 2]
        assert [document["stop_reason"] for document in documents] == [None, None, "stop"]

    def test_command_ends_with_a_document_of_its_own(self):
        documents = stream(COMMAND, {"prompt": "hello"})
        assert [document["is_finished"] for document in documents] == [False, False, True]
        assert documents[-1]["finish_reason"] == "COMPLETE"

    def test_ten_stop_sequences_and_no_more(self):
        invoke(MISTRAL, {"prompt": "a", "stop": ["x"] * 10})
        assert "expected maximum item count: 10, found: 11" in refused(MISTRAL, {"prompt": "a", "stop": ["x"] * 11})


class TestAnthropic:
    TOOLS = ({"name": "get_weather", "description": "Weather", "input_schema": TOOL},)

    def test_whole_answer(self):
        document = invoke(ANTHROPIC, claude(system="be kind")).document
        assert document["type"] == "message"
        assert document["id"].startswith("msg_bdrk_")
        assert document["stop_sequence"] is None
        assert document["usage"]["output_tokens"] == 5

    def test_the_stop_sequence_is_named(self):
        document = invoke(ANTHROPIC, claude(stop_sequences=["x", "there"])).document
        assert (document["stop_reason"], document["stop_sequence"]) == ("stop_sequence", "there")

    def test_events_in_order(self):
        documents = stream(ANTHROPIC, claude())
        kinds = [document["type"] for document in documents]
        deltas = kinds.count("content_block_delta")
        assert kinds == [
            "message_start",
            "content_block_start",
            *["content_block_delta"] * deltas,
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        text = "".join(item["delta"]["text"] for item in documents if item["type"] == "content_block_delta")
        assert text == "hello there world"

    def test_tools_are_called_and_their_results_taken(self):
        ask = [{"role": "user", "content": "get weather in Rome"}]
        document = invoke(ANTHROPIC, claude(ask, tools=list(self.TOOLS))).document
        (call,) = document["content"]
        assert document["stop_reason"] == "tool_use"
        assert (call["type"], call["name"]) == ("tool_use", "get_weather")
        assert isinstance(call["input"]["city"], str)
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "sunny"}]}
        history = [*ask, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        document = invoke(ANTHROPIC, claude(history, tools=list(self.TOOLS))).document
        assert document["content"] == [{"type": "text", "text": "The tool get_weather answered: sunny"}]

    def test_streamed_tool_input_is_partial_json(self):
        documents = stream(ANTHROPIC, claude(tools=list(self.TOOLS), tool_choice={"type": "any"}))
        pieces = [
            item["delta"]["partial_json"]
            for item in documents
            if item["type"] == "content_block_delta" and item["delta"]["type"] == "input_json_delta"
        ]
        assert pieces[0] == ""
        assert len(pieces) > 2
        assert json.loads("".join(pieces)).keys() == {"city"}

    def test_thinking_comes_first_and_is_signed(self):
        body = claude(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000)
        thinking, text = invoke(SONNET, body).document["content"]
        assert (thinking["type"], text["type"]) == ("thinking", "text")
        assert thinking["signature"]
        kinds = [item["delta"]["type"] for item in stream(SONNET, body) if item["type"] == "content_block_delta"]
        assert [kind for kind, before in zip(kinds, ["", *kinds], strict=False) if kind != before] == [
            "thinking_delta",
            "signature_delta",
            "text_delta",
        ]
        assert "does not support" in refused(ANTHROPIC, body)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"max_tokens": 1, "messages": SAID}, "anthropic_version: Field required"),
            (claude(model="x"), "model: Extra inputs are not permitted"),
            (claude(stream=True), "stream: Extra inputs are not permitted"),
            (claude(anthropic_version="2023-06-01"), "anthropic_version: Input should be 'bedrock-2023-05-31'"),
            (claude([]), "messages: at least one message is required"),
            (
                claude([{"role": "assistant", "content": "x"}]),
                'messages: first message must use the "user" role',
            ),
            (
                claude([{"role": "user", "content": [{"type": "text", "text": ""}]}]),
                "messages: text content blocks must be non-empty",
            ),
            (
                claude([{"role": "user", "content": [{"type": "image"}]}]),
                "messages.0.content.0.image.source: Field required",
            ),
        ],
    )
    def test_mistakes_get_anthropics_words(self, body, message):
        assert refused(ANTHROPIC, body) == message

    def test_every_call_needs_its_result_and_every_result_its_call(self):
        call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "t2", "content": "x"}
        alone = [*SAID, {"role": "user", "content": [result]}]
        assert "unexpected `tool_use_id` found in `tool_result` blocks: t2" in refused(ANTHROPIC, claude(alone))
        open_ = [*SAID, {"role": "assistant", "content": [call]}, *SAID]
        assert "messages.1: `tool_use` ids were found without `tool_result` blocks" in refused(ANTHROPIC, claude(open_))
        assert "without `tool_result` blocks" in refused(ANTHROPIC, claude(open_[:2]))

    def test_prompts_beyond_the_window_are_counted_out(self):
        long = [{"role": "user", "content": "x" * 4 * 200_001}]
        assert refused(ANTHROPIC, claude(long)).endswith("tokens > 200000 maximum")


class TestOpenAI:
    TOOLS = ({"type": "function", "function": {"name": "get_weather", "parameters": TOOL}},)

    def test_reasoning_stands_in_the_text(self):
        (choice,) = invoke(OPENAI, {"messages": SAID}).document["choices"]
        assert choice["message"]["content"].startswith("<reasoning>")
        assert choice["message"]["content"].endswith("</reasoning>hello there world")
        (choice,) = invoke(QWEN, {"messages": SAID}).document["choices"]
        assert choice["message"]["content"] == "hello there world"

    def test_usage_is_in_the_body_and_at_the_end_of_a_stream(self):
        answer = invoke(QWEN, {"messages": SAID})
        assert answer.document["usage"]["prompt_tokens"] == answer.input_tokens
        documents = stream(QWEN, {"messages": SAID})
        assert documents[-1]["usage"] == answer.document["usage"]
        text = "".join(item["choices"][0]["delta"].get("content", "") for item in documents if item["choices"])
        assert text == "hello there world"

    def test_tools(self):
        body = {"messages": SAID, "tools": list(self.TOOLS), "tool_choice": "required"}
        (choice,) = invoke(QWEN, body).document["choices"]
        (call,) = choice["message"]["tool_calls"]
        assert (choice["finish_reason"], call["function"]["name"]) == ("tool_calls", "get_weather")
        deltas = [item["choices"][0]["delta"] for item in stream(QWEN, body) if item["choices"]]
        calls = [delta["tool_calls"][0]["function"]["arguments"] for delta in deltas if "tool_calls" in delta]
        assert json.loads("".join(calls)) == json.loads(call["function"]["arguments"])

    def test_wrong_conversations_are_refused_in_openai_s_words(self):
        assert "must be a response" in refused(
            QWEN, {"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}
        )


class TestCommandR:
    def test_history_grows(self):
        turn = {"role": "USER", "message": "first"}
        document = invoke(COMMAND_R, {"message": "second", "chat_history": [turn]}).document
        assert document["chat_history"] == [
            turn,
            {"role": "USER", "message": "second"},
            {"role": "CHATBOT", "message": "second"},
        ]
        assert document["meta"]["billed_units"]["output_tokens"] == 2

    def test_streams_end_with_the_whole_answer(self):
        documents = stream(COMMAND_R, {"message": "hello there"})
        assert {item["event_type"] for item in documents[:-1]} == {"text-generation"}
        assert documents[-1]["event_type"] == "stream-end"
        assert documents[-1]["response"]["text"] == "hello there"

    def test_tools(self):
        tool = {
            "name": "get_weather",
            "description": "Weather",
            "parameter_definitions": {"city": {"type": "str", "required": True}},
        }
        document = invoke(COMMAND_R, {"message": "get weather", "tools": [tool]}).document
        assert document["tool_calls"][0]["name"] == "get_weather"
        assert isinstance(document["tool_calls"][0]["parameters"]["city"], str)


class TestNova:
    def test_converse_in_a_body(self):
        answer = invoke(NOVA, nova())
        assert answer.document["output"]["message"]["content"] == [{"text": "hello there world"}]
        assert answer.document["stopReason"] == "end_turn"
        assert answer.document["usage"]["inputTokens"] == answer.input_tokens
        assert "metrics" not in answer.document

    def test_streams_have_the_events_of_converse_stream(self):
        documents = stream(NOVA, nova(maxTokens=2))
        names = [next(iter(document)) for document in documents]
        assert names == [
            "messageStart",
            "contentBlockDelta",
            "contentBlockDelta",
            "contentBlockStop",
            "messageStop",
            "metadata",
        ]
        assert documents[-2]["messageStop"]["stopReason"] == "max_tokens"
        assert METRICS in documents[-1]

    def test_both_spellings_of_the_limit(self):
        assert invoke(NOVA, nova(max_new_tokens=1)).document["stopReason"] == "max_tokens"
        assert invoke(NOVA, nova(stopSequences=["there"])).document["stopReason"] == "stop_sequence"
        assert "extraneous key [max_tokens]" in refused(NOVA, nova(max_tokens=1))


def test_scripted_answers_serve_every_form():
    script = (Reply(text="one"), Reply(text="two", finish_reason="content_filter"))
    shared = replier(script=script)
    first = serve_invoke(find(MISTRAL), {"prompt": "x"}, key="1", replier=shared)
    second = serve_invoke(find(TITAN), {"inputText": "x"}, key="2", replier=shared)
    assert first.document["outputs"][0]["text"] == "one"
    assert second.document["results"][0]["completionReason"] == "CONTENT_FILTERED"


def test_other_keys_make_other_ids():
    ids = {
        serve_invoke(find(ANTHROPIC), claude(), key=key, replier=replier()).document["id"] for key in ("1", "2", "1")
    }
    assert len(ids) == 2
