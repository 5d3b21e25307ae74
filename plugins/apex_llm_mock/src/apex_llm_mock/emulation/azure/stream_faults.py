"""Streams that are unusual or broken, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from apex_llm_mock.emulation.azure.fault_bodies import HUGE
from apex_llm_mock.emulation.azure.filters import NOT_RUN, filtered, severities
from apex_llm_mock.emulation.azure.refusals import content_filter_error, inner_error
from apex_llm_mock.emulation.fault_forms import Fault, Rewrite, StreamFault
from apex_llm_mock.emulation.sse import (
    DONE,
    Event,
    Framing,
    Raw,
    all_at_once,
    byte_by_byte,
    in_groups,
    inside_characters,
    inside_line_ends,
)

_SERVER_ERROR = {"error": {"message": "The server had an error while processing your request.", "type": "server_error"}}
_LIMITED = {"error": {"code": "429", "message": "Rate limit is exceeded. Try again in 3 seconds."}}


def has_content(event: Event) -> bool:
    """Return whether *event* carries text or a piece of a tool call."""
    if not isinstance(event, dict):
        return False
    return any(
        delta.get("content") or delta.get("tool_calls") or delta.get("function_call")
        for delta in (choice.get("delta", {}) for choice in event.get("choices", ()))
    )


def _finish(event: Event) -> str | None:
    choices = event.get("choices") if isinstance(event, dict) else None
    return choices[0]["finish_reason"] if choices else None


def _up_to(events: Iterator[Event], after: int) -> Iterator[Event]:
    """Yield the beginning: *after* events with content, never an end."""
    for event in events:
        if _finish(event) is not None or event == DONE:
            return
        if has_content(event):
            if after == 0:
                return
            after -= 1
        yield event


def _then(*last: Event) -> Rewrite:
    """Return a rewriting that breaks off and ends with the *last* events."""

    def rewrite(events: Iterator[Event], after: int) -> Iterator[Event]:
        yield from _up_to(events, after)
        yield from last

    return rewrite


def _inserted(extra: Event) -> Rewrite:
    """Return a rewriting that puts *extra* after so many events with content, and goes on."""

    def rewrite(events: Iterator[Event], after: int) -> Iterator[Event]:
        waiting = True
        for event in events:
            if waiting and ((has_content(event) and after == 0) or _finish(event) is not None or event == DONE):
                waiting = False
                yield extra
            elif has_content(event):
                after -= 1
            yield event

    return rewrite


def _huge(events: Iterator[Event], after: int) -> Iterator[Event]:
    yield from _up_to(events, after)
    yield Raw(b'data: {"choices":[{"x":"' + b"x" * HUGE)


def _without(unwanted: Callable[[Event], bool]) -> Rewrite:
    return lambda events, _after: (event for event in events if not unwanted(event))


def _annotation(finish: str | None, verdict: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the chunk of the asynchronous filter: a choice without a delta, in an envelope without names."""
    choice = {
        "content_filter_offsets": {"check_offset": 44, "start_offset": 44, "end_offset": 198},
        "content_filter_results": verdict,
        "finish_reason": finish,
        "index": 0,
        **more,
    }
    return {"choices": [choice], "created": 0, "id": "", "model": "", "object": "", "usage": None}


def _annotated(events: Iterator[Event], after: int) -> Iterator[Event]:
    for event in _inserted(_annotation(None, severities(), content_filter_raw=[]))(events, after):
        yield event
        if _finish(event) is not None:
            yield _annotation(None, severities())


def _late_verdict(events: Iterator[Event], _after: int) -> Iterator[Event]:
    verdict = {"protected_material_text": {"detected": True, "filtered": True}}
    for event in events:
        yield event
        if _finish(event) is not None:
            yield _annotation("content_filter", verdict)


def _prompt_annotations(events: Iterator[Event], _after: int) -> Iterator[Event]:
    for event in events:
        if isinstance(event, dict) and "prompt_filter_results" in event:
            renamed = {key: value for key, value in event.items() if key != "prompt_filter_results"}
            yield {**renamed, "prompt_annotations": event["prompt_filter_results"]}
        else:
            yield event


def _completion_filtered(events: Iterator[Event], after: int) -> Iterator[Event]:
    """Cut the text short: the first choice ends with the finish reason content_filter."""
    for event in events:
        if has_content(event):
            after -= 1
        if isinstance(event, dict) and (_finish(event) is not None or (has_content(event) and after < 0)):
            choice = {**event["choices"][0], "delta": {}, "finish_reason": "content_filter"}
            yield {**event, "choices": [{**choice, "content_filter_results": filtered()}]}
            break
        yield event
    for event in events:
        if event == DONE or (isinstance(event, dict) and not event["choices"]):
            yield event


def _document_filtered(document: dict[str, Any]) -> dict[str, Any]:
    choices = []
    for choice in document["choices"]:
        text = choice["message"].get("content") or ""
        message = {**choice["message"], "content": text[: len(text) // 2]}
        choices.append(
            {
                **choice,
                "message": message,
                "finish_reason": "content_filter",
                "content_filter_results": filtered(),
            }
        )
    return {**document, "choices": choices}


def _filter_not_run(events: Iterator[Event], _after: int) -> Iterator[Event]:
    for event in events:
        if isinstance(event, dict) and has_content(event):
            yield {**event, "choices": [{**choice, "content_filter_results": NOT_RUN} for choice in event["choices"]]}
        else:
            yield event


def _document_not_filtered(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "choices": [{**choice, "content_filter_results": NOT_RUN} for choice in document["choices"]]}


def _is_usage(event: Event) -> bool:
    return isinstance(event, dict) and bool(event.get("usage"))


def _is_end(event: Event) -> bool:
    return _finish(event) is not None or _is_usage(event) or event == DONE


_EVENTS: dict[str, Fault] = {
    "stream_error": StreamFault(doc="an error event under status 200, then the end", rewrite=_then(_SERVER_ERROR)),
    "stream_error_content_filter": StreamFault(
        doc="an error event: the content filter", rewrite=_then(content_filter_error(inner_error()))
    ),
    "stream_error_rate_limit": StreamFault(doc="an error event: a rate limit", rewrite=_then(_LIMITED, DONE)),
    "late_filter": StreamFault(doc="stop, and then the asynchronous filter's verdict", rewrite=_late_verdict),
    "annotations": StreamFault(doc="annotations without a delta, before and after stop", rewrite=_annotated),
    "prompt_annotations": StreamFault(doc="the first chunk spells it prompt_annotations", rewrite=_prompt_annotations),
    "completion_filtered": StreamFault(
        doc="half an answer, then the finish reason content_filter; whole answers, too",
        rewrite=_completion_filtered,
        document=_document_filtered,
    ),
    "filter_not_run": StreamFault(
        doc="an error in the place of the filter's verdict, and yet an answer; whole answers, too",
        rewrite=_filter_not_run,
        document=_document_not_filtered,
    ),
    "missing_usage": StreamFault(doc="no usage although it was asked for", rewrite=_without(_is_usage)),
    "broken_json": StreamFault(
        doc="an event with half a document, between good ones",
        rewrite=_inserted(Raw(b'data: {"choices":[{"index":0,"delta":{"conte\n\n')),
    ),
    "not_an_object": StreamFault(doc="an event that is a number", rewrite=_inserted(Raw(b"data: 42\n\n"))),
    "huge_event": StreamFault(doc="a line of 20 MB that does not end", rewrite=_huge),
    "invalid_utf8": StreamFault(
        doc="an event with bytes that are no UTF-8",
        rewrite=_inserted(
            Raw(
                b'data: {"choices":[{"content_filter_results":{},"delta":{"content":"\xff\xfe"},"finish_reason":null,'
                b'"index":0,"logprobs":null}],"created":1,"id":"","model":"","object":"chat.completion.chunk"}\n\n'
            )
        ),
    ),
}
_ENDS: dict[str, Fault] = {
    "no_done": StreamFault(doc="everything but [DONE]", rewrite=_without(lambda event: event == DONE)),
    "no_finish": StreamFault(doc="all content, but no finish reason and no [DONE]", rewrite=_without(_is_end)),
    "done_without_finish": StreamFault(
        doc="[DONE], but no finish reason", rewrite=_without(lambda event: _finish(event) is not None)
    ),
    "truncated": StreamFault(doc="ends in good order in the midst of the answer", rewrite=_then()),
    "reset": StreamFault(doc="the connection is reset in the midst of the answer", rewrite=_then(), ending="reset"),
    "stall": StreamFault(doc="silence in the midst of the answer", rewrite=_then(), ending="stall"),
    "empty_stream": StreamFault(doc="a stream without any event", rewrite=lambda _events, _after: iter(())),
    "only_done": StreamFault(doc="[DONE] and nothing else", rewrite=lambda _events, _after: iter((DONE,))),
    "no_final_newline": StreamFault(doc="ends right after [DONE]", framing=Framing(unterminated=True)),
    "unfinished_last_event": StreamFault(
        doc="ends right after the last document, without [DONE]",
        rewrite=_without(lambda event: event == DONE),
        framing=Framing(unterminated=True),
    ),
}
_BYTES: dict[str, Fault] = {
    "crlf": StreamFault(doc="lines end with CR LF", framing=Framing(line_end=b"\r\n")),
    "cr": StreamFault(doc="lines end with CR", framing=Framing(line_end=b"\r")),
    "crlf_split": StreamFault(
        doc="CR LF, each byte in a packet of its own", framing=Framing(line_end=b"\r\n"), reads=inside_line_ends
    ),
    "byte_packets": StreamFault(doc="every byte in a packet of its own", reads=byte_by_byte),
    "utf8_split": StreamFault(doc="packets end within characters", reads=inside_characters),
    "one_packet": StreamFault(doc="one packet with the whole stream", reads=all_at_once),
    "many_events": StreamFault(doc="eight events a packet", reads=in_groups(8)),
    "bom": StreamFault(doc="a byte order mark before the first event", framing=Framing(bom=True)),
    "multi_line": StreamFault(doc="documents over several data lines", framing=Framing(multi_line=True)),
    "comments": StreamFault(doc="a comment before each event, as keep-alive", framing=Framing(comment=b" keep-alive")),
    "other_fields": StreamFault(
        doc="event, id and retry beside data", framing=Framing(before=b"event: message\nid: 1\nretry: 1000\n")
    ),
    "no_space": StreamFault(doc="no blank after 'data:'", framing=Framing(space=False)),
    "slow_stream": StreamFault(doc="a pause before each event", slow=True),
    "mislabelled_stream": StreamFault(doc="a good stream under application/json", content_type="application/json"),
}
STREAM_FAULTS = {**_EVENTS, **_ENDS, **_BYTES}

__all__ = ["STREAM_FAULTS", "has_content"]
