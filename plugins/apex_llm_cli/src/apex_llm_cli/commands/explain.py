"""``apex-llm explain``: where a request would go, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import click

from apex_llm_cli.options import Invocation, given

if TYPE_CHECKING:
    from apex_llm_core.manager import LLMProviderManager
    from apex_llm_core.models.decisions import Consideration, Decision

_STYLES = {"taken": "green", "failed": "red", "passed over": "yellow", "unable": "dim", "not reached": "dim"}
_TITLES = ("rank", "provider", "model", "verdict", "reason", "score", "facts")
#: Live facts in words, with the value that says nothing.
_TELLING: tuple[tuple[str, str, Any], ...] = (
    ("priority", "priority {}", None),
    ("weight", "weight {:g}", 1.0),
    ("weight_factor", "weight times {:.2g}", 1.0),
    ("in_flight", "{} in flight", 0),
    ("latency", "{:.3g} s", None),
    ("time_to_first_chunk", "first chunk {:.3g} s", None),
    ("peak_latency", "peak {:.3g} s", None),
    ("success_rate", "{:.0%} succeed", None),
    ("breaker", "breaker {}", "closed"),
    ("health", "{}", "unknown"),
    ("remaining_requests", "{} requests left", None),
    ("remaining_tokens", "{} tokens left", None),
)


@click.command("explain")
@click.argument("prompt", nargs=-1)
@click.option("-m", "--model", metavar="MODEL", help="The model; default: the configured one.")
@click.option("-p", "--provider", metavar="PROVIDER", help="Serve from this provider only.")
@click.option("--stream", is_flag=True, help="As a streamed request.")
@click.option("--max-tokens", type=int, metavar="N", help="The longest answer.")
@click.option("--user", metavar="USER", help="As a request of this user,")
@click.option("--tier", metavar="TIER", help="of this tier,")
@click.option("--session", metavar="SESSION", help="in this session.")
@click.option(
    "--replay", type=click.File("rb"), metavar="FILE", help="Rank the candidates of a recorded decision again."
)
@click.pass_context
def command(
    context: click.Context,
    /,
    prompt: tuple[str, ...],
    stream: bool,
    user: str | None,
    tier: str | None,
    session: str | None,
    replay: IO[bytes] | None,
    **options: Any,
) -> None:
    """Tell where a chat request would go, and why.

    Nobody is asked. PROMPT is read as by 'chat'; its length may decide. Every candidate is listed with its place, its
    verdict, the parts of its score and what is known of it. Exits with 1 when nobody would be asked.

    --replay FILE takes the record of a decision (of 'explain --json' or of an application), ranks its candidates again by
    the strategy it names, without configuration or network, and exits with 1 when the places are not the same.
    """
    from apex_llm_cli.failures import PROVIDER_FAILED

    invocation: Invocation = context.obj
    if replay is not None:
        others = {"stream": stream, "user": user, "tier": tier, "session": session, **options}
        if prompt or given(others):
            raise click.UsageError(
                "--replay takes the request from its file; leave out the prompt and other options", context
            )
        good = _replay(replay, invocation)
    else:
        decision = _decide(prompt, stream=stream, caller=(user, tier, session), options=options, invocation=invocation)
        _print(decision, invocation)
        good = decision.outcome == "ok"
    if not good:
        context.exit(PROVIDER_FAILED)


def _decide(
    prompt: tuple[str, ...],
    *,
    stream: bool,
    caller: tuple[str | None, str | None, str | None],
    options: Mapping[str, Any],
    invocation: Invocation,
) -> Decision:
    from apex_llm_cli.prompts import read_prompt
    from apex_llm_cli.running import with_manager
    from apex_llm_core.models import Caller

    text = read_prompt(prompt)
    user, tier, session = caller

    async def explain(manager: LLMProviderManager) -> Decision:
        who = Caller(user=user, tier=tier, session=session)
        return manager.explain(text, caller=who, stream=stream, **given(options))

    return with_manager(invocation, explain)


def _print(decision: Decision, invocation: Invocation) -> None:
    from apex_llm_cli.output import print_document, print_table, write

    if invocation.json:
        print_document(decision)
        return
    print_table(_TITLES, [_row(candidate) for candidate in decision.candidates], numbers=("rank",), styles=_STYLES)
    write(summary(decision) + "\n")


def _row(candidate: Consideration) -> tuple[str, ...]:
    return (
        "" if candidate.rank is None else str(candidate.rank),
        candidate.provider,
        candidate.model,
        candidate.verdict.replace("_", " "),
        candidate.reason,
        ", ".join(f"{name.replace('_', ' ')} {_value(part)}" for name, part in candidate.score.items()),
        known(candidate.facts),
    )


def known(facts: Mapping[str, Any]) -> str:
    """Return in words what *facts* say of a candidate, without what goes without saying."""
    told = [(form, facts.get(name), usual) for name, form, usual in _TELLING]
    return ", ".join(form.format(value) for form, value, usual in told if value is not None and value != usual)


def _value(part: Any) -> str:
    if part is None:
        return "unknown"
    return f"{part:.4g}" if isinstance(part, float) else str(part)


def summary(decision: Decision) -> str:
    """Return in one line who would be asked, by whose choice."""
    chosen = next((candidate for candidate in decision.candidates if candidate.verdict == "taken"), None)
    by = f"strategy {decision.strategy}" if decision.strategy else "no strategy"
    if decision.rule is not None:
        by += f", rule {decision.rule!r}"
    tokens = decision.estimated_prompt_tokens
    size = "" if tokens is None else f"; about {tokens} prompt tokens"
    omitted = sum(route.omitted for route in decision.routes)
    more = f"; {omitted} more candidates are not listed" if omitted else ""
    where = "nobody would be asked" if chosen is None else f"{chosen.provider} would be asked for {chosen.model}"
    return f"{where} ({by}{size}{more})"


def _replay(file: IO[bytes], invocation: Invocation) -> bool:
    """Rank the record in *file* again, print both rankings, and return whether they are the same."""
    from apex_llm_cli.output import print_document, print_table, write
    from apex_llm_cli.running import run
    from apex_llm_core.converters import loads, structure
    from apex_llm_core.models.decisions import Decision
    from apex_llm_core.replay import replay_record

    replays = run(replay_record(structure(loads(file.read()), Decision)))
    same = all(each.same for each in replays)
    if invocation.json:
        routes = [
            {
                "model": each.model,
                "strategy": each.strategy,
                "same": each.same,
                "recorded": each.recorded,
                "again": each.again,
            }
            for each in replays
        ]
        print_document({"same": same, "routes": routes})
        return same
    rows = []
    for each in replays:
        for place, pair in enumerate(each.again):
            before = each.recorded[place] if place < len(each.recorded) else None
            rows.append((each.model, each.strategy, str(place + 1), "" if before is None else before[0], pair[0]))
    print_table(("model", "strategy", "rank", "recorded", "again"), rows, numbers=("rank",))
    reached = sum(len(each.recorded) for each in replays)
    write(f"the same: {reached} recorded places\n" if same else "not the same\n")
    return same


__all__ = ["command", "known", "summary"]
