"""Faults of Bedrock on order: what each sends, and to whom."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from apex_llm_mock import MockSettings, Reply
from apex_llm_mock.emulation import BEDROCK_FAULTS, BedrockEmulator
from apex_llm_mock.emulation.fault_forms import ConnectionFault, InsteadFault, StreamFault, UnstreamedFault, WholeFault
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from yarl import URL

MODEL = "amazon.nova-lite-v1:0"
ASKED = {"messages": [{"role": "user", "content": [{"text": "one two three four five"}]}]}
EVENTS = ["messageStart", *["contentBlockDelta"] * 5, "contentBlockStop", "messageStop", "metadata"]
FRAMES = "application/vnd.amazon.eventstream"


class Caller:
    """A client without comforts; it bears the API key."""

    def __init__(self, emulator, session):
        self.emulator = emulator
        self._session = session

    def request(self, model=MODEL, operation="converse", body=ASKED, **more):
        url = URL(f"{self.emulator.url}/model/{model.replace(':', '%3A')}/{operation}", encoded=True)
        headers = {"Authorization": f"Bearer {self.emulator.api_key}"}
        return self._session.post(url, json=body, headers=headers, allow_redirects=False, **more)

    async def ask(self, *arguments, **more):
        """Return status, headers and body."""
        async with self.request(*arguments, **more) as response:
            return response.status, response.headers, await response.read()


def emulated(main, **settings):
    async def bounded():
        async with (
            asyncio.timeout(30),
            BedrockEmulator(**{"chunk_size": 5, **settings}) as emulator,
            aiohttp.ClientSession() as session,
        ):
            return await main(Caller(emulator, session))

    return asyncio.run(bounded())


def struck(name, operation="converse", *, by_name=False, after_chunks=None, **settings):
    """Return the answer that a fault strikes, by the queue or by the name of the model."""

    async def main(caller):
        if not by_name:
            caller.emulator.faults.add(name, after_chunks=after_chunks)
        answer = await caller.ask(f"fault-{name.replace('_', '-')}" if by_name else MODEL, operation)
        assert caller.emulator.journal[-1].fault == name
        assert len(caller.emulator.faults) == 0
        return answer

    return emulated(main, wall=lambda: 1_700_000_000.0, **settings)


def messages_of(data):
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [
        (m.headers.get(":event-type") or m.headers.get(":exception-type") or m.headers[":message-type"], m.payload)
        for m in buffer
    ]


def names_of(data):
    return [name for name, _ in messages_of(data)]


#: Status, code and a part of the message.
REFUSED = {
    "unrecognized_client": (403, "UnrecognizedClientException", "security token included in the request is invalid"),
    "invalid_client_token": (403, "InvalidClientTokenId", "security token included in the request is invalid"),
    "invalid_signature": (403, "InvalidSignatureException", "does not match the signature you provided"),
    "signature_expired": (403, "InvalidSignatureException", "Signature expired: "),
    "signature_not_yet_current": (403, "InvalidSignatureException", "Signature not yet current: "),
    "expired_token": (403, "ExpiredTokenException", "is expired"),
    "expired_token_code": (400, "ExpiredToken", "is expired"),
    "incomplete_signature": (400, "IncompleteSignatureException", "requires 'Signature' parameter"),
    "missing_authentication": (403, "MissingAuthenticationTokenException", "Missing Authentication Token"),
    "access_denied": (403, "AccessDeniedException", "is not authorized to perform: bedrock:InvokeModel"),
    "access_denied_model": (403, "AccessDeniedException", "don't have access to the model"),
    "access_denied_marketplace": (403, "AccessDeniedException", "aws-marketplace:Subscribe"),
    "use_case_form": (404, "ResourceNotFoundException", "use case details form"),
    "caching_not_allowed": (403, "AccessDeniedException", "did not allow prompt caching"),
    "resource_not_found": (404, "ResourceNotFoundException", "Could not resolve the foundation model"),
    "end_of_life": (404, "ResourceNotFoundException", "end of its life"),
    "invalid_model_identifier": (400, "ValidationException", "model identifier is invalid"),
    "on_demand_unsupported": (400, "ValidationException", "with on-demand throughput isn\u2019t supported"),
    "validation": (400, "ValidationException", "1 validation error detected"),
    "serialization": (400, "SerializationException", ""),
    "conflict": (400, "ConflictException", ""),
    "too_large": (413, "RequestEntityTooLargeException", ""),
    "input_too_long": (400, "ValidationException", "Input is too long for requested model."),
    "prompt_too_long": (400, "ValidationException", "prompt is too long: 210000 tokens > 200000 maximum"),
    "input_tokens_exceeded": (400, "ValidationException", "Input Tokens Exceeded"),
    "too_many_input_tokens": (400, "ValidationException", "Too many input tokens"),
    "max_length": (400, "ValidationException", "expected maxLength: 50000"),
    "content_filtered_request": (400, "ValidationException", "blocked by our content filters"),
    "content_policy": (400, "ValidationException", "content filtering policy"),
    "throttling": (429, "ThrottlingException", "Too many requests"),
    "throttling_tokens": (429, "ThrottlingException", "Too many tokens, please wait"),
    "throttling_day": (429, "ThrottlingException", "Too many tokens per day"),
    "throttling_milliseconds": (429, "ThrottlingException", ""),
    "throttling_seconds": (429, "ThrottlingException", ""),
    "throttling_date": (429, "ThrottlingException", ""),
    "throttling_both": (429, "ThrottlingException", ""),
    "too_many_requests": (429, "TooManyRequestsException", ""),
    "request_limit": (503, "RequestLimitExceeded", ""),
    "slow_down": (503, "SlowDown", ""),
    "throttling_400": (400, "Throttling", "Rate exceeded"),
    "service_quota": (400, "ServiceQuotaExceededException", "quota"),
    "model_not_ready": (429, "ModelNotReadyException", "not ready"),
    "model_timeout": (408, "ModelTimeoutException", "timed out"),
    "model_error": (424, "ModelErrorException", ""),
    "model_stream_error": (424, "ModelStreamErrorException", ""),
    "internal_server": (500, "InternalServerException", "unexpected error"),
    "internal_failure": (500, "InternalFailure", ""),
    "service_unavailable": (503, "ServiceUnavailableException", "unable to process"),
    "request_timeout": (408, "RequestTimeoutException", ""),
}
#: Status, type and a part of the body of those without a code in the header.
BODIES = {
    "bad_api_key": (403, "application/json", b'{"Message":"Authentication failed'),
    "unknown_operation": (200, "application/json", b"com.amazon.coral.service#UnknownOperationException"),
    "throttling_bare": (429, "application/json", b"{}"),
    "bad_gateway": (502, "text/html", b"<title>502 Bad Gateway</title>"),
    "unavailable_page": (503, "text/html", b"<title>503 Service"),
    "gateway_timeout": (504, "text/html", b"<title>504 Gateway"),
    "empty_error": (500, "", b""),
    "unavailable_text": (503, "text/plain", b"upstream connect error"),
    "code_in_body": (429, "application/json", b'{"code":"ThrottlingException",'),
    "code_in_type": (429, "application/json", b'{"__type":"com.amazon.coral.service#ThrottlingException","Message"'),
    "gateway_error": (429, "application/json", b'{"error":{"message":"Rate limited."'),
    "gateway_unauthorized": (401, "application/json", b'"code":"invalid_api_key"'),
    "string_error": (400, "application/json", b'{"error":"The request was refused."}'),
    "array_error": (400, "application/json", b'[{"message":'),
    "truncated_error": (500, "application/json", b'{"message":"The system enc'),
    "huge_error": (500, "text/plain", b"x" * 20 * 2**20),
    "error_with_200": (200, "application/json", b"com.amazon.bedrock#InternalServerException"),
    "html_answer": (200, "text/html", b"<title>Sign in to your network</title>"),
}
#: Those whose code stands in the header in another form.
HEADERS = {
    "code_with_uri": (429, "aws.protocoltests.restjson#ThrottlingException:http://internal.amazon.com/coral/"),
    "null_message": (400, "ValidationException"),
}
#: All the advice about waiting.
WAITS = {
    "throttling_milliseconds": {"x-amz-retry-after": "40"},
    "throttling_seconds": {"retry-after": "2"},
    "throttling_date": {"retry-after": "Tue, 14 Nov 2023 22:13:25 GMT"},
    "throttling_both": {"x-amz-retry-after": "1500", "retry-after": "1"},
}
WHOLE = {
    "empty_answer": lambda body: body == b"",
    "garbage_answer": lambda body: body.startswith(b"\x00\xff"),
    "truncated_json": lambda body: body.startswith(b'{"output"') and not body.endswith(b"}"),
    "wrong_content_type": lambda body: "output" in json.loads(body),
    "null_answer": lambda body: body == b"null",
    "huge_answer": lambda body: len(body) > 20 * 2**20 and "output" in json.loads(body),
    "no_output": lambda body: json.loads(body).keys() == {"stopReason", "usage", "metrics"},
    "no_usage": lambda body: "usage" not in json.loads(body),
    "no_stop_reason": lambda body: "stopReason" not in json.loads(body),
}


def test_every_fault_is_tested():
    told = {name for name, fault in BEDROCK_FAULTS.items() if isinstance(fault, InsteadFault)}
    assert told == REFUSED.keys() | BODIES.keys() | HEADERS.keys()
    changed = {name for name, fault in BEDROCK_FAULTS.items() if isinstance(fault, WholeFault)}
    assert changed == WHOLE.keys() | {"cut_answer"}
    connections = {name for name, fault in BEDROCK_FAULTS.items() if isinstance(fault, ConnectionFault)}
    assert connections == {"drop", "garbage", "hang", "slow_answer", "redirect"}
    streams = {name for name, fault in BEDROCK_FAULTS.items() if isinstance(fault, StreamFault)}
    assert streams == (
        EXCEPTIONS.keys()
        | INSERTED.keys()
        | NAMES.keys()
        | CORRUPT
        | STOPS.keys()
        | ENDS
        | {"error_message", "huge_frame"}
    )
    unstreamed = {name for name, fault in BEDROCK_FAULTS.items() if isinstance(fault, UnstreamedFault)}
    assert unstreamed == {"json_stream", "html_stream", "garbage_stream"}
    assert all(fault.doc for fault in BEDROCK_FAULTS.values())


@pytest.mark.parametrize("name", REFUSED)
def test_errors_with_a_code_in_the_header(name):
    status, code, message = REFUSED[name]
    got, headers, body = struck(name, by_name=True)
    assert (got, headers["x-amzn-errortype"].partition(":")[0]) == (status, code)
    assert message in json.loads(body)["message"]
    assert headers["x-amzn-requestid"]
    given = {header: headers[header] for header in ("x-amz-retry-after", "retry-after") if header in headers}
    assert given == WAITS.get(name, {})


@pytest.mark.parametrize("name", BODIES)
def test_errors_of_other_forms(name):
    status, content_type, part = BODIES[name]
    got, headers, body = struck(name, by_name=True)
    assert (got, headers.get("Content-Type", "").partition(";")[0]) == (status, content_type)
    assert part in body
    assert "x-amzn-errortype" not in headers


@pytest.mark.parametrize("name", HEADERS)
def test_codes_in_other_forms(name):
    status, value = HEADERS[name]
    got, headers, _ = struck(name)
    assert (got, headers["x-amzn-errortype"]) == (status, value)


@pytest.mark.parametrize("name", WHOLE)
def test_answers_gone_bad(name):
    status, headers, body = struck(name)
    assert status == 200
    assert WHOLE[name](body)
    assert headers["Content-Type"] == ("text/html" if name == "wrong_content_type" else "application/json")


def test_an_answer_that_breaks_off():
    with pytest.raises(aiohttp.ClientPayloadError):
        struck("cut_answer")


@pytest.mark.parametrize(("name", "error"), [("drop", OSError), ("garbage", aiohttp.ClientError)])
def test_connections_that_break(name, error):
    with pytest.raises(error):
        struck(name)


def test_silence():
    async def main(caller):
        caller.emulator.faults.add("hang")
        waiting = asyncio.create_task(caller.ask())
        await caller.emulator.traffic.until(lambda counts: counts.open_requests == 1)
        waiting.cancel()
        await caller.emulator.traffic.until(lambda counts: counts.disconnects == 1)

    emulated(main)


def test_a_slow_answer():
    status, _, body = struck("slow_answer", slow_pause=0.001)
    assert (status, json.loads(body)["stopReason"]) == (200, "end_turn")


def test_a_redirect():
    async def main(caller):
        caller.emulator.faults.add("redirect", status=308)
        status, headers, _ = await caller.ask()
        assert status == 308
        assert headers["location"] == f"{caller.emulator.elsewhere}/model/amazon.nova-lite-v1%3A0/converse"

    emulated(main)


#: Faults of the exceptions, with their names.
EXCEPTIONS = {
    "exception_internal_server": "internalServerException",
    "exception_model_stream": "modelStreamErrorException",
    "exception_validation": "validationException",
    "exception_too_long": "validationException",
    "exception_throttling": "throttlingException",
    "exception_service_unavailable": "serviceUnavailableException",
    "exception_model_timeout": "modelTimeoutException",
    "exception_unknown": "somethingNewException",
    "exception_empty": "internalServerException",
}


@pytest.mark.parametrize("name", EXCEPTIONS)
@pytest.mark.parametrize("after", [0, 2])
def test_exceptions(name, after):
    status, headers, body = struck(name, "converse-stream", after_chunks=after)
    assert (status, headers["Content-Type"]) == (200, FRAMES)
    assert names_of(body) == ["messageStart", *["contentBlockDelta"] * after, EXCEPTIONS[name]]
    document = json.loads(messages_of(body)[-1][1])
    assert ("message" in document) == (name != "exception_empty")
    if name == "exception_model_stream":
        assert document["originalStatusCode"] == 503


def test_an_error_that_is_no_exception():
    _, _, body = struck("error_message", "converse-stream", after_chunks=0)
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    last = list(buffer)[-1]
    assert last.headers[":message-type"] == "error"
    assert last.headers[":error-code"] == "InternalFailure"


#: Faults that put something in after the first piece, with what botocore calls it and its payload.
INSERTED = {
    "unknown_event": ("somethingNew", b'{"value":1'),
    "unknown_member": ("contentBlockDelta", b'{"delta":{"hologram"'),
    "unknown_message_type": ("ping", b"{}"),
    "broken_json": ("contentBlockDelta", b'{"delta":{"te'),
    "not_an_object": ("contentBlockDelta", b"42"),
    "empty_event": ("contentBlockDelta", b""),
}


@pytest.mark.parametrize("name", INSERTED)
def test_what_does_not_belong_there(name):
    _, _, body = struck(name, "converse-stream")
    messages = messages_of(body)
    expected, payload = INSERTED[name]
    assert messages[2][0] == expected
    assert messages[2][1].startswith(payload)
    assert [n for n, _ in messages[:2] + messages[3:]] == EVENTS


#: Faults after which a stream is still one, with the names of its messages.
NAMES = {
    "announced_text": ["messageStart", "contentBlockStart", *EVENTS[1:]],
    "header_types": EVENTS,
    "no_padding": EVENTS,
    "initial_response": ["initial-response", *EVENTS],
    "no_message_stop": [name for name in EVENTS if name != "messageStop"],
    "no_metadata": EVENTS[:-1],
    "metadata_first": [*EVENTS[:-2], "metadata", "messageStop"],
    "truncated": EVENTS[:2],
    "empty_stream": [],
    "byte_packets": EVENTS,
    "one_packet": EVENTS,
    "many_events": EVENTS,
    "slow_stream": EVENTS,
    "mislabelled_stream": EVENTS,
    "truncated_frame": EVENTS[:2],
}


@pytest.mark.parametrize("name", NAMES)
def test_streams_of_another_shape(name):
    _, headers, body = struck(name, "converse-stream", slow_pause=0.001)
    assert names_of(body) == NAMES[name]
    assert headers["Content-Type"] == ("application/json" if name == "mislabelled_stream" else FRAMES)
    padded = [b'"p":"' in payload for _, payload in messages_of(body)]
    assert not any(padded) if name in ("no_padding", "header_types") else padded.count(False) <= 1


CORRUPT = {"corrupt_prelude", "corrupt_length", "corrupt_payload", "corrupt_message"}


@pytest.mark.parametrize("name", sorted(CORRUPT))
def test_checksums_that_are_wrong(name):
    _, _, body = struck(name, "converse-stream", after_chunks=2)
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    for expected in EVENTS[:3]:
        assert next(buffer).headers[":event-type"] == expected
    with pytest.raises(ChecksumMismatch):
        next(buffer)


def test_a_huge_frame():
    _, _, body = struck("huge_frame", "converse-stream")
    assert names_of(body) == EVENTS[:2]
    assert len(body) > 20 * 2**20 - 1_000


#: Stop reasons, and whether anything was said.
STOPS = {
    "guardrail_intervened": ("guardrail_intervened", True),
    "content_filtered": ("content_filtered", False),
    "context_window_exceeded": ("model_context_window_exceeded", True),
    "malformed_output": ("malformed_model_output", False),
    "malformed_tool_use": ("malformed_tool_use", True),
    "unknown_stop_reason": ("something_new", True),
}


@pytest.mark.parametrize("name", STOPS)
def test_stop_reasons_whole_and_streamed(name):
    reason, said = STOPS[name]
    document = json.loads(struck(name)[2])
    assert (document["stopReason"], bool(document["output"]["message"]["content"])) == (reason, said)
    messages = messages_of(struck(name, "converse-stream")[2])
    stop = next(json.loads(payload) for event, payload in messages if event == "messageStop")
    assert (stop["stopReason"], "contentBlockDelta" in dict(messages)) == (reason, said)


#: Ends of connections.
ENDS = {"reset", "stall"}


def test_a_reset():
    with pytest.raises((aiohttp.ClientPayloadError, ConnectionError)):
        struck("reset", "converse-stream")


def test_a_stall():
    async def main(caller):
        caller.emulator.faults.add("stall")
        async with caller.request(operation="converse-stream") as response:
            got = await response.content.readany()
            assert names_of(got)[0] == "messageStart"
            assert caller.emulator.traffic.counts.open_streams == 1
        await caller.emulator.traffic.until(lambda counts: counts.disconnects == 1)

    emulated(main)


@pytest.mark.parametrize(
    ("name", "content_type", "begin"),
    [
        ("json_stream", "application/json", b'{"output"'),
        ("html_stream", "text/html", b"<!DOCTYPE"),
        ("garbage_stream", FRAMES, bytes(64)),
    ],
)
def test_no_stream_at_all(name, content_type, begin):
    status, headers, body = struck(name, "converse-stream")
    assert (status, headers["Content-Type"]) == (200, content_type)
    assert body.startswith(begin)


@pytest.mark.parametrize("name", ["exception_throttling", "truncated", "no_message_stop", "corrupt_message"])
def test_chunks_of_invoke_streams(name):
    async def main(caller):
        body = {"prompt": "one two three four five"}
        sound = await caller.ask("meta.llama3-8b-instruct-v1:0", "invoke-with-response-stream", body)
        caller.emulator.faults.add(name)
        return sound, await caller.ask("meta.llama3-8b-instruct-v1:0", "invoke-with-response-stream", body)

    (_, headers, sound), (_, _, bad) = emulated(main)
    assert headers["x-amzn-bedrock-content-type"] == "application/json"
    count = len(names_of(sound))
    assert names_of(sound) == ["chunk"] * count
    if name == "corrupt_message":
        with pytest.raises(ChecksumMismatch):
            names_of(bad)
    else:
        expected = {"exception_throttling": ["chunk", "throttlingException"], "truncated": ["chunk"]}
        assert names_of(bad) == expected.get(name, ["chunk"] * (count - 1))


def test_faults_of_streams_pass_over_whole_answers():
    async def main(caller):
        caller.emulator.faults.add("truncated")
        assert (await caller.ask())[0] == 200
        assert len(caller.emulator.faults) == 1
        assert names_of((await caller.ask(operation="converse-stream"))[2]) == EVENTS[:2]

    emulated(main)


def test_orders_for_some_calls_only():
    async def main(caller):
        caller.emulator.faults.add("throttling", deployment="other", times=None)
        caller.emulator.faults.add("internal_server", operation="converse-stream")
        assert (await caller.ask())[0] == 200
        assert (await caller.ask(operation="converse-stream"))[0] == 500
        assert (await caller.ask("other"))[0] == 429

    emulated(main)


def test_orders_with_other_headers_and_bodies():
    async def main(caller):
        caller.emulator.faults.add(
            "throttling", headers={"X-Amz-Retry-After": "7"}, status=503, body={"message": "No."}
        )
        status, headers, body = await caller.ask()
        assert (status, headers["x-amz-retry-after"], body) == (503, "7", b'{"message":"No."}')

    emulated(main)


def test_two_events_a_read():
    async def main(caller):
        await caller.ask(operation="converse-stream")
        return caller.emulator.traffic.counts.reads_sent

    assert emulated(main, events_per_read=3) == 3
    assert emulated(main) == 9


@pytest.mark.parametrize(
    "path",
    [
        "/model/arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0/converse",
        "/model/amazon.nova-lite-v1%3A0/converse/more",
        "/model/amazon.nova-lite-v1%3A0/talk",
        "/nowhere",
    ],
)
def test_paths_that_mean_nothing(path):
    async def main(caller):
        url = URL(f"{caller.emulator.url}{path}", encoded=True)
        async with aiohttp.ClientSession() as session, session.post(url, json={}) as response:
            body = await response.json()
            assert caller.emulator.journal[-1].path == path
            return response.status, body

    status, document = emulated(main)
    assert status == 200
    assert document == {
        "Output": {"__type": "com.amazon.coral.service#UnknownOperationException"},
        "Version": "1.0",
    }


def test_an_id_that_was_escaped_twice():
    status, _, body = emulated(lambda caller: caller.ask("amazon.nova-lite-v1%253A0"))
    assert status == 400
    assert "'amazon.nova-lite-v1%3A0' at 'modelId'" in json.loads(body)["message"]


def test_a_script_with_an_error():
    with pytest.raises(ValueError, match="order a fault instead"):
        BedrockEmulator(replies=MockSettings(script=(Reply(error="rate_limit_error"),)))


def test_a_model_like_none():
    with pytest.raises(
        ValueError, match=r"'amazon\.nova-light-v1:0' is no model that the emulator knows; did you mean"
    ):
        BedrockEmulator(models={"prod": "amazon.nova-light-v1:0"})
