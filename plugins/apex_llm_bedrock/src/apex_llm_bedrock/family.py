"""What models on Bedrock take and refuse, as far as it matters for the requests that are made here."""

from __future__ import annotations

from typing import Literal

import attrs

Reasoning = Literal["none", "budget", "adaptive", "nova", "effort", "qwen", "openai"]


#: Where cache points may stand at most.
CACHEABLE: frozenset[str] = frozenset({"system", "messages", "tools"})


@attrs.frozen(kw_only=True)
class Family:
    """Models that take the same requests; the defaults are what is tried with a model nobody knows."""

    #: How the ids of its models begin, for example ``anthropic.claude-sonnet-4-5``; "" for `UNKNOWN`.
    name: str
    #: Words of the core's vocabulary.
    capabilities: frozenset[str] = frozenset()
    #: Context window; for embeddings the longest text.
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    #: System prompts are taken.
    system: bool = True
    #: Values of ``toolChoice`` that are taken; without any, the field itself is refused.
    tool_choices: frozenset[str] = frozenset({"auto", "any", "tool"})
    #: A tool may be forced while the model is asked to reason.
    forces_while_reasoning: bool = True
    #: ConverseStream takes tools; where it does not, Converse does.
    tools_in_streams: bool = True
    #: Nothing else may stand in a message that has tool results.
    tool_results_alone: bool = False
    #: Documents and videos may stand in a message that has tool results.
    media_beside_tool_results: bool = True
    #: ``toolResult.status`` is taken.
    tool_result_status: bool = True
    stop_sequences: bool = True
    #: How many; None for no limit but the service's own.
    stop_limit: int | None = None
    temperature: bool = True
    top_p: bool = True
    #: Both in one request.
    sampling_both: bool = True
    #: Where cache points may stand.
    cache_points: frozenset[str] = CACHEABLE
    #: How an answer is held to a schema: by ``outputConfig.textFormat``, by a tool that is forced, or not at all.
    json: Literal["native", "tool", "none"] = "tool"
    #: How reasoning is asked for in ``additionalModelRequestFields``:
    #: budget    {"thinking": {"type": "enabled", "budget_tokens": N}}
    #: adaptive  {"thinking": {"type": "adaptive"}, "output_config": {"effort": E}}
    #: nova      {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": E}}; "high" excludes maxTokens and sampling
    #: effort    {"reasoning_effort": E}
    #: qwen      {"reasoning_config": E}
    #: openai    {"reasoning": {"effort": E}}
    #: none      not at all
    reasoning: Reasoning = "none"
    #: The efforts E that are taken, the smallest first.
    efforts: tuple[str, ...] = ()
    #: Reasoning blocks that are taken back in the history: those with a signature, unsigned ones too, or none.
    reasoning_back: Literal["signed", "text", "none"] = "text"
    #: Converse serves it.
    converse: bool = True
    #: The form of InvokeModel's body for text; "" where it is not known.
    invoke_format: str = ""
    #: The form of an embedding's body; "" for models that embed nothing.
    embedding: str = ""
    #: Sizes of vectors, the default first.
    dimensions: tuple[int, ...] = ()
    #: The form of an image's body; "" for models that draw nothing.
    image: str = ""
    #: CountTokens serves it.
    count_tokens: bool = True

    @property
    def vendor(self) -> str:
        """The first part of the id: ``anthropic``, ``amazon``, ``meta`` and so on."""
        return self.name.partition(".")[0]


#: What nobody declared anything about: everything is tried, nothing is promised. A hint for the cache is worth no refusal.
UNKNOWN = Family(name="", cache_points=frozenset())


__all__ = ["CACHEABLE", "UNKNOWN", "Family", "Reasoning"]
