from __future__ import annotations

import json
from typing import Any

from apex_llm_azure.splicing import Splicer
from apex_llm_azure.streaming import ChatStreamDecoder
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.models import ChatGenerationChunk

SAFE = {"hate": {"filtered": False, "severity": "safe"}}


def event(text: str, *, ascii_only: bool = True, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, "logprobs": None, **more}
    document = {"id": "chatcmpl-1", "model": "gpt-4o", "choices": [choice], "usage": None}
    return json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


class NeverSplices(Splicer):
    def run(self, events: Any, position: int, chunks: Any) -> int:
        return position


def decoded(reads: list[list[bytes]], splicer: Splicer) -> tuple[list[tuple[str, int]], str | None, Any]:
    decoder = ChatStreamDecoder(AssertionError)  # type: ignore[arg-type,return-value]
    decoder._splicer = splicer
    chunks: list[ChatGenerationChunk] = []
    for read in reads:
        chunks += decoder.feed(b"".join(b"data: %b\n\n" % each for each in read))
    failure = None if decoder.failure is None else type(decoder.failure).__name__
    return [(chunk.text, chunk.index) for chunk in chunks], failure, decoder._annotations


TEXTS = st.text() | st.sampled_from(
    ['"', "\\", '\\"', '"}', '","role":"x', '"content": "', "\n", "é", "\ud83d", "\u2028", "\x7f"]
)
EVENTS = st.one_of(
    st.builds(event, TEXTS, ascii_only=st.just(True)),
    st.builds(event, TEXTS.filter(lambda text: text.isprintable()), ascii_only=st.just(False)),
    st.builds(event, TEXTS, index=st.integers(0, 2)),
    st.builds(event, TEXTS, content_filter_results=st.sampled_from([SAFE, {}, {"hate": {"filtered": True}}])),
    st.builds(event, TEXTS, finish_reason=st.sampled_from(["stop", "", "length"])),
    st.builds(event, TEXTS, delta=st.sampled_from([{"role": "assistant", "content": ""}, {"content": None}, {}])),
    st.sampled_from(
        [b"{}", b"nonsense", b'{"choices":[{"delta":{"content":"a', event("x") + b"}", event("x").replace(b'"x"', b"7")]
    ),
)


#: Mostly like ones, as services send them.
RUNS = st.lists(
    st.builds(event, TEXTS.filter(lambda text: text.isprintable()), ascii_only=st.just(False)) | EVENTS,
    min_size=1,
    max_size=12,
)


@given(st.lists(RUNS, max_size=6))
def test_splicing_changes_nothing(reads: list[list[bytes]]) -> None:
    assert decoded(reads, Splicer()) == decoded(reads, NeverSplices())


@given(st.binary(max_size=12))
def test_bytes_in_the_place_of_a_text_are_taken_as_a_parser_takes_them(middle: bytes) -> None:
    start, end = event("@").split(b"@")
    middle = middle.replace(b"\n", b"").replace(b"\r", b"")
    reads = [[event("first"), event("second")], [start + middle + end]]
    assert decoded(reads, Splicer()) == decoded(reads, NeverSplices())


def test_like_events_are_spliced() -> None:
    splicer = Splicer()
    first, second = event("one"), event('a "quoted" \\ é')
    splicer.learn(first, json.loads(first))
    chunks: list[ChatGenerationChunk] = []
    assert splicer.run([first, second, event("", finish_reason="stop")], 0, chunks) == 2
    assert [chunk.text for chunk in chunks] == ["one", 'a "quoted" \\ é']


def test_many_are_read_together_and_those_that_do_not_fit_are_left() -> None:
    splicer = Splicer()
    first = event("one")
    splicer.learn(first, json.loads(first))
    odd = event("odd", finish_reason="stop")
    events = [first, event("b"), event("c"), event('"'), odd, first, first, first, event("", index=0), first, odd]
    chunks: list[ChatGenerationChunk] = []
    assert splicer.run(events, 0, chunks) == 4
    assert splicer.run(events, 4, chunks) == 4
    assert splicer.run(events, 5, chunks) == 8
    assert splicer.run(events, 9, chunks) == 10
    assert [chunk.text for chunk in chunks] == ["one", "b", "c", '"', "one", "one", "one", "one"]
    assert splicer.run([], 0, chunks) == 0


def test_padding_of_random_length_ends_the_hope() -> None:
    splicer = Splicer()
    for size in range(8):
        padded = event("x", padding="p" * (size + 1))
        splicer.run([padded], 0, [])
        splicer.learn(padded, json.loads(padded))
    assert not splicer.hopeful
