"""What tests of strategies need to look at rankings from outside: facts to compare, and decision records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import attrs

from apex_llm_core.context import CallContext
from apex_llm_core.converters import dumps, loads, structure
from apex_llm_core.models.candidates import Candidate, Turn
from apex_llm_core.models.decisions import Decision
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, Request
from apex_llm_core.routing.decisions import DecisionLog
from apex_llm_core.routing.replaying import Rank
from apex_llm_core.routing.router import Route


def facts(value: object) -> object:
    """Return all that can be read of *value*, for comparison; what has no attributes stands for itself."""
    cls = type(value)
    if attrs.has(cls):
        return cls, {a.name: facts(getattr(value, a.name)) for a in attrs.fields(cls)}
    if isinstance(value, Mapping):
        return {key: facts(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return cls, [facts(item) for item in value]
    if isinstance(value, Random):
        return value.getstate()
    slots = (name for base in cls.__mro__ for name in getattr(base, "__slots__", ()))
    attributes = {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})
    if attributes and not callable(value):
        return cls, {name: facts(item) for name, item in attributes.items()}
    return value


def operation_of(request: Request) -> str:
    """Return the operation that *request* belongs to."""
    if isinstance(request, GenerateRequest):
        return request.kind
    return "embed" if isinstance(request, EmbedRequest) else "image"


def record(rank: Rank, request: Request, candidates: Sequence[Candidate], *, seed: int, **turn: Any) -> Decision:
    """Let *rank* rank all *candidates*, as the core does, and return the record, which has been written and read as JSON."""
    log = DecisionLog(1, random=Random(seed), strategies={"under test": rank})
    draft = log.draft(request, CallContext(request_id="test-request", operation=operation_of(request)))
    pool = tuple(candidates)
    route = Route(model=request.model, candidates=pool, identities=frozenset(map(id, pool)))
    if len(pool) == 1:
        draft.route(route, "under test", None)
        draft.ranked(pool[0])
    else:
        made = Turn(random=draft.random, **turn)
        draft.route(route, "under test", made)
        for candidate in rank(request, pool, made):
            draft.ranked(candidate)
    draft.close("ok")
    (decision,) = log.last()
    return structure(loads(dumps(decision)), Decision)


__all__ = ["facts", "operation_of", "record"]
