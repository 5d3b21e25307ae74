"""The models that callers may name."""

from __future__ import annotations

from urllib.parse import unquote

from apex_llm_gateway.calls import Call
from apex_llm_gateway.handlers.house import House
from apex_llm_gateway.http import HttpError, Reply
from apex_llm_gateway.keys import Key
from apex_llm_gateway.openai.models_response import model_document, models_body
from apex_llm_gateway.replies import json_reply


async def models(house: House, call: Call) -> Reply:
    """List the models that the caller's key may name; who serves one is its `owned_by`."""
    created = house.created
    return Reply(
        body=models_body(
            [model_document(name, created=created, owned_by=owner) for name, owner in _served(house, call.key).items()]
        )
    )


async def model(house: House, call: Call) -> Reply:
    """Return one model, also by "provider/model"."""
    asked = unquote(call.request.path.removeprefix("/v1/models/"))
    provider, name = house.rules.place(asked)
    house.permit(call.key, name, provider)
    for handle in house.manager.providers:
        if handle.enabled and provider in (None, handle.get_name()) and any(info.id == name for info in handle.models):
            return json_reply(model_document(asked, created=house.created, owned_by=handle.get_name()))
    raise HttpError(404, f"there is no model {asked!r}; GET /v1/models lists them", code="model_not_found")


def _served(house: House, key: Key) -> dict[str, str]:
    """Return the providers of models, by the name under which *key* may ask for them."""
    served: dict[str, str] = {}
    for handle in house.manager.providers:
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
