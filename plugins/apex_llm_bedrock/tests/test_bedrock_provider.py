"""What the provider makes of sequences of answers: nothing that was paid for is lost, nothing learned is forgotten."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
from apex_llm_bedrock.auth import CredentialSources
from apex_llm_bedrock.provider import BedrockProvider, in_one_piece
from apex_llm_bedrock.settings import BedrockSettings

from apex_llm_core.config import AuthConfig, ModelConfig, ProviderConfig
from apex_llm_core.errors import (
    AuthenticationError,
    ConfigurationError,
    ContentFilterError,
    InvalidRequestError,
    ServiceUnavailableError,
)
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatGenerationResult,
    ChatMessage,
    EmbeddingOptions,
    EmbedRequest,
    GenerateRequest,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from apex_llm_core.testing import FakeRuntime, make_context, run_virtual
from apex_llm_core.testing.runtime import make_candidate
from apex_llm_core.testing.streams import put_together

CLAUDE, NOVA = "us.anthropic.claude-sonnet-4-20250514-v1:0", "amazon.nova-lite-v1:0"
TITAN, COHERE = "amazon.titan-embed-text-v2:0", "cohere.embed-english-v3"
CANVAS, STABLE = "amazon.nova-canvas-v1:0", "stability.sd3-5-large-v1:0"
KEYS = AuthConfig(type="iam", credentials={"access_key_id": "AKID", "secret_access_key": "secret"})


@pytest.fixture
def client(bedrock):
    return bedrock.client()


def answering(bedrock, body, **order):
    """Let the next call be answered with *body* and a good status."""
    # Of this fault nothing is left then.
    bedrock.faults.add("string_error", status=200, body=body, **order)


# -- paid for ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "calls"), [(TITAN, 12), (COHERE, 6)])
def test_finished_embeddings_are_not_asked_for_again(bedrock, model, calls):
    texts = [f"text {number}" for number in range(12)]
    options = {"embedding_batch": 2, "embedding_concurrency": 1}
    with bedrock.unopened(models=(model,), options=options, retry_count=1, tables={"retry": {"base": 0.001}}) as client:
        whole = client.embed(texts, model=model)
        assert len(bedrock.journal) == calls
        bedrock.forget()
        bedrock.faults.add("slow_answer", times=4)
        bedrock.faults.add("internal_server")
        again = client.embed(texts, model=model)
        assert (again.embeddings, again.usage) == (whole.embeddings, whole.usage)
        # The fifth call twice, and one more that was under way when it failed.
        assert len(bedrock.journal) in (calls + 1, calls + 2)


def test_another_request_with_the_same_texts_asks_anew(bedrock, client):
    for _ in range(2):
        client.embed(["a", "b"])
    assert len(bedrock.journal) == 4


def test_the_same_text_twice_is_one_call(bedrock, client):
    result = client.embed(["a", "b", "a"])
    assert len(bedrock.journal) == 2
    assert result.embeddings[0] == result.embeddings[2] != result.embeddings[1]


def test_images_that_a_filter_let_through_are_kept(bedrock):
    client = bedrock.client(models=(CANVAS, STABLE))
    some = "Some of the generated images have been blocked by our content filters."
    answering(bedrock, {"images": ["AAAA"], "error": some})
    result = client.image(n=2, model=CANVAS)
    assert (result.images, result.details["held_back"]) == (("AAAA",), [some])
    answering(bedrock, {"images": [], "error": some.replace("Some", "All")})
    with pytest.raises(ContentFilterError) as caught:
        client.image(n=2, model=CANVAS)
    assert caught.value.details == {"held_back": [some.replace("Some", "All")]}
    # One call for each of them.
    answers = [
        {"seeds": [1], "finish_reasons": [None], "images": ["AAAA"]},
        {"seeds": [2], "finish_reasons": ["Filter reason: output image"]},
    ]
    for body in answers:
        answering(bedrock, body)
    result = client.image(n=2, model=STABLE)
    assert result.images == ("AAAA",)
    assert result.details == {"held_back": ["Filter reason: output image"], "seeds": [1, 2]}


@pytest.mark.parametrize(
    "body", [{"images": []}, {}, {"finish_reasons": ["Inference error"], "images": []}, {"images": [None]}]
)
def test_an_answer_without_images_and_filters_is_a_failure(bedrock, client, body):
    answering(bedrock, body)
    with pytest.raises(ServiceUnavailableError) as caught:
        client.image()
    assert caught.value.request_id


@pytest.mark.parametrize(
    "body", [{}, {"modelSummaries": "none"}, {"message": "no"}, {"Output": {"__type": "x#InternalServerException"}}]
)
def test_health_is_not_fooled_by_a_good_status(bedrock, client, body):
    answering(bedrock, body)
    assert client.health()["bedrock"].status == "unavailable"
    assert client.health()["bedrock"].status == "healthy"


@pytest.mark.parametrize(
    "body", [{"inputTokens": "7"}, {"inputTokens": None}, {"inputTokens": True}, {}, {"tokens": 7}]
)
def test_a_count_that_is_none_is_an_error(bedrock, client, body):
    answering(bedrock, body, operation="count-tokens")
    with pytest.raises(ServiceUnavailableError, match="number of tokens"):
        client.count()


def test_what_the_service_does_not_count_is_estimated_without_a_call(bedrock):
    client = bedrock.client(models=("meta.llama3-70b-instruct-v1:0",))
    counted = client.count(model="meta.llama3-70b-instruct-v1:0")
    assert (counted.estimated, len(bedrock.journal)) == (True, 0)


@pytest.mark.parametrize(
    "usage", [None, {}, {"inputTokens": "many", "outputTokens": 1}, {"inputTokens": 1}, [1, 2], {"inputTokens": None}]
)
def test_an_answer_outlives_odd_counts(bedrock, client, usage):
    message = {"role": "assistant", "content": [{"text": "Yes."}]}
    body = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}
    answering(bedrock, body)
    result = client.chat()
    assert (result.message.text, result.usage) == ("Yes.", None)


# -- directly ------------------------------------------------------------------------------------------------------------


class Answer:
    """One answer, whatever was asked."""

    def __init__(self, status=200, body=b"{}", headers=(), broken=None):
        self.status = status
        self.headers = {"content-type": "application/json", "x-amzn-requestid": "an-id", **dict(headers)}
        self._body = body
        self._broken = broken

    async def read(self):
        if self._broken is not None:
            raise self._broken
        return self._body

    def close(self):
        pass


class Http:
    """Gives the answers one after the other, and notes what was sent."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.sent = []

    async def send(self, method, url, *, context, headers=None, body=None):
        self.sent.append((method, url, headers, body))
        context.touch()
        return self._answers.pop(0)


def provider(http, *, models=(), auth=KEYS, environ=None, **settings):
    config = ProviderConfig(name="account", type="bedrock", auth=auth, models=models)
    settings = BedrockSettings(**{"region": "us-east-1", "endpoint": "https://gateway.example", **settings})
    return BedrockProvider(config, settings, FakeRuntime(http=http, environ=environ or {}), CredentialSources())


def request_of(prompt="Hello", **options):
    messages = (ChatMessage(role="user", content=prompt),)
    return GenerateRequest(kind="chat", messages=messages, model="m", options=ChatGenerationOptions(**options))


def ask(made, model=NOVA, **options):
    async def asking():
        try:
            candidate = make_candidate("account", "generic", provider_model_id=model)
            return await made.apex_generate(request_of(**options), make_context(candidate=candidate))
        finally:
            await made.apex_shutdown(None)

    return run_virtual(asking())


def document(*content, reason="end_turn"):
    message = {"role": "assistant", "content": list(content)}
    usage = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}
    return json.dumps({"output": {"message": message}, "stopReason": reason, "usage": usage}).encode()


def test_an_answer_is_in_the_names_of_who_was_asked():
    http = Http(Answer(body=document({"text": "Yes."})))
    result = ask(provider(http))
    assert (result.provider, result.model, result.request_id) == ("account", "generic", "an-id")
    assert result.usage == Usage(prompt_tokens=1, completion_tokens=2)
    [(method, url, headers, body)] = http.sent
    assert (method, url) == ("POST", "https://gateway.example/model/amazon.nova-lite-v1%3A0/converse")
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert json.loads(body) == {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}


def test_a_refusal_whose_body_breaks_off_keeps_its_status():
    http = Http(Answer(403, headers={"x-amzn-errortype": "UnrecognizedClientException"}, broken=_broken()))
    with pytest.raises(AuthenticationError) as caught:
        ask(provider(http))
    assert (caught.value.status_code, caught.value.request_id) == (403, "an-id")


def test_an_answer_whose_body_breaks_off_is_none():
    with pytest.raises(ServiceUnavailableError, match="broke off"):
        ask(provider(Http(Answer(broken=_broken()))))


def _broken():
    return ServiceUnavailableError("the answer broke off")


def test_credentials_spelled_out_are_not_sent_again():
    refused = Answer(403, b'{"message":"expired"}', {"x-amzn-errortype": "ExpiredTokenException"})
    http = Http(refused)
    with pytest.raises(AuthenticationError):
        ask(provider(http))
    assert len(http.sent) == 1


def test_credentials_behind_a_reference_are_read_again_once():
    class Environ(dict):
        asked = 0

        def __getitem__(self, name):
            self.asked += 1
            return f"key-{self.asked}"

    refused = Answer(403, b'{"Message":"Authentication failed: Please make sure your API Key is valid."}')
    environ = Environ(KEY="")
    auth = AuthConfig(type="api_key", credentials={"api_key": "env:KEY"})
    http = Http(refused, Answer(body=document({"text": "Yes."})))
    assert ask(provider(http, auth=auth, environ=environ)).message.text == "Yes."
    assert [headers["Authorization"] for _, _, headers, _ in http.sent] == ["Bearer key-1", "Bearer key-2"]
    http = Http(refused, refused)
    with pytest.raises(AuthenticationError):
        ask(provider(http, auth=auth, environ=environ))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"<html>",
        b'{"output":{}}',
        b'{"output":{"message":null},"stopReason":"end_turn"}',
        b'{"output":{"message":{"content":"text"}},"stopReason":"end_turn"}',
        b'{"output":{"message":{"content":[1]}},"stopReason":"end_turn"}',
        b'{"output":{"message":{"content":[{"text":7}]}},"stopReason":"end_turn"}',
        b'{"output":{"message":{"content":[{"toolUse":{"name":"a"}}]}},"stopReason":"tool_use"}',
        b'{"output":{"message":{"content":[]}}}',
        b'{"output":{"message":{"content":[]}},"stopReason":7}',
    ],
)
def test_an_answer_of_an_unknown_form_is_a_typed_error(body):
    with pytest.raises(ServiceUnavailableError) as caught:
        ask(provider(Http(Answer(body=body))))
    assert (caught.value.status_code, caught.value.request_id) == (200, "an-id")


def test_an_error_under_a_good_status_is_that_error():
    body = b'{"__type":"com.amazon.coral#ValidationException","message":"blocked by our content filters"}'
    with pytest.raises(ContentFilterError):
        ask(provider(Http(Answer(body=body))))


def test_an_id_that_no_model_can_have_is_refused_before_the_call():
    http = Http()
    for model in ("us:anthropic.claude-3", "arn:aws:s3:::bucket", "a b"):
        with pytest.raises(InvalidRequestError):
            ask(provider(http), model=model)
    assert http.sent == []
    with pytest.raises(ConfigurationError, match=r"models\[0\]\.provider_model_id"):
        provider(http, models=(ModelConfig(id="chat", provider_model_id="us:anthropic.claude-3"),))


def test_an_empty_region_is_told_at_the_start(monkeypatch):
    with pytest.raises(ConfigurationError, match="no AWS region"):
        provider(Http(), region="")
    # One of these suffices.
    arn = "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0"
    http = Http(Answer(body=document({"text": "Yes."})))
    ask(provider(http, region="", models=(ModelConfig(id=arn),)), model=arn)
    assert "/eu-west-1/bedrock/" in http.sent[0][2]["Authorization"]
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    http = Http(Answer(body=document({"text": "Yes."})))
    ask(provider(http, region=""))
    assert "/eu-west-3/bedrock/" in http.sent[0][2]["Authorization"]


@pytest.mark.parametrize(
    ("dimensions", "model", "match"),
    [(8, TITAN, "have 256, 512, 1024"), (8, COHERE, "have 1024"), (None, NOVA, "is none for embeddings")],
)
def test_embeddings_that_cannot_be_had_are_refused_before_the_call(dimensions, model, match):
    request = EmbedRequest(texts=("a",), model="m", options=EmbeddingOptions(dimensions=dimensions))
    made = provider(Http())
    context = make_context(candidate=make_candidate("account", "m", provider_model_id=model))
    with pytest.raises(InvalidRequestError, match=match):
        run_virtual(made.apex_embed(request, context))


def test_capabilities_tell_what_is_configured():
    models = (
        ModelConfig(id="chat", provider_model_id=CLAUDE),
        ModelConfig(id=TITAN),
        ModelConfig(id="mine", provider_model_id="arn:aws:bedrock:us-east-1:123456789012:imported-model/a1b2c3"),
    )
    found = provider(Http(), models=models).apex_capabilities()
    assert found.models.keys() == {CLAUDE, TITAN}
    assert {"chat", "tools", "vision", "stream"} <= found.models[CLAUDE].capabilities
    assert found.models[TITAN].capabilities == {"embed"}
    assert {"chat", "embed", "image"} <= found.features


class TestInOnePiece:
    """A whole answer as the chunks of a stream."""

    DETAILS: ClassVar = {"latency_ms": 3}

    def put(self, content):
        message = ChatMessage(role="assistant", content=content)
        usage = Usage(prompt_tokens=1, completion_tokens=2)
        result = ChatGenerationResult(
            message=message, model="m", provider="p", usage=usage, finish_reason="length", details=self.DETAILS
        )
        chunks = in_one_piece(result)
        assert chunks[-1].details == self.DETAILS
        whole = put_together([chunks])
        assert (whole.usage, whole.choices[0].finish_reason) == (usage, "length")
        return whole.choices[0]

    def test_text(self):
        assert self.put("Yes.").text == "Yes."

    def test_everything(self):
        calls = [ToolCallPart(id=f"id-{n}", name="a", arguments='{"b":1}') for n in range(2)]
        reasoning = ReasoningPart(text="Hm.", signature="signed")
        choice = self.put([reasoning, TextPart(text="Yes. "), TextPart(text="No."), *calls])
        assert (choice.text, choice.reasoning, choice.reasoning_parts) == ("Yes. No.", "Hm.", [reasoning])
        assert list(choice.tool_calls) == calls

    def test_nothing(self):
        assert self.put([]).text == ""
