"""Failures as people and programs read them: one line or one document, and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import attrs
import click

from apex_llm_cli.output import OutputError, one_line, print_document
from apex_llm_core.errors import (
    Attempt,
    ConfigurationError,
    ConfigurationWarning,
    InvalidRequestError,
    LLMError,
    ModelNotFoundError,
    PluginError,
)

PROVIDER_FAILED = 1
USAGE = 2
#: As shells report a process ended by SIGINT or SIGPIPE.
INTERRUPTED = 130
OUTPUT_CLOSED = 141


@attrs.frozen(kw_only=True)
class Failure:
    """One failure; the fields are those of the error document."""

    exit_code: int
    type: str
    message: str
    provider: str | None = None
    model: str | None = None
    retryable: bool = False
    attempts: Sequence[Attempt] = ()
    #: What is wrong besides.
    others: Sequence[str] = ()

    def line(self) -> str:
        """Return all of it as one line, for people."""
        who = ", ".join(part for part in (self.provider, self.model) if part) if self.attempts else ""
        tried: dict[str, int] = {}
        for attempt in self.attempts:
            tried[attempt.provider] = tried.get(attempt.provider, 0) + 1
        counts = ", ".join(f"{provider} {count}x" for provider, count in tried.items())
        kind = f" ({self.type}; tried {counts})" if tried else ""
        return one_line(f"{who}: {self.message}{kind}" if who else f"{self.message}{kind}")

    def document(self) -> dict[str, Any]:
        """Return the error document of ``--json``."""
        fields = ("type", "message", "provider", "model", "retryable", "attempts")
        others = {"others": list(self.others)} if self.others else {}
        return {"error": {**{name: getattr(self, name) for name in fields}, **others}}


def describe(error: Exception) -> Failure:
    """Tell whose mistake *error* is."""
    if isinstance(error, LLMError):
        found_by_core = isinstance(error, (InvalidRequestError, ModelNotFoundError)) and not error.attempts
        return Failure(
            exit_code=USAGE if found_by_core else PROVIDER_FAILED,
            type=error.type.value,
            message=error.message,
            provider=error.provider,
            model=error.model,
            retryable=error.retryable,
            attempts=error.attempts,
        )
    if isinstance(error, ConfigurationError):
        others = tuple(getattr(error, "__notes__", ()))
        return Failure(exit_code=USAGE, type="configuration_error", message=error.message, others=others)
    if isinstance(error, PluginError):
        return Failure(exit_code=USAGE, type="plugin_error", message=error.message)
    if isinstance(error, OutputError):
        return Failure(exit_code=PROVIDER_FAILED, type="output_error", message=str(error))
    if isinstance(error, click.ClickException):
        return Failure(exit_code=USAGE, type="usage_error", message=_usage_message(error))
    # A defect of ours, or of a plugin that broke its contract; nobody has checked this text for credentials.
    text = _scrub(f"unexpected {type(error).__name__}: {error}; --debug shows where")
    return Failure(exit_code=PROVIDER_FAILED, type="internal_error", message=text)


def _usage_message(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return f"which command? (see {error.ctx.command_path} --help)"
    message = error.format_message().rstrip(".")
    # Our own say all there is to say; click's are about the form of the command line.
    return (
        message
        if context is None or type(error) is click.UsageError
        else f"{message} (see {context.command_path} --help)"
    )


def _scrub(text: str) -> str:
    from apex_llm_core.redaction import Redactor

    return Redactor().scrub(text)


def report(error: Exception, *, as_json: bool = False, debug: bool = False) -> int:
    """Print *error* and return the exit code."""
    failure = describe(error)
    if debug:
        click.echo(_scrub("".join(traceback.format_exception(error))), err=True, nl=False)
    if isinstance(error, OutputError):
        # What is left in the buffer will not get through either, nor would a document.
        discard_output()
        as_json = False
    try:
        if as_json:
            print_document(failure.document())
        elif isinstance(error, click.exceptions.NoArgsIsHelpError):
            # Nothing was wrong yet; the help is what was asked for.
            error.show()
        else:
            click.echo(f"error: {failure.line()}", err=True)
            for other in failure.others:
                click.echo(f"also: {one_line(other)}", err=True)
    except BrokenPipeError:
        discard_output()
    return failure.exit_code


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Print each different `ConfigurationWarning` as one line on standard error."""
    seen: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, ConfigurationWarning):
            usual(message, category, filename, lineno, file, line)
        elif str(message) not in seen:
            seen.add(str(message))
            warn(str(message))

    with warnings.catch_warnings():
        usual = warnings.showwarning
        warnings.simplefilter("always", ConfigurationWarning)
        warnings.showwarning = show
        yield


def warn(message: str) -> None:
    """Print *message* as one warning line on standard error."""
    click.echo(f"warning: {one_line(message)}", err=True)


def discard_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter's own flush at exit stays quiet."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


__all__ = [
    "INTERRUPTED",
    "OUTPUT_CLOSED",
    "PROVIDER_FAILED",
    "USAGE",
    "Failure",
    "describe",
    "discard_output",
    "report",
    "warn",
    "warnings_on_stderr",
]
