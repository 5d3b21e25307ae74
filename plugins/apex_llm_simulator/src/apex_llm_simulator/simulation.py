"""Runs a scenario: the real manager, simulated providers, virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from apex_llm_core.config import ProviderConfig
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.testing import FakeClock, run_virtual
from apex_llm_simulator.faults import FaultScript
from apex_llm_simulator.provider import SimulatedProvider, SimulatedProviders
from apex_llm_simulator.recording import Recording
from apex_llm_simulator.scenario import Scenario
from apex_llm_simulator.traffic import Requester, closed_loop, open_loop

Progress = Callable[[float], None]
_STEPS = 100


def simulate(scenario: Scenario, *, progress: Progress | None = None) -> Recording:
    """Run *scenario* and return what happened. Nothing in it takes real time but the work itself.

    Args:
        scenario: what to simulate. The same scenario gives the same recording.
        progress: called with the share of the simulated time that has passed, a hundred times.

    Raises:
        ConfigurationError: the manager cannot work with the scenario's configuration.
        PluginError: a strategy or middleware that it names is broken.
    """
    clock = FakeClock()
    start = clock()

    def elapsed() -> float:
        return clock() - start

    recording = Recording(scenario, elapsed)
    try:
        run_virtual(_run(scenario, recording, clock, elapsed, progress), clock=clock)
    except ExceptionGroup as several:
        # What a plugin did wrong ends the simulation; whoever asked for it expects that error, not a group of one.
        raise _first(several) from several
    return recording


def _first(error: Exception) -> Exception:
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


async def _run(
    scenario: Scenario,
    recording: Recording,
    clock: FakeClock,
    elapsed: Callable[[], float],
    progress: Progress | None,
) -> None:
    def make(config: ProviderConfig) -> SimulatedProvider:
        part = scenario.providers[config.name]
        seed = f"{scenario.seed}/{config.name}"
        return SimulatedProvider(
            config,
            part.behaviour,
            FaultScript(part.faults, seed=seed),
            recording.ledgers[config.name],
            clock=elapsed,
            seed=seed,
        )

    # An empty environment: nothing of this machine gets into a simulation.
    async with LLMProviderManager(
        scenario.config, plugins=[SimulatedProviders(make=make)], clock=clock, environ={}
    ) as manager:
        manager.subscribe("simulation", recording.observe)
        async with asyncio.TaskGroup() as group:
            if progress is not None:
                group.create_task(_tell(progress, scenario.seconds))
            for position, workload in enumerate(scenario.workload):
                seed = f"{scenario.seed}/workload/{position}"
                requester = Requester(workload, manager, seed=seed)
                if workload.concurrency is None:
                    group.create_task(open_loop(requester, workload, scenario.seconds, elapsed, seed=seed))
                else:
                    group.create_task(closed_loop(requester, workload, scenario.seconds, elapsed))


async def _tell(progress: Progress, length: float) -> None:
    for step in range(1, _STEPS + 1):
        await asyncio.sleep(length / _STEPS)
        progress(step / _STEPS)


__all__ = ["Progress", "simulate"]
