"""Answers that several handlers give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apex_llm_core.converters import encode
from apex_llm_core.errors import Attempt
from apex_llm_gateway.http import Reply
from apex_llm_gateway.openai.errors import error_answer


def json_reply(document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return *document* as JSON."""
    return Reply(body=encode(document), status=status, headers=headers or {})


def error_reply(error: BaseException, request_id: str = "") -> Reply:
    """Return the answer that says what went wrong, in OpenAI's form."""
    answer = error_answer(error, request_id=request_id)
    headers = {**answer.headers, "x-request-id": request_id} if request_id else answer.headers
    return json_reply(answer.document, status=answer.status, headers=headers)


def origin_headers(
    request_id: str,
    provider: str | None,
    model: str | None,
    attempts: Sequence[Attempt] | int,
    *,
    cost: float | None = None,
    cached: bool = False,
) -> dict[str, str]:
    """Return the headers that tell where an answer comes from; what is not known is left out."""
    headers = {"x-request-id": request_id}
    if provider:
        headers["x-apex-provider"] = _plain(provider)
    if model:
        headers["x-apex-model"] = _plain(model)
    headers["x-apex-attempts"] = str(attempts if isinstance(attempts, int) else len(attempts))
    if cost is not None:
        headers["x-apex-cost"] = f"{cost:.10g}"
    if cached:
        headers["x-apex-cache"] = "hit"
    return headers


def _plain(name: str) -> str:
    """Return *name* as a header can carry it: the operator, or a caller who names a model, may have written anything."""
    return (
        name
        if name.isascii() and name.isprintable()
        else name.encode("ascii", "backslashreplace").decode().translate(_CONTROLS)
    )


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


__all__ = ["error_reply", "json_reply", "origin_headers"]
