"""``apex-llm plugins``: what is installed, from metadata, and with ``--check`` whether it can be used."""

from __future__ import annotations

from typing import Any

import click

from apex_llm_cli.options import Invocation
from apex_llm_core.errors import PluginError
from apex_llm_core.plugin.discovery import COMMANDS, GROUPS, PluginSource, discover

#: Known from metadata alone.
INSTALLED = "installed"
INCOMPATIBLE = "incompatible"
#: Known after ``--check``.
LOADABLE = "loadable"
BROKEN = "broken"
_STYLES = {LOADABLE: "green", INCOMPATIBLE: "red", BROKEN: "red"}


@click.command("plugins")
@click.option("--check", is_flag=True, help="Import every plugin; exits with 2 when one cannot be used.")
@click.pass_context
def command(context: click.Context, check: bool) -> None:
    """List the installed plugins of all kinds.

    The list comes from metadata; only --check imports the plugins and tells which of them are broken.
    """
    from apex_llm_cli.failures import USAGE
    from apex_llm_cli.output import print_document, print_table

    invocation: Invocation = context.obj
    plugins = [examine(source, check=check) for group in GROUPS for source in discover(group).values()]
    if invocation.json:
        print_document({"plugins": plugins})
    else:
        print_table(
            ("plugin", "group", "distribution", "version", "needs core", "status", "reason"),
            [
                (
                    plugin["name"],
                    plugin["group"].removeprefix("apex_llm."),
                    plugin["distribution"],
                    plugin["version"],
                    plugin["requires_core"] or "any",
                    plugin["status"],
                    plugin["reason"] or "",
                )
                for plugin in plugins
            ],
            styles=_STYLES,
        )
    if check and any(plugin["status"] in (INCOMPATIBLE, BROKEN) for plugin in plugins):
        context.exit(USAGE)


def examine(source: PluginSource, *, check: bool) -> dict[str, Any]:
    """Return the row of one plugin; with *check* it is imported, and registered with nobody listening."""
    reason = source.incompatibility()
    status = INSTALLED if reason is None else INCOMPATIBLE
    if check and reason is None:
        try:
            _try_out(source)
            status = LOADABLE
        except PluginError as error:
            status, reason = BROKEN, error.reason
    return {
        "name": source.name,
        "group": source.group,
        "distribution": source.distribution,
        "version": source.version,
        "requires_core": source.requires_core,
        "compatible": status != INCOMPATIBLE,
        "status": status,
        "reason": reason,
    }


def _try_out(source: PluginSource) -> None:
    if source.group == COMMANDS:
        from apex_llm_cli.group import load_command

        load_command(source)
        return
    from apex_llm_core.plugin.manager import PluginManager
    from apex_llm_core.plugin.registrar import PluginRegistrar

    PluginManager().register_module(source.load(), source.name, PluginRegistrar(), source)


__all__ = ["command", "examine"]
