"""Streamed answers of InvokeModel: frames around the models' own pieces."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from itertools import pairwise
from zlib import crc32

import pytest
from apex_llm_bedrock.answers import Reading
from apex_llm_bedrock.failures import stream_failure
from apex_llm_bedrock.invoke.streaming import InvokeStreamDecoder
from apex_llm_bedrock.invoke.text import InvokeStream
from apex_llm_bedrock.tool_names import ToolNames
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import LLMTimeoutError, RateLimitError, ServiceUnavailableError
from apex_llm_core.models import Usage
from apex_llm_core.testing.streams import put_together


def frame(payload, **headers):
    block = b""
    for name, value in headers.items():
        key = (":" + name.replace("_", "-")).encode()
        block += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    body = prelude + struct.pack(">I", crc32(prelude)) + block + payload
    return body + struct.pack(">I", crc32(body))


def chunk(payload):
    return frame(payload, message_type="event", event_type="chunk")


def piece(document):
    encoded = b64encode(json.dumps(document).encode()).decode()
    return chunk(json.dumps({"bytes": encoded, "p": "abc"}).encode())


def exception(name, message):
    return frame(json.dumps({"message": message}).encode(), message_type="exception", exception_type=name)


METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 7}}
HEL = piece({"generation": "Hel"})
LO = piece({"generation": "lo"})
END = piece({"generation": "", "stop_reason": "stop", **METRICS})


def failure_of(message):
    kind = "exception" if message.kind == "exception" else "error"
    return stream_failure(kind, message.name, message.payload, headers={}, message=message.text, now=0.0)


def read(*reads):
    decoder = InvokeStreamDecoder(failure_of, InvokeStream("llama", {}, Reading(names=ToolNames())))
    batches = [batch for batch in (*(decoder.feed(each) for each in reads), decoder.close()) if batch]
    return decoder, batches


def text(batches):
    return "".join(each.text for batch in batches for each in batch)


class TestStream:
    @given(st.lists(st.integers(0, 2000), max_size=20))
    def test_is_the_same_however_its_bytes_are_cut(self, positions):
        # litellm#34373/#36878: usage is in the metrics.
        data = HEL + LO + END
        edges = [0, *sorted(position % len(data) for position in positions), len(data)]
        decoder, batches = read(*(data[start:end] for start, end in pairwise(edges)))
        assert decoder.done
        assert decoder.failure is None
        assert decoder.received == len(data)
        whole = put_together(batches)
        assert (whole.text, whole.usage) == ("Hello", Usage(prompt_tokens=5, completion_tokens=7))
        assert whole.choices[0].finish_reason == "stop"

    def test_may_have_events_that_nobody_knows(self):
        strange = frame(b"\xff", message_type="event", event_type="tomorrow")
        _, batches = read(HEL + strange + LO + END)
        assert put_together(batches).text == "Hello"

    def test_is_over_once_it_is_closed(self):
        decoder, _ = read(HEL + LO + END)
        assert decoder.feed(HEL) == []
        assert decoder.close() == []


class TestFailures:
    @pytest.mark.parametrize(
        ("name", "kind", "status"),
        [
            ("throttlingException", RateLimitError, 429),
            ("modelTimeoutException", LLMTimeoutError, 408),
            ("internalServerException", ServiceUnavailableError, 500),
        ],
    )
    def test_have_the_status_of_their_type_and_come_after_the_content_before_them(self, name, kind, status):
        decoder, batches = read(HEL + exception(name, "sorry") + LO + END)
        assert text(batches) == "Hel"
        assert isinstance(decoder.failure, kind)
        assert decoder.failure.status_code == status
        assert "sorry" in str(decoder.failure)
        assert not decoder.done

    def test_tell_of_an_end_without_a_stop_reason(self):
        decoder, batches = read(HEL + LO)
        assert text(batches) == "Hello"
        assert isinstance(decoder.failure, ServiceUnavailableError)
        assert not decoder.done

    @pytest.mark.parametrize("lost", [1, 20])
    def test_tell_of_an_end_inside_a_frame(self, lost):
        decoder, batches = read(HEL + END[:-lost])
        assert text(batches) == "Hel"
        assert "broke off" in str(decoder.failure)

    def test_tell_of_damage(self):
        broken = bytearray(LO)
        broken[-1] ^= 1
        decoder, batches = read(HEL + bytes(broken) + END)
        assert text(batches) == "Hel"
        assert "checksum" in str(decoder.failure)

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"{",
            b"[]",
            b"{}",
            b'{"bytes": 5}',
            b'{"bytes": "?"}',
            b'{"bytes": ""}',
            b'{"bytes": "W10="}',
            # What one emulator sends in place of base64.
            b'{"generation": "Hi"}',
        ],
    )
    def test_tell_of_pieces_that_cannot_be_read(self, payload):
        decoder, batches = read(HEL + chunk(payload) + END)
        assert text(batches) == "Hel"
        assert "a piece of the stream has an unknown form" in str(decoder.failure)
        assert decoder.failure.__cause__ is decoder.failure.original_error is not None

    def test_tell_of_pieces_in_another_models_form(self):
        decoder, batches = read(HEL + piece({"generation": 5}) + END)
        assert text(batches) == "Hel"
        assert isinstance(decoder.failure, ServiceUnavailableError)
