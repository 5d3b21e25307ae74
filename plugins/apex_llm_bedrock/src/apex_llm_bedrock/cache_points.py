"""Cache points: where the core's hints put them, and how many the service takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from apex_llm_core.models import CacheHintPart

Block = dict[str, Any]
#: In one request.
MOST_CACHE_POINTS: Final = 4
#: Blocks that none may follow directly.
_UNCACHED = frozenset({"document", "reasoningContent"})


def add_cache_point(blocks: list[Block], hint: CacheHintPart, *, after_results: bool = False) -> None:
    """Add a cache point after *blocks*, before the documents and thoughts they end with; none without anything before it.

    Args:
        blocks: what stands before the hint in its turn; changed.
        hint: how long to keep it.
        after_results: results of tools go before *blocks*.
    """
    position = len(blocks)
    while position and not _UNCACHED.isdisjoint(blocks[position - 1]):
        position -= 1
    wanted = "cachePoint" not in blocks[position - 1] if position else after_results
    if wanted:
        point = {"type": "default"} if hint.ttl is None else {"type": "default", "ttl": hint.ttl}
        blocks.insert(position, {"cachePoint": point})


def limit_cache_points(system: list[Block], turns: Sequence[Block]) -> None:
    """Take away cache points beyond `MOST_CACHE_POINTS`: those of *turns* first, and there as in *system* the earlier ones.

    The system blocks are what most requests have in common; of the others, the latest cover what the earlier ones do.
    """
    room = MOST_CACHE_POINTS
    for blocks in (system, *(turn["content"] for turn in reversed(turns))):
        for position in range(len(blocks) - 1, -1, -1):
            if "cachePoint" in blocks[position]:
                room -= 1
                if room < 0:
                    del blocks[position]


__all__ = ["MOST_CACHE_POINTS", "add_cache_point", "limit_cache_points"]
