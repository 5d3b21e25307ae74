"""What handlers of the OpenAI routes use of the gateway."""

from __future__ import annotations

from typing import Protocol

from apex_llm_core.manager import LLMProviderManager
from apex_llm_gateway.activity import Activity
from apex_llm_gateway.keys import Key
from apex_llm_gateway.openai.rules import Rules


class GatewayView(Protocol):
    """The gateway, as its handlers see it."""

    @property
    def manager(self) -> LLMProviderManager:
        """Does the work."""

    @property
    def rules(self) -> Rules:
        """How bodies are read."""

    @property
    def activity(self) -> Activity:
        """Notes what is under way."""

    @property
    def created(self) -> int:
        """When the gateway began, in unix seconds."""

    def permit(self, key: Key, model: str, provider: str | None) -> None:
        """Raise `HttpError` when *key* may not use the model, or choose the provider (403), or that has none such (404)."""


__all__ = ["GatewayView"]
