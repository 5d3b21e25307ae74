"""What InvokeModel has headers for where Converse has members."""

from __future__ import annotations

import json

from apex_llm_bedrock.metadata import fits
from apex_llm_bedrock.settings import BedrockSettings


def invoke_headers(settings: BedrockSettings, user: str | None) -> dict[str, str] | None:
    """Return the headers of a generation by InvokeModel, None when there are none; *user* joins the metadata if it fits."""
    found = {
        "X-Amzn-Bedrock-GuardrailIdentifier": settings.guardrail_identifier,
        "X-Amzn-Bedrock-GuardrailVersion": settings.guardrail_version,
        "X-Amzn-Bedrock-Trace": settings.guardrail_trace.upper(),
        "X-Amzn-Bedrock-PerformanceConfig-Latency": settings.latency,
        "X-Amzn-Bedrock-Service-Tier": settings.service_tier,
    }
    return {
        **{name: value for name, value in found.items() if value},
        **(metadata_headers(settings, user) or {}),
    } or None


def metadata_headers(settings: BedrockSettings, user: str | None) -> dict[str, str] | None:
    """Return those that any call of InvokeModel may have: embeddings pass no guardrail, and have neither tiers nor latencies."""
    metadata = {**settings.request_metadata, **({"user": user} if user and fits(user) else {})}
    return {"X-Amzn-Bedrock-Request-Metadata": json.dumps(metadata)} if metadata else None


__all__ = ["invoke_headers", "metadata_headers"]
