"""The answers to ``GET /v1/models``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apex_llm_core.converters import encode


def model_document(id: str, *, created: int, owned_by: str) -> dict[str, Any]:  # noqa: A002 - OpenAI's name
    """Return one model.

    Args:
        id: what requests call it.
        created: in unix seconds.
        owned_by: who serves it.
    """
    return {"id": id, "object": "model", "created": created, "owned_by": owned_by}


def models_body(documents: Iterable[dict[str, Any]]) -> bytes:
    """Return the list of *documents*."""
    return encode({"object": "list", "data": list(documents)})


__all__ = ["model_document", "models_body"]
