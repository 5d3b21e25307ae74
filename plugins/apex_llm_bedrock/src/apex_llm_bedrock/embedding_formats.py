"""What embedding models take and give by InvokeModel; every vendor has bodies of its own.

===========  =========  ==========================================  ============================
format       texts a    dimensions                                  tokens are told
             call
===========  =========  ==========================================  ============================
titan_v1     1          one number only                             in the body
titan_v2     1          ``dimensions``                              in the body
titan_image  1          ``embeddingConfig.outputEmbeddingLength``   in the body
cohere_v3    96         one number only                             in a header
cohere_v4    96         ``output_dimension``                        in a header
nova         1          ``embeddingDimension``                      in a header
===========  =========  ==========================================  ============================

Texts that are too long are refused by the service unless `extra` asks for truncation: what is cut off without a word is
missing from the vector without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import attrs

from apex_llm_bedrock.answers import malformed, request_id_of
from apex_llm_bedrock.families import Family
from apex_llm_bedrock.requests import add_extra
from apex_llm_core.errors import (
    ContentFilterError,
    ContextLengthExceededError,
    InvalidRequestError,
    LLMError,
    UnsupportedParameterError,
    nearest,
)
from apex_llm_core.models import EmbeddingOptions

Vector = tuple[float, ...]

#: Texts of one call to Cohere's models.
_COHERE_BATCH = 96
_INPUT_TOKENS = "x-amzn-bedrock-input-token-count"
_NOTHING: Mapping[str, Any] = MappingProxyType({})
#: What Nova calls the purposes that Cohere has words for.
_PURPOSES = {
    "search_document": "GENERIC_INDEX",
    "search_query": "GENERIC_RETRIEVAL",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}


class Vectors(NamedTuple):
    """What one call gave, in the order of its texts; `tokens` is None where the service told no count."""

    vectors: tuple[Vector, ...]
    tokens: int | None


@attrs.frozen(kw_only=True)
class Wishes:
    """What a request asks of all its vectors."""

    dimensions: int | None = None
    #: What the texts are for, in Cohere's words or in the model's own.
    input_type: str = "search_document"
    #: The form of the numbers ("float", "int8", "binary", …); "" leaves it to the model.
    numbers: str = ""
    #: The caller's own parameters.
    extra: Mapping[str, Any] = _NOTHING


@attrs.frozen(kw_only=True)
class EmbeddingFormat:
    """The bodies of one kind of model."""

    name: str
    #: Texts that one call takes.
    batch: int = 1
    #: A request may choose the dimensions.
    sized: bool = True
    #: A request may choose the form of the numbers.
    typed: bool = False
    body: Callable[[Sequence[str], Wishes], dict[str, Any]]
    #: From the body of an answer to its vectors, of whatever form they have.
    found: Callable[[Mapping[str, Any], Wishes], Any]


def wishes_of(options: EmbeddingOptions, form: EmbeddingFormat, family: Family, *, input_type: str) -> Wishes:
    """Return what *options* ask of a model of *family*; *input_type* holds where they say nothing.

    Raises:
        InvalidRequestError: the model cannot do it.
    """
    extra = dict(options.extra or ())
    numbers = extra.pop("embedding_types", None)
    if numbers is None:
        numbers = extra.pop("embeddingTypes", None)
    purpose = extra.pop("input_type", None)
    if purpose is None:
        purpose = input_type
    if not isinstance(purpose, str) or not purpose:
        raise InvalidRequestError(
            f"extra.input_type is {purpose!r}; expected what the texts are for{nearest('', _PURPOSES)}"
        )
    return Wishes(
        dimensions=_dimensions(options.dimensions, form, family),
        input_type=purpose,
        numbers="" if numbers is None else _numbers(numbers, form),
        extra=extra,
    )


def _dimensions(asked: int | None, form: EmbeddingFormat, family: Family) -> int | None:
    """Return the number to ask for; None where the model gives no other, or may choose."""
    if asked is None:
        return None
    if family.dimensions and asked not in family.dimensions:
        known = ", ".join(map(str, sorted(family.dimensions)))
        raise UnsupportedParameterError(
            f"dimensions is {asked}; vectors of {family.name} have {known}", parameters=["dimensions"]
        )
    if form.sized:
        return asked
    if not family.dimensions:
        raise UnsupportedParameterError(
            "dimensions: the model gives vectors of one length only; leave it out", parameters=["dimensions"]
        )
    return None


def _numbers(asked: object, form: EmbeddingFormat) -> str:
    """Return the one form of numbers that *asked*, the caller's list of them, has."""
    if isinstance(asked, str):
        asked = [asked]
    if not isinstance(asked, Sequence) or len(asked) != 1 or not isinstance(asked[0], str) or asked[0] == "base64":
        raise InvalidRequestError(
            f"extra.embedding_types is {asked!r}; a text gets one vector of numbers, so ask for one form, for example ['int8']"
        )
    if form.typed:
        return asked[0]
    if asked[0] != "float":
        raise UnsupportedParameterError(
            f"extra.embedding_types is {asked!r}; the model gives vectors of 'float' only; leave it out",
            parameters=["extra.embedding_types"],
        )
    return ""


def read_vectors(
    form: EmbeddingFormat, document: Mapping[str, Any], headers: Mapping[str, str], wishes: Wishes, *, count: int
) -> Vectors:
    """Return what the body *document* of an answer to *count* texts holds.

    Raises:
        LLMError: the model says in a good answer why there is no vector; or the answer is not what was asked for.
    """
    try:
        found = form.found(document, wishes)
        vectors = tuple(_vector(each) for each in found)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _told(document, headers) or malformed("with vectors of an unknown form", headers) from error
    if len(vectors) != count:
        raise malformed(f"with {len(vectors)} vectors for {count} texts", headers)
    if not vectors[0] or len(set(map(len, vectors))) > 1:
        raise _told(document, headers) or malformed("with empty vectors, or some of another length", headers)
    return Vectors(vectors, _tokens(document, headers))


def _vector(wire: object) -> Vector:
    # Texts would be base64, which nobody asked for.
    if not isinstance(wire, list):
        raise TypeError
    return tuple(map(float, wire))


def _told(document: Mapping[str, Any], headers: Mapping[str, str]) -> LLMError | None:
    """Return the error that *document* tells of: Titan's multimodal model does so under a good status."""
    said = document.get("message")
    if not isinstance(said, str) or not said:
        return None
    return _kind(said.lower())(
        f"the model made no vector: {said[:500]}",
        status_code=200,
        request_id=request_id_of(headers),
        details={"original_message": said},
    )


def _kind(said: str) -> type[LLMError]:
    if "filter" in said:
        return ContentFilterError
    if "token" in said or "too long" in said:
        return ContextLengthExceededError
    return InvalidRequestError


def _tokens(document: Mapping[str, Any], headers: Mapping[str, str]) -> int | None:
    told = document.get("inputTextTokenCount")
    if type(told) is int:
        return told
    counted = headers.get(_INPUT_TOKENS, "")
    return int(counted) if counted.isascii() and counted.isdigit() else None


def _titan_v1_body(texts: Sequence[str], wishes: Wishes) -> dict[str, Any]:
    body: dict[str, Any] = {"inputText": texts[0]}
    add_extra(body, wishes.extra, ours=frozenset({"inputText"}))
    return body


def _titan_v2_body(texts: Sequence[str], wishes: Wishes) -> dict[str, Any]:
    body: dict[str, Any] = {"inputText": texts[0]}
    if wishes.dimensions is not None:
        body["dimensions"] = wishes.dimensions
    if wishes.numbers:
        body["embeddingTypes"] = [wishes.numbers]
    add_extra(body, wishes.extra, ours=frozenset({"inputText"}))
    return body


def _titan_image_body(texts: Sequence[str], wishes: Wishes) -> dict[str, Any]:
    body: dict[str, Any] = {"inputText": texts[0]}
    if wishes.dimensions is not None:
        body["embeddingConfig"] = {"outputEmbeddingLength": wishes.dimensions}
    add_extra(body, wishes.extra, ours=frozenset(body))
    return body


def _titan_found(document: Mapping[str, Any], wishes: Wishes) -> list[Any]:
    by_type = document.get("embeddingsByType")
    if wishes.numbers and by_type:
        return [by_type[wishes.numbers]]
    return [document["embedding"]]


def _cohere_body(texts: Sequence[str], wishes: Wishes) -> dict[str, Any]:
    body: dict[str, Any] = {"texts": list(texts), "input_type": wishes.input_type}
    if wishes.dimensions is not None:
        body["output_dimension"] = wishes.dimensions
    if wishes.numbers:
        body["embedding_types"] = [wishes.numbers]
    add_extra(body, wishes.extra, ours=frozenset({"texts", "images", "inputs"}))
    return body


def _cohere_found(document: Mapping[str, Any], wishes: Wishes) -> Any:
    found = document["embeddings"]
    return found[wishes.numbers or "float"] if isinstance(found, dict) else found


def _nova_body(texts: Sequence[str], wishes: Wishes) -> dict[str, Any]:
    extra = dict(wishes.extra)
    purpose = extra.pop("embeddingPurpose", None) or _PURPOSES.get(wishes.input_type, wishes.input_type)
    if not isinstance(purpose, str) or not purpose.isupper():
        raise InvalidRequestError(f"extra.input_type is {purpose!r}{nearest(str(purpose), _PURPOSES)}")
    params: dict[str, Any] = {
        "embeddingPurpose": purpose,
        "text": {
            "truncationMode": extra.pop("truncationMode", None) or extra.pop("truncate", "NONE"),
            "value": texts[0],
        },
    }
    if wishes.dimensions is not None:
        params["embeddingDimension"] = wishes.dimensions
    body: dict[str, Any] = {
        "schemaVersion": "nova-multimodal-embed-v1",
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": params,
    }
    add_extra(body, extra, ours=frozenset(body))
    return body


def _nova_found(document: Mapping[str, Any], _wishes: Wishes) -> list[Any]:
    return [entry["embedding"] for entry in document["embeddings"]]


#: By the word a family has for its kind of embeddings.
FORMATS: Mapping[str, EmbeddingFormat] = MappingProxyType(
    {
        form.name: form
        for form in (
            EmbeddingFormat(name="titan_v1", sized=False, body=_titan_v1_body, found=_titan_found),
            EmbeddingFormat(name="titan_v2", typed=True, body=_titan_v2_body, found=_titan_found),
            EmbeddingFormat(name="titan_image", body=_titan_image_body, found=_titan_found),
            EmbeddingFormat(
                name="cohere_v3", batch=_COHERE_BATCH, sized=False, typed=True, body=_cohere_body, found=_cohere_found
            ),
            EmbeddingFormat(name="cohere_v4", batch=_COHERE_BATCH, typed=True, body=_cohere_body, found=_cohere_found),
            EmbeddingFormat(name="nova", body=_nova_body, found=_nova_found),
        )
    }
)

__all__ = ["FORMATS", "EmbeddingFormat", "Vector", "Vectors", "Wishes", "read_vectors", "wishes_of"]
