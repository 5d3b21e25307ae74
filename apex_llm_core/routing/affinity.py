"""Which candidate answered a session last: prompt caches of providers live for minutes, and only where the prompt was seen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.info import Caller

#: The states of a breaker in which a candidate is as good as any.
_WELL = frozenset({"closed", "metrics_only", "disabled"})


class Affinity:
    """Remembers (user, session, model) for a while; the least recently used go first.

    Args:
        ttl: seconds since the last answer; 0: nothing is remembered.
        most: sessions remembered at most.
        clock: monotonic seconds.
    """

    def __init__(self, ttl: float, most: int, clock: Callable[[], float]) -> None:
        self._ttl = ttl
        self._most = most
        self._clock = clock
        self._kept: OrderedDict[tuple[str | None, str | None, str, str], tuple[str, str, float]] = OrderedDict()

    def recall(self, caller: Caller, model: str, among: tuple[Candidate, ...]) -> Candidate | None:
        """Return the candidate of *among* that answered this session for *model* last, if it is well."""
        if caller.session is None or not self._ttl:
            return None
        kept = self._kept.get((caller.key, caller.user, caller.session, model))
        if kept is None or kept[2] <= self._clock():
            return None
        for candidate in among:
            if candidate.provider == kept[0] and candidate.model == kept[1]:
                return candidate if candidate.live.breaker in _WELL else None
        return None

    def take_over(self, earlier: Affinity) -> None:
        """Go on with the memory of *earlier*."""
        self._kept = earlier._kept

    def remember(self, caller: Caller, model: str, candidate: Candidate) -> None:
        """Note that *candidate* answered a request for *model*."""
        if caller.session is None or not self._ttl:
            return
        key = (caller.key, caller.user, caller.session, model)
        self._kept[key] = (candidate.provider, candidate.model, self._clock() + self._ttl)
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)


__all__ = ["Affinity"]
