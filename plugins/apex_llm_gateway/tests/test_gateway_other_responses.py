from __future__ import annotations

import base64
import json
import math
import struct

import httpx2
import pytest
from apex_llm_gateway.openai.chat_frames import ChatFrames
from apex_llm_gateway.openai.chat_response import chat_body
from apex_llm_gateway.openai.completions_response import CompletionFrames, completion_body
from apex_llm_gateway.openai.embeddings_response import embeddings_body
from apex_llm_gateway.openai.images_response import images_body
from apex_llm_gateway.openai.models_response import model_document, models_body
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI
from openai.types import Completion, CreateEmbeddingResponse, ImagesResponse, Model

from apex_llm_core.models import (
    ChatGenerationChunk,
    ChatGenerationResult,
    ChatMessage,
    Choice,
    EmbeddingResult,
    ImageGenerationResult,
    TextGenerationResult,
    Usage,
    text_chunk,
)

USAGE = Usage(prompt_tokens=3, completion_tokens=5)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
USAGES = st.builds(Usage, prompt_tokens=st.integers(0, 10**9), completion_tokens=st.integers(0, 10**9))
DONE = b"data: [DONE]\n\n"


def answer_of(*texts: str, usage: Usage | None = USAGE, logprobs=None, reason="stop", **more) -> TextGenerationResult:
    choices = [
        Choice(
            index=index, message=ChatMessage(role="assistant", content=text), finish_reason=reason, logprobs=logprobs
        )
        for index, text in enumerate(texts)
    ]
    return TextGenerationResult(
        text=texts[0], choices=tuple(choices), model="m", provider="p", usage=usage, finish_reason=reason, **more
    )


def completion_of(*results: TextGenerationResult, echo=None):
    return json.loads(completion_body(results, request_id="r-1", created=17, echo=echo))


class TestCompletions:
    def test_one_answer_is_what_openai_sends(self):
        document = completion_of(answer_of('a "b"'))

        assert document.pop("usage")["total_tokens"] == 8
        assert document == {
            "id": "cmpl-r-1",
            "object": "text_completion",
            "created": 17,
            "model": "m",
            "choices": [{"text": 'a "b"', "index": 0, "logprobs": None, "finish_reason": "stop"}],
        }

    def test_choices_are_numbered_through(self):
        document = completion_of(answer_of("a", "b"), answer_of("c"), answer_of("d", "e"))

        assert [(choice["index"], choice["text"]) for choice in document["choices"]] == [
            (0, "a"),
            (1, "b"),
            (2, "c"),
            (4, "d"),
            (5, "e"),
        ]

    def test_usage_is_that_of_all_prompts(self):
        assert completion_of(answer_of("a"), answer_of("b"))["usage"]["total_tokens"] == 16

    def test_usage_with_an_unknown_part_is_not_told(self):
        assert "usage" not in completion_of(answer_of("a"), answer_of("b", usage=None))

    def test_each_prompt_stands_before_its_answers(self):
        logprobs = [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -2.0}]
        document = completion_of(answer_of("ab", logprobs=logprobs), answer_of("ab"), echo=["Say ", "Tell "])

        assert [choice["text"] for choice in document["choices"]] == ["Say ab", "Tell ab"]
        assert document["choices"][0]["logprobs"]["text_offset"] == [4, 5]

    def test_a_finish_reason_completions_do_not_have_stands_beside(self):
        choice = completion_of(answer_of("a", reason="tool_calls"))["choices"][0]

        assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "tool_calls")

    def test_the_service_is_named(self):
        assert completion_of(answer_of("a", details={"system_fingerprint": "fp"}))["system_fingerprint"] == "fp"

    @given(
        answers=st.lists(
            st.tuples(st.lists(TEXTS, min_size=1, max_size=3), st.none() | USAGES), min_size=1, max_size=3
        ),
        echo=st.booleans(),
    )
    def test_every_answer_is_of_the_official_type(self, answers, echo):
        results = [answer_of(*texts, usage=usage) for texts, usage in answers]
        prompts = [f"{position}:" for position in range(len(results))]

        body = completion_body(results, request_id="r", created=1, echo=prompts if echo else None)

        parsed = Completion.model_validate_json(body, strict=True)
        expected = [
            (prompt if echo else "") + text
            for prompt, (texts, _) in zip(prompts, answers, strict=True)
            for text in texts
        ]
        assert [choice.text for choice in parsed.choices] == expected
        assert len({choice.index for choice in parsed.choices}) == len(expected)


def completion_frames(**more) -> CompletionFrames:
    return CompletionFrames(request_id="r-1", created=17, model="m", **{"include_usage": False, **more})


def parsed(said: bytes) -> list[dict]:
    return [json.loads(event.removeprefix(b"data: ")) for event in said.split(b"\n\n")[:-1]]


class TestCompletionFrames:
    def test_a_stream_is_what_openai_sends(self):
        frames = completion_frames()
        documents = parsed(frames.feed([text_chunk("a"), ChatGenerationChunk(text="b", finish_reason="length")]))

        common = {"id": "cmpl-r-1", "object": "text_completion", "created": 17, "model": "m"}
        assert documents == [
            common | {"choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": reason}]}
            for text, reason in (("a", None), ("b", None), ("", "length"))
        ]
        assert frames.finish(USAGE, cost=None, provider="p", attempts=1) == DONE

    def test_prompts_are_numbered_through(self):
        frames = completion_frames()
        documents = parsed(frames.feed([text_chunk("a", 1)]) + frames.feed([text_chunk("b", 1)], 2))

        assert [document["choices"][0]["index"] for document in documents] == [1, 3]

    def test_reasoning_has_no_place(self):
        assert completion_frames().feed([ChatGenerationChunk(reasoning="Hm")]) == b""

    def test_offsets_go_on_from_frame_to_frame(self):
        frames = completion_frames()
        said = frames.echo("Say ", range(2, 4))
        for text in ("ab", "c"):
            chunk = ChatGenerationChunk(text=text, logprobs=[{"token": text, "logprob": -1.0}])
            said += frames.feed([chunk], 2)

        documents = parsed(said)
        assert [(one["choices"][0]["index"], one["choices"][0]["text"]) for one in documents] == [
            (2, "Say "),
            (3, "Say "),
            (2, "ab"),
            (2, "c"),
        ]
        assert [one["choices"][0]["logprobs"]["text_offset"] for one in documents[2:]] == [[4], [6]]

    def test_an_empty_prompt_is_not_said(self):
        assert completion_frames().echo("", range(2)) == b""

    def test_the_last_frame_tells_usage_and_origin(self):
        frames = completion_frames(include_usage=True)
        frames.feed([ChatGenerationChunk(finish_reason="stop", details={"system_fingerprint": "fp"})])
        (document,) = parsed(frames.finish(USAGE, cost=None, provider="p", attempts=3).removesuffix(DONE))

        assert (document["choices"], document["usage"]["total_tokens"]) == ([], 8)
        assert document["system_fingerprint"] == "fp"
        assert document["x_apex"] == {"provider": "p", "model": "m", "attempts": 3}

    @given(texts=st.lists(st.tuples(st.integers(0, 2), st.text(st.characters(codec=None), min_size=1))))
    def test_all_text_arrives(self, texts):
        frames = completion_frames()
        folded: dict[int, str] = {}
        for index, text in texts:
            for document in parsed(frames.feed([text_chunk(text, index)])):
                choice = document["choices"][0]
                folded[choice["index"]] = folded.get(choice["index"], "") + choice["text"]

        expected: dict[int, str] = {}
        for index, text in texts:
            expected[index] = expected.get(index, "") + text
        assert folded == expected


VECTORS = st.lists(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3).map(tuple), min_size=1, max_size=4).map(
    tuple
)


class TestEmbeddings:
    @given(vectors=VECTORS, usage=USAGES)
    def test_lists_are_of_the_official_type(self, vectors, usage):
        result = EmbeddingResult(embeddings=vectors, model="m", provider="p", usage=usage)

        parsed = CreateEmbeddingResponse.model_validate_json(embeddings_body(result, base64=False), strict=True)

        assert [tuple(entry.embedding) for entry in parsed.data] == list(vectors)
        assert [entry.index for entry in parsed.data] == list(range(len(vectors)))
        assert parsed.usage.prompt_tokens == usage.prompt_tokens

    @given(vectors=VECTORS)
    def test_base64_is_of_little_endian_numbers_of_four_bytes(self, vectors):
        result = EmbeddingResult(embeddings=vectors, model="m", provider="p")
        document = json.loads(embeddings_body(result, base64=True))

        for entry, vector in zip(document["data"], vectors, strict=True):
            assert struct.unpack("<3f", base64.b64decode(entry["embedding"])) == vector

    def test_unknown_usage_is_not_told(self):
        assert "usage" not in json.loads(
            embeddings_body(EmbeddingResult(embedding=(0.5,), model="m", provider="p"), base64=False)
        )

    def test_numbers_json_does_not_have_become_null(self):
        result = EmbeddingResult(embedding=(math.nan, math.inf, 0.5), model="m", provider="p")

        assert json.loads(embeddings_body(result, base64=False))["data"][0]["embedding"] == [None, None, 0.5]


class TestImages:
    def test_base64_and_its_format(self):
        result = ImageGenerationResult(images=("AAAA", "BBBB"), media_type="image/webp", model="m", provider="p")

        assert json.loads(images_body(result, created=17)) == {
            "created": 17,
            "data": [{"b64_json": "AAAA"}, {"b64_json": "BBBB"}],
            "output_format": "webp",
        }

    def test_urls(self):
        result = ImageGenerationResult(images=("https://x/y",), model="m", provider="p")

        assert json.loads(images_body(result, created=17)) == {"created": 17, "data": [{"url": "https://x/y"}]}

    def test_a_format_openai_does_not_have_is_not_told(self):
        result = ImageGenerationResult(images=("AAAA",), media_type="image/tiff", model="m", provider="p")

        assert "output_format" not in json.loads(images_body(result, created=17))

    def test_revised_prompts(self):
        details = {"images": [{"revised_prompt": "A cat"}, {"content_filter_results": {}}]}
        result = ImageGenerationResult(
            images=("AAAA", "BBBB"), media_type="image/png", model="m", provider="p", details=details
        )

        assert json.loads(images_body(result, created=17))["data"] == [
            {"b64_json": "AAAA", "revised_prompt": "A cat"},
            {"b64_json": "BBBB"},
        ]

    def test_nobody_can_tell_whose_prompts_are_left(self):
        details = {"images": [{"revised_prompt": "A cat"}, {}]}
        result = ImageGenerationResult(
            images=("BBBB",), media_type="image/png", model="m", provider="p", details=details
        )

        assert json.loads(images_body(result, created=17))["data"] == [{"b64_json": "BBBB"}]

    @given(
        images=st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
        media_type=st.sampled_from([None, "image/png", "image/jpeg", "image/svg+xml", "application/x"]),
        usage=st.none() | USAGES,
    )
    def test_every_answer_is_of_the_official_type(self, images, media_type, usage):
        result = ImageGenerationResult(images=images, media_type=media_type, model="m", provider="p", usage=usage)

        parsed = ImagesResponse.model_validate_json(images_body(result, created=1), strict=True)

        assert tuple(image.url if media_type is None else image.b64_json for image in parsed.data) == images
        assert (parsed.usage is None) == (usage is None)


class TestModels:
    def test_they_are_of_the_official_type(self):
        document = model_document("gpt-4o", created=17, owned_by="east")
        listed = json.loads(models_body([document, document]))

        assert listed["object"] == "list"
        for entry in listed["data"]:
            model = Model.model_validate(entry, strict=True)
            assert (model.id, model.created, model.owned_by) == ("gpt-4o", 17, "east")


class TestOfficialClient:
    """Bodies as the official client reads them, which here checks answers against its types."""

    @pytest.fixture
    def client_of(self):
        def make(body: bytes, content_type="application/json", *, strict=True) -> OpenAI:
            def handle(_: httpx2.Request) -> httpx2.Response:
                return httpx2.Response(200, headers={"content-type": content_type}, content=body)

            transport = httpx2.MockTransport(handle)
            client = OpenAI(
                api_key="apex-for-tests-only",
                base_url="http://127.0.0.1:1/v1",
                http_client=httpx2.Client(transport=transport),
                max_retries=0,
                _strict_response_validation=strict,
            )
            clients.append(client)
            return client

        clients: list[OpenAI] = []
        yield make
        for client in clients:
            client.close()

    def test_chat(self, client_of):
        result = ChatGenerationResult(
            message=ChatMessage(role="assistant", content="Hello"), model="m", provider="p", usage=USAGE
        )
        client = client_of(chat_body(result, request_id="r", created=1))

        answer = client.chat.completions.create(model="m", messages=[])

        assert answer.choices[0].message.content == "Hello"
        assert answer.usage.total_tokens == 8

    def test_chat_stream(self, client_of):
        frames = ChatFrames(request_id="r", created=1, model="m", include_usage=True)
        said = frames.feed([text_chunk("Hel\u2028"), text_chunk("lo"), ChatGenerationChunk(finish_reason="stop")])
        said += frames.finish(USAGE, cost=0.5, provider="p", attempts=1)

        with client_of(said, "text/event-stream").chat.completions.stream(model="m", messages=[]) as stream:
            answer = stream.get_final_completion()

        assert answer.choices[0].message.content == "Hel\u2028lo"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.total_tokens == 8

    def test_completion(self, client_of):
        client = client_of(completion_body([answer_of("a")], request_id="r", created=1, echo=None))

        assert client.completions.create(model="m", prompt="?").choices[0].text == "a"

    def test_embeddings_in_base64_which_it_asks_for_itself(self, client_of):
        result = EmbeddingResult(embeddings=((0.5, -0.25), (1.0, 0.0)), model="m", provider="p", usage=USAGE)
        # Its types know no base64: it decodes vectors behind the check.
        client = client_of(embeddings_body(result, base64=True), strict=False)

        answer = client.embeddings.create(model="m", input=["a", "b"])

        assert [entry.embedding for entry in answer.data] == [[0.5, -0.25], [1.0, 0.0]]

    def test_images(self, client_of):
        result = ImageGenerationResult(images=("AAAA",), media_type="image/png", model="m", provider="p", usage=USAGE)

        answer = client_of(images_body(result, created=1)).images.generate(prompt="A cat")

        assert answer.data[0].b64_json == "AAAA"
        assert answer.usage.input_tokens_details.text_tokens == 3

    def test_models(self, client_of):
        client = client_of(models_body([model_document("a", created=1, owned_by="p")]))

        assert [model.id for model in client.models.list()] == ["a"]
