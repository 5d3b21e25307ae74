"""CountTokens: what a request would cost, by the count that the request itself would get."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from apex_llm_mock import tokens
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.conversation_rules import check_conversation
from apex_llm_mock.emulation.bedrock.converse_members import COUNT_TOKENS
from apex_llm_mock.emulation.bedrock.converse_wire import count_tokens as count_converse
from apex_llm_mock.emulation.bedrock.errors import invalid
from apex_llm_mock.emulation.bedrock.media_rules import check_media
from apex_llm_mock.emulation.bedrock.members import check_members
from apex_llm_mock.emulation.bedrock.models import INVALID_IDENTIFIER, look_up
from apex_llm_mock.emulation.bedrock.text_formats import TEXT_FORMATS

UNSUPPORTED = "The provided model doesn't support counting tokens."
_ONE_INPUT = "The input field must contain exactly one of the following: converse, invokeModel."


def count_tokens(given: str, body: Any, declared: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the answer to CountTokens.

    Args:
        given: the model's id as in the path, percent-decoded once. Only foundation models count; an inference profile
            is an invalid identifier here, even of a model that counts.
        body: the JSON document of the request, None when it is no JSON.
        declared: the only ids there are, each with the id of the model that it behaves like; None: all that Bedrock has.

    Raises:
        RefusedError: it is not such a model, or the request is not one.
    """
    model = _model(given, declared)
    wanted = body.get("input") if isinstance(body, dict) else None
    if not isinstance(wanted, dict) or len(wanted) != 1 or not wanted.keys() <= {"converse", "invokeModel"}:
        raise invalid(_ONE_INPUT)
    if "converse" in wanted:
        count = _converse(wanted["converse"], model)
    else:
        request = TEXT_FORMATS[model.invoke].asked(_decoded(wanted["invokeModel"]), model).request
        count = tokens.count_prompt(request)
    if count > model.window:
        raise invalid(f"prompt is too long: {count} tokens > {model.window} maximum")
    return {"inputTokens": count}


def _model(given: str, declared: Mapping[str, str] | None = None) -> BaseModel:
    found = look_up(given, declared)
    if found is None or found.kind not in ("foundation", "declared"):
        raise invalid(INVALID_IDENTIFIER)
    if not found.model.count_tokens:
        raise invalid(UNSUPPORTED)
    return found.model


def _converse(value: Any, model: BaseModel) -> int:
    given = check_members(value, COUNT_TOKENS)
    check_conversation(given)
    check_media(given["messages"], model)
    return count_converse(given)


def _decoded(value: Any) -> Any:
    body = value.get("body") if isinstance(value, dict) else None
    if not isinstance(body, str):
        raise _unreadable()
    try:
        return json.loads(b64decode(body, validate=True))
    except (binascii.Error, ValueError) as error:
        raise _unreadable() from error


def _unreadable() -> RefusedError:
    return invalid("The body of invokeModel must be a request of InvokeModel in base64.")


__all__ = ["UNSUPPORTED", "count_tokens"]
