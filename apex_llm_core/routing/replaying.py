"""Rankings made again from their records alone.

The strategy gets candidates with the facts of the record, a request of the same form (kind, needs, sizes; none of its words, which
are not recorded) and the same turn. A ranking is lazy, and a record holds the facts of its beginning: a place asked for after a
failed attempt may differ, when that attempt, or other requests meanwhile, changed what is known of the candidates behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Literal

import attrs

from apex_llm_core.errors import ApexLLMError, InvalidRequestError
from apex_llm_core.models.candidates import Candidate, LiveFacts, Turn
from apex_llm_core.models.decisions import Consideration, Decision, RankedRoute
from apex_llm_core.models.info import HealthState
from apex_llm_core.models.messages import ChatMessage
from apex_llm_core.models.options import (
    ChatGenerationOptions,
    EmbeddingOptions,
    ImageGenerationOptions,
    TextGenerationOptions,
)
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest, Request
from apex_llm_core.routing.splitmix import SplitMix64

#: A provider and a model.
Pair = tuple[str, str]
Rank = Callable[[Request, Sequence[Candidate], Turn], Iterable[Candidate]]

_LIVE = tuple(field.name for field in attrs.fields(LiveFacts))
#: The values of all live facts, in the order of their definition.
live_values: Callable[[LiveFacts], tuple[Any, ...]] = attrgetter(*_LIVE)
_IDENTITY = frozenset({"provider", "model"})
_FIXED = tuple(field.name for field in attrs.fields(Candidate) if field.name != "live" and field.name not in _IDENTITY)
_SETS = ("tags", "capabilities")
_CHARACTERS_A_TOKEN = 4
_LONGEST_PROMPT = 1_000_000


def facts_of(candidate: Candidate, live: tuple[Any, ...]) -> Mapping[str, Any]:
    """Return all that is known of *candidate*, with *live* as `live_values` told it, as JSON has it."""
    facts = {name: getattr(candidate, name) for name in _FIXED}
    for name in _SETS:
        if facts[name] is not None:
            facts[name] = tuple(sorted(facts[name]))
    facts.update(zip(_LIVE, live, strict=True))
    facts["health"] = str(facts["health"])
    return MappingProxyType(facts)


def replay(decision: Decision, rank: Rank, route: int = 0) -> list[Pair]:
    """Return the whole ranking of one route of *decision*, made again by *rank*, a strategy with the recorded settings.

    Raises:
        InvalidRequestError: there is no such route, not all of its candidates were recorded, or they cannot be ranked.
    """
    if not 0 <= route < len(decision.routes):
        raise InvalidRequestError(f"the record has {len(decision.routes)} rankings; there is no number {route}")
    ranked = decision.routes[route]
    if ranked.omitted:
        raise InvalidRequestError(
            f"the record leaves out {ranked.omitted} candidates of model {ranked.model!r}: it cannot be ranked again"
        )
    pairs = [(ranked.pinned, ranked.model)] if ranked.pinned is not None else []
    try:
        candidates = _candidates(decision, route)
        # One is not ranked, whatever the strategy would say.
        ranking = candidates if len(candidates) == 1 else rank(_request(decision, ranked), candidates, _turn(ranked))
        again = [(candidate.provider, candidate.model) for candidate in ranking]
    except ApexLLMError:
        raise
    except Exception as error:
        message = f"the record of model {ranked.model!r} cannot be ranked again: {type(error).__name__}: {error}"
        raise InvalidRequestError(message) from error
    return pairs + [pair for pair in again if pair not in pairs]


def recorded(decision: Decision, route: int = 0) -> list[Pair]:
    """Return the ranking of one route as it was, as far as its places were asked for."""
    return [(c.provider, c.model) for c in decision.candidates if c.route == route and c.rank is not None]


def scores(decision: Decision, rank: Rank, route: int) -> dict[Pair, dict[str, Any]]:
    """Return the parts of the scores of one route's recorded candidates; none when the strategy fails."""
    ranked = decision.routes[route]
    candidates = _candidates(decision, route)
    turn = _turn(ranked, notes={})
    try:
        for _ in rank(_request(decision, ranked), candidates, turn):
            # Notes are made on the way.
            pass
    except Exception:  # it failed in the request, too, and was reported there
        return {}
    notes = turn.notes or {}
    return {(c.provider, c.model): dict(notes[id(c)]) for c in candidates if id(c) in notes}


def _candidates(decision: Decision, route: int) -> list[Candidate]:
    """Return the recorded candidates of a route, in the order in which the strategy saw them."""
    found = [c for c in decision.candidates if c.route == route and c.facts]
    return [_candidate(c) for c in sorted(found, key=lambda c: c.position)]


def _candidate(consideration: Consideration) -> Candidate:
    facts = consideration.facts
    live = {name: facts[name] for name in _LIVE if name in facts}
    if "health" in live:
        live["health"] = HealthState(live["health"])
    fixed = {name: facts[name] for name in _FIXED if name in facts}
    for name in _SETS:
        if fixed.get(name) is not None:
            fixed[name] = frozenset(fixed[name])
    return Candidate(provider=consideration.provider, model=consideration.model, live=LiveFacts(**live), **fixed)


def _turn(ranked: RankedRoute, notes: dict[int, dict[str, Any]] | None = None) -> Turn:
    return Turn(
        sequence=ranked.sequence,
        random=SplitMix64(ranked.seed),
        balance=ranked.balance,
        adaptive=ranked.adaptive,
        now=ranked.now,
        tokens=ranked.tokens,
        notes=notes,
    )


def _request(decision: Decision, ranked: RankedRoute) -> Request:
    """Return a request of the recorded form, as long as it was."""
    size = decision.estimated_prompt_tokens or 0
    if decision.operation == "image":
        # Longer prompts no service takes.
        prompt = "x" * max(1, _CHARACTERS_A_TOKEN * (min(size, _LONGEST_PROMPT) - 1))
        return ImageRequest(prompt=prompt, model=ranked.model, options=ImageGenerationOptions())
    if decision.operation == "embed":
        embed = EmbedRequest(texts=("x",), model=ranked.model, options=EmbeddingOptions())
        object.__setattr__(embed, "estimated_prompt_tokens", size)
        return embed
    kind: Literal["text", "chat"] = "text" if decision.operation == "text" else "chat"
    options = TextGenerationOptions if kind == "text" else ChatGenerationOptions
    request = GenerateRequest(
        kind=kind,
        messages=(ChatMessage(role="user", content="x"),),
        model=ranked.model,
        options=options(max_tokens=decision.max_tokens, n=decision.answers),
        stream=decision.stream,
    )
    # What follows from words that were not recorded.
    object.__setattr__(request, "needs", frozenset(decision.needs))
    object.__setattr__(request, "estimated_prompt_tokens", size)
    return request


__all__ = ["Pair", "Rank", "facts_of", "live_values", "recorded", "replay", "scores"]
