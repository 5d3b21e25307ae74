"""Reasoning: how a model is asked for it, how it signs what it thought, and what it takes back."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from typing import Any

import attrs

from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.conversation_rules import Json, blocks
from apex_llm_mock.emulation.bedrock.errors import invalid, refused_by_model

#: The words by which Anthropic lets anybody see redacted reasoning.
REDACTION_TRIGGER = (
    "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_46C9A13E193C177646C7398A98432ECCCE4C1253D5E2D82641AC0E52CC2876CB"
)
LEAST_BUDGET = 1_024
#: What may stand in additionalModelRequestFields for Claude.
_CLAUDE_FIELDS = frozenset(
    {
        "anthropic_beta",
        "context_management",
        "metadata",
        "output_config",
        "reasoning_config",
        "thinking",
        "tool_choice",
        "top_k",
    }
)
_NOVA_FIELDS = frozenset({"inferenceConfig", "reasoningConfig"})
#: Claude since then decides by itself how much to think.
_ADAPTIVE = re.compile(r"anthropic\.claude-(opus|sonnet|haiku)-(4-[6-9]|[5-9])(?!\d)")
_REASONING = "User messages cannot contain reasoning content. Please remove the reasoning content and try again."
_SIGNATURE = (
    "This model doesn't support the reasoningContent.reasoningText.signature field. Remove "
    "reasoningContent.reasoningText.signature and try again."
)


def reasoning_effort(body: Json, model: BaseModel) -> str | None:
    """Return how hard *model* is to think, None for not at all.

    Raises:
        RefusedError: it is asked in a way that it does not understand, or together with what excludes it.
    """
    fields = body.get("additionalModelRequestFields") or {}
    if not isinstance(fields, Mapping):
        raise invalid("The additionalModelRequestFields field must be a JSON object.")
    match model.reasoning:
        case "always":
            return "medium"
        case "nova":
            return _nova_effort(fields)
        case "effort":
            return str(fields.get("reasoning_effort") or "medium")
        case "thinking":
            return _claude_effort(fields, body, model)
    if model.vendor == "Anthropic":
        _check_fields(fields)
        if "thinking" in fields:
            raise refused_by_model("thinking: Extra inputs are not permitted")
    return None


def _check_fields(fields: Mapping[str, Any]) -> None:
    for name in fields:
        if name not in _CLAUDE_FIELDS:
            raise refused_by_model(f"{name}: Extra inputs are not permitted")


def _claude_effort(fields: Mapping[str, Any], body: Json, model: BaseModel) -> str | None:
    _check_fields(fields)
    thinking = fields.get("thinking") or fields.get("reasoning_config")
    if not isinstance(thinking, Mapping):
        return None
    kind = thinking.get("type")
    expected = ("adaptive", "disabled", "enabled") if _ADAPTIVE.match(model.id) else ("disabled", "enabled")
    if kind not in expected:
        tags = ", ".join(f"'{word}'" for word in expected)
        raise refused_by_model(
            f"thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}"
        )
    if kind == "disabled":
        return None
    config = body.get("inferenceConfig") or {}
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int):
            raise refused_by_model("thinking.enabled.budget_tokens: Field required")
        if budget < LEAST_BUDGET:
            raise refused_by_model(
                f"thinking.enabled.budget_tokens: Input should be greater than or equal to {LEAST_BUDGET}"
            )
        if budget >= (config.get("maxTokens") or model.max_output):
            raise refused_by_model("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if config.get("temperature") not in (None, 1):
        raise refused_by_model("`temperature` may only be set to 1 when thinking is enabled.")
    if set((body.get("toolConfig") or {}).get("toolChoice") or ()) & {"any", "tool"}:
        raise refused_by_model("Thinking may not be enabled when tool_choice forces tool use.")
    _check_last_turn(body)
    wanted = (fields.get("output_config") or {}).get("effort") or (body.get("outputConfig") or {}).get("effort")
    return str(wanted or "medium")


def _check_last_turn(body: Json) -> None:
    """A turn that used tools while thinking must come back with what was thought."""
    turns = [(place, message) for place, message in enumerate(body["messages"]) if message["role"] == "assistant"]
    if not turns or not any(block.get("toolResult") for block in body["messages"][-1]["content"]):
        return
    place, message = turns[-1]
    if not message["content"][0].get("reasoningContent"):
        kind = "tool_use" if message["content"][0].get("toolUse") else "text"
        raise refused_by_model(
            f"messages.{place}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{kind}`. When `thinking` "
            "is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of "
            "`tool_use` and `tool_result` blocks)."
        )


def _nova_effort(fields: Mapping[str, Any]) -> str | None:
    for name in fields:
        if name not in _NOVA_FIELDS:
            raise refused_by_model(
                f"Malformed input request: #: extraneous key [{name}] is not permitted, please reformat your input and try again."
            )
    config = fields.get("reasoningConfig")
    if not isinstance(config, Mapping) or config.get("type") != "enabled":
        return None
    effort = config.get("maxReasoningEffort")
    if effort not in ("low", "medium", "high"):
        raise refused_by_model(
            f"Malformed input request: #/reasoningConfig/maxReasoningEffort: {effort} is not a valid enum value, please "
            "reformat your input and try again."
        )
    return str(effort)


@attrs.frozen(kw_only=True)
class Signer:
    """Signs reasoning, and tells whether what comes back is what was thought."""

    seed: int

    def sign(self, words: str) -> str:
        """Return the signature of *words*."""
        return self._encoded(words.encode("utf-8", "surrogatepass"), b"thought")

    def redact(self, words: str) -> str:
        """Return *words* as redacted content: bytes in base64 that nobody can read."""
        data = words.encode("utf-8", "surrogatepass")
        return self._encoded(data, b"redacted") + base64.b64encode(data[::-1]).decode()

    def check(self, messages: Any, model: BaseModel) -> None:
        """Raise `RefusedError` for reasoning in *messages* that *model* does not take back."""
        for where, content in blocks(messages, "reasoningContent"):
            if model.reasoning in ("", "always"):
                raise invalid(_REASONING)
            place = where.removesuffix(".reasoningContent")
            words = content.get("reasoningText")
            if model.reasoning != "thinking":
                if words is None or words.get("signature") is not None:
                    raise invalid(_SIGNATURE)
            elif words is None:
                if not self._is_redacted(content["redactedContent"]):
                    raise refused_by_model(f"{place}: Invalid `data` in `redacted_thinking` block")
            elif not words.get("signature"):
                raise refused_by_model(f"{place}.thinking.signature: Field required")
            elif not hmac.compare_digest(words["signature"].encode(), self.sign(words["text"]).encode()):
                raise refused_by_model(f"{place}: Invalid `signature` in `thinking` block")

    def _is_redacted(self, data: str) -> bool:
        tag, rest = data[:_DIGITS], data[_DIGITS:]
        try:
            words = base64.b64decode(rest, validate=True)[::-1]
        except ValueError:
            return False
        return hmac.compare_digest(tag, self._encoded(words, b"redacted"))

    def _encoded(self, data: bytes, purpose: bytes) -> str:
        digest = hmac.new(f"{self.seed}".encode(), purpose + data, "sha384").digest()
        return base64.b64encode(digest).decode()


#: Of a signature: 48 bytes in base64.
_DIGITS = 64

__all__ = ["LEAST_BUDGET", "REDACTION_TRIGGER", "Signer", "reasoning_effort"]
