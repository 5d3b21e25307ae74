"""What one subject used of one limit, as a state store keeps it: compact JSON. Pure; the rules are told in `policies.limits`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from math import inf
from typing import Any

from apex_llm_core.policies.amounts import AmountWindow
from apex_llm_core.policies.charges import Actual, LimitStanding, Standing
from apex_llm_core.policies.counts import Amounts
from apex_llm_core.policies.limit import Held, Limit, standing_of

#: Keys of this form hold values of this form; another form gets another number.
_FORMAT = "apex-llm:limit:1:"


def is_stored(limit: Limit) -> bool:
    """Return whether *limit* counts anything that a store keeps."""
    return limit.moments is not None or limit.tokens is not None or limit.cost is not None


class _Slots:
    """Requests per window, counted as an amount of which each request is one."""

    __slots__ = ("amounts",)

    def __init__(self, amounts: Amounts) -> None:
        self.amounts = amounts

    def wait(self, subject: str, now: float) -> float:
        return self.amounts.wait(subject, 1.0, now)

    def standing(self, subject: str, now: float) -> tuple[Standing, float | None]:
        return self.amounts.standing(subject, now)


class StoredCount:
    """What *subject* used of *limit*; nothing until it is read."""

    __slots__ = ("cost", "key", "limit", "requests", "subject", "tokens")

    def __init__(self, limit: Limit, subject: str) -> None:
        self.limit = limit
        self.subject = subject
        # Names of users are nobody's business who looks into the store.
        name = json.dumps([*limit.identity, subject])
        self.key = _FORMAT + blake2b(name.encode("ascii"), digest_size=20).hexdigest()
        self._fill({}, 0.0)

    def read(self, value: bytes | None, now: float) -> bool:
        """Take in what the store holds, None for nothing; return whether it was readable. Otherwise nothing is counted."""
        try:
            self._fill({} if value is None else json.loads(value), now)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            self._fill({}, now)
            return False
        return True

    def admit(self, held: Held, now: float) -> None:
        """Count one request and what is reserved for it."""
        if self.requests is not None:
            self.requests.amounts.add(self.subject, 1.0, now)
        if self.tokens is not None:
            held.token_slot = self.tokens.add(self.subject, held.tokens, now)
        if self.cost is not None:
            held.cost = 0.0 if held.cost == inf else held.cost
            held.cost_slot = self.cost.add(self.subject, held.cost, now)

    def settle(self, held: Held, actual: Actual) -> None:
        """Put what was used in place of what was reserved."""
        if self.tokens is not None:
            self.tokens.adjust(self.subject, held.token_slot, actual.tokens - held.tokens)
        if self.cost is not None and actual.cost is not None:
            self.cost.adjust(self.subject, held.cost_slot, actual.cost - held.cost)

    def value(self) -> bytes | None:
        """Return what the store is to hold, None for nothing."""
        counted = {
            letter: [[slot, int(used) if used == int(used) else used] for slot, used in window.items()]
            for letter, amounts in self._amounts()
            if (window := amounts.windows[self.subject].amounts)
        }
        return json.dumps(counted, separators=(",", ":")).encode("ascii") if counted else None

    def standing(self, now: float) -> LimitStanding:
        """Return how the limit stands."""
        return standing_of(self.limit, self.subject, now, self.requests, self.tokens, self.cost)

    def _fill(self, counted: Mapping[str, Any], now: float) -> None:
        config = self.limit.config

        def amounts(letter: str, most: float | None) -> Amounts | None:
            if most is None:
                return None
            window = AmountWindow(config.per)
            current = window.slot(now)
            used: dict[int, float] = {}
            for slot, amount in counted.get(letter, ()):
                if not (isinstance(slot, int) and 0 <= amount < inf):
                    raise ValueError(f"{amount!r} cannot be used in slot {slot!r}")
                # The clock was set back: what was counted in the future counts as of now.
                used[min(slot, current)] = used.get(min(slot, current), 0.0) + amount
            return Amounts(most, config.per, {self.subject: AmountWindow(config.per, used)})

        requests = amounts("r", config.requests)
        self.requests = None if requests is None else _Slots(requests)
        self.tokens = amounts("t", config.tokens)
        self.cost = amounts("c", config.cost)
        for _, one in self._amounts():
            one.windows[self.subject].evict(now)

    def _amounts(self) -> list[tuple[str, Amounts]]:
        requests = None if self.requests is None else self.requests.amounts
        counted = (("r", requests), ("t", self.tokens), ("c", self.cost))
        return [(letter, amounts) for letter, amounts in counted if amounts is not None]


class StoredCounts:
    """Some of them, read and written together.

    Attributes:
        each: one for each limit and subject, in the order they were given.
        keys: where they are kept.
        ttl: seconds for which they are to be kept: twice the longest window.
        unreadable: the names of limits whose counts could not be read.
    """

    def __init__(self, of: Iterable[tuple[Limit, str]]) -> None:
        self.each = [StoredCount(limit, subject) for limit, subject in of]
        self.keys = [count.key for count in self.each]
        self.ttl = 2.0 * max((count.limit.config.per for count in self.each), default=0.0)
        self.unreadable: list[str] = []

    def read(self, found: Mapping[str, bytes], now: float) -> None:
        """Take in what the store holds."""
        self.unreadable = [count.limit.config.name for count in self.each if not count.read(found.get(count.key), now)]

    def written(self) -> dict[str, bytes | None]:
        """Return what the store is to hold."""
        return {count.key: count.value() for count in self.each}


__all__ = ["StoredCount", "StoredCounts", "is_stored"]
