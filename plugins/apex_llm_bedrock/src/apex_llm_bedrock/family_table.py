"""The table of families: one entry per generation of models that take the same requests.

Only documented facts, and what several clients found out alike; None and an absent capability mean unknown. Sizes in tokens.
Whatever a family is not known to refuse is sent, so that a newer model than this table is not held back by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apex_llm_bedrock.family import CACHEABLE, Family


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_TEXT = _set("text chat stream")
_TOOLS = _TEXT | {"tools"}
_SEEING = _TOOLS | {"vision", "documents"}
_LOW_TO_HIGH = ("low", "medium", "high")
_LOW_TO_MAX = (*_LOW_TO_HIGH, "max")
_NO_TOOLS: Mapping[str, Any] = {"tool_choices": frozenset(), "json": "none", "tools_in_streams": False}


def _family(
    name: str, capabilities: frozenset[str], window: int | None, output: int | None, facts: Mapping[str, Any]
) -> Family:
    json = {"json"} if facts.get("json", "tool") != "none" else set()
    return Family(name=name, capabilities=capabilities | json, max_tokens=window, max_output_tokens=output, **facts)


def _chat(
    name: str, capabilities: frozenset[str], window: int | None = None, output: int | None = None, **facts: Any
) -> Family:
    """Return a model of which only what *facts* say is special, besides what all but Claude have in common."""
    facts = {
        "cache_points": frozenset(),
        "reasoning_back": "text" if "reasoning" in capabilities else "none",
        "count_tokens": False,
        **facts,
    }
    return _family(name, capabilities, window, output, facts)


def _claude(
    name: str, window: int | None, output: int | None, capabilities: frozenset[str] = _SEEING, **facts: Any
) -> Family:
    facts = {"media_beside_tool_results": False, "reasoning_back": "none", "invoke_format": "anthropic", **facts}
    return _family(f"anthropic.{name}", capabilities, window, output, facts)


def _thinking_claude(name: str, window: int | None, output: int | None, **facts: Any) -> Family:
    """Return a Claude that thinks within a budget, which excludes forced tools."""
    facts = {"reasoning": "budget", "reasoning_back": "signed", "forces_while_reasoning": False, **facts}
    return _claude(name, window, output, _SEEING | {"reasoning"}, **facts)


def _adaptive_claude(name: str, window: int | None, output: int | None, **facts: Any) -> Family:
    facts = {
        "reasoning": "adaptive",
        "efforts": (*_LOW_TO_HIGH, "xhigh", "max"),
        "json": "native",
        "forces_while_reasoning": True,
        "temperature": False,
        "top_p": False,
        "sampling_both": False,
        **facts,
    }
    return _thinking_claude(name, window, output, **facts)


def _nova(name: str, window: int | None, output: int | None, capabilities: frozenset[str], **facts: Any) -> Family:
    facts = {"cache_points": _set("system messages"), "stop_limit": 4, **facts}
    return _chat(f"amazon.nova-{name}", capabilities, window, output, **facts)


def _llama(name: str, window: int | None, capabilities: frozenset[str], **facts: Any) -> Family:
    facts = {
        "tool_choices": _set("auto"),
        "json": "none",
        "tools_in_streams": False,
        "tool_results_alone": True,
        "stop_sequences": False,
        "invoke_format": "llama",
        **facts,
    }
    return _chat(f"meta.{name}", capabilities, window, **facts)


def _mistral(name: str, window: int | None, capabilities: frozenset[str], **facts: Any) -> Family:
    facts = {"tool_results_alone": True, "stop_limit": 10, "invoke_format": "mistral", **facts}
    return _chat(f"mistral.{name}", capabilities, window, **facts)


def _new_mistral(name: str, window: int | None, capabilities: frozenset[str]) -> Family:
    return _mistral(name, window, capabilities, json="native", tool_choices=_set("auto any"), invoke_format="openai")


def _open_weights(name: str, capabilities: frozenset[str] = _TOOLS, window: int | None = None, **facts: Any) -> Family:
    """Return a model that answers schemas natively and chooses tools for itself."""
    facts = {"json": "native", "tool_choices": frozenset(), "invoke_format": "openai", **facts}
    return _chat(name, capabilities, window, **facts)


def _embedding(name: str, form: str, longest: int | None, *dimensions: int) -> Family:
    return _other(name, "embed", embedding=form, max_tokens=longest, dimensions=dimensions)


def _other(name: str, words: str = "", **facts: Any) -> Family:
    """Return a model that does not converse."""
    return Family(name=name, capabilities=_set(words), converse=False, count_tokens=False, **facts)


_OLD_CLAUDE: Mapping[str, Any] = {**_NO_TOOLS, "cache_points": frozenset(), "count_tokens": False}
_UNCACHED_CLAUDE: Mapping[str, Any] = {"cache_points": frozenset(), "count_tokens": False}
_ONE_SAMPLER: Mapping[str, Any] = {"sampling_both": False}

KNOWN: tuple[Family, ...] = (
    # What follows the newest listed ones is taken to be like them, except that nothing is known to be refused.
    _adaptive_claude("claude", None, None, temperature=True, top_p=True),
    _claude("claude-instant", 100_000, None, _TEXT | {"documents"}, **_OLD_CLAUDE),
    _claude("claude-v2", None, None, _TEXT | {"documents"}, **_OLD_CLAUDE),
    _claude("claude-3-haiku", 200_000, 4_096, **_UNCACHED_CLAUDE),
    _claude("claude-3-sonnet", 200_000, 4_096, **_UNCACHED_CLAUDE),
    _claude("claude-3-opus", 200_000, 4_096, **_UNCACHED_CLAUDE),
    _claude("claude-3-5-sonnet", 200_000, None, cache_points=frozenset()),
    _claude("claude-3-5-sonnet-20241022", 200_000, 8_192),
    _claude("claude-3-5-haiku", 200_000, 8_192, _SEEING - {"vision"}),
    _thinking_claude("claude-3-7-sonnet", 200_000, 64_000),
    _thinking_claude("claude-opus-4-20250514", 200_000, 32_000),
    _thinking_claude("claude-sonnet-4-20250514", 200_000, 64_000),
    _thinking_claude("claude-opus-4-1", 200_000, 32_000, **_ONE_SAMPLER),
    _thinking_claude("claude-opus-4-5", 200_000, 64_000, json="native", **_ONE_SAMPLER),
    _thinking_claude("claude-sonnet-4-5", 200_000, 64_000, json="native", **_ONE_SAMPLER),
    _thinking_claude("claude-haiku-4-5", 200_000, 64_000, json="native", **_ONE_SAMPLER),
    _adaptive_claude(
        "claude-opus-4-6",
        None,
        128_000,
        temperature=True,
        top_p=True,
        efforts=_LOW_TO_MAX,
        forces_while_reasoning=False,
    ),
    _adaptive_claude(
        "claude-sonnet-4-6", None, None, temperature=True, top_p=True, efforts=_LOW_TO_MAX, forces_while_reasoning=False
    ),
    _adaptive_claude("claude-opus-4-7", 1_000_000, 128_000, json="tool", forces_while_reasoning=False),
    _adaptive_claude("claude-opus-4-8", 1_000_000, 128_000),
    _adaptive_claude("claude-sonnet-5", 1_000_000, 128_000),
    _adaptive_claude("claude-sonnet-5-5", 1_000_000, 128_000, tool_choices=_set("auto")),
    _adaptive_claude("claude-opus-5", 1_000_000, 128_000),
    _adaptive_claude("claude-opus-5-5", 1_000_000, 128_000, tool_choices=_set("auto")),
    _adaptive_claude("claude-haiku-5-5", 1_000_000, 128_000),
    _adaptive_claude("claude-fable-5", 1_000_000, 128_000, json="tool"),
    _adaptive_claude("claude-fable-5-1", 1_000_000, 128_000, json="none", tool_choices=_set("auto")),
    _nova("micro", 128_000, 10_000, _TOOLS),
    _nova("lite", 300_000, 10_000, _SEEING),
    _nova("pro", 300_000, 10_000, _SEEING),
    _nova("premier", 1_000_000, None, _SEEING),
    _nova("2", 1_000_000, None, _SEEING | {"reasoning"}, reasoning="nova", efforts=_LOW_TO_HIGH),
    *(_other(f"amazon.nova-{name}") for name in ("sonic", "2-sonic", "reel")),
    *(
        _chat(f"amazon.titan-{name}", words, window, output, system=False, invoke_format="titan", **_NO_TOOLS)
        for name, words, window, output in (
            ("tg1-large", _TEXT, None, None),
            ("text-lite", _TEXT | {"documents"}, 4_096, 4_096),
            ("text-express", _TEXT | {"documents"}, 8_192, 8_192),
            ("text-premier", _TEXT, 32_000, 3_072),
        )
    ),
    _llama("llama2", 4_096, _TEXT | {"documents"}, **_NO_TOOLS),
    _llama("llama3", 8_192, _TEXT | {"documents"}, **_NO_TOOLS),
    _llama("llama3-1", 128_000, _SEEING - {"vision"}),
    _llama("llama3-2", 128_000, _SEEING),
    _llama("llama3-2-1b", 128_000, _TEXT | {"documents"}, **_NO_TOOLS),
    _llama("llama3-2-3b", 128_000, _TEXT | {"documents"}, **_NO_TOOLS),
    _llama("llama3-3", 128_000, _SEEING - {"vision"}),
    _llama("llama4", None, _SEEING),
    _llama("llama4-maverick", 1_000_000, _SEEING),
    _mistral("mistral-7b", 32_000, _TEXT | {"documents"}, system=False, **_NO_TOOLS),
    _mistral("mixtral-8x7b", 32_000, _TEXT | {"documents"}, system=False, **_NO_TOOLS),
    _mistral("mistral-small-2402", 32_000, _TOOLS, tools_in_streams=False, tool_choices=_set("auto any")),
    _mistral("mistral-large-2402", 32_000, _TOOLS, tools_in_streams=False, tool_choices=_set("auto any")),
    _mistral("mistral-large-2407", 128_000, _TOOLS, tools_in_streams=False, tool_choices=_set("auto any")),
    _mistral(
        "pixtral-large",
        128_000,
        _SEEING,
        tools_in_streams=False,
        json="none",
        tool_choices=_set("auto"),
        invoke_format="openai",
    ),
    _new_mistral("mistral-large-3", None, _TOOLS | {"vision"}),
    _new_mistral("ministral-3", None, _TOOLS | {"vision"}),
    _new_mistral("magistral-small", 128_000, _TOOLS | {"vision", "reasoning"}),
    _new_mistral("voxtral", 32_768, _TOOLS | {"audio"}),
    _new_mistral("devstral", None, _TOOLS),
    _other("cohere.command-text", "text stream", max_tokens=4_096, invoke_format="cohere", **_NO_TOOLS),
    _other("cohere.command-light-text", "text stream", max_tokens=4_096, invoke_format="cohere", **_NO_TOOLS),
    _chat("cohere.command-r", _SEEING - {"vision"}, 128_000, 4_096, tool_choices=frozenset(), json="none"),
    _other("ai21.j2", "text", max_tokens=8_191, invoke_format="ai21", **_NO_TOOLS),
    _chat("ai21.jamba-instruct", _TEXT, None, 4_096, **_NO_TOOLS),
    _chat("ai21.jamba-1-5", _SEEING - {"vision"}, 256_000, 4_096, tool_choices=frozenset(), json="none"),
    _chat("deepseek.r1", _TEXT | {"documents", "reasoning"}, 128_000, None, **{**_NO_TOOLS, "reasoning_back": "none"}),
    _open_weights(
        "deepseek.v3", _TOOLS | {"reasoning"}, tool_choices=_set("auto any"), reasoning="effort", efforts=("high",)
    ),
    _open_weights(
        "openai.gpt-oss",
        _TOOLS | {"reasoning"},
        128_000,
        stop_sequences=False,
        reasoning="effort",
        efforts=_LOW_TO_HIGH,
    ),
    *(
        _chat(
            name,
            _TOOLS | {"vision", "reasoning"},
            temperature=False,
            top_p=False,
            reasoning="openai",
            efforts=(*_LOW_TO_HIGH, "xhigh"),
            cache_points=CACHEABLE,
        )
        for name in ("openai.gpt-5", "openai.gpt-5.6", "openai.gpt-6", "openai.gpt-6.1", "xai.grok-4.6", "xai.grok-4.7")
    ),
    _open_weights("qwen.qwen3", _TOOLS | {"reasoning"}, reasoning="qwen", efforts=("low", "high")),
    _open_weights("qwen.qwen3-coder"),
    _open_weights("qwen.qwen3-vl", _TOOLS | {"vision"}),
    _open_weights("minimax.minimax-m2", _TOOLS | {"reasoning"}),
    _open_weights("moonshot.kimi-k2-thinking", _TOOLS | {"reasoning"}, tool_choices=_set("auto any tool")),
    _open_weights("moonshotai.kimi-k2.5", _TOOLS | {"reasoning", "vision"}, tool_choices=_set("auto any tool")),
    _open_weights("nvidia.nemotron-nano"),
    _open_weights("google.gemma-3", (_TOOLS | {"vision"}) - {"tools"}),
    _open_weights(
        "zai.glm-4.7", _TOOLS | {"reasoning"}, tool_choices=_set("auto any"), reasoning="effort", efforts=("high",)
    ),
    _open_weights(
        "zai.glm-5", _TOOLS | {"reasoning"}, tool_choices=_set("auto any"), reasoning="effort", efforts=("high",)
    ),
    *(
        _chat(
            name,
            _SEEING - {"vision"},
            None,
            8_192,
            json="none",
            tool_choices=frozenset(),
            tools_in_streams=False,
            tool_results_alone=True,
            tool_result_status=False,
        )
        for name in ("writer.palmyra-x4", "writer.palmyra-x5")
    ),
    _embedding("amazon.titan-embed-text-v1", "titan_v1", 8_192, 1_536),
    _embedding("amazon.titan-embed-g1-text", "titan_v1", 8_192, 1_536),
    _embedding("amazon.titan-embed-text-v2", "titan_v2", 8_192, 1_024, 512, 256),
    _embedding("amazon.titan-embed-image", "titan_image", 256, 1_024, 384, 256),
    _embedding("amazon.nova-2-multimodal-embeddings", "nova", None, 3_072, 1_024, 384, 256),
    _embedding("cohere.embed-english-v3", "cohere_v3", 512, 1_024),
    _embedding("cohere.embed-multilingual-v3", "cohere_v3", 512, 1_024),
    _embedding("cohere.embed-v4", "cohere_v4", 128_000, 1_536, 1_024, 512, 256),
    _other("amazon.nova-canvas", "image", image="amazon"),
    _other("amazon.titan-image-generator", "image", image="amazon"),
    _other("stability.sd3", "image", image="stability"),
    _other("stability.sd3-5", "image", image="stability"),
    _other("stability.stable-image-core", "image", image="stability"),
    _other("stability.stable-image-ultra", "image", image="stability"),
    # Of these only the name is known: they do something else than converse, embed texts or draw.
    *(_other(name) for name in ("amazon.rerank", "cohere.rerank", "luma.ray", "stability", "twelvelabs.marengo-embed")),
)


__all__ = ["KNOWN"]
