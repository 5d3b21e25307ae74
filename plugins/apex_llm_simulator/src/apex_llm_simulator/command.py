"""``apex-llm simulate``: what a configuration would do on a bad day."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from apex_llm_cli.options import Invocation

if TYPE_CHECKING:
    from apex_llm_simulator.recording import Recording
    from apex_llm_simulator.reporting import Report
    from apex_llm_simulator.scenario import Scenario

#: What a file with a scenario may be called.
_SUFFIXES = frozenset({".toml", ".json", ".yaml", ".yml"})


@click.command("simulate")
@click.argument("scenario", required=False)
@click.option("--list", "wants_list", is_flag=True, help="List the scenarios that come with it.")
@click.option("--seed", type=int, metavar="N", help="Another run of the same scenario.")
@click.option(
    "--hours", type=click.FloatRange(min=0, min_open=True), metavar="H", help="Simulate this long, not the whole."
)
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw the providers and what callers got over time.",
)
@click.pass_context
def command(
    context: click.Context,
    scenario: str | None,
    wants_list: bool,
    seed: int | None,
    hours: float | None,
    svg: Path | None,
) -> None:
    """Simulate a SCENARIO: a file, or the name of one that comes with it.

    The real engine serves simulated requests from simulated providers with faults on a script, in virtual time: a day takes
    seconds. Exits with 1 when an expectation of the scenario is missed. --config is not used: a scenario is a configuration.
    """
    invocation: Invocation = context.obj
    if wants_list:
        _print_list(as_json=invocation.json)
        return
    if scenario is None:
        raise click.UsageError("which scenario? give a file, or a name of those that --list shows", context)
    chosen = _find(scenario).altered(seed=seed, hours=hours)
    recording = _run(chosen)
    report = _report(recording)
    if svg is not None:
        _draw(recording, svg, context)
    _print(report, as_json=invocation.json)
    if not report.met:
        from apex_llm_cli.failures import PROVIDER_FAILED

        context.exit(PROVIDER_FAILED)


def _find(scenario: str) -> Scenario:
    from apex_llm_simulator.scenario import load_example, load_scenario

    path = Path(scenario)
    # A name of ours is no path, whatever lies in the working directory.
    if path.suffix.lower() in _SUFFIXES or len(path.parts) > 1:
        return load_scenario(path)
    return load_example(scenario)


def _run(scenario: Scenario) -> Recording:
    """Simulate, and tell on standard error how far it is and what it took."""
    from apex_llm_simulator.durations import in_words
    from apex_llm_simulator.simulation import simulate

    begun = time.perf_counter()
    # Where nobody looks, the bar prints its label alone.
    with click.progressbar(length=100, label=f"{scenario.name}: {in_words(scenario.seconds)}", file=sys.stderr) as bar:
        recording = simulate(scenario, progress=lambda _share: bar.update(1))
    took = time.perf_counter() - begun
    count = len(recording.requests)
    click.echo(f"{count:,} requests in {took:.1f} s, {count / took:,.0f} per second", err=True)
    return recording


def _report(recording: Recording) -> Report:
    from apex_llm_simulator.reporting import report

    return report(recording)


def _draw(recording: Recording, file: Path, context: click.Context) -> None:
    from apex_llm_simulator.plotting import plot

    try:
        file.write_text(plot(recording), "utf-8")
    except OSError as error:
        raise click.UsageError(f"cannot write {str(file)!r}: {error.strerror}", context) from error


def _print(report: Report, *, as_json: bool) -> None:
    from apex_llm_cli.output import print_document, print_table, write

    from apex_llm_simulator import wording

    if as_json:
        print_document(report)
        return
    write("\n".join((*wording.lines(report), "", "")))
    print_table(wording.PROVIDER_COLUMNS, wording.provider_rows(report), numbers=wording.PROVIDER_NUMBERS)
    write("".join(f"{line}\n" for line in wording.provider_lines(report)))
    if report.expectations:
        write("\n")
        print_table(
            wording.EXPECTATION_COLUMNS,
            wording.expectation_rows(report),
            numbers=wording.EXPECTATION_NUMBERS,
            styles=wording.STYLES,
        )


def _print_list(*, as_json: bool) -> None:
    from apex_llm_cli.output import print_document, print_table

    from apex_llm_simulator.durations import in_words
    from apex_llm_simulator.scenario import example_names, load_example

    found = [load_example(name) for name in example_names()]
    if as_json:
        names = ("name", "description", "seconds", "seed")
        print_document({"scenarios": [{name: getattr(scenario, name) for name in names} for scenario in found]})
    else:
        rows = [(scenario.name, in_words(scenario.seconds), scenario.description) for scenario in found]
        print_table(("scenario", "length", "what it shows"), rows)


__all__ = ["command"]
