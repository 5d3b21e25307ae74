"""Content-filter annotations: what Azure adds to prompts and answers."""

from __future__ import annotations

from typing import Any

CATEGORIES = ("hate", "self_harm", "sexual", "violence")


def severities() -> dict[str, Any]:
    """Return harmless verdicts of the four categories."""
    return {category: {"filtered": False, "severity": "safe"} for category in CATEGORIES}


def prompt_verdict() -> dict[str, Any]:
    """Return the verdict on a harmless prompt."""
    return {**severities(), "jailbreak": {"filtered": False, "detected": False}}


def answer_verdict() -> dict[str, Any]:
    """Return the verdict on a harmless answer."""
    return {
        **severities(),
        "protected_material_code": {"filtered": False, "detected": False},
        "protected_material_text": {"filtered": False, "detected": False},
    }


def filtered(category: str = "violence") -> dict[str, Any]:
    """Return a verdict that filters for *category*."""
    return {**severities(), category: {"filtered": True, "severity": "high"}}


def prompt_filter_results() -> list[dict[str, Any]]:
    """Return the annotation of a harmless prompt."""
    return [{"prompt_index": 0, "content_filter_results": prompt_verdict()}]


#: What stands in the place of verdicts when the filter did not run.
NOT_RUN = {"error": {"code": "content_filter_error", "message": "The contents are not filtered"}}

__all__ = [
    "CATEGORIES",
    "NOT_RUN",
    "answer_verdict",
    "filtered",
    "prompt_filter_results",
    "prompt_verdict",
    "severities",
]
