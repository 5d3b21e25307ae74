"""The body of ``POST /v1/embeddings``."""

from __future__ import annotations

from typing import Any

import attrs

from apex_llm_core.models import EmbeddingOptions
from apex_llm_gateway.openai import fields
from apex_llm_gateway.openai.parameters import Parameters, add_model, body_of, built
from apex_llm_gateway.openai.rules import ParameterError, Rules
from apex_llm_gateway.openai.texts import read_texts

#: Texts of one request, at most, as in OpenAI's API.
MOST_TEXTS = 2048


@attrs.frozen(kw_only=True)
class EmbeddingsRequest:
    """What a body asks for."""

    texts: tuple[str, ...]
    options: EmbeddingOptions
    #: Vectors are wanted as base64 of 32-bit floats rather than as numbers.
    base64: bool = False


#: Those that OpenAI's API has, with what becomes of them.
PARAMETERS = Parameters(
    route="/v1/embeddings",
    options=("dimensions", "user"),
    read=frozenset({"encoding_format", "input", "model"}),
    passed=frozenset(),
)


def read_embeddings(document: Any, rules: Rules) -> EmbeddingsRequest:
    """Return what the decoded body *document* asks for; null counts as absent.

    Raises:
        ParameterError: it cannot be understood, or *rules* forbid it; `param` is the place.
    """
    body = body_of(document)
    found = PARAMETERS.sort(body, rules)
    add_model(found, body, rules)
    value = fields.given(body, "input", "")
    texts = read_texts(value, "input")
    if len(texts) > MOST_TEXTS:
        raise ParameterError(f"input has {len(texts)} texts; at most {MOST_TEXTS} are taken", param="input")
    if "" in texts:
        place = "input" if type(value) is str else f"input[{texts.index('')}]"
        raise ParameterError(f"{place} is empty; there is nothing to embed", param=place)
    encoding = body.get("encoding_format")
    if encoding is not None:
        encoding = fields.word(encoding, "encoding_format", ("float", "base64"))
    return EmbeddingsRequest(texts=texts, options=built(EmbeddingOptions, found), base64=encoding == "base64")


__all__ = ["MOST_TEXTS", "PARAMETERS", "EmbeddingsRequest", "read_embeddings"]
