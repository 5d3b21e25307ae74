"""The call of a provider's hook, whole or streamed, and what its answer is held to."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from apex_llm_core.cache.replay import replayed
from apex_llm_core.errors import UnknownError
from apex_llm_core.hookspecs import ChunkBatch
from apex_llm_core.models.requests import GenerateRequest
from apex_llm_core.models.results import ChatGenerationChunk, ChatGenerationResult
from apex_llm_core.plugin.registry import ProviderRegistry
from apex_llm_core.routing.delivery import Opened, truncated
from apex_llm_core.routing.flight import Flight
from apex_llm_core.routing.outcome import Result, defect, settled

_CHUNKS = frozenset({ChatGenerationChunk})


class Calls:
    """Calls providers by their bound hooks.

    Args:
        registry: where the hooks are.
        hedging: whether a stream may be thrown away because another was faster.
    """

    def __init__(self, registry: ProviderRegistry, *, hedging: bool) -> None:
        self._registry = registry
        self._hedging = hedging

    async def whole(self, hook: str, kind: type[Result], request: Any, flight: Flight) -> Result:
        """Return the whole answer of the flight's candidate; the flight has ended well then."""
        candidate = flight.candidate
        result: Result = await self._registry.get(candidate.provider).hooks[hook](request, flight.context)
        wrong = defect(result, kind, request)
        if wrong is not None:
            raise UnknownError(f"provider {candidate.provider!r} returned {wrong} from {hook}")
        flight.succeed(result.usage)
        return settled(result, flight)

    async def open(self, request: GenerateRequest, flight: Flight) -> Opened:
        """Start a stream and wait for its first list of chunks: until then it may be retried elsewhere."""
        candidate = flight.candidate
        if request.stream:
            rest = self._registry.get(candidate.provider).hooks["apex_stream"](request, flight.context)
        else:
            rest = self._emulated(request, flight)
        try:
            first: ChunkBatch | None = []
            while not first:
                first = await anext(rest, None)
                if first is None:
                    raise truncated(candidate)
                if type(first) is not list or set(map(type, first)) - _CHUNKS:
                    raise UnknownError(
                        f"provider {candidate.provider!r} yielded no list of chunks from apex_stream: {type(first).__name__}"
                    )
        except BaseException:
            await rest.aclose()
            raise
        flight.first_chunk()
        return Opened(
            flight=flight,
            first=first,
            rest=rest,
            choices=request.options.n or 1,
            prompt_tokens=request.estimated_prompt_tokens if self._hedging else 0,
        )

    async def _emulated(self, request: GenerateRequest, flight: Flight) -> AsyncGenerator[ChunkBatch, None]:
        """Stream the whole answer of a candidate that cannot stream."""
        candidate = flight.candidate
        result = await self._registry.get(candidate.provider).hooks["apex_generate"](request, flight.context)
        wrong = defect(result, ChatGenerationResult, request)
        if wrong is not None:
            raise UnknownError(f"provider {candidate.provider!r} returned {wrong} from apex_generate")
        for batch in replayed(result):
            yield batch


__all__ = ["Calls"]
