"""What the provider makes of sequences of answers: nothing that was paid for is lost, nothing learned is forgotten."""

from __future__ import annotations

from typing import ClassVar

import pytest
from apex_llm_azure.auth import TokenSources
from apex_llm_azure.provider import AzureProvider
from apex_llm_azure.settings import AzureSettings

from apex_llm_core.config import AuthConfig, ProviderConfig
from apex_llm_core.errors import AuthenticationError, ContentFilterError, InvalidRequestError, ServiceUnavailableError
from apex_llm_core.models import EmbeddingOptions, EmbedRequest
from apex_llm_core.testing import FakeRuntime, make_context, run_virtual


@pytest.fixture
def client(azure):
    return azure.client()


VERDICT = {"violence": {"filtered": True, "severity": "high"}}


def test_finished_batches_are_not_asked_for_again(azure):
    texts = [f"text {number}" for number in range(12)]
    options = {"embedding_batch": 2, "embedding_concurrency": 1}
    with azure.client(options=options, retry_count=1, tables={"retry": {"base": 0.001}}) as client:
        whole = client.embed(texts)
        azure.emulator.journal.clear()
        azure.faults.add("server_error", operation="embeddings", times=1)
        assert client.embed(texts).embeddings == whole.embeddings
        azure.emulator.journal.clear()
        for _ in range(4):
            azure.faults.add("slow_answer", operation="embeddings", times=1)
        azure.faults.add("server_error", operation="embeddings", times=1)
        again = client.embed(texts)
        assert (again.embeddings, again.usage) == (whole.embeddings, whole.usage)
        # Six batches, the fifth of them twice; one more was under way when it failed.
        assert len(azure.emulator.journal) in (7, 8)


def test_another_request_with_the_same_texts_asks_anew(azure, client):
    client.embed(["a", "b"])
    azure.emulator.journal.clear()
    client.embed(["a", "b"])
    assert len(azure.emulator.journal) == 1


@pytest.mark.parametrize(
    "body", [{}, {"statusCode": 401, "message": "no"}, {"data": "none"}, {"error": {"code": "401"}}]
)
def test_health_is_not_fooled_by_a_good_status(azure, client, body):
    azure.faults.add("bad_request", status=200, body=body)
    assert client.health()["azure"].status == "unavailable"
    assert client.health()["azure"].status == "healthy"


def test_images_that_a_filter_let_through_are_kept(azure, client):
    held_back = {"content_filter_results": VERDICT}
    azure.faults.add("bad_request", status=200, body={"data": [{"b64_json": "AAAA"}, held_back]})
    result = client.image(n=2)
    assert result.images == ("AAAA",)
    assert result.details["images"][1] == held_back
    azure.faults.add("bad_request", status=200, body={"data": [held_back, held_back]})
    with pytest.raises(ContentFilterError) as caught:
        client.image(n=2)
    assert caught.value.details == held_back


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "content_filter", "message": "no"}, "choices": None},
        {"error": {"code": "content_filter", "message": "no"}, "choices": []},
        {"code": "content_filter", "message": "no"},
    ],
)
def test_a_refusal_under_a_good_status_is_one(azure, client, body):
    azure.faults.add("bad_request", status=200, body=body)
    with pytest.raises(ContentFilterError):
        client.chat()


def test_what_an_undeclared_deployment_does_not_take_is_learned_once(azure):
    with azure.client(azure.provider(surface="dated", models=("gpt-4o",))) as client:
        for _ in range(3):
            client.chat(model="o3-mini", provider="azure", max_tokens=50)
        assert len(azure.emulator.journal) == 4


def test_choices_come_by_their_index(azure, client):
    entries = [
        {"index": index, "finish_reason": reason, "message": {"role": "assistant", "content": text}}
        for index, reason, text in ((1, "length", "second"), (0, "stop", "first"))
    ]
    azure.faults.add("bad_request", status=200, body={"choices": entries})
    result = client.chat(n=2)
    assert (result.message.text, result.finish_reason) == ("first", "stop")
    assert [choice.index for choice in result.choices] == [0, 1]


def test_a_refusal_whose_body_breaks_off_keeps_its_status():
    class Broken:
        status = 401
        headers: ClassVar = {}

        async def read(self):
            raise ServiceUnavailableError("the answer broke off")

    class Http:
        async def send(self, *_, **__):
            return Broken()

    config = ProviderConfig(name="a", type="azure", auth=AuthConfig(type="api_key", credentials={"api_key": "a-key"}))
    runtime = FakeRuntime(http=Http())
    provider = AzureProvider(config, AzureSettings(endpoint="https://r.openai.azure.com"), runtime, TokenSources())
    request = EmbedRequest(texts=("a",), model="m", options=EmbeddingOptions())
    with pytest.raises(AuthenticationError):
        run_virtual(provider.apex_embed(request, make_context()))


def test_dimensions_of_a_model_that_has_one_length_are_refused_before_the_call(azure):
    with azure.client(models=("text-embedding-ada-002",)) as client:
        with pytest.raises(InvalidRequestError, match="one length"):
            client.embed(["a"], model="text-embedding-ada-002", dimensions=8)
        assert len(azure.emulator.journal) == 0
