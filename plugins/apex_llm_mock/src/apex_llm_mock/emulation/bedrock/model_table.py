"""The foundation models that the emulator offers, by Bedrock's ids."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.claude_and_amazon_models import CLAUDE_AND_AMAZON_MODELS
from apex_llm_mock.emulation.bedrock.media_models import MEDIA_MODELS
from apex_llm_mock.emulation.bedrock.open_models import OTHER_CHAT_MODELS

#: By their ids.
MODELS: Mapping[str, BaseModel] = MappingProxyType(
    {model.id: model for model in (*CLAUDE_AND_AMAZON_MODELS, *OTHER_CHAT_MODELS, *MEDIA_MODELS)}
)
#: Ids that were models once; they are listed no more.
RETIRED = frozenset(
    {
        "ai21.j2-mid-v1",
        "ai21.j2-ultra-v1",
        "anthropic.claude-instant-v1",
        "anthropic.claude-v2",
        "anthropic.claude-v2:1",
        "meta.llama2-13b-chat-v1",
        "meta.llama2-70b-chat-v1",
    }
)

__all__ = ["MODELS", "RETIRED"]
