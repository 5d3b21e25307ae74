"""Where a request may go: options of its ranking, and places, where a call is admitted now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.requests import EmbedRequest, GenerateRequest, ImageRequest
from apex_llm_core.routing.balancer import Standing

R = TypeVar("R", GenerateRequest, EmbedRequest, ImageRequest)
#: Settles what limits reserved: tokens and cost that were used, None where nobody knows.
Settle = Callable[[int | None, float | None], None]


@attrs.define(kw_only=True, eq=False)
class Option(Generic[R]):
    """A candidate of the ranking with the request to send there."""

    request: R
    candidate: Candidate
    #: What was changed in the request for it.
    adapted: tuple[str, ...] = ()


@attrs.define(kw_only=True, eq=False)
class Place(Generic[R]):
    """A candidate whose breaker and bulkhead admit a call now."""

    option: Option[R]
    #: The request to send there.
    request: R
    #: The candidate to ask.
    candidate: Candidate
    standing: Standing
    permit: int
    #: Whether a place in the bulkhead is held.
    placed: bool
    #: Settles what the limits reserved.
    settle: Settle | None = None
    #: Another attempt of the same request was faster.
    lost: bool = False
    #: The call of it that failed was charged all the same.
    charged: bool = False

    def give_up(self) -> None:
        """Give back what is held: the call is not made."""
        self.standing.breaker.release(self.permit)
        if self.placed:
            self.standing.bulkhead.release()
        if self.settle is not None:
            self.settle(0, 0.0)
            self.settle = None


def place_of(option: Option[R], standing: Standing, permit: int, *, placed: bool) -> Place[R]:
    """Return the place of *option* with what is held for it."""
    return Place(
        option=option,
        request=option.request,
        candidate=option.candidate,
        standing=standing,
        permit=permit,
        placed=placed,
    )


__all__ = ["Option", "Place", "Settle", "place_of"]
