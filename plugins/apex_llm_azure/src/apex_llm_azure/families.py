"""What is known of the models Azure offers, by the model's own name; never by a deployment's, which is the operator's choice.

Only what Microsoft documents; None and an absent entry mean unknown. Sizes in tokens. Models that answer to the Responses
API alone have no capabilities here: chat completions refuse them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import attrs


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


@attrs.frozen(kw_only=True)
class Family:
    """One model with all its versions."""

    name: str
    #: It thinks before it answers: other parameters hold.
    reasoning: bool = False
    #: Context window; for embeddings the longest text.
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    #: Words of the core's vocabulary (text, chat, stream, tools, vision, json, reasoning, embed, image, audio).
    capabilities: frozenset[str] = frozenset()
    #: A request may ask for fewer dimensions.
    dimensions_adjustable: bool = False
    #: Answers can be held to a JSON Schema.
    structured_outputs: bool = True
    #: `parallel_tool_calls` is taken.
    parallel_tool_calls: bool = True
    #: Stop sequences are taken.
    stop: bool = True


#: What nobody declared anything about: everything is tried, nothing is promised.
UNKNOWN = Family(name="")

_CHAT = _set("text chat stream tools json")
_SEEING = _CHAT | {"vision"}
_THINKING = _SEEING | {"reasoning"}


def _gpt(
    name: str, window: int | None, output: int | None, capabilities: frozenset[str], *, structured: bool = True
) -> Family:
    return Family(
        name=name,
        max_tokens=window,
        max_output_tokens=output,
        capabilities=capabilities,
        structured_outputs=structured,
    )


def _o_series(name: str, capabilities: frozenset[str] = _THINKING, *, stop: bool = True) -> Family:
    return Family(
        name=name,
        reasoning=True,
        max_tokens=200_000,
        max_output_tokens=100_000,
        capabilities=capabilities,
        parallel_tool_calls=False,
        stop=stop,
    )


def _gpt_5(name: str, window: int = 400_000, output: int = 128_000, capabilities: frozenset[str] = _THINKING) -> Family:
    return Family(
        name=name,
        reasoning=True,
        max_tokens=window,
        max_output_tokens=output,
        capabilities=capabilities,
        stop=False,
    )


def _responses_only(family: Family) -> Family:
    return attrs.evolve(family, capabilities=frozenset())


def _embedding(name: str, *, adjustable: bool = True) -> Family:
    return Family(
        name=name,
        max_tokens=8_192,
        capabilities=_set("embed"),
        dimensions_adjustable=adjustable,
    )


def _image(name: str) -> Family:
    return Family(name=name, capabilities=_set("image"))


_KNOWN = (
    _gpt("gpt-35-turbo", 16_385, 4_096, _CHAT, structured=False),
    # Versions of "gpt-4" reach from 8,192 tokens without images to 128,000 with them.
    _gpt("gpt-4", None, None, _set("text chat stream tools"), structured=False),
    _gpt("gpt-4-32k", 32_768, None, _set("text chat stream tools"), structured=False),
    _gpt("gpt-4-turbo", 128_000, 4_096, _SEEING, structured=False),
    _gpt("gpt-4o", 128_000, 16_384, _SEEING),
    _gpt("gpt-4o-2024-05-13", 128_000, 4_096, _SEEING, structured=False),
    _gpt("gpt-4o-mini", 128_000, 16_384, _SEEING),
    _gpt("gpt-4o-audio-preview", 128_000, 16_384, _set("text chat stream tools audio"), structured=False),
    _gpt("gpt-4o-mini-audio-preview", 128_000, 16_384, _set("text chat stream tools audio"), structured=False),
    _gpt("gpt-4.1", 1_047_576, 32_768, _SEEING),
    _gpt("gpt-4.1-mini", 1_047_576, 32_768, _SEEING),
    _gpt("gpt-4.1-nano", 1_047_576, 32_768, _SEEING),
    _o_series("o1", _THINKING - {"stream"}),
    _o_series("o3", stop=False),
    _o_series("o3-mini", _THINKING - {"vision"}),
    _o_series("o4-mini", stop=False),
    _responses_only(_o_series("o3-pro")),
    _responses_only(_o_series("codex-mini")),
    _gpt_5("gpt-5"),
    _gpt_5("gpt-5-mini"),
    _gpt_5("gpt-5-nano"),
    _gpt("gpt-5-chat", 128_000, 16_384, _set("text chat stream vision"), structured=False),
    _responses_only(_gpt_5("gpt-5-codex")),
    _responses_only(_gpt_5("gpt-5-pro")),
    _gpt_5("gpt-5.1"),
    _gpt_5("gpt-5.1-chat", 128_000, 16_384),
    _responses_only(_gpt_5("gpt-5.1-codex")),
    _responses_only(_gpt_5("gpt-5.1-codex-mini")),
    _responses_only(_gpt_5("gpt-5.1-codex-max")),
    _gpt_5("gpt-5.2"),
    _gpt_5("gpt-5.2-chat", 128_000, 16_384),
    _responses_only(_gpt_5("gpt-5.2-codex")),
    _responses_only(_gpt_5("gpt-5.3-codex")),
    _gpt_5("gpt-5.4", 1_050_000),
    _gpt_5("gpt-5.4-mini"),
    _gpt_5("gpt-5.4-nano"),
    _responses_only(_gpt_5("gpt-5.4-pro", 1_050_000)),
    _embedding("text-embedding-ada-002", adjustable=False),
    _embedding("text-embedding-3-small"),
    _embedding("text-embedding-3-large"),
    _image("dall-e-3"),
    _image("gpt-image-1"),
    _image("gpt-image-1-mini"),
    _image("gpt-image-1.5"),
    _image("gpt-image-2"),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in _KNOWN})

#: Other names of the same: OpenAI's spelling, and versions whose name hides the family.
_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "gpt-3.5-turbo": "gpt-35-turbo",
        "gpt-35-turbo-16k": "gpt-35-turbo",
        "gpt-3.5-turbo-16k": "gpt-35-turbo",
        "gpt-4-1106-preview": "gpt-4-turbo",
        "gpt-4-0125-preview": "gpt-4-turbo",
        "gpt-4-turbo-preview": "gpt-4-turbo",
        "gpt-5-chat-latest": "gpt-5-chat",
        "gpt-4o-audio": "gpt-4o-audio-preview",
    }
)
#: A version after the model's name: a date, or a month and day.
_VERSION = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{4})\Z", re.ASCII)


def family_of(base_model: str | None) -> Family:
    """Return the family of *base_model*, `UNKNOWN` where it is None or not listed.

    A version may follow the name ("gpt-4o-2024-08-06", "gpt-35-turbo-0125"), so may the mark of a fine-tuned model
    ("gpt-4o-mini-2024-07-18.ft-0f1e"), and a vendor may stand before it ("azure/gpt-4o"). Other names are unknown, however
    much they look like a known one.
    """
    if not base_model:
        return UNKNOWN
    name = base_model.strip().lower().rpartition("/")[2].partition(".ft-")[0].replace(":", "-").replace("@", "-")
    for candidate in (name, _VERSION.sub("", name)):
        family = FAMILIES.get(_ALIASES.get(candidate, candidate))
        if family is not None:
            return family
    return UNKNOWN


__all__ = ["FAMILIES", "UNKNOWN", "Family", "family_of"]
