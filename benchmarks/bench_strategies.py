"""How long the strategies take to rank a crowd of candidates.

    python benchmarks/bench_strategies.py [--json] [--candidates N] [--repeats N]

A ranking is lazy where it can be, and a request usually takes the first places only: the bars hold for the first
`PLACES`, as many as a request has attempts by default. Full consumption is reported beside them. Every number is the least
of many repeats, in microseconds of one ranking. Exit 1 when a bar is exceeded.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count, islice
from random import Random
from time import perf_counter

from apex_llm_strategy_availability import AvailabilityStrategy
from apex_llm_strategy_cost import CostStrategy
from apex_llm_strategy_feature import FeatureStrategy
from apex_llm_strategy_performance import PerformanceStrategy
from apex_llm_strategy_round_robin import RoundRobinStrategy
from apex_llm_strategy_weighted import WeightedStrategy

from apex_llm_core.models import (
    Candidate,
    ChatGenerationOptions,
    ChatMessage,
    GenerateRequest,
    LiveFacts,
    Turn,
)
from apex_llm_core.routing.selector import PriorityStrategy

#: The default of `max_attempts`.
PLACES = 6
#: Microseconds for 1,000 candidates.
BAR_ORDERED = 300.0
BAR_SCORED = 600.0
BARRED_CANDIDATES = 1000

STRATEGIES = {
    "priority": (PriorityStrategy(), BAR_ORDERED),
    "round_robin": (RoundRobinStrategy(), BAR_ORDERED),
    "weighted": (WeightedStrategy(), BAR_ORDERED),
    "cost": (CostStrategy(), BAR_SCORED),
    "performance": (PerformanceStrategy(), BAR_SCORED),
    "feature": (FeatureStrategy(), BAR_SCORED),
    "availability": (AvailabilityStrategy(), BAR_SCORED),
}


def make_candidates(number: int) -> list[Candidate]:
    """Return candidates that differ in every fact, a third of them in priority groups, some not yet observed."""
    random = Random(42)
    capabilities = ["chat", "stream", "tools", "vision", "json"]
    return [
        Candidate(
            provider=f"provider-{position}",
            model="gpt-4o",
            priority=random.choice((1, 2, 3)),
            weight=float(random.choice((1, 2, 3, 5))),
            capabilities=None if position % 10 == 0 else frozenset(["chat", *random.sample(capabilities, 3)]),
            max_tokens=random.choice((8_192, 128_000, 200_000, 1_000_000)),
            max_output_tokens=random.choice((None, 4_096, 16_384)),
            cost_per_input_token=None if position % 20 == 0 else random.uniform(1e-7, 1e-5),
            cost_per_output_token=random.uniform(1e-7, 3e-5),
            live=LiveFacts(
                in_flight=random.randrange(10),
                attempts=random.randrange(1000),
                latency=None if position % 50 == 0 else random.uniform(0.2, 20.0),
                time_to_first_chunk=random.uniform(0.1, 2.0),
                success_rate=None if position % 50 == 0 else random.uniform(0.8, 1.0),
                breaker=random.choice(("closed", "closed", "closed", "open")),
            ),
        )
        for position in range(number)
    ]


def least_microseconds(rank: Callable[[], Iterable[Candidate]], places: int | None, repeats: int) -> float:
    """Return the shortest time of *repeats* rankings consumed to *places*, None for all."""
    best = float("inf")
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            start = perf_counter()
            deque(islice(rank(), places), maxlen=0)
            best = min(best, perf_counter() - start)
    finally:
        gc.enable()
    return best * 1e6


def measure(number: int, repeats: int) -> list[dict[str, object]]:
    """Return one row per strategy."""
    candidates = make_candidates(number)
    request = GenerateRequest(
        kind="chat",
        messages=(ChatMessage(role="user", content="How many roads must a man walk down? " * 20),),
        model="gpt-4o",
        options=ChatGenerationOptions(max_tokens=500),
    )
    random, sequence = Random(7), count()
    rows: list[dict[str, object]] = []
    for name, (strategy, bar) in STRATEGIES.items():

        def rank(strategy=strategy) -> Iterable[Candidate]:
            return strategy.apex_select(request, candidates, Turn(sequence=next(sequence), random=random))

        first = least_microseconds(rank, PLACES, repeats)
        rows.append(
            {
                "strategy": name,
                "first_places_us": round(first, 1),
                "all_us": round(least_microseconds(rank, None, repeats), 1),
                "bar_us": bar if number == BARRED_CANDIDATES else None,
                "passed": number != BARRED_CANDIDATES or first <= bar,
            }
        )
    return rows


def main() -> int:
    """Print the measurements; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--candidates", type=int, default=BARRED_CANDIDATES, help="bars hold for the default only")
    parser.add_argument("--repeats", type=int, default=400)
    arguments = parser.parse_args()
    if arguments.candidates < 1 or arguments.repeats < 1:
        parser.error("--candidates and --repeats must be at least 1")
    rows = measure(arguments.candidates, arguments.repeats)
    passed = all(row["passed"] for row in rows)
    if arguments.json:
        document = {"candidates": arguments.candidates, "places": PLACES, "strategies": rows, "passed": passed}
        print(json.dumps(document, indent=2))
        return 0 if passed else 1
    print(f"Ranking {arguments.candidates} candidates, least of {arguments.repeats}, microseconds")
    print(f"{'strategy':<14}{f'first {PLACES}':>10}{'all':>10}{'bar':>8}")
    for row in rows:
        bar = "-" if row["bar_us"] is None else f"{row['bar_us']:.0f}"
        verdict = "" if row["passed"] else "  over the bar"
        print(f"{row['strategy']:<14}{row['first_places_us']:>10.1f}{row['all_us']:>10.1f}{bar:>8}{verdict}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
