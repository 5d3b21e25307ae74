"""Prompt caching: which cache points a model takes, and what a cache remembers of earlier prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import attrs

from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.conversation_rules import Json
from apex_llm_mock.emulation.bedrock.errors import refusal, refused_by_model

MOST_POINTS = 4
#: Shorter beginnings are not kept, and nothing is said about it.
LEAST_TOKENS = 1_024
#: Seconds.
LIFETIMES: Mapping[str, float] = {"5m": 300.0, "1h": 3600.0}
NOT_ALLOWED = "You invoked an unsupported model or your request did not allow prompt caching. See the documentation for more information."
#: How many tokens a beginning of a request has.
Count = Callable[[Json], int]


@attrs.frozen(kw_only=True)
class CachePoint:
    """One cache point of a request."""

    #: "tools", "system" or "messages".
    place: str
    ttl: str
    #: The request up to it, without any cache points.
    beginning: Json


@attrs.frozen(kw_only=True)
class CacheUse:
    """What of a prompt the cache gave and took, in tokens."""

    read: int = 0
    written: int = 0
    #: What was written, by the life it has.
    details: Mapping[str, int] = attrs.field(factory=dict)


def cache_points(body: Json) -> list[CachePoint]:
    """Return the cache points of *body* in the order in which a model reads: tools, system, messages."""
    return list(_points(body))


def _points(body: Json) -> Iterator[CachePoint]:
    tools: list[Any] = []
    system: list[Any] = []
    messages: list[dict[str, Any]] = []

    def point(place: str, block: Json) -> CachePoint:
        beginning: dict[str, Any] = {
            "messages": [{**message, "content": list(message["content"])} for message in messages]
        }
        if tools:
            beginning["toolConfig"] = {"tools": list(tools)}
        if system:
            beginning["system"] = list(system)
        return CachePoint(place=place, ttl=block["cachePoint"].get("ttl") or "5m", beginning=beginning)

    for place, given, kept in (
        ("tools", (body.get("toolConfig") or {}).get("tools") or (), tools),
        ("system", body.get("system") or (), system),
    ):
        for block in given:
            if block.get("cachePoint"):
                yield point(place, block)
            else:
                kept.append(block)
    for message in body["messages"]:
        content: list[Any] = []
        messages.append({"role": message["role"], "content": content})
        for block in message["content"]:
            if block.get("cachePoint"):
                yield point("messages", block)
            else:
                content.append(block)


def check_cache_points(body: Json, points: list[CachePoint], model: BaseModel) -> None:
    """Raise `RefusedError` for cache points that *model* does not take, or that stand where they must not."""
    if not points:
        return
    for point in points:
        if point.place not in model.cache:
            raise refusal("AccessDeniedException", NOT_ALLOWED)
    if len(points) > MOST_POINTS:
        raise refused_by_model(
            f"A maximum of {MOST_POINTS} blocks with cache_control may be provided. Found {len(points)}."
        )
    for position, message in enumerate(body["messages"]):
        before: Json | None = None
        for number, block in enumerate(message["content"]):
            if block.get("cachePoint") and (before is None or before.get("document") or before.get("video")):
                # The point becomes a property of the block before it, which must be able to have it.
                raise refused_by_model(f"messages.{position}.content.{number}.type: Field required")
            before = block
    short = False
    for point in points:
        if point.ttl == "1h" and short:
            raise refused_by_model(
                "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are "
                "processed in the following order: `tools`, `system`, `messages`."
            )
        short = short or point.ttl == "5m"


class PromptCache:
    """Remembers beginnings of prompts.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: When each beginning is forgotten.
        self._kept: dict[bytes, float] = {}

    def use(self, model: BaseModel, points: list[CachePoint], count: Count) -> CacheUse:
        """Look up the beginnings of a prompt, keep the new ones, and return what came of it."""
        if not points:
            return CacheUse()
        now = self._clock()
        self._kept = {key: end for key, end in self._kept.items() if end > now}
        read = end = 0
        details: dict[str, int] = {}
        keyed = [(point, _key(model, point), count(point.beginning)) for point in points]
        for _, key, tokens in keyed:
            if key in self._kept:
                read = end = max(read, tokens)
        for point, key, tokens in keyed:
            if tokens < LEAST_TOKENS:
                continue
            if tokens > end:
                details[point.ttl] = details.get(point.ttl, 0) + tokens - end
                end = tokens
            # Whoever reads it lets it live on.
            self._kept[key] = now + LIFETIMES[point.ttl]
        return CacheUse(read=read, written=end - read, details=details)


def _key(model: BaseModel, point: CachePoint) -> bytes:
    text = json.dumps([model.id, point.beginning], separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).digest()


__all__ = ["LEAST_TOKENS", "CachePoint", "CacheUse", "PromptCache", "cache_points", "check_cache_points"]
