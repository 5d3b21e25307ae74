"""What requests came to: outcomes, tokens, money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

from apex_llm_core.models.events import RequestFinished

#: Outcomes that are no errors.
NO_ERRORS = frozenset({"ok", "cancelled"})


class Tally:
    """Adds up requests. Answers from a cache count as requests, and have used nothing."""

    __slots__ = (
        "cached",
        "cached_tokens",
        "completion_tokens",
        "cost",
        "cost_unknown",
        "outcomes",
        "prompt_tokens",
        "requests",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.outcomes: dict[str, int] = {}
        #: Answers from a cache.
        self.cached = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        #: Tokens of prompts that the provider had in a cache of its own.
        self.cached_tokens = 0
        #: Of those whose cost is known.
        self.cost = 0.0
        #: Requests that a provider may charge for, and nobody knows how much.
        self.cost_unknown = 0

    @classmethod
    def merged(cls, documents: Iterable[Mapping[str, Any]]) -> Self:
        """Return the sum of tallies in their JSON form."""
        found = cls()
        outcomes: Counter[str] = Counter()
        for document in documents:
            outcomes.update(document["outcomes"])
            for name in _NUMBERS:
                setattr(found, name, getattr(found, name) + document[name])
        found.outcomes = dict(outcomes)
        return found

    def add(self, event: RequestFinished) -> None:
        """Count one request."""
        self.requests += 1
        outcomes, outcome = self.outcomes, event.outcome
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        if event.cached:
            self.cached += 1
            return
        usage = event.usage
        if usage is not None:
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens
            self.cached_tokens += usage.cached_tokens
        if event.cost is not None:
            self.cost += event.cost
        elif outcome == "ok" or event.time_to_first_chunk is not None or (outcome == "cancelled" and event.attempts):
            # Who leaves, or is left in the middle, may have to pay all the same.
            self.cost_unknown += 1

    def fold(self, other: Tally) -> None:
        """Add what *other* has."""
        outcomes = self.outcomes
        for outcome, count in other.outcomes.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def errors(self) -> dict[str, int]:
        """How many requests failed, by the type of the error."""
        return {outcome: count for outcome, count in self.outcomes.items() if outcome not in NO_ERRORS}

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"outcomes": dict(self.outcomes), **{name: getattr(self, name) for name in _NUMBERS}}

    def usage(self) -> dict[str, Any]:
        """Return what tables of usage show."""
        return {
            "requests": self.requests,
            "errors": sum(self.errors.values()),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost": self.cost,
            "cost_unknown": self.cost_unknown,
        }


_NUMBERS = tuple(name for name in Tally.__slots__ if name != "outcomes")


__all__ = ["NO_ERRORS", "Tally"]
