"""Shared HTTP plumbing for providers, behind `interfaces.HttpClient`. aiohttp is imported at the first request, not before."""

from __future__ import annotations

from apex_llm_core.transport.request import AiohttpResponse
from apex_llm_core.transport.session import AiohttpClient
from apex_llm_core.transport.sse import SseDecoder, SseError, SseEvent

__all__ = ["AiohttpClient", "AiohttpResponse", "SseDecoder", "SseError", "SseEvent"]
