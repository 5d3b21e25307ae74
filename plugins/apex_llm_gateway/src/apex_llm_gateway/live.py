"""Requests under way."""

from __future__ import annotations

from typing import Any


class Live:
    """A request under way."""

    __slots__ = ("began", "key", "model", "operation", "provider", "request_id", "stream", "twin", "user")

    def __init__(
        self,
        request_id: str,
        operation: str,
        model: str,
        user: str | None,
        key: str | None,
        stream: bool,
        began: float,
        twin: Live | None,
    ) -> None:
        self.request_id = request_id
        self.operation = operation
        self.model = model
        #: Who is asked, None while that is not known.
        self.provider: str | None = None
        self.user = user
        self.key = key
        self.stream = stream
        #: By the gateway's clock.
        self.began = began
        #: An older request under way that was given the same id by its client.
        self.twin = twin

    def document(self, now: float) -> dict[str, Any]:
        """Return the JSON form at the time *now* of the gateway's clock."""
        return {
            "request_id": self.request_id,
            "operation": self.operation,
            "model": self.model,
            "provider": self.provider,
            "user": self.user,
            "key": self.key,
            "stream": self.stream,
            "seconds": now - self.began,
        }


__all__ = ["Live"]
