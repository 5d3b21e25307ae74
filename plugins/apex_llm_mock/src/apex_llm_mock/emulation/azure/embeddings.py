"""Embeddings: texts or token ids in, vectors out, within Azure's caps."""

from __future__ import annotations

import asyncio
import struct
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from apex_llm_mock import tokens, vectors
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.azure.errors import from_model, refusal
from apex_llm_mock.emulation.azure.models import BaseModel

MOST_INPUTS = 2_048
MOST_TOKENS = 300_000
#: After so many vectors other requests get a turn.
VECTORS_PER_TURN = 16
PARAMETERS = frozenset({"input", "model", "dimensions", "encoding_format", "user", "input_type"})


async def embeddings(body: Mapping[str, Any], model: BaseModel, *, seed: int) -> dict[str, Any]:
    """Return the answer to an embeddings request.

    Raises:
        RefusedError: Azure would not serve it.
    """
    if model.kind != "embeddings":
        raise refusal(
            f"The embeddings operation does not work with the specified model, {model.name}. Please choose different model "
            "and try again. You can learn more about which models can be used with each operation here: "
            "https://go.microsoft.com/fwlink/?linkid=2197993.",
            code="OperationNotSupported",
        )
    for name in body:
        if name not in PARAMETERS:
            raise refusal(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise refusal(
            f"Invalid value: {encoding!r}. Supported values are: 'float' and 'base64'.",
            code="invalid_value",
            param="encoding_format",
        )
    inputs = _inputs(body.get("input"))
    dimensions = _dimensions(body.get("dimensions"), model)
    total = _count(inputs, model)
    data = []
    for index, item in enumerate(inputs):
        if index % VECTORS_PER_TURN == VECTORS_PER_TURN - 1:
            await asyncio.sleep(0)
        vector = vectors.embed(item if isinstance(item, str) else repr(item), dimensions=dimensions, seed=seed)
        data.append({"object": "embedding", "index": index, "embedding": _encoded(vector, encoding)})
    return {
        "object": "list",
        "data": data,
        "model": model.full_name,
        "usage": {"prompt_tokens": total, "total_tokens": total},
    }


def _inputs(given: Any) -> list[str | list[int]]:
    """Return texts and token ids, one for each vector."""
    if given is None:
        raise refusal("Missing required parameter: 'input'.", code="missing_required_parameter", param="input")
    items = given if isinstance(given, list) and not _are_ids(given) else [given]
    if not items or any(not _is_input(item) for item in items):
        raise refusal(
            "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.",
            param="input",
        )
    if len(items) > MOST_INPUTS:
        raise refusal(
            f"Invalid 'input': array too long. Expected an array with maximum length {MOST_INPUTS}, but got an array with "
            f"length {len(items)} instead.",
            code="array_above_max_length",
            param="input",
        )
    return items


def _is_input(item: Any) -> bool:
    return bool(item) and (isinstance(item, str) or (isinstance(item, list) and _are_ids(item)))


def _are_ids(items: list[Any]) -> bool:
    return bool(items) and all(type(item) is int for item in items)


def _dimensions(wanted: Any, model: BaseModel) -> int:
    if wanted is None:
        return model.dimensions
    if not model.shortens:
        raise refusal("This model does not support specifying dimensions.", param="dimensions")
    if type(wanted) is not int or not 1 <= wanted <= model.dimensions:
        raise refusal(
            f"Invalid value for 'dimensions' = {wanted}. Must be between 1 and {model.dimensions}.", param="dimensions"
        )
    return wanted


def _count(inputs: list[str | list[int]], model: BaseModel) -> int:
    total = 0
    for item in inputs:
        size = tokens.count(item) if isinstance(item, str) else len(item)
        if size > model.window:
            raise refusal(
                f"This model's maximum context length is {model.window} tokens, however you requested {size} tokens ({size} "
                "in your prompt; 0 for the completion). Please reduce your prompt; or completion length."
            )
        total += size
    if total > MOST_TOKENS:
        message = f"Requested {total} tokens, max {MOST_TOKENS} tokens per request"
        raise RefusedError(from_model(message, code="max_tokens_per_request", kind="max_tokens_per_request"))
    return total


def _encoded(vector: tuple[float, ...], encoding: str) -> list[float] | str:
    if encoding == "float":
        return list(vector)
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


__all__ = ["MOST_INPUTS", "MOST_TOKENS", "PARAMETERS", "VECTORS_PER_TURN", "embeddings"]
