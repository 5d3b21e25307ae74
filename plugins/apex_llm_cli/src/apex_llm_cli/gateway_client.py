"""Asks a running gateway: where it is, the key it wants, and what its refusals mean for whoever runs the command."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from urllib.parse import urlsplit

import click

from apex_llm_cli.options import stack

DEFAULT_URL = "http://127.0.0.1:8080"
#: Seconds for one question; a gateway knows its answers, or is too busy.
_PATIENCE = 15.0
_WHERE = "--url or APEX_LLM_URL"

#: Where the gateway is, and the key for it.
gateway_options = stack(
    click.option(
        "--url",
        metavar="URL",
        envvar="APEX_LLM_URL",
        default=DEFAULT_URL,
        help=f"The gateway; default: $APEX_LLM_URL, {DEFAULT_URL}.",
    ),
    click.option(
        "--key",
        metavar="KEY",
        envvar="APEX_LLM_KEY",
        help="A key with the role 'admin', better a reference: env:NAME or file:PATH; default: $APEX_LLM_KEY.",
    ),
)


def ask_gateway(url: str, key: str | None, path: str, order: Any = None) -> dict[str, Any]:
    """Return the document at *path* of the gateway; with an *order* it is posted there.

    Raises:
        click.UsageError: *url* is none of a gateway.
        ConfigurationError: the gateway refuses the key, or the reference to it leads nowhere.
        InvalidRequestError: it refuses the order, or is another server, which knows no such address.
        ServiceUnavailableError: it cannot be reached, cannot answer, or is no gateway.
    """
    from apex_llm_cli.running import run

    return run(_ask(_checked(url), key, path, order))


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname is not None and parts.port != 0
    except ValueError:
        good = False
    # Credentials in it are not repeated.
    if not good or parts.username is not None or parts.query or parts.fragment:
        raise click.UsageError(f"the URL of a gateway has the form http://host[:port]; see {_WHERE}")
    # Often what a client of OpenAI's has as its base URL.
    return url.rstrip("/").removesuffix("/v1")


async def _ask(url: str, key: str | None, path: str, order: Any) -> dict[str, Any]:
    from apex_llm_core.context import CallContext
    from apex_llm_core.converters import encode
    from apex_llm_core.errors import LLMError, LLMTimeoutError, ServiceUnavailableError
    from apex_llm_core.transport import AiohttpClient

    headers = {"Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {await _resolved(key)}"
    body = None
    if order is not None:
        headers["Content-Type"] = "application/json"
        body = encode(order)
    method = "GET" if order is None else "POST"
    client = AiohttpClient(trust_env=True)
    try:
        async with asyncio.timeout(_PATIENCE):
            answer = await client.send(method, url + path, context=CallContext(), headers=headers, body=body)
            content = await answer.read()
    except TimeoutError as error:
        raise LLMTimeoutError(f"the gateway at {url} does not answer within {_PATIENCE:g} seconds") from error
    except (ServiceUnavailableError, LLMTimeoutError) as error:
        # What the transport advises is meant for providers.
        reason = error.message.partition(";")[0]
        advice = f"start one with 'apex-llm serve', or say where it is by {_WHERE}"
        raise ServiceUnavailableError(f"no gateway answers at {url} ({reason}); {advice}") from error
    except LLMError as error:
        raise click.UsageError(f"{url} cannot be asked with this key: {error.message}") from error
    finally:
        await client.close()
    return _understood(answer.status, content, url)


async def _resolved(key: str) -> str:
    from apex_llm_core.config.secrets import EnvSecrets, FileSecrets

    scheme, _, rest = key.partition(":")
    if scheme == "env":
        return (await EnvSecrets(os.environ).apex_resolve_secret(rest)).reveal()
    if scheme == "file":
        return (await FileSecrets().apex_resolve_secret(rest)).reveal()
    return key


def _understood(status: int, content: bytes, url: str) -> dict[str, Any]:
    from apex_llm_core.converters import decode
    from apex_llm_core.errors import ConfigurationError, InvalidRequestError, ServiceUnavailableError

    try:
        document = decode(content)
    except (ValueError, RecursionError):
        document = None
    if status == 200 and isinstance(document, dict):
        return document
    error = document.get("error") if isinstance(document, dict) else None
    told = error if isinstance(error, dict) else {}
    message = told.get("message")
    if not isinstance(message, str):
        raise ServiceUnavailableError(
            f"what answers at {url} is no gateway of apex-llm (status {status}); see {_WHERE}", status_code=status
        )
    if status in {401, 403}:
        raise ConfigurationError(f"the gateway at {url} refuses: {message}; keys are given by --key or APEX_LLM_KEY")
    # A gateway knows the addresses that are asked; of what is not there, it says so for orders to breakers only.
    if status in {404, 405} and told.get("code") != "model_not_found":
        raise InvalidRequestError(
            f"there seems to be no gateway of apex-llm at {url} (status {status}: {message}); see {_WHERE}",
            status_code=status,
        )
    if 400 <= status < 500 and status not in {408, 429}:
        raise InvalidRequestError(message, status_code=status)
    raise ServiceUnavailableError(f"the gateway at {url} cannot answer: {message}", status_code=status)


__all__ = ["DEFAULT_URL", "ask_gateway", "gateway_options"]
