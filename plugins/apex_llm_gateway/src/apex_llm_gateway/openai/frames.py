"""What the frames of chats and of completions have in common: their envelope and their end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apex_llm_core.models import Usage
from apex_llm_gateway.openai.endings import service_of, usage_of
from apex_llm_gateway.openai.jsontext import member, quote

#: Ends every stream that did not fail.
DONE = b"data: [DONE]\n\n"


class Envelope:
    """The members that every frame of one stream repeats.

    Args:
        id: of the answer.
        object: what OpenAI calls such a frame.
        created: in unix seconds.
        model: which answers.
        include_usage: a frame with the usage comes last, and the others say that theirs is null.
    """

    def __init__(self, *, id: str, object: str, created: int, model: str, include_usage: bool) -> None:  # noqa: A002 - OpenAI's names
        self._common = b'data: {"id":%b,"object":"%b","created":%d,"model":%b' % (
            quote(id),
            object.encode(),
            created,
            quote(model),
        )
        self._include_usage = include_usage
        self._service = b""
        #: Begins every frame, up to its choices.
        self.head = self._common + b',"choices":['
        #: Ends every frame, from behind its choices.
        self.tail = (b'],"usage":null}' if include_usage else b"]}") + b"\n\n"

    def note(self, details: Mapping[str, Any]) -> None:
        """Have frames tell from now on what *details* say of the service; clients take the last one's word."""
        said = service_of(details)
        if said and said != self._service:
            self._service = said
            self.head = self._common + said + b',"choices":['

    def finish(
        self, usage: Usage | None, *, cost: float | None, provider: str | None, model: str, attempts: int
    ) -> bytes:
        """Return the last frames: the one with the usage, and where all came from, if it was asked for; then the end."""
        if not self._include_usage:
            return DONE
        origin: dict[str, Any] = {"provider": provider, "model": model, "attempts": attempts}
        if cost is not None:
            origin["cost"] = cost
        told = b"null" if usage is None else usage_of(usage)
        return b'%b],"usage":%b,%b}\n\n%b' % (self.head, told, member("x_apex", origin), DONE)


__all__ = ["DONE", "Envelope"]
