"""Which family a model is of, by the foundation model's id; never by a profile's ARN, which names nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from apex_llm_bedrock.family import UNKNOWN, Family, Reasoning
from apex_llm_bedrock.family_table import KNOWN
from apex_llm_bedrock.model_ids import split_geo

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in KNOWN})


def family_of(base: str | None) -> Family:
    """Return the family of *base*, the id of a foundation model or of a geography's inference profile.

    The longest known prefix counts, up to a hyphen, a dot or a colon: ``amazon.nova-2-lite-v1:0`` is of ``amazon.nova-2``,
    ``amazon.nova-20`` is not. `UNKNOWN` where *base* is None or begins like nothing known.
    """
    if not base:
        return UNKNOWN
    text = base.strip().lower()
    prefix = split_geo(text)[1] or text
    while prefix not in FAMILIES:
        end = max(prefix.rfind(boundary) for boundary in "-.:")
        if end <= 0:
            return UNKNOWN
        prefix = prefix[:end]
    return FAMILIES[prefix]


__all__ = ["FAMILIES", "UNKNOWN", "Family", "Reasoning", "family_of"]
