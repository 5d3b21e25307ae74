"""Slow start: how many calls a provider gets that has just come back from an outage. A pure state machine without a clock.

All who waited for it would put it down again. So, as TCP does:

=====================  ==========================================================================================
event                  places
=====================  ==========================================================================================
begin                  2
success                before the first failure one more: twice as many in a round; after it one more in a round
failure                a quarter less; calls under way with it, up to as many as then were, tell nothing more
nothing learned        no change: cancelled, or the caller's mistake
=====================  ==========================================================================================

It is over with 128 places, or after 128 successes in a row that needed no more than half of the places: then nobody has to count.
"""

from __future__ import annotations

_FIRST_PLACES = 2.0
_ENOUGH = 128
#: What is left of the places after a failure.
_CUT = 0.75


class SlowStart:
    """The places of one provider. Every `take` that returned True is to be answered by one `give_back`."""

    __slots__ = ("_forgiven", "_places", "_probing", "_spare", "_taken")

    def __init__(self) -> None:
        self._places = _FIRST_PLACES
        self._taken = 0
        #: Whether no call has failed yet.
        self._probing = True
        #: Calls under way with one that failed.
        self._forgiven = 0
        #: Successes in a row that needed few places.
        self._spare = 0

    @property
    def places(self) -> int:
        """How many calls there may be at the same time."""
        return int(self._places)

    @property
    def full(self) -> bool:
        """Whether there is no place."""
        return self._taken + 1 > self._places

    @property
    def over(self) -> bool:
        """Whether nobody has to count any more."""
        return self._places >= _ENOUGH or self._spare >= _ENOUGH

    def take(self) -> bool:
        """Take a place if there is one."""
        if self.full:
            return False
        self._taken += 1
        return True

    def give_back(self, *, succeeded: bool | None) -> None:
        """Note how a call ended; *succeeded* None says nothing about the provider."""
        # Calls of before the outage may end now; they hold no place here.
        self._taken = max(0, self._taken - 1)
        forgiven, self._forgiven = self._forgiven, max(0, self._forgiven - 1)
        if succeeded:
            self._spare = self._spare + 1 if 2 * (self._taken + 1) <= self._places else 0
            self._places += 1.0 if self._probing else 1.0 / self._places
        elif succeeded is False and not forgiven:
            self._places, self._forgiven = max(1.0, self._places * _CUT), self._taken
            self._probing, self._spare = False, 0


__all__ = ["SlowStart"]
