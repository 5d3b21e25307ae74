"""What limits count, by subject: moments, amounts, and requests in flight. Pure; the rules are told in `policies.limits`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from math import inf
from typing import Protocol

from apex_llm_core.policies.amounts import HAIR, AmountWindow
from apex_llm_core.policies.charges import Standing


class Pace(Protocol):
    """Counts requests per window."""

    def wait(self, subject: str, now: float) -> float:
        """Return the seconds until *subject* may be admitted, 0 for now."""

    def standing(self, subject: str, now: float) -> tuple[Standing, float | None]:
        """Return how the limit stands, and the seconds until something is given back."""


class Moments:
    """Admissions of each subject within the last `per` seconds.

    Args:
        requests: admissions per window.
        per: the window in seconds.
        shadow: whether more than `requests` are admitted; then only so many are kept.
        earlier: what goes on to be counted, together with whoever holds it.
    """

    __slots__ = ("_admitted", "_per", "_requests", "_shadow")

    def __init__(self, requests: int, per: float, *, shadow: bool = False, earlier: Moments | None = None) -> None:
        self._requests = requests
        self._per = per
        self._shadow = shadow
        # In the order of the subjects' last admission, so that the expired ones stand in front.
        self._admitted: dict[str, deque[float]] = {} if earlier is None else earlier._admitted  # noqa: SLF001 - same class

    def wait(self, subject: str, now: float) -> float:
        """Return the seconds until *subject* may be admitted, 0 for now."""
        moments = self._admitted.get(subject)
        if moments is None or len(moments) < self._requests:
            return 0.0
        return max(0.0, moments[-self._requests] + self._per - now)

    def admit(self, subject: str, now: float) -> None:
        """Count one request."""
        moments = self._admitted.pop(subject, None)
        if moments is None:
            moments = deque()
        else:
            # One comes, up to two go, here and below: nothing piles up, and no single request pays for much.
            for _ in range(2):
                if not moments or not (
                    moments[0] + self._per <= now or (self._shadow and len(moments) >= self._requests)
                ):
                    break
                moments.popleft()
        moments.append(now)
        self._admitted[subject] = moments
        if len(self._admitted) == 1:
            return
        for oldest in tuple(islice(self._admitted, 2)):
            if self._admitted[oldest][-1] + self._per > now:
                return
            del self._admitted[oldest]

    def standing(self, subject: str, now: float) -> tuple[Standing, float | None]:
        """Return how the limit stands, and the seconds until something is given back."""
        moments = [moment for moment in self._admitted.get(subject, ()) if moment + self._per > now]
        return standing(self._requests, len(moments)), moments[0] + self._per - now if moments else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._admitted)

    def __len__(self) -> int:
        return len(self._admitted)


class Amounts:
    """An `AmountWindow` for each subject, under one limit.

    Args:
        limit: what may be used per window.
        per: the window in seconds.
        windows: what is counted already, in the order of the subjects' last request; is shared with who gave it.
    """

    __slots__ = ("_per", "limit", "windows")

    def __init__(self, limit: float, per: float, windows: dict[str, AmountWindow] | None = None) -> None:
        self.limit = limit
        self._per = per
        self.windows: dict[str, AmountWindow] = {} if windows is None else windows

    def wait(self, subject: str, amount: float, now: float) -> float:
        """Return the seconds until *amount* fits, 0 now, infinite when it never does."""
        window = self.windows.get(subject)
        if window is None:
            return 0.0 if amount <= self.limit else inf
        return window.wait(amount, self.limit, now)

    def empty(self, subject: str, now: float) -> bool:
        """Return whether nothing is used or reserved."""
        window = self.windows.get(subject)
        if window is None:
            return True
        window.evict(now)
        # Differences of binary fractions leave a hair behind.
        return window.total <= self.limit * HAIR

    def add(self, subject: str, amount: float, now: float) -> int:
        """Count *amount*; return the slot it is in, for `adjust`."""
        window = self.windows.pop(subject, None)
        if window is None:
            window = AmountWindow(self._per)
        self.windows[subject] = window
        slot = window.add(amount, now)
        if len(self.windows) == 1:
            return slot
        for oldest in tuple(islice(self.windows, 2)):
            # A window in which nothing is reserved yet may still be settled: it goes when it holds no slot, not before.
            if oldest != subject and self.windows[oldest].resets_in(now) is None:
                del self.windows[oldest]
        return slot

    def adjust(self, subject: str, slot: int, difference: float) -> None:
        """Change what was counted in *slot*; nothing when it has left the window."""
        window = self.windows.get(subject)
        if window is not None:
            window.adjust(slot, difference)

    def standing(self, subject: str, now: float) -> tuple[Standing, float | None]:
        """Return how the limit stands, and the seconds until something is given back."""
        window = self.windows.get(subject, AmountWindow(self._per))
        window.evict(now)
        return standing(self.limit, window.total), window.resets_in(now)

    def __iter__(self) -> Iterator[str]:
        return iter(self.windows)

    def __len__(self) -> int:
        return len(self.windows)


class InFlight:
    """Requests in flight of each subject that has any."""

    __slots__ = ("_counts", "most")

    def __init__(self, most: int, earlier: InFlight | None = None) -> None:
        self.most = most
        self._counts: dict[str, int] = {} if earlier is None else earlier._counts  # noqa: SLF001 - same class

    def full(self, subject: str) -> bool:
        """Return whether no more may come."""
        return self._counts.get(subject, 0) >= self.most

    def admit(self, subject: str) -> None:
        """Count one request."""
        self._counts[subject] = self._counts.get(subject, 0) + 1

    def free(self, subject: str) -> None:
        """Count one request less."""
        left = self._counts[subject] - 1
        if left:
            self._counts[subject] = left
        else:
            del self._counts[subject]

    def used(self, subject: str) -> int:
        """Return how many are in flight."""
        return self._counts.get(subject, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)


def standing(limit: float, used: float) -> Standing:
    """Return how a limit stands of which *used* is counted."""
    return Standing(limit=limit, used=used, remaining=max(0.0, limit - used))


__all__ = ["Amounts", "InFlight", "Moments", "Pace", "standing"]
