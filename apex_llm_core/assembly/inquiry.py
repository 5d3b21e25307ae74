"""Questions to all providers at once: what models they know, and whether they can serve."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import attrs

from apex_llm_core.context import CallContext
from apex_llm_core.errors import ConfigurationWarning, LLMError, PluginError
from apex_llm_core.models.events import Event
from apex_llm_core.models.info import HealthState, HealthStatus, ModelInfo
from apex_llm_core.plugin.registry import ProviderHandle, ProviderRegistry

T = TypeVar("T")


@attrs.frozen(kw_only=True, eq=False)
class Inquiry:
    """Asks every enabled provider of `registry`, each for at most `seconds`; nobody's failure is another's."""

    registry: ProviderRegistry
    seconds: float
    clock: Callable[[], float]
    emit: Callable[[Event], None]
    scrub: Callable[[str], str]

    async def models(self, request_id: Callable[[], str]) -> list[ModelInfo]:
        """Return the models that requests may name, then what the providers list beyond them; warn of those that cannot."""
        handles = self._handles()
        found = [model for handle in handles for model in handle.models]
        known = {(model.provider, name) for model in found for name in (model.id, model.provider_model_id)}
        listed: list[Any] = await self._ask(handles, "apex_models", list, _Failed, request_id)
        for handle, models in zip(handles, listed, strict=True):
            name = handle.get_name()
            if isinstance(models, _Failed):
                text = f"provider {name!r}: its models cannot be listed: {self.scrub(str(models.error))}"
                warnings.warn(text, ConfigurationWarning, stacklevel=3)
                continue
            if not models or not all(isinstance(model, ModelInfo) for model in models):
                continue
            found.extend(
                attrs.evolve(model, provider=name)
                for model in models
                if (name, model.provider_model_id or model.id) not in known
            )
        return found

    async def health(self, request_id: Callable[[], str]) -> dict[str, HealthStatus]:
        """Return the state of every enabled provider by name, and note it in the live facts of its candidates."""
        handles = self._handles()
        answers = await self._ask(
            handles,
            "apex_health",
            HealthStatus,
            lambda error: HealthStatus(status=HealthState.UNAVAILABLE, message=str(error)),
            request_id,
        )
        states = {
            name: HealthStatus(status=HealthState.UNAVAILABLE, message=reason)
            for name, reason in self.registry.broken.items()
        }
        for handle, answer in zip(handles, answers, strict=True):
            status = answer or HealthStatus(status=HealthState.UNKNOWN, message="the provider type has no health check")
            states[handle.get_name()] = _scrubbed(status, self.scrub)
            for candidate in handle.candidates.values():
                candidate.live.health = status.status
        return states

    def _handles(self) -> list[ProviderHandle]:
        return [handle for handle in self.registry if handle.enabled]

    async def _ask(
        self,
        handles: Sequence[ProviderHandle],
        hook: str,
        kind: type,
        failed: Callable[[Exception], T],
        request_id: Callable[[], str],
    ) -> list[T | None]:
        """Call *hook* of all *handles*; None where a provider has no such hook."""

        async def ask(handle: ProviderHandle) -> T | None:
            function: Callable[[CallContext], Awaitable[T]] | None = handle.hooks.get(hook)
            if function is None:
                return None
            context = CallContext(
                request_id=request_id(),
                operation=hook.removeprefix("apex_"),
                clock=self.clock,
                deadline=self.clock() + self.seconds,
                emit=self.emit,
            )
            try:
                async with asyncio.timeout(self.seconds):
                    answer = await function(context)
                if not isinstance(answer, kind):
                    raise PluginError(
                        f"{hook} returned {type(answer).__name__}; expected {kind.__name__}", plugin=handle.get_type()
                    )
                return answer
            except TimeoutError as error:
                message = str(error) or f"no answer within {self.seconds:g} seconds"
                return failed(LLMError(message, provider=handle.get_name()))
            except Exception as error:
                return failed(error)

        return list(await asyncio.gather(*(ask(handle) for handle in handles)))


@attrs.frozen
class _Failed:
    """What stands for the answer of a provider that has none."""

    error: Exception


def _scrubbed(status: HealthStatus, scrub: Callable[[str], str]) -> HealthStatus:
    details = status.details and {
        name: scrub(value) if isinstance(value, str) else value for name, value in status.details.items()
    }
    return attrs.evolve(status, message=scrub(str(status.message)), details=details)


__all__ = ["Inquiry"]
