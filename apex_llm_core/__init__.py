"""apex-llm-core: many LLM providers as one.

Public names are imported when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apex_llm_core.blocking import BlockingManager
    from apex_llm_core.config import Config, load_config
    from apex_llm_core.context import CallContext
    from apex_llm_core.errors import (
        ApexLLMError,
        AuthenticationError,
        AuthorizationError,
        ConfigurationError,
        ConfigurationWarning,
        ContentFilterError,
        ContextLengthExceededError,
        InvalidRequestError,
        LLMError,
        LLMErrorType,
        LLMTimeoutError,
        ModelNotFoundError,
        PluginError,
        QuotaExceededError,
        RateLimitError,
        ServiceUnavailableError,
        UnknownError,
        UnsupportedParameterError,
    )
    from apex_llm_core.manager import LLMProviderManager
    from apex_llm_core.markers import hookimpl
    from apex_llm_core.models import (
        Caller,
        Candidate,
        ChatGenerationChunk,
        ChatGenerationOptions,
        ChatGenerationResult,
        ChatMessage,
        Decision,
        EmbeddingOptions,
        EmbeddingResult,
        FunctionDefinition,
        ImageGenerationOptions,
        ImageGenerationResult,
        ModelInfo,
        ProviderCapabilities,
        ResponseFormat,
        TextGenerationOptions,
        TextGenerationResult,
        TokenCount,
        Turn,
        Usage,
    )
    from apex_llm_core.routing.streams import ChatStream

_HOMES = {
    "apex_llm_core.blocking": ("BlockingManager",),
    "apex_llm_core.config": ("Config", "load_config"),
    "apex_llm_core.context": ("CallContext",),
    "apex_llm_core.errors": (
        "ApexLLMError",
        "AuthenticationError",
        "AuthorizationError",
        "ConfigurationError",
        "ConfigurationWarning",
        "ContentFilterError",
        "ContextLengthExceededError",
        "InvalidRequestError",
        "LLMError",
        "LLMErrorType",
        "LLMTimeoutError",
        "ModelNotFoundError",
        "PluginError",
        "QuotaExceededError",
        "RateLimitError",
        "ServiceUnavailableError",
        "UnknownError",
        "UnsupportedParameterError",
    ),
    "apex_llm_core.manager": ("LLMProviderManager",),
    "apex_llm_core.markers": ("hookimpl",),
    "apex_llm_core.models": (
        "Caller",
        "Candidate",
        "ChatGenerationChunk",
        "ChatGenerationOptions",
        "ChatGenerationResult",
        "ChatMessage",
        "Decision",
        "EmbeddingOptions",
        "EmbeddingResult",
        "FunctionDefinition",
        "ImageGenerationOptions",
        "ImageGenerationResult",
        "ModelInfo",
        "ProviderCapabilities",
        "ResponseFormat",
        "TextGenerationOptions",
        "TextGenerationResult",
        "TokenCount",
        "Turn",
        "Usage",
    ),
    "apex_llm_core.routing.streams": ("ChatStream",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("apex-llm-core")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "ApexLLMError",
    "AuthenticationError",
    "AuthorizationError",
    "BlockingManager",
    "CallContext",
    "Caller",
    "Candidate",
    "ChatGenerationChunk",
    "ChatGenerationOptions",
    "ChatGenerationResult",
    "ChatMessage",
    "ChatStream",
    "Config",
    "ConfigurationError",
    "ConfigurationWarning",
    "ContentFilterError",
    "ContextLengthExceededError",
    "Decision",
    "EmbeddingOptions",
    "EmbeddingResult",
    "FunctionDefinition",
    "ImageGenerationOptions",
    "ImageGenerationResult",
    "InvalidRequestError",
    "LLMError",
    "LLMErrorType",
    "LLMProviderManager",
    "LLMTimeoutError",
    "ModelInfo",
    "ModelNotFoundError",
    "PluginError",
    "ProviderCapabilities",
    "QuotaExceededError",
    "RateLimitError",
    "ResponseFormat",
    "ServiceUnavailableError",
    "TextGenerationOptions",
    "TextGenerationResult",
    "TokenCount",
    "Turn",
    "UnknownError",
    "UnsupportedParameterError",
    "Usage",
    "hookimpl",
    "load_config",
]
