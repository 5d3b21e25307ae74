"""Records in the making: what is kept of a request under way, and how a record is made of it.

Only references and raw tuples are kept: who was ranked, asked and passed over, and the live facts as they were.
"""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any, Literal, NamedTuple

from apex_llm_core.context import CallContext
from apex_llm_core.models.candidates import Candidate, Turn
from apex_llm_core.models.decisions import Consideration, Decision, RankedRoute, Verdict
from apex_llm_core.models.requests import GenerateRequest, Request
from apex_llm_core.routing.replaying import facts_of, live_values
from apex_llm_core.routing.router import Route
from apex_llm_core.routing.splitmix import SplitMix64

#: Candidates of a route whose facts are recorded; a dry run records all.
RECORDED = 16
_Place = Literal["pinned", "ranked"]
#: A ranking under way: the route, the strategy's name, the turn, and the live facts of its first candidates.
_Ranking = tuple[Route, str, Turn | None, list[tuple[Any, ...]]]


class Draft:
    """What becomes of one request; this one keeps nothing, for those who want no records."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        self._random = random

    @property
    def random(self) -> Random:
        """The randomness for the ranking that begins."""
        return self._random

    def route(self, route: Route, strategy: str, turn: Turn | None) -> None:
        """Note that *strategy* is to rank the candidates of *route*; *turn* None: there is but one, which is not ranked."""

    def pinned(self, candidate: Candidate, reason: str) -> None:
        """Note that *candidate* has the next place for *reason*, whatever the strategy says."""

    def ranked(self, candidate: Candidate) -> None:
        """Note that *candidate* has the next place by the strategy."""

    def taken(self, candidate: Candidate, reason: str = "") -> None:
        """Note that *candidate* is asked."""

    def failed(self, candidate: Candidate, reason: str) -> None:
        """Note that *candidate* was asked in vain; *reason* is the type of the error."""

    def passed_over(self, candidate: Candidate, reason: str) -> None:
        """Note why *candidate* is not asked although its turn came."""

    def unable(self, candidate: Candidate, reason: str) -> None:
        """Note what *candidate* lacks."""

    def close(self, outcome: str) -> None:
        """Note how the request ended: "ok", the type of an error, or "cancelled"."""


class KeptDraft(Draft):
    """A record in the making."""

    __slots__ = (
        "_at",
        "_form",
        "_late",
        "_operation",
        "_outcome",
        "_rankings",
        "_request",
        "_seed",
        "_told",
        "dry_run",
        "request_id",
    )

    def __init__(self, request: Request, context: CallContext, seed: int, *, dry_run: bool) -> None:
        #: The request's id.
        self.request_id = context.request_id
        #: Whether nothing is to be done.
        self.dry_run = dry_run
        self._operation = context.operation
        self._at = context.clock()
        self._seed = seed
        self._request: Request | None = request
        self._form: _Form | None = None
        self._outcome = ""
        #: Whether the strategy ranks only after somebody pinned was asked, when the facts are others.
        self._late = False
        self._rankings: list[_Ranking] = []
        #: All that was told of candidates, in order: one list for everything, because every request has one.
        self._told: list[tuple[Candidate, Verdict | _Place, str]] = []

    @property
    def random(self) -> Random:
        """The randomness for the ranking that begins, which its record can bring back."""
        return SplitMix64(self._seed + len(self._rankings))

    def route(self, route: Route, strategy: str, turn: Turn | None) -> None:
        """Note that *strategy* is to rank the candidates of *route*; *turn* None: there is but one, which is not ranked."""
        candidates = route.candidates
        if len(candidates) > RECORDED and not self.dry_run:
            candidates = candidates[:RECORDED]
        self._late = False
        self._rankings.append((route, strategy, turn, [live_values(candidate.live) for candidate in candidates]))

    def pinned(self, candidate: Candidate, reason: str) -> None:
        """Note that *candidate* has the next place for *reason*, whatever the strategy says."""
        self._late = True
        self._told.append((candidate, "pinned", reason))

    def ranked(self, candidate: Candidate) -> None:
        """Note that *candidate* has the next place by the strategy."""
        if self._late:
            self.route(*self._rankings.pop()[:3])
        self._told.append((candidate, "ranked", ""))

    def taken(self, candidate: Candidate, reason: str = "") -> None:
        """Note that *candidate* is asked."""
        self._told.append((candidate, "taken", reason))

    def failed(self, candidate: Candidate, reason: str) -> None:
        """Note that *candidate* was asked in vain; *reason* is the type of the error."""
        self._told.append((candidate, "failed", reason))

    def passed_over(self, candidate: Candidate, reason: str) -> None:
        """Note why *candidate* is not asked although its turn came."""
        self._told.append((candidate, "passed_over", reason))

    def unable(self, candidate: Candidate, reason: str) -> None:
        """Note what *candidate* lacks."""
        self._told.append((candidate, "unable", reason))

    def close(self, outcome: str) -> None:
        """Note how the request ended, and let go of what the caller wrote."""
        self._outcome = outcome
        if self._request is not None:
            # What others than the built-in strategy go by, they may have asked the size of the prompt for.
            self._form = _form_of(self._request, plain=all(ranking[1] == "priority" for ranking in self._rankings))
            self._request = None

    def decision(self) -> Decision:
        """Return the record as it stands, without the parts of scores."""
        form = _form_of(self._request, plain=False) if self._request is not None else self._form
        assert form is not None  # noqa: S101 - one of the two is always there
        routes, candidates = self._considered()
        return Decision(
            request_id=self.request_id,
            operation=self._operation,
            model=form.model,
            at=self._at,
            needs=tuple(sorted(form.needs)),
            stream=form.stream,
            estimated_prompt_tokens=form.estimated_prompt_tokens,
            max_tokens=form.max_tokens,
            answers=form.answers,
            dry_run=self.dry_run,
            outcome=self._outcome,
            routes=routes,
            candidates=candidates,
        )

    def _considered(self) -> tuple[tuple[RankedRoute, ...], tuple[Consideration, ...]]:
        ranks: dict[Candidate, int] = {}
        verdicts: dict[Candidate, tuple[Verdict, str]] = {}
        pins: dict[Candidate, str] = {}
        for candidate, what, reason in self._told:
            if what == "pinned":
                pins[candidate] = reason
            if what == "pinned" or what == "ranked":  # noqa: PLR1714 - so that the type is known
                ranks.setdefault(candidate, len(ranks) + 1)
            else:
                verdicts[candidate] = (what, reason)
        considered: list[Consideration] = []

        def consider(candidate: Candidate, facts: tuple[Any, ...] | None, **where: Any) -> None:
            verdict, reason = verdicts.pop(candidate, ("not_reached", ""))
            considered.append(
                Consideration(
                    provider=candidate.provider,
                    model=candidate.model,
                    rank=ranks.pop(candidate, None),
                    verdict=verdict,
                    reason=reason or pins.get(candidate, ""),
                    facts=facts_of(candidate, facts) if facts is not None else {},
                    **where,
                )
            )

        routes = []
        for number, (route, strategy, turn, facts) in enumerate(self._rankings):
            for position, (candidate, live) in enumerate(zip(route.candidates, facts, strict=False)):
                consider(candidate, live, route=number, position=position)
            omitted = len(route.candidates) - len(facts)
            for position, candidate in enumerate(route.candidates[len(facts) :], len(facts)):
                if candidate in ranks or candidate in verdicts:
                    consider(candidate, None, route=number, position=position)
            pinned = next((c.provider for c in pins if id(c) in route.identities), None)
            routes.append(
                RankedRoute(
                    model=route.model,
                    strategy=strategy,
                    rule=route.rule,
                    seed=self._seed + number,
                    omitted=omitted,
                    pinned=pinned,
                    **(_shown(turn) if turn is not None else {}),
                )
            )
        for candidate in (*ranks, *verdicts):
            if candidate in ranks or candidate in verdicts:
                consider(candidate, live_values(candidate.live), route=None)
        considered.sort(key=lambda c: (c.rank is None, c.rank or 0))
        return tuple(routes), tuple(considered)


def _shown(turn: Turn) -> dict[str, Any]:
    """Return what makes *turn* again, beside the seed."""
    return {name: getattr(turn, name) for name in ("sequence", "balance", "adaptive", "now", "tokens")}


class _Form(NamedTuple):
    """What strategies go by in a request, without what the caller wrote."""

    model: str
    needs: frozenset[str]
    stream: bool
    estimated_prompt_tokens: int | None
    max_tokens: int | None
    answers: int | None


def _form_of(request: Request, *, plain: bool) -> _Form:
    estimate: int | None = None
    if not plain:
        # Counting a long prompt takes longer than ranking: if nobody did, nothing depended on it.
        with suppress(AttributeError):
            estimate = object.__getattribute__(request, "estimated_prompt_tokens")
    if not isinstance(request, GenerateRequest):
        return _Form(request.model, request.needs, False, estimate, None, None)
    options = request.options
    return _Form(request.model, request.needs, request.stream, estimate, options.max_tokens, options.n)


__all__ = ["RECORDED", "Draft", "KeptDraft"]
