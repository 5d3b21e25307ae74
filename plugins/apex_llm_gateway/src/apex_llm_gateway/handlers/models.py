"""The models that callers may name."""

from __future__ import annotations

from urllib.parse import unquote

from apex_llm_gateway.calls import Call
from apex_llm_gateway.handlers.view import GatewayView
from apex_llm_gateway.http import HttpError, Reply
from apex_llm_gateway.keys import Key
from apex_llm_gateway.openai.models_response import model_document, models_body
from apex_llm_gateway.replies import json_reply


async def models(gateway: GatewayView, call: Call) -> Reply:
    """List the models that the caller's key may name; who serves one is its `owned_by`."""
    created = gateway.created
    return Reply(
        body=models_body(
            [
                model_document(name, created=created, owned_by=owner)
                for name, owner in _served(gateway, call.key).items()
            ]
        )
    )


async def model(gateway: GatewayView, call: Call) -> Reply:
    """Return one model, also by "provider/model"."""
    asked = unquote(call.request.path.removeprefix("/v1/models/"))
    provider, name = gateway.rules.place(asked)
    gateway.permit(call.key, name, provider)
    for handle in gateway.manager.providers:
        if handle.enabled and provider in (None, handle.get_name()) and any(info.id == name for info in handle.models):
            return json_reply(model_document(asked, created=gateway.created, owned_by=handle.get_name()))
    raise HttpError(404, f"there is no model {asked!r}; GET /v1/models lists them", code="model_not_found")


def _served(gateway: GatewayView, key: Key) -> dict[str, str]:
    """Return the providers of models, by the name under which *key* may ask for them."""
    served: dict[str, str] = {}
    for handle in gateway.manager.providers:
        if handle.enabled:
            provider = handle.get_name()
            for info in handle.models:
                if key.admits(info.id, None):
                    served.setdefault(info.id, provider)
                elif key.admits(info.id, provider):
                    # Its patterns have providers in them.
                    served.setdefault(f"{provider}/{info.id}", provider)
    return served


__all__ = ["model", "models"]
