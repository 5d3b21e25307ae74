"""Content-filter annotations: kept as the service sent them, read only for their verdict.

The members vary by version and by configured filter (severities, detections, lists, offsets, a neighbouring ``error`` that
says the filter did not run), so they travel as open maps; nothing here fails on a form it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Names under which the verdict on the prompt arrives; the second is the older one of the asynchronous filter.
PROMPT_KEYS = ("prompt_filter_results", "prompt_annotations")


def filtered(annotations: object) -> bool:
    """Return whether a filter among *annotations* held something back."""
    if not isinstance(annotations, Mapping):
        return False
    return any(isinstance(verdict, Mapping) and verdict.get("filtered") is True for verdict in annotations.values())


def merged(known: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """Return *known* with *newer* laid over it; a verdict that held something back is not replaced by a milder one."""
    result = dict(known)
    for category, verdict in newer.items():
        if filtered({category: result.get(category)}) and not filtered({category: verdict}):
            continue
        result[category] = verdict
    return result


def prompt_results(document: Mapping[str, Any]) -> Any:
    """Return the verdict on the prompt, None where there is none."""
    for key in PROMPT_KEYS:
        found = document.get(key)
        if found:
            return found
    return None


__all__ = ["PROMPT_KEYS", "filtered", "merged", "prompt_results"]
