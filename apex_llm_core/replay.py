"""Records of decisions, ranked again by the strategies they name: no configuration, no provider, no connection."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from random import Random

import attrs

from apex_llm_core.assembly.loader import Loader
from apex_llm_core.assembly.runtime import BuiltIns, SharedRuntime
from apex_llm_core.config.secrets import SecretResolver
from apex_llm_core.context import CallContext
from apex_llm_core.errors import InvalidRequestError, ServiceUnavailableError
from apex_llm_core.interfaces import HttpResponse
from apex_llm_core.models.decisions import Decision
from apex_llm_core.models.events import Event
from apex_llm_core.plugin.discovery import Installed
from apex_llm_core.redaction import Redactor
from apex_llm_core.routing.replaying import Pair, recorded, replay


@attrs.frozen(kw_only=True)
class Replay:
    """One ranking of a record: as it was, and as its strategy ranks now. Pairs of provider and model."""

    model: str
    strategy: str
    #: As far as its places were asked for.
    recorded: tuple[Pair, ...]
    #: All of it.
    again: tuple[Pair, ...]

    @property
    def same(self) -> bool:
        """Whether the places that were asked for went to the same candidates."""
        return self.recorded == self.again[: len(self.recorded)]


class _NoHttp:
    """Stands where strategies could find an HTTP client."""

    async def send(
        self,
        method: str,
        url: str,
        *,
        context: CallContext,  # noqa: ARG002 - the interface's
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - the interface's
        body: bytes | None = None,  # noqa: ARG002 - the interface's
    ) -> HttpResponse:
        raise ServiceUnavailableError(f"asked for {method} {url}; ranking a record again opens no connections")


async def replay_record(decision: Decision) -> list[Replay]:
    """Rank every route of *decision* again, each by its strategy, made with the recorded settings.

    Raises:
        InvalidRequestError: the record is not whole, or holds no ranking.
        ConfigurationError: a strategy is not installed, or does not take the settings.
        PluginError: a strategy is broken.
    """
    if not decision.routes:
        raise InvalidRequestError("the record holds no ranking: no candidate could be found for the request")
    redactor = Redactor()
    runtime = SharedRuntime(
        http=_NoHttp(),
        open_http=None,
        clock=time.monotonic,
        random=Random(0),
        flags={},
        emit=_ignore,
        secrets=SecretResolver({}, redactor),
    )
    found = []
    for number, ranked in enumerate(decision.routes):
        # Routes may name one strategy with different settings.
        loader = Loader(runtime, installed=Installed(), logging=False, file=None, scrub=redactor.scrub)
        loader.plugins.register_module(BuiltIns(os.environ), "built-in", loader.registrar, None)
        key = f"routes[{number}].strategy"
        try:
            registration = await loader.find("strategy", ranked.strategy, key)
            await loader.make(
                registration, ranked.strategy, ranked.options, ranked.options, f"routes[{number}].options"
            )
            again = replay(decision, loader.hook("strategy", ranked.strategy, "apex_select"), number)
        finally:
            await loader.stop_all()
        found.append(
            Replay(
                model=ranked.model,
                strategy=ranked.strategy,
                recorded=tuple(recorded(decision, number)),
                again=tuple(again),
            )
        )
    return found


def _ignore(event: Event) -> None:
    """Stand in for observers."""


__all__ = ["Replay", "replay_record"]
