"""Distributions of durations, in buckets that are the same for all of them, so that they can be added up."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Self

#: Upper bounds of the buckets in seconds, about evenly spaced by their logarithms; one more bucket is open above.
BOUNDS: tuple[float, ...] = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 7.5),
    *(10.0, 15.0, 20.0, 30.0, 50.0, 75.0),
    *(100.0, 150.0, 200.0, 300.0),
)
_BUCKETS = len(BOUNDS) + 1


class Histogram:
    """How many durations fell into each bucket, and their sum. A duration equal to a bound belongs below it.

    Its JSON form is a list: the sum, then the index and the count of each bucket in turn that is not empty.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS
        #: Seconds.
        self.total = 0.0

    @classmethod
    def merged(cls, documents: Iterable[Sequence[float]]) -> Self:
        """Return the sum of histograms in their JSON form."""
        found = cls()
        counts = found.counts
        for document in documents:
            found.total += document[0]
            for position in range(1, len(document), 2):
                counts[int(document[position])] += int(document[position + 1])
        return found

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def fold(self, other: Histogram) -> None:
        """Add what *other* has."""
        counts = self.counts
        for position, count in enumerate(other.counts):
            if count:
                counts[position] += count
        self.total += other.total

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return sum(self.counts)

    def cumulative(self) -> Iterator[int]:
        """Yield for each bound how many durations are not above it; last, for no bound, the count of all."""
        return accumulate(self.counts)

    def quantile(self, share: float) -> float | None:
        """Return the duration that *share* (0 to 1) of all do not exceed, in seconds; None without any.

        Inside a bucket durations count as evenly spread. Above the last bound nothing is known but that bound.
        """
        number = self.count
        if not number:
            return None
        rank, below, low = share * number, 0, 0.0
        for count, high in zip(self.counts, BOUNDS, strict=False):
            if count and below + count >= rank:
                return low + (high - low) * max(0.0, rank - below) / count
            below += count
            low = high
        return BOUNDS[-1]

    def document(self) -> list[float]:
        """Return the JSON form."""
        found: list[float] = [self.total]
        for position, count in enumerate(self.counts):
            if count:
                found += (position, count)
        return found


__all__ = ["BOUNDS", "Histogram"]
