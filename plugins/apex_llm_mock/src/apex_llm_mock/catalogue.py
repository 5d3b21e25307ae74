"""The models a mock provider serves, and what a request asks of one of them.

Sizes and prices are invented so that strategies have something to rank.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from apex_llm_core.config import ProviderConfig
from apex_llm_core.context import CallContext
from apex_llm_core.errors import ContextLengthExceededError, LLMError, ModelNotFoundError, nearest
from apex_llm_core.models import ModelInfo, ProviderCapabilities

#: The first is what requests without a model get.
SERVED = (
    ModelInfo(
        id="mock-large",
        capabilities=("text", "chat", "stream", "tools", "vision", "documents", "json", "reasoning"),
        max_tokens=128_000,
        max_output_tokens=16_384,
        cost_per_input_token=2.5e-6,
        cost_per_output_token=1e-5,
        description="Everything a chat model can do.",
    ),
    ModelInfo(
        id="mock-small",
        capabilities=("text", "chat", "stream"),
        max_tokens=16_384,
        max_output_tokens=4_096,
        cost_per_input_token=1.5e-7,
        cost_per_output_token=6e-7,
        description="Plain chat, cheap, with a small context window.",
    ),
    ModelInfo(
        id="mock-embed",
        capabilities=("embed",),
        max_tokens=8_192,
        cost_per_input_token=2e-8,
        cost_per_output_token=0.0,
        description="Embeddings of unit norm; the window holds per text.",
    ),
    ModelInfo(
        id="mock-image",
        capabilities=("image",),
        max_tokens=4_096,
        cost_per_input_token=5e-6,
        cost_per_output_token=4e-5,
        description="PNG images drawn from the prompt; an output token is a tile of 32 by 32 pixels.",
    ),
)

CAPABILITIES = ProviderCapabilities(
    features=frozenset(word for model in SERVED for word in model.capabilities or ()),
    models=MappingProxyType({model.id: model for model in SERVED}),
    served=SERVED,
)


class Target(NamedTuple):
    """The model a request is for. Sizes in tokens, None is unlimited."""

    provider: str
    model: str
    model_id: str
    window: int | None = None
    longest: int | None = None

    def refusal(self, cls: type[LLMError], message: str, *, status_code: int = 400) -> LLMError:
        """Return an error in the name of this provider and model."""
        return cls(message, provider=self.provider, model=self.model, status_code=status_code)

    def check_fits(self, size: int) -> None:
        """Raise `ContextLengthExceededError` for a prompt of *size* tokens that leaves the window no room."""
        if self.window is not None and size >= self.window:
            raise self.refusal(
                ContextLengthExceededError,
                f"the prompt has {size} tokens; the context window of {self.model!r} has {self.window}",
            )

    def room_after(self, size: int) -> int | None:
        """Return how many tokens an answer may have after a prompt of *size* tokens, None for any number.

        Raises:
            ContextLengthExceededError: none.
        """
        if self.window is None:
            return self.longest
        if size >= self.window:
            self.check_fits(size)
        room = self.window - size
        return room if self.longest is None or room < self.longest else self.longest


class Catalogue:
    """The models of one provider: the mock's own, and those its configuration lists."""

    def __init__(self, config: ProviderConfig, *, serve_unknown: bool) -> None:
        self._provider = config.name
        self._serve_unknown = serve_unknown
        own = {model.id: model for model in SERVED}
        self._models: dict[str, ModelInfo] = dict(own)
        for model in config.models:
            model_id = model.provider_model_id or model.id
            facts = own.get(model_id) or own.get(model.base_model or "") or ModelInfo(id=model_id)
            self._models[model_id] = ModelInfo(
                id=model_id,
                capabilities=facts.capabilities if model.capabilities is None else model.capabilities,
                max_tokens=model.max_tokens or facts.max_tokens,
                max_output_tokens=model.max_output_tokens or facts.max_output_tokens,
            )

    def target(self, model: str, needs: frozenset[str], context: CallContext) -> Target:
        """Return what a request for *model* (outside an attempt) or for the context's candidate is about.

        Raises:
            ModelNotFoundError: there is no such model, or it lacks one of the *needs*.
        """
        candidate = context.candidate
        if candidate is None:
            provider, model_id = self._provider, model
        else:
            provider, model = candidate.provider, candidate.model
            model_id = candidate.provider_model_id or model
        known = self._models.get(model_id)
        if known is not None and (known.capabilities is None or needs <= known.capabilities):
            return Target(provider, model, model_id, known.max_tokens, known.max_output_tokens)
        target = Target(provider, model, model_id)
        if known is not None:
            missing = ", ".join(sorted(needs.difference(known.capabilities or ())))
            able = [name for name, info in self._models.items() if needs <= (info.capabilities or needs)]
            raise target.refusal(
                ModelNotFoundError,
                f"the model {model_id!r} does not offer {missing}{nearest('', able)}",
                status_code=404,
            )
        if self._serve_unknown:
            return target
        raise target.refusal(
            ModelNotFoundError, f"there is no model {model_id!r}{nearest(model_id, self._models)}", status_code=404
        )


__all__ = ["CAPABILITIES", "SERVED", "Catalogue", "Target"]
