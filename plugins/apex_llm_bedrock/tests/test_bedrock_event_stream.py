"""Frames of AWS's event stream: any cut, any damage, and the same messages as botocore's own buffer."""

from __future__ import annotations

import struct
from itertools import pairwise
from zlib import crc32

import pytest
from apex_llm_bedrock.event_stream import LARGEST_MESSAGE, EventStreamDecoder, Message, read_headers
from botocore.eventstream import EventStreamBuffer
from hypothesis import example, given
from hypothesis import strategies as st

#: Encodings of header values by type: the byte that names it, and the value.
VALUES = {
    "true": (0, b""),
    "false": (1, b""),
    "byte": (2, b"\x7f"),
    "short": (3, b"\x01\x02"),
    "int": (4, b"\0\0\0\x05"),
    "long": (5, b"\0" * 8),
    "bytes": (6, b"\0\x03abc"),
    "timestamp": (8, b"\0" * 8),
    "uuid": (9, b"u" * 16),
}


def header(name, kind, value):
    encoded = name.encode()
    return bytes([len(encoded)]) + encoded + bytes([kind]) + value


def text_header(name, value):
    encoded = value.encode()
    return header(name, 7, struct.pack(">H", len(encoded)) + encoded)


def framed(block, payload):
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    body = prelude + struct.pack(">I", crc32(prelude)) + block + payload
    return body + struct.pack(">I", crc32(body))


def frame(payload, **headers):
    names = {"kind": ":message-type", "event": ":event-type", "exception": ":exception-type", "code": ":error-code"}
    block = b"".join(text_header(names.get(name, name), value) for name, value in headers.items())
    return framed(block, payload)


def event(name, payload):
    return frame(payload, kind="event", event=name)


def lying_prelude(total, headers):
    """A prelude whose checksum is right and whose lengths are not."""
    prelude = struct.pack(">II", total, headers)
    return prelude + struct.pack(">I", crc32(prelude))


def decoded(*reads):
    decoder = EventStreamDecoder()
    messages = [message for read in reads for message in decoder.feed(read)]
    decoder.close()
    return messages, decoder.failure


def cut(data, positions):
    edges = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


names = st.sampled_from(["contentBlockDelta", "metadata", "messageStop", "x", "größe"])
events = st.builds(lambda name, payload: (event(name, payload), Message("event", name, payload)), names, st.binary())
exceptions = st.builds(
    lambda name, payload: (
        frame(payload, kind="exception", exception=name),
        Message("exception", name, payload),
    ),
    names,
    st.binary(max_size=80),
)
streams = st.lists(events | exceptions, max_size=8)
cuts = st.lists(st.integers(0, 4000), max_size=30)


class TestMessages:
    @given(streams, cuts)
    @example([(event("a", b"{}"), Message("event", "a", b"{}"))], list(range(40)))
    def test_are_the_same_however_the_bytes_are_cut(self, stream, positions):
        data = b"".join(wire for wire, _ in stream)
        assert decoded(*cut(data, positions)) == ([message for _, message in stream], "")

    def test_come_one_byte_at_a_time(self):
        data = event("a", b'{"x":1}') + event("b", b"")
        messages, failure = decoded(*(data[i : i + 1] for i in range(len(data))))
        assert [message.name for message in messages] == ["a", "b"]
        assert failure == ""

    def test_come_as_soon_as_they_are_whole(self):
        decoder = EventStreamDecoder()
        first, second = event("a", b"{}"), event("b", b"{}")
        assert [message.name for message in decoder.feed(first + second[:-1])] == ["a"]
        assert decoder.feed(b"") == []
        assert [message.name for message in decoder.feed(second[-1:])] == ["b"]

    @given(streams, cuts)
    def test_are_those_of_botocore(self, stream, positions):
        data = b"".join(wire for wire, _ in stream)
        buffer = EventStreamBuffer()
        theirs = []
        for read in cut(data, positions):
            buffer.add_data(read)
            theirs += [(message.headers, message.payload) for message in buffer]
        ours, _ = decoded(data)
        assert [message.payload for message in ours] == [payload for _, payload in theirs]
        for message, (headers, _) in zip(ours, theirs, strict=True):
            assert message.kind == headers[":message-type"]
            assert message.name == headers[f":{message.kind}-type"]

    def test_errors_have_their_code_and_their_text(self):
        data = frame(b"", kind="error", code="InternalError", **{":error-message": "went wrong"})
        assert decoded(data) == ([Message("error", "InternalError", b"", "went wrong")], "")

    def test_without_a_type_are_events(self):
        assert decoded(frame(b"{}", event="a"))[0] == [Message("event", "a", b"{}")]

    def test_without_any_headers_have_no_name(self):
        assert decoded(framed(b"", b"{}"))[0] == [Message("event", "", b"{}")]

    def test_differ_although_they_share_their_headers(self):
        data = event("a", b"1") + event("a", b"2")
        assert [message.payload for message in decoded(data)[0]] == [b"1", b"2"]

    def test_are_right_after_more_header_blocks_than_are_remembered(self):
        data = b"".join(event(f"e{number % 150}", b"%d" % number) for number in range(300))
        messages, failure = decoded(data)
        assert [message.name for message in messages] == [f"e{number % 150}" for number in range(300)]
        assert failure == ""


class TestDamage:
    @given(st.lists(events, min_size=1, max_size=3), st.data())
    def test_of_one_byte_is_always_noticed_and_spares_what_came_before(self, stream, data):
        wire = bytearray(b"".join(each for each, _ in stream))
        place = data.draw(st.integers(0, len(wire) - 1))
        wire[place] ^= data.draw(st.integers(1, 255))
        messages, failure = decoded(*cut(bytes(wire), data.draw(cuts)))
        assert "checksum" in failure
        whole, end = 0, 0
        for each, _ in stream:
            end += len(each)
            whole += end <= place
        assert messages == [message for _, message in stream[:whole]]

    @given(st.lists(events, min_size=1, max_size=3), st.data())
    def test_by_a_cut_end_is_noticed_unless_it_is_between_messages(self, stream, data):
        wire = b"".join(each for each, _ in stream)
        kept = data.draw(st.integers(0, len(wire)))
        ends = [0]
        for each, _ in stream:
            ends.append(ends[-1] + len(each))
        messages, failure = decoded(*cut(wire[:kept], data.draw(cuts)))
        assert len(messages) == sum(0 < end <= kept for end in ends)
        assert bool(failure) == (kept not in ends)

    def test_by_a_cut_end_tells_how_much_is_there(self):
        data = event("a", b"x" * 100)
        failure = decoded(data[:50])[1]
        assert failure == f"it ended inside a message, 50 bytes of {len(data)} or more"

    @pytest.mark.parametrize(
        ("total", "headers"),
        [(0, 0), (15, 0), (16, 1), (100, 85), (LARGEST_MESSAGE + 1, 0), (2**32 - 1, 0), (1 << 20, (128 << 10) + 1)],
    )
    def test_by_impossible_lengths_is_noticed_before_anything_is_waited_for(self, total, headers):
        decoder = EventStreamDecoder()
        assert decoder.feed(lying_prelude(total, headers)) == []
        assert decoder.failure == f"a message has impossible lengths ({total} bytes, {headers} of headers)"

    def test_is_final(self):
        decoder = EventStreamDecoder()
        decoder.feed(b"\0" * 12)
        first = decoder.failure
        assert first
        assert decoder.feed(event("a", b"{}")) == []
        decoder.close()
        assert decoder.failure == first

    @pytest.mark.parametrize(
        "text", [b'{"message": "Internal Server Error"}', b"<html><body>Bad gateway</body></html>", b"data: {}\n\n"]
    )
    def test_of_a_body_that_is_no_event_stream_is_noticed(self, text):
        assert decoded(text)[1]

    def test_of_headers_spares_the_messages_before(self):
        broken = framed(b"\x05ab", b"{}")
        messages, failure = decoded(event("a", b"{}") + broken + event("b", b"{}"))
        assert [message.name for message in messages] == ["a"]
        assert failure == "the headers of a message cannot be read"


class TestHeaders:
    @pytest.mark.parametrize("kind", VALUES)
    def test_of_every_type_are_passed_over(self, kind):
        block = header("other", *VALUES[kind]) + text_header(":event-type", "a")
        assert read_headers(block) == {":event-type": "a"}
        assert decoded(framed(block, b"{}"))[0] == [Message("event", "a", b"{}")]

    def test_of_every_type_stand_in_one_message(self):
        block = b"".join(header(name, *value) for name, value in VALUES.items()) + text_header("t", "x" * 300)
        assert read_headers(block) == {"t": "x" * 300}

    @pytest.mark.parametrize(
        "block",
        [
            b"\x01",
            b"\x01a",
            header("a", 10, b""),
            header("a", 7, b""),
            header("a", 7, b"\0"),
            header("a", 7, b"\0\x05abc"),
            header("a", 6, b"\xff\xff"),
            header("a", 4, b"\0"),
            header("a", 7, b"\0\x01\xff"),
        ],
    )
    def test_that_are_cut_or_unknown_are_refused(self, block):
        with pytest.raises(ValueError, match="cannot be read"):
            read_headers(block)

    @given(st.binary(max_size=60))
    def test_of_any_bytes_are_read_or_refused(self, block):
        try:
            found = read_headers(block)
        except ValueError:
            return
        assert all(isinstance(value, str) for value in found.values())

    @given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=50), max_size=8))
    def test_are_read_as_they_were_written(self, headers):
        assert read_headers(b"".join(text_header(name, value) for name, value in headers.items())) == headers


class CountedBytes(bytearray):
    """A buffer that counts how often it is made into bytes: each time copies all of it."""

    copied = 0

    def __bytes__(self):
        CountedBytes.copied += len(self)
        return bytes(memoryview(self))


class TestHugeMessage:
    SIZE = 5 << 20
    PIECE = 8 << 10

    def test_in_small_reads_is_copied_once_and_not_once_a_read(self):
        data = event("a", b"x" * self.SIZE)
        decoder = EventStreamDecoder()
        decoder._buffer = CountedBytes()
        CountedBytes.copied = 0
        messages = []
        for start in range(0, len(data), self.PIECE):
            messages += decoder.feed(data[start : start + self.PIECE])
        assert [len(message.payload) for message in messages] == [self.SIZE]
        # The message itself, and the few bytes of a read in which a prelude was cut.
        assert len(data) <= CountedBytes.copied <= len(data) + self.PIECE

    def test_is_looked_at_only_when_it_is_whole(self, monkeypatch):
        data = event("a", b"x" * self.SIZE)
        decoder = EventStreamDecoder()
        looked = []
        read = decoder._read
        monkeypatch.setattr(decoder, "_read", lambda seen, messages: looked.append(len(seen)) or read(seen, messages))
        for start in range(0, len(data), self.PIECE):
            decoder.feed(data[start : start + self.PIECE])
        assert looked == [self.PIECE, len(data)]

    def test_of_the_largest_size_passes(self):
        data = framed(text_header(":event-type", "a"), b"x" * (24 << 20))
        messages, failure = decoded(data)
        assert (len(messages[0].payload), failure) == (24 << 20, "")
