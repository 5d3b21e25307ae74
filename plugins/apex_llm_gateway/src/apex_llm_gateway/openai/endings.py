"""How answers end, whole and streamed: finish reasons, usage, and what served them, as members of JSON objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apex_llm_core.models import Usage
from apex_llm_gateway.openai.jsontext import quote

_WORDS = ("stop", "length", "content_filter", "tool_calls", "function_call")
#: OpenAI's finish reasons as members, of chats and of completions.
CHAT_FINISHES: Mapping[str, bytes] = {word: b'"finish_reason":"%b"' % word.encode() for word in _WORDS}
COMPLETION_FINISHES: Mapping[str, bytes] = {word: CHAT_FINISHES[word] for word in _WORDS[:3]}
#: OpenAI's service tiers; providers have others, at which typed clients would stumble.
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})


def finish_of(reason: str, finishes: Mapping[str, bytes]) -> bytes:
    """Return the finish reason; one that is none of *finishes* becomes "stop", with the provider's word beside it."""
    known = finishes.get(reason)
    return known if known is not None else b'"finish_reason":"stop","native_finish_reason":' + quote(reason)


def usage_of(usage: Usage) -> bytes:
    """Return the object that ``usage`` is."""
    written = b"" if not usage.cache_write_tokens else b',"cache_write_tokens":%d' % usage.cache_write_tokens
    return (
        b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
        b'"prompt_tokens_details":{"cached_tokens":%d%b},"completion_tokens_details":{"reasoning_tokens":%d}%b}'
    ) % (
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        usage.cached_tokens,
        written,
        usage.reasoning_tokens,
        b',"estimated":true' if usage.estimated else b"",
    )


def sum_of(usages: Iterable[Usage | None]) -> Usage | None:
    """Return all of *usages* together, None when one of them is not known."""
    every = list(usages)
    known = [usage for usage in every if usage is not None]
    if not known or len(known) < len(every):
        return None
    if len(known) == 1:
        return known[0]
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in known),
        completion_tokens=sum(usage.completion_tokens for usage in known),
        total_tokens=sum(usage.total_tokens for usage in known),
        cached_tokens=sum(usage.cached_tokens for usage in known),
        cache_write_tokens=sum(usage.cache_write_tokens for usage in known),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in known),
        estimated=any(usage.estimated for usage in known),
    )


def service_of(details: Mapping[str, Any]) -> bytes:
    """Return the members, each after a comma, that tell what served an answer."""
    fingerprint, tier = details.get("system_fingerprint"), details.get("service_tier")
    if isinstance(tier, Mapping):
        tier = tier.get("type")
    said = b""
    if isinstance(fingerprint, str):
        said = b',"system_fingerprint":' + quote(fingerprint)
    if isinstance(tier, str) and tier in _TIERS:
        said += b',"service_tier":' + quote(tier)
    return said


__all__ = ["CHAT_FINISHES", "COMPLETION_FINISHES", "finish_of", "service_of", "sum_of", "usage_of"]
