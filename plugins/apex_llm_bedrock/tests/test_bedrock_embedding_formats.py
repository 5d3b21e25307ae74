"""Bodies and answers of embedding models, by their formats."""

from __future__ import annotations

import pytest
from apex_llm_bedrock.embedding_formats import FORMATS, Vectors, Wishes, read_vectors, wishes_of
from apex_llm_bedrock.families import FAMILIES, UNKNOWN, family_of
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import (
    ContentFilterError,
    ContextLengthExceededError,
    InvalidRequestError,
    ServiceUnavailableError,
)
from apex_llm_core.models import EmbeddingOptions

MODELS = {
    "titan_v1": "amazon.titan-embed-text-v1",
    "titan_v2": "amazon.titan-embed-text-v2:0",
    "titan_image": "amazon.titan-embed-image-v1",
    "cohere_v3": "cohere.embed-english-v3",
    "cohere_v4": "cohere.embed-v4:0",
    "nova": "amazon.nova-2-multimodal-embeddings-v1:0",
}
HEADERS = {"x-amzn-bedrock-input-token-count": "7", "x-amzn-requestid": "req-1"}


def wishes(name, *, input_type="search_document", **options):
    return wishes_of(EmbeddingOptions(**options), FORMATS[name], family_of(MODELS[name]), input_type=input_type)


def body(name, *texts, **options):
    return FORMATS[name].body(texts or ("Hello",), wishes(name, **options))


def read(name, document, *, count=1, headers=HEADERS, **options):
    return read_vectors(FORMATS[name], document, headers, wishes(name, **options), count=count)


def test_every_family_that_embeds_has_a_known_format():
    formats = {family.embedding for family in FAMILIES.values() if family.embedding}
    assert formats == FORMATS.keys()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("titan_v1", {"inputText": "Hello"}),
        ("titan_v2", {"inputText": "Hello"}),
        ("titan_image", {"inputText": "Hello"}),
        ("cohere_v3", {"texts": ["Hello"], "input_type": "search_document"}),
        ("cohere_v4", {"texts": ["Hello"], "input_type": "search_document"}),
        (
            "nova",
            {
                "schemaVersion": "nova-multimodal-embed-v1",
                "taskType": "SINGLE_EMBEDDING",
                "singleEmbeddingParams": {
                    "embeddingPurpose": "GENERIC_INDEX",
                    "text": {"truncationMode": "NONE", "value": "Hello"},
                },
            },
        ),
    ],
)
def test_the_plainest_body(name, expected):
    assert body(name) == expected


@pytest.mark.parametrize(
    ("name", "asked", "place"),
    [
        ("titan_v2", 256, ("dimensions",)),
        ("titan_image", 384, ("embeddingConfig", "outputEmbeddingLength")),
        ("cohere_v4", 512, ("output_dimension",)),
        ("nova", 3072, ("singleEmbeddingParams", "embeddingDimension")),
    ],
)
def test_dimensions_have_a_place_of_their_own(name, asked, place):
    found = body(name, dimensions=asked)
    for member in place:
        found = found[member]
    assert found == asked


@pytest.mark.parametrize(("name", "only"), [("titan_v1", 1536), ("cohere_v3", 1024)])
def test_the_only_length_may_be_asked_for_and_is_not_sent(name, only):
    assert body(name, dimensions=only) == body(name)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("titan_v1", "1536"),
        ("titan_v2", "256, 512, 1024"),
        ("titan_image", "256, 384, 1024"),
        ("cohere_v3", "1024"),
        ("cohere_v4", "256, 512, 1024, 1536"),
        ("nova", "256, 384, 1024, 3072"),
    ],
)
def test_other_dimensions_are_refused_with_those_there_are(name, known):
    with pytest.raises(InvalidRequestError, match=f"dimensions is 100; .* have {known}"):
        wishes(name, dimensions=100)


def test_dimensions_of_an_unknown_model_without_a_choice_are_refused():
    with pytest.raises(InvalidRequestError, match="one length only"):
        wishes_of(EmbeddingOptions(dimensions=5), FORMATS["titan_v1"], UNKNOWN, input_type="search_document")


@pytest.mark.parametrize("name", ["cohere_v3", "cohere_v4"])
def test_cohere_is_told_what_the_texts_are_for(name):
    assert body(name, extra={"input_type": "search_query"})["input_type"] == "search_query"
    assert body(name, input_type="clustering")["input_type"] == "clustering"


@pytest.mark.parametrize(
    ("said", "purpose"),
    [
        ("search_document", "GENERIC_INDEX"),
        ("search_query", "GENERIC_RETRIEVAL"),
        ("classification", "CLASSIFICATION"),
        ("clustering", "CLUSTERING"),
        ("TEXT_RETRIEVAL", "TEXT_RETRIEVAL"),
    ],
)
def test_nova_has_purposes_of_its_own(said, purpose):
    assert body("nova", extra={"input_type": said})["singleEmbeddingParams"]["embeddingPurpose"] == purpose


def test_a_purpose_nobody_knows_is_refused_with_the_nearest():
    with pytest.raises(InvalidRequestError, match="did you mean 'search_query'"):
        body("nova", extra={"input_type": "search_querry"})
    with pytest.raises(InvalidRequestError, match="input_type is 5"):
        body("cohere_v3", extra={"input_type": 5})


@pytest.mark.parametrize("name", ["titan_v1", "titan_v2", "titan_image"])
def test_symmetric_models_are_not_told_what_texts_are_for(name):
    assert body(name, extra={"input_type": "search_query"}) == body(name)


def test_parameters_of_the_model_pass_through_extra():
    assert body("titan_v2", extra={"normalize": False})["normalize"] is False
    assert body("cohere_v3", extra={"truncate": "END"})["truncate"] == "END"
    assert body("titan_image", extra={"inputImage": "aGk="})["inputImage"] == "aGk="
    text = body("nova", extra={"truncate": "END"})["singleEmbeddingParams"]["text"]
    assert text["truncationMode"] == "END"


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("titan_v1", {"inputText": "x"}),
        ("titan_v2", {"inputText": "x"}),
        ("titan_image", {"inputText": "x"}),
        ("cohere_v3", {"texts": ["x"]}),
        ("cohere_v4", {"images": ["x"]}),
        ("nova", {"singleEmbeddingParams": {}}),
    ],
)
def test_extra_may_not_contradict_the_request(name, extra):
    with pytest.raises(InvalidRequestError, match="the request itself does"):
        body(name, extra=extra)


@pytest.mark.parametrize("spelling", ["embedding_types", "embeddingTypes"])
def test_another_form_of_numbers_is_asked_for_and_found(spelling):
    titan = {"extra": {spelling: ["binary"]}}
    assert body("titan_v2", **titan)["embeddingTypes"] == ["binary"]
    assert read("titan_v2", {"embeddingsByType": {"binary": [0, 1]}, "inputTextTokenCount": 2}, **titan) == Vectors(
        ((0.0, 1.0),), 2
    )
    cohere = {"extra": {spelling: "int8"}}
    assert body("cohere_v4", **cohere)["embedding_types"] == ["int8"]
    assert read("cohere_v4", {"embeddings": {"int8": [[-3, 4]]}}, **cohere).vectors == ((-3.0, 4.0),)


@pytest.mark.parametrize("asked", [["float", "int8"], [], ["base64"], "base64", [3], 3])
def test_more_than_one_form_or_text_is_refused(asked):
    with pytest.raises(InvalidRequestError, match="embedding_types"):
        wishes("cohere_v3", extra={"embedding_types": asked})


@pytest.mark.parametrize("name", ["titan_v1", "titan_image", "nova"])
def test_models_without_a_choice_give_floats(name):
    assert body(name, extra={"embedding_types": ["float"]}) == body(name)
    with pytest.raises(InvalidRequestError, match="'float' only"):
        body(name, extra={"embedding_types": ["binary"]})


@pytest.mark.parametrize(
    ("name", "document", "vectors", "tokens"),
    [
        ("titan_v1", {"embedding": [0.5, 1], "inputTextTokenCount": 3}, ((0.5, 1.0),), 3),
        (
            "titan_v2",
            {"embedding": [1.0], "embeddingsByType": {"float": [1.0]}, "inputTextTokenCount": 3},
            ((1.0,),),
            3,
        ),
        ("titan_image", {"embedding": [0.5], "inputTextTokenCount": 3, "message": None}, ((0.5,),), 3),
        ("titan_image", {"embedding": [0.5], "inputTextTokenCount": 3, "message": "odd"}, ((0.5,),), 3),
        ("cohere_v3", {"embeddings": [[1], [2]], "response_type": "embeddings_floats"}, ((1.0,), (2.0,)), 7),
        ("cohere_v3", {"embeddings": {"float": [[1], [2]]}}, ((1.0,), (2.0,)), 7),
        ("cohere_v4", {"embeddings": {"float": [[1.5]]}, "response_type": "embeddings_by_type"}, ((1.5,),), 7),
        ("nova", {"embeddings": [{"embeddingType": "TEXT", "embedding": [0.25]}]}, ((0.25,),), 7),
    ],
)
def test_vectors_and_tokens_out_of_an_answer(name, document, vectors, tokens):
    assert read(name, document, count=len(vectors)) == Vectors(vectors, tokens)


@pytest.mark.parametrize("count", [None, "", "-3", "3.5", "many", "³"])
def test_a_count_that_cannot_be_read_is_no_count(count):
    headers = {} if count is None else {"x-amzn-bedrock-input-token-count": count}
    assert read("nova", {"embeddings": [{"embedding": [1]}]}, headers=headers).tokens is None


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("This request has been blocked by our content filters.", ContentFilterError),
        ("400 Bad Request: Too many input tokens. Max input tokens: 256", ContextLengthExceededError),
        ("Unable to process provided image.", InvalidRequestError),
    ],
)
@pytest.mark.parametrize("embedding", [None, []])
def test_titan_tells_of_errors_under_a_good_status(said, kind, embedding):
    with pytest.raises(kind) as raised:
        read("titan_image", {"embedding": embedding, "inputTextTokenCount": 9, "message": said})
    assert said in str(raised.value)
    assert raised.value.status_code == 200
    assert raised.value.request_id == "req-1"
    assert not raised.value.retryable


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("titan_v2", {}),
        ("titan_v2", {"embedding": "AACAPwAAAEA="}),
        ("titan_v2", {"embedding": None}),
        ("titan_v2", {"embedding": [None]}),
        ("titan_v2", {"embedding": []}),
        ("cohere_v3", {"embeddings": [[1.0], [2.0]]}),
        ("cohere_v3", {"embeddings": []}),
        ("cohere_v3", {"embeddings": {"int8": [[1]]}}),
        ("cohere_v3", {"embeddings": {"float": ["AACAPw=="]}}),
        ("cohere_v3", {"embeddings": 3}),
        ("nova", {"embeddings": [{}]}),
        ("nova", {"embeddings": [[1]]}),
    ],
)
def test_answers_of_another_form_are_a_broken_service(name, document):
    with pytest.raises(ServiceUnavailableError) as raised:
        read(name, document)
    assert raised.value.request_id == "req-1"


def test_vectors_of_several_lengths_are_a_broken_service():
    with pytest.raises(ServiceUnavailableError, match="another length"):
        read("cohere_v3", {"embeddings": [[1.0], [2.0, 3.0]]}, count=2)


@given(
    st.lists(
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3), min_size=1, max_size=96
    ),
    st.sampled_from(["list", "dict"]),
)
def test_cohere_vectors_keep_their_order(vectors, form):
    found = read("cohere_v4", {"embeddings": vectors if form == "list" else {"float": vectors}}, count=len(vectors))
    assert list(map(list, found.vectors)) == vectors


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["embedding", "embeddings", "embeddingsByType", "float", "message", "inputTextTokenCount"]),
            inner,
        )
    ),
    max_leaves=10,
)


@given(st.sampled_from(sorted(FORMATS)), st.dictionaries(st.sampled_from(["embedding", "embeddings", "message"]), JSON))
def test_whatever_comes_is_vectors_or_a_typed_error(name, document):
    try:
        found = read_vectors(FORMATS[name], document, {}, Wishes(), count=1)
    except (ServiceUnavailableError, InvalidRequestError, ContentFilterError, ContextLengthExceededError):
        return
    assert len(found.vectors) == 1
    assert all(type(number) is float for number in found.vectors[0])
