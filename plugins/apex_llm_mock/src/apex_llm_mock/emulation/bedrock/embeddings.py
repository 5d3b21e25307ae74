"""Embeddings by Amazon's models: Titan text (both versions), Titan multimodal, Nova multimodal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from apex_llm_mock import tokens, vectors
from apex_llm_mock.emulation.bedrock import filters
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.cohere_embeddings import cohere_v3, cohere_v4
from apex_llm_mock.emulation.bedrock.errors import invalid
from apex_llm_mock.emulation.bedrock.filters import Blocked
from apex_llm_mock.emulation.bedrock.invoked import Invoked
from apex_llm_mock.emulation.bedrock.malformed import body_schema, check_body, malformed
from apex_llm_mock.emulation.bedrock.pictures_in import read_base64
from apex_llm_mock.emulation.bedrock.vector_types import bits

#: The length of vectors that are not normalised.
LENGTH = 17.0
_TEXT = {"type": "string", "minLength": 1, "maxLength": 50_000}
_TITAN_V1 = body_schema(("inputText",), inputText=_TEXT)
_MODALITIES = ("text", "image", "audio", "video")
_PURPOSES = (
    "GENERIC_INDEX",
    "GENERIC_RETRIEVAL",
    "TEXT_RETRIEVAL",
    "IMAGE_RETRIEVAL",
    "VIDEO_RETRIEVAL",
    "DOCUMENT_RETRIEVAL",
    "AUDIO_RETRIEVAL",
    "CLASSIFICATION",
    "CLUSTERING",
)
_SOURCE = body_schema(
    (),
    bytes={"type": "string"},
    s3Location=body_schema(("uri",), uri={"type": "string"}, bucketOwner={"type": "string"}),
)


def embed(model: BaseModel, body: Any, *, key: str, seed: int, blocked: Blocked = "") -> Invoked:
    """Return the answer of an embedding *model*; *key* makes ids, *blocked* is what the filters find.

    Raises:
        RefusedError: the model does not take *body*.
    """
    match model.embedding:
        case "cohere_v3":
            return cohere_v3(model, body, key=key, seed=seed)
        case "cohere_v4":
            return cohere_v4(model, body, key=key, seed=seed)
        case "titan_image":
            return _titan_image(model, body, seed, blocked)
        case name:
            return _FORMATS[name](model, body, seed)


def _titan_v1(model: BaseModel, body: Any, seed: int) -> Invoked:
    text = check_body(body, _TITAN_V1)["inputText"]
    count = _count(text, model)
    vector = vectors.embed(text, dimensions=model.dimensions[0], seed=seed)
    return Invoked(
        document={"embedding": [number * LENGTH for number in vector], "inputTextTokenCount": count},
        input_tokens=count,
    )


def _titan_v2(model: BaseModel, body: Any, seed: int) -> Invoked:
    schema = body_schema(
        ("inputText",),
        inputText=_TEXT,
        dimensions={"type": "integer", "enum": model.dimensions},
        normalize={"type": "boolean"},
        embeddingTypes={"type": "array", "items": {"type": "string", "enum": ("float", "binary")}},
    )
    fields = check_body(body, schema)
    text = fields["inputText"]
    count = _count(text, model)
    unit = vectors.embed(text, dimensions=fields.get("dimensions", model.dimensions[0]), seed=seed)
    vector = list(unit) if fields.get("normalize", True) else [number * LENGTH for number in unit]
    wanted = fields.get("embeddingTypes") or ["float"]
    by_type = {kind: vector if kind == "float" else bits(unit) for kind in wanted}
    document: dict[str, Any] = {"embeddingsByType": by_type, "inputTextTokenCount": count}
    return Invoked(document={"embedding": vector, **document} if "float" in by_type else document, input_tokens=count)


def _titan_image(model: BaseModel, body: Any, seed: int, blocked: Blocked) -> Invoked:
    schema = body_schema(
        (),
        inputText=_TEXT,
        inputImage={"type": "string", "minLength": 1},
        embeddingConfig=body_schema((), outputEmbeddingLength={"type": "integer", "enum": model.dimensions}),
    )
    fields = check_body(body, schema)
    text, image = fields.get("inputText"), fields.get("inputImage")
    if text is None and image is None:
        raise malformed("#: required key [inputText] not found", "#: required key [inputImage] not found")
    if image is not None and read_base64(image) is None:
        raise invalid("Unable to process provided image. Please provide a valid base64 encoded PNG or JPEG image.")
    count = _count(text, model) if text is not None else 0
    found = blocked or filters.blocked_by(text or "")
    if found in ("prompt", "input_image"):
        # This model tells about blocked content in an answer with status 200.
        message = filters.PROMPT if found == "prompt" else filters.INPUT_IMAGE
        return Invoked(
            document={"embedding": None, "inputTextTokenCount": count, "message": message}, input_tokens=count
        )
    length = fields.get("embeddingConfig", {}).get("outputEmbeddingLength", model.dimensions[0])
    vector = _mean([vectors.embed(item, dimensions=length, seed=seed) for item in (text, image) if item is not None])
    return Invoked(document={"embedding": vector, "inputTextTokenCount": count, "message": None}, input_tokens=count)


def _mean(found: list[tuple[float, ...]]) -> list[float]:
    total = [sum(numbers) for numbers in zip(*found, strict=True)]
    length = sum(number * number for number in total) ** 0.5
    return [number / length for number in total]


def _nova(model: BaseModel, body: Any, seed: int) -> Invoked:
    fields = check_body(body, _nova_schema(model))
    if fields["taskType"] != "SINGLE_EMBEDDING":
        raise invalid("The task type SEGMENTED_EMBEDDING is only supported by asynchronous invocation.")
    if "singleEmbeddingParams" not in fields:
        raise malformed("#: required key [singleEmbeddingParams] not found")
    params = fields["singleEmbeddingParams"]
    given = [name for name in _MODALITIES if name in params]
    if len(given) != 1:
        raise malformed(f"#/singleEmbeddingParams: expected exactly one of {list(_MODALITIES)}, found: {len(given)}")
    (modality,) = given
    content = params[modality]
    kinds = [modality.upper()]
    more: dict[str, Any] = {}
    if modality == "text":
        text, count, cut = _cut(content, model)
        if cut is not None:
            more["truncatedCharLength"] = cut
    else:
        if "source" not in content:
            raise malformed(f"#/singleEmbeddingParams/{modality}: required key [source] not found")
        text, count = json.dumps(content["source"], sort_keys=True), tokens.TOKENS_PER_IMAGE
        if content.get("embeddingMode") == "AUDIO_VIDEO_SEPARATE":
            kinds = ["VIDEO", "AUDIO"]
        elif modality == "video":
            kinds = ["AUDIO_VIDEO_COMBINED"]
    length = params.get("embeddingDimension", model.dimensions[0])
    found = [
        {
            "embeddingType": kind,
            "embedding": list(vectors.embed(f"{kind}\0{text}", dimensions=length, seed=seed)),
            **more,
        }
        for kind in kinds
    ]
    return Invoked(document={"embeddings": found}, input_tokens=count)


def _cut(content: Mapping[str, Any], model: BaseModel) -> tuple[str, int, int | None]:
    """Return the text to embed, its tokens, and after how many characters it was cut, None when it was not."""
    if ("value" in content) == ("source" in content):
        raise malformed("#/singleEmbeddingParams/text: expected exactly one of [value, source]")
    text = content.get("value") or json.dumps(content.get("source"), sort_keys=True)
    count = tokens.count(text)
    if count <= model.window:
        return text, count, None
    mode = content.get("truncationMode", "NONE")
    if mode == "NONE":
        raise _too_many(count, model)
    most = model.window * tokens.CHARACTERS_PER_TOKEN
    return (text[:most] if mode == "END" else text[-most:]), model.window, most


def _nova_schema(model: BaseModel) -> Mapping[str, Any]:
    def media(*formats: str, **more: Any) -> Mapping[str, Any]:
        return body_schema(("format",), format={"type": "string", "enum": formats}, source=_SOURCE, **more)

    return body_schema(
        ("taskType",),
        schemaVersion={"type": "string", "enum": ("nova-multimodal-embed-v1",)},
        taskType={"type": "string", "enum": ("SINGLE_EMBEDDING", "SEGMENTED_EMBEDDING")},
        singleEmbeddingParams=body_schema(
            ("embeddingPurpose",),
            embeddingPurpose={"type": "string", "enum": _PURPOSES},
            embeddingDimension={"type": "integer", "enum": model.dimensions},
            text=body_schema(
                ("truncationMode",),
                truncationMode={"type": "string", "enum": ("START", "END", "NONE")},
                value={"type": "string", "minLength": 1},
                source=_SOURCE,
            ),
            image=media(
                "png",
                "jpeg",
                "gif",
                "webp",
                detailLevel={"type": "string", "enum": ("STANDARD_IMAGE", "DOCUMENT_IMAGE")},
            ),
            audio=media("mp3", "wav", "ogg"),
            video=media(
                *("mp4", "mov", "mkv", "webm", "flv", "mpeg", "mpg", "wmv", "3gp"),
                embeddingMode={"type": "string", "enum": ("AUDIO_VIDEO_COMBINED", "AUDIO_VIDEO_SEPARATE")},
            ),
        ),
    )


def _count(text: str, model: BaseModel) -> int:
    count = tokens.count(text)
    if count > model.window:
        raise _too_many(count, model)
    return count


def _too_many(count: int, model: BaseModel) -> Exception:
    return invalid(
        f"400 Bad Request: Too many input tokens. Max input tokens: {model.window}, request input token count: {count} "
    )


_FORMATS: Mapping[str, Callable[[BaseModel, Any, int], Invoked]] = {
    "titan_v1": _titan_v1,
    "titan_v2": _titan_v2,
    "nova": _nova,
}

__all__ = ["LENGTH", "embed"]
