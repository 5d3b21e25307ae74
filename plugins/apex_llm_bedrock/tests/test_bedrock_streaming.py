"""Streamed answers of Converse: every event, in any order and any cut, what breaks off, and what nobody knows."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from itertools import pairwise
from zlib import crc32

import attrs
import pytest
from apex_llm_bedrock.answers import Reading, chat_result
from apex_llm_bedrock.failures import stream_failure
from apex_llm_bedrock.streaming import ConverseStreamDecoder
from apex_llm_bedrock.tool_names import ToolNames
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import (
    InvalidRequestError,
    LLMTimeoutError,
    RateLimitError,
    ServiceUnavailableError,
)
from apex_llm_core.models import ReasoningPart, TextPart, ToolCallPart, Usage
from apex_llm_core.testing.streams import put_together


def frame(payload, **headers):
    block = b""
    for name, value in headers.items():
        key = (":" + name.replace("_", "-")).encode()
        encoded = value.encode()
        block += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(encoded)) + encoded
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    body = prelude + struct.pack(">I", crc32(prelude)) + block + payload
    return body + struct.pack(">I", crc32(body))


def event(name, document):
    payload = document if isinstance(document, bytes) else json.dumps({**document, "p": "abcdef"}).encode()
    return frame(payload, message_type="event", event_type=name, content_type="application/json")


def exception(name, document):
    return frame(json.dumps(document).encode(), message_type="exception", exception_type=name)


def error(code, message):
    return frame(b"", message_type="error", error_code=code, error_message=message)


def start(block, use=None):
    return event("contentBlockStart", {"contentBlockIndex": block, "start": {"toolUse": use} if use else {}})


def delta(block, **said):
    return event("contentBlockDelta", {"contentBlockIndex": block, "delta": said})


def text(said, block=0):
    return delta(block, text=said)


def arguments(said, block):
    return delta(block, toolUse={"input": said})


def thought(block, **said):
    return delta(block, reasoningContent=said)


def stop(block):
    return event("contentBlockStop", {"contentBlockIndex": block})


def call(block, name, *pieces, call_id=None):
    begun = start(block, {"toolUseId": call_id or f"t{block}", "name": name})
    return begun + b"".join(arguments(piece, block) for piece in pieces) + stop(block)


BEGIN = event("messageStart", {"role": "assistant"})
END = event("messageStop", {"stopReason": "end_turn"})
USED_TOOLS = event("messageStop", {"stopReason": "tool_use"})
COUNTED = {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}, "metrics": {"latencyMs": 12}}
METADATA = event("metadata", COUNTED)
USAGE = Usage(prompt_tokens=3, completion_tokens=4)
READING = Reading(names=ToolNames())
JSON = Reading(names=ToolNames(), json_tool="json_answer", emulated=("response_format",))


def failure_of(message):
    kind = "exception" if message.kind == "exception" else "error"
    return stream_failure(kind, message.name, message.payload, headers={}, message=message.text, now=0.0)


@attrs.define
class Read:
    """What a stream that was read to its end gave."""

    batches: list
    failure: Exception | None
    done: bool

    @property
    def chunks(self):
        return [chunk for batch in self.batches for chunk in batch]

    @property
    def text(self):
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def whole(self):
        assert self.failure is None
        assert self.done
        return put_together(self.batches)

    @property
    def choice(self):
        return self.whole.choices[0]

    @property
    def details(self):
        assert self.failure is None
        return self.chunks[-1].details or {}


def read(*reads, reading=READING):
    decoder = ConverseStreamDecoder(failure_of, reading)
    batches = [decoder.feed(each) for each in reads]
    batches.append(decoder.close())
    return Read([batch for batch in batches if batch], decoder.failure, decoder.done)


def joined(*events, reading=READING):
    return read(b"".join(events), reading=reading)


class TestText:
    def test_comes_in_pieces_and_needs_no_start(self):
        found = read(BEGIN, text("Hel"), text("lo"), stop(0), END, METADATA)
        assert [[chunk.text for chunk in batch] for batch in found.batches[:2]] == [["Hel"], ["lo"]]
        assert found.whole.text == "Hello"
        assert found.choice.finish_reason == "stop"
        assert found.whole.usage == USAGE

    def test_may_have_a_start_without_content_all_the_same(self):
        assert joined(BEGIN, start(0), text("Hi"), stop(0), END, METADATA).whole.text == "Hi"

    def test_that_is_empty_is_no_chunk(self):
        found = joined(BEGIN, text(""), text("Hi"), stop(0), END, METADATA)
        assert [chunk.text for chunk in found.chunks] == ["Hi", ""]

    def test_of_several_blocks_is_joined(self):
        assert joined(BEGIN, text("a", 0), stop(0), text("b", 1), stop(1), END, METADATA).whole.text == "ab"

    def test_of_any_script_survives_cuts_inside_characters(self):
        data = b"".join((BEGIN, text("Größe — 𝄞"), END, METADATA))
        assert read(*(data[i : i + 1] for i in range(len(data)))).whole.text == "Größe — 𝄞"

    def test_that_is_none_breaks_the_stream(self):
        found = joined(BEGIN, text("a"), text(5), END, METADATA)
        assert found.text == "a"
        assert "'contentBlockDelta' of the stream has an unknown form" in str(found.failure)

    def test_may_be_missing(self):
        found = joined(BEGIN, END, METADATA)
        assert found.whole.text == ""
        assert found.choice.finish_reason == "stop"


class TestToolCalls:
    def test_have_arguments_in_partial_strings(self):
        # crewAI#6149, langchain-aws#140/#447, llama_index#19655
        found = joined(BEGIN, call(0, "look", '{"ci', "ty", '": "Rome"}'), USED_TOOLS, METADATA)
        assert found.choice.tool_calls == (ToolCallPart(id="t0", name="look", arguments='{"city": "Rome"}'),)
        assert found.choice.finish_reason == "tool_calls"

    def test_without_arguments_have_an_empty_object(self):
        for pieces in ((), ("",)):
            found = joined(BEGIN, call(0, "now", *pieces), USED_TOOLS, METADATA)
            assert found.choice.tool_calls == (ToolCallPart(id="t0", name="now", arguments="{}"),)

    def test_without_arguments_have_it_without_a_stop_too(self):
        found = joined(BEGIN, start(0, {"toolUseId": "t0", "name": "now"}), USED_TOOLS, METADATA)
        assert [each.arguments for each in found.choice.tool_calls] == ["{}"]

    def test_in_parallel_are_told_apart_by_their_block(self):
        found = joined(
            BEGIN,
            text("Looking."),
            stop(0),
            start(1, {"toolUseId": "a", "name": "look"}),
            start(2, {"toolUseId": "b", "name": "look"}),
            arguments('{"x":', 1),
            arguments('{"y":', 2),
            arguments("1}", 1),
            arguments("2}", 2),
            stop(2),
            stop(1),
            USED_TOOLS,
            METADATA,
        )
        assert found.whole.text == "Looking."
        assert [(each.id, each.arguments) for each in found.choice.tool_calls] == [("a", '{"x":1}'), ("b", '{"y":2}')]

    def test_get_the_name_that_the_caller_gave(self):
        # litellm#28874, #5138, #19384
        names = ToolNames()
        written = names.written("weather.look up")
        reading = Reading(names=names)
        found = joined(BEGIN, call(0, written, "{}"), USED_TOOLS, METADATA, reading=reading)
        assert [each.name for each in found.choice.tool_calls] == ["weather.look up"]

    def test_of_the_services_own_tools_are_not_the_callers(self):
        use = {"toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use"}
        found = joined(BEGIN, start(0, use), arguments("{}", 0), stop(0), text("Hi", 1), END, METADATA)
        assert found.choice.tool_calls == ()
        assert found.whole.text == "Hi"
        assert found.details["other_content"] == [{"toolUse": use}]

    def test_that_never_began_break_the_stream(self):
        found = joined(BEGIN, arguments("{}", 3), USED_TOOLS, METADATA)
        assert isinstance(found.failure, ServiceUnavailableError)

    @pytest.mark.parametrize(
        "begun",
        [{"toolUseId": "t"}, {"toolUseId": "t", "name": ""}, {"toolUseId": "", "name": "look"}, {"name": "look"}],
    )
    def test_without_a_name_or_an_id_break_the_stream(self, begun):
        found = joined(BEGIN, start(0, begun), USED_TOOLS, METADATA)
        assert isinstance(found.failure, ServiceUnavailableError)
        assert found.chunks == []

    def test_end_as_the_service_says_and_not_because_they_are_there(self):
        cut_off = event("messageStop", {"stopReason": "max_tokens"})
        found = joined(BEGIN, call(0, "look", '{"ci'), cut_off, METADATA)
        assert found.choice.finish_reason == "length"
        assert found.choice.tool_calls[0].arguments == '{"ci'


class TestReasoning:
    def test_comes_in_pieces_and_as_a_whole_with_its_signature(self):
        # langchain-aws#844/#1229/#1299: text and signature go back unmodified.
        found = joined(
            BEGIN,
            thought(0, text="Let me "),
            thought(0, text="see."),
            thought(0, signature="c2ln"),
            stop(0),
            text("42", 1),
            END,
            METADATA,
        )
        assert found.choice.reasoning == "Let me see."
        assert found.choice.reasoning_parts == [ReasoningPart(text="Let me see.", signature="c2ln")]
        assert found.whole.text == "42"

    def test_may_have_a_signature_in_pieces(self):
        found = joined(
            BEGIN, thought(0, text="x"), thought(0, signature="ab"), thought(0, signature="cd"), stop(0), END
        )
        assert found.choice.reasoning_parts == [ReasoningPart(text="x", signature="abcd")]

    def test_may_have_nothing_but_a_signature(self):
        found = joined(BEGIN, thought(0, text=""), thought(0, signature="c2ln"), stop(0), text("Hi", 1), END, METADATA)
        assert found.choice.reasoning == ""
        assert found.choice.reasoning_parts == [ReasoningPart(text="", signature="c2ln")]

    def test_may_have_no_signature(self):
        found = joined(BEGIN, thought(0, text="x"), stop(0), text("Hi", 1), END, METADATA)
        assert found.choice.reasoning_parts == [ReasoningPart(text="x")]

    def test_may_be_encrypted(self):
        # inspect_ai#5217
        found = joined(BEGIN, thought(0, redactedContent="ZW5jcnlwdGVk"), stop(0), text("Hi", 1), END, METADATA)
        assert found.choice.reasoning == ""
        assert found.choice.reasoning_parts == [ReasoningPart(data="ZW5jcnlwdGVk")]

    @given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=6))
    def test_may_be_encrypted_in_pieces_with_their_own_padding(self, pieces):
        found = joined(
            BEGIN, *(thought(0, redactedContent=b64encode(piece).decode()) for piece in pieces), stop(0), END, METADATA
        )
        assert found.choice.reasoning_parts == [ReasoningPart(data=b64encode(b"".join(pieces)).decode())]

    def test_that_is_encrypted_and_no_base64_breaks_the_stream(self):
        found = joined(BEGIN, thought(0, redactedContent="QQ=="), thought(0, redactedContent="?"), stop(0), END)
        assert isinstance(found.failure, ServiceUnavailableError)

    def test_stands_in_several_blocks(self):
        found = joined(
            BEGIN,
            *(thought(0, text="a"), thought(0, signature="1"), stop(0)),
            *(thought(1, redactedContent="Yg=="), stop(1)),
            *(thought(2, text="c"), thought(2, signature="3"), stop(2)),
            *(text("Hi", 3), END, METADATA),
        )
        assert found.choice.reasoning_parts == [
            ReasoningPart(text="a", signature="1"),
            ReasoningPart(data="Yg=="),
            ReasoningPart(text="c", signature="3"),
        ]

    def test_is_whole_without_a_stop_too(self):
        found = joined(BEGIN, thought(1, text="b"), thought(0, text="a"), END, METADATA)
        assert found.choice.reasoning_parts == [ReasoningPart(text="a"), ReasoningPart(text="b")]

    def test_of_a_kind_that_nobody_knows_is_passed_over(self):
        found = joined(BEGIN, thought(0, novelty="x"), stop(0), text("Hi", 1), END, METADATA)
        assert found.choice.reasoning_parts == []
        assert found.whole.text == "Hi"


class TestAnswersByTool:
    def test_are_text(self):
        # litellm#42717/#25740
        found = joined(BEGIN, call(0, "json_answer", '{"a"', ": 1}"), USED_TOOLS, METADATA, reading=JSON)
        assert [chunk.text for chunk in found.chunks] == ['{"a"', ": 1}", ""]
        assert found.choice.finish_reason == "stop"
        assert found.choice.tool_calls == ()
        assert found.details["emulated_parameters"] == ["response_format"]

    def test_may_be_empty_objects(self):
        assert joined(BEGIN, call(0, "json_answer"), USED_TOOLS, METADATA, reading=JSON).whole.text == "{}"

    def test_are_not_spoilt_by_what_is_said_beside(self):
        found = joined(
            *(BEGIN, text("Here you are: "), stop(0), call(1, "json_answer", '{"a": 1}')),
            *(text("Anything else?", 2), stop(2), USED_TOOLS, METADATA),
            reading=JSON,
        )
        assert found.whole.text == '{"a": 1}'

    def test_count_once(self):
        found = joined(
            *(BEGIN, call(0, "json_answer", '{"a": 1}'), call(1, "json_answer", '{"a": 2}'), call(2, "json_answer")),
            *(USED_TOOLS, METADATA),
            reading=JSON,
        )
        assert found.whole.text == '{"a": 1}'

    def test_leave_the_callers_own_tools_alone(self):
        # litellm#35218
        found = joined(BEGIN, call(0, "look", "{}"), USED_TOOLS, METADATA, reading=JSON)
        assert [each.name for each in found.choice.tool_calls] == ["look"]
        assert found.choice.finish_reason == "tool_calls"

    def test_may_stand_beside_calls(self):
        found = joined(
            *(BEGIN, call(0, "look", "{}"), call(1, "json_answer", '{"a": 1}'), USED_TOOLS, METADATA), reading=JSON
        )
        assert found.whole.text == '{"a": 1}'
        assert [each.id for each in found.choice.tool_calls] == ["t0"]
        assert found.choice.finish_reason == "tool_calls"

    def test_that_were_not_given_leave_what_was_said(self):
        found = joined(BEGIN, text("I will "), text("not."), stop(0), END, METADATA, reading=JSON)
        assert found.whole.text == "I will not."
        assert found.choice.finish_reason == "stop"

    def test_are_no_text_where_nobody_asked(self):
        assert (
            joined(BEGIN, call(0, "json_answer", "{}"), USED_TOOLS, METADATA).choice.tool_calls[0].name == "json_answer"
        )


class TestEnd:
    @pytest.mark.parametrize(
        ("stop_reason", "finish_reason"),
        [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("tool_use", "tool_calls"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("guardrail_intervened", "content_filter"),
            ("content_filtered", "content_filter"),
            ("malformed_tool_use", "malformed_tool_use"),
            ("tomorrows_reason", "tomorrows_reason"),
        ],
    )
    def test_has_a_reason_in_the_cores_words(self, stop_reason, finish_reason):
        # langchain-aws#176/#214, camel#4261
        found = joined(BEGIN, text("x"), event("messageStop", {"stopReason": stop_reason}), METADATA)
        assert found.choice.finish_reason == finish_reason

    @pytest.mark.parametrize("stop_reason", ["", None, 5])
    def test_has_a_reason(self, stop_reason):
        found = joined(BEGIN, text("x"), event("messageStop", {"stopReason": stop_reason}), METADATA)
        assert isinstance(found.failure, ServiceUnavailableError)
        assert not found.done

    def test_counts_what_the_cache_gave_beside_the_input(self):
        # litellm#15270, ruby_llm#832
        usage = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 107, "cacheReadInputTokens": 80}
        usage |= {"cacheWriteInputTokens": 20, "cacheDetails": [{"ttl": "1h", "inputTokens": 20}]}
        found = joined(BEGIN, text("x"), END, event("metadata", {"usage": usage}))
        assert found.whole.usage == Usage(
            prompt_tokens=103, completion_tokens=4, cached_tokens=80, cache_write_tokens=20
        )
        assert found.details["cache_details"] == [{"ttl": "1h", "inputTokens": 20}]

    def test_may_be_told_after_the_metadata(self):
        found = joined(BEGIN, text("x"), METADATA, text("y"), END)
        assert found.whole.text == "xy"
        assert found.whole.usage == USAGE

    def test_does_not_wait_for_the_connection(self):
        decoder = ConverseStreamDecoder(failure_of, READING)
        decoder.feed(BEGIN + text("x") + END)
        assert not decoder.done
        (chunk,) = decoder.feed(METADATA)
        assert decoder.done
        assert (chunk.finish_reason, chunk.usage) == ("stop", USAGE)

    @pytest.mark.parametrize(
        "after", [text("more"), exception("throttlingException", {}), b"\0" * 30, METADATA, END, b"x"]
    )
    def test_is_the_end_whatever_comes_after(self, after):
        whole = [BEGIN, text("x"), END, METADATA]
        found = joined(*whole, after)
        assert found == read(b"".join(whole), after) == joined(*whole)
        assert found.whole.text == "x"

    def test_may_lack_metadata(self):
        found = joined(BEGIN, text("x"), END)
        assert found.choice.finish_reason == "stop"
        assert found.whole.usage is None

    @pytest.mark.parametrize("usage", [None, {}, {"inputTokens": "3", "outputTokens": 4}, [], {"inputTokens": 3}])
    def test_may_lack_counts(self, usage):
        found = joined(BEGIN, text("x"), END, event("metadata", {"usage": usage}))
        assert found.whole.text == "x"
        assert found.whole.usage is None

    def test_tells_traces_and_the_like(self):
        stopped = event("messageStop", {"stopReason": "stop_sequence", "additionalModelResponseFields": {"s": "END"}})
        told = {**COUNTED, "trace": {"guardrail": {"x": 1}}, "serviceTier": {"type": "flex"}}
        told["performanceConfig"] = {"latency": "optimized"}
        assert joined(BEGIN, text("x"), stopped, event("metadata", told)).details == {
            "stop_reason": "stop_sequence",
            "additional_model_response_fields": {"s": "END"},
            "latency_ms": 12,
            "trace": {"guardrail": {"x": 1}},
            "service_tier": {"type": "flex"},
            "performance_config": {"latency": "optimized"},
        }

    def test_tells_what_was_left_out_of_the_request(self):
        reading = Reading(names=ToolNames(), dropped=("seed",))
        assert joined(BEGIN, text("x"), END, METADATA, reading=reading).details["dropped_parameters"] == ["seed"]


class TestUnknown:
    def test_events_are_kept(self):
        found = joined(BEGIN, event("tomorrow", {"x": 1}), text("x"), event("tomorrow", {"x": 2}), END, METADATA)
        assert found.whole.text == "x"
        assert [each["tomorrow"]["x"] for each in found.details["unknown_events"]] == [1, 2]

    def test_events_are_kept_up_to_a_number(self):
        found = joined(BEGIN, *(event("tomorrow", {"x": number}) for number in range(500)), END, METADATA)
        assert len(found.details["unknown_events"]) == 32

    @pytest.mark.parametrize("said", [{"image": {"source": {}}}, {"toolResult": [{"text": "x"}]}, {"tomorrow": 1}])
    def test_pieces_of_content_are_kept(self, said):
        found = joined(BEGIN, delta(0, **said), stop(0), text("x", 1), END, METADATA)
        assert found.whole.text == "x"
        assert found.details["other_content"] == [said]

    def test_starts_of_content_are_kept(self):
        begun = event("contentBlockStart", {"contentBlockIndex": 0, "start": {"image": {"format": "png"}}})
        found = joined(BEGIN, begun, stop(0), text("x", 1), END, METADATA)
        assert found.details["other_content"] == [{"image": {"format": "png"}}]

    def test_pieces_without_anything_are_nothing(self):
        found = joined(BEGIN, delta(0), event("contentBlockStart", {"contentBlockIndex": 0}), text("x"), END, METADATA)
        assert found.whole.text == "x"
        assert "other_content" not in found.details

    def test_starts_as_gateways_send_them_are_nothing(self):
        begun = event("contentBlockStart", {"contentBlockIndex": 0, "start": {"reasoningContent": {}}})
        assert "other_content" not in joined(BEGIN, begun, thought(0, text="a"), text("x", 1), END, METADATA).details

    def test_citations_are_kept(self):
        found = joined(BEGIN, text("x"), delta(0, citation={"title": "A"}), delta(0, citation={"title": "B"}), END)
        assert found.details["citations"] == [{"title": "A"}, {"title": "B"}]


class TestFailures:
    @pytest.mark.parametrize(
        ("name", "document", "kind", "status"),
        [
            ("throttlingException", {"message": "Too many tokens, please wait"}, RateLimitError, 429),
            ("validationException", {"message": "The model refuses"}, InvalidRequestError, 400),
            ("serviceUnavailableException", {"message": "Busy"}, ServiceUnavailableError, 503),
            ("internalServerException", {"message": "Sorry"}, ServiceUnavailableError, 500),
            ("modelTimeoutException", {"message": "Slow"}, LLMTimeoutError, 408),
            (
                "modelStreamErrorException",
                {"message": "Broken", "originalStatusCode": 500, "originalMessage": "oops"},
                ServiceUnavailableError,
                424,
            ),
        ],
    )
    def test_have_the_status_of_their_type_before_any_content(self, name, document, kind, status):
        # litellm#30946, #38606, #1790; botocore says 400 of all of them.
        found = joined(BEGIN, exception(name, document))
        assert found.chunks == []
        assert isinstance(found.failure, kind)
        assert found.failure.status_code == status
        assert document["message"] in str(found.failure)

    def test_come_after_the_content_before_them(self):
        found = joined(BEGIN, text("Hel"), text("lo"), exception("throttlingException", {"message": "x"}), text("no"))
        assert found.text == "Hello"
        assert isinstance(found.failure, RateLimitError)
        assert not found.done

    def test_may_be_errors_without_a_payload(self):
        found = joined(BEGIN, text("Hi"), error("InternalServerError", "An internal server error occurred"))
        assert found.text == "Hi"
        assert "An internal server error occurred" in str(found.failure)

    def test_may_have_a_payload_that_is_no_json(self):
        found = joined(
            BEGIN, text("Hi"), frame(b"<html>", message_type="exception", exception_type="throttlingException")
        )
        assert found.text == "Hi"
        assert isinstance(found.failure, RateLimitError)

    def test_are_final(self):
        decoder = ConverseStreamDecoder(failure_of, READING)
        decoder.feed(BEGIN + exception("throttlingException", {}))
        failure = decoder.failure
        assert decoder.feed(text("x") + END + METADATA) == []
        assert decoder.close() == []
        assert decoder.failure is failure

    @pytest.mark.parametrize(
        "events", [(), (BEGIN,), (BEGIN, text("Hi")), (BEGIN, text("Hi"), stop(0)), (BEGIN, METADATA)]
    )
    def test_tell_of_an_end_without_message_stop(self, events):
        # langchain-aws#1286/#1287, litellm#32686/#32159
        found = joined(*events)
        assert "without messageStop" in str(found.failure)
        assert isinstance(found.failure, ServiceUnavailableError)
        assert found.text == ("Hi" if len(events) > 1 and METADATA not in events else "")
        assert not found.done

    def test_tell_of_an_end_inside_an_event(self):
        found = joined(BEGIN, text("Hi"), END[:-3])
        assert found.text == "Hi"
        assert "broke off" in str(found.failure)

    def test_tell_of_damage_and_where_it_is(self):
        broken = bytearray(text("lo"))
        broken[-1] ^= 1
        found = joined(BEGIN, text("Hel"), bytes(broken), END, METADATA)
        assert found.text == "Hel"
        assert "checksum" in str(found.failure)
        assert "bytes" in str(found.failure)

    @pytest.mark.parametrize(
        "payload", [b"{", b"", b"[]", b"null", b'"x"', b"\xff", b"{}", b'{"delta": null}', b"{},{}"]
    )
    @pytest.mark.parametrize("name", ["contentBlockDelta", "contentBlockStart", "messageStop", "contentBlockStop"])
    def test_tell_of_events_that_say_nothing_that_can_be_read(self, name, payload):
        for found in (
            joined(BEGIN, text("Hi"), event(name, payload), END),
            read(BEGIN, text("Hi"), event(name, payload)),
        ):
            assert found.text == "Hi"
            assert isinstance(found.failure, ServiceUnavailableError)
            assert repr(name) in str(found.failure)

    @pytest.mark.parametrize("block", [None, "0", 1.5, [], {}])
    def test_tell_of_blocks_without_a_number(self, block):
        for broken in (thought(block, text="x"), start(block, {"toolUseId": "t", "name": "look"})):
            found = joined(BEGIN, thought(0, text="a"), broken, END, METADATA)
            assert isinstance(found.failure, ServiceUnavailableError)
            assert not found.done

    def test_have_the_reason_as_their_cause(self):
        found = joined(BEGIN, event("messageStop", b"{"))
        assert isinstance(found.failure.__cause__, ValueError)
        assert found.failure.original_error is found.failure.__cause__

    def test_hand_out_no_text_that_may_not_count(self):
        found = joined(BEGIN, text("Here: "), exception("throttlingException", {}), reading=JSON)
        assert found.chunks == []


words = st.text(max_size=12)
blocks = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.lists(words, max_size=4)),
        st.tuples(st.just("thought"), st.lists(words, max_size=4)),
        st.tuples(st.just("call"), st.lists(st.text(max_size=6), max_size=4)),
        st.tuples(st.just("json_answer"), st.lists(st.text(max_size=6), max_size=4)),
        st.tuples(st.just("unknown"), st.just([])),
    ),
    max_size=6,
)
ends = st.sampled_from(
    [
        END + METADATA,
        METADATA + END,
        END,
        END + METADATA + text("after"),
        METADATA + END + exception("throttlingException", {}),
        b"",
        END[:-1],
        exception("throttlingException", {"message": "x"}),
        event("contentBlockDelta", b"{"),
        b"\0" * 20,
    ]
)


def events_of(block, kind, pieces):
    if kind == "text":
        return [text(piece, block) for piece in pieces] + [stop(block)]
    if kind == "thought":
        return [thought(block, text=piece) for piece in pieces] + [thought(block, signature="s"), stop(block)]
    if kind == "unknown":
        return [event("tomorrow", {"block": block})]
    return [call(block, kind, *pieces)]


class TestAnyStream:
    @given(blocks, ends, st.lists(st.integers(0, 4000), max_size=25), st.sampled_from([READING, JSON]))
    def test_gives_the_same_however_its_bytes_are_cut(self, content, end, positions, reading):
        data = BEGIN + b"".join(
            each for block, (kind, pieces) in enumerate(content) for each in events_of(block, kind, pieces)
        )
        data += end
        edges = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
        whole = read(data, reading=reading)
        pieces = read(*(data[a:b] for a, b in pairwise(edges)), reading=reading)
        assert pieces.chunks == whole.chunks
        assert (pieces.done, type(pieces.failure)) == (whole.done, type(whole.failure))
        assert whole.done == (whole.failure is None)
        if whole.done:
            assert pieces.whole.text == whole.whole.text

    @given(blocks, st.randoms(use_true_random=False))
    def test_gives_the_same_however_its_blocks_are_interleaved(self, content, random):
        queues = [
            events_of(block, kind, pieces)
            for block, (kind, pieces) in enumerate(content)
            if kind in ("text", "thought")
        ]
        in_order = [each for queue in queues for each in queue]
        shuffled = []
        waiting = [list(queue) for queue in queues]
        while any(waiting):
            shuffled.append(random.choice([queue for queue in waiting if queue]).pop(0))
        first, second = (joined(BEGIN, *each, END, METADATA).choice for each in (in_order, shuffled))
        assert sorted(part.text for part in first.reasoning_parts) == sorted(
            part.text for part in second.reasoning_parts
        )
        assert sorted(first.text) == sorted(second.text)

    @given(blocks, st.sampled_from([READING, JSON]))
    def test_amounts_to_what_the_whole_answer_is(self, content, reading):
        wire, events, calls = [], [BEGIN], 0
        for block, (kind, pieces) in enumerate(content):
            said = "".join(pieces)
            if kind == "text":
                wire.append({"text": said})
            elif kind == "thought":
                wire.append({"reasoningContent": {"reasoningText": {"text": said, "signature": "s"}}})
            elif kind != "unknown":
                calls += 1
                given_arguments = {"x": said}
                use = {"toolUseId": f"t{block}", "name": kind, "input": given_arguments}
                wire.append({"toolUse": use})
                said = json.dumps(given_arguments, separators=(",", ":"), ensure_ascii=False)
                events += events_of(block, kind, [said])
                continue
            events += events_of(block, kind, pieces)
        reason = "tool_use" if calls else "end_turn"
        answer = {"output": {"message": {"content": wire}}, "stopReason": reason, **COUNTED}
        result = chat_result(answer, {}, reading, model="m", provider="p")
        streamed = joined(*events, event("messageStop", {"stopReason": reason}), METADATA, reading=reading)
        message = result.message
        parts = [TextPart(text=message.content)] if isinstance(message.content, str) else message.content
        assert streamed.whole.text == message.text
        assert streamed.choice.tool_calls == message.tool_calls
        assert streamed.choice.reasoning_parts == [part for part in parts if isinstance(part, ReasoningPart)]
        assert streamed.choice.finish_reason == result.finish_reason
        assert streamed.whole.usage == result.usage

    @given(st.lists(st.binary(max_size=60), max_size=6))
    def test_of_any_bytes_is_never_an_answer(self, reads):
        found = read(*reads)
        assert isinstance(found.failure, ServiceUnavailableError)
        assert found.chunks == []

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    [
                        "contentBlockDelta",
                        "contentBlockStart",
                        "contentBlockStop",
                        "messageStop",
                        "metadata",
                        "messageStart",
                        "x",
                    ]
                ),
                st.recursive(
                    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
                    lambda inner: (
                        st.lists(inner, max_size=2)
                        | st.dictionaries(
                            st.sampled_from(
                                [
                                    "contentBlockIndex",
                                    "delta",
                                    "start",
                                    "text",
                                    "toolUse",
                                    "input",
                                    "reasoningContent",
                                    "stopReason",
                                    "usage",
                                    "name",
                                    "toolUseId",
                                    "signature",
                                    "redactedContent",
                                    "metrics",
                                ]
                            ),
                            inner,
                            max_size=4,
                        )
                    ),
                    max_leaves=8,
                ),
            ),
            max_size=6,
        )
    )
    def test_of_any_events_ends_or_fails_as_a_service_does(self, events):
        found = joined(BEGIN, *(event(name, json.dumps(document).encode()) for name, document in events))
        assert found.done == (found.failure is None)
        assert found.failure is None or isinstance(found.failure, ServiceUnavailableError)

    def test_of_many_events_in_one_read_is_whole(self):
        found = joined(BEGIN, *(text(f"{number} ") for number in range(1000)), END, METADATA)
        assert found.whole.text == "".join(f"{number} " for number in range(1000))
