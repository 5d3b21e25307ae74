"""What goes wrong, as AWS's own client and ours tell of it: the same code and status, the error that the code means."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from types import MappingProxyType
from typing import NamedTuple

import pytest
from apex_llm_mock.emulation import BEDROCK_FAULTS
from apex_llm_mock.emulation.fault_forms import ConnectionFault, InsteadFault, StreamFault, UnstreamedFault, WholeFault

from apex_llm_core.errors import (
    AuthenticationError,
    AuthorizationError,
    ContentFilterError,
    ContextLengthExceededError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServiceUnavailableError,
    UnknownError,
)

botocore = pytest.importorskip("botocore")
pytest.importorskip("boto3")

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
LLAMA = "meta.llama3-70b-instruct-v1:0"
PROMPT = "Hello there, this is a longer text."
SAID = {"modelId": CLAUDE, "messages": [{"role": "user", "content": [{"text": PROMPT}]}]}


class Failure(NamedTuple):
    """One failure, as the two tell of it."""

    #: The code that botocore reads, a name of the service model unless it is in `UNMODELLED`.
    code: str
    status: int
    ours: type[LLMError]
    retryable: bool = False
    retry_after: float | None = None
    details: Mapping[str, object] = MappingProxyType({})


#: Codes that the service model of botocore has no exception for; then it is a bare `ClientError`.
UNMODELLED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InternalFailure",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "RequestEntityTooLargeException",
        "RequestLimitExceeded",
        "RequestTimeoutException",
        "SerializationException",
        "SlowDown",
        "Throttling",
        "TooManyRequestsException",
        "UnrecognizedClientException",
    }
)
NO_CREDENTIALS = {
    "unrecognized_client": Failure("UnrecognizedClientException", 403, AuthenticationError),
    "invalid_client_token": Failure("InvalidClientTokenId", 403, AuthenticationError),
    "invalid_signature": Failure("InvalidSignatureException", 403, AuthenticationError),
    "signature_expired": Failure("InvalidSignatureException", 403, AuthenticationError, details={"reason": "clock"}),
    "signature_not_yet_current": Failure(
        "InvalidSignatureException", 403, AuthenticationError, details={"reason": "clock"}
    ),
    "expired_token": Failure("ExpiredTokenException", 403, AuthenticationError, details={"reason": "expired"}),
    "expired_token_code": Failure("ExpiredToken", 400, AuthenticationError, details={"reason": "expired"}),
    "incomplete_signature": Failure("IncompleteSignatureException", 400, AuthenticationError),
    "missing_authentication": Failure("MissingAuthenticationTokenException", 403, AuthenticationError),
    "bad_api_key": Failure("403", 403, AuthenticationError),
}
REFUSED = {
    "access_denied": Failure("AccessDeniedException", 403, AuthorizationError),
    "access_denied_model": Failure("AccessDeniedException", 403, AuthorizationError),
    "access_denied_marketplace": Failure("AccessDeniedException", 403, AuthorizationError),
    "use_case_form": Failure("ResourceNotFoundException", 404, AuthorizationError),
    "caching_not_allowed": Failure("AccessDeniedException", 403, InvalidRequestError),
    "resource_not_found": Failure("ResourceNotFoundException", 404, ModelNotFoundError),
    "end_of_life": Failure("ResourceNotFoundException", 404, ModelNotFoundError),
    "invalid_model_identifier": Failure("ValidationException", 400, ModelNotFoundError),
    "on_demand_unsupported": Failure("ValidationException", 400, ModelNotFoundError),
    "validation": Failure("ValidationException", 400, InvalidRequestError),
    "serialization": Failure("SerializationException", 400, InvalidRequestError),
    "conflict": Failure("ConflictException", 400, InvalidRequestError),
    "too_large": Failure("RequestEntityTooLargeException", 413, InvalidRequestError),
    "input_too_long": Failure("ValidationException", 400, ContextLengthExceededError),
    "prompt_too_long": Failure("ValidationException", 400, ContextLengthExceededError),
    "input_tokens_exceeded": Failure("ValidationException", 400, ContextLengthExceededError),
    "too_many_input_tokens": Failure("ValidationException", 400, ContextLengthExceededError),
    "max_length": Failure("ValidationException", 400, ContextLengthExceededError),
    "content_filtered_request": Failure("ValidationException", 400, ContentFilterError),
    "content_policy": Failure("ValidationException", 400, ContentFilterError),
}
#: A date is as good as its seconds.
ABOUT_FIVE = pytest.approx(5.0, abs=1.5)
THROTTLED = {
    "throttling": Failure("ThrottlingException", 429, RateLimitError, True),
    "throttling_tokens": Failure("ThrottlingException", 429, RateLimitError, True),
    "throttling_day": Failure("ThrottlingException", 429, QuotaExceededError),
    "throttling_milliseconds": Failure("ThrottlingException", 429, RateLimitError, True, 0.04),
    "throttling_seconds": Failure("ThrottlingException", 429, RateLimitError, True, 2.0),
    "throttling_date": Failure("ThrottlingException", 429, RateLimitError, True, ABOUT_FIVE),
    "throttling_both": Failure("ThrottlingException", 429, RateLimitError, True, 1.5),
    "throttling_bare": Failure("429", 429, RateLimitError, True),
    "too_many_requests": Failure("TooManyRequestsException", 429, RateLimitError, True),
    "request_limit": Failure("RequestLimitExceeded", 503, RateLimitError, True),
    "slow_down": Failure("SlowDown", 503, RateLimitError, True),
    "throttling_400": Failure("Throttling", 400, RateLimitError, True),
    "service_quota": Failure("ServiceQuotaExceededException", 400, QuotaExceededError),
}
FAILED = {
    "model_not_ready": Failure("ModelNotReadyException", 429, ServiceUnavailableError, True),
    "model_timeout": Failure("ModelTimeoutException", 408, LLMTimeoutError),
    "model_error": Failure(
        "ModelErrorException",
        424,
        ServiceUnavailableError,
        details={"original_status_code": 500, "resource_name": "emulator"},
    ),
    "model_stream_error": Failure(
        "ModelStreamErrorException",
        424,
        ServiceUnavailableError,
        True,
        details={"original_status_code": 500, "original_message": "The worker ended."},
    ),
    "internal_server": Failure("InternalServerException", 500, ServiceUnavailableError, True),
    "internal_failure": Failure("InternalFailure", 500, ServiceUnavailableError, True),
    "service_unavailable": Failure("ServiceUnavailableException", 503, ServiceUnavailableError, True),
    "request_timeout": Failure("RequestTimeoutException", 408, LLMTimeoutError, True),
    "bad_gateway": Failure("502", 502, ServiceUnavailableError, True),
    "unavailable_page": Failure("503", 503, ServiceUnavailableError, True),
    "gateway_timeout": Failure("504", 504, LLMTimeoutError, True),
    "empty_error": Failure("500", 500, ServiceUnavailableError, True),
    "unavailable_text": Failure("503", 503, ServiceUnavailableError, True),
}
UNUSUAL = {
    "code_in_body": Failure("ThrottlingException", 429, RateLimitError, True),
    "code_in_type": Failure("ThrottlingException", 429, RateLimitError, True),
    "code_with_uri": Failure("ThrottlingException", 429, RateLimitError, True),
    "gateway_error": Failure("429", 429, RateLimitError, True),
    "gateway_unauthorized": Failure("401", 401, AuthenticationError),
    "string_error": Failure("400", 400, InvalidRequestError),
    "null_message": Failure("ValidationException", 400, InvalidRequestError),
    "truncated_error": Failure("500", 500, ServiceUnavailableError, True),
    "huge_error": Failure("500", 500, ServiceUnavailableError, True),
    "redirect": Failure("307", 307, ServiceUnavailableError),
}
#: What AWS's client knows for an error of the service.
TOLD = {**NO_CREDENTIALS, **REFUSED, **THROTTLED, **FAILED, **UNUSUAL}


class Broken(NamedTuple):
    """An answer that is none. AWS's client lets errors of Python out, or takes it for an empty answer: None."""

    theirs: str | None
    ours: type[LLMError]
    retryable: bool = True


#: Instead of whole answers. A `KeyError` is that of whoever reads the empty answer.
NO_ANSWERS = {
    "unknown_operation": Broken("KeyError", ModelNotFoundError, False),
    "array_error": Broken("AttributeError", InvalidRequestError, False),
    "error_with_200": Broken("KeyError", ServiceUnavailableError),
    "html_answer": Broken("KeyError", ServiceUnavailableError, False),
    "empty_answer": Broken("KeyError", ServiceUnavailableError, False),
    "garbage_answer": Broken("UnicodeDecodeError", ServiceUnavailableError, False),
    "truncated_json": Broken("KeyError", ServiceUnavailableError, False),
    "cut_answer": Broken("ConnectionClosedError", ServiceUnavailableError),
    "null_answer": Broken("TypeError", ServiceUnavailableError, False),
    "no_output": Broken("KeyError", ServiceUnavailableError, False),
    "no_stop_reason": Broken("KeyError", ServiceUnavailableError, False),
    "drop": Broken("ConnectionClosedError", ServiceUnavailableError),
    "garbage": Broken("ConnectionClosedError", ServiceUnavailableError),
    "hang": Broken("ReadTimeoutError", LLMTimeoutError),
}
NO_STREAMS = {
    "unknown_operation": Broken("ChecksumMismatch", ModelNotFoundError, False),
    "array_error": NO_ANSWERS["array_error"],
    "error_with_200": Broken("ChecksumMismatch", ServiceUnavailableError),
    "html_answer": Broken("ChecksumMismatch", ServiceUnavailableError, False),
    "json_stream": Broken("ChecksumMismatch", ServiceUnavailableError, False),
    "html_stream": Broken("ChecksumMismatch", ServiceUnavailableError, False),
    "garbage_stream": Broken("ChecksumMismatch", ServiceUnavailableError),
    "mislabelled_stream": Broken(None, ServiceUnavailableError, False),
    # What is neither event nor error may be either.
    "broken_json": Broken(None, ServiceUnavailableError),
    "not_an_object": Broken("AttributeError", ServiceUnavailableError),
    "empty_event": Broken(None, ServiceUnavailableError),
    "truncated_frame": Broken(None, ServiceUnavailableError),
    "corrupt_prelude": Broken("ChecksumMismatch", ServiceUnavailableError),
    "corrupt_length": Broken("ChecksumMismatch", ServiceUnavailableError),
    "corrupt_payload": Broken("ChecksumMismatch", ServiceUnavailableError),
    "corrupt_message": Broken("ChecksumMismatch", ServiceUnavailableError),
    "huge_frame": Broken(None, ServiceUnavailableError),
    "no_message_stop": Broken(None, ServiceUnavailableError),
    "truncated": Broken(None, ServiceUnavailableError),
    "empty_stream": Broken(None, ServiceUnavailableError),
    "reset": Broken("ProtocolError", ServiceUnavailableError),
    "drop": NO_ANSWERS["drop"],
    "garbage": NO_ANSWERS["garbage"],
    "hang": NO_ANSWERS["hang"],
    "stall": Broken("ReadTimeoutError", LLMTimeoutError),
}
#: In the midst of streams. botocore takes 400 for the status of all, and knows no code of what its model does not list;
#: the status here is that of the exception. None: it has none.
IN_STREAMS = {
    "exception_internal_server": Failure("internalServerException", 500, ServiceUnavailableError, True),
    "exception_model_stream": Failure(
        "modelStreamErrorException",
        424,
        ServiceUnavailableError,
        True,
        details={"original_status_code": 503, "original_message": "The worker ended."},
    ),
    "exception_validation": Failure("validationException", 400, InvalidRequestError),
    "exception_too_long": Failure("validationException", 400, ContextLengthExceededError),
    "exception_throttling": Failure("throttlingException", 429, RateLimitError, True),
    "exception_service_unavailable": Failure("serviceUnavailableException", 503, ServiceUnavailableError, True),
    "exception_model_timeout": Failure("", 408, LLMTimeoutError),
    "exception_unknown": Failure("", None, UnknownError),
    "exception_empty": Failure("internalServerException", 500, ServiceUnavailableError, True),
    "error_message": Failure("InternalFailure", None, ServiceUnavailableError, True),
}
#: Odd, and yet good.
ANSWERS = {"huge_answer", "no_usage", "slow_answer", "wrong_content_type"}
STREAMS = {
    "announced_text",
    "byte_packets",
    "header_types",
    "initial_response",
    "many_events",
    "metadata_first",
    "no_metadata",
    "no_padding",
    "one_packet",
    "slow_answer",
    "slow_stream",
    "unknown_event",
    "unknown_message_type",
    "unknown_member",
}
#: How often AWS's client says less: `announced_text` breaks it.
UNREAD = {"announced_text": "ResponseParserError"}
STOPS = {
    "guardrail_intervened": ("guardrail_intervened", "content_filter"),
    "content_filtered": ("content_filtered", "content_filter"),
    "context_window_exceeded": ("model_context_window_exceeded", "length"),
    "malformed_output": ("malformed_model_output", "malformed_model_output"),
    "malformed_tool_use": ("malformed_tool_use", "malformed_tool_use"),
    "unknown_stop_reason": ("something_new", "something_new"),
}
#: Seconds until both give up silence.
SOON = 0.2


class Both:
    """AWS's client and ours at one service."""

    def __init__(self, bedrock):
        self.bedrock = bedrock
        self.ours = bedrock.unopened(models=(CLAUDE, LLAMA))
        self.theirs = bedrock.official()
        self.impatient = bedrock.official(read_timeout=SOON)

    def order(self, fault):
        # Each time: refused credentials are read anew once, and the request repeated.
        self.bedrock.faults.add(fault, times=None)

    def their_answer(self, *, patient=True, **more):
        call = (self.theirs if patient else self.impatient).converse
        return self.bedrock.blocking(lambda: self._read(call(**SAID, **more)))

    @staticmethod
    def _read(said):
        return {
            "text": "".join(block["text"] for block in said["output"]["message"]["content"]),
            "stopReason": said["stopReason"],
        }

    def their_stream(self, *, patient=True):
        client = self.theirs if patient else self.impatient

        def read():
            with closing(client.converse_stream(**SAID)["stream"]) as stream:
                return list(stream)

        return self.bedrock.blocking(read)

    def check(self, failure, caught, error):
        """Compare what the two raised."""
        client = self.theirs
        if failure.code in UNMODELLED or failure.code.isdigit():
            assert type(caught) is botocore.exceptions.ClientError
        else:
            assert type(caught) is getattr(client.exceptions, failure.code)
            shape = client.meta.service_model.shape_for(failure.code)
            assert failure.status == shape.metadata["error"]["httpStatusCode"]
        assert caught.response["Error"]["Code"] == failure.code
        theirs = caught.response["ResponseMetadata"]
        assert theirs["HTTPStatusCode"] == failure.status == error.status_code
        # Each request has an id of its own; botocore forgets it where there is no JSON.
        their_id = theirs["HTTPHeaders"]["x-amzn-requestid"]
        assert len(error.request_id) == len(their_id) == 36
        assert error.request_id != their_id
        self.check_ours(failure, error)
        if not failure.code.isdigit():
            assert error.details["code"] == failure.code
            message = caught.response["Error"]["Message"]
            assert message is None or message.splitlines()[0][:100].rstrip(".") in error.message

    @staticmethod
    def check_ours(failure, error):
        assert (type(error), error.retryable, error.retry_after) == (
            failure.ours,
            failure.retryable,
            failure.retry_after,
        )
        assert failure.details.items() <= (error.details or {}).items()
        # Every message says what to do next.
        assert "; " in error.message


@pytest.fixture(scope="module")
def pair(account):
    both = Both(account)
    with both.ours:
        yield both


@pytest.fixture
def both(pair, bedrock):
    yield pair
    bedrock.forget()


@pytest.mark.parametrize("fault", TOLD)
def test_errors_match(both, fault):
    both.order(fault)
    with pytest.raises(botocore.exceptions.ClientError) as theirs:
        both.their_answer()
    with pytest.raises(LLMError) as ours:
        both.ours.chat(PROMPT)
    both.check(TOLD[fault], theirs.value, ours.value)
    assert fault in NO_CREDENTIALS or len(both.bedrock.journal) == 2


@pytest.mark.parametrize("fault", TOLD)
def test_errors_before_streams_match(both, fault):
    both.order(fault)
    with pytest.raises(botocore.exceptions.ClientError) as theirs:
        both.their_stream()
    stream = both.ours.read(PROMPT)
    both.check(TOLD[fault], theirs.value, stream.error)
    assert stream.chunks == []


@pytest.mark.parametrize("fault", NO_ANSWERS)
def test_answers_that_are_none(both, fault):
    expected = NO_ANSWERS[fault]
    both.order(fault)
    with pytest.raises(Exception) as theirs:
        both.their_answer(patient=fault != "hang")
    with pytest.raises(LLMError) as ours:
        both.ours.chat(PROMPT, **({"timeout": SOON} if fault == "hang" else {}))
    assert type(theirs.value).__name__ == expected.theirs
    assert (type(ours.value), ours.value.retryable) == expected[1:]


@pytest.mark.parametrize("fault", NO_STREAMS)
def test_streams_that_are_none(both, fault):
    expected = NO_STREAMS[fault]
    silent = fault in {"hang", "stall"}
    both.order(fault)
    if expected.theirs is None:
        events = both.their_stream()
    else:
        with pytest.raises(Exception) as theirs:
            both.their_stream(patient=not silent)
        assert type(theirs.value).__name__ == expected.theirs
    stream = both.ours.read(PROMPT, **({"timeout": SOON} if silent else {}))
    assert (type(stream.error), stream.error.retryable) == expected[1:]
    if fault in {"truncated", "truncated_frame", "empty_stream", "no_message_stop"}:
        # Their callers have to notice by themselves.
        assert not any("messageStop" in event for event in events)


@pytest.mark.parametrize("fault", IN_STREAMS)
def test_errors_in_streams_match(both, fault):
    expected = IN_STREAMS[fault]
    both.order(fault)
    with pytest.raises(botocore.exceptions.EventStreamError) as theirs:
        both.their_stream()
    stream = both.ours.read(PROMPT)
    assert theirs.value.response["Error"]["Code"] == expected.code
    both.check_ours(expected, stream.error)
    assert (stream.error.status_code, bool(stream.error.request_id)) == (expected.status, True)
    assert stream.error.details["received_bytes"] > 0
    # What came before it was handed out.
    assert stream.text
    assert PROMPT.startswith(stream.text)


@pytest.mark.parametrize("fault", IN_STREAMS)
def test_errors_in_streams_of_invoked_models_match(bedrock, fault):
    expected = IN_STREAMS[fault]
    client = bedrock.client(models=(LLAMA,), options={"invoke": {LLAMA: "llama"}})
    bedrock.faults.add(fault, times=2)
    stream = client.read(PROMPT, model=LLAMA)

    def read():
        call = bedrock.official().invoke_model_with_response_stream
        with closing(call(modelId=LLAMA, body='{"prompt": "Hello there, this is"}')["body"]) as events:
            return list(events)

    with pytest.raises(botocore.exceptions.EventStreamError) as theirs:
        bedrock.blocking(read)
    # The service model of InvokeModel does list this one.
    known = {"exception_model_timeout": "modelTimeoutException"}
    assert theirs.value.response["Error"]["Code"] == known.get(fault, expected.code)
    Both.check_ours(expected, stream.error)
    assert stream.error.status_code == expected.status


@pytest.mark.parametrize("fault", sorted(ANSWERS))
def test_odd_answers_are_read_by_both(both, fault):
    both.order(fault)
    assert both.their_answer()["text"] == both.ours.chat(PROMPT).message.text == PROMPT


@pytest.mark.parametrize("fault", sorted(STREAMS))
def test_odd_streams_are_read(both, fault):
    both.order(fault)
    if fault in UNREAD:
        with pytest.raises(Exception) as theirs:
            both.their_stream()
        assert type(theirs.value).__name__ == UNREAD[fault]
    else:
        deltas = [event["contentBlockDelta"]["delta"] for event in both.their_stream() if "contentBlockDelta" in event]
        assert "".join(delta.get("text", "") for delta in deltas) == PROMPT
    stream = both.ours.stream(PROMPT)
    assert (stream.text, stream.finish_reason) == (PROMPT, "stop")


@pytest.mark.parametrize("fault", STOPS)
def test_reasons_to_stop_match(both, fault):
    theirs, ours = STOPS[fault]
    both.order(fault)
    assert both.their_answer()["stopReason"] == theirs
    result = both.ours.chat(PROMPT)
    events = both.their_stream()
    stream = both.ours.stream(PROMPT)
    assert [event["messageStop"]["stopReason"] for event in events if "messageStop" in event] == [theirs]
    assert result.finish_reason == stream.finish_reason == ours
    assert result.details["stop_reason"] == stream.details["stop_reason"] == theirs


def test_every_fault_of_the_emulator_is_in_a_table():
    whole = {n for n, fault in BEDROCK_FAULTS.items() if isinstance(fault, (InsteadFault, WholeFault, ConnectionFault))}
    streamed = {n for n, fault in BEDROCK_FAULTS.items() if isinstance(fault, (StreamFault, UnstreamedFault))}
    assert whole - TOLD.keys() - NO_ANSWERS.keys() == ANSWERS
    assert streamed - NO_STREAMS.keys() - IN_STREAMS.keys() - STOPS.keys() == STREAMS - {"slow_answer"}


def test_wrong_credentials_are_told_apart_by_both(bedrock):
    wrong = {
        "UnrecognizedClientException": ({"access_key_id": "AKIDNOBODY"}, {"aws_access_key_id": "AKIDNOBODY"}),
        "InvalidSignatureException": ({"secret_access_key": "env:WRONG_KEY"}, {"aws_secret_access_key": "wrong"}),
    }
    for code, (ours, theirs) in wrong.items():
        keys = {
            "access_key_id": bedrock.emulator.access_key_id,
            "secret_access_key": "env:SECRET_KEY",
            **ours,
        }
        client = bedrock.client(auth={"type": "iam", "credentials": keys})
        with pytest.raises(AuthenticationError) as caught:
            client.chat()
        assert caught.value.details["code"] == code
        assert "a-key-of-another-account" not in caught.value.message
        with pytest.raises(botocore.exceptions.ClientError) as error:
            bedrock.blocking(bedrock.official(**theirs).converse, **SAID)
        assert error.value.response["Error"]["Code"] == code


def test_models_that_are_not_there_are_told_apart_by_both(bedrock):
    client = bedrock.client()
    for model in ("anthropic.claude-sonnet-4-20250514-v1:0", "no.such-model"):
        with pytest.raises(botocore.exceptions.ClientError) as theirs:
            bedrock.blocking(bedrock.official().converse, **{**SAID, "modelId": model})
        with pytest.raises(ModelNotFoundError) as ours:
            client.chat(model=model, provider="bedrock")
        message = theirs.value.response["Error"]["Message"]
        assert message.rstrip(".") in ours.value.message
    # What AWS says of profiles is said of this model, too; the id is the caller's to change.
    with pytest.raises(ModelNotFoundError, match="inference profile"):
        client.chat(model="anthropic.claude-sonnet-4-20250514-v1:0", provider="bedrock")
