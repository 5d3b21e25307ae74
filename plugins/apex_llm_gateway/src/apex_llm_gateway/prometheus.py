"""Metrics in Prometheus' text format 0.0.4.

Labels are bounded: operations, routes, providers, limits and error types are configured or fixed; models that are not configured
become ``*`` when no provider was asked for them, or after a thousand. Users and keys are no labels.

Where several processes serve, each has its own series, with the label `worker`: in sums, a process that is started anew, or
is too busy to answer, would make counters go back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import attrs

from apex_llm_gateway.histograms import BOUNDS, Histogram
from apex_llm_gateway.snapshots import Snapshot
from apex_llm_gateway.tallies import Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BREAKER_STATES = ("closed", "open", "half_open", "forced_open", "metrics_only", "disabled")
_EDGES = (*map(str, BOUNDS), "+Inf")

Labels = Mapping[str, object]
Value = float | Histogram


@attrs.frozen
class _Family:
    """Samples of one metric."""

    name: str
    kind: str
    told: str
    samples: Iterable[tuple[Labels, Value]]


def render(snapshots: Sequence[Snapshot], *, by_worker: bool = False) -> bytes:
    """Return the metrics of the processes of a gateway, from what they tell; *by_worker* when there may be several."""
    lines: list[str] = []
    # All processes tell of the same metrics in the same order.
    for families in zip(*map(_families, snapshots), strict=True):
        first = families[0]
        lines += (f"# HELP {first.name} {first.told}", f"# TYPE {first.name} {first.kind}")
        for family, snapshot in zip(families, snapshots, strict=True):
            worker = {"worker": snapshot["worker"]["index"]} if by_worker else {}
            for labels, value in family.samples:
                lines += _lines(family.name, _text({**labels, **worker}), value)
    return "\n".join((*lines, "")).encode()


def _families(snapshot: Snapshot) -> Iterator[_Family]:
    yield from _of_requests(snapshot["activity"]["series"])
    yield from _of_routing(snapshot["stats"])
    yield from _of_candidates(snapshot)
    yield from _of_process(snapshot)


def _of_requests(series: Sequence[Mapping[str, Any]]) -> Iterator[_Family]:
    labelled = [({"operation": entry["operation"], **_pair(entry)}, entry) for entry in series]
    yield _Family(
        "apex_llm_requests_total",
        "counter",
        "Requests that ended, by the provider that answered or was tried last.",
        [
            ({**labels, "outcome": outcome}, count)
            for labels, entry in labelled
            for outcome, count in entry["tally"]["outcomes"].items()
        ],
    )
    for name, told, part in (
        ("apex_llm_request_duration_seconds", "Time from a request to its end, streams included.", "duration"),
        ("apex_llm_time_to_first_token_seconds", "Time from a request to its first chunk, for streams.", "first_chunk"),
    ):
        histograms = [(labels, Histogram.merged([entry[part]])) for labels, entry in labelled]
        yield _Family(name, "histogram", told, [sample for sample in histograms if sample[1].count])
    by_pair = sorted(series, key=lambda entry: (entry["provider"] or "", entry["model"]))
    tallies = [
        (labels, Tally.merged(entry["tally"] for entry in entries)) for labels, entries in groupby(by_pair, key=_pair)
    ]
    yield _Family(
        "apex_llm_tokens_total",
        "counter",
        "Tokens by direction; cached_input is the part of input that the provider had in its cache.",
        [
            ({**labels, "direction": direction}, count)
            for labels, tally in tallies
            for direction, count in (
                ("input", tally.prompt_tokens),
                ("output", tally.completion_tokens),
                ("cached_input", tally.cached_tokens),
            )
        ],
    )
    yield _Family(
        "apex_llm_cost_total",
        "counter",
        "Cost of the requests whose price is known, in the currency of the prices.",
        [(labels, tally.cost) for labels, tally in tallies],
    )
    yield _Family(
        "apex_llm_cost_unknown_total",
        "counter",
        "Requests that were answered, or left in the middle, whose cost is not known.",
        [(labels, tally.cost_unknown) for labels, tally in tallies],
    )


def _of_routing(stats: Mapping[str, Any]) -> Iterator[_Family]:
    yield _Family(
        "apex_llm_attempts_total",
        "counter",
        "Upstream calls that ended.",
        [
            ({**_pair(entry), "outcome": outcome}, count)
            for entry in stats["attempts"]
            for outcome, count in entry["outcomes"].items()
        ],
    )
    yield _Family(
        "apex_llm_fallbacks_total",
        "counter",
        "Requests that went on from one provider to another.",
        [
            ({"from_provider": entry["from"], "to_provider": entry["to"], "reason": reason}, count)
            for entry in stats["fallbacks"]
            for reason, count in entry["reasons"].items()
        ],
    )
    yield _Family(
        "apex_llm_hedges_total",
        "counter",
        "Further attempts beside slow ones: started, and how the decided ones ended.",
        [({"result": result}, count) for result, count in stats["hedges"].items()],
    )
    yield _Family(
        "apex_llm_limiter_rejections_total",
        "counter",
        "Requests and candidates that a limit refused.",
        [({"limit": limit}, count) for limit, count in stats["limit_rejections"].items()],
    )
    cache = stats["cache"] or {}
    yield _Family(
        "apex_llm_cache_requests_total",
        "counter",
        "Look-ups in the response cache; a stale hit was told because nobody could answer.",
        [
            ({"result": result}, cache[name])
            for result, name in (("hit", "hits"), ("miss", "misses"), ("stale", "stale_hits"))
            if name in cache
        ],
    )
    yield _Family(
        "apex_llm_retry_budget_left",
        "gauge",
        "Attempts beyond the first that may still be made now.",
        [({}, stats["governor"]["budget_left"])],
    )


def _of_candidates(snapshot: Snapshot) -> Iterator[_Family]:
    yield _Family(
        "apex_llm_circuit_state",
        "gauge",
        "1 for the state of each circuit breaker, 0 for the others.",
        [
            ({**_pair(breaker), "state": state}, int(breaker["state"] == state))
            for breaker in snapshot["breakers"]
            for state in _BREAKER_STATES
        ],
    )
    yield _Family(
        "apex_llm_in_flight_attempts",
        "gauge",
        "Upstream calls under way.",
        [(_pair(candidate), candidate["in_flight"]) for candidate in snapshot["stats"]["candidates"]],
    )


def _of_process(snapshot: Snapshot) -> Iterator[_Family]:
    worker, memory = snapshot["worker"], snapshot["worker"]["memory_bytes"]
    yield _Family("apex_llm_in_flight_requests", "gauge", "Requests to the gateway under way.", [({}, worker["live"])])
    yield _Family(
        "apex_llm_gateway_http_requests_total",
        "counter",
        "Answers of the HTTP server, by documented route; 'none' where there is nothing.",
        [
            ({"route": entry["route"] or "none", "status": entry["status"]}, entry["count"])
            for entry in snapshot["activity"]["answers"]
        ],
    )
    yield _Family("apex_llm_build_info", "gauge", "1, with the version.", [({"version": snapshot["version"]}, 1)])
    yield _Family("process_start_time_seconds", "gauge", "Start, in unix seconds.", [({}, worker["started"])])
    yield _Family("process_resident_memory_bytes", "gauge", "Memory in use.", [] if memory is None else [({}, memory)])


def _pair(entry: Mapping[str, Any]) -> dict[str, object]:
    return {"provider": entry["provider"] or "", "model": entry["model"]}


# -- text --------------------------------------------------------------------------------------------------------------


def _lines(name: str, labels: str, value: Value) -> Iterator[str]:
    if not isinstance(value, Histogram):
        yield f"{name}{{{labels}}} {value}" if labels else f"{name} {value}"
        return
    for edge, count in zip(_EDGES, value.cumulative(), strict=True):
        yield f'{name}_bucket{{{labels},le="{edge}"}} {count}'
    yield f"{name}_sum{{{labels}}} {value.total}"
    yield f"{name}_count{{{labels}}} {value.count}"


def _text(labels: Labels) -> str:
    return ",".join([f'{name}="{_escaped(str(value))}"' for name, value in labels.items()])


def _escaped(value: str) -> str:
    plain = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    # Halves of surrogate pairs, which callers can put into the name of a model, have no UTF-8.
    return plain.encode("utf-8", "replace").decode()


__all__ = ["CONTENT_TYPE", "render"]
