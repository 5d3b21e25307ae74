"""Streams that are unusual or broken, by name; the same for events of Converse and chunks of InvokeModel."""

from __future__ import annotations

from typing import Any

from apex_llm_mock.emulation.bedrock.event_frames import StreamError, StreamEvent, StreamException, event_headers, frame
from apex_llm_mock.emulation.bedrock.failures import TOO_MANY_REQUESTS
from apex_llm_mock.emulation.bedrock.stream_rewrites import (
    announced,
    changed,
    cut,
    flipped,
    huge,
    inserted,
    metadata_first,
    stopped,
    then,
    without,
)
from apex_llm_mock.emulation.bedrock.unusual_frames import AllTypes, Begun, Unpadded
from apex_llm_mock.emulation.fault_forms import Fault, StreamFault
from apex_llm_mock.emulation.sse import Raw, all_at_once, byte_by_byte, in_groups

_SORRY = "The system encountered an unexpected error during processing. Try your request again."


def _exception(doc: str, name: str, message: str, **more: Any) -> StreamFault:
    return StreamFault(doc=doc, rewrite=then(StreamException(name, {"message": message, **more})))


_EXCEPTIONS: dict[str, Fault] = {
    "exception_internal_server": _exception("internalServerException", "internalServerException", _SORRY),
    "exception_model_stream": _exception(
        "modelStreamErrorException with what was behind it",
        "modelStreamErrorException",
        "The model could not go on.",
        originalStatusCode=503,
        originalMessage="The worker ended.",
    ),
    "exception_validation": _exception(
        "validationException", "validationException", "The model returned the following errors: Output is invalid."
    ),
    "exception_too_long": _exception(
        "validationException: too long a prompt", "validationException", "Input is too long for requested model."
    ),
    "exception_throttling": _exception("throttlingException", "throttlingException", TOO_MANY_REQUESTS),
    "exception_service_unavailable": _exception(
        "serviceUnavailableException", "serviceUnavailableException", "Bedrock is unable to process your request."
    ),
    "exception_model_timeout": _exception(
        "modelTimeoutException, which the model of ConverseStream does not know",
        "modelTimeoutException",
        "Model has timed out in processing the request. Try your request again.",
    ),
    "exception_unknown": _exception("an exception that nobody knows", "somethingNewException", "Something new."),
    "exception_empty": StreamFault(
        doc="an exception without a message", rewrite=then(StreamException("internalServerException", {}))
    ),
    "error_message": StreamFault(
        doc="a message of the type error, with code and text in headers",
        rewrite=then(StreamError("InternalFailure", "An internal server error occurred.")),
    ),
}
_EVENTS: dict[str, Fault] = {
    "unknown_event": StreamFault(
        doc="an event that nobody knows, between good ones",
        rewrite=inserted(StreamEvent("somethingNew", {"value": 1})),
    ),
    "unknown_member": StreamFault(
        doc="a delta of a kind that nobody knows",
        rewrite=inserted(
            StreamEvent("contentBlockDelta", {"delta": {"hologram": {"depth": 3}}, "contentBlockIndex": 0})
        ),
    ),
    "unknown_message_type": StreamFault(
        doc="a message that is neither event, exception nor error",
        rewrite=inserted(Raw(frame({":message-type": "ping", ":content-type": "application/json"}, b"{}"))),
    ),
    "announced_text": StreamFault(doc="every block has a start, that of text is empty", rewrite=announced),
    "broken_json": StreamFault(
        doc="a sound frame with half a document",
        rewrite=inserted(Raw(frame(event_headers("contentBlockDelta"), b'{"delta":{"te'))),
    ),
    "not_an_object": StreamFault(
        doc="a sound frame with a number", rewrite=inserted(Raw(frame(event_headers("contentBlockDelta"), b"42")))
    ),
    "empty_event": StreamFault(
        doc="a sound frame without a payload", rewrite=inserted(Raw(frame(event_headers("contentBlockDelta"))))
    ),
}
_FRAMES: dict[str, Fault] = {
    "truncated_frame": StreamFault(doc="ends in good order within a frame", rewrite=cut),
    "corrupt_prelude": StreamFault(doc="a CRC of lengths that is wrong", rewrite=changed(flipped(8))),
    "corrupt_length": StreamFault(doc="a length that is wrong", rewrite=changed(flipped(3))),
    "corrupt_payload": StreamFault(doc="a bit of a payload that is wrong", rewrite=changed(flipped(-12))),
    "corrupt_message": StreamFault(doc="a CRC of a message that is wrong", rewrite=changed(flipped(-1))),
    "huge_frame": StreamFault(doc="a frame of 20 MB that does not end", rewrite=huge),
    "header_types": StreamFault(doc="headers of all types", framing=AllTypes()),
    "no_padding": StreamFault(doc="no padding", framing=Unpadded()),
    "initial_response": StreamFault(doc="an initial response before the first event", framing=Begun()),
}
_ENDS: dict[str, Fault] = {
    "no_message_stop": StreamFault(doc="everything but messageStop", rewrite=without("messageStop")),
    "no_metadata": StreamFault(doc="everything but metadata", rewrite=without("metadata")),
    "metadata_first": StreamFault(doc="metadata before messageStop", rewrite=metadata_first),
    "truncated": StreamFault(doc="ends in good order in the midst of the answer", rewrite=then()),
    "reset": StreamFault(doc="the connection is reset in the midst of the answer", rewrite=then(), ending="reset"),
    "stall": StreamFault(doc="silence in the midst of the answer", rewrite=then(), ending="stall"),
    "empty_stream": StreamFault(doc="a stream without any event", rewrite=lambda _messages, _after: iter(())),
}
_BYTES: dict[str, Fault] = {
    "byte_packets": StreamFault(doc="every byte in a packet of its own", reads=byte_by_byte),
    "one_packet": StreamFault(doc="one packet with the whole stream", reads=all_at_once),
    "many_events": StreamFault(doc="eight events a packet", reads=in_groups(8)),
    "slow_stream": StreamFault(doc="a pause before each event", slow=True),
    "mislabelled_stream": StreamFault(doc="a good stream under application/json", content_type="application/json"),
}
_STOPS: dict[str, Fault] = {
    "guardrail_intervened": StreamFault(doc="a guardrail stopped it", **stopped("guardrail_intervened")),
    "content_filtered": StreamFault(
        doc="a filter stopped it, nothing is left", **stopped("content_filtered", empty=True)
    ),
    "context_window_exceeded": StreamFault(doc="the window is full", **stopped("model_context_window_exceeded")),
    "malformed_output": StreamFault(doc="the model wrote nonsense", **stopped("malformed_model_output", empty=True)),
    "malformed_tool_use": StreamFault(doc="the model called a tool in a wrong way", **stopped("malformed_tool_use")),
    "unknown_stop_reason": StreamFault(doc="a stop reason that nobody knows", **stopped("something_new")),
}
STREAM_FAULTS = {**_EXCEPTIONS, **_EVENTS, **_FRAMES, **_ENDS, **_BYTES, **_STOPS}

__all__ = ["STREAM_FAULTS"]
