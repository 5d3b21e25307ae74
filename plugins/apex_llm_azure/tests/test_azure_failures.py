from __future__ import annotations

import gzip
import json

import pytest
from apex_llm_azure.failures import failure, stream_failure
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

# Bodies as the service and what stands in front of it send them.
FILTERED = {
    "hate": {"filtered": False, "severity": "safe"},
    "jailbreak": {"filtered": False, "detected": False},
    "violence": {"filtered": True, "severity": "medium"},
}
FILTER_BODY = (
    b'{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI\'s content management policy. '
    b"Please modify your prompt and retry. To learn more about our content filtering policies please read our documentation: "
    b'https://go.microsoft.com/fwlink/?linkid=2198766","type":null,"param":"prompt","code":"content_filter","status":400,'
    b'"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":'
    + json.dumps(FILTERED).encode()
    + b"}}}"
)
DEPLOYMENT_NOT_FOUND = (
    b'{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist. If you created the '
    b'deployment within the last 5 minutes, please wait a moment and try again."}}'
)
RESOURCE_NOT_FOUND = b'{"error":{"code":"404","message": "Resource not found"}}'
WRONG_KEY = (
    b'{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide '
    b'a valid key for an active subscription and use a correct regional API endpoint for your resource."}}'
)
WRONG_AUDIENCE = (
    b'{ "statusCode": 401, "message": "Unauthorized. Access token is missing, invalid, audience is incorrect '
    b'(https://cognitiveservices.azure.com), or have expired." }'
)
NO_ROLE = (
    b'{"error":{"code":"PermissionDenied","message":"The principal `0000` lacks the required data action '
    b"`Microsoft.CognitiveServices/accounts/OpenAI/deployments/chat/completions/action` to perform `POST "
    b'/openai/deployments/{deployment-id}/chat/completions` operation."}}'
)
NO_ROLE_OLDER = b'{"error":{"code":"PermissionDenied","message":"Principal does not have access to API/Operation."}}'
RATE_LIMIT = (
    b'{"error":{"code":"429","message": "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version '
    b"2024-10-21 have exceeded call rate limit of your current OpenAI S0 pricing tier. Please retry after 26 seconds. Please go "
    b'here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."}}'
)
HTML = (
    b"<!DOCTYPE html>\r\n<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad "
    b"Gateway</h1></center>\r\n<hr><center>Microsoft-Azure-Application-Gateway/v2</center>\r\n</body>\r\n</html>\r\n"
)


def error_body(**members):
    return json.dumps({"error": members}).encode()


# One line of the table of errors each: status, body, class.
TABLE = {
    # content filter
    "content_filter": (400, FILTER_BODY, ContentFilterError),
    "content_filter under status 500": (500, FILTER_BODY, ContentFilterError),
    "content_policy_violation of images": (
        400,
        error_body(
            code="content_policy_violation",
            message="Your request was rejected as a result of our safety system.",
            inner_error={
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_results": FILTERED,
                "revised_prompt": "A drawing",
            },
        ),
        ContentFilterError,
    ),
    "contentFilter of images": (400, error_body(code="contentFilter", message="Task failed"), ContentFilterError),
    "inner code alone": (
        400,
        error_body(code="BadRequest", message="no", innererror={"code": "ContentFiltered"}),
        ContentFilterError,
    ),
    "inner code below another": (
        400,
        error_body(code=None, innererror={"code": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}),
        ContentFilterError,
    ),
    "inner error outside the envelope": (
        400,
        b'{"error":"bad","innererror":{"code":"ResponsibleAIPolicyViolation"}}',
        ContentFilterError,
    ),
    "verdict alone": (
        400,
        error_body(code="400", message="no", innererror={"content_filter_result": FILTERED}),
        ContentFilterError,
    ),
    "moderation_blocked of images": (
        400,
        error_body(
            code="moderation_blocked", type="user_error", message="Your request was rejected by the safety system."
        ),
        ContentFilterError,
    ),
    "text of the filter": (
        400,
        error_body(
            code="400",
            message="The response was filtered due to the prompt triggering Azure's content management policy.",
        ),
        ContentFilterError,
    ),
    "text of the safety system": (
        400,
        error_body(code=None, type="image_generation_user_error", message="Rejected as a result of our safety system."),
        ContentFilterError,
    ),
    "usage policy of reasoning models": (
        400,
        error_body(
            code="invalid_prompt",
            message="Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
        ),
        ContentFilterError,
    ),
    "filter broke": (
        500,
        error_body(code="content_filter_error", message="The contents are not filtered"),
        ServiceUnavailableError,
    ),
    # context length
    "context_length_exceeded": (
        400,
        error_body(code="context_length_exceeded", param="messages", type="invalid_request_error", message="too long"),
        ContextLengthExceededError,
    ),
    "maximum context length": (
        400,
        error_body(
            code=None,
            type="invalid_request_error",
            message="This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        ),
        ContextLengthExceededError,
    ),
    "configured limit": (
        400,
        error_body(
            code=None,
            message="Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 283000 tokens.",
        ),
        ContextLengthExceededError,
    ),
    "context window of responses": (
        400,
        error_body(code="invalid_request_error", message="Your input exceeds the context window of this model."),
        ContextLengthExceededError,
    ),
    "longest embedding": (
        400,
        error_body(code=None, message="This model's maximum input length is 8192 tokens, however you requested 9000."),
        ContextLengthExceededError,
    ),
    "too large for one input": (
        400,
        error_body(code="string_above_max_length", param="messages[0].content", message="string too long"),
        ContextLengthExceededError,
    ),
    "too long user": (
        400,
        error_body(code="string_above_max_length", param="user", message="Invalid 'user': string too long."),
        InvalidRequestError,
    ),
    # authentication
    "wrong key": (401, WRONG_KEY, AuthenticationError),
    "wrong audience": (401, WRONG_AUDIENCE, AuthenticationError),
    "wrong tenant": (
        401,
        error_body(code="Unauthorized", message="Token tenant a does not match resource tenant."),
        AuthenticationError,
    ),
    "APIM without a key": (
        401,
        b'{ "statusCode": 401, "message": "Access denied due to missing subscription key." }',
        AuthenticationError,
    ),
    "401 without a body": (401, b"", AuthenticationError),
    # authorization
    "no role": (401, NO_ROLE, AuthorizationError),
    "no role, older": (401, NO_ROLE_OLDER, AuthorizationError),
    "no role, text only": (
        401,
        error_body(code="401", message="Principal does not have access to API/Operation."),
        AuthorizationError,
    ),
    "public access disabled": (
        403,
        error_body(code="403", message="Public access is disabled. Please configure private endpoint."),
        AuthorizationError,
    ),
    "firewall": (
        403,
        error_body(code="403", message="Access denied due to Virtual Network/Firewall rules."),
        AuthorizationError,
    ),
    "keys disabled": (
        403,
        error_body(
            code="AuthenticationTypeDisabled", message="Key based authentication is disabled for this resource."
        ),
        AuthorizationError,
    ),
    "abuse": (403, error_body(code="403", message="Your resource has been temporarily blocked."), AuthorizationError),
    # model not found
    "deployment": (404, DEPLOYMENT_NOT_FOUND, ModelNotFoundError),
    "resource": (404, RESOURCE_NOT_FOUND, ModelNotFoundError),
    "model": (404, error_body(code="model_not_found", message="The model does not exist"), ModelNotFoundError),
    "operation": (
        400,
        error_body(
            code="OperationNotSupported",
            message="The chatCompletion operation does not work with the specified model, o3-pro.",
        ),
        ModelNotFoundError,
    ),
    "404 page": (404, b"<html><head><title>Not Found</title></head></html>", ModelNotFoundError),
    "wrong method": (405, b"", ModelNotFoundError),
    "retired": (410, error_body(code="ModelDeprecated", message="The model is retired."), ModelNotFoundError),
    # rate limit
    "429": (429, RATE_LIMIT, RateLimitError),
    "token rate limit": (
        429,
        error_body(code="RateLimitReached", message="have exceeded token rate limit"),
        RateLimitError,
    ),
    "rate_limit_exceeded": (429, error_body(code="rate_limit_exceeded", type="tokens", message="slow"), RateLimitError),
    "too_many_requests": (429, error_body(code="too_many_requests", message="Too many requests"), RateLimitError),
    "APIM": (
        429,
        b'{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 5 seconds." }',
        RateLimitError,
    ),
    "NoCapacity": (
        429,
        error_body(code="NoCapacity", message="The system is currently experiencing high demand."),
        RateLimitError,
    ),
    "busy": (
        429,
        error_body(
            code="429", type="server_error", message="The server is temporarily unable to process your request."
        ),
        RateLimitError,
    ),
    "429 without a body": (429, b"", RateLimitError),
    # quota
    "insufficient_quota": (
        429,
        error_body(
            code="insufficient_quota",
            type="insufficient_quota",
            message="You exceeded your current quota, please check your plan and billing details.",
        ),
        QuotaExceededError,
    ),
    "insufficient_quota in type": (
        429,
        error_body(code=None, type="insufficient_quota", message="no"),
        QuotaExceededError,
    ),
    "quota text": (429, error_body(code="429", message="You exceeded your current quota"), QuotaExceededError),
    "one day": (429, error_body(code="429", message="Please retry after 86400 seconds."), QuotaExceededError),
    "call volume": (
        403,
        b'{ "statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 1.00:00:00." }',
        QuotaExceededError,
    ),
    "payment": (402, b"", QuotaExceededError),
    # unavailable
    "server_error": (
        500,
        error_body(code=None, type="server_error", message="The server had an error while processing your request."),
        ServiceUnavailableError,
    ),
    "InternalServerError": (
        500,
        error_body(code="InternalServerError", message="Backend call failure"),
        ServiceUnavailableError,
    ),
    "bad gateway page": (502, HTML, ServiceUnavailableError),
    "503 text": (503, b"upstream connect error or disconnect/reset before headers", ServiceUnavailableError),
    "503 without a body": (503, b"", ServiceUnavailableError),
    "529": (529, b"", ServiceUnavailableError),
    # timeout
    "408": (408, error_body(code="Timeout", message="The operation was timeout."), LLMTimeoutError),
    "408 without a body": (408, b"", LLMTimeoutError),
    "504": (504, b"<html><title>504 Gateway Time-out</title></html>", LLMTimeoutError),
    "timeout as 500": (500, error_body(code="Timeout", message="The operation was timeout."), LLMTimeoutError),
    # invalid request
    "unknown_parameter": (
        400,
        error_body(code="unknown_parameter", param="stream_options", message="Unknown parameter: 'stream_options'."),
        InvalidRequestError,
    ),
    "unsupported_parameter": (
        400,
        error_body(
            code="unsupported_parameter",
            param="max_tokens",
            type="invalid_request_error",
            message="Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        ),
        InvalidRequestError,
    ),
    "unsupported_value": (
        400,
        error_body(code="unsupported_value", param="temperature", message="no"),
        InvalidRequestError,
    ),
    "invalid_value": (
        400,
        error_body(code="invalid_value", message="max_tokens is too large: 99999."),
        InvalidRequestError,
    ),
    "v1 with a dated version": (
        400,
        error_body(code="BadRequest", message="API version not supported"),
        InvalidRequestError,
    ),
    "UnsupportedApiVersion": (400, error_body(code="UnsupportedApiVersion", message="no"), InvalidRequestError),
    "conflict": (409, b"", InvalidRequestError),
    "too large": (413, b"<html><title>413 Request Entity Too Large</title></html>", InvalidRequestError),
    "wrong content type": (415, b"", InvalidRequestError),
    "validation": (422, b'{"detail":[{"loc":["body","messages"],"msg":"field required"}]}', InvalidRequestError),
    # the rest
    "teapot": (418, b"I'm a teapot", UnknownError),
    "no known reason": (424, error_body(code="weird", message="weird"), UnknownError),
}


@pytest.mark.parametrize("name", TABLE)
def test_every_row_of_the_error_table(name):
    status, body, expected = TABLE[name]

    error = failure(status, {}, body)

    assert type(error) is expected
    assert error.status_code == status
    assert error.retryable is expected.default_retryable
    assert "; " in error.message


# Forms of one and the same report.
SHAPES = {
    "envelope": b'{"error":{"code":"DeploymentNotFound","message":"gone"}}',
    "null type": b'{"error":{"code":"DeploymentNotFound","message":"gone","type":null,"param":null}}',
    "byte order mark": b'\xef\xbb\xbf {"error":{"code":"DeploymentNotFound","message":"gone"}}',
    "utf-16": '{"error":{"code":"DeploymentNotFound","message":"gone"}}'.encode("utf-16"),
    "top level": b'{"code":"DeploymentNotFound","message":"gone"}',
    "object error": b'{"object":"error","code":"DeploymentNotFound","message":"gone","type":"x"}',
    "error as a code": b'{"error":"DeploymentNotFound","message":"gone"}',
    "error as an OAuth code": b'{"error":"DeploymentNotFound","error_description":"gone"}',
    "array": b'[{"error":{"code":"DeploymentNotFound","message":"gone"}}]',
    "array inside": b'{"error":[{"code":"DeploymentNotFound","message":"gone"}]}',
    "other spelling": b'{"error":{"code":"deployment_not_found","message":"gone"}}',
    "capitals": b'{"error":{"code":"DeploymentNotFound","Message":"gone"}}',
    "message as an object": b'{"error":{"code":"DeploymentNotFound","message":{"lang":"en","message":"gone"}}}',
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_report_gives_the_same_error(shape):
    error = failure(400, {}, SHAPES[shape])

    assert type(error) is ModelNotFoundError
    assert error.message.startswith("gone; ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":"no such route"}', "no such route"),
        (b'{"message":"no such route"}', "no such route"),
        (b'{"detail":"no such route"}', "no such route"),
        (b'"no such route"', "no such route"),
        (b"no such\r\n\troute", "no such route"),
        (b"<html><title>\n no such &quot;route&quot;\n</title>", 'no such "route"'),
        (b"<html><title></title><body><h1>no such route</h1>", "no such route"),
        (b"<Error><Message>no such route</Message></Error>", "no such route"),
        (b"", "HTTP 418 without a message"),
        (b"{}", "HTTP 418 without a message"),
        (b"[]", "HTTP 418 without a message"),
        (b"null", "null"),
        (b"17", "17"),
        (b'{"error":null}', "HTTP 418 without a message"),
        (b'{"error":{}}', "HTTP 418 without a message"),
        (b'{"error":{"message":17,"code":true}}', "17"),
        (b'{"error":{"message":["a"]},"message":"outside"}', "outside"),
        (b'{"error":', '{"error":'),
        (b"\xff\xfe\xfa", "\ufffd"),
        (b"\x1b[31mred\x07", "\ufffd[31mred\ufffd"),
        (b'{"error":"half \\ud800"}', "half \ufffd"),
    ],
)
def test_words_of_the_service_stand_first_on_one_clean_line(body, said):
    message = failure(418, {}, body).message

    assert message.startswith(f"{said}; ")
    assert message.isprintable()


@pytest.mark.parametrize("code", [429, "429"])
def test_code_may_be_a_number_or_text(code):
    assert type(failure(429, {}, error_body(code=code, message="x"))) is RateLimitError
    assert failure(429, {}, error_body(code=code, message="x")).details == {"code": "429"}


def test_long_words_are_shortened():
    error = failure(400, {}, error_body(message="x" * 100_000))

    assert len(error.message) < 700
    assert "…; " in error.message


def test_page_of_a_gateway_is_reduced_to_its_title():
    assert failure(502, {}, HTML).message.startswith("502 Bad Gateway; ")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"error":' * 100_000 + b"{}" + b"}" * 100_000,
        b'{"error":{"innererror":' * 50_000,
        b"<title" * 100_000,
        b"<title>" * 100_000,
        b"<" * 500_000,
        b"retry after " * 100_000,
        b"retry after 1 s " * 50_000,
        b"9" * 2_000_000,
        b'{"error":{"code":' + b"9" * 5_000 + b"}}",
        gzip.compress(b"x" * 1_000),
        b"\x00" * 10_000,
    ],
    ids=range(12),
)
def test_garbage_of_any_depth_and_length_is_survived(body):
    error = failure(500, {}, body)

    assert type(error) is ServiceUnavailableError
    assert len(error.message) < 800


# --- the complaints -------------------------------------------------------------------------------------------------


def test_content_filter_code_keeps_inner_error_details():
    error = failure(400, {"apim-request-id": "r-1", "x-ms-region": "East US"}, FILTER_BODY)

    assert type(error) is ContentFilterError
    assert error.details == {
        "code": "content_filter",
        "param": "prompt",
        "inner_code": "ResponsibleAIPolicyViolation",
        "content_filter_result": FILTERED,
        "region": "East US",
    }
    assert error.request_id == "r-1"
    assert "held back by: violence (medium)" in error.message


def test_content_filter_under_status_500_is_no_outage_body_before_status():
    error = failure(500, {}, FILTER_BODY)

    assert type(error) is ContentFilterError
    assert error.retryable is False
    assert error.status_code == 500


def test_content_filter_categories_in_the_message_are_cleaned_and_bounded():
    verdicts = {"a\x1b\ud800": {"filtered": True}, "b" * 1_000: {"filtered": True, "severity": "x\n" * 1_000}}

    error = failure(400, {}, error_body(code="content_filter", innererror={"content_filter_results": verdicts}))

    assert error.message.isprintable()
    assert len(error.message) < 400


def test_content_filter_of_images_keeps_the_revised_prompt():
    _, body, _ = TABLE["content_policy_violation of images"]

    error = failure(400, {}, body)

    assert error.details["revised_prompt"] == "A drawing"
    assert error.details["content_filter_result"] == FILTERED


def test_content_filter_that_did_not_run_is_no_refusal():
    error = failure(500, {}, error_body(code="content_filter_error", message="The contents are not filtered"))

    assert type(error) is ServiceUnavailableError
    assert error.retryable is True
    beside = {"hate": {"filtered": False}, "error": {"code": "content_filter_error", "message": "did not run"}}
    other = error_body(code="500", message="x", innererror={"content_filter_result": beside})
    assert type(failure(500, {}, other)) is ServiceUnavailableError


@pytest.mark.parametrize(
    "name", ["maximum context length", "configured limit", "context window of responses", "longest embedding"]
)
def test_context_overflow_is_found_in_all_its_texts(name):
    status, body, _ = TABLE[name]

    assert type(failure(status, {}, body)) is ContextLengthExceededError


def test_context_overflow_goes_by_code_first():
    assert type(failure(400, {}, error_body(code="context_length_exceeded"))) is ContextLengthExceededError
    echo = error_body(code="invalid_value", message="Invalid value: 'maximum context length is'.")
    assert type(failure(400, {}, echo)) is InvalidRequestError
    assert type(failure(429, {}, error_body(code="429", message="maximum context length is 1"))) is RateLimitError


def test_code_counts_before_a_text_that_repeats_the_callers_words():
    echo = error_body(code="invalid_value", message="Invalid value: 'filtered due to the prompt triggering'.")

    assert type(failure(400, {}, echo)) is InvalidRequestError


def test_insufficient_quota_is_never_retried_as_a_rate_limit():
    _, body, _ = TABLE["insufficient_quota"]

    error = failure(429, {"retry-after": "1"}, body)

    assert type(error) is QuotaExceededError
    assert error.retryable is False


def test_retry_after_of_a_day_is_a_used_up_quota_by_the_configured_bound():
    one_day = {"Retry-After": "86400"}

    assert type(failure(429, one_day, RATE_LIMIT)) is QuotaExceededError
    assert failure(429, one_day, RATE_LIMIT).retry_after == 86_400.0
    assert type(failure(429, one_day, RATE_LIMIT, quota_after=100_000)) is RateLimitError
    assert type(failure(429, {}, RATE_LIMIT, quota_after=26)) is QuotaExceededError
    assert type(failure(429, {"x-ratelimit-reset-tokens": "86400"}, b"")) is RateLimitError


def test_retry_after_of_headers_and_message_reaches_the_error():
    assert failure(429, {"retry-after-ms": "1500", "Retry-After": "2"}, RATE_LIMIT).retry_after == 1.5
    assert failure(429, {"Retry-After": "2"}, RATE_LIMIT).retry_after == 2.0
    assert failure(429, {}, RATE_LIMIT).retry_after == 26.0
    assert failure(429, {"x-ratelimit-reset-requests": "10"}, b"").retry_after == 10.0
    assert failure(503, {"Retry-After": "7"}, b"").retry_after == 7.0
    assert failure(503, {"x-ratelimit-reset-requests": "10"}, b"").retry_after is None
    assert failure(400, {"Retry-After": "7"}, b"").retry_after is None
    late = {"Retry-After": "Sun, 22 Nov 2026 12:00:09 GMT"}
    assert failure(429, late, b"", now=1_795_348_800.0).retry_after == 9.0


def test_resource_not_found_lists_path_version_and_host():
    message = failure(404, {}, RESOURCE_NOT_FOUND).message

    assert message.startswith("Resource not found; ")
    assert all(cause in message for cause in ("the path", "the api-version", "the host", "v1 or dated"))


def test_deployment_not_found_says_whose_name_it_is_and_how_long_it_takes():
    message = failure(404, {}, DEPLOYMENT_NOT_FOUND).message

    assert "deployment's name" in message
    assert "up to 5 minutes" in message


def test_wrong_audience_mentions_the_scope_setting_for_sovereign_clouds():
    error = failure(401, {}, WRONG_AUDIENCE)

    assert type(error) is AuthenticationError
    assert "options.scope" in error.message
    assert "US government" in error.message


def test_wrong_key_mentions_key_and_endpoint_but_no_scope():
    message = failure(401, {}, WRONG_KEY).message

    assert "options.endpoint" in message
    assert "scope" not in message


@pytest.mark.parametrize("body", [NO_ROLE, NO_ROLE_OLDER])
def test_permission_denied_under_401_names_the_role_and_its_propagation_time(body):
    error = failure(401, {}, body)

    assert type(error) is AuthorizationError
    assert "'Cognitive Services OpenAI User'" in error.message
    assert "up to 5 minutes" in error.message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("keys disabled", "auth.type = 'azure_ad'"),
        ("public access disabled", "private endpoint"),
        ("firewall", "network rules"),
        ("abuse", "Azure support"),
        ("wrong tenant", "tenant_id"),
        ("operation", "deployment of another model"),
        ("retired", "successor"),
        ("v1 with a dated version", "options.api_version"),
        ("unsupported_parameter", "base_model"),
        ("429", "quota"),
        ("408", "stream"),
        ("503 text", "another deployment"),
    ],
)
def test_message_ends_in_what_to_do_next(name, words):
    status, body, _ = TABLE[name]

    assert words in failure(status, {}, body).message.partition("; ")[2]


@pytest.mark.parametrize(
    ("name", "parameter"),
    [("unsupported_parameter", "max_tokens"), ("unknown_parameter", "stream_options")],
)
def test_refused_parameter_is_told_so_that_the_request_can_be_corrected(name, parameter):
    status, body, _ = TABLE[name]

    assert failure(status, {}, body).details["refused_parameter"] == parameter


def test_stream_options_refused_without_a_code_are_told_too():
    body = error_body(code=None, message="Unrecognized request argument supplied: stream_options")

    assert failure(400, {}, body).details["refused_parameter"] == "stream_options"


def test_lack_of_capacity_is_told_apart_from_ones_own_limit():
    _, body, _ = TABLE["NoCapacity"]

    assert failure(429, {}, body).details["reason"] == "capacity"
    assert "reason" not in failure(429, {}, RATE_LIMIT).details


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed_nor_retried_and_shows_only_the_target_host(status):
    headers = {"Location": "https://elsewhere.example:8443/login?sig=c0ffee00c0ffee00"}

    error = failure(status, headers, b"")

    assert type(error) is ServiceUnavailableError
    assert error.retryable is False
    assert "redirects to https://elsewhere.example:8443; correct options.endpoint" in error.message
    assert "c0ffee" not in error.message


@pytest.mark.parametrize(
    "location", ["", "/relative", "https://user:pw@x", "javascript:alert(1)", "https://[::1", "http://a:b"]
)
def test_redirect_to_an_unreadable_place_is_still_an_error(location):
    message = failure(302, {"Location": location}, b"").message

    assert "redirects" in message
    assert "pw" not in message


SECRET = "c0ffee00c0ffee00c0ffee00"


def test_no_header_but_the_harmless_ones_is_echoed():
    headers = {
        "api-key": SECRET,
        "Authorization": f"Bearer {SECRET}",
        "Set-Cookie": f"session={SECRET}",
        "WWW-Authenticate": f'Bearer realm="{SECRET}"',
        "Ocp-Apim-Subscription-Key": SECRET,
        "x-anything": SECRET,
        "Location": f"https://gw.example/?code={SECRET}",
        "x-request-id": "r-2",
    }
    for status in (302, 400, 401, 403, 404, 408, 429, 500, 504):
        error = failure(status, headers, b"")

        assert error.request_id == "r-2"
        assert SECRET not in f"{error} {error!r} {error.details}"


def test_service_words_are_not_copied_into_the_details_which_nobody_scrubs():
    error = failure(401, {}, error_body(code="invalid_api_key", message=f"Incorrect API key provided: {SECRET}."))

    assert SECRET not in str(error.details)


@pytest.mark.parametrize("make", [dict, lambda headers: CIMultiDictProxy(CIMultiDict(headers))])
def test_request_id_of_the_gateway_counts_first_in_any_case(make):
    assert failure(500, make({"X-Request-Id": "x", "APIM-Request-ID": "a"}), b"").request_id == "a"
    assert failure(500, make({"X-Request-Id": "x"}), b"").request_id == "x"
    assert failure(500, make({}), b"").request_id is None


# --- inside a stream ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (json.loads(FILTER_BODY), ContentFilterError),
        (json.loads(RATE_LIMIT), RateLimitError),
        ({"error": {"code": "RateLimitReached", "message": "slow"}}, RateLimitError),
        ({"error": {"code": 429, "message": "Please retry after 86400 seconds."}}, QuotaExceededError),
        (
            {"error": {"type": "server_error", "message": "The server had an error", "code": None}},
            ServiceUnavailableError,
        ),
        ({"error": {"code": "500", "message": "x"}}, ServiceUnavailableError),
        ({"error": {"message": "The server had an error while processing your request."}}, ServiceUnavailableError),
        ({"error": {"message": "The operation was timeout."}}, LLMTimeoutError),
        ({"error": {"code": "context_length_exceeded"}}, ContextLengthExceededError),
        ({"error": {"type": "invalid_request_error", "message": "bad"}}, InvalidRequestError),
        ({"error": {"code": "Unauthorized", "message": "expired"}}, AuthenticationError),
        ({"error": "something"}, UnknownError),
        ({"error": {"message": "something"}}, UnknownError),
        ({}, UnknownError),
    ],
)
def test_error_event_under_status_200_is_typed_by_its_own_words(event, expected):
    error = stream_failure(event, headers={"apim-request-id": "r-3", "x-ms-region": "Sweden Central"})

    assert type(error) is expected
    assert error.status_code == 200
    assert error.request_id == "r-3"
    assert error.details["region"] == "Sweden Central"


# --- whatever comes ---------------------------------------------------------------------------------------------------

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "code",
                    "message",
                    "type",
                    "param",
                    "status",
                    "statusCode",
                    "innererror",
                    "inner_error",
                    "content_filter_result",
                    "content_filter_results",
                    "revised_prompt",
                    "detail",
                    "filtered",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
_bodies = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    _json.map(lambda document: json.dumps(document).encode()),
    st.builds(lambda document, cut: json.dumps(document).encode()[:cut], _json, st.integers(0, 80)),
    st.builds("<html><title>{}".format, st.text(max_size=40)).map(lambda text: text.encode("utf-8", "replace")),
)
_headers = st.dictionaries(
    st.sampled_from(
        ["retry-after", "Retry-After-Ms", "x-ratelimit-reset-tokens", "apim-request-id", "Location", "x-ms-region"]
    ),
    st.text(max_size=30),
)


@given(st.integers(0, 999), _headers, _bodies)
@example(200, {}, b'{"error":{"code":"999"}}')
@example(500, {}, b"\x00\x00\xfe\xff\x00")
@settings(deadline=None, max_examples=500)
def test_any_bytes_under_any_status_give_an_llm_error(status, headers, body):
    error = failure(status, headers, body, now=1_795_348_800.0)

    assert isinstance(error, LLMError)
    assert error.message.isprintable()
    assert len(error.message) < 1_200
    assert error.status_code == status
    assert error.retry_after is None or error.retry_after >= 0
    error.message.encode()


@given(_json)
@settings(deadline=None)
def test_any_event_gives_an_llm_error(event):
    error = stream_failure(event, headers={})

    assert isinstance(error, LLMError)
    assert error.message.isprintable()
