"""Streams: the shape Azure gives them, and every fault that concerns them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from apex_llm_mock.emulation import FAULTS
from apex_llm_mock.emulation.fault_forms import StreamFault, UnstreamedFault
from apex_llm_mock.emulation.sse import (
    Framing,
    byte_by_byte,
    in_groups,
    inside_characters,
    inside_line_ends,
)
from hypothesis import given
from hypothesis import strategies as st

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}
PROMPT = "Grüße aus München, schön hier"
USAGE = {"stream_options": {"include_usage": True}}


def stream(emulated, prompt=PROMPT, *, fault=None, after_chunks=None, settings=None, **fields):
    """Return the whole stream; a fault strikes it by the queue."""

    async def main(caller):
        if fault is not None:
            caller.emulator.faults.add(fault, after_chunks=after_chunks)
        answer = await caller.v1(prompt, stream=True, **fields)
        assert caller.emulator.journal[-1].fault == fault
        assert len(caller.emulator.faults) == 0
        return answer

    return emulated(main, **{"chunk_size": 5, **(settings or {})})


async def read_into(got, content):
    while data := await content.readany():
        got += data


def deltas(events, index=0):
    choices = [event["choices"][0] for event in events if isinstance(event, dict) and event["choices"]]
    return [choice["delta"] for choice in choices if choice["index"] == index]


class TestShape:
    def test_of_the_whole(self, emulated):
        answer = stream(emulated, **USAGE)
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["apim-request-id"]
        assert answer.headers["x-ratelimit-remaining-requests"]
        first, role, *content, finish, usage, done = answer.events
        assert first["choices"] == []
        assert (first["id"], first["model"], first["object"], first["created"]) == ("", "", "", 0)
        assert first["prompt_filter_results"][0]["content_filter_results"]["jailbreak"]["detected"] is False
        assert role["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
        assert [event["choices"][0]["delta"]["content"] for event in content] == [
            "Grüße",
            " aus ",
            "Münch",
            "en, s",
            "chön ",
            "hier",
        ]
        assert all("hate" in event["choices"][0]["content_filter_results"] for event in content)
        assert finish["choices"][0]["finish_reason"] == "stop"
        assert finish["choices"][0]["delta"] == {}
        assert usage["choices"] == []
        assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + 8
        assert all(event["usage"] is None for event in (first, role, *content, finish))
        assert {event["id"] for event in (role, *content, finish, usage)} == {role["id"]}
        assert done == "[DONE]"

    def test_usage_comes_only_when_asked_for(self, emulated):
        assert not any("usage" in event for event in stream(emulated).events)

    def test_tool_calls_come_in_pieces(self, emulated):
        answer = stream(emulated, "look_up", tools=[TOOL])
        role, begin, *arguments, finish = deltas(answer.events)
        assert role == {"role": "assistant", "content": None, "refusal": None}
        [call] = begin["tool_calls"]
        assert call["index"] == 0
        assert call["id"].startswith("call_")
        assert call["function"]["name"] == "look_up"
        pieces = [delta["tool_calls"][0] for delta in arguments]
        assert all(piece.keys() == {"index", "function"} for piece in pieces)
        assert json.loads("".join(piece["function"]["arguments"] for piece in pieces)) == {"word": "look_up"}
        assert finish == {}
        assert answer.events[-2]["choices"][0]["finish_reason"] == "tool_calls"

    def test_the_older_spelling_too(self, emulated):
        answer = stream(emulated, "look_up", functions=[TOOL["function"]])
        calls = [delta["function_call"] for delta in deltas(answer.events) if "function_call" in delta]
        assert calls[0]["name"] == "look_up"
        assert json.loads("".join(call["arguments"] for call in calls)) == {"word": "look_up"}
        assert answer.events[-2]["choices"][0]["finish_reason"] == "function_call"

    def test_choices_take_turns(self, emulated):
        events = stream(emulated, "one two three", n=2).events
        order = [event["choices"][0]["index"] for event in events if isinstance(event, dict) and event["choices"]]
        assert order == [0, 1, 0, 1, 0, 1, 0, 1, 1, 0, 1]
        texts = ["".join(delta.get("content") or "" for delta in deltas(events, index)) for index in (0, 1)]
        assert texts == ["one two three", "one two three (2)"]

    def test_log_probabilities_are_those_of_the_chunk(self, emulated):
        events = stream(emulated, "hello world", logprobs=True).events
        chunks = [event["choices"][0] for event in events if isinstance(event, dict) and event["choices"]]
        for choice in chunks:
            tokens = choice["logprobs"]["content"] if choice["logprobs"] else []
            assert "".join(token["token"] for token in tokens) == (choice["delta"].get("content") or "")

    def test_an_error_before_the_stream_is_no_stream(self, emulated):
        answer = stream(emulated, temperature=9)
        assert (answer.status, answer.error["code"]) == (400, "decimal_above_max_value")

    def test_chunks_can_share_a_read(self, emulated):
        async def main(caller):
            answer = await caller.v1(PROMPT, stream=True)
            return answer.text, caller.emulator.traffic.counts.reads_sent

        assert emulated(main, chunk_size=1, chunks_per_read=10) == (PROMPT, 4)


class TestEventFaults:
    def test_an_error_event_ends_it(self, emulated):
        answer = stream(emulated, fault="stream_error", after_chunks=2)
        assert answer.status == 200
        assert answer.text == "Grüße aus "
        assert answer.events[-1]["error"]["type"] == "server_error"

    def test_an_error_event_of_the_filter(self, emulated):
        error = stream(emulated, fault="stream_error_content_filter").events[-1]["error"]
        assert error["code"] == "content_filter"
        assert error["innererror"]["content_filter_result"]["violence"]["filtered"] is True

    def test_an_error_event_of_the_limiter(self, emulated):
        *_, error, done = stream(emulated, fault="stream_error_rate_limit", after_chunks=0).events
        assert (error["error"]["code"], done) == ("429", "[DONE]")

    def test_a_late_verdict_comes_after_stop(self, emulated):
        answer = stream(emulated, fault="late_filter", **USAGE)
        *_, stop, verdict, usage, done = answer.events
        assert stop["choices"][0]["finish_reason"] == "stop"
        [choice] = verdict["choices"]
        assert choice["finish_reason"] == "content_filter"
        assert choice["content_filter_results"] == {"protected_material_text": {"detected": True, "filtered": True}}
        assert "delta" not in choice
        assert (verdict["id"], verdict["model"], verdict["object"]) == ("", "", "")
        assert usage["usage"]
        assert done == "[DONE]"
        assert answer.text == PROMPT

    def test_annotations_come_before_and_after_stop(self, emulated):
        events = stream(emulated, fault="annotations").events
        bare = [
            n for n, e in enumerate(events) if isinstance(e, dict) and e["choices"] and "delta" not in e["choices"][0]
        ]
        [stop] = [
            n for n, e in enumerate(events) if isinstance(e, dict) and e["choices"] and e["choices"][0]["finish_reason"]
        ]
        assert len(bare) == 2
        assert bare[0] < stop < bare[1] == stop + 1
        assert events[bare[0]]["choices"][0]["content_filter_offsets"]["check_offset"] == 44
        assert all(events[place]["choices"][0]["finish_reason"] is None for place in bare)

    def test_the_older_spelling_of_annotations(self, emulated):
        first, *others = stream(emulated, fault="prompt_annotations").events
        assert "prompt_filter_results" not in first
        assert first["prompt_annotations"][0]["prompt_index"] == 0
        assert len(others) == 9

    def test_a_filtered_answer_stops_short(self, emulated):
        answer = stream(emulated, fault="completion_filtered", after_chunks=2, **USAGE)
        assert answer.text == "Grüße aus "
        *_, finish, usage, done = answer.events
        assert finish["choices"][0]["finish_reason"] == "content_filter"
        assert finish["choices"][0]["content_filter_results"]["violence"]["filtered"] is True
        assert (bool(usage["usage"]), done) == (True, "[DONE]")

    def test_a_filter_that_did_not_run_is_no_failure(self, emulated):
        answer = stream(emulated, fault="filter_not_run")
        assert answer.text == PROMPT
        verdicts = [event["choices"][0]["content_filter_results"] for event in answer.events[2:-2]]
        assert {verdict["error"]["code"] for verdict in verdicts} == {"content_filter_error"}

    def test_usage_can_be_missing(self, emulated):
        events = stream(emulated, fault="missing_usage", **USAGE).events
        assert not any(event.get("usage") for event in events[:-1])
        assert events[-1] == "[DONE]"

    @pytest.mark.parametrize(
        ("fault", "data"),
        [("broken_json", b'data: {"choices":[{"index":0,"delta":{"conte\n\n'), ("not_an_object", b"data: 42\n\n")],
    )
    def test_bad_events_stand_between_good_ones(self, emulated, fault, data):
        body = stream(emulated, fault=fault).body
        before, after = body.split(data)
        assert "Grüße".encode() in before
        assert b"hier" in after
        assert after.endswith(b"data: [DONE]\n\n")

    def test_invalid_utf8(self, emulated):
        body = stream(emulated, fault="invalid_utf8").body
        assert body.count(b"\xff\xfe") == 1
        assert json.loads(body.replace(b"\xff\xfe", b"?").split(b"\n\n")[3].removeprefix(b"data: "))["choices"]

    def test_a_line_of_20_megabytes(self, emulated):
        body = stream(emulated, fault="huge_event").body
        assert len(body.rpartition(b"\n")[2]) > 20_000_000


class TestEnds:
    @pytest.mark.parametrize(
        ("fault", "text", "finish", "done"),
        [
            ("no_done", PROMPT, True, False),
            ("no_finish", PROMPT, False, False),
            ("done_without_finish", PROMPT, False, True),
            ("truncated", "Grüße", False, False),
            ("only_done", "", False, True),
        ],
    )
    def test_what_is_missing(self, emulated, fault, text, finish, done):
        answer = stream(emulated, fault=fault)
        assert answer.text == text
        assert (b'"finish_reason":"stop"' in answer.body, answer.body.endswith(b"[DONE]\n\n")) == (finish, done)

    def test_nothing_at_all(self, emulated):
        answer = stream(emulated, fault="empty_stream")
        assert (answer.status, answer.body) == (200, b"")

    def test_no_newline_after_the_last_event(self, emulated):
        assert stream(emulated, fault="no_final_newline").body.endswith(b"\n\ndata: [DONE]")

    def test_no_newline_after_the_last_document(self, emulated):
        last = stream(emulated, fault="unfinished_last_event").body.rpartition(b"\n\ndata: ")[2]
        assert json.loads(last)["choices"][0]["finish_reason"] == "stop"

    def test_a_reset(self, emulated):
        async def main(caller):
            caller.emulator.faults.add("reset", after_chunks=3)
            async with caller.stream(PROMPT) as response:
                got = bytearray()
                with pytest.raises(aiohttp.ClientError):
                    await read_into(got, response.content)
            await caller.emulator.traffic.until(lambda counts: counts.open_streams == 0)
            assert caller.emulator.traffic.counts.disconnects == 0
            return got.decode()

        assert "Münch" in emulated(main, chunk_size=5)

    def test_silence_until_the_client_leaves(self, emulated):
        async def main(caller):
            async with caller.stream(PROMPT, model="fault-stall") as response:
                while b"Gr" not in await response.content.readany():
                    pass
                assert caller.emulator.traffic.counts.open_streams == 1
                response.close()
            await caller.emulator.traffic.until(lambda counts: counts.open_streams == 0)
            assert caller.emulator.traffic.counts.disconnects == 1

        emulated(main)


class TestBytes:
    @pytest.mark.parametrize(
        ("fault", "change"),
        [
            ("crlf", lambda body: body.replace(b"\n", b"\r\n")),
            ("cr", lambda body: body.replace(b"\n", b"\r")),
            ("crlf_split", lambda body: body.replace(b"\n", b"\r\n")),
            ("byte_packets", lambda body: body),
            ("utf8_split", lambda body: body),
            ("one_packet", lambda body: body),
            ("many_events", lambda body: body),
            ("slow_stream", lambda body: body),
            ("bom", lambda body: b"\xef\xbb\xbf" + body),
            ("no_space", lambda body: body.replace(b"data: ", b"data:")),
            ("comments", lambda body: body.replace(b"data: ", b": keep-alive\n\ndata: ")),
            ("other_fields", lambda body: body.replace(b"data: ", b"event: message\nid: 1\nretry: 1000\ndata: ")),
            ("mislabelled_stream", lambda body: body),
        ],
    )
    def test_the_same_events_in_other_bytes(self, emulated, fault, change):
        settings = {"slow_pause": 0.001, "wall": lambda: 0.0}
        usual = stream(emulated, settings=settings)
        unusual = stream(emulated, fault=fault, settings=settings)
        assert unusual.body == change(usual.body)
        mislabelled = fault == "mislabelled_stream"
        assert unusual.headers["Content-Type"].startswith("application/json" if mislabelled else "text/event-stream")

    def test_documents_over_several_lines(self, emulated):
        frames = stream(emulated, fault="multi_line").body.decode().split("\n\n")
        lines = frames[2].split("\n")
        assert len(lines) > 10
        assert (
            json.loads("\n".join(line.removeprefix("data: ") for line in lines))["choices"][0]["delta"]["content"]
            == "Grüße"
        )

    @pytest.mark.parametrize(("fault", "least"), [("byte_packets", 1000), ("crlf_split", 20), ("utf8_split", 7)])
    def test_they_come_in_many_reads(self, emulated, fault, least):
        async def main(caller):
            caller.emulator.faults.add(fault)
            await caller.v1(PROMPT, stream=True)
            return caller.emulator.traffic.counts.reads_sent

        assert emulated(main, chunk_size=100) >= least

    @given(st.lists(st.binary(), max_size=20))
    def test_cutting_loses_nothing(self, frames):
        for cut in (byte_by_byte, inside_characters, inside_line_ends, in_groups(3)):
            assert b"".join(cut(frames)) == b"".join(frames)

    @given(st.text())
    def test_characters_are_cut_wherever_they_can_be(self, text):
        reads = list(inside_characters([text.encode()]))
        assert all(all(byte & 0xC0 != 0x80 for byte in read[1:]) for read in reads)

    @given(st.lists(st.dictionaries(st.text(), st.text() | st.integers()), min_size=1), st.booleans())
    def test_framing_by_the_specification_of_the_web(self, documents, multi_line):
        for line_end in (b"\n", b"\r\n", b"\r"):
            framing = Framing(line_end=line_end, multi_line=multi_line, comment=b" x", before=b"id: 1\n")
            text = b"".join(framing.frames(documents)).decode("utf-8", "surrogatepass")
            lines = text.split(line_end.decode())
            events = [[]]
            for line in lines:
                if line.startswith("data: "):
                    events[-1].append(line.removeprefix("data: "))
                elif not line and events[-1]:
                    events.append([])
            assert [json.loads("\n".join(event)) for event in events if event] == documents


class TestNoStream:
    def test_a_document_instead(self, emulated):
        answer = stream(emulated, fault="json_stream")
        assert answer.headers["Content-Type"].startswith("application/json")
        assert answer.json["choices"][0]["message"]["content"] == PROMPT

    def test_a_page_instead(self, emulated):
        answer = stream(emulated, fault="html_stream")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html")
        assert b"<title>Sign in" in answer.body


def test_faults_of_streams_leave_other_answers_alone_and_wait(emulated):
    async def main(caller):
        for name, fault in FAULTS.items():
            if isinstance(fault, UnstreamedFault) or (isinstance(fault, StreamFault) and fault.document is None):
                caller.emulator.faults.add(name)
                assert (await caller.v1("hello")).text == "hello"
                assert (await caller.v1("hello", model=f"fault-{name}")).text == "hello"
                assert len(caller.emulator.faults) == 1
                caller.emulator.faults.clear()

    emulated(main)


def test_every_stream_fault_is_tested_here():
    text = Path(__file__).read_text("utf-8")
    names = [name for name, fault in FAULTS.items() if isinstance(fault, (StreamFault, UnstreamedFault))]
    assert [name for name in names if f'"{name}"' not in text and f"fault-{name}" not in text] == []


def test_256_streams_at_once_lose_nothing(emulated):
    async def main(caller):
        prompts = [f"stream {number} " * 20 for number in range(256)]
        answers = await asyncio.gather(*(caller.v1(prompt, stream=True) for prompt in prompts))
        assert [answer.text for answer in answers] == prompts
        assert caller.emulator.traffic.counts.streams == 256
        assert caller.emulator.traffic.counts.open_streams == 0

    emulated(main)
