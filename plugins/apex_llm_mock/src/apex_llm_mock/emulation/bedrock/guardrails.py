"""Guardrails: lists of words that neither prompts nor answers may hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from apex_llm_mock.emulation.bedrock.conversation_rules import Json
from apex_llm_mock.emulation.bedrock.errors import invalid

#: The guardrails there are, with what they block.
GUARDRAILS: Mapping[str, tuple[str, ...]] = MappingProxyType({"emulated": ("forbidden",)})
BLOCKED_INPUT = "Sorry, the model cannot answer this question."
BLOCKED_OUTPUT = "Sorry, the model's answer was blocked."
_UNKNOWN = "The guardrail identifier or version provided in the request does not exist."


@attrs.frozen(kw_only=True)
class Guardrail:
    """One guardrail in use."""

    name: str
    words: tuple[str, ...]
    traced: bool
    full: bool

    def blocked(self, text: str) -> list[str]:
        """Return the words of *text* that are blocked."""
        return [word for word in self.words if word in text.casefold()]

    def trace(self, *, prompt: Sequence[str], answer: Sequence[str] = (), said: str = "") -> dict[str, Any]:
        """Return the member ``trace`` for the blocked words of *prompt* and *answer*; empty unless it was asked for."""
        if not self.traced:
            return {}
        found: dict[str, Any] = {}
        if said:
            found["modelOutput"] = [said]
        if prompt or self.full:
            found["inputAssessment"] = {self.name: _assessment(prompt)}
        if answer or self.full:
            found["outputAssessments"] = {self.name: [_assessment(answer)]}
        if prompt or answer:
            found["actionReason"] = "Guardrail blocked."
        return {"trace": {"guardrail": found}}


def guardrail_of(body: Json) -> Guardrail | None:
    """Return the guardrail that *body* names, None when it names none.

    Raises:
        RefusedError: there is no such guardrail, or it is named by halves.
    """
    config = body.get("guardrailConfig")
    if not config:
        return None
    identifier, version = config.get("guardrailIdentifier") or "", config.get("guardrailVersion") or ""
    if not identifier or not version:
        raise invalid("The guardrailIdentifier and guardrailVersion fields must both be set to use a guardrail.")
    name = identifier.rpartition("/")[2]
    if name not in GUARDRAILS or version not in ("1", "DRAFT"):
        raise invalid(_UNKNOWN)
    trace = config.get("trace") or "disabled"
    return Guardrail(name=name, words=GUARDRAILS[name], traced=trace != "disabled", full=trace == "enabled_full")


def guarded_text(body: Json) -> str:
    """Return what a guardrail reads of a request: its guarded blocks if there are any, else the last message."""
    marked = list(_guarded(body))
    if marked:
        return "\n".join(marked)
    return "\n".join(block["text"] for block in body["messages"][-1]["content"] if block.get("text"))


def _guarded(body: Json) -> Iterator[str]:
    contents = [body.get("system") or (), *(message["content"] for message in body["messages"])]
    for content in contents:
        for block in content:
            words = (block.get("guardContent") or {}).get("text")
            if words:
                yield words["text"]


def _assessment(words: Sequence[str]) -> dict[str, Any]:
    custom = [{"match": word, "action": "BLOCKED", "detected": True} for word in words]
    policy = {"wordPolicy": {"customWords": custom, "managedWordLists": []}} if words else {}
    units = dict.fromkeys(
        (
            "topicPolicyUnits",
            "contentPolicyUnits",
            "sensitiveInformationPolicyUnits",
            "sensitiveInformationPolicyFreeUnits",
            "contextualGroundingPolicyUnits",
        ),
        0,
    )
    metrics = {"guardrailProcessingLatency": 1, "usage": {**units, "wordPolicyUnits": 1}}
    return {**policy, "invocationMetrics": metrics}


__all__ = ["BLOCKED_INPUT", "BLOCKED_OUTPUT", "GUARDRAILS", "Guardrail", "guarded_text", "guardrail_of"]
