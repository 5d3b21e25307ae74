from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apex_llm_core.transport import SseDecoder, SseError, SseEvent

BOM = b"\xef\xbb\xbf"


def decode(*packets: bytes) -> list[SseEvent]:
    decoder = SseDecoder()
    events = [event for packet in packets for event in decoder.feed(packet)]
    return events + decoder.close()


def reference(stream: bytes) -> list[SseEvent]:
    """The algorithm of the standard, line by line, in the plainest way; an unfinished event counts."""
    text = stream.removeprefix(BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events, data, name = [], [], ""
    for line in [*text.split(b"\n"), b""]:
        if not line:
            if data:
                events.append(SseEvent(b"\n".join(data), name))
            data, name = [], ""
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value.decode(errors="replace")
    return events


def packets_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(stream) + 1) for cut in cuts})
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


#: Bytes that matter to the format, more often than chance has them.
STREAMS = st.lists(
    st.sampled_from(
        [
            b"data: ",
            b"data:",
            b"data",
            b"event: x",
            b"id: 1",
            b": ping",
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"{}",
            b" ",
            BOM,
        ]
    )
    | st.binary(max_size=6),
    max_size=30,
).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 400), max_size=12))
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8])
@example(BOM + b"data: a\n\n", [1, 2])
@example(b"data: a\n\n\ndata: b\n", [9])
@example(b"\rdata: a\r", [])
def test_any_split_gives_the_events_of_the_standard(stream, cuts):
    assert decode(*packets_of(stream, cuts)) == reference(stream)


@given(STREAMS, st.lists(st.integers(0, 400), max_size=12))
@example(b"data: a\n\ndata: b\n\n", [])
def test_data_alone_is_that_of_the_events(stream, cuts):
    decoder = SseDecoder()
    found = [data for packet in packets_of(stream, cuts) for data in decoder.feed_data(packet)]
    assert [*found, *(event.data for event in decoder.close())] == [event.data for event in reference(stream)]


@given(STREAMS)
def test_every_byte_its_own_packet(stream):
    assert decode(*(stream[i : i + 1] for i in range(len(stream)))) == reference(stream)


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data: one\n\ndata: two\n\n", [b"one", b"two"]),
        (b"data: one\r\n\r\n", [b"one"]),
        (b"data: one\r\r", [b"one"]),
        (b"data:one\n\n", [b"one"]),
        (b"data:  two spaces\n\n", [b" two spaces"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b": keep-alive\n\ndata: a\n\n", [b"a"]),
        (b"id: 7\nretry: 10\ndata: a\n\n", [b"a"]),
        (b"data: last words", [b"last words"]),
        (b"data\n\n", [b""]),
        (b"\n\n\n", []),
        (BOM + b"data: a\n\n", [b"a"]),
        ("data: \u2028 is no line end\n\n".encode(), ["\u2028 is no line end".encode()]),
        (b"data: \xff\n\n", [b"\xff"]),
    ],
)
def test_forms(stream, data):
    assert [event.data for event in decode(stream)] == data


def test_names_come_with_their_events():
    assert decode(b"event: ping\ndata: 1\n\ndata: 2\n\n") == [SseEvent(b"1", "ping"), SseEvent(b"2")]


def test_events_come_with_the_packet_that_completes_them():
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\ndata: b") == [SseEvent(b"a")]
    assert decoder.feed(b"\r\n\r\n") == [SseEvent(b"b")]
    assert decoder.close() == []


def test_crlf_split_over_packets_does_not_wait_for_the_line_feed():
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [SseEvent(b"a")]
    assert decoder.feed(b"\ndata: b\r\n\r\n") == [SseEvent(b"b")]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_an_event_without_end_is_refused(size):
    decoder = SseDecoder(max_event_bytes=10_000)
    packets = [b"x" * size] * (20_000 // size + 1)
    with pytest.raises(SseError, match="at most 10000"):
        list(map(decoder.feed, packets))
    assert decoder.close() == []


def test_an_oversized_event_is_refused_also_when_one_packet_brings_it():
    with pytest.raises(SseError):
        SseDecoder(max_event_bytes=100).feed(b"data: " + b"x" * 200 + b"\n\n")


def test_many_packets_of_one_large_event_are_linear_work():
    # Counted, not timed: each byte may be looked at a constant number of times.
    looked_at = 0

    class Counting(bytearray):
        def rfind(self, *arguments):
            nonlocal looked_at
            looked_at += len(self) - (arguments[1] if len(arguments) > 1 else 0)
            return super().rfind(*arguments)

    decoder = SseDecoder()
    decoder._pending = Counting()
    packet = b"x" * 8192
    decoder.feed(b"data: ")
    for _ in range(640):
        decoder.feed(packet)
    (event,) = decoder.feed(b"\n\n")
    assert len(event.data) == 640 * 8192
    assert looked_at < 3 * 640 * 8192
