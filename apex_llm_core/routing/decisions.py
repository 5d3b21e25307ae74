"""Records of why the last requests went where they went.

While a request is under way only raw facts are kept (`drafts`). A record is made of them when somebody reads it. Then, too, the
strategy ranks once more, with the recorded facts and randomness, and tells the parts of its scores: requests that nobody asks
about do not pay for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from random import Random
from typing import Any

import attrs

from apex_llm_core.context import CallContext
from apex_llm_core.models.decisions import Decision
from apex_llm_core.models.requests import Request
from apex_llm_core.routing.drafts import Draft, KeptDraft
from apex_llm_core.routing.replaying import Rank, scores

_SEED_BITS = 32
Tell = Callable[[KeptDraft], Decision]


class DecisionLog:
    """The records of the last requests.

    Args:
        keep: how many; 0: none are made.
        per_second: how many in a second at most, so that many requests do not pay for records that nobody could read; 0: all.
        random: where seeds are drawn, and the randomness of requests without a record.
        strategies: by name, to find the parts of scores.
        default: the configured strategy.
        options: its settings, so that it can be made again.
        scrub: masks the secrets in a text.
    """

    def __init__(
        self,
        keep: int,
        *,
        random: Random,
        per_second: int = 0,
        strategies: Mapping[str, Rank] | None = None,
        default: str = "priority",
        options: Mapping[str, Any] | None = None,
        scrub: Callable[[str], str] = str,
    ) -> None:
        #: Makes the record of a draft as it stands; no part of this log, which it may outlive.
        self.decision: Tell = partial(
            _told, default=default, options=_scrubbed(options or {}, scrub), strategies=strategies or {}
        )
        self._random = random
        self._keep = keep
        self._drafts: deque[KeptDraft] = deque(maxlen=keep)
        #: What was kept before a reload, until as many records have come since.
        self._former: list[tuple[Tell, list[KeptDraft]]] = []
        #: Keeps nothing.
        self.nothing = Draft(random)
        self._most = 0 if keep == 0 else per_second or inf
        #: The second that records are counted in, and how many there were.
        self._second = -inf
        self._made = 0

    def take_over(self, former: DecisionLog) -> None:
        """Go on with the records of *former*, after a reload; they are told with its strategies and settings."""
        room = self._keep
        self._former = []
        for tell, drafts in former.kept():
            if drafts and room > 0:
                self._former.append((tell, drafts[:room]))
                room -= len(drafts)

    def kept(self) -> list[tuple[Tell, list[KeptDraft]]]:
        """Return the drafts, newest first, each lot with what makes records of it."""
        return [(self.decision, list(self._drafts)[::-1]), *self._former]

    def draft(self, request: Request, context: CallContext) -> Draft:
        """Begin the record of a request; it is among the last from now on. Beyond `per_second` it is none."""
        if self._made >= self._most:
            now = context.clock()
            if now - self._second < 1.0 or not self._most:
                return self.nothing
            self._second, self._made = now, 0
        self._made += 1
        draft = KeptDraft(request, context, self._random.getrandbits(_SEED_BITS), dry_run=False)
        self._drafts.append(draft)
        if self._former and len(self._drafts) == self._keep:
            self._former = []
        return draft

    def dry_run(self, request: Request, context: CallContext) -> KeptDraft:
        """Begin a record that is not kept, of what would become of a request that came now; the randomness stays as it is."""
        coming = Random()
        coming.setstate(self._random.getstate())
        draft = KeptDraft(request, context, coming.getrandbits(_SEED_BITS), dry_run=True)
        # Somebody will read it: the estimate is worth its time.
        _ = request.estimated_prompt_tokens
        return draft

    def last(self, count: int | None = None) -> list[Decision]:
        """Return the last *count* records, newest first; None: all that are kept."""
        wanted = self._keep if count is None else min(max(0, count), self._keep)
        found: list[Decision] = []
        for tell, drafts in self.kept():
            found += [tell(draft) for draft in drafts[: wanted - len(found)]]
        return found


def _told(draft: KeptDraft, *, default: str, options: Mapping[str, Any], strategies: Mapping[str, Rank]) -> Decision:
    """Return the record of *draft*, with the parts of the scores where its strategies tell them."""
    decision = draft.decision()
    routes = tuple(
        attrs.evolve(ranked, options=options) if ranked.strategy == default else ranked for ranked in decision.routes
    )
    candidates = list(decision.candidates)
    for number, ranked in enumerate(decision.routes):
        rank = strategies.get(ranked.strategy)
        parts = scores(decision, rank, number) if rank is not None else {}
        for position, candidate in enumerate(candidates):
            score = parts.get((candidate.provider, candidate.model))
            if candidate.route == number and score is not None:
                candidates[position] = attrs.evolve(candidate, score=score)
    return attrs.evolve(decision, routes=routes, candidates=tuple(candidates))


def _scrubbed(value: Any, scrub: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {key: _scrubbed(item, scrub) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_scrubbed(item, scrub) for item in value)
    return value


__all__ = ["DecisionLog", "Draft", "KeptDraft"]
