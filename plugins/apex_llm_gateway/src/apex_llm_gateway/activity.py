"""What a gateway does: requests under way, the last minutes, who used what, and what was worth a look.

Everything is bounded: users and models that callers name are theirs to choose, so their number is not.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from apex_llm_core.models.events import Event, FellBack, Hedged, LimitRejected, RequestFinished, RetryScheduled
from apex_llm_gateway.histograms import Histogram
from apex_llm_gateway.live import Live
from apex_llm_gateway.notable import Notable, RecentEvents
from apex_llm_gateway.tallies import Tally

_MOST_USERS = 200
_MOST_SERIES = 1000
#: Kinds of requests that are counted apart before all are added up.
_MOST_CELLS = 1000
#: Stands for all users, or models, beyond those.
FURTHER = "*"
_MOST_LIVE_TOLD = 100

Hear = Callable[[Notable], None]


class _Bucket:
    """What ended in a few seconds; durations of successful requests, in seconds."""

    __slots__ = ("first_chunk", "latency", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.latency = Histogram()
        self.first_chunk = Histogram()

    def document(self, at: float) -> dict[str, Any]:
        """Return the JSON form; *at* is its begin in unix seconds."""
        return {
            "at": at,
            "tally": self.tally.document(),
            "latency": self.latency.document(),
            "first_chunk": self.first_chunk.document(),
        }


class Series:
    """Requests that have something in common; durations of all of them, in seconds."""

    __slots__ = ("duration", "first_chunk", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.duration = Histogram()
        self.first_chunk = Histogram()

    def add(self, event: RequestFinished) -> None:
        """Count one request."""
        self.tally.add(event)
        self.duration.add(event.duration)
        if event.time_to_first_chunk is not None:
            self.first_chunk.add(event.time_to_first_chunk)

    def fold(self, other: Series) -> None:
        """Add what *other* has."""
        self.tally.fold(other.tally)
        self.duration.fold(other.duration)
        self.first_chunk.fold(other.first_chunk)


class Activity:
    """Takes note of everything that happens in one process. Not thread-safe: it belongs to the gateway's event loop.

    Args:
        clock: monotonic seconds.
        wall: unix seconds.
        known: whether the configuration has a model of that name, so that it is always counted apart.
        keep: seconds of the recent past that are kept in buckets.
        step: seconds in a bucket.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        known: Callable[[str], bool] = lambda _model: False,
        keep: float = 600.0,
        step: float = 5.0,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._known = known
        self.step = step
        self._most_buckets = max(1, round(keep / step))
        #: By the number of steps since 1970, so that those of several processes cover the same seconds.
        self._buckets: dict[int, _Bucket] = {}
        self._slot = -1
        self._bucket = _Bucket()
        self._live: dict[str, Live] = {}
        self._live_count = 0
        #: By operation, provider, model, user and outcome: requests that are not in the sums below yet. Each is counted once,
        #: when it ends, and not in every sum it belongs to.
        self._cells: dict[tuple[str, str | None, str, str | None, str], Series] = {}
        self._series: dict[tuple[str, str | None, str], Series] = {}
        self._users: dict[str | None, Tally] = {}
        self._answers: dict[tuple[str, int], int] = {}
        self._counts = {"retries": 0, "fallbacks": 0, "hedges": 0, "limit_rejections": 0}
        self._events = RecentEvents(wall)
        self._hearers: tuple[Hear, ...] = ()

    # -- requests of the gateway ----------------------------------------------------------------------------------------

    def begin(
        self, request_id: str, operation: str, model: str, user: str | None, key: str | None, stream: bool
    ) -> Live:
        """Take note of a request that begins; every call is followed by one of `end`."""
        live = self._live
        record = live[request_id] = Live(
            request_id, operation, model, user, key, stream, self._clock(), live.get(request_id)
        )
        self._live_count += 1
        return record

    def end(self, request_id: str) -> None:
        """Forget a request under way."""
        record = self._live.pop(request_id)
        self._live_count -= 1
        if record.twin is not None:
            self._live[request_id] = record.twin

    def note(self, request_id: str, provider: str | None, model: str | None) -> None:
        """Take note of who is asked for a request under way; ids of others are passed over."""
        record = self._live.get(request_id)
        if record is not None:
            record.provider = provider or record.provider
            record.model = model or record.model

    def answered(self, route: str, status: int) -> None:
        """Count an answer of the HTTP server; *route* is its documented path, empty for none."""
        key = (route, status)
        self._answers[key] = self._answers.get(key, 0) + 1

    @property
    def live_count(self) -> int:
        """How many requests are under way."""
        return self._live_count

    # -- events of the manager ------------------------------------------------------------------------------------------

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        if type(event) is RequestFinished:
            self._finished(event)
            return
        self._count(event)
        notable = self._events.write(event)
        if notable is not None:
            for hear in self._hearers:
                hear(notable)

    def listen(self, hear: Hear) -> Callable[[], None]:
        """Call *hear* with every notable event from now on; return what ends that. It must neither block nor raise."""

        def leave() -> None:
            self._hearers = tuple(other for other in self._hearers if other is not hear)

        self._hearers = (*self._hearers, hear)
        return leave

    def _finished(self, event: RequestFinished) -> None:
        slot = int(self._wall() // self.step)
        if slot != self._slot:
            self._turn(slot)
        key = (event.operation, event.provider, event.model, event.user, event.outcome)
        cell = self._cells.get(key)
        if cell is None:
            if len(self._cells) >= _MOST_CELLS:
                self._add_up()
            cell = self._cells[key] = Series()
        cell.add(event)

    def _add_up(self) -> None:
        """Bring the cells into the sums."""
        bucket = self._bucket
        for (operation, provider, model, user, outcome), cell in self._cells.items():
            bucket.tally.fold(cell.tally)
            self._series_of(operation, provider, model).fold(cell)
            self._user(user).fold(cell.tally)
            if outcome == "ok":
                # Failures are often fast, and would make a provider look quick.
                bucket.latency.fold(cell.duration)
                bucket.first_chunk.fold(cell.first_chunk)
        self._cells.clear()

    def _turn(self, slot: int) -> None:
        self._add_up()
        self._slot = slot
        self._bucket = self._buckets.setdefault(slot, _Bucket())
        if len(self._buckets) > self._most_buckets:
            # The clock on the wall may have been put back: those of the future go, too.
            self._buckets = {
                other: bucket for other, bucket in self._buckets.items() if 0 <= slot - other < self._most_buckets
            }

    def _series_of(self, operation: str, provider: str | None, model: str) -> Series:
        found = self._series.get((operation, provider, model))
        if found is None:
            # Names that no provider was asked for are inventions, and must not take the places of those that exist.
            if not self._known(model) and (provider is None or len(self._series) >= _MOST_SERIES):
                model = FURTHER
            found = self._series.setdefault((operation, provider, model), Series())
        return found

    def _user(self, user: str | None) -> Tally:
        found = self._users.get(user)
        if found is None:
            found = self._users.setdefault(user if len(self._users) < _MOST_USERS else FURTHER, Tally())
        return found

    def _count(self, event: Event) -> None:
        counts = self._counts
        if isinstance(event, RetryScheduled):
            counts["retries"] += 1
        elif isinstance(event, FellBack):
            counts["fallbacks"] += 1
            self.note(event.request_id, event.to_provider, event.to_model)
        elif isinstance(event, Hedged):
            counts["hedges"] += 1
        elif isinstance(event, LimitRejected) and not event.shadow:
            counts["limit_rejections"] += 1

    # -- what it knows --------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return everything as a JSON-safe document that can be merged with those of other processes."""
        self._add_up()
        return {
            "live": self._told(),
            "live_count": self._live_count,
            "step": self.step,
            "buckets": [bucket.document(slot * self.step) for slot, bucket in sorted(self._buckets.items())],
            "series": [
                {
                    "operation": operation,
                    "provider": provider,
                    "model": model,
                    "tally": series.tally.document(),
                    "duration": series.duration.document(),
                    "first_chunk": series.first_chunk.document(),
                }
                for (operation, provider, model), series in self._series.items()
            ],
            "users": [{"user": user, "tally": tally.document()} for user, tally in self._users.items()],
            "counts": dict(self._counts),
            "answers": [
                {"route": route, "status": status, "count": count} for (route, status), count in self._answers.items()
            ],
            "events": self._events.documents(),
        }

    def _told(self) -> list[dict[str, Any]]:
        """Return requests under way, the newest first."""
        now = self._clock()
        found: list[dict[str, Any]] = []
        for newest in islice(reversed(self._live.values()), _MOST_LIVE_TOLD):
            record: Live | None = newest
            while record is not None:
                found.append(record.document(now))
                record = record.twin
        found.sort(key=lambda document: float(document["seconds"]))
        return found[:_MOST_LIVE_TOLD]


__all__ = ["FURTHER", "Activity", "Hear", "Series"]
