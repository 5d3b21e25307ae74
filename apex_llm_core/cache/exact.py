"""The response cache: the same request of the same tenant is answered from the store.

"The same" is exact: kind, messages, model, and every option but those that only steer how the request is made. Options that
do not exist yet count as well, so that a new one can never bring back a wrong answer. Streams are not cached: neither looked
up nor kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs

from apex_llm_core.converters import dumps, loads, structure, unstructure
from apex_llm_core.interfaces import StateStore
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.info import Caller
from apex_llm_core.models.requests import EmbedRequest, ImageRequest, Request
from apex_llm_core.models.results import (
    ChatGenerationResult,
    EmbeddingResult,
    ImageGenerationResult,
    TextGenerationResult,
)

Result = ChatGenerationResult | TextGenerationResult | EmbeddingResult | ImageGenerationResult
ResultT = TypeVar("ResultT", bound=Result)

#: Part of every key; a change of what a key or an entry consists of changes it, and old entries are simply not found.
_FORMAT = "apex-llm:response:1:"
#: They decide how long and how often is tried, not what is answered. `model` stands in the request itself.
_STEERING = frozenset({"deadline", "model", "no_cache", "retry_count", "timeout"})


def tenant_by_user(caller: Caller) -> str | None:
    """Return the caller's user: nobody is answered with what somebody else was told. Callers without one share."""
    return caller.user


def _ignore(error: Exception) -> None:
    """Stand in for `on_error` where nobody wants to know."""


class ResponseCache:
    """Whole answers in a state store. The store may fail: that costs an answer from memory, never the request.

    Args:
        store: where the entries are.
        ttl: seconds an answer is kept.
        tenant: whose answers may be shared: callers for whom it returns the same text (or None) share them.
        on_error: told what the store raised or why an entry was unreadable; must not raise.
    """

    def __init__(
        self,
        store: StateStore,
        ttl: float,
        tenant: Callable[[Caller], str | None] = tenant_by_user,
        *,
        on_error: Callable[[Exception], None] = _ignore,
    ) -> None:
        self._store = store
        self._ttl = ttl
        self._tenant = tenant
        self._on_error = on_error

    def key(self, request: Request, caller: Caller, among: Iterable[Candidate] = ()) -> str | None:
        """Return the key of *request* served by one of *among*, None when it is not to be cached.

        Not cached are streams, images, requests with `no_cache`, and those whose `extra` has no JSON form.
        """
        if isinstance(request, ImageRequest) or request.options.no_cache:
            return None
        content: object
        if isinstance(request, EmbedRequest):
            kind, content = "embed", request.texts
        elif request.stream:
            return None
        else:
            kind, content = str(request.kind), request.messages
        try:
            identity = {
                "kind": kind,
                "tenant": self._tenant(caller),
                "model": request.model,
                "among": sorted({(candidate.provider, candidate.model) for candidate in among}),
                "content": unstructure(content),
                "options": _telling(unstructure(request.options)),
            }
            canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return None
        return _FORMAT + hashlib.sha256(canonical.encode("ascii")).hexdigest()

    async def get(self, key: str, cls: type[ResultT]) -> ResultT | None:
        """Return the answer kept under *key*, with `cached` set and without attempts.

        Everything else, `usage` and `cost` included, is told as it was when the provider answered.

        Args:
            key: as `key` made it.
            cls: the class of the answer.
        """
        try:
            entry = await self._store.get(key)
            if entry is None:
                return None
            kept: Any = structure(loads(entry), cls)
            found: ResultT = attrs.evolve(kept, cached=True, attempts=())
        except Exception as error:
            self._on_error(error)
            return None
        return found

    async def put(self, key: str, result: Result) -> None:
        """Keep *result* under *key*, unless it came from here or a content policy touched it."""
        if isinstance(result, ImageGenerationResult) or result.cached or _filtered(result):
            return
        try:
            # Attempts name what failed on the way; nobody else's request went that way.
            entry = dumps(attrs.evolve(result, attempts=())).encode()
            await self._store.put(key, entry, self._ttl)
        except Exception as error:
            self._on_error(error)


def _telling(options: dict[str, Any]) -> dict[str, Any]:
    # What is not set is left out: an option that a later version adds must not change the keys of requests without it.
    return {name: value for name, value in options.items() if value is not None and name not in _STEERING}


def _filtered(result: ChatGenerationResult | TextGenerationResult | EmbeddingResult) -> bool:
    if isinstance(result, EmbeddingResult):
        return False
    reasons = {result.finish_reason}
    if isinstance(result, ChatGenerationResult):
        reasons.update(choice.finish_reason for choice in result.choices)
    return "content_filter" in reasons


__all__ = ["ResponseCache", "tenant_by_user"]
