"""``apex-llm new-plugin``: a distribution to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from apex_llm_cli.options import Invocation
from apex_llm_cli.scaffold import KINDS, Kind, PluginNames, name_owner, name_problem, write_distribution


@click.command("new-plugin")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where to create the distribution's directory; default: here.",
)
@click.pass_obj
def command(invocation: Invocation, kind: Kind, name: str, directory: Path) -> None:
    """Write a distribution to begin a plugin with.

    Package, tests and README work as they stand; change them from there. NAME is what the configuration will say.
    """
    from apex_llm_cli.output import print_document, write

    context = click.get_current_context()
    problem = name_problem(name)
    if problem is not None:
        raise click.UsageError(problem, context)
    names = PluginNames(kind=kind, plugin=name)
    target = directory / names.distribution
    owner = name_owner(names)
    if owner is not None:
        raise click.UsageError(f"the name {name!r} is taken: {owner}", context)
    try:
        files = write_distribution(names, target)
    except FileExistsError as error:
        raise click.UsageError(f"{str(target)!r} exists; nothing was written", context) from error
    except OSError as error:
        raise click.UsageError(f"cannot write {str(target)!r}: {error.strerror}", context) from error

    if invocation.json:
        print_document(
            {
                "kind": kind,
                "name": name,
                "distribution": names.distribution,
                "directory": str(target),
                "files": [str(file.relative_to(target)) for file in files],
            }
        )
        return
    place, with_tests = shlex.quote(str(target)), shlex.quote(f"{target}[test]")
    write(
        f"wrote {names.distribution} to {target}\n"
        f"next: pip install -e {with_tests} && pytest {place} && apex-llm plugins --check\n"
    )


__all__ = ["command"]
