"""The description of everything that stands at an address here."""

from __future__ import annotations

import asyncio
from typing import Protocol

from apex_llm_gateway.calls import Call
from apex_llm_gateway.http import Reply
from apex_llm_gateway.keys import KeyRing
from apex_llm_gateway.settings import GatewaySettings


class Configured(Protocol):
    """What the document depends on."""

    @property
    def ring(self) -> KeyRing:
        """Who may call."""

    @property
    def settings(self) -> GatewaySettings:
        """The table ``[gateway]``."""


async def document(app: Configured, call: Call) -> Reply:
    """Return the OpenAPI document of this gateway, as it is configured."""
    # Making it the first time takes as long as a hundred requests: they need not wait for it.
    body = await asyncio.to_thread(_encoded, keys=not app.ring.open, settings=app.settings)
    return Reply(body=body, headers={"x-request-id": call.id})


def _encoded(*, keys: bool, settings: GatewaySettings) -> bytes:
    from apex_llm_gateway.openapi.document import encoded

    return encoded(keys=keys, metrics=settings.metrics, unknown=settings.unknown_parameters)


__all__ = ["document"]
