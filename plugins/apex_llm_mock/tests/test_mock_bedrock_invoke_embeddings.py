"""Vectors through InvokeModel of the Bedrock emulator."""

from __future__ import annotations

import json
from base64 import b64encode
from math import hypot

import pytest
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.invoke import invoke_events, serve_invoke
from apex_llm_mock.emulation.bedrock.models import find
from apex_llm_mock.images import draw
from apex_llm_mock.replies import Replier
from apex_llm_mock.settings import MockSettings

TITAN_1, TITAN_2 = "amazon.titan-embed-text-v1", "amazon.titan-embed-text-v2:0"
TITAN_IMAGE, NOVA = "amazon.titan-embed-image-v1", "amazon.nova-2-multimodal-embeddings-v1:0"
COHERE_3, COHERE_4 = "cohere.embed-english-v3", "cohere.embed-v4:0"
PNG = b64encode(draw("a", 16, 8)).decode()
URI = f"data:image/png;base64,{PNG}"


def invoke(model, body, **more):
    return serve_invoke(find(model), body, key="k", replier=Replier(MockSettings()), **more)


def refused(model, body):
    with pytest.raises(RefusedError) as caught:
        invoke(model, body)
    answer = caught.value.answer
    assert (answer.status, answer.headers["x-amzn-errortype"].split(":")[0]) == (400, "ValidationException")
    return json.loads(answer.body)["message"]


def malformed(*found):
    return f"Malformed input request: {', '.join(found)}, please reformat your input and try again."


class TestTitanText:
    def test_version_1_has_one_length_and_is_not_normalised(self):
        answer = invoke(TITAN_1, {"inputText": "hello"})
        assert answer.document["inputTextTokenCount"] == 2
        assert len(answer.document["embedding"]) == 1536
        assert hypot(*answer.document["embedding"]) == pytest.approx(17)

    @pytest.mark.parametrize("length", [256, 512, 1024])
    def test_version_2_lets_the_length_be_chosen(self, length):
        document = invoke(TITAN_2, {"inputText": "hello", "dimensions": length}).document
        assert len(document["embedding"]) == length
        assert hypot(*document["embedding"]) == pytest.approx(1)
        assert document["embeddingsByType"] == {"float": document["embedding"]}

    def test_without_normalising_only_the_length_of_the_vector_differs(self):
        one = invoke(TITAN_2, {"inputText": "hello"}).document["embedding"]
        other = invoke(TITAN_2, {"inputText": "hello", "normalize": False}).document["embedding"]
        assert [number * 17 for number in one] == pytest.approx(other)

    def test_binary_vectors_have_no_member_embedding(self):
        document = invoke(TITAN_2, {"inputText": "hello", "dimensions": 256, "embeddingTypes": ["binary"]}).document
        assert document.keys() == {"embeddingsByType", "inputTextTokenCount"}
        assert set(document["embeddingsByType"]["binary"]) == {0, 1}
        assert len(document["embeddingsByType"]["binary"]) == 256

    def test_tokens_are_in_the_body_and_in_a_header(self):
        assert invoke(TITAN_2, {"inputText": "hello"}).headers["x-amzn-bedrock-input-token-count"] == "2"
        assert "x-amzn-bedrock-output-token-count" not in invoke(TITAN_2, {"inputText": "hello"}).headers

    def test_the_same_text_has_the_same_vector_and_another_one_another(self):
        vectors = [invoke(TITAN_2, {"inputText": text}).document["embedding"] for text in ("a", "a", "b")]
        assert vectors[0] == vectors[1] != vectors[2]
        assert invoke(TITAN_2, {"inputText": "a"}, seed=1).document["embedding"] != vectors[0]

    def test_mistakes_get_the_words_of_bedrock(self):
        assert refused(TITAN_1, {"inputText": "x", "dimensions": 256}) == malformed(
            "#: extraneous key [dimensions] is not permitted"
        )
        assert refused(TITAN_2, {"texts": ["x"]}) == malformed(
            "#: required key [inputText] not found", "#: extraneous key [texts] is not permitted"
        )
        assert refused(TITAN_2, {"inputText": ""}) == malformed("#/inputText: expected minLength: 1, actual: 0")
        assert refused(TITAN_2, {"inputText": ["x"]}) == malformed(
            "#/inputText: expected type: String, found: JSONArray"
        )
        assert refused(TITAN_2, {"inputText": "x", "dimensions": 100}) == malformed(
            "#/dimensions: 100 is not a valid enum value"
        )
        assert refused(TITAN_2, {"inputText": "x", "normalize": 1}) == malformed(
            "#/normalize: expected type: Boolean, found: Integer"
        )
        assert refused(TITAN_2, ["x"]) == malformed("#: expected type: JSONObject, found: JSONArray")
        assert refused(TITAN_2, None) == "Malformed input request, please reformat your input and try again."

    def test_too_much_text_is_told_in_tokens_or_in_characters(self):
        invoke(TITAN_2, {"inputText": "x" * 4 * 8192})
        assert "Max input tokens: 8192, request input token count: 8193" in refused(
            TITAN_2, {"inputText": "x" * (4 * 8192 + 1)}
        )
        assert "#/inputText: expected maxLength: 50000, actual: 50001" in refused(TITAN_2, {"inputText": "x" * 50_001})

    def test_embedding_models_do_not_stream(self):
        with pytest.raises(RefusedError):
            invoke_events(find(TITAN_2), {"inputText": "x"}, key="k", replier=Replier(MockSettings()))


class TestTitanMultimodal:
    def test_text_and_image_together_are_averaged(self):
        vectors = {
            name: invoke(TITAN_IMAGE, body).document["embedding"]
            for name, body in {
                "text": {"inputText": "x"},
                "image": {"inputImage": PNG},
                "both": {"inputText": "x", "inputImage": PNG},
            }.items()
        }
        assert all(hypot(*vector) == pytest.approx(1) for vector in vectors.values())
        assert len({tuple(vector) for vector in vectors.values()}) == 3
        sums = [one + other for one, other in zip(vectors["text"], vectors["image"], strict=True)]
        assert [number / hypot(*sums) for number in sums] == pytest.approx(vectors["both"])

    def test_success_carries_an_empty_message(self):
        document = invoke(TITAN_IMAGE, {"inputText": "x", "embeddingConfig": {"outputEmbeddingLength": 256}}).document
        assert document["message"] is None
        assert len(document["embedding"]) == 256

    def test_blocked_content_is_told_with_status_200(self):
        document = invoke(TITAN_IMAGE, {"inputText": "[blocked prompt]"}).document
        assert document["embedding"] is None
        assert "blocked by our content filters" in document["message"]
        assert invoke(TITAN_IMAGE, {"inputText": "x"}, blocked="input_image").document["message"]

    def test_one_of_both_is_needed_and_images_must_be_images(self):
        assert "required key [inputText] not found" in refused(TITAN_IMAGE, {})
        assert "Unable to process provided image" in refused(TITAN_IMAGE, {"inputImage": "aGVsbG8="})
        assert "Max input tokens: 256" in refused(TITAN_IMAGE, {"inputText": "x" * 1025})


class TestCohere:
    def body(self, **more):
        return {"texts": ["a", "b"], "input_type": "search_document", **more}

    @pytest.mark.parametrize(("model", "length"), [(COHERE_3, 1024), (COHERE_4, 1536)])
    def test_many_texts_have_many_vectors_in_order(self, model, length):
        document = invoke(model, self.body()).document
        assert document["response_type"] == "embeddings_floats"
        assert document["texts"] == ["a", "b"]
        assert [len(vector) for vector in document["embeddings"]] == [length, length]
        alone = invoke(model, self.body(texts=["b"])).document["embeddings"]
        assert document["embeddings"][1] == alone[0]

    def test_with_types_the_vectors_are_in_a_mapping(self):
        types = ["float", "int8", "uint8", "binary", "ubinary"]
        document = invoke(COHERE_4, self.body(embedding_types=types, output_dimension=256)).document
        assert document["response_type"] == "embeddings_by_type"
        assert list(document["embeddings"]) == types
        found = {kind: vectors[0] for kind, vectors in document["embeddings"].items()}
        assert {kind: len(vector) for kind, vector in found.items()} == {
            "float": 256,
            "int8": 256,
            "uint8": 256,
            "binary": 32,
            "ubinary": 32,
        }
        assert all(-128 <= number <= 127 for number in found["int8"] + found["binary"])
        assert all(0 <= number <= 255 for number in found["uint8"] + found["ubinary"])
        assert [number - 128 for number in found["ubinary"]] == found["binary"]

    def test_a_question_has_another_vector_than_a_document(self):
        one, other = (
            invoke(COHERE_3, {"texts": ["a"], "input_type": kind}).document["embeddings"]
            for kind in ("search_document", "search_query")
        )
        assert one != other

    def test_tokens_are_in_a_header_only(self):
        answer = invoke(COHERE_3, self.body())
        assert answer.headers["x-amzn-bedrock-input-token-count"] == "2"
        assert not any("token" in name.lower() for name in answer.document)

    def test_96_texts_and_no_more(self):
        assert len(invoke(COHERE_3, self.body(texts=["x"] * 96)).document["embeddings"]) == 96
        assert refused(COHERE_3, self.body(texts=["x"] * 97)) == malformed(
            "#/texts: expected maximum item count: 96, found: 97"
        )

    def test_titans_body_is_not_cohere_s(self):
        assert refused(COHERE_3, {"inputText": "x"}) == malformed(
            "#: required key [texts] not found",
            "#: required key [input_type] not found",
            "#: extraneous key [inputText] is not permitted",
        )

    def test_long_texts(self):
        assert refused(COHERE_3, self.body(texts=["x" * 2049])) == malformed(
            "#/texts/0: expected maxLength: 2048, actual: 2049"
        )
        long = self.body(texts=["x" * 400], max_tokens=10)
        assert refused(COHERE_4, long) == "Input is too long for requested model."
        assert invoke(COHERE_4, {**long, "truncate": "RIGHT"}).input_tokens == 10

    def test_truncation_keeps_the_end_that_was_asked_for(self):
        def vector(text, truncate):
            body = self.body(texts=[text], max_tokens=1, truncate=truncate, output_dimension=256)
            return invoke(COHERE_4, body).document["embeddings"][0]

        assert vector("abcdefgh", "RIGHT") == vector("abcd", "NONE")
        assert vector("abcdefgh", "START") == vector("efgh", "NONE")

    def test_images_come_as_data_uris(self):
        document = invoke(COHERE_3, {"images": [URI], "input_type": "image"}).document
        assert document["texts"] == []
        assert document["images"] == [{"width": 16, "height": 8, "format": "png", "bit_depth": 24}]
        assert "data URI" in refused(COHERE_3, {"images": [PNG], "input_type": "image"})
        assert "data URI" in refused(COHERE_3, {"images": [URI.replace("png;", "jpeg;")], "input_type": "image"})
        assert "input_type image" in refused(COHERE_3, {"images": [URI], "input_type": "search_query"})

    def test_version_4_takes_texts_images_or_both_mixed_but_one_of_them(self):
        mixed = {"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": URI}]}
        wrapped = {"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": URI}}]}
        found = [
            invoke(COHERE_4, {"inputs": [item], "input_type": "clustering"}).document["embeddings"]
            for item in (mixed, wrapped)
        ]
        assert found[0] == found[1]
        assert len(invoke(COHERE_4, {"images": [URI] * 2, "input_type": "clustering"}).document["embeddings"]) == 2
        assert "exactly one of" in refused(COHERE_4, self.body(images=[URI]))
        assert "exactly one of" in refused(COHERE_4, {"input_type": "clustering"})


class TestNova:
    def body(self, **params):
        return {
            "schemaVersion": "nova-multimodal-embed-v1",
            "taskType": "SINGLE_EMBEDDING",
            "singleEmbeddingParams": {"embeddingPurpose": "GENERIC_INDEX", **params},
        }

    def text(self, value="hello", mode="NONE"):
        return {"truncationMode": mode, "value": value}

    @pytest.mark.parametrize("length", [256, 384, 1024, 3072])
    def test_one_text_one_vector(self, length):
        answer = invoke(NOVA, self.body(text=self.text(), embeddingDimension=length))
        (found,) = answer.document["embeddings"]
        assert found["embeddingType"] == "TEXT"
        assert len(found["embedding"]) == length
        assert hypot(*found["embedding"]) == pytest.approx(1)
        assert "truncatedCharLength" not in found

    def test_tokens_are_in_a_header_only(self):
        answer = invoke(NOVA, self.body(text=self.text()))
        assert answer.document.keys() == {"embeddings"}
        assert answer.headers["x-amzn-bedrock-input-token-count"] == "2"

    def test_truncation_is_told(self):
        long = "x" * 4 * 8173
        (found,) = invoke(NOVA, self.body(text=self.text(long, "END"))).document["embeddings"]
        assert found["truncatedCharLength"] == 4 * 8172
        assert "Too many input tokens" in refused(NOVA, self.body(text=self.text(long)))

    def test_images_and_films(self):
        (found,) = invoke(NOVA, self.body(image={"format": "png", "source": {"bytes": PNG}})).document["embeddings"]
        assert found["embeddingType"] == "IMAGE"
        film = {"format": "mp4", "source": {"s3Location": {"uri": "s3://films/a.mp4"}}}
        both = invoke(NOVA, self.body(video={**film, "embeddingMode": "AUDIO_VIDEO_SEPARATE"})).document["embeddings"]
        assert [item["embeddingType"] for item in both] == ["VIDEO", "AUDIO"]
        assert both[0]["embedding"] != both[1]["embedding"]

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"taskType": "SINGLE_EMBEDDING"}, "required key [singleEmbeddingParams] not found"),
            ({"taskType": "SEGMENTED_EMBEDDING"}, "asynchronous"),
            (
                {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"embeddingPurpose": "GENERIC_INDEX"}},
                "exactly one of",
            ),
            (
                {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"text": {"truncationMode": "END"}}},
                "#/singleEmbeddingParams: required key [embeddingPurpose] not found",
            ),
        ],
    )
    def test_incomplete_requests(self, body, words):
        assert words in refused(NOVA, body)

    def test_nested_members_are_checked_in_place(self):
        assert refused(NOVA, self.body(text={**self.text(), "x": 1})) == malformed(
            "#/singleEmbeddingParams/text: extraneous key [x] is not permitted"
        )
