"""What a batch did so far: counts, tokens and money."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from apex_llm_core.converters import decode
from apex_llm_core.models.events import RequestFinished
from apex_llm_gateway.http import Reply


@attrs.define(kw_only=True, eq=False)
class Tally:
    """Counts of one run; `cost` is what is known of it, in the currency of the prices."""

    lines: int = 0
    #: Finished by earlier runs, and how many of those failed.
    skipped: int = 0
    failed_before: int = 0
    succeeded: int = 0
    #: Failed lines by the code of their error.
    failures: dict[str, int] = attrs.field(factory=dict)
    retried: int = 0
    #: How often the pace was slowed down.
    slowed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    #: Answers whose cost is not known.
    cost_unknown: int = 0
    #: Why lines were left out: "max_cost" or "interrupted".
    stopped: Literal["max_cost", "interrupted"] | None = None

    @property
    def failed_count(self) -> int:
        """How many lines failed in this run."""
        return sum(self.failures.values())

    @property
    def ended(self) -> int:
        """How many lines this run finished."""
        return self.succeeded + self.failed_count

    @property
    def done(self) -> int:
        """How many lines are finished, those of earlier runs included."""
        return self.skipped + self.ended

    def answered(self, answered: Reply) -> None:
        """Count an answer, good or bad."""
        if answered.status < 400:
            self.succeeded += 1
        else:
            self.failed(_code(answered.body) or str(answered.status))

    def failed(self, code: str) -> None:
        """Count a line that failed."""
        self.failures[code] = self.failures.get(code, 0) + 1

    def observe(self, event: Any) -> None:
        """Take tokens and money from the manager's events: also those of tries that failed."""
        if type(event) is not RequestFinished:
            return
        if event.usage is not None and not event.cached:
            self.prompt_tokens += event.usage.prompt_tokens
            self.completion_tokens += event.usage.completion_tokens
        if event.cost is not None:
            self.cost += event.cost
        elif event.outcome == "ok":
            self.cost_unknown += 1

    def document(self, seconds: float) -> dict[str, Any]:
        """Return the JSON form of a run that took *seconds*."""
        return {
            "lines": self.lines,
            "skipped": self.skipped,
            "succeeded": self.succeeded,
            "failed": self.failed_count,
            "failures": dict(sorted(self.failures.items())),
            "left": max(0, self.lines - self.done),
            "stopped": self.stopped,
            "retried": self.retried,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            # Without the noise of many small sums.
            "cost": float(f"{self.cost:.10g}") if self.cost or not self.cost_unknown else None,
            "cost_unknown": self.cost_unknown,
            "seconds": round(seconds, 3),
            "lines_per_second": round(self.ended / seconds, 2) if seconds > 0 else None,
            "failed_before": self.failed_before,
        }


def _code(body: bytes) -> str | None:
    error = decode(body).get("error") or {}
    code = error.get("code") or error.get("type")
    return code if isinstance(code, str) else None


__all__ = ["Tally"]
