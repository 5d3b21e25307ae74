"""The response cache: the same request of the same tenant is answered from the store.

"The same" is exact: kind, messages, model, who may answer, and every option but those that only steer how the request is made.
Options that do not exist yet count as well, so that a new one can never bring back a wrong answer. A stream and the whole answer
are the same request. Kept is only what the next one may be told: a complete answer to what was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import attrs

from apex_llm_core.cache.entries import FORMAT, Result, ResultT, decode, encode
from apex_llm_core.cache.identity import candidates_digest, request_digest
from apex_llm_core.cache.single_flight import SingleFlight
from apex_llm_core.interfaces import StateStore
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.info import Caller
from apex_llm_core.models.requests import ImageRequest, Request
from apex_llm_core.models.results import ChatGenerationResult, ImageGenerationResult

#: How an answer ends that is all the model had to say, or all it was allowed to. A content policy ends it otherwise, and so do
#: a provider's own words, which may mean a failure.
_COMPLETE = frozenset({"stop", "length", "tool_calls"})
#: In the details of an answer to something else than what was asked.
_ALTERED = ("adapted", "degraded")
#: Digests of candidates that are remembered at most.
_POOLS = 64


def tenant_by_user(caller: Caller) -> str | None:
    """Return the caller's user, else the name of its key: nobody is told what was said to somebody else.

    Callers with neither share their answers.
    """
    if caller.user is not None:
        return f"user:{caller.user}"
    return None if caller.key is None else f"key:{caller.key}"


def _ignore(error: Exception) -> None:
    """Stand in for `on_error` where nobody wants to know."""


@runtime_checkable
class _Sized(Protocol):
    """A store that knows how much it holds."""

    @property
    def entries(self) -> int: ...

    @property
    def size(self) -> int: ...


@attrs.define(eq=False)
class _Counts:
    hits: int = 0
    misses: int = 0
    stale_hits: int = 0
    stores: int = 0
    not_kept: int = 0
    errors: int = 0


class ResponseCache:
    """Whole answers in a state store. The store may fail: that costs an answer from memory, never the request.

    Args:
        store: where the entries are.
        ttl: seconds for which an answer is fresh.
        stale_ttl: seconds for which it is kept beyond that.
        wall: seconds of the wall clock: an entry may outlive the process.
        tenant: whose answers may be shared: callers for whom it returns the same text (or None) share them.
        on_error: told what the store raised or why an entry was unreadable; must not raise.

    Attributes:
        flights: requests under way, for who wants the same request to be made only once at a time.
    """

    def __init__(
        self,
        store: StateStore,
        ttl: float,
        *,
        stale_ttl: float = 0.0,
        wall: Callable[[], float],
        tenant: Callable[[Caller], str | None] = tenant_by_user,
        on_error: Callable[[Exception], None] = _ignore,
    ) -> None:
        self._store = store
        self._ttl = ttl
        self._stale_ttl = stale_ttl
        self._wall = wall
        self._tenant = tenant
        self._on_error = on_error
        self._counts = _Counts()
        #: Digests of candidates by the identity of their tuple, which is kept so that no other can have it.
        self._pools: dict[int, tuple[tuple[Candidate, ...], str]] = {}
        self.flights = SingleFlight()

    def adopt(self, former: ResponseCache) -> None:
        """Go on with the counts and the requests under way of *former*, after a reload."""
        self._counts = former._counts
        self.flights = former.flights

    def key(self, request: Request, caller: Caller, among: Iterable[Candidate] = ()) -> str | None:
        """Return the key of *request* served by one of *among*, None when it is not to be cached.

        Not cached are images, requests with `no_cache`, and those with something that has no JSON form, in `extra` for example.
        """
        if isinstance(request, ImageRequest) or request.options.no_cache:
            return None
        tenant = self._tenant(caller)
        try:
            return FORMAT + request_digest(request, tenant, self._among(among))
        except (TypeError, ValueError, RecursionError):
            return None

    async def get(self, key: str, cls: type[ResultT]) -> ResultT | None:
        """Return the fresh answer kept under *key*, with `cached` set and without attempts.

        Everything else, `usage` and `cost` included, is told as it was when the provider answered.

        Args:
            key: as `key` made it.
            cls: the class of the answer.
        """
        found = await self._read(key, cls, self._ttl)
        if found is None:
            self._counts.misses += 1
        else:
            self._counts.hits += 1
        return found

    async def get_stale(self, key: str, cls: type[ResultT]) -> ResultT | None:
        """Like `get`, for want of anything better: the answer may be out of date by `stale_ttl`."""
        found = await self._read(key, cls, self._ttl + self._stale_ttl)
        if found is not None:
            self._counts.stale_hits += 1
        return found

    async def put(self, key: str, result: Result) -> None:
        """Keep *result* under *key*, if it may be told again.

        It may not when it came from here, when a choice ended otherwise than complete (by a content policy above all), or when
        its details say that the request was `adapted` or the answer `degraded`.
        """
        if isinstance(result, ImageGenerationResult) or result.cached or _unfit(result):
            self._counts.not_kept += 1
            return
        try:
            await self._store.put(key, encode(result, self._wall()), self._ttl + self._stale_ttl)
        except Exception as error:
            self._failed(error)
        else:
            self._counts.stores += 1

    def snapshot(self) -> dict[str, Any]:
        """Return what happened so far, as numbers.

        Returns:
            Counts of `hits`, `misses`, `stale_hits`, `stores`, `not_kept` (answers that may not be told again), `errors` of the
            store and `coalesced` requests; `hit_rate` (None before the first look-up); `entries` and `bytes` of the whole
            store, None when it does not tell.
        """
        counts = self._counts
        looked_up = counts.hits + counts.misses
        sized = self._store if isinstance(self._store, _Sized) else None
        return {
            **attrs.asdict(counts),
            "coalesced": self.flights.coalesced,
            "hit_rate": counts.hits / looked_up if looked_up else None,
            "entries": None if sized is None else sized.entries,
            "bytes": None if sized is None else sized.size,
        }

    async def _read(self, key: str, cls: type[ResultT], longest: float) -> ResultT | None:
        try:
            entry = await self._store.get(key)
            if entry is None:
                return None
            at, found = decode(entry, cls)
        except Exception as error:
            self._failed(error)
            return None
        # By the time it was given, not by when the store forgets it: the configuration may have changed since.
        return found if self._wall() - at < longest else None

    def _among(self, candidates: Iterable[Candidate]) -> str:
        # The router gives the same tuple again and again, and there may be a thousand candidates in it.
        known = self._pools.get(id(candidates))
        if known is not None:
            return known[1]
        pool = tuple(candidates)
        digest = candidates_digest(pool)
        if pool is candidates:
            if len(self._pools) >= _POOLS:
                self._pools.clear()
            self._pools[id(pool)] = (pool, digest)
        return digest

    def _failed(self, error: Exception) -> None:
        self._counts.errors += 1
        self._on_error(error)


def _unfit(result: Result) -> bool:
    if not isinstance(result, ChatGenerationResult):
        return False
    reasons = {result.finish_reason, *(choice.finish_reason for choice in result.choices)}
    if not reasons <= _COMPLETE:
        return True
    details = result.details
    return details is not None and any(details.get(word) for word in _ALTERED)


__all__ = ["ResponseCache", "tenant_by_user"]
