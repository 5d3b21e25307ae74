"""``apex-llm config``: check, show and describe the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from apex_llm_cli.options import Invocation

if TYPE_CHECKING:
    from apex_llm_core.config.schema import Config
    from apex_llm_core.manager import LLMProviderManager


@click.group("config")
def command() -> None:
    """Check, show and describe the configuration."""


@command.command("check", short_help="Load it and start everything it names.")
@click.pass_context
def check(context: click.Context) -> None:
    """Load the configuration and start everything it names; nothing is asked of a model.

    Exits with 2 when something cannot be used.
    """
    from apex_llm_cli.extension_tables import problems
    from apex_llm_cli.failures import USAGE
    from apex_llm_cli.output import print_document, write
    from apex_llm_cli.running import with_manager

    invocation: Invocation = context.obj

    async def summarise(manager: LLMProviderManager) -> dict[str, Any]:
        config = manager.config
        enabled = [handle for handle in manager.providers if handle.enabled]
        failures = [error.message for error in manager.failures] + await problems(manager)
        return {
            "valid": not failures,
            "files": list(config.files),
            "strategy": config.manager.selection_strategy,
            "providers": [handle.get_name() for handle in enabled],
            "models": sorted({model.id for handle in enabled for model in handle.models}),
            "middleware": [table.type for table in config.middleware if table.enabled],
            "warnings": list(config.warnings),
            "failures": failures,
        }

    summary = with_manager(invocation, summarise)
    if invocation.json:
        print_document(summary)
    else:
        write("".join(f"{line}\n" for line in _lines(summary)))
    if summary["failures"]:
        context.exit(USAGE)


def _lines(summary: dict[str, Any]) -> list[str]:
    from apex_llm_cli.output import one_line

    verdict = "valid" if summary["valid"] else "not valid"
    origin = ", ".join(summary["files"]) or "no file; every installed provider type that needs no settings"
    lines = [f"{verdict}: {origin}"]
    lines.append(f"strategy: {summary['strategy']}")
    for kind in ("providers", "models", "middleware"):
        names = summary[kind]
        lines.append(f"{kind}: {len(names)}" + (f" ({', '.join(names)})" if names else ""))
    lines.extend(f"failed: {one_line(message)}" for message in summary["failures"])
    return lines


@command.command("show", short_help="Print what is in force, as TOML.")
@click.pass_obj
def show(invocation: Invocation) -> None:
    """Print what is in force after overlays and defaults, as TOML; secrets are masked, references to them are not."""
    from apex_llm_cli.output import print_document, write
    from apex_llm_cli.running import configuration, with_manager
    from apex_llm_cli.toml_text import to_toml

    config = configuration(invocation)
    if config is None:
        # Only the manager knows which installed provider types it takes without a file.
        config = with_manager(invocation, _config_in_force)
    document = effective(config)
    if invocation.json:
        print_document(document)
        return
    origin = [f"# from {file}\n" for file in config.files] or ["# no file: what is installed, with its defaults\n"]
    write("".join(origin) + to_toml(document))


@command.command("schema", short_help="Print the JSON Schema of it.")
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors and checkers."""
    import json

    from apex_llm_cli.extension_tables import described_tables
    from apex_llm_cli.output import write
    from apex_llm_core.config import config_json_schema

    write(json.dumps(config_json_schema(described_tables()), indent=2, ensure_ascii=False) + "\n")


async def _config_in_force(manager: LLMProviderManager) -> Config:
    return manager.config


def effective(config: Config) -> dict[str, Any]:
    """Return *config* as its file would say it, with every default and without secrets.

    Raises:
        ConfigurationError: the table of an extension has unknown keys, or values that do not fit.
    """
    from apex_llm_cli.extension_tables import described_tables
    from apex_llm_cli.masking import masked
    from apex_llm_core.config import settings_from
    from apex_llm_core.converters import unstructure

    document: dict[str, Any] = unstructure(config)
    for not_a_key in ("warnings", "files"):
        del document[not_a_key]
    tables = document.pop("extensions")
    file = config.files[0] if config.files else None
    for name, settings in described_tables(tables).items():
        tables[name] = unstructure(settings_from(config.extensions[name], settings, key=name, file=file))
    shown: dict[str, Any] = masked(document | tables)
    return {name: value for name, value in _without_empty_tables(shown).items() if value not in ([], None)}


def _without_empty_tables(data: Any) -> Any:
    if isinstance(data, list):
        return [_without_empty_tables(item) for item in data]
    if not isinstance(data, dict):
        return data
    pruned = {key: _without_empty_tables(value) for key, value in data.items()}
    return {key: value for key, value in pruned.items() if value != {}}


__all__ = ["command", "effective"]
