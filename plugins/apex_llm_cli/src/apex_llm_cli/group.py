"""The root group: knows commands from metadata, imports one when it runs, and turns failures into exit codes."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from apex_llm_cli.options import Invocation, add_shared_options
from apex_llm_cli.output import OutputError
from apex_llm_core.errors import PluginError, nearest
from apex_llm_core.plugin.discovery import COMMANDS, PluginSource, discover

#: Commands of other distributions, for who looks for them where these are not installed.
ELSEWHERE: dict[str, str] = {
    "batch": "apex-llm-gateway",
    "emulate": "apex-llm-mock",
    "serve": "apex-llm-gateway",
    "simulate": "apex-llm-simulator",
}


#: What writing says when there is no room, or no working device, for the output.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class OutputClosedError(Exception):
    """Whoever read our output has gone; `BrokenPipeError` by a name that click does not handle itself."""


def load_command(source: PluginSource) -> click.Command:
    """Import one command and give it the options that all commands share.

    Raises:
        PluginError: it does not fit the core, cannot be imported, or is no click command.
    """
    command = source.load()
    if not isinstance(command, click.Command):
        raise source.error(f"{source.value} is no click command but {type(command).__name__}")
    add_shared_options(command)
    return command


class CommandGroup(click.Group):
    """A group whose commands are the entry points of ``apex_llm.commands``.

    Run standalone, as click does by default, it prints failures as one line (or as a document with ``--json``) and
    exits: 0 done, 1 a provider failed, 2 usage or configuration, 130 interrupted, 141 nobody reads the output.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        add_shared_options(self)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, from metadata."""
        return sorted({*super().list_commands(ctx), *_sources(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command called *cmd_name*; None when there is none."""
        source = _sources(ctx).get(cmd_name)
        return super().get_command(ctx, cmd_name) if source is None else load_command(source)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that *args* begins with; an unknown one is a usage error with the nearest name."""
        name = args[0]
        if not name.startswith("-"):
            known = self.list_commands(ctx)
            if name not in known:
                raise click.UsageError(_unknown(name, known), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with a line of help each; a broken one says so and hides no other."""
        rows = []
        for name in self.list_commands(ctx):
            try:
                command = self.get_command(ctx, name)
            except PluginError as error:
                rows.append((name, f"(broken) {error.message}"))
                continue
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(limit=80)))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def make_context(self, *arguments: Any, **keywords: Any) -> click.Context:
        """Parse the options of the root; ``--help`` and ``--version`` print here."""
        with _output_failures():
            return super().make_context(*arguments, **keywords)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _output_failures():
            return super().invoke(ctx)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; with *standalone_mode* failures are printed and the process exits."""
        arguments = list(sys.argv[1:] if args is None else args)
        invocation = extra.setdefault("obj", Invocation())
        if not standalone_mode:
            return super().main(arguments, prog_name, complete_var, standalone_mode=False, **extra)
        return self._run_and_exit(arguments, invocation, prog_name, complete_var, extra)

    def _run_and_exit(
        self,
        arguments: list[str],
        invocation: Invocation,
        prog_name: str | None,
        complete_var: str | None,
        extra: dict[str, Any],
    ) -> NoReturn:
        from apex_llm_cli import failures

        try:
            with failures.warnings_on_stderr():
                result = super().main(arguments, prog_name, complete_var, standalone_mode=False, **extra)
            if sys.stdout is not None:
                with _output_failures():
                    sys.stdout.flush()
        except click.Abort:
            sys.exit(failures.INTERRUPTED)
        except (OutputClosedError, BrokenPipeError):
            failures.discard_output()
            sys.exit(failures.OUTPUT_CLOSED)
        except Exception as error:
            invocation.notice_flags(arguments)
            sys.exit(failures.report(error, as_json=invocation.json, debug=invocation.debug))
        # click returns the code of `Context.exit`, and otherwise whatever the command returned.
        sys.exit(result if isinstance(result, int) else 0)


def _sources(ctx: click.Context) -> dict[str, PluginSource]:
    # Looking through all installed metadata takes milliseconds; once per run is enough.
    sources: dict[str, PluginSource] = ctx.meta.setdefault(COMMANDS, {})
    if not sources:
        sources.update(discover(COMMANDS))
    return sources


def _unknown(name: str, known: Sequence[str]) -> str:
    if name in ELSEWHERE:
        return f"the command {name!r} comes with {ELSEWHERE[name]}, which is not installed"
    return f"no such command {name!r}{nearest(name, known)}"


@contextmanager
def _output_failures() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosedError from error
    except OSError as error:
        # Opening files tells their names, and commands report that themselves; writing to a stream tells none.
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        raise OutputError(f"cannot write the output: {error.strerror}") from error


__all__ = ["ELSEWHERE", "CommandGroup", "OutputClosedError", "load_command"]
