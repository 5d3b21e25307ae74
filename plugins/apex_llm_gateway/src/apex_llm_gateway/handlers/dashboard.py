"""The page that people look at. It holds no data: what it shows it asks for, with the key that its reader gives it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from apex_llm_gateway import dashboard
from apex_llm_gateway.http import Reply, Request

_HTML = "text/html; charset=utf-8"


class _Call(Protocol):
    @property
    def request(self) -> Request:
        """The request."""


async def page(_gateway: object, call: _Call) -> Reply:
    """Return the dashboard, or 304 to whoever has this very one."""
    document = await asyncio.to_thread(dashboard.page)
    headers = {
        "ETag": document.tag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": document.policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    if document.tag in call.request.headers.get("if-none-match", ""):
        return Reply(status=304, content_type=_HTML, headers=headers)
    return Reply(body=document.body, content_type=_HTML, headers=headers)


__all__ = ["page"]
