from __future__ import annotations

import json
import math
from collections.abc import Iterator

import httpx2
import openai
import pytest
from apex_llm_gateway.http import HttpError
from apex_llm_gateway.openai.errors import ErrorAnswer, error_answer, event_bytes
from apex_llm_gateway.openai.rules import ParameterError
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import (
    ERROR_CLASSES,
    Attempt,
    AuthenticationError,
    ConfigurationError,
    LLMError,
    LLMErrorType,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServiceUnavailableError,
    UnknownError,
    UnsupportedParameterError,
)

TYPES = LLMErrorType
EXPECTED = {
    TYPES.AUTHENTICATION_ERROR: (401, "upstream_authentication", openai.AuthenticationError),
    TYPES.AUTHORIZATION_ERROR: (403, "upstream_authorization", openai.PermissionDeniedError),
    TYPES.MODEL_NOT_FOUND_ERROR: (404, "model_not_found", openai.NotFoundError),
    TYPES.INVALID_REQUEST_ERROR: (400, None, openai.BadRequestError),
    TYPES.CONTEXT_LENGTH_EXCEEDED_ERROR: (400, "context_length_exceeded", openai.BadRequestError),
    TYPES.CONTENT_FILTER_ERROR: (400, "content_filter", openai.BadRequestError),
    TYPES.RATE_LIMIT_ERROR: (429, "rate_limit_exceeded", openai.RateLimitError),
    TYPES.QUOTA_EXCEEDED_ERROR: (429, "insufficient_quota", openai.RateLimitError),
    TYPES.TIMEOUT_ERROR: (504, "timeout", openai.InternalServerError),
    TYPES.SERVICE_UNAVAILABLE_ERROR: (503, "service_unavailable", openai.InternalServerError),
    TYPES.UNKNOWN_ERROR: (500, "unknown_error", openai.InternalServerError),
}


def answer(error: BaseException) -> ErrorAnswer:
    return error_answer(error, request_id="req-1")


def said(error: BaseException) -> dict:
    return answer(error).document["error"]


class Replying:
    """Gives the official client one answer, again and again."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes, *, retries: int = 0) -> None:
        self.calls = 0

        def reply(request: httpx2.Request) -> httpx2.Response:
            self.calls += 1
            return httpx2.Response(status, headers=headers, content=body)

        transport = httpx2.MockTransport(reply)
        self.client = openai.OpenAI(
            api_key="sk-of-nobody",
            base_url="http://127.0.0.1:1/v1",
            max_retries=retries,
            http_client=httpx2.Client(transport=transport),
        )

    def ask(self, *, stream: bool = False) -> Iterator[object]:
        with self.client:
            found = self.client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hi"}], stream=stream
            )
            return list(found) if stream else found


@pytest.mark.parametrize("kind", list(TYPES))
def test_the_official_client_knows_every_error(kind):
    status, code, expected = EXPECTED[kind]
    found = answer(ERROR_CLASSES[kind]("It failed.", provider="azure-eu", model="gpt-4o"))
    assert found.status == status
    replying = Replying(found.status, found.headers, json.dumps(found.document).encode())
    with pytest.raises(expected) as caught:
        replying.ask()
    assert caught.value.code == code
    assert "It failed." in caught.value.message
    assert caught.value.body["provider"] == "azure-eu"
    assert caught.value.body["model"] == "gpt-4o"


@pytest.mark.parametrize("kind", list(TYPES))
def test_the_official_client_does_not_repeat_what_would_fail_again(kind):
    found = answer(ERROR_CLASSES[kind]("It failed.", retryable=False))
    replying = Replying(found.status, found.headers, json.dumps(found.document).encode(), retries=3)
    with pytest.raises(openai.APIStatusError):
        replying.ask()
    assert replying.calls == 1


def test_what_may_succeed_later_is_left_to_the_client():
    assert "x-should-retry" not in answer(RateLimitError("slow down")).headers
    assert said(RateLimitError("slow down"))["retryable"] is True


def test_an_error_in_a_stream_reaches_the_official_client():
    body = event_bytes(ServiceUnavailableError("cut off"), "req-1")
    assert body.endswith(b"\n\n")
    assert body.count(b"\n") == 2
    with pytest.raises(openai.APIError, match="cut off") as caught:
        Replying(200, {"Content-Type": "text/event-stream"}, body).ask(stream=True)
    assert caught.value.code == "service_unavailable"


@pytest.mark.parametrize(("after", "header"), [(0, "1"), (0.2, "1"), (1.0, "1"), (2.01, "3"), (90, "90")])
@pytest.mark.parametrize("kind", [RateLimitError, QuotaExceededError, ServiceUnavailableError])
def test_when_to_come_back_is_told_in_whole_seconds(kind, after, header):
    assert answer(kind("later", retry_after=after)).headers["Retry-After"] == header


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError("later"),
        RateLimitError("later", retry_after=math.inf),
        ModelNotFoundError("none", retry_after=1),
        ServiceUnavailableError("broken", retry_after=1, status_code=200),
    ],
)
def test_otherwise_nothing_is_told_of_when(error):
    assert "Retry-After" not in answer(error).headers


@pytest.mark.parametrize(("status_code", "status"), [(None, 503), (200, 502), (299, 502), (300, 503), (503, 503)])
def test_a_broken_answer_is_a_bad_gateway(status_code, status):
    error = ServiceUnavailableError("broken", status_code=status_code)
    assert answer(error).status == status
    assert said(error)["code"] == ("bad_upstream_answer" if status == 502 else "service_unavailable")


def test_where_the_mistake_is():
    assert said(ParameterError("no", param="messages[0].role"))["param"] == "messages[0].role"
    assert said(ParameterError("no"))["param"] is None
    assert said(ModelNotFoundError("no"))["param"] == "model"
    unsupported = said(UnsupportedParameterError("no", parameters=["seed", "n"]))
    assert (unsupported["param"], unsupported["code"]) == ("seed", "unsupported_parameter")


def test_what_was_tried():
    attempts = [
        Attempt(number=1, provider="a", model="m", duration=0.12345678, error_type=TYPES.TIMEOUT_ERROR, message="late"),
        Attempt(number=2, provider="b", model="m", duration=1, error_type=TYPES.RATE_LIMIT_ERROR, status_code=429),
    ]
    assert said(RateLimitError("slow down", attempts=attempts))["attempts"] == [
        {
            "provider": "a",
            "model": "m",
            "error_type": "timeout_error",
            "message": "late",
            "status_code": None,
            "duration": 0.123457,
        },
        {
            "provider": "b",
            "model": "m",
            "error_type": "rate_limit_error",
            "message": "",
            "status_code": 429,
            "duration": 1,
        },
    ]
    assert "attempts" not in said(RateLimitError("slow down"))
    assert {"provider", "model"}.isdisjoint(said(RateLimitError("slow down")))


@pytest.mark.parametrize(
    "error",
    [
        KeyError("secret-word"),
        RuntimeError("secret-word"),
        ConfigurationError("secret-word", file="/etc/secret-word"),
        ExceptionGroup("secret-word", [ValueError("secret-word")]),
        UnknownError("a plugin raised KeyError: secret-word", original_error=KeyError("secret-word")),
        LLMError(
            "all failed",
            attempts=[
                Attempt(
                    number=1, provider="a", model="m", duration=1, error_type=TYPES.UNKNOWN_ERROR, message="secret-word"
                )
            ],
        ),
    ],
)
def test_nothing_of_a_stray_exception_is_told(error):
    found = answer(error)
    assert found.status == 500
    assert "secret-word" not in json.dumps(found.document)
    assert "secret-word" not in event_bytes(error, "req-1").decode()


def test_a_stray_exception_can_be_found_in_the_log():
    assert "req-1" in said(RuntimeError("x"))["message"]
    assert answer(RuntimeError("x")).headers == {"x-should-retry": "false"}


def test_what_a_provider_says_of_an_unknown_failure_is_told():
    assert said(UnknownError("teapot", status_code=418, original_error=ValueError("x")))["message"] == "teapot"
    assert said(UnknownError("teapot"))["message"] == "teapot"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (HttpError(401, "Send a key.", code="invalid_api_key"), "authentication_error"),
        (HttpError(403, "Not for you."), "permission_error"),
        (HttpError(405, "POST it."), "invalid_request_error"),
        (HttpError(413, "Too large."), "invalid_request_error"),
        (HttpError(429, "Slowly."), "rate_limit_error"),
        (HttpError(503, "Draining."), "server_error"),
    ],
)
def test_requests_that_reach_no_handler(error, kind):
    found = answer(error)
    assert found.status == error.status
    assert found.document == {"error": {"message": error.message, "type": kind, "param": None, "code": error.code}}


def test_who_lacks_a_key_is_told_how_to_send_one():
    assert answer(HttpError(401, "Send a key.")).headers["WWW-Authenticate"] == "Bearer"
    assert answer(AuthenticationError("ours is wrong")).headers["WWW-Authenticate"] == "Bearer"


@given(message=st.text(st.characters(exclude_categories=())), kind=st.sampled_from(TYPES))
def test_whatever_was_said_is_one_frame_of_json(message, kind):
    frame = event_bytes(ERROR_CLASSES[kind](message), "req-1")
    assert frame.startswith(b"data: ")
    assert b"\n" not in frame[:-2]
    assert json.loads(frame[6:])["error"]["message"] == message
