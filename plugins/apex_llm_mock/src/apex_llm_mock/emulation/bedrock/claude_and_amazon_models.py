"""The models of Anthropic and Amazon that chat."""

from __future__ import annotations

from apex_llm_mock.emulation.bedrock.base_model import ALL_CACHE_POINTS, ALL_CHOICES, NOTHING, BaseModel, Reasoning


def _claude(
    version: str,
    name: str,
    geographies: tuple[str, ...],
    *,
    max_output: int,
    on_demand: bool = False,
    legacy: bool = False,
    thinks: bool = True,
    caches: bool = True,
    json_schema: bool = False,
    variants: tuple[str, ...] = (),
) -> BaseModel:
    return BaseModel(
        id=f"anthropic.{version}",
        vendor="Anthropic",
        name=name,
        inputs=("TEXT", "IMAGE"),
        geographies=geographies,
        on_demand=on_demand,
        variants=variants,
        legacy=legacy,
        window=200_000,
        max_output=max_output,
        tools=True,
        tool_choices=ALL_CHOICES,
        vision=True,
        documents=True,
        cache=ALL_CACHE_POINTS if caches else NOTHING,
        json_schema=json_schema,
        reasoning="thinking" if thinks else "",
        count_tokens=True,
        invoke="anthropic",
    )


def _nova(
    suffix: str,
    name: str,
    geographies: tuple[str, ...],
    *,
    window: int,
    max_output: int = 10_000,
    sees: bool = True,
    on_demand: bool = True,
    reasoning: Reasoning = "",
) -> BaseModel:
    return BaseModel(
        id=f"amazon.nova-{suffix}",
        vendor="Amazon",
        name=name,
        inputs=("TEXT", "IMAGE", "VIDEO") if sees else ("TEXT",),
        geographies=geographies,
        on_demand=on_demand,
        customizations=("FINE_TUNING",) if on_demand else (),
        window=window,
        max_output=max_output,
        tools=True,
        tool_choices=ALL_CHOICES,
        vision=sees,
        documents=sees,
        cache=frozenset({"system", "messages"}),
        reasoning=reasoning,
        stop_limit=4,
        invoke="nova",
    )


def _titan_text(suffix: str, name: str, *, window: int, max_output: int) -> BaseModel:
    return BaseModel(
        id=f"amazon.titan-text-{suffix}",
        vendor="Amazon",
        name=name,
        legacy=True,
        window=window,
        max_output=max_output,
        system=False,
        documents=True,
        invoke="titan",
    )


_US = ("us",)
_WIDE = ("us", "eu", "apac")
_NEW = ("us", "eu", "jp", "au", "global")
_GOV = ("us", "eu", "apac", "us-gov")

CLAUDE_AND_AMAZON_MODELS = (
    _claude(
        "claude-3-haiku-20240307-v1:0",
        "Claude 3 Haiku",
        _GOV,
        max_output=4_096,
        on_demand=True,
        thinks=False,
        caches=False,
        variants=("anthropic.claude-3-haiku-20240307-v1:0:48k", "anthropic.claude-3-haiku-20240307-v1:0:200k"),
    ),
    _claude(
        "claude-3-sonnet-20240229-v1:0",
        "Claude 3 Sonnet",
        _WIDE,
        max_output=4_096,
        on_demand=True,
        legacy=True,
        thinks=False,
        caches=False,
    ),
    _claude(
        "claude-3-opus-20240229-v1:0", "Claude 3 Opus", _US, max_output=4_096, legacy=True, thinks=False, caches=False
    ),
    _claude(
        "claude-3-5-sonnet-20240620-v1:0",
        "Claude 3.5 Sonnet",
        _GOV,
        max_output=8_192,
        on_demand=True,
        legacy=True,
        thinks=False,
        caches=False,
    ),
    _claude("claude-3-5-sonnet-20241022-v2:0", "Claude 3.5 Sonnet v2", ("us", "apac"), max_output=8_192, thinks=False),
    _claude("claude-3-5-haiku-20241022-v1:0", "Claude 3.5 Haiku", _US, max_output=8_192, thinks=False),
    _claude("claude-3-7-sonnet-20250219-v1:0", "Claude 3.7 Sonnet", _GOV, max_output=64_000),
    _claude("claude-sonnet-4-20250514-v1:0", "Claude Sonnet 4", ("us", "eu", "apac", "global"), max_output=64_000),
    _claude("claude-opus-4-20250514-v1:0", "Claude Opus 4", _US, max_output=32_000),
    _claude("claude-opus-4-1-20250805-v1:0", "Claude Opus 4.1", _US, max_output=32_000),
    _claude(
        "claude-sonnet-4-5-20250929-v1:0",
        "Claude Sonnet 4.5",
        (*_NEW, "us-gov"),
        max_output=64_000,
        json_schema=True,
    ),
    _claude("claude-haiku-4-5-20251001-v1:0", "Claude Haiku 4.5", _NEW, max_output=64_000, json_schema=True),
    _claude(
        "claude-opus-4-5-20251101-v1:0", "Claude Opus 4.5", ("us", "eu", "global"), max_output=64_000, json_schema=True
    ),
    _claude("claude-opus-4-6-v1", "Claude Opus 4.6", _NEW, max_output=128_000, json_schema=True),
    _claude("claude-sonnet-4-6", "Claude Sonnet 4.6", _NEW, max_output=64_000, json_schema=True),
    _nova("micro-v1:0", "Nova Micro", _GOV, window=128_000, sees=False),
    _nova("lite-v1:0", "Nova Lite", (*_GOV, "ca"), window=300_000),
    _nova("pro-v1:0", "Nova Pro", _GOV, window=300_000),
    _nova("premier-v1:0", "Nova Premier", _US, window=1_000_000, on_demand=False),
    _nova(
        "2-lite-v1:0",
        "Nova 2 Lite",
        ("us", "eu", "jp", "global"),
        window=1_000_000,
        max_output=64_000,
        on_demand=False,
        reasoning="nova",
    ),
    _titan_text("express-v1", "Titan Text G1 - Express", window=8_192, max_output=8_192),
    _titan_text("lite-v1", "Titan Text G1 - Lite", window=4_096, max_output=4_096),
    _titan_text("premier-v1:0", "Titan Text G1 - Premier", window=32_000, max_output=3_072),
)

__all__ = ["CLAUDE_AND_AMAZON_MODELS"]
