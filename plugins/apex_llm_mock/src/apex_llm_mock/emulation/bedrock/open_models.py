"""The models of other makers that chat."""

from __future__ import annotations

from apex_llm_mock.emulation.bedrock.base_model import ALL_CHOICES, NOTHING, BaseModel, InvokeFormat, Reasoning


def _llama(
    version: str,
    name: str,
    *,
    window: int = 128_000,
    max_output: int = 8_192,
    geographies: tuple[str, ...] = (),
    tools: bool = True,
    sees: bool = False,
) -> BaseModel:
    return BaseModel(
        id=f"meta.{version}",
        vendor="Meta",
        name=name,
        inputs=("TEXT", "IMAGE") if sees else ("TEXT",),
        geographies=geographies,
        on_demand=not geographies,
        window=window,
        max_output=max_output,
        tools=tools,
        tool_choices=frozenset({"auto"}) if tools else NOTHING,
        tools_in_streams=False,
        tool_results_alone=True,
        vision=sees,
        documents=tools,
        stop_limit=0,
        invoke="llama",
    )


def _mistral(
    version: str,
    name: str,
    *,
    window: int = 32_000,
    max_output: int = 8_192,
    system: bool = True,
    tools: bool = True,
    sees: bool = False,
    geographies: tuple[str, ...] = (),
) -> BaseModel:
    return BaseModel(
        id=f"mistral.{version}",
        vendor="Mistral AI",
        name=name,
        inputs=("TEXT", "IMAGE") if sees else ("TEXT",),
        geographies=geographies,
        on_demand=not geographies,
        window=window,
        max_output=max_output,
        system=system,
        tools=tools,
        tool_choices=ALL_CHOICES if tools else NOTHING,
        tool_results_alone=True,
        vision=sees,
        documents=True,
        stop_limit=10,
        invoke="openai" if sees else "mistral",
    )


def _command(version: str, name: str, *, chat: bool) -> BaseModel:
    return BaseModel(
        id=f"cohere.{version}",
        vendor="Cohere",
        name=name,
        legacy=not chat,
        window=128_000 if chat else 4_096,
        max_output=4_000,
        system=chat,
        tools=chat,
        tool_choices=frozenset({"auto"}) if chat else NOTHING,
        documents=True,
        stop_limit=4,
        invoke="cohere_chat" if chat else "cohere",
    )


def _jamba(size: str, name: str) -> BaseModel:
    return BaseModel(
        id=f"ai21.jamba-1-5-{size}-v1:0",
        vendor="AI21 Labs",
        name=name,
        window=256_000,
        documents=True,
        tools=True,
        tool_choices=frozenset({"auto"}),
        tools_in_streams=False,
        invoke="ai21",
    )


def _open(
    model_id: str,
    vendor: str,
    name: str,
    *,
    window: int = 128_000,
    max_output: int = 16_384,
    tools: bool = True,
    choices: frozenset[str] = ALL_CHOICES,
    reasoning: Reasoning = "",
    geographies: tuple[str, ...] = (),
    invoke: InvokeFormat = "openai",
    alone: bool = False,
    json_schema: bool = False,
) -> BaseModel:
    return BaseModel(
        id=model_id,
        vendor=vendor,
        name=name,
        geographies=geographies,
        on_demand=not geographies,
        window=window,
        max_output=max_output,
        tools=tools,
        tool_choices=choices if tools else NOTHING,
        tool_results_alone=alone,
        documents=True,
        json_schema=json_schema,
        reasoning=reasoning,
        invoke=invoke,
    )


_US = ("us",)

OTHER_CHAT_MODELS = (
    _llama("llama3-8b-instruct-v1:0", "Llama 3 8B Instruct", window=8_192, max_output=2_048, tools=False),
    _llama("llama3-70b-instruct-v1:0", "Llama 3 70B Instruct", window=8_192, max_output=2_048, tools=False),
    _llama("llama3-1-8b-instruct-v1:0", "Llama 3.1 8B Instruct", geographies=_US),
    _llama("llama3-1-70b-instruct-v1:0", "Llama 3.1 70B Instruct", geographies=_US),
    _llama("llama3-2-3b-instruct-v1:0", "Llama 3.2 3B Instruct", geographies=("us", "eu"), tools=False),
    _llama("llama3-2-90b-instruct-v1:0", "Llama 3.2 90B Instruct", geographies=_US, sees=True),
    _llama("llama3-3-70b-instruct-v1:0", "Llama 3.3 70B Instruct", geographies=_US),
    _llama("llama4-scout-17b-instruct-v1:0", "Llama 4 Scout 17B Instruct", geographies=_US, sees=True),
    _llama("llama4-maverick-17b-instruct-v1:0", "Llama 4 Maverick 17B Instruct", geographies=_US, sees=True),
    _mistral("mistral-7b-instruct-v0:2", "Mistral 7B Instruct", system=False, tools=False),
    _mistral("mixtral-8x7b-instruct-v0:1", "Mixtral 8x7B Instruct", max_output=4_096, system=False, tools=False),
    _mistral("mistral-small-2402-v1:0", "Mistral Small (24.02)"),
    _mistral("mistral-large-2402-v1:0", "Mistral Large (24.02)"),
    _mistral("mistral-large-2407-v1:0", "Mistral Large (24.07)", window=128_000),
    _mistral("pixtral-large-2502-v1:0", "Pixtral Large (25.02)", window=128_000, sees=True, geographies=("us", "eu")),
    _command("command-r-v1:0", "Command R", chat=True),
    _command("command-r-plus-v1:0", "Command R+", chat=True),
    _command("command-text-v14", "Command", chat=False),
    _jamba("mini", "Jamba 1.5 Mini"),
    _jamba("large", "Jamba 1.5 Large"),
    _open(
        "deepseek.r1-v1:0",
        "DeepSeek",
        "DeepSeek-R1",
        max_output=32_768,
        tools=False,
        reasoning="always",
        geographies=_US,
        invoke="deepseek",
    ),
    _open("deepseek.v3-v1:0", "DeepSeek", "DeepSeek-V3.1", window=163_840, json_schema=True),
    _open("openai.gpt-oss-20b-1:0", "OpenAI", "gpt-oss-20b", reasoning="effort", json_schema=True),
    _open("openai.gpt-oss-120b-1:0", "OpenAI", "gpt-oss-120b", reasoning="effort", json_schema=True),
    _open("qwen.qwen3-32b-v1:0", "Qwen", "Qwen3 32B (dense)", json_schema=True),
    _open("qwen.qwen3-coder-30b-a3b-v1:0", "Qwen", "Qwen3-Coder-30B-A3B-Instruct", window=262_144, json_schema=True),
    _open(
        "writer.palmyra-x4-v1:0",
        "Writer",
        "Palmyra X4",
        max_output=8_192,
        choices=frozenset({"auto"}),
        geographies=_US,
        alone=True,
    ),
    _open(
        "writer.palmyra-x5-v1:0",
        "Writer",
        "Palmyra X5",
        window=1_000_000,
        max_output=8_192,
        choices=frozenset({"auto"}),
        geographies=_US,
        alone=True,
    ),
)

__all__ = ["OTHER_CHAT_MODELS"]
