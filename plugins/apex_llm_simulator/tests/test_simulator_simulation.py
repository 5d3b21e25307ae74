from __future__ import annotations

import subprocess
import sys

import apex_llm_simulator
import pytest
from apex_llm_simulator import parse_scenario, plot, report, simulate
from apex_llm_simulator.traffic import Requester

from apex_llm_core.converters import dumps

#: Blocks what only tests have.
WITHOUT_TEST_TOOLS = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pytest", "hypothesis", "_pytest"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from apex_llm_simulator import load_example, plot, report, simulate

recording = simulate(load_example("one_dead").altered(hours=0.02))
assert report(recording).figures.success_rate == 1.0
assert plot(recording).startswith("<svg")
"""


def outages(*windows):
    return {"faults": [{"kind": "outage", "windows": list(windows)}]}


def test_nothing_goes_wrong_where_nothing_is_wrong(scenario):
    found = report(simulate(scenario(east={}, west={}, workload={"stream_share": 0.5})))
    assert found.figures.success_rate == found.figures.amplification == 1.0
    assert found.figures.requests == sum(provider.calls for provider in found.providers) > 500
    assert set(found.counts.values()) == {0}
    assert found.figures.shares["east"] == pytest.approx(0.5, abs=0.06)


def test_the_manager_s_account_is_what_the_providers_bill_when_nothing_fails(scenario):
    found = report(simulate(scenario(workload={"stream_share": 0.5})))
    assert found.cost_told == pytest.approx(found.cost, abs=1e-5)
    assert found.cost > 0


def test_one_unpriced_model_makes_the_cost_unknown(tables):
    unpriced = {"models": [{"id": "m"}]}
    found = report(simulate(parse_scenario(tables(east={}, west=unpriced))))
    assert found.cost is None
    assert [provider.cost is None for provider in found.providers] == [False, True]


def test_a_dead_provider_loses_nobody_and_is_left_alone(scenario):
    found = report(simulate(scenario(east=outages(), west={}, north={})))
    assert found.figures.failed == 0
    assert found.figures.amplification < 1.1
    assert found.figures.shares["east"] == 0
    east = found.providers[0]
    assert (east.answered, east.cost) == (0, 0.0)
    assert east.opened_at
    assert 0 <= east.opened_at[0] < 60


def test_when_all_are_dead_callers_fail_and_are_answered_again_afterwards(scenario):
    both = outages("1m-2m")
    found = report(
        simulate(
            scenario(
                east=both,
                west=both,
                minutes=6,
                expect=[
                    {"window": "70s-115s", "max_success_rate": 0},
                    {"window": "3m-6m", "max_failed": 0, "min_requests": 300},
                ],
            )
        )
    )
    assert [verdict.met for verdict in found.expectations] == [True] * 3
    assert found.met
    assert found.figures.outcomes["service_unavailable_error"] > 50


def test_a_missed_expectation_is_told(scenario):
    found = report(simulate(scenario(expect={"max_failed": 0, "max_p50": 0.001})))
    assert [verdict.met for verdict in found.expectations] == [True, False]
    assert not found.met


def test_an_expectation_beyond_a_shortened_run_is_neither_met_nor_missed(scenario):
    whole = scenario(expect=[{"window": "4m-5m", "max_p50": 0.001}])
    found = report(simulate(whole.altered(hours=0.05)))
    assert [verdict.met for verdict in found.expectations] == [None]
    assert found.met


def test_the_rest_of_the_configuration_is_in_force(tables):
    more = {"limits": [{"name": "all", "requests": 30, "per": 60.0}]}
    found = report(simulate(parse_scenario(tables(more=more))))
    assert found.figures.succeeded <= 30 * 6
    assert found.counts["limited"] == found.figures.outcomes["rate_limit_error"] > 100


def test_the_same_seed_gives_the_same_and_another_gives_another(scenario):
    def run(seed):
        recording = simulate(scenario(seed=seed, east={"faults": [{"kind": "error", "share": 0.3}]}, west={}))
        return dumps(report(recording)), plot(recording)

    assert run(1) == run(1)
    assert run(1)[0] != run(2)[0]


def test_two_processes_give_the_same_bytes(tmp_path):
    def run(name, hash_seed):
        drawn = tmp_path / name
        start = "from apex_llm_cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", start, "simulate", "flapping", "--hours", "0.12", "--json", "--svg", str(drawn)],
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)},
        )
        return done.stdout, drawn.read_bytes()

    assert run("a.svg", "1") == run("b.svg", "2")


def test_it_works_without_the_tools_of_tests():
    done = subprocess.run([sys.executable, "-c", WITHOUT_TEST_TOOLS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_progress_is_told_a_hundred_times(scenario):
    told = []
    simulate(scenario(), progress=told.append)
    assert told == [step / 100 for step in range(1, 101)]


def test_hanging_calls_do_not_hang_a_simulation(tables):
    hanging = {"faults": [{"kind": "hang"}], "timeout": 0}
    found = report(simulate(parse_scenario(tables(east=hanging, minutes=1, more={"manager": {"deadline": 0}}))))
    assert found.figures.succeeded == 0
    assert found.figures.failed == found.figures.requests > 50


def test_a_defect_ends_the_simulation_as_itself_and_not_in_a_group(scenario, monkeypatch):
    def broken(_self):
        raise ZeroDivisionError

    monkeypatch.setattr(Requester, "draw", broken)
    with pytest.raises(ZeroDivisionError):
        simulate(scenario())


def test_every_name_of_the_package_is_there():
    for name in apex_llm_simulator.__all__:
        found = getattr(apex_llm_simulator, name)
        assert found.__module__.startswith("apex_llm_simulator.")
        assert found.__name__ == name
    with pytest.raises(AttributeError, match="'simulte'"):
        _ = apex_llm_simulator.simulte
