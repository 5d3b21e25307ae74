"""Numbers for Prometheus."""

from __future__ import annotations

import asyncio
from typing import Protocol

from apex_llm_gateway.backend import Backend
from apex_llm_gateway.http import Reply
from apex_llm_gateway.prometheus import CONTENT_TYPE, render
from apex_llm_gateway.settings import GatewaySettings


class GatewayView(Protocol):
    """What is used of the gateway."""

    @property
    def backend(self) -> Backend:
        """Reaches all processes."""

    @property
    def settings(self) -> GatewaySettings:
        """The table ``[gateway]``."""


async def metrics(gateway: GatewayView, _call: object) -> Reply:
    """Return the metrics of all processes, whichever of them is asked."""
    snapshots = await gateway.backend.snapshots()
    # With many models it is long; meanwhile others want answers.
    body = await asyncio.to_thread(render, snapshots, by_worker=gateway.settings.workers > 1)
    return Reply(body=body, content_type=CONTENT_TYPE)


__all__ = ["metrics"]
