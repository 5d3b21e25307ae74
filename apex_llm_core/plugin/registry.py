"""The provider registry: configured providers, what they can do, and the candidates they give each model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from apex_llm_core.config.schema import ModelConfig, ProviderConfig
from apex_llm_core.errors import ModelNotFoundError, nearest
from apex_llm_core.models.candidates import Candidate, LiveFacts
from apex_llm_core.models.info import ModelInfo, ProviderCapabilities, ProviderType

#: The hooks a provider may have, with the capabilities each brings.
PROVIDER_HOOKS: dict[str, frozenset[str]] = {
    "apex_generate": frozenset({"text", "chat"}),
    "apex_stream": frozenset({"stream"}),
    "apex_embed": frozenset({"embed"}),
    "apex_image": frozenset({"image"}),
}
_OPERATIONS = frozenset().union(*PROVIDER_HOOKS.values())
#: Candidates made for models that no configuration lists; the oldest give way.
_UNLISTED_KEPT = 256


@attrs.define(kw_only=True, eq=False)
class ProviderHandle:
    """One configured provider, ready to be called. `hooks` are its bound methods by hook name."""

    config: ProviderConfig
    instance: object
    hooks: dict[str, Callable[..., Any]]
    capabilities: ProviderCapabilities = attrs.field(factory=ProviderCapabilities)
    #: By generic model id, in the order of the configuration.
    candidates: dict[str, Candidate] = attrs.field(factory=dict)
    _unlisted: dict[str, Candidate] = attrs.field(factory=dict)

    def get_name(self) -> str:
        """Return the configured, unique name."""
        return self.config.name

    def get_type(self) -> ProviderType:
        """Return the provider type."""
        return self.config.type

    @property
    def enabled(self) -> bool:
        """Whether it takes part."""
        return self.config.enabled

    @property
    def operations(self) -> frozenset[str]:
        """What its hooks offer: words of `CAPABILITIES`."""
        return frozenset().union(*(PROVIDER_HOOKS[hook] for hook in self.hooks if hook in PROVIDER_HOOKS))

    @property
    def features(self) -> frozenset[str]:
        """What it can do: the operations of its hooks, and what its type declares beyond operations."""
        return self.operations | (self.capabilities.features - _OPERATIONS)

    @property
    def in_flight(self) -> int:
        """Calls under way, to listed and unlisted models."""
        return sum(
            candidate.live.in_flight for known in (self.candidates, self._unlisted) for candidate in known.values()
        )

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """The models it serves without being named explicitly."""
        return tuple(model_info(candidate) for candidate in self.candidates.values())

    def serves(self, candidate: Candidate, needs: frozenset[str]) -> bool:
        """Return whether this provider's hooks and the candidate's declared capabilities cover *needs*."""
        offered = "apex_stream" in self.hooks if "stream" in needs else self.operations >= needs & _OPERATIONS
        declared = candidate.capabilities
        if not offered or declared is None:
            return offered
        missing = needs - declared
        # A chat model answers a lone prompt as well: it becomes its only user message.
        return not missing or (missing == {"text"} and "chat" in declared)

    def candidate(
        self, model: str, live: Callable[[str, str], LiveFacts], forget: Callable[[str, str], None]
    ) -> Candidate:
        """Return the candidate for *model*, listed or not; an unlisted one is passed through as the provider's own name.

        *live* gives the facts of a (provider, model) pair; *forget* is told of the pairs that give way to others.
        """
        found = self.candidates.get(model) or self._unlisted.get(model)
        if found is None:
            found = make_candidate(self.config, ModelConfig(id=model), self.capabilities, live(self.config.name, model))
            if len(self._unlisted) >= _UNLISTED_KEPT:
                oldest = next(iter(self._unlisted))
                del self._unlisted[oldest]
                forget(self.config.name, oldest)
            self._unlisted[model] = found
        return found


def make_candidate(
    config: ProviderConfig, model: ModelConfig, capabilities: ProviderCapabilities, live: LiveFacts
) -> Candidate:
    """Join what the configuration says of *model* with the provider's own table; the configuration wins."""
    own = model.provider_model_id or model.id
    facts = capabilities.models.get(own) or capabilities.models.get(model.base_model or model.id)
    declared = facts.capabilities if facts is not None else None
    if model.capabilities is not None:
        declared = frozenset(model.capabilities)
    return Candidate(
        provider=config.name,
        provider_type=config.type,
        model=model.id,
        provider_model_id=own,
        base_model=model.base_model or (facts.base_model if facts else None),
        priority=config.priority,
        weight=config.weight,
        region=config.region,
        tags=frozenset(config.tags),
        capabilities=declared,
        max_tokens=_first(model.max_tokens, facts and facts.max_tokens),
        max_output_tokens=_first(model.max_output_tokens, facts and facts.max_output_tokens),
        cost_per_input_token=_first(model.cost_per_input_token, facts and facts.cost_per_input_token),
        cost_per_output_token=_first(model.cost_per_output_token, facts and facts.cost_per_output_token),
        timeout=config.timeout,
        retry_count=config.retry_count,
        live=live,
    )


def _first(configured: Any, known: Any) -> Any:
    return configured if configured is not None else known


def model_info(candidate: Candidate) -> ModelInfo:
    """Return the public facts of *candidate*."""
    return ModelInfo(
        id=candidate.model,
        provider=candidate.provider,
        provider_model_id=candidate.provider_model_id,
        base_model=candidate.base_model,
        capabilities=candidate.capabilities,
        max_tokens=candidate.max_tokens,
        max_output_tokens=candidate.max_output_tokens,
        cost_per_input_token=candidate.cost_per_input_token,
        cost_per_output_token=candidate.cost_per_output_token,
    )


def served_models(config: ProviderConfig, capabilities: ProviderCapabilities) -> Iterable[ModelConfig]:
    """Return the configured models, or those the provider type offers by itself when none is configured."""
    if config.models:
        return config.models
    return [
        ModelConfig(
            id=info.id,
            provider_model_id=info.provider_model_id or info.id,
            base_model=info.base_model,
            capabilities=tuple(info.capabilities) if info.capabilities is not None else None,
            max_tokens=info.max_tokens,
            max_output_tokens=info.max_output_tokens,
            cost_per_input_token=info.cost_per_input_token,
            cost_per_output_token=info.cost_per_output_token,
        )
        for info in capabilities.served
    ]


class ProviderRegistry:
    """All providers of one configuration generation; providers come and go at run time."""

    def __init__(self) -> None:
        self._handles: dict[str, ProviderHandle] = {}
        #: Made when it is first asked for after a change.
        self._by_model: dict[str, tuple[Candidate, ...]] | None = None
        #: Configured providers that could not be started, with the reason.
        self.broken: dict[str, str] = {}
        #: Grows with every change; what is derived from the registry is stale when it differs.
        self.version = 0

    def add(self, handle: ProviderHandle) -> None:
        """Take *handle* in; its name must be free (the plugin manager has seen to that)."""
        self._handles[handle.get_name()] = handle
        self._changed()

    def remove(self, name: str) -> ProviderHandle:
        """Take the provider called *name* out and return it.

        Raises:
            ModelNotFoundError: there is none; the nearest name is in the message.
        """
        handle = self.get(name)
        del self._handles[name]
        self._changed()
        return handle

    def get(self, name: str) -> ProviderHandle:
        """Return the provider called *name*.

        Raises:
            ModelNotFoundError: there is none; the nearest name is in the message.
        """
        handle = self._handles.get(name)
        if handle is None and name in self.broken:
            raise ModelNotFoundError(f"provider {name!r} could not be started: {self.broken[name]}", provider=name)
        if handle is None:
            raise ModelNotFoundError(f"no provider is called {name!r}{nearest(name, self._handles)}")
        return handle

    def __iter__(self) -> Iterator[ProviderHandle]:
        return iter(self._handles.values())

    def __contains__(self, name: str) -> bool:
        return name in self._handles

    def __len__(self) -> int:
        return len(self._handles)

    def candidates(self, model: str) -> tuple[Candidate, ...]:
        """Return all candidates for *model* of enabled providers.

        Raises:
            ModelNotFoundError: no provider lists it; the nearest name is in the message.
        """
        by_model = self._index() if self._by_model is None else self._by_model
        found = by_model.get(model)
        if found is None:
            raise ModelNotFoundError(
                f"no provider serves a model called {model!r}{nearest(model, by_model)}", model=model
            )
        return found

    def _changed(self) -> None:
        self._by_model = None
        self.version += 1

    def _index(self) -> dict[str, tuple[Candidate, ...]]:
        index: dict[str, list[Candidate]] = {}
        for handle in self._handles.values():
            if handle.enabled:
                for model, candidate in handle.candidates.items():
                    index.setdefault(model, []).append(candidate)
        self._by_model = {model: tuple(candidates) for model, candidates in index.items()}
        return self._by_model


__all__ = [
    "PROVIDER_HOOKS",
    "ProviderHandle",
    "ProviderRegistry",
    "make_candidate",
    "model_info",
    "served_models",
]
