"""``apex-llm batch``: a file of requests in OpenAI's batch format, answered without losing or repeating a line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from apex_llm_cli.options import Invocation

    from apex_llm_core.manager import LLMProviderManager
    from apex_llm_gateway.batch.journal import Journal
    from apex_llm_gateway.batch.runner import Plan

#: Lines at a time at most; where the pace is found out, so many are tried at first and so many at most.
_MOST = 1000
_AUTO_FIRST = 8
_AUTO_MOST = 256


def _number_or_auto(context: click.Context, parameter: click.Parameter, value: str) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    number = int(value) if value.isdecimal() and len(value) <= len(str(_MOST)) else 0
    if not 1 <= number <= _MOST:
        raise click.BadParameter(f"{value!r} is neither a number from 1 to {_MOST} nor 'auto'", context, parameter)
    return number


@click.command("batch")
@click.argument(
    "source", metavar="IN.jsonl", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="OUT.jsonl",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Gets a record for every line that was answered.",
)
@click.option(
    "--errors",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Gets one for every line that failed; default: OUT.errors.jsonl.",
)
@click.option(
    "--concurrency",
    callback=_number_or_auto,
    default="8",
    show_default=True,
    metavar="N|auto",
    help=f"Lines at a time; auto: more and more, up to {_AUTO_MOST}, until the providers refuse.",
)
@click.option(
    "--attempts",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    metavar="N",
    help="How often a line is tried that fails in a way that may pass.",
)
@click.option(
    "--max-cost", type=click.FloatRange(min=0), metavar="X", help="Stop asking when so much is known to be spent."
)
@click.option("--retry-errors", is_flag=True, help="Ask the lines again that failed in earlier runs.")
@click.option("--overwrite", is_flag=True, help="Begin anew, whatever earlier runs wrote.")
@click.pass_obj
def command(
    invocation: Invocation,
    source: Path,
    output: Path,
    errors: Path | None,
    concurrency: int | Literal["auto"],
    attempts: int,
    max_cost: float | None,
    retry_errors: bool,
    overwrite: bool,
) -> int:
    """Answer every line of a file in OpenAI's batch format.

    The same command goes on where an earlier run was ended, however it was. Lines: {"custom_id", "method": "POST", "url":
    "/v1/chat/completions", "body": {…}}; other URLs: /v1/completions, /v1/embeddings, /v1/images/generations.
    """
    from apex_llm_cli.output import OutputError
    from apex_llm_cli.running import with_manager

    from apex_llm_gateway.batch.journal import Journal, JournalError
    from apex_llm_gateway.batch.runner import Plan

    errors = errors or output.with_suffix(f".errors{output.suffix or '.jsonl'}")
    if len({path.resolve() for path in (source, output, errors)}) < 3:
        raise click.UsageError("the input, the output and the file of errors must be three files")
    if "-" in (str(output), str(errors)):
        raise click.UsageError("a batch goes on from its files, and standard output is none; name one")
    if not source.is_file():
        raise click.UsageError(f"{source}: this can be read once only, and a batch reads it again; save it in a file")
    most, at_first = (_AUTO_MOST, _AUTO_FIRST) if concurrency == "auto" else (concurrency, None)
    plan = Plan(source=source, concurrency=most, at_first=at_first, attempts=attempts, max_cost=max_cost)
    journal = Journal(output, errors, overwrite=overwrite, retry_errors=retry_errors)
    try:
        document = with_manager(invocation, lambda manager: _run(manager, plan, journal))
    except JournalError as error:
        raise click.UsageError(str(error)) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None:
            raise click.UsageError(f"{error.filename}: {error.strerror}") from error
        raise OutputError(f"{error.strerror}; what is finished is kept, and the same command goes on") from error
    _print({**document, "output": str(output), "errors": str(errors)}, as_json=invocation.json)
    return 1 if document["failed"] or document["failed_before"] or document["left"] else 0


async def _run(manager: LLMProviderManager, plan: Plan, journal: Journal) -> dict[str, Any]:
    import asyncio

    try:
        # With a manager that works: --overwrite is not to cost answers because of a configuration that cannot be used.
        await asyncio.to_thread(journal.open)
        return await _answer_all(manager, plan, journal)
    finally:
        journal.close()


async def _answer_all(manager: LLMProviderManager, plan: Plan, journal: Journal) -> dict[str, Any]:
    import asyncio
    import time
    from functools import partial

    from apex_llm_core.models import Caller
    from apex_llm_gateway.batch.lines import Line
    from apex_llm_gateway.batch.progress import progress
    from apex_llm_gateway.batch.runner import Runner, survey
    from apex_llm_gateway.configured import Overrides, settings_of
    from apex_llm_gateway.http import Reply
    from apex_llm_gateway.openai.rules import Rules
    from apex_llm_gateway.operations import answer, placed

    rules = Rules(place=partial(placed, manager), unknown=settings_of(manager.config, Overrides()).unknown_parameters)
    caller = Caller()

    async def ask(line: Line) -> Reply:
        return await answer(manager, line.url, line.body, rules=rules, caller=caller, request_id=line.id)

    # Nothing is asked before all lines fit what is finished.
    tally = await asyncio.to_thread(survey, plan.source, journal.finished)
    manager.subscribe("batch", tally.observe)
    runner = Runner(plan, journal, ask, tally, clock=time.monotonic, tell=partial(click.echo, err=True))
    began = time.monotonic()
    with progress() as show:

        async def watch() -> None:
            while True:
                await asyncio.sleep(show.every)
                show(tally, runner.pace, time.monotonic() - began)

        watching = asyncio.create_task(watch())
        try:
            await runner.run()
        except asyncio.CancelledError:
            left = max(0, tally.lines - tally.done)
            click.echo(f"interrupted with {left:,} lines left; the same command goes on with them", err=True)
            raise
        finally:
            watching.cancel()
    return tally.document(time.monotonic() - began)


def _print(document: dict[str, Any], *, as_json: bool) -> None:
    from apex_llm_cli.output import print_document, print_table

    from apex_llm_gateway.batch.progress import duration

    if as_json:
        print_document(document)
        return
    cost = "unknown" if document["cost"] is None else f"{document['cost']:.6f}"
    if document["cost_unknown"] and document["cost"] is not None:
        cost += f" and {document['cost_unknown']:,} answers of unknown cost"
    rate = [f"{document['lines_per_second']:g} lines/s"] if document["lines_per_second"] else []
    failed = document["failed"] + document["failed_before"]
    rows = [
        ("lines", f"{document['lines']:,}"),
        ("answered", f"{document['succeeded']:,}"),
        *([("finished before", f"{document['skipped']:,}")] if document["skipped"] else []),
        *([("of those failed", f"{document['failed_before']:,}")] if document["failed_before"] else []),
        *((f"failed: {code}", f"{count:,}") for code, count in document["failures"].items()),
        *([("left", f"{document['left']:,}")] if document["left"] else []),
        ("tokens in, out", f"{document['prompt_tokens']:,}, {document['completion_tokens']:,}"),
        ("cost", cost),
        ("time", ", ".join((duration(document["seconds"]), *rate))),
        ("output", document["output"]),
        *([("errors", document["errors"])] if failed else []),
    ]
    print_table(("batch", ""), rows)
    if failed:
        click.echo(f"{failed:,} failed: 'errors' says why, and --retry-errors asks them again", err=True)
    if document["stopped"] == "max_cost":
        click.echo("stopped: --max-cost is reached; the same command with more goes on", err=True)


__all__ = ["command"]
