"""Why a request went where it went: a record from which the ranking can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import attrs

from apex_llm_core.models.candidates import Balance

#: "taken": asked, and nothing bad is known of it; "failed": asked in vain; "passed_over": its turn came, but it could not be asked
#: then; "not_reached": its turn did not come; "unable": it lacks what the request needs.
Verdict = Literal["taken", "failed", "passed_over", "not_reached", "unable"]


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@attrs.frozen(kw_only=True)
class Consideration:
    """What was thought of one candidate."""

    provider: str
    model: str
    #: The position of its route among `Decision.routes`; None: no route leads to it.
    route: int | None = 0
    #: Its position among the candidates of the route, as the strategy saw them.
    position: int = 0
    #: Its place over all routes, from 1; None: its place was not asked for.
    rank: int | None = None
    verdict: Verdict = "not_reached"
    #: Why it was passed over, failed, is unable or came first; may be empty.
    reason: str = ""
    #: What its place follows from, in the strategy's own words: costs, seconds, shares.
    score: Mapping[str, Any] = attrs.field(factory=_empty)
    #: All that was known of it when it was ranked, by the names of `Candidate` and `LiveFacts`; empty when the record was
    #: too long.
    facts: Mapping[str, Any] = attrs.field(factory=_empty)


@attrs.frozen(kw_only=True)
class RankedRoute:
    """One ranking of a request: that of the model asked for, then those of fallback models."""

    model: str
    strategy: str
    #: The strategy's settings, secrets masked.
    options: Mapping[str, Any] = attrs.field(factory=_empty)
    #: The name of the routing rule that applied.
    rule: str | None = None
    #: The turn: requests for the model before this one, seed, and how the load was spread; see `Turn`.
    sequence: int = 0
    seed: int = 0
    balance: Balance = "weighted"
    adaptive: bool = True
    now: float = 0.0
    tokens: int = 0
    #: Candidates of it that are not among the record's, for its length.
    omitted: int = 0
    #: Who came first whatever the strategy said; None: nobody.
    pinned: str | None = None


@attrs.frozen(kw_only=True)
class Decision:
    """Where one request went, and why.

    `candidates` stand in the order of their rank, those without one behind. A record holds nothing that the caller wrote.
    """

    request_id: str
    #: "text", "chat", "embed" or "image".
    operation: str
    #: The model asked for.
    model: str
    #: When the decision was made, by the manager's clock.
    at: float
    #: Capabilities the request needs, in alphabetical order.
    needs: tuple[str, ...] = ()
    stream: bool = False
    #: None: nothing depended on it.
    estimated_prompt_tokens: int | None = None
    max_tokens: int | None = None
    #: Number of alternative answers asked for.
    answers: int | None = None
    #: What would be done; nothing was.
    dry_run: bool = False
    #: "ok", the type of the error, "cancelled", or empty while it is under way.
    outcome: str = ""
    routes: tuple[RankedRoute, ...] = ()
    candidates: tuple[Consideration, ...] = ()

    @property
    def strategy(self) -> str:
        """The strategy of the first ranking, empty without any."""
        return self.routes[0].strategy if self.routes else ""

    @property
    def rule(self) -> str | None:
        """The routing rule of the first ranking."""
        return self.routes[0].rule if self.routes else None

    @property
    def sequence(self) -> int:
        """How many requests for the model came before, 0 without a ranking."""
        return self.routes[0].sequence if self.routes else 0

    @property
    def seed(self) -> int:
        """The seed of the first ranking's randomness, 0 without a ranking."""
        return self.routes[0].seed if self.routes else 0


__all__ = ["Consideration", "Decision", "RankedRoute", "Verdict"]
