"""Values of JSON requests, with OpenAI's errors for those that are missing or of the wrong type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apex_llm_mock.emulation.azure.errors import refusal

Json = Mapping[str, Any]


def list_of(body: Json, name: str) -> list[Any]:
    """Return the array called *name*, an empty one when it is absent or null."""
    found = body.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise wrong_type(name, "an array of objects")
    return found


def text_of(item: Json, name: str, where: str) -> str:
    """Return the string called *name*; *where* is the place of *item*."""
    found = item.get(name)
    if found is None:
        raise refusal(
            f"Missing required parameter: '{where}.{name}'.", code="missing_required_parameter", param=f"{where}.{name}"
        )
    if not isinstance(found, str):
        raise wrong_type(f"{where}.{name}", "a string")
    return found


def wrong_type(where: str, expected: str) -> Exception:
    """Return the refusal of a value of the wrong type."""
    return refusal(f"Invalid type for '{where}': expected {expected}.", code="invalid_type", param=where)


__all__ = ["Json", "list_of", "text_of", "wrong_type"]
