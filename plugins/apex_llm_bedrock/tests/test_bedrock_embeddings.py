"""Embedding requests: how many calls they become, what is paid for twice (nothing), and what is counted."""

from __future__ import annotations

import asyncio

import pytest
from apex_llm_bedrock.embeddings import embed, split
from apex_llm_bedrock.families import family_of
from apex_llm_bedrock.model_ids import parse_model_id
from apex_llm_bedrock.models import Model
from apex_llm_bedrock.settings import BedrockSettings
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import InvalidRequestError, RateLimitError, ServiceUnavailableError
from apex_llm_core.models import EmbeddingOptions, EmbedRequest
from apex_llm_core.testing import make_context, run_virtual

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-multilingual-v3"


class Response:
    def __init__(self, document, headers):
        self.document = document
        self.headers = headers


class FakeClient:
    """Embeds a text as its length; *fails* are the texts that it refuses, once each."""

    def __init__(self, *, fails=(), counted=True, shrunk=False, pause=1.0):
        self.calls = []
        self.paths = []
        self.headers = []
        self.most = 0
        self._now = 0
        self._fails = list(fails)
        self._counted = counted
        self._shrunk = shrunk
        self._pause = pause

    async def call(self, model, operation, document, context, *, headers=None, size=0):
        texts = document.get("texts") or [document["inputText"]]
        self.calls.append(document)
        self.paths.append((model.id.path, operation, size))
        self.headers.append(headers)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(self._pause)
        finally:
            self._now -= 1
        failing = [text for text in texts if text in self._fails]
        if failing:
            self._fails.remove(failing[0])
            raise RateLimitError("slow down")
        headers = {"x-amzn-requestid": f"req-{len(self.calls)}"}
        vectors = [[float(len(text)), 1.0] for text in texts]
        if "texts" in document:
            if self._counted is True or (self._counted == "first" and "a" in texts[0]):
                headers["x-amzn-bedrock-input-token-count"] = str(10 * len(texts))
            return Response({"embeddings": vectors[:-1] if self._shrunk else vectors}, headers)
        return Response({"embedding": vectors[0], "inputTextTokenCount": 10}, headers)

    async def read(self, response):
        return response.document


def run(client, texts, *, model=TITAN, context=None, options=None, provider="aws", **settings):
    request = EmbedRequest(texts=tuple(texts), model="m", options=EmbeddingOptions(**(options or {})))
    meant = Model(name=model, id=parse_model_id(model), family=family_of(model), base="", invoke_format="")
    return run_virtual(
        embed(
            client,
            request,
            context or make_context(),
            model=meant,
            provider=provider,
            model_name="m",
            settings=BedrockSettings(**settings),
        )
    )


def test_one_text():
    client = FakeClient()
    result = run(client, ["Hello"])
    assert result.embeddings == ((5.0, 1.0),)
    assert result.embedding == (5.0, 1.0)
    assert (result.model, result.provider, result.request_id) == ("m", "aws", "req-1")
    assert result.usage.prompt_tokens == result.usage.total_tokens == 10
    assert client.paths == [("amazon.titan-embed-text-v2%3A0", "invoke", 5)]


def test_titan_gets_one_text_a_call_five_at_a_time():
    texts = [f"{'x' * number}" for number in range(1, 13)]
    client = FakeClient()
    result = run(client, texts)
    assert [call["inputText"] for call in client.calls] == texts
    assert client.most == 5
    assert [vector[0] for vector in result.embeddings] == list(range(1, 13))
    assert result.usage.prompt_tokens == 120


def test_concurrency_is_configured():
    client = FakeClient()
    run(client, map(str, range(100, 110)), embedding_concurrency=2)
    assert client.most == 2


def test_cohere_gets_96_texts_a_call():
    texts = [f"{number:03}" for number in range(200)]
    client = FakeClient()
    result = run(client, texts, model=COHERE)
    assert [len(call["texts"]) for call in client.calls] == [96, 96, 8]
    assert [text for call in client.calls for text in call["texts"]] == texts
    assert len(result.embeddings) == 200
    assert result.usage.prompt_tokens == 2000


def test_a_smaller_batch_is_configured_and_none_makes_titan_take_more():
    client = FakeClient()
    run(client, "abcde", model=COHERE, embedding_batch=2)
    assert [len(call["texts"]) for call in client.calls] == [2, 2, 1]
    assert client.calls[0]["input_type"] == "search_document"


def test_the_purpose_is_configured_or_asked_for():
    client = FakeClient()
    run(client, "a", model=COHERE, embedding_input_type="clustering")
    run(client, "a", model=COHERE, embedding_input_type="clustering", options={"extra": {"input_type": "search_query"}})
    assert [call["input_type"] for call in client.calls] == ["clustering", "search_query"]


def test_the_same_text_is_paid_for_once():
    client = FakeClient()
    result = run(client, ["a", "bb", "a"])
    assert [call["inputText"] for call in client.calls] == ["a", "bb"]
    assert [vector[0] for vector in result.embeddings] == [1, 2, 1]
    assert result.usage.prompt_tokens == 20


def test_what_was_paid_for_is_not_paid_for_again():
    client = FakeClient(fails=["ccc"])
    context = make_context()
    with pytest.raises(RateLimitError):
        run(client, ["a", "bb", "ccc"], context=context, embedding_concurrency=1)
    result = run(client, ["a", "bb", "ccc"], context=context)
    assert [call["inputText"] for call in client.calls] == ["a", "bb", "ccc", "ccc"]
    assert [vector[0] for vector in result.embeddings] == [1, 2, 3]
    assert result.usage.prompt_tokens == 30


@pytest.mark.parametrize(
    "other",
    [{"options": {"dimensions": 256}}, {"provider": "aws-eu"}, {"model": f"eu.{TITAN}"}],
    ids=["options", "provider", "model"],
)
def test_vectors_of_another_kind_are_not_mixed_in(other):
    client = FakeClient(fails=["bb"])
    context = make_context()
    with pytest.raises(RateLimitError):
        run(client, ["a", "bb"], context=context, embedding_concurrency=1)
    run(client, ["a", "bb"], context=context, **other)
    assert [call["inputText"] for call in client.calls] == ["a", "bb", "a", "bb"]


def test_the_first_failure_ends_all_calls():
    client = FakeClient(fails=["b"])
    with pytest.raises(RateLimitError, match="slow down"):
        run(client, "abcdefghij", embedding_concurrency=2)
    assert len(client.calls) < 10


def test_calls_under_way_end_when_another_one_fails():
    client = FakeClient(fails=["b"])
    context = make_context()
    with pytest.raises(RateLimitError, match="slow down"):
        run(client, "abcde", context=context)
    run(client, "abcde", context=context)
    assert [call["inputText"] for call in client.calls] == [*"abcde", "b"]


def test_metadata_joins_but_no_guardrail_nor_tier():
    client = FakeClient()
    settings = {
        "guardrail_identifier": "abc",
        "guardrail_version": "1",
        "guardrail_trace": "enabled",
        "service_tier": "flex",
        "latency": "optimized",
    }
    run(client, "a", options={"user": "u1"}, **settings)
    run(client, "a", options={"user": "é"}, **settings, request_metadata={"team": "search"})
    run(client, "a", options={"user": "é"}, **settings)
    assert client.headers == [
        {"X-Amzn-Bedrock-Request-Metadata": '{"user": "u1"}'},
        {"X-Amzn-Bedrock-Request-Metadata": '{"team": "search"}'},
        None,
    ]


def test_half_of_the_counts_is_no_count():
    assert run(FakeClient(counted="first"), "ab", model=COHERE, embedding_batch=1).usage is None
    assert run(FakeClient(counted=False), "ab", model=COHERE).usage is None


def test_a_missing_vector_is_a_broken_service():
    with pytest.raises(ServiceUnavailableError, match="1 vectors for 2 texts"):
        run(FakeClient(shrunk=True), "ab", model=COHERE)


def test_models_that_embed_nothing_are_refused():
    with pytest.raises(InvalidRequestError, match="is none for embeddings"):
        run(FakeClient(), "a", model="anthropic.claude-3-haiku-20240307-v1:0")
    with pytest.raises(InvalidRequestError, match="declare its base_model"):
        run(FakeClient(), "a", model="arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3")


def test_bad_options_cost_nothing():
    client = FakeClient()
    with pytest.raises(InvalidRequestError, match="256, 512, 1024"):
        run(client, "a", options={"dimensions": 5})
    assert client.calls == []


def test_cancellation_passes():
    async def cancelled():
        client = FakeClient(pause=100.0)
        request = EmbedRequest(texts=("a", "b"), model="m", options=EmbeddingOptions())
        meant = Model(name=TITAN, id=parse_model_id(TITAN), family=family_of(TITAN), base="", invoke_format="")
        task = asyncio.create_task(
            embed(
                client,
                request,
                make_context(),
                model=meant,
                provider="aws",
                model_name="m",
                settings=BedrockSettings(),
            )
        )
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(cancelled())


def test_bodies_stay_within_what_the_service_takes():
    groups = split(("x" * 3_000_000, "ä" * 1_000_000, "y", "z" * 9_000_000), 96)
    assert [len(group) for group in groups] == [1, 2, 1]


@given(st.lists(st.text(max_size=20), min_size=1, max_size=50), st.integers(1, 96))
def test_splitting_loses_and_reorders_nothing(texts, batch):
    groups = split(tuple(texts), batch)
    assert [text for group in groups for text in group] == texts
    assert all(1 <= len(group) <= batch for group in groups)
