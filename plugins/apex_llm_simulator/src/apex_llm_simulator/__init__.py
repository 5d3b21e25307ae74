"""Simulated days of a configuration in seconds: the real manager, providers with faults on a script, virtual time.

Names are imported when first used: a command line that only wants its help does not pay for the engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apex_llm_simulator.plotting import plot
    from apex_llm_simulator.recording import Recording
    from apex_llm_simulator.reporting import Report, report
    from apex_llm_simulator.scenario import Scenario, example_names, load_example, load_scenario, parse_scenario
    from apex_llm_simulator.simulation import simulate

_HOMES = {
    "Recording": "recording",
    "Report": "reporting",
    "Scenario": "scenario",
    "example_names": "scenario",
    "load_example": "scenario",
    "load_scenario": "scenario",
    "parse_scenario": "scenario",
    "plot": "plotting",
    "report": "reporting",
    "simulate": "simulation",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


__all__ = [
    "Recording",
    "Report",
    "Scenario",
    "example_names",
    "load_example",
    "load_scenario",
    "parse_scenario",
    "plot",
    "report",
    "simulate",
]
