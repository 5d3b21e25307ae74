"""Limits on requests: how many per window, and how many at the same time. Pure: no I/O, no timers, injected clock.

Rules:

1. A limit concerns a request when its scope is among the request's subjects and its pattern matches the subject. The scope
   "all" counts everything together and has nothing to match. Every subject is counted by itself.
2. `enter` asks all limits that concern a request and then counts it in all of them, or in none.
3. Requests per window: in no half-open window [t, t + per) are more than `requests` admitted. The moments of the last
   `requests` admissions are kept; the next one may come when the oldest of them is `per` seconds old. (Token buckets and
   GCRA keep one number instead, and admit up to twice as many in a window.)
4. In flight: what was counted by `enter` is freed by `leave`, once, however often it is called.
5. A subject whose last admission is older than `per`, and of which nothing is in flight, leaves no trace.
"""

from __future__ import annotations

import fnmatch
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import attrs

from apex_llm_core.config.schema import LimitConfig


@attrs.frozen(kw_only=True)
class Refusal:
    """What did not let a request in.

    Several limits may refuse together; the one with the longest known wait is named.
    """

    #: The name of the limit.
    limit: str
    #: The provider, model or user whose share is used up; empty for the scope "all".
    subject: str
    #: Seconds until the windows have room, if nobody else comes first; None when only the end of another request helps.
    retry_after: float | None


class Ticket:
    """Admission; give it to `Limiter.leave` when the request has ended, however it ended."""

    __slots__ = ("_held",)

    def __init__(self, held: list[tuple[_InFlight, str]]) -> None:
        self._held = held


class _Window:
    """Admissions of each subject within the last `per` seconds; at most `requests` moments each."""

    __slots__ = ("_admitted", "_per", "_requests")

    def __init__(self, requests: int, per: float) -> None:
        self._requests = requests
        self._per = per
        # In the order of the subjects' last admission, so that the expired ones stand in front.
        self._admitted: dict[str, deque[float]] = {}

    def wait(self, subject: str, now: float) -> float:
        """Return the seconds until *subject* may be admitted, 0 for now."""
        moments = self._admitted.get(subject)
        if moments is None or len(moments) < self._requests:
            return 0.0
        return max(0.0, moments[0] + self._per - now)

    def admit(self, subject: str, now: float) -> None:
        moments = self._admitted.pop(subject, None)
        if moments is None:
            moments = deque(maxlen=self._requests)
        moments.append(now)
        self._admitted[subject] = moments
        self._forget(now)

    def _forget(self, now: float) -> None:
        # One comes, up to two go: the expired never pile up, and no single request pays for many of them.
        for oldest in tuple(islice(self._admitted, 2)):
            if self._admitted[oldest][-1] + self._per > now:
                return
            del self._admitted[oldest]

    def __len__(self) -> int:
        return len(self._admitted)


class _InFlight:
    """Requests in flight of each subject that has any."""

    __slots__ = ("_counts", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[str, int] = {}

    def full(self, subject: str) -> bool:
        return self._counts.get(subject, 0) >= self._most

    def admit(self, subject: str) -> None:
        self._counts[subject] = self._counts.get(subject, 0) + 1

    def free(self, subject: str) -> None:
        left = self._counts[subject] - 1
        if left:
            self._counts[subject] = left
        else:
            del self._counts[subject]

    def __len__(self) -> int:
        return len(self._counts)


class _Limit:
    """One configured limit."""

    __slots__ = ("_matches", "in_flight", "name", "scope", "window")

    def __init__(self, config: LimitConfig) -> None:
        self.name = config.name
        self.scope = config.scope
        everything = config.scope == "all" or config.match == "*"
        self._matches = None if everything else re.compile(fnmatch.translate(config.match)).match
        self.window = None if config.requests is None else _Window(config.requests, config.per)
        self.in_flight = None if config.concurrent is None else _InFlight(config.concurrent)

    def subject(self, subjects: Mapping[str, str]) -> str | None:
        """Return which of *subjects* is counted here, None when the limit does not concern the request."""
        subject = subjects.get(self.scope)
        if subject is None:
            return None
        if self.scope == "all":
            return ""
        return subject if self._matches is None or self._matches(subject) else None


class Limiter:
    """All configured limits.

    Args:
        limits: the `[[limits]]` tables.
        clock: monotonic seconds.
    """

    def __init__(self, limits: Sequence[LimitConfig], clock: Callable[[], float]) -> None:
        self._limits = tuple(_Limit(config) for config in limits)
        self._clock = clock
        #: False when there is nothing to ask.
        self.active = bool(self._limits)

    def enter(self, subjects: Mapping[str, str]) -> Ticket | Refusal:
        """Count one request in every limit that concerns it, or say which one refuses; a refused request counts nowhere.

        Args:
            subjects: the request's subject by scope: "all" (any text), "model", "user", "provider". Limits of a scope
                that is missing are not asked.
        """
        now = self._clock()
        concerned: list[tuple[_Limit, str]] = []
        refusal: Refusal | None = None
        for limit in self._limits:
            subject = limit.subject(subjects)
            if subject is None:
                continue
            concerned.append((limit, subject))
            wait = limit.window.wait(subject, now) if limit.window is not None else 0.0
            if wait > 0.0:
                if refusal is None or refusal.retry_after is None or refusal.retry_after < wait:
                    refusal = Refusal(limit=limit.name, subject=subject, retry_after=wait)
            elif refusal is None and limit.in_flight is not None and limit.in_flight.full(subject):
                refusal = Refusal(limit=limit.name, subject=subject, retry_after=None)
        if refusal is not None:
            return refusal
        held: list[tuple[_InFlight, str]] = []
        for limit, subject in concerned:
            if limit.window is not None:
                limit.window.admit(subject, now)
            if limit.in_flight is not None:
                limit.in_flight.admit(subject)
                held.append((limit.in_flight, subject))
        return Ticket(held)

    def leave(self, ticket: Ticket) -> None:
        """Free the places in flight that *ticket* holds; further calls with it change nothing."""
        held = ticket._held  # noqa: SLF001 - the ticket is this module's own
        while held:
            in_flight, subject = held.pop()
            in_flight.free(subject)


__all__ = ["Limiter", "Refusal", "Ticket"]
