"""Tokens of whoever is signed in to the Azure CLI: ``az account get-access-token`` in a process of its own."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from typing import Any

from apex_llm_azure.entra_errors import shortened
from apex_llm_azure.tokens import Token
from apex_llm_azure.workers import Workers
from apex_llm_core.errors import AuthenticationError, LLMError, LLMTimeoutError, ServiceUnavailableError
from apex_llm_core.redaction import Redactor, Secret

#: Seconds that a killed process has to let go of its pipes.
_LAST_WORDS = 1.0
_NETWORK = ("Max retries exceeded", "Failed to establish a new connection", "Name or service not known", "timed out")


async def cli_token(scope: str, tenant: str | None, *, workers: Workers, limit: float = 15.0) -> Token:
    """Return a token from the Azure CLI.

    Args:
        scope: what it is for.
        tenant: of which tenant; None: the CLI's current one.
        workers: threads to search the PATH in.
        limit: seconds it may take.
    Raises:
        AuthenticationError: there is no Azure CLI, nobody is signed in, or the sign-in is no longer good.
        LLMTimeoutError: it took too long; the process and its children are gone.
        ServiceUnavailableError: it does not reach the authority, or said something that is no token.
    """
    program = await workers.run(shutil.which, "az")
    if program is None:
        raise AuthenticationError("the Azure CLI is not on the PATH; install it, then run: az login")
    command = [program, "account", "get-access-token", "--output", "json", "--scope", scope]
    if tenant is not None:
        command += ["--tenant", tenant]
    status, output, complaint = await _run(command, limit)
    if status != 0:
        raise _failure(status, complaint)
    try:
        return _token(json.loads(output))
    except (ValueError, TypeError, KeyError, OverflowError):
        # The cause would carry the output, and the output perhaps a token.
        raise ServiceUnavailableError(
            "the Azure CLI answered with something that is no token; is it up to date?", retryable=False
        ) from None


async def _run(command: list[str], limit: float) -> tuple[int, bytes, str]:
    process = await _start(command)
    try:
        async with asyncio.timeout(limit):
            output, complaint = await process.communicate()
    except TimeoutError as error:
        raise LLMTimeoutError(f"the Azure CLI gave no token within {limit:g} s", original_error=error) from error
    finally:
        if process.returncode is None:
            await _kill(process)
    return process.returncode or 0, output, complaint.decode(errors="replace")


async def _start(command: list[str]) -> asyncio.subprocess.Process:
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"AZURE_CORE_NO_COLOR": "true", "AZURE_CORE_COLLECT_TELEMETRY": "false"},
            # A group of its own, so that the interpreter which the `az` script starts ends with it.
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # Cancelled itself, asyncio would kill the script only, and wait for the pipes that its children keep open.
        await asyncio.wait((starting,))
        if starting.exception() is None:
            await _kill(starting.result())
        raise
    except OSError as error:
        raise AuthenticationError(f"the Azure CLI cannot be run: {error.strerror}", original_error=error) from error


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORDS):
            await process.communicate()


def _failure(status: int, complaint: str) -> LLMError:
    # The last line that is one: tracebacks and warnings stand before it.
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")] or lines[-1:]
    said = shortened(Redactor().scrub(errors[0])) if errors else f"exit status {status}"
    if any(words in complaint for words in _NETWORK):
        return ServiceUnavailableError(f"the Azure CLI cannot reach the token authority: {said}")
    if "az login" in complaint or "AADSTS" in complaint:
        return AuthenticationError(f"the Azure CLI is not signed in, or not any more: {said}; run: az login")
    return AuthenticationError(f"the Azure CLI gave no token: {said}")


def _token(answer: Any) -> Token:
    """Return the token in the CLI's answer.

    ``expires_on``, seconds since 1970, is there since version 2.54; ``expiresOn`` is local time without a zone.
    """
    value = answer["accessToken"]
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
        raise ValueError("no token")
    stamp = answer.get("expires_on")
    expires_on = dt.datetime.fromisoformat(answer["expiresOn"]).timestamp() if stamp is None else float(stamp)
    return Token(value=Secret(value), expires_on=expires_on)


__all__ = ["cli_token"]
