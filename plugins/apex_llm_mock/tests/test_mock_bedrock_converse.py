"""Answers of Converse and ConverseStream: content, stop reasons, usage, caching, guardrails."""

from __future__ import annotations

import base64
import json

import pytest
from apex_llm_mock import MockSettings, Reply, ScriptedToolCall
from apex_llm_mock.emulation.bedrock.converse import ConverseService
from apex_llm_mock.emulation.bedrock.guardrails import BLOCKED_INPUT, BLOCKED_OUTPUT
from apex_llm_mock.emulation.bedrock.models import MODELS
from apex_llm_mock.emulation.bedrock.reasoning import REDACTION_TRIGGER
from apex_llm_mock.replies import Replier

from apex_llm_core.testing import FakeClock

CLAUDE, NOVA, NOVA_2 = "anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-lite-v1:0", "amazon.nova-2-lite-v1:0"
TITAN, GPT_OSS, DEEPSEEK = "amazon.titan-text-express-v1", "openai.gpt-oss-20b-1:0", "deepseek.r1-v1:0"
THINKING = {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}}}
POINT = {"cachePoint": {"type": "default"}}
LONG = {"text": "x" * 8_000}


class Service:
    """A service that is asked as often as needed."""

    def __init__(self, **settings):
        self.clock = FakeClock()
        self._service = ConverseService(replier=Replier(MockSettings(**settings)), seed=0, clock=self.clock)

    def completion(self, body, model=CLAUDE, *, streamed=False):
        return self._service.serve(body, MODELS[model], streamed=streamed)

    def ask(self, body, model=CLAUDE):
        return self.completion(body, model).document()

    def events(self, body, model=CLAUDE, *, size=5):
        return list(self.completion(body, model, streamed=True).events(size))


def ask(body, model=CLAUDE, **settings):
    return Service(**settings).ask(body, model)


def asked(prompt="hello there", **more):
    return {"messages": [{"role": "user", "content": [{"text": prompt}]}], **more}


def content(answer):
    return answer["output"]["message"]["content"]


def tool(name, *properties):
    schema = {"type": "object", "properties": {p: {"type": "string"} for p in properties}, "required": list(properties)}
    return {"toolSpec": {"name": name, "description": "A tool.", "inputSchema": {"json": schema}}}


TOOLS = {"toolConfig": {"tools": [tool("get_weather", "city"), tool("get_time")]}}


def put_together(events):
    """Return content, stop reason and metadata of a stream, as a client that reads all of it."""
    blocks, stop, metadata = {}, None, None
    assert events[0] == ("messageStart", {"role": "assistant"})
    for name, document in events[1:]:
        match name:
            case "contentBlockStart":
                blocks[document["contentBlockIndex"]] = {"toolUse": {**document["start"]["toolUse"], "input": ""}}
            case "contentBlockDelta":
                ((kind, value),) = document["delta"].items()
                block = blocks.setdefault(document["contentBlockIndex"], {})
                if kind == "text":
                    block["text"] = block.get("text", "") + value
                elif kind == "toolUse":
                    block["toolUse"]["input"] += value["input"]
                elif "redactedContent" in value:
                    block["reasoningContent"] = value
                else:
                    inner = block.setdefault("reasoningContent", {}).setdefault("reasoningText", {"text": ""})
                    if "text" in value:
                        inner["text"] += value["text"]
                    else:
                        inner["signature"] = value["signature"]
            case "messageStop":
                stop = document
            case "metadata":
                metadata = document
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return [blocks[index] for index in sorted(blocks)], stop, metadata


def test_a_text():
    answer = ask(asked())
    assert answer["output"] == {"message": {"role": "assistant", "content": [{"text": "hello there"}]}}
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"] == {
        "inputTokens": 6,
        "outputTokens": 3,
        "totalTokens": 9,
        "cacheReadInputTokens": 0,
        "cacheWriteInputTokens": 0,
    }
    assert answer["metrics"] == {"latencyMs": 4}
    assert answer.keys() == {"output", "stopReason", "usage", "metrics"}


def test_usage_where_there_is_no_cache():
    assert ask(asked(), TITAN)["usage"].keys() == {"inputTokens", "outputTokens", "totalTokens"}


def test_nothing_to_say():
    answer = ask(asked(), reply="")
    assert content(answer) == []
    assert [name for name, _ in Service(reply="").events(asked())] == ["messageStart", "messageStop", "metadata"]


def test_a_stream_of_text_has_no_start_of_a_block():
    events = Service().events(asked())
    assert events == [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"delta": {"text": "hello"}, "contentBlockIndex": 0}),
        ("contentBlockDelta", {"delta": {"text": " ther"}, "contentBlockIndex": 0}),
        ("contentBlockDelta", {"delta": {"text": "e"}, "contentBlockIndex": 0}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": ask(asked())["usage"], "metrics": {"latencyMs": 4}}),
    ]


def test_tools_in_parallel():
    answer = ask(asked("get_weather and get_time", **TOOLS))
    first, second = content(answer)
    assert answer["stopReason"] == "tool_use"
    assert (first["toolUse"]["name"], first["toolUse"]["input"]) == (
        "get_weather",
        {"city": "get_weather and get_time"},
    )
    assert (second["toolUse"]["name"], second["toolUse"]["input"]) == ("get_time", {})
    assert first["toolUse"]["toolUseId"] != second["toolUse"]["toolUseId"]


def test_tools_in_a_stream_come_in_pieces():
    events = Service().events(asked("get_weather and get_time", **TOOLS))
    starts = [document for name, document in events if name == "contentBlockStart"]
    assert [(document["contentBlockIndex"], document["start"]["toolUse"]["name"]) for document in starts] == [
        (0, "get_weather"),
        (1, "get_time"),
    ]
    pieces = [
        d["delta"]["toolUse"]["input"] for n, d in events if n == "contentBlockDelta" and d["contentBlockIndex"] == 0
    ]
    assert len(pieces) > 5
    assert json.loads("".join(pieces)) == {"city": "get_weather and get_time"}


@pytest.mark.parametrize(
    ("choice", "name"), [({"any": {}}, "get_weather"), ({"tool": {"name": "get_time"}}, "get_time")]
)
def test_choices(choice, name):
    config = {"toolConfig": {**TOOLS["toolConfig"], "toolChoice": choice}}
    [block] = content(ask(asked(**config)))
    assert block["toolUse"]["name"] == name
    assert "toolUse" not in content(ask(asked(**TOOLS)))[0]


def test_results_are_acknowledged():
    service = Service()
    first = service.ask(asked("get_weather and get_time", **TOOLS))
    uses = [block["toolUse"] for block in content(first)]
    results = [
        {"toolResult": {"toolUseId": uses[0]["toolUseId"], "content": [{"json": {"sky": "clear"}}]}},
        {"toolResult": {"toolUseId": uses[1]["toolUseId"], "content": [{"text": "no clock"}], "status": "error"}},
    ]
    messages = [*asked("get_weather and get_time")["messages"], first["output"]["message"]]
    answer = service.ask({"messages": [*messages, {"role": "user", "content": results}], **TOOLS})
    assert content(answer) == [
        {"text": 'The tool get_weather answered: {"sky": "clear"}\nThe tool get_time failed: no clock'}
    ]


def test_what_was_scripted():
    call = ScriptedToolCall(name="get_time", arguments_text='{"broken": ', id="tooluse_1")
    service = Service(script=(Reply(text="Let me see.", tool_calls=(call,)), Reply(text="x", finish_reason="odd")))
    answer = service.ask(asked())
    assert content(answer) == [
        {"text": "Let me see."},
        {"toolUse": {"toolUseId": "tooluse_1", "name": "get_time", "input": '{"broken": '}},
    ]
    assert service.ask(asked())["stopReason"] == "odd"


def test_the_end_by_length():
    answer = ask(asked("one two three four", inferenceConfig={"maxTokens": 2}))
    assert (content(answer), answer["stopReason"]) == ([{"text": "one two "}], "max_tokens")
    assert answer["usage"]["outputTokens"] == 2


def test_the_end_by_a_stop_sequence():
    config = {
        "inferenceConfig": {"stopSequences": ["four", "two"]},
        "additionalModelResponseFieldPaths": ["/stop_sequence", "/none"],
    }
    answer = ask(asked("one two three four", **config))
    assert (content(answer), answer["stopReason"]) == ([{"text": "one "}], "stop_sequence")
    assert answer["additionalModelResponseFields"] == {"stop_sequence": "two"}
    _, stop, _ = put_together(Service().events(asked("one two", **config)))
    assert stop == {"stopReason": "stop_sequence", "additionalModelResponseFields": {"stop_sequence": "two"}}


def test_the_end_of_the_window():
    # Titan has 8,192 tokens for prompt and answer.
    answer = ask(asked("x" * 32_000), TITAN)
    assert answer["stopReason"] == "model_context_window_exceeded"
    assert answer["usage"]["totalTokens"] == MODELS[TITAN].window


def test_thinking():
    answer = ask(asked(**THINKING))
    reasoning, text = content(answer)
    assert reasoning["reasoningContent"]["reasoningText"]["text"] == "Thinking about: hello there"
    assert len(base64.b64decode(reasoning["reasoningContent"]["reasoningText"]["signature"])) == 48
    assert text == {"text": "hello there"}
    assert content(ask(asked())) == [{"text": "hello there"}]


def test_thinking_in_a_stream_ends_with_a_signature():
    events = Service().events(asked(**THINKING))
    deltas = [d["delta"] for n, d in events if n == "contentBlockDelta" and d["contentBlockIndex"] == 0]
    assert [list(delta["reasoningContent"]) for delta in deltas] == [["text"]] * (len(deltas) - 1) + [["signature"]]
    assert put_together(events)[0] == content(ask(asked(**THINKING)))


def test_redacted_thinking():
    body = asked(REDACTION_TRIGGER, **THINKING)
    first = content(ask(body))[0]
    assert first["reasoningContent"].keys() == {"redactedContent"}
    assert put_together(Service().events(body))[0][0] == first


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (DEEPSEEK, {}),
        (GPT_OSS, {"reasoning_effort": "low"}),
        (NOVA_2, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}),
        ("anthropic.claude-opus-4-6-v1", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
    ],
)
def test_other_ways_to_think(model, fields):
    first = content(ask(asked(additionalModelRequestFields=fields), model))[0]["reasoningContent"]["reasoningText"]
    assert first["text"] == "Thinking about: hello there"
    assert ("signature" in first) == model.startswith("anthropic.")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "body",
    [asked(), asked("get_weather and get_time", **TOOLS), asked(**THINKING), asked(REDACTION_TRIGGER, **THINKING)],
)
def test_streams_say_what_whole_answers_say(body, streamed):
    answer = ask(body)
    blocks, stop, metadata = put_together(Service().events(body, size=3 if streamed else 1000))
    assert blocks == content(answer)
    assert stop["stopReason"] == answer["stopReason"]
    assert metadata == {"usage": answer["usage"], "metrics": answer["metrics"]}


def test_a_schema():
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "degrees": {"type": "integer", "minimum": 3}},
        "required": ["city", "degrees"],
        "additionalProperties": False,
    }
    shape = {"jsonSchema": {"schema": json.dumps(schema), "name": "weather"}}
    answer = ask(asked("Ulm", outputConfig={"textFormat": {"type": "json_schema", "structure": shape}}))
    assert json.loads(content(answer)[0]["text"]) == {"city": "Ulm", "degrees": 3}


def test_what_comes_back_as_it_was_sent():
    more = {"serviceTier": {"type": "flex"}, "performanceConfig": {"latency": "optimized"}}
    answer = ask(asked(**more, requestMetadata={"team": "a"}))
    assert {name: answer[name] for name in more} == more
    _, _, metadata = put_together(Service().events(asked(**more)))
    assert {name: metadata[name] for name in more} == more


class TestCache:
    def body(self, *messages, system=LONG):
        return {"system": [system, POINT], "messages": [{"role": "user", "content": list(messages)}]}

    def test_written_once_and_then_read(self):
        service = Service()
        first = service.ask(self.body({"text": "one"}))["usage"]
        second = service.ask(self.body({"text": "two!"}))["usage"]
        # Three tokens for the role, 2,000 for the text; the rest is not in the cache.
        assert (first["cacheWriteInputTokens"], first["cacheReadInputTokens"], first["inputTokens"]) == (2003, 0, 4)
        assert (second["cacheWriteInputTokens"], second["cacheReadInputTokens"], second["inputTokens"]) == (0, 2003, 4)
        assert first["cacheDetails"] == [{"ttl": "5m", "inputTokens": 2003}]
        assert "cacheDetails" not in second
        assert second["totalTokens"] == 2003 + 4 + second["outputTokens"]

    def test_forgotten_unless_it_is_read(self):
        service = Service()
        service.ask(self.body({"text": "one"}))
        for _ in range(2):
            service.clock.advance(200)
            assert service.ask(self.body({"text": "one"}))["usage"]["cacheReadInputTokens"] == 2003
        service.clock.advance(301)
        assert service.ask(self.body({"text": "one"}))["usage"]["cacheReadInputTokens"] == 0

    def test_an_hour(self):
        service = Service()
        body = self.body({"text": "one"})
        body["system"][1] = {"cachePoint": {"type": "default", "ttl": "1h"}}
        assert service.ask(body)["usage"]["cacheDetails"] == [{"ttl": "1h", "inputTokens": 2003}]
        service.clock.advance(3000)
        assert service.ask(body)["usage"]["cacheReadInputTokens"] == 2003

    def test_a_longer_beginning_is_written_behind_what_is_read(self):
        service = Service()
        service.ask(self.body({"text": "one"}))
        usage = service.ask(self.body(LONG, POINT, {"text": "one"}))["usage"]
        assert (usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"]) == (2003, 2003)
        assert usage["inputTokens"] == 1

    def test_short_beginnings_are_not_kept(self):
        service = Service()
        body = self.body({"text": "one"}, system={"text": "short"})
        for _ in range(2):
            usage = service.ask(body)["usage"]
            assert (usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"]) == (0, 0)

    def test_tools(self):
        service = Service()
        tools = [tool("get_weather", "city"), POINT]
        tools[0]["toolSpec"]["description"] = "x" * 8_000
        body = asked(toolConfig={"tools": tools})
        written = service.ask(body)["usage"]["cacheWriteInputTokens"]
        assert written > 2000
        assert service.ask(body)["usage"]["cacheReadInputTokens"] == written

    def test_another_model_has_another_cache(self):
        service = Service()
        service.ask(self.body({"text": "one"}))
        assert service.ask(self.body({"text": "one"}), NOVA)["usage"]["cacheReadInputTokens"] == 0


class TestGuardrail:
    def guarded(self, prompt, trace="enabled", **more):
        config = {"guardrailIdentifier": "emulated", "guardrailVersion": "1", "trace": trace}
        return asked(prompt, guardrailConfig=config, **more)

    def test_a_prompt(self):
        answer = ask(self.guarded("something forbidden"))
        assert (answer["stopReason"], content(answer)) == ("guardrail_intervened", [{"text": BLOCKED_INPUT}])
        assert answer["usage"]["totalTokens"] == 0
        policy = answer["trace"]["guardrail"]["inputAssessment"]["emulated"]["wordPolicy"]
        assert policy["customWords"] == [{"match": "forbidden", "action": "BLOCKED", "detected": True}]

    def test_an_answer(self):
        answer = ask(self.guarded("hello"), reply="It is forbidden.")
        assert (answer["stopReason"], content(answer)) == ("guardrail_intervened", [{"text": BLOCKED_OUTPUT}])
        trace = answer["trace"]["guardrail"]
        assert trace["modelOutput"] == ["It is forbidden."]
        assert trace["outputAssessments"]["emulated"][0]["wordPolicy"]["customWords"][0]["match"] == "forbidden"
        assert answer["usage"]["outputTokens"] == 4

    def test_a_stream(self):
        body = self.guarded("forbidden")
        body["guardrailConfig"]["streamProcessingMode"] = "async"
        blocks, stop, metadata = put_together(Service().events(body))
        assert (blocks, stop) == ([{"text": BLOCKED_INPUT}], {"stopReason": "guardrail_intervened"})
        assert "inputAssessment" in metadata["trace"]["guardrail"]

    def test_without_a_trace(self):
        assert "trace" not in ask(self.guarded("forbidden", trace="disabled"))
        assert ask(self.guarded("hello", trace="enabled_full"))["trace"]["guardrail"].keys() == {
            "inputAssessment",
            "outputAssessments",
        }

    def test_only_what_is_marked(self):
        body = self.guarded("forbidden")
        body["messages"][0]["content"].append({"guardContent": {"text": {"text": "harmless"}}})
        assert ask(body, reply="fine")["stopReason"] == "end_turn"
