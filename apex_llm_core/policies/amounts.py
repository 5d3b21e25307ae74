"""How much of something was used within a window: tokens, money, or, where the state is shared, requests. Pure.

The window slides in slots, sixty to a window. What was used in a slot counts until the whole slot has left the window, so in no
window [t, t + per) is more admitted than the limit allows; up to a sixtieth of a window longer than it had to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

_SLOTS = 60
#: Sums of money are binary fractions: a hair more than the limit is the limit.
HAIR = 1e-9


class AmountWindow:
    """What one subject used and reserved."""

    __slots__ = ("_amounts", "_due", "_per", "_width", "total")

    def __init__(self, per: float, amounts: Mapping[int, float] | None = None) -> None:
        self._per = per
        self._width = per / _SLOTS
        #: By number of the slot, oldest first.
        self._amounts: dict[int, float] = dict(sorted(amounts.items())) if amounts else {}
        self.total = sum(self._amounts.values())
        #: When the oldest slot leaves the window.
        self._due = self._leaves(next(iter(self._amounts))) if self._amounts else inf

    def evict(self, now: float) -> None:
        """Let go of what has left the window."""
        if now < self._due:
            return
        amounts = self._amounts
        self._due = inf
        for slot in list(amounts):
            leaves = self._leaves(slot)
            if leaves > now:
                self._due = leaves
                break
            del amounts[slot]
        # Summed anew, not subtracted from: differences of binary fractions pile up.
        self.total = sum(amounts.values())

    def wait(self, amount: float, limit: float, now: float) -> float:
        """Return the seconds until *amount* fits under *limit*: 0 now, infinite when it never does."""
        if now >= self._due:
            self.evict(now)
        bound = limit * (1.0 + HAIR)
        if self.total + amount <= bound:
            return 0.0
        if amount > bound:
            return inf
        left = self.total
        for slot, used in self._amounts.items():
            left -= used
            if left + amount <= bound:
                return self._leaves(slot) - now
        return inf

    def add(self, amount: float, now: float) -> int:
        """Count *amount*; return the slot it is in, for `adjust`."""
        slot = self.slot(now)
        self._amounts[slot] = self._amounts.get(slot, 0.0) + amount
        self.total += amount
        if self._due == inf:
            self._due = self._leaves(slot)
        return slot

    def slot(self, now: float) -> int:
        """Return the number of the slot that *now* is in."""
        return int(now // self._width)

    def adjust(self, slot: int, difference: float) -> None:
        """Change what was counted in *slot*; nothing when it has left the window."""
        used = self._amounts.get(slot)
        if used is not None:
            changed = self._amounts[slot] = max(0.0, used + difference)
            self.total = max(0.0, self.total + changed - used)

    def resets_in(self, now: float) -> float | None:
        """Return the seconds until something is given back, None when nothing is used."""
        self.evict(now)
        return None if self._due == inf else self._due - now

    @property
    def amounts(self) -> Mapping[int, float]:
        """What is counted, by number of the slot; for whoever keeps it elsewhere."""
        return self._amounts

    def _leaves(self, slot: int) -> float:
        return (slot + 1) * self._width + self._per


__all__ = ["HAIR", "AmountWindow"]
