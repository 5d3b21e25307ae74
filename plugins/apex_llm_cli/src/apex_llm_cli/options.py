"""Options that commands share: those of every command, and those of every request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@attrs.define(kw_only=True)
class Invocation:
    """What the global options say; every command gets it by ``@click.pass_obj``."""

    #: The configuration file; None leaves it to APEX_LLM_CONFIG.
    config: Path | None = None
    #: Print JSON documents.
    json: bool = False
    #: Print tracebacks.
    debug: bool = False

    def notice_flags(self, arguments: Sequence[str]) -> None:
        """Take ``--json`` and ``--debug`` from *arguments* that could not be parsed to their end."""
        options = arguments[: arguments.index("--")] if "--" in arguments else arguments
        self.json = self.json or "--json" in options
        self.debug = self.debug or "--debug" in options


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    # Standing neither here nor there must not undo what stood before the command.
    if value and parameter.name is not None:
        setattr(context.ensure_object(Invocation), parameter.name, value)


def add_shared_options(command: click.Command) -> None:
    """Let *command*, and the commands below it, take ``--config``, ``--json`` and ``--debug``, too."""
    taken = {name for parameter in command.params for name in parameter.opts}
    command.params.extend(option for option in _shared_options() if not taken.intersection(option.opts))
    if type(command) is click.Group:
        for child in command.commands.values():
            add_shared_options(child)


def _shared_options() -> list[click.Option]:
    common: dict[str, Any] = {"expose_value": False, "is_eager": True, "callback": _remember}
    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="The configuration (TOML, JSON or YAML); default: $APEX_LLM_CONFIG.",
            **common,
        ),
        click.Option(["--json"], is_flag=True, help="Print JSON.", **common),
        click.Option(["--debug"], is_flag=True, help="Print tracebacks of errors.", **common),
    ]


def stack(*decorators: Callable[[Any], Any]) -> Callable[[Decorated], Decorated]:
    """Return one decorator for several; the first of them comes first in the help."""

    def decorate(function: Decorated) -> Decorated:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _not_empty(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    # To the core an empty name is no name, but whoever passes one, say from an unset variable, meant some.
    if value is not None and not value.strip():
        raise click.UsageError(f"no {parameter.name} is called {value!r}", context)
    return value


#: What every request may say. Values are checked by the core, so that all front doors give the same answers.
request_options = stack(
    click.option("-m", "--model", metavar="MODEL", callback=_not_empty, help="The model; default: the configured one."),
    click.option("-p", "--provider", metavar="PROVIDER", help="Serve from this provider only."),
    click.option("--timeout", type=float, metavar="SECONDS", help="Silence allowed per attempt; 0: any."),
    click.option("--deadline", type=float, metavar="SECONDS", help="Time allowed over everything; 0: any."),
    click.option("--retry-count", type=int, metavar="N", help="Further attempts at the same provider."),
)

#: What text and chat may say beyond that.
generation_options = stack(
    request_options,
    click.option("--max-tokens", type=int, metavar="N", help="The longest answer."),
    click.option("--temperature", type=float, metavar="T", help="Randomness of the answer; 0: least."),
    click.option("--top-p", type=float, metavar="P", help="Nucleus sampling, 0 to 1."),
    click.option("--stop", multiple=True, metavar="TEXT", help="End the answer before this text; repeatable."),
    click.option("--seed", type=int, metavar="N", help="Make the answer repeatable where the model can."),
    click.option("--no-cache", is_flag=True, help="Neither read nor fill the response cache."),
    click.option("--no-stream", is_flag=True, help="Print the answer when it is complete."),
)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request options that were given, for the manager's keywords."""
    return {name: value for name, value in options.items() if value is not None and value is not False and value != ()}


__all__ = ["Invocation", "add_shared_options", "generation_options", "given", "request_options", "stack"]
