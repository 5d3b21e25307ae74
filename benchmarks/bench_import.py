"""What importing costs beyond the interpreter's own start: medians of fresh processes, interleaved. Exit code 1 over the bar."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 15
#: Milliseconds that ``import apex_llm_core`` may cost.
BAR = 100.0
STATEMENTS = {
    "interpreter": "pass",
    "apex_llm_core": "import apex_llm_core",
    "the manager, ready to be used": "from apex_llm_core import LLMProviderManager",
    "asyncio, for comparison": "import asyncio",
    "aiohttp, for comparison": "import aiohttp",
}


def start(statement: str, cache: str) -> float:
    # Users import what is compiled already; some machines forbid writing it beside the sources.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
    return (time.perf_counter() - started) * 1e3


def main() -> int:
    seen: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    with tempfile.TemporaryDirectory() as cache:
        for statement in STATEMENTS.values():
            start(statement, cache)
        for _ in range(ROUNDS):
            for name, statement in STATEMENTS.items():
                seen[name].append(start(statement, cache))
    floor = statistics.median(seen["interpreter"])
    beyond = {name: statistics.median(times) - floor for name, times in seen.items()}
    if "--json" in sys.argv:
        print(json.dumps({"interpreter_ms": floor, "beyond_ms": beyond, "bar_ms": BAR}, indent=2))
    else:
        print(f"interpreter alone: {floor:.1f} ms; beyond it:")
        for name, milliseconds in beyond.items():
            if name != "interpreter":
                print(f"  {name:32}{milliseconds:8.1f} ms" + (f"   bar {BAR:g}" if name == "apex_llm_core" else ""))
    return 1 if beyond["apex_llm_core"] > BAR else 0


if __name__ == "__main__":
    sys.exit(main())
