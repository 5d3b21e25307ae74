"""Frames of AWS event streams: what botocore reads from them, checksum by checksum."""

from __future__ import annotations

import base64
import json
import struct
from zlib import crc32

import pytest
from apex_llm_mock.emulation.bedrock.event_frames import (
    OVERHEAD,
    PADDING,
    EventStream,
    StreamError,
    StreamEvent,
    StreamException,
    chunk,
    encode,
    frame,
)
from apex_llm_mock.emulation.sse import Raw
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st


def read(data):
    """Return headers and payload of each message, as botocore reads them."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


def test_an_event():
    [(headers, payload)] = read(encode(StreamEvent("messageStart", {"role": "assistant"})))
    assert headers == {":event-type": "messageStart", ":content-type": "application/json", ":message-type": "event"}
    assert payload == b'{"role":"assistant"}'


def test_an_exception():
    [(headers, payload)] = read(encode(StreamException("throttlingException", {"message": "Wait."})))
    assert headers[":message-type"] == "exception"
    assert headers[":exception-type"] == "throttlingException"
    assert json.loads(payload) == {"message": "Wait."}


def test_an_error():
    [(headers, payload)] = read(encode(StreamError("InternalFailure", "Größer")))
    assert headers == {":error-code": "InternalFailure", ":error-message": "Größer", ":message-type": "error"}
    assert payload == b""


def test_a_chunk():
    [(headers, payload)] = read(encode(chunk({"type": "message_stop"})))
    assert headers[":event-type"] == "chunk"
    assert base64.b64decode(json.loads(payload)["bytes"]) == b'{"type":"message_stop"}'


@given(names=st.lists(st.text(alphabet="ab:-", min_size=1, max_size=9), unique=True), payload=st.binary(max_size=99))
def test_lengths_and_checksums(names, payload):
    data = frame({name: name * 3 for name in names}, payload)
    total, headers, check = struct.unpack(">III", data[:12])
    assert total == len(data) == OVERHEAD + headers + len(payload)
    assert check == crc32(data[:8])
    assert data[-4:] == struct.pack(">I", crc32(data[:-4]))
    assert read(data) == [({name: name * 3 for name in names}, payload)]


@pytest.mark.parametrize("place", [0, 9, 20, -6, -1])
def test_damage_is_noticed(place):
    data = bytearray(encode(StreamEvent("messageStop", {"stopReason": "end_turn"})))
    data[place] ^= 1
    with pytest.raises(ChecksumMismatch):
        read(bytes(data) + bytes(256))


def test_padding_hides_the_length_of_what_is_said():
    events = [StreamEvent("contentBlockDelta", {"delta": {"text": "x"}})] * 40
    documents = [json.loads(payload) for _, payload in read(b"".join(EventStream().frames(events)))]
    assert all(document["delta"] == {"text": "x"} for document in documents)
    assert all(PADDING.startswith(document["p"]) for document in documents)
    assert len({len(document["p"]) for document in documents}) > 20


def test_an_empty_document_and_bytes_as_they_are():
    first, second = EventStream().frames([StreamEvent("somethingNew", {}), Raw(b"as it is")])
    assert read(first)[0][1] == b'{"p":""}'
    assert second == b"as it is"
