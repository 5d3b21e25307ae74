"""Limits counted in a state store: for several processes, and over restarts. The rules are those of `policies.limits`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from apex_llm_core.config.policies import LimitConfig
from apex_llm_core.interfaces import StateStore
from apex_llm_core.policies.limits import Actual, Charge, LimitStanding, Refusal, Ticket


class SharedLimiter:
    local = False

    def __init__(
        self,
        limits: Sequence[LimitConfig],
        store: StateStore,
        *,
        wall: Callable[[], float],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.active = bool(limits)
        self.scopes: frozenset[str] = frozenset(limit.scope for limit in limits)
        self.counts_tokens = self.counts_cost = True

    async def enter(self, subjects: Mapping[str, str], charge: Charge) -> Ticket | Refusal:
        raise NotImplementedError

    async def settle(self, ticket: Ticket, actual: Actual | None) -> None:
        raise NotImplementedError

    async def standing(self) -> tuple[LimitStanding, ...]:
        raise NotImplementedError
