"""Every class of errors of the official client, and what the client is told to do about it."""

from __future__ import annotations

import json

import pytest

openai = pytest.importorskip("openai")
httpx = pytest.importorskip("httpx2")


def user(text="Hello there"):
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def client(house, served):
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key=served.KEYS["user"], max_retries=0, timeout=20) as made:
        yield made


@pytest.fixture
def fails(client):
    """Ask for a chat that fails, and return the error."""

    def ask(kind, error, *, stream=False, **more):
        with pytest.raises(error) as caught:
            client.chat.completions.create(
                model=more.pop("model", f"fail-{kind}"), messages=user(), stream=stream, **more
            )
        return caught.value

    return ask


#: What fails upstream, and what the client makes of it: class, status, `type`, `code`, and whether it may try again.
UPSTREAM = [
    ("authentication_error", openai.AuthenticationError, 401, "authentication_error", "upstream_authentication", False),
    ("authorization_error", openai.PermissionDeniedError, 403, "permission_error", "upstream_authorization", False),
    ("model_not_found_error", openai.NotFoundError, 404, "invalid_request_error", "model_not_found", False),
    ("invalid_request_error", openai.BadRequestError, 400, "invalid_request_error", None, False),
    (
        *("context_length_exceeded_error", openai.BadRequestError, 400, "invalid_request_error"),
        *("context_length_exceeded", False),
    ),
    ("content_filter_error", openai.BadRequestError, 400, "invalid_request_error", "content_filter", False),
    ("rate_limit_error", openai.RateLimitError, 429, "rate_limit_error", "rate_limit_exceeded", True),
    ("quota_exceeded_error", openai.RateLimitError, 429, "insufficient_quota", "insufficient_quota", False),
    ("timeout_error", openai.InternalServerError, 504, "server_error", "timeout", True),
    ("service_unavailable_error", openai.InternalServerError, 503, "server_error", "service_unavailable", True),
    ("unknown_error", openai.InternalServerError, 500, "server_error", "unknown_error", None),
    ("broken", openai.InternalServerError, 502, "server_error", "bad_upstream_answer", True),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("kind", "error", "status", "type_", "code", "again"), UPSTREAM, ids=[row[0] for row in UPSTREAM]
)
def test_failures_upstream_are_told_in_openais_form(fails, kind, error, status, type_, code, again, stream):
    caught = fails(kind, error, stream=stream)
    assert type(caught) is error
    assert (caught.status_code, caught.type, caught.code) == (status, type_, code)
    assert caught.request_id
    assert caught.body["model"] == f"fail-{kind}"
    (attempt,) = caught.body["attempts"]
    assert attempt["provider"] == caught.body["provider"]
    assert attempt["duration"] >= 0
    if again is not None:
        assert caught.body["retryable"] is again
        assert caught.response.headers.get("x-should-retry") == (None if again else "false")
    assert caught.response.headers["content-type"] == "application/json"


def test_rate_limits_say_when_to_come_back(fails):
    caught = fails("waits", openai.RateLimitError)
    assert caught.response.headers["retry-after"] == "3"


class TestOfKeys:
    @pytest.mark.parametrize("key", ["apex-nobody-has-this-key-0", "zq", "apex-Yq3vN7tRz0LkWd5xHs2"])
    def test_unknown_ones_open_nothing(self, house, key):
        with (
            openai.OpenAI(base_url=f"{house.url}/v1", api_key=key, max_retries=0) as client,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            client.models.list()
        assert caught.value.code == "invalid_api_key"
        assert key not in json.dumps(caught.value.body)
        assert caught.value.response.headers["www-authenticate"] == "Bearer"

    def test_narrow_ones_may_name_their_models_only(self, house, served):
        with openai.OpenAI(base_url=f"{house.url}/v1", api_key=served.KEYS["narrow"], max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ["mock-small"]
            assert client.chat.completions.create(model="mock-small", messages=user()).model == "mock-small"
            for model in ("mock-large", "azure/mock-small", "mock/mock-large"):
                with pytest.raises(openai.PermissionDeniedError) as caught:
                    client.chat.completions.create(model=model, messages=user())
                assert caught.value.code == "model_not_allowed"
            with pytest.raises(openai.PermissionDeniedError):
                client.models.retrieve("mock-large")
            with pytest.raises(openai.PermissionDeniedError, match="so name one"):
                client.images.generate(prompt="a house")

    def test_of_users_do_not_administrate(self, client):
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.get("../admin/state", cast_to=object)
        assert caught.value.code == "role_missing"


class TestOfBodies:
    @pytest.mark.parametrize(
        ("more", "param"),
        [
            ({"temperature": "warm"}, "temperature"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"n": 0}, "n"),
            ({"top_p": 2}, "top_p"),
            ({"stop": [1]}, "stop"),
            ({"tools": [{"type": "magic"}]}, "tools[0].type"),
            ({"response_format": {"type": "xml"}}, "response_format.type"),
            ({"extra_body": {"api_base": "http://elsewhere"}}, "api_base"),
            ({"extra_body": {"metadata": {"headers": {"x": "y"}}}}, "metadata"),
        ],
    )
    def test_name_the_place(self, client, more, param):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="mock-large", messages=user(), **more)
        assert caught.value.param == param
        assert caught.value.response.headers["x-should-retry"] == "false"

    def test_unknown_parameters_that_a_provider_refuses_are_named(self, client):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="gpt-4o", messages=user(), extra_body={"warmth": 3})
        assert caught.value.body["provider"] == "azure"
        assert "warmth" in caught.value.message

    def test_unknown_models_are_not_found(self, fails):
        caught = fails("", openai.NotFoundError, model="mock-larg")
        assert (caught.code, caught.param) == ("model_not_found", "model")
        assert "mock-large" in caught.message

    def test_too_long_a_prompt_is_told_with_its_code(self, client):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="mock-small", messages=user("word " * 20_000))
        assert caught.value.code == "context_length_exceeded"


class TestAzureUpstream:
    @pytest.mark.parametrize(
        ("fault", "error", "code"),
        [
            ("content_filter", openai.BadRequestError, "content_filter"),
            ("context_length", openai.BadRequestError, "context_length_exceeded"),
            ("unauthorized", openai.AuthenticationError, "upstream_authentication"),
            ("firewall", openai.PermissionDeniedError, "upstream_authorization"),
            ("deployment_not_found", openai.NotFoundError, "model_not_found"),
            ("rate_limit", openai.RateLimitError, "rate_limit_exceeded"),
            ("insufficient_quota", openai.RateLimitError, "insufficient_quota"),
            ("truncated_json", openai.InternalServerError, "bad_upstream_answer"),
            ("html_answer", openai.InternalServerError, "bad_upstream_answer"),
            ("drop", openai.InternalServerError, "service_unavailable"),
        ],
    )
    def test_real_answers_of_it_become_the_same_errors(self, house, client, fault, error, code):
        house.upstream.faults.add(fault)
        with pytest.raises(error) as caught:
            client.chat.completions.create(model="gpt-4o", messages=user())
        assert type(caught.value) is error
        assert caught.value.code == code
        assert house.upstream.api_key not in json.dumps(caught.value.body)


class TestRetriesOfTheClient:
    """The client tries again by itself where that can help, and only there."""

    @pytest.fixture
    def patient(self, house, served):
        sent = []
        transport = httpx.HTTPTransport()

        class Counting(httpx.BaseTransport):
            def handle_request(self, request):
                sent.append(request)
                return transport.handle_request(request)

            def close(self):
                transport.close()

        with openai.OpenAI(
            base_url=f"{house.url}/v1",
            api_key=served.KEYS["user"],
            max_retries=1,
            http_client=httpx.Client(transport=Counting()),
        ) as client:
            # Waiting is the client's business; the test has no time.
            client._calculate_retry_timeout = lambda *_, **__: 0.001
            yield client, sent

    @pytest.mark.parametrize(
        ("kind", "requests"),
        [
            ("rate_limit_error", 2),
            ("service_unavailable_error", 2),
            ("timeout_error", 2),
            ("quota_exceeded_error", 1),
            ("authentication_error", 1),
            ("invalid_request_error", 1),
        ],
    )
    def test_follow_what_the_gateway_says(self, patient, kind, requests):
        client, sent = patient
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model=f"fail-{kind}", messages=user())
        assert len(sent) == requests


class TestOfStreams:
    def test_that_break_off_end_with_an_error_and_what_had_come_stays(self, client):
        stream = client.chat.completions.create(model="breaks-off", messages=user(), stream=True)
        said = []
        with pytest.raises(openai.APIError) as caught:
            said.extend(chunk.choices[0].delta.content or "" for chunk in stream)
        assert "".join(said) == "I was about to say"
        assert caught.value.code == "service_unavailable"
        assert caught.value.body["provider"] == "says-breaks-off"
