"""How models are asked to think: each family has its own parameter, and Converse passes it through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apex_llm_bedrock.families import Family
from apex_llm_bedrock.lost import Lost
from apex_llm_core.errors import UnsupportedParameterError, nearest
from apex_llm_core.models import ChatGenerationOptions

#: Tokens to think with, by the word for it, where a model wants a number.
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384}
_LEAST_BUDGET = 1024
#: Tokens for the answer beside them, where nobody says how many.
_ROOM = 16384
#: While Claude thinks.
_LEAST_TOP_P = 0.95
#: What of ``inferenceConfig`` is which option.
_OPTIONS = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p"}


def reasoning_fields(effort: str, family: Family, max_tokens: int | None, dropped: list[str]) -> dict[str, Any]:
    """Return the model's own parameters for *effort*; empty where it has none, which is noted in *dropped*.

    Raises:
        UnsupportedParameterError: *max_tokens* leaves no room to think, or *effort* is no word the model knows.
    """
    if family.reasoning == "budget":
        return {"thinking": {"type": "enabled", "budget_tokens": _budget(effort, max_tokens)}}
    word = _known(effort, family)
    match family.reasoning:
        case "adaptive":
            return {"thinking": {"type": "adaptive"}, "output_config": {"effort": word}}
        case "nova":
            return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": word}}
        case "effort":
            return {"reasoning_effort": word}
        case "qwen":
            return {"reasoning_config": word}
        case "openai":
            return {"reasoning": {"effort": word}}
    dropped.append("reasoning_effort")
    return {}


def beside_reasoning(
    inference: dict[str, Any], effort: str, family: Family, dropped: list[str], fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what of *inference* a model takes that is asked to think by *fields*; what it refuses is noted in *dropped*."""
    refused: set[str] = set()
    if family.reasoning == "nova" and effort == "high":
        # It then sets these itself, and refuses to be told.
        refused.update(name for name in _OPTIONS if name in inference)
    elif family.reasoning in ("budget", "adaptive"):
        if inference.get("temperature", 1) != 1:
            refused.add("temperature")
        if inference.get("topP", 1) < _LEAST_TOP_P:
            refused.add("topP")
    dropped += [Lost(_OPTIONS[name], "not while it thinks") for name in inference if name in refused]
    kept = {name: value for name, value in inference.items() if name not in refused}
    budget = fields.get("thinking", {}).get("budget_tokens")
    if budget is not None and "maxTokens" not in kept:
        # Thinking comes out of the same number, whose default is not said to be the same everywhere.
        kept["maxTokens"] = min(budget + _ROOM, family.max_output_tokens or budget + _ROOM)
    return kept


def tool_choices(options: ChatGenerationOptions, family: Family) -> frozenset[str]:
    """Return the values of ``toolChoice`` that the model takes for *options*: some let no tool be forced while they think."""
    thinks = options.reasoning_effort is not None and family.reasoning != "none"
    return family.tool_choices & {"auto"} if thinks and not family.forces_while_reasoning else family.tool_choices


def _budget(effort: str, max_tokens: int | None) -> int:
    budget = _BUDGETS.get(effort)
    if budget is None:
        raise UnsupportedParameterError(
            f"reasoning_effort is {effort!r}{nearest(effort, _BUDGETS)}", parameters=["reasoning_effort"]
        )
    if max_tokens is None:
        return budget
    if max_tokens <= _LEAST_BUDGET:
        raise UnsupportedParameterError(
            f"max_tokens is {max_tokens}, but reasoning alone takes {_LEAST_BUDGET}; "
            "raise it, or leave out reasoning_effort",
            parameters=["reasoning_effort"],
        )
    # The answer comes out of the same number.
    return min(budget, max(_LEAST_BUDGET, max_tokens // 2))


def _known(effort: str, family: Family) -> str:
    if not family.efforts or effort in family.efforts:
        return effort
    if effort == "minimal":
        return family.efforts[0]
    raise UnsupportedParameterError(
        f"reasoning_effort is {effort!r}{nearest(effort, family.efforts)}", parameters=["reasoning_effort"]
    )


__all__ = ["beside_reasoning", "reasoning_fields", "tool_choices"]
