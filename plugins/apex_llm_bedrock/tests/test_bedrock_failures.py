from __future__ import annotations

import json
from functools import cache

import botocore.session
import pytest
from apex_llm_bedrock.failures import expired, failure, failure_in, refuses_streamed_tools, stream_failure
from botocore.awsrequest import HeadersDict
from botocore.parsers import RestJSONParser
from botocore.retries.standard import ThrottledRetryableChecker
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

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

NOW = 1_800_000_000.0
ON_DEMAND = (
    "Invocation of model ID anthropic.claude-sonnet-4-20250514-v1:0 with on-demand throughput isn\u2019t supported. Retry "
    "your request with the ID or ARN of an inference profile that contains this model."
)
NO_IAM = (
    "User: arn:aws:iam::123456789012:user/u is not authorized to perform: bedrock:InvokeModel on resource: "
    "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2 because no identity-based policy allows the "
    "bedrock:InvokeModel action"
)
SIGNATURE = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and "
    "signing method. Consult the service documentation for details."
)
NO_CACHING = "You invoked an unsupported model or your request did not allow prompt caching. See the documentation."
TOO_MANY_TOKENS = "Too many tokens, please wait before trying again."


def refused(status, code="", message="", *, headers=(), body=None, quota_after=3600.0):
    """Return the error of an answer as the service gives it: the code in a header, the message in the body."""
    told = {"x-amzn-RequestId": "r-1", **dict(headers)}
    if code:
        told["x-amzn-ErrorType"] = f"{code}:http://internal.amazon.com/coral/com.amazon.bedrock/"
    content = json.dumps({"message": message}).encode() if body is None else body
    return failure(status, CIMultiDictProxy(CIMultiDict(told)), content, quota_after=quota_after, now=NOW)


# status, code, message, error, again, what to do
TABLE = [
    (403, "AccessDeniedException", NO_IAM, AuthorizationError, False, "allow this action on this resource in IAM"),
    (
        403,
        "AccessDeniedException",
        "You don't have access to the model with the specified model ID.",
        AuthorizationError,
        False,
        "give the account access to the model in the Bedrock console",
    ),
    (
        403,
        "AccessDeniedException",
        f"{NO_IAM} with an explicit deny in a service control policy",
        AuthorizationError,
        False,
        "a policy denies it",
    ),
    (
        403,
        "AccessDeniedException",
        (
            "Model access is denied due to IAM user or service role is not authorized to perform the required AWS Marketplace "
            "actions (aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe) to enable access to this model."
        ),
        AuthorizationError,
        False,
        "aws-marketplace:Subscribe",
    ),
    (403, "AccessDeniedException", "", AuthorizationError, False, "allow bedrock:InvokeModel"),
    (403, "AccessDeniedException", NO_CACHING, InvalidRequestError, False, "leave out the cache points"),
    (403, "AccessDeniedException", "Bearer Token has expired", AuthenticationError, False, "API key"),
    (
        403,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
        AuthenticationError,
        False,
        "AWS does not know the access key",
    ),
    (403, "InvalidSignatureException", SIGNATURE, AuthenticationError, False, "secret access key belongs to"),
    (
        403,
        "InvalidSignatureException",
        "Signature not yet current: 20261122T190000Z is still later than 20261122T180500Z",
        AuthenticationError,
        False,
        "the clock of this machine is wrong",
    ),
    (
        403,
        "InvalidSignatureException",
        "Signature expired: 20261122T170000Z is now earlier than 20261122T175500Z",
        AuthenticationError,
        False,
        "the clock of this machine is wrong",
    ),
    (
        403,
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
        AuthenticationError,
        False,
        "AWS does not know the access key",
    ),
    (
        403,
        "ExpiredTokenException",
        "The security token included in the request is expired",
        AuthenticationError,
        False,
        "the credentials have ended",
    ),
    (400, "ExpiredToken", "The provided token has expired.", AuthenticationError, False, "the credentials have ended"),
    (
        400,
        "IncompleteSignatureException",
        "Authorization header requires 'Signature' parameter.",
        AuthenticationError,
        False,
        "did not arrive whole",
    ),
    (
        403,
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
        AuthenticationError,
        False,
        "did not arrive whole",
    ),
    (
        404,
        "FTUFormNotFilled",
        "Model use case details have not been submitted for this account.",
        AuthorizationError,
        False,
        "fill in the form",
    ),
    (403, "BadCScoreException", "Access denied.", AuthorizationError, False, "ask AWS support"),
    (
        403,
        "MPAgreementBeingCreated",
        "The agreement is being created.",
        ServiceUnavailableError,
        False,
        "try again in 15 minutes",
    ),
    (
        404,
        "ResourceNotFoundException",
        "Could not resolve the foundation model from the provided model identifier.",
        ModelNotFoundError,
        False,
        "check spelling, version and region",
    ),
    (
        404,
        "ResourceNotFoundException",
        "This model version has reached the end of its life. Please refer to the AWS documentation.",
        ModelNotFoundError,
        False,
        "choose its successor",
    ),
    (404, "UnknownOperationException", "", ModelNotFoundError, False, "the path leads nowhere"),
    (
        400,
        "ValidationException",
        "The provided model identifier is invalid.",
        ModelNotFoundError,
        False,
        "check spelling, version and region",
    ),
    (400, "ValidationException", ON_DEMAND, ModelNotFoundError, False, "it is never added silently"),
    (
        400,
        "ValidationException",
        "The provided ARN is invalid for the service region.",
        ModelNotFoundError,
        False,
        "call it where it was made",
    ),
    (
        400,
        "ValidationException",
        "Input is too long for requested model.",
        ContextLengthExceededError,
        False,
        "shorten the prompt",
    ),
    (
        400,
        "ValidationException",
        "The model returned the following errors: prompt is too long: 200049 tokens > 200000 maximum",
        ContextLengthExceededError,
        False,
        "shorten the prompt",
    ),
    (
        400,
        "ValidationException",
        "The model returned the following errors: Input Tokens Exceeded: Number of input tokens exceeds maximum length.",
        ContextLengthExceededError,
        False,
        "shorten the prompt",
    ),
    (
        400,
        "ValidationException",
        "Malformed input request: expected maxLength: 50000, actual: 57482, please reformat your input and try again.",
        ContextLengthExceededError,
        False,
        "shorten the prompt",
    ),
    (
        400,
        "ValidationException",
        "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
        ContextLengthExceededError,
        False,
        "shorten the prompt",
    ),
    (
        400,
        "ValidationException",
        "This request has been blocked by our content filters. Our filters automatically flagged this prompt.",
        ContentFilterError,
        False,
        "change the prompt",
    ),
    (400, "ValidationException", "Operation not allowed", AuthorizationError, False, "ask AWS support"),
    (
        400,
        "ValidationException",
        "The maximum tokens you requested exceeds the model limit of 4096.",
        InvalidRequestError,
        False,
        "lower max_tokens",
    ),
    (
        400,
        "ValidationException",
        "This model doesn't support the stopSequences field. Remove stopSequences and try again.",
        InvalidRequestError,
        False,
        "options.unsupported_parameters = 'drop'",
    ),
    (
        400,
        "ValidationException",
        "The guardrail identifier or version provided in the request does not exist.",
        InvalidRequestError,
        False,
        "check guardrail_identifier",
    ),
    (
        400,
        "ValidationException",
        "A conversation must start with a user message.",
        InvalidRequestError,
        False,
        "the request itself must change",
    ),
    (400, "ConflictException", "Conflict.", InvalidRequestError, False, "the request itself must change"),
    (429, "ThrottlingException", TOO_MANY_TOKENS, RateLimitError, True, "AWS Service Quotas"),
    (
        429,
        "ThrottlingException",
        "Too many tokens per day, please wait before trying again.",
        QuotaExceededError,
        False,
        "waiting seconds will not help",
    ),
    (
        400,
        "ServiceQuotaExceededException",
        "Your request exceeds the service quota for your account.",
        QuotaExceededError,
        False,
        "raise the quota",
    ),
    (429, "ModelNotReadyException", "Model is not ready.", ServiceUnavailableError, True, "the model is being loaded"),
    (
        408,
        "ModelTimeoutException",
        "Model has timed out in processing the request.",
        LLMTimeoutError,
        False,
        "ask for a shorter answer",
    ),
    (424, "ModelErrorException", "The model failed.", ServiceUnavailableError, False, "the model itself broke"),
    (424, "ModelStreamErrorException", "The stream failed.", ServiceUnavailableError, True, "the model itself broke"),
    (
        500,
        "InternalServerException",
        "The system encountered an unexpected error during processing. Try your request again.",
        ServiceUnavailableError,
        True,
        "try again later",
    ),
    (
        503,
        "ServiceUnavailableException",
        "Bedrock is unable to process your request.",
        ServiceUnavailableError,
        True,
        "let another region or provider take over",
    ),
]


@pytest.mark.parametrize(("status", "code", "message", "error", "again", "step"), TABLE)
def test_every_error_of_the_service_has_its_type_and_a_next_step(status, code, message, error, again, step):
    told = refused(status, code, message)

    assert type(told) is error
    assert told.retryable is again
    assert step in told.message
    assert told.status_code == status
    assert told.details["code"] == code
    assert told.request_id == "r-1"


@pytest.mark.parametrize(("status", "code", "message"), [row[:3] for row in TABLE])
def test_error_is_the_same_wherever_its_code_stands(status, code, message):
    usual = refused(status, code, message)
    bodies = (
        {"__type": f"com.amazon.coral.service#{code}", "message": message},
        {"__type": code, "Message": message},
        {"code": f"{code}:http://internal", "message": message},
        {"Code": code, "Message": message},
        {"error": {"type": code, "message": message}},
    )

    for body in bodies:
        other = refused(status, body=json.dumps(body).encode())
        assert (type(other), other.message, other.details) == (type(usual), usual.message, usual.details)


@pytest.mark.parametrize(("status", "code", "message", "error", "again"), [row[:5] for row in TABLE])
def test_code_and_words_count_and_not_the_status_they_came_with(status, code, message, error, again):
    told = refused(500 if status != 500 else 400, code, message)

    assert (type(told), told.retryable) == (error, again)


@pytest.mark.parametrize(
    ("status", "error", "again"),
    [
        (400, InvalidRequestError, False),
        (401, AuthenticationError, False),
        (403, AuthorizationError, False),
        (404, ModelNotFoundError, False),
        (408, LLMTimeoutError, False),
        (413, InvalidRequestError, False),
        (418, InvalidRequestError, False),
        (424, ServiceUnavailableError, False),
        (429, RateLimitError, True),
        (500, ServiceUnavailableError, True),
        (501, ServiceUnavailableError, False),
        (502, ServiceUnavailableError, True),
        (503, ServiceUnavailableError, True),
        (504, LLMTimeoutError, True),
        (301, ServiceUnavailableError, False),
    ],
)
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"<html><body></body></html>", b"{broken"])
def test_status_alone_counts_where_nothing_else_is_told(status, error, again, body):
    told = failure(status, {}, body, now=NOW)

    assert (type(told), told.retryable, told.status_code) == (error, again, status)


def test_unknown_code_falls_back_on_the_status():
    assert type(refused(429, "SomethingNewException", "Slow down.")) is RateLimitError
    assert type(refused(503, "SomethingNewException", "Not now.")) is ServiceUnavailableError


@pytest.mark.parametrize("code", ThrottledRetryableChecker._THROTTLED_ERROR_CODES)
def test_what_botocore_takes_for_throttling_is_a_rate_limit(code):
    told = refused(400, code, "Rate exceeded")

    assert isinstance(told, RateLimitError)
    assert told.retryable


def test_complaint_12_too_many_tokens_is_a_throttle_and_no_full_context():
    assert type(refused(429, "ThrottlingException", TOO_MANY_TOKENS)) is RateLimitError
    assert type(refused(429, "", TOO_MANY_TOKENS)) is RateLimitError


SHAPES = [
    (b'{"message": "It broke"}', "It broke; "),
    (b'{"Message": "It broke."}', "It broke; "),
    (b'{"message": null, "Message": "It broke"}', "It broke; "),
    (b'{"error": {"message": "It broke", "type": "server_error", "code": null}}', "It broke; "),
    (b'{"error": "It broke"}', "It broke; "),
    (b'{"error": "server_error", "message": "It broke"}', "It broke; "),
    (b'{"type": "error", "error": {"type": "api_error", "message": "It broke"}}', "It broke; "),
    (b'{"detail": "It broke"}', "It broke; "),
    (b'[{"message": "It broke"}]', "It broke; "),
    (b'"It broke"', "It broke; "),
    (b"It broke", "It broke; "),
    (b"  It\r\nbroke\t", "It broke; "),
    (b'\xef\xbb\xbf{"message": "It broke"}', "It broke; "),
    (b"<html><head><title>It broke</title></head><body>long</body></html>", "It broke; "),
    (b"<h1>It <b>broke</b></h1>", "It; "),
    (b"<p>It broke</p>", "It broke; "),
    (b"<ServiceUnavailableException>\n  <Message>It broke</Message>\n</ServiceUnavailableException>", "It broke; "),
    (b"<Error><Code>InternalFailure</Code><Message>It &lt;broke&gt;</Message></Error>", "It <broke>; "),
    (b"It \x1b[31mbroke", "It \ufffd[31mbroke; "),
    (b"", "HTTP 503 without a message; "),
    (b'{"message": 7}', "7; "),
    (b'{"message": {"message": "It broke"}}', "It broke; "),
]


@pytest.mark.parametrize(("body", "said"), SHAPES)
def test_message_is_found_in_every_shape(body, said):
    told = failure(503, {}, body, now=NOW)

    assert told.message.startswith(said)
    assert isinstance(told, ServiceUnavailableError)


def test_long_words_of_the_service_are_shortened():
    told = refused(400, "ValidationException", "x" * 10_000)

    assert told.message.startswith("x" * 499 + "…; ")


def test_original_error_of_the_model_is_kept_in_the_details():
    body = {
        "message": "The system encountered an unexpected error during processing.",
        "originalStatusCode": 502,
        "resourceName": "arn:aws:bedrock:us-east-1::foundation-model/m",
        "originalMessage": "worker died",
    }

    told = refused(424, "ModelErrorException", body=json.dumps(body).encode())

    assert told.status_code == 424
    assert told.details == {
        "code": "ModelErrorException",
        "original_status_code": 502,
        "original_message": "worker died",
        "resource_name": "arn:aws:bedrock:us-east-1::foundation-model/m",
    }


@pytest.mark.parametrize("name", ["x-amzn-requestid", "X-Amzn-RequestId", "x-amzn-Request-Id", "X-Request-Id"])
def test_request_id_is_found_under_every_name(name):
    assert failure(500, {name: "r-2"}, b"", now=NOW).request_id == "r-2"


def test_request_id_absent_or_unprintable_is_none():
    assert failure(500, {}, b"", now=NOW).request_id is None
    assert failure(500, {"x-amzn-requestid": "a\x07"}, b"", now=NOW).request_id is None


def test_both_retry_headers_are_honoured_and_the_longer_one_wins():
    told = refused(429, "ThrottlingException", "Slow", headers={"x-amz-retry-after": "1500", "Retry-After": "4"})

    assert told.retry_after == 4.0
    assert refused(503, headers={"x-amz-retry-after": "1500"}).retry_after == 1.5
    assert refused(400, headers={"Retry-After": "4"}).retry_after is None


def test_wait_as_long_as_quota_after_is_a_used_up_quota():
    short = refused(429, "ThrottlingException", "Slow", headers={"Retry-After": "59"}, quota_after=60)
    long = refused(429, "ThrottlingException", "Slow", headers={"Retry-After": "60"}, quota_after=60)

    assert type(short) is RateLimitError
    assert type(long) is QuotaExceededError
    assert long.retry_after == 60.0


def test_redirection_names_the_other_host_and_nothing_else():
    told = failure(307, {"Location": "https://other.example:8443/path?key=secret"}, b"", now=NOW)

    assert "redirects to https://other.example:8443; correct options.endpoint" in told.message
    assert "secret" not in told.message
    assert "redirects; correct" in failure(307, {"Location": "https://u:p@[x"}, b"", now=NOW).message


@pytest.mark.parametrize(
    ("code", "message", "cured"),
    [
        ("ExpiredTokenException", "The security token included in the request is expired", True),
        ("ExpiredToken", "The provided token has expired.", True),
        ("UnrecognizedClientException", "The security token included in the request is invalid.", True),
        ("InvalidClientTokenId", "The security token included in the request is invalid.", True),
        ("AccessDeniedException", "Bearer Token has expired", True),
        ("", "Authentication failed: Please make sure your API Key is valid.", True),
        ("InvalidSignatureException", SIGNATURE, False),
        ("InvalidSignatureException", "Signature expired: 20261122T170000Z is now earlier than 2", False),
        ("InvalidSignatureException", "Signature not yet current: 20261122T170000Z is still later than 2", False),
        ("RequestExpired", "Request has expired.", False),
        ("IncompleteSignatureException", "", False),
        ("MissingAuthenticationTokenException", "Missing Authentication Token", False),
        ("AccessDeniedException", NO_IAM, False),
        ("ThrottlingException", "The token bucket has expired", False),
    ],
)
def test_complaint_15_fresh_credentials_are_tried_only_where_they_may_cure(code, message, cured):
    assert expired(refused(403, code, message)) is cured


def test_refused_api_key_without_a_code_is_an_authentication_error():
    told = refused(403, body=b'{"Message":"Authentication failed: Please make sure your API Key is valid."}')

    assert type(told) is AuthenticationError
    assert "API key is one of Bedrock" in told.message
    assert told.details is None


def test_trap_3_unknown_operation_under_status_200_is_an_error():
    document = {"Output": {"__type": "com.amazon.coral.service#UnknownOperationException"}, "Version": "1.0"}

    told = failure_in(document, {"x-amzn-requestid": "r-3"})

    assert type(told) is ModelNotFoundError
    assert told.details == {"code": "UnknownOperationException"}
    assert "must pass %2F and %3A on as they are" in told.message
    assert (told.status_code, told.request_id) == (200, "r-3")


@pytest.mark.parametrize(
    ("document", "headers", "error"),
    [
        ({"__type": "ThrottlingException", "message": "Slow"}, {}, RateLimitError),
        ({"message": "Slow"}, {"X-Amzn-ErrorType": "ThrottlingException"}, RateLimitError),
        ({"error": {"code": 429, "message": "Slow"}}, {}, RateLimitError),
        ({"error": {"code": "503", "message": "Later"}}, {}, ServiceUnavailableError),
        ({"error": "overloaded"}, {}, UnknownError),
        ({"message": "Input is too long for requested model."}, {}, ContextLengthExceededError),
        ({"Message": "What?"}, {}, UnknownError),
    ],
)
def test_error_in_a_good_answer_is_told_by_what_it_says(document, headers, error):
    assert type(failure_in(document, headers)) is error


def test_status_inside_a_good_answer_decides_whether_to_ask_again():
    assert failure_in({"error": {"code": 503, "message": "Later"}}, {}).retryable
    assert not failure_in({"error": {"code": 501, "message": "Never"}}, {}).retryable


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn"},
        {"inputTokens": 3},
        {"images": ["aaaa"], "error": "Some of the generated images have been blocked by our content filters."},
        {"embedding": [0.5], "message": None},
        {"id": "msg", "type": "message", "content": []},
        {"modelSummaries": []},
        {"error": None},
        {"Output": {"text": "a"}},
    ],
)
def test_answer_is_no_error(document):
    assert failure_in(document, {"content-type": "application/json"}) is None


# name, status, error, again
IN_STREAM = [
    ("internalServerException", 500, ServiceUnavailableError, True),
    ("modelStreamErrorException", 424, ServiceUnavailableError, True),
    ("validationException", 400, InvalidRequestError, False),
    ("throttlingException", 429, RateLimitError, True),
    ("serviceUnavailableException", 503, ServiceUnavailableError, True),
    ("modelTimeoutException", 408, LLMTimeoutError, False),
]


@pytest.mark.parametrize(("name", "status", "error", "again"), IN_STREAM)
def test_complaint_11_exception_in_a_stream_has_the_status_of_its_type(name, status, error, again):
    told = stream_failure("exception", name, b'{"message":"It broke."}', headers={"x-amzn-RequestId": "r-4"}, now=NOW)

    assert (type(told), told.status_code, told.retryable) == (error, status, again)
    assert told.message.startswith("It broke; ")
    assert told.details["code"] == name[0].upper() + name[1:]
    assert told.request_id == "r-4"


def test_exceptions_of_a_stream_are_all_those_of_the_service_model():
    model = service_model()
    told = set()
    for output in ("ConverseStreamOutput", "ResponseStream"):
        members = model.shape_for(output).members
        told |= {name for name, shape in members.items() if shape.metadata.get("exception")}

    assert told == {name for name, *_ in IN_STREAM}


def test_statuses_in_a_stream_are_those_of_the_service_model():
    model = service_model()

    for shape in model.error_shapes:
        told = stream_failure("exception", shape.name, b"{}", headers={}, now=NOW)
        assert told.status_code == shape.metadata["error"]["httpStatusCode"]


def test_model_stream_error_keeps_what_the_model_answered():
    payload = b'{"message":"It broke.","originalStatusCode":529,"originalMessage":"Overloaded"}'

    told = stream_failure("exception", "modelStreamErrorException", payload, headers={}, now=NOW)

    assert told.status_code == 424
    assert told.details == {
        "code": "ModelStreamErrorException",
        "original_status_code": 529,
        "original_message": "Overloaded",
    }


def test_validation_inside_a_stream_is_read_like_one_before_it():
    payload = b'{"message":"The model returned the following errors: prompt is too long: 5 tokens > 4 maximum"}'

    told = stream_failure("exception", "validationException", payload, headers={}, now=NOW)

    assert type(told) is ContextLengthExceededError


def test_error_message_of_a_stream_is_typed_by_its_code():
    known = stream_failure("error", "InternalFailure", b"", headers={}, message="Oh no", now=NOW)
    throttled = stream_failure("error", "ThrottlingException", b"", headers={}, message="Slow", now=NOW)
    unknown = stream_failure("error", "Strange", b"", headers={}, message="Hm", now=NOW)

    assert (type(known), known.retryable, known.status_code) == (ServiceUnavailableError, True, None)
    assert (type(throttled), throttled.status_code) == (RateLimitError, 429)
    assert (type(unknown), unknown.retryable) == (UnknownError, False)
    assert known.message.startswith("Oh no; ")


def test_stream_error_that_says_nothing_still_has_a_message():
    assert stream_failure("error", "", b"", headers={}, now=NOW).message.startswith("an error without a message; ")
    assert stream_failure("exception", "oddException", b"", headers={}, now=NOW).message.startswith("OddException; ")


@pytest.mark.parametrize(
    ("message", "refuses"),
    [
        ("This model doesn't support tool use in streaming mode.", True),
        ("The model is unsupported for streaming.", True),
        ("A conversation must start with a user message.", False),
    ],
)
def test_refusal_of_tools_in_streams_is_recognised(message, refuses):
    assert refuses_streamed_tools(refused(400, "ValidationException", message)) is refuses
    assert not refuses_streamed_tools(refused(500, "InternalServerException", message))


_names = st.from_regex(r"[A-Za-z]{1,30}(Exception)?", fullmatch=True)
_codes = st.one_of(
    _names,
    st.builds("com.amazon.coral.service#{}".format, _names),
    st.builds("{}:http://internal.amazon.com/coral/".format, _names),
    st.builds("ns#{}:http://x/".format, _names),
)
_words = (
    st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), min_size=1, max_size=60)
    .map(str.strip)
    .filter(bool)
)


@st.composite
def well_formed_errors(draw):
    """An error as AWS writes it: code in a header or in the body, message under one of two names."""
    code, message = draw(_codes), draw(_words)
    body, headers = {draw(st.sampled_from(["message", "Message"])): message}, {}
    where = draw(st.sampled_from(["header", "code", "Code", "__type", "both"]))
    if where in {"header", "both"}:
        headers["x-amzn-ErrorType"] = code
    if where == "both":
        body[draw(st.sampled_from(["code", "__type"]))] = draw(_codes)
    elif where != "header":
        body[where] = code
    return draw(st.sampled_from([400, 403, 404, 408, 424, 429])), headers, body


@given(well_formed_errors())
@settings(deadline=None)
def test_code_and_message_are_those_that_botocore_finds(error):
    status, headers, document = error
    body = json.dumps(document).encode()
    parsed = RestJSONParser().parse(
        {"status_code": status, "headers": HeadersDict(headers), "body": body, "context": {}},
        service_model().operation_model("Converse").output_shape,
    )["Error"]

    told = failure(status, headers, body, now=NOW)

    assert told.details["code"] == parsed["Code"]
    assert told.message.startswith(" ".join(parsed["Message"].split()).removesuffix("."))


@cache
def service_model():
    return botocore.session.Session().get_service_model("bedrock-runtime")


MEMBERS = (
    *("message", "Message", "error", "Error", "Output", "code", "Code", "__type", "type", "detail", "images"),
    *("originalStatusCode", "originalMessage", "resourceName"),
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(MEMBERS) | st.text(max_size=5),
            children,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_bodies = (
    st.binary(max_size=200)
    | _json.map(json.dumps).map(str.encode)
    | st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
_headers = st.dictionaries(
    st.sampled_from(["x-amzn-errortype", "Retry-After", "x-amz-retry-after", "x-amzn-requestid", "location"]),
    st.text(max_size=30),
    max_size=4,
)


@given(st.integers(100, 999), _headers, _bodies)
@example(500, {}, b"[" * 100_000)
@example(500, {}, b'{"message":' + b"9" * 5_000 + b"}")
@example(500, {}, "\ud800".encode("utf-16", "surrogatepass"))
@settings(deadline=None, max_examples=400)
def test_nothing_in_an_answer_makes_reading_it_fail(status, headers, body):
    told = failure(status, headers, body, now=NOW)

    assert isinstance(told, LLMError)
    assert told.message.isprintable()
    assert len(told.message) < 1_000
    assert told.retry_after is None or told.retry_after >= 0
    json.dumps(told.details)


@given(st.dictionaries(st.text(max_size=8), _json, max_size=4), _headers)
def test_nothing_in_a_document_makes_judging_it_fail(document, headers):
    told = failure_in(document, headers)

    assert told is None or isinstance(told, LLMError)


@given(st.sampled_from(["exception", "error"]), st.text(max_size=20), _bodies, st.text(max_size=20))
def test_nothing_in_a_stream_makes_reading_its_failure_fail(kind, name, payload, message):
    told = stream_failure(kind, name, payload, headers={}, message=message, now=NOW)

    assert isinstance(told, LLMError)
    assert told.message.isprintable()


@pytest.mark.parametrize("shape", ["json", "text", "xml"])
def test_the_signed_request_is_not_quoted(shape):
    said = (
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key.\n\n"
        "The Canonical String for this request should have been\n'POST\n/model/x/converse\n\nx-amz-security-token:TOKEN-4711\n'\n\n"
        "The String-to-Sign should have been\n'AWS4-HMAC-SHA256\n20261122T000000Z'"
    )
    bodies = {
        "json": json.dumps({"message": said}).encode(),
        "text": said.encode(),
        "xml": f"<Error><Code>InvalidSignatureException</Code><Message>{said}</Message></Error>".encode(),
    }
    error = failure(403, {"x-amzn-errortype": "InvalidSignatureException"}, bodies[shape], now=0.0)
    assert "does not match the signature you provided" in error.message
    assert "4711" not in f"{error.message} {error.details}"
