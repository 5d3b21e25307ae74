"""The door: the root command and what the console script calls."""

from __future__ import annotations

import importlib.metadata
import io
import platform
import sys

import click

from apex_llm_cli.group import CommandGroup


def _show_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    own, core = (importlib.metadata.version(name) for name in ("apex-llm-cli", "apex-llm-core"))
    click.echo(f"apex-llm {own} (apex-llm-core {core}, Python {platform.python_version()})")
    context.exit()


@click.command(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the versions."
)
def cli() -> None:
    """Use many LLM providers as one.

    Without --config and APEX_LLM_CONFIG every installed provider type that needs no settings is one provider.
    """


def main() -> None:
    """Run `apex-llm` with the process's arguments and exit with its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A model's answer must not fail for the encoding of the terminal.
        sys.stdout.reconfigure(errors="replace")
    cli(prog_name="apex-llm")


__all__ = ["cli", "main"]
