"""What Bedrock says about a foundation model."""

from __future__ import annotations

from typing import Literal

import attrs

Modality = Literal["TEXT", "IMAGE", "VIDEO", "SPEECH", "EMBEDDING"]
#: The body that InvokeModel takes; "" for a model that only Converse reaches.
InvokeFormat = Literal[
    "", "anthropic", "openai", "nova", "titan", "llama", "mistral", "deepseek", "cohere", "cohere_chat", "ai21"
]
EmbeddingFormat = Literal["", "titan_v1", "titan_v2", "titan_image", "cohere_v3", "cohere_v4", "nova"]
ImageFormat = Literal["", "amazon", "stability"]
#: How a model is asked to think: not at all, it always does, by "thinking", "reasoningConfig" or "reasoning_effort".
Reasoning = Literal["", "always", "thinking", "nova", "effort"]

ALL_CHOICES = frozenset({"auto", "any", "tool"})
ALL_CACHE_POINTS = frozenset({"system", "messages", "tools"})
NOTHING: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class BaseModel:
    """What Bedrock says about a foundation model. Sizes in tokens."""

    id: str
    vendor: str
    name: str
    inputs: tuple[Modality, ...] = ("TEXT",)
    outputs: tuple[Modality, ...] = ("TEXT",)
    streaming: bool = True
    #: Its bare id can be invoked; else only through an inference profile or provisioned throughput.
    on_demand: bool = True
    #: The geographies that have an inference profile of it.
    geographies: tuple[str, ...] = ()
    #: Ids such as "…:200k": the same model for provisioned throughput.
    variants: tuple[str, ...] = ()
    customizations: tuple[str, ...] = ()
    legacy: bool = False
    window: int = 128_000
    max_output: int = 4_096
    converse: bool = True
    system: bool = True
    tools: bool = False
    tool_choices: frozenset[str] = NOTHING
    tools_in_streams: bool = True
    #: A user message with tool results must not hold anything else.
    tool_results_alone: bool = False
    vision: bool = False
    documents: bool = False
    #: Where cache points may stand: "system", "messages", "tools".
    cache: frozenset[str] = NOTHING
    #: outputConfig.textFormat is understood.
    json_schema: bool = False
    reasoning: Reasoning = ""
    #: The longest list of stop sequences; 0: none are taken.
    stop_limit: int = 2_500
    count_tokens: bool = False
    invoke: InvokeFormat = ""
    embedding: EmbeddingFormat = ""
    image: ImageFormat = ""
    #: Lengths of vectors, the default first.
    dimensions: tuple[int, ...] = ()

    @property
    def inference_types(self) -> tuple[str, ...]:
        """How it can be invoked, in the words of ListFoundationModels."""
        profiles = ("INFERENCE_PROFILE",) if self.geographies else ()
        return (("ON_DEMAND",) if self.on_demand else ()) + profiles


__all__ = [
    "ALL_CACHE_POINTS",
    "ALL_CHOICES",
    "NOTHING",
    "BaseModel",
    "EmbeddingFormat",
    "ImageFormat",
    "InvokeFormat",
    "Modality",
    "Reasoning",
]
