"""The base models that deployments can have, with the limits Azure gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import attrs

from apex_llm_core.errors import nearest

Kind = Literal["chat", "embeddings", "images"]
_VERSIONED = re.compile(r"(.+?)-(?:\d{4}-\d{2}-\d{2}|\d{4})")


@attrs.frozen(kw_only=True)
class BaseModel:
    """What Azure says about a model. Sizes in tokens."""

    name: str
    version: str
    kind: Kind = "chat"
    #: Prompt and answer together; for embeddings one text.
    window: int = 128_000
    #: The longest prompt where it is less than the window.
    longest_prompt: int | None = None
    longest_answer: int = 16_384
    vision: bool = False
    json_schema: bool = True
    reasoning: bool = False
    default_effort: str = "medium"
    stop: bool = True
    #: The length of a vector, and whether a shorter one may be asked for.
    dimensions: int = 0
    shortens: bool = False

    @property
    def full_name(self) -> str:
        """The name that answers carry."""
        return f"{self.name}-{self.version}" if self.kind == "chat" else self.name


def _reasoning(name: str, version: str, *, vision: bool = True, stop: bool = True) -> BaseModel:
    return BaseModel(
        name=name,
        version=version,
        window=200_000,
        longest_answer=100_000,
        vision=vision,
        reasoning=True,
        stop=stop,
    )


def _gpt_5(name: str, version: str, *, default_effort: str = "medium") -> BaseModel:
    return BaseModel(
        name=name,
        version=version,
        window=400_000,
        longest_prompt=272_000,
        longest_answer=128_000,
        vision=True,
        reasoning=True,
        default_effort=default_effort,
    )


def _gpt_41(name: str) -> BaseModel:
    return BaseModel(name=name, version="2025-04-14", window=1_047_576, longest_answer=32_768, vision=True)


def _embeddings(name: str, version: str, dimensions: int, *, shortens: bool = True) -> BaseModel:
    return BaseModel(
        name=name, version=version, kind="embeddings", window=8_192, dimensions=dimensions, shortens=shortens
    )


def _images(name: str, version: str) -> BaseModel:
    return BaseModel(name=name, version=version, kind="images", window=32_000)


_ALL = (
    BaseModel(name="gpt-35-turbo", version="0125", window=16_385, longest_answer=4_096, json_schema=False),
    BaseModel(name="gpt-4", version="0613", window=8_192, longest_answer=8_192, json_schema=False),
    BaseModel(name="gpt-4-turbo", version="2024-04-09", longest_answer=4_096, vision=True, json_schema=False),
    BaseModel(name="gpt-4o", version="2024-11-20", vision=True),
    BaseModel(name="gpt-4o-mini", version="2024-07-18", vision=True),
    _gpt_41("gpt-4.1"),
    _gpt_41("gpt-4.1-mini"),
    _gpt_41("gpt-4.1-nano"),
    _reasoning("o1", "2024-12-17"),
    _reasoning("o3-mini", "2025-01-31", vision=False),
    _reasoning("o3", "2025-04-16", stop=False),
    _reasoning("o4-mini", "2025-04-16", stop=False),
    _gpt_5("gpt-5", "2025-08-07"),
    _gpt_5("gpt-5-mini", "2025-08-07"),
    _gpt_5("gpt-5-nano", "2025-08-07"),
    _gpt_5("gpt-5.1", "2025-11-13", default_effort="none"),
    _embeddings("text-embedding-ada-002", "2", 1_536, shortens=False),
    _embeddings("text-embedding-3-small", "1", 1_536),
    _embeddings("text-embedding-3-large", "1", 3_072),
    _images("gpt-image-1", "2025-04-15"),
    _images("gpt-image-1-mini", "2025-10-06"),
    _images("dall-e-3", "3.0"),
)
BASE_MODELS: Mapping[str, BaseModel] = MappingProxyType({model.name: model for model in _ALL})
#: What a deployment that was not declared is taken for, by the kind of the call.
STAND_INS: Mapping[Kind, BaseModel] = MappingProxyType(
    {
        "chat": BASE_MODELS["gpt-4o"],
        "embeddings": BASE_MODELS["text-embedding-3-small"],
        "images": BASE_MODELS["gpt-image-1"],
    }
)


def base_model(name: str) -> BaseModel:
    """Return the base model called *name*, with or without its version.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    found = BASE_MODELS.get(name)
    if found is None and (versioned := _VERSIONED.fullmatch(name)) is not None:
        found = BASE_MODELS.get(versioned[1])
    if found is None:
        raise ValueError(f"{name!r} is no base model that the emulator knows{nearest(name, BASE_MODELS)}")
    return found


__all__ = ["BASE_MODELS", "STAND_INS", "BaseModel", "Kind", "base_model"]
