"""What accompanies a request on its way: identity, deadline, attempts, and the door to observers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from apex_llm_core.errors import Attempt
from apex_llm_core.models.candidates import Candidate
from apex_llm_core.models.events import Event
from apex_llm_core.models.info import ANONYMOUS, Caller
from apex_llm_core.models.results import Usage


def _nothing() -> None:
    """Stand in for `touch` where nobody watches."""


class NoteRateLimits(Protocol):
    """Takes what a provider says is left of its rate limits."""

    def __call__(
        self,
        *,
        remaining_requests: int | None = None,
        remaining_tokens: int | None = None,
        seconds: float | None = None,
    ) -> None:
        """Note it for *seconds*; None: for a minute."""


def _ignore_rate_limits(
    *, remaining_requests: int | None = None, remaining_tokens: int | None = None, seconds: float | None = None
) -> None:
    """Stand in for `note_rate_limits` where nobody balances."""


def _drop(event: Event) -> None:
    """Stand in for `emit` where nobody listens."""


@attrs.define(kw_only=True, eq=False)
class Bill:
    """What all attempts of a request used together, losers of a hedge included; written by the core.

    A sum is None from the moment on at which a part of it is not known.
    """

    tokens: int | None = 0
    cost: float | None = 0.0

    def add(self, tokens: int | None, cost: float | None) -> None:
        """Put one attempt on the bill; None is unknown."""
        self.tokens = None if tokens is None or self.tokens is None else self.tokens + tokens
        self.cost = None if cost is None or self.cost is None else self.cost + cost


@attrs.define(kw_only=True, eq=False)
class Delivery:
    """What a stream has delivered so far; written by the core."""

    provider: str | None = None
    model: str | None = None
    usage: Usage | None = None
    #: None while usage is not known, or when a price is unknown.
    cost: float | None = None
    finished: bool = False
    #: The step of degradation that answers, "" when none was needed.
    degraded: str = ""
    #: The answer came from the cache.
    cached: bool = False


@attrs.define(kw_only=True, eq=False)
class CallContext:
    """One request, or one attempt of it.

    Middleware sees the request's context; a provider's hook sees the attempt's, in which `candidate` is set. Both share
    `state`, `attempts`, `delivery` and `bill`. Times are seconds of `clock`.
    """

    request_id: str = ""
    #: "text", "chat", "embed", "image", "models" or "health".
    operation: str = ""
    caller: Caller = ANONYMOUS
    clock: Callable[[], float] = time.monotonic
    #: When everything must be over, by `clock`; None is never.
    deadline: float | None = None
    #: What was tried so far, oldest first.
    attempts: list[Attempt] = attrs.field(factory=list)
    #: For middleware to leave notes to itself or to others; keys begin with the plugin's name.
    state: dict[str, Any] = attrs.field(factory=dict)
    delivery: Delivery = attrs.field(factory=Delivery)
    bill: Bill = attrs.field(factory=Bill)
    #: How many attempts began so far, those under way included.
    started: int = 0
    emit: Callable[[Event], None] = _drop
    #: The provider that comes first, whatever the strategy says; None: the strategy decides alone.
    preferred: str | None = None
    #: A copy of a request, for shadow traffic: nobody waits for its answer.
    shadow: bool = False
    #: The (provider, model) pair of this attempt; None outside an attempt.
    candidate: Candidate | None = None
    #: The number of this attempt in the request, from 1.
    attempt: int = 0
    #: Seconds of silence this attempt allows; None or 0 is no limit.
    timeout: float | None = None
    #: A provider sets this when the service begins work that it charges, whether its answer arrives or not: after a silence the
    #: same provider is then not asked again.
    charged: bool = False
    #: A provider calls this whenever bytes arrive: it restarts the count of silent seconds.
    touch: Callable[[], None] = _nothing
    #: A provider tells here what the service said is left of its rate limits, with an answer or an error.
    note_rate_limits: NoteRateLimits = _ignore_rate_limits

    @property
    def provider_model_id(self) -> str:
        """The provider's own name of the model, empty outside an attempt."""
        return self.candidate.provider_model_id if self.candidate is not None else ""

    def for_attempt(
        self,
        candidate: Candidate,
        number: int,
        *,
        timeout: float | None,
        touch: Callable[[], None],
        note_rate_limits: NoteRateLimits,
    ) -> CallContext:
        """Return the context of the attempt *number* at *candidate*.

        Made by hand, field by field, at a fifth of the constructor's cost: every attempt has one.
        """
        context = object.__new__(CallContext)
        context.request_id = self.request_id
        context.operation = self.operation
        context.caller = self.caller
        context.clock = self.clock
        context.deadline = self.deadline
        context.attempts = self.attempts
        context.state = self.state
        context.delivery = self.delivery
        context.bill = self.bill
        context.started = 0
        context.emit = self.emit
        context.preferred = None
        context.shadow = self.shadow
        context.candidate = candidate
        context.attempt = number
        context.timeout = timeout
        context.charged = False
        context.touch = touch
        context.note_rate_limits = note_rate_limits
        return context

    def remaining(self) -> float | None:
        """Return the seconds left until the deadline (0 when it passed), None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - self.clock())


__all__ = ["Bill", "CallContext", "Delivery", "NoteRateLimits"]
