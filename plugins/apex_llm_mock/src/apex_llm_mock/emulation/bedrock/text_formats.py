"""InvokeModel for models that write text: which form each family has, whole answers and streams."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from apex_llm_mock.emulation.bedrock import chat_formats, prompt_formats
from apex_llm_mock.emulation.bedrock.anthropic_format import ANTHROPIC
from apex_llm_mock.emulation.bedrock.base_model import BaseModel, InvokeFormat
from apex_llm_mock.emulation.bedrock.errors import invalid
from apex_llm_mock.emulation.bedrock.invoked import Invoked, metrics
from apex_llm_mock.emulation.bedrock.nova_format import NOVA
from apex_llm_mock.emulation.bedrock.spoken import Document, TextFormat, speak
from apex_llm_mock.replies import Replier

TEXT_FORMATS: Mapping[InvokeFormat, TextFormat] = MappingProxyType(
    {
        "anthropic": ANTHROPIC,
        "openai": chat_formats.OPENAI,
        "nova": NOVA,
        "titan": prompt_formats.TITAN,
        "llama": prompt_formats.LLAMA,
        "mistral": prompt_formats.MISTRAL,
        "deepseek": prompt_formats.DEEPSEEK,
        "cohere": prompt_formats.COMMAND,
        "cohere_chat": chat_formats.COMMAND_R,
        "ai21": chat_formats.AI21,
    }
)
NO_STREAM = "The model is unsupported for streaming"


def written(model: BaseModel, body: Any, replier: Replier, *, key: str) -> Invoked:
    """Return the whole answer of a text *model*.

    Raises:
        RefusedError: the model does not take *body*.
    """
    text_format = TEXT_FORMATS[model.invoke]
    spoken = speak(text_format, model, body, replier, key=key)
    return Invoked(
        document=text_format.document(spoken), input_tokens=spoken.input_tokens, output_tokens=spoken.output_tokens
    )


def streamed(model: BaseModel, body: Any, replier: Replier, *, key: str, chunk_size: int) -> list[Document]:
    """Return the documents of the stream of a text *model*, the metrics on the last one.

    Raises:
        RefusedError: the model does not take *body*, or does not stream.
    """
    if not model.streaming or not model.invoke:
        raise invalid(NO_STREAM)
    text_format = TEXT_FORMATS[model.invoke]
    spoken = speak(text_format, model, body, replier, key=key)
    *first, last = text_format.events(spoken, chunk_size)
    return [*first, last | metrics(spoken.input_tokens, spoken.output_tokens)]


__all__ = ["NO_STREAM", "TEXT_FORMATS", "streamed", "written"]
