"""What a deployment takes in a request: by the surface, by the api-version's changelog, and by the model behind it.

::

    parameter                          since (dated; v1 has all)   models without it
    json_schema in response_format     2024-08-01-preview          before gpt-4o-2024-08-06, audio, gpt-5-chat
    stream_options                     2024-09-01-preview
    parallel_tool_calls                2024-09-01-preview          o-series
    max_completion_tokens              2024-09-01-preview          some deployments of gpt-4o
    reasoning_effort, developer role   2024-12-01-preview          everything that does not reason
    images/edits                       2025-04-01-preview

    max_tokens, temperature, top_p, presence_penalty, frequency_penalty, logprobs: not for models that reason
    stop: not for o3, o4-mini and gpt-5

What nobody declared is tried: `corrected` mends the request by the service's own words where the guess was wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from apex_llm_azure.endpoints import Endpoint
from apex_llm_azure.families import UNKNOWN, Family

MaxTokensKey = Literal["max_tokens", "max_completion_tokens"]


@attrs.frozen(kw_only=True)
class Dialect:
    """What may be sent to one deployment."""

    #: The parameter that limits the length of the answer.
    max_tokens_key: MaxTokensKey
    stream_options: bool
    reasoning_effort: bool
    parallel_tool_calls: bool
    #: temperature, top_p, presence_penalty, frequency_penalty.
    sampling: bool
    #: logprobs, top_logprobs.
    logprobs: bool
    stop: bool
    #: `json_schema` as a response format.
    structured_outputs: bool
    #: The role "developer"; without it such messages go as "system".
    developer_role: bool
    image_edits: bool


def dialect_of(endpoint: Endpoint, family: Family) -> Dialect:
    """Return what a model of *family* takes at *endpoint*."""
    known = family is not UNKNOWN
    return Dialect(
        max_tokens_key=_max_tokens_key(endpoint, family),
        stream_options=_since(endpoint, "2024-09-01"),
        reasoning_effort=_since(endpoint, "2024-12-01") and (family.reasoning or not known),
        parallel_tool_calls=_since(endpoint, "2024-09-01") and family.parallel_tool_calls,
        sampling=not family.reasoning,
        logprobs=not family.reasoning,
        stop=family.stop,
        structured_outputs=_since(endpoint, "2024-08-01") and family.structured_outputs,
        developer_role=_since(endpoint, "2024-12-01") and (family.reasoning or not known),
        image_edits=_since(endpoint, "2025-04-01"),
    )


def _since(endpoint: Endpoint, day: str) -> bool:
    """Return whether *endpoint* is v1 or of a version of *day* or later; previews and releases share one calendar."""
    return endpoint.surface == "v1" or endpoint.api_version[:10] >= day


def _max_tokens_key(endpoint: Endpoint, family: Family) -> MaxTokensKey:
    if family is UNKNOWN:
        return "max_completion_tokens" if endpoint.surface == "v1" else "max_tokens"
    return "max_completion_tokens" if family.reasoning else "max_tokens"


_OTHER_KEY: Mapping[str, MaxTokensKey] = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
_REFUSALS = frozenset({"unsupported_parameter", "unknown_parameter"})
#: Older versions give no code: "Unrecognized request argument supplied: stream_options".
_REFUSAL_TEXT = re.compile(
    r"(?:unsupported parameter|unknown parameter|unrecognized request arguments? supplied|extra inputs are not permitted)"
    r"[^a-z_]{0,4}([a-z_]*)",
    re.IGNORECASE,
)


def corrected(body: Mapping[str, Any], said: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return *body* without what the service refused, None when nothing is known to help.

    *said* is the ``error`` member of the answer (`code`, `param`, `message`), or the details of the error it became
    (`refused_parameter`). The two names for the length of an answer are exchanged; `stream_options` is left out. To be sent
    once: a service that refuses both names is not asked a third time.
    """
    if not said:
        return None
    parameter = said.get("refused_parameter") or refused_parameter(said)
    if parameter == "stream_options" and "stream_options" in body:
        return {name: value for name, value in body.items() if name != "stream_options"}
    other = _OTHER_KEY.get(parameter)
    if other is None or parameter not in body or other in body:
        return None
    return {other if name == parameter else name: value for name, value in body.items()}


def refused_parameter(said: Mapping[str, Any]) -> str:
    """Return the top-level parameter that the ``error`` member *said* refuses to know, "" for every other complaint."""
    code, message = said.get("code"), said.get("message")
    match = _REFUSAL_TEXT.search(message) if isinstance(message, str) else None
    if match is None and not (isinstance(code, str) and code in _REFUSALS):
        return ""
    named = said.get("param")
    if not isinstance(named, str) or not named:
        named = match[1] if match else ""
    return named.partition(".")[0].lower()


__all__ = ["Dialect", "MaxTokensKey", "corrected", "dialect_of", "refused_parameter"]
