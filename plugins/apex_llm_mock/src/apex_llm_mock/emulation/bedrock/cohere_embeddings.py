"""Embeddings by Cohere's models: many texts or images in one call, vectors in several number types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from apex_llm_mock import tokens, vectors
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.errors import invalid
from apex_llm_mock.emulation.bedrock.invoked import Invoked
from apex_llm_mock.emulation.bedrock.malformed import body_schema, check_body, malformed
from apex_llm_mock.emulation.bedrock.pictures_in import PictureIn, read_data_uri
from apex_llm_mock.emulation.bedrock.vector_types import int8, packed, uint8

MOST_ITEMS = 96
LONGEST_TEXT = 2_048
TOO_LONG = "Input is too long for requested model."
_TYPES = {"type": "array", "items": {"type": "string", "enum": ("float", "int8", "uint8", "binary", "ubinary")}}
_PURPOSES = ("search_document", "search_query", "classification", "clustering", "image")
_PART = body_schema(
    ("type",),
    type={"type": "string", "enum": ("text", "image_url")},
    text={"type": "string"},
    # Cohere's own interface has an object here, the manual of Bedrock a string.
    image_url={},
)


def cohere_v3(model: BaseModel, body: Any, *, key: str, seed: int) -> Invoked:
    """Return the answer of Embed 3; *key* makes its id.

    Raises:
        RefusedError: the model does not take *body*.
    """
    images = isinstance(body, dict) and "images" in body and "texts" not in body
    schema = body_schema(
        ("images" if images else "texts", "input_type"),
        texts={"type": "array", "maxItems": MOST_ITEMS, "items": {"type": "string", "maxLength": LONGEST_TEXT}},
        images={"type": "array", "maxItems": 1, "items": {"type": "string"}},
        input_type={"type": "string", "enum": _PURPOSES},
        truncate={"type": "string", "enum": ("NONE", "START", "END")},
        embedding_types=_TYPES,
    )
    fields = check_body(body, schema)
    if "images" in fields and (not images or fields["input_type"] != "image"):
        raise invalid("only one of texts or images must be provided, and images need the input_type image")
    items = [_image(uri) for uri in fields["images"]] if images else fields["texts"]
    return _answer(items, fields, model, length=model.dimensions[0], key=key, seed=seed)


def cohere_v4(model: BaseModel, body: Any, *, key: str, seed: int) -> Invoked:
    """Return the answer of Embed 4; *key* makes its id.

    Raises:
        RefusedError: the model does not take *body*.
    """
    schema = body_schema(
        ("input_type",),
        texts={"type": "array", "maxItems": MOST_ITEMS, "items": {"type": "string"}},
        images={"type": "array", "maxItems": MOST_ITEMS, "items": {"type": "string"}},
        inputs={
            "type": "array",
            "maxItems": MOST_ITEMS,
            "items": body_schema(("content",), content={"type": "array", "minItems": 1, "items": _PART}),
        },
        input_type={"type": "string", "enum": _PURPOSES},
        output_dimension={"type": "integer", "enum": model.dimensions},
        max_tokens={"type": "integer", "minimum": 1, "maximum": model.window},
        # The manual has LEFT and RIGHT, Cohere's own interface START and END.
        truncate={"type": "string", "enum": ("NONE", "LEFT", "RIGHT", "START", "END")},
        embedding_types=_TYPES,
    )
    fields = check_body(body, schema)
    given = [name for name in ("texts", "images", "inputs") if fields.get(name)]
    if len(given) != 1:
        raise invalid("exactly one of texts, images or inputs must be provided")
    items: list[Any] = list(fields[given[0]])
    if given[0] == "images":
        items = [_image(uri) for uri in items]
    elif given[0] == "inputs":
        items = [_mixed(item["content"]) for item in items]
    length = fields.get("output_dimension", model.dimensions[0])
    return _answer(items, fields, model, length=length, key=key, seed=seed)


def _answer(
    items: Sequence[str | PictureIn], fields: Mapping[str, Any], model: BaseModel, *, length: int, key: str, seed: int
) -> Invoked:
    most = fields.get("max_tokens", model.window)
    total = 0
    found = []
    for item in items:
        count = tokens.count(item) if isinstance(item, str) else tokens.TOKENS_PER_IMAGE
        if count > most and fields.get("truncate", "NONE") == "NONE":
            raise invalid(TOO_LONG)
        total += min(count, most)
        text = (
            _kept(item, most, fields.get("truncate", "")) if isinstance(item, str) else blake2b(item.data).hexdigest()
        )
        # The purpose is a token before the text, so the same text has another vector as a question.
        found.append(vectors.embed(f"{fields['input_type']}\0{text}", dimensions=length, seed=seed))
    kinds = fields.get("embedding_types")
    document: dict[str, Any] = {
        "id": str(uuid5(NAMESPACE_OID, key)),
        "response_type": "embeddings_by_type" if kinds else "embeddings_floats",
        "embeddings": {kind: [_typed(vector, kind) for vector in found] for kind in kinds}
        if kinds
        else [list(vector) for vector in found],
        "texts": [item for item in items if isinstance(item, str)],
    }
    pictures = [item for item in items if not isinstance(item, str)]
    if pictures:
        document["images"] = [
            {"width": picture.width, "height": picture.height, "format": picture.format, "bit_depth": 24}
            for picture in pictures
        ]
    return Invoked(document=document, input_tokens=total)


def _kept(text: str, most: int, truncate: str) -> str:
    characters = most * tokens.CHARACTERS_PER_TOKEN
    return text[-characters:] if truncate in ("START", "LEFT") else text[:characters]


def _typed(vector: tuple[float, ...], kind: str) -> Sequence[float]:
    match kind:
        case "int8":
            return int8(vector)
        case "uint8":
            return uint8(vector)
        case "binary" | "ubinary":
            return packed(vector, signed=kind == "binary")
    return list(vector)


def _image(uri: str) -> PictureIn:
    picture = read_data_uri(uri)
    if picture is None:
        raise invalid("image must be a valid data URI of a PNG, JPEG, GIF or WebP image")
    return picture


def _mixed(parts: Sequence[Mapping[str, Any]]) -> str:
    """Return the parts of one input as one text; images by what is in them."""
    found = []
    for part in parts:
        if part["type"] not in part:
            raise malformed(f"#/inputs: required key [{part['type']}] not found")
        value = part[part["type"]]
        if part["type"] == "text":
            found.append(value)
        else:
            uri = value.get("url") if isinstance(value, Mapping) else value
            found.append(blake2b(_image(str(uri)).data).hexdigest())
    return "\n".join(found)


__all__ = ["LONGEST_TEXT", "MOST_ITEMS", "TOO_LONG", "cohere_v3", "cohere_v4"]
