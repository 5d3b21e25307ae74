from __future__ import annotations

import json

import pytest
from apex_llm_simulator import example_names, load_example, load_scenario, parse_scenario

from apex_llm_core.errors import ConfigurationError


def refused(tables, file=None):
    with pytest.raises(ConfigurationError) as caught:
        parse_scenario(tables, file=file)
    return caught.value


def test_a_scenario_is_read_from_a_file(tmp_path, tables):
    file = tmp_path / "day.json"
    file.write_text(json.dumps(tables(east={"faults": [{"kind": "outage"}]}, more={"manager": {"max_attempts": 3}})))
    scenario = load_scenario(file)
    assert (scenario.name, scenario.seconds, scenario.seed) == ("test", 300.0, 1)
    assert scenario.config.manager.max_attempts == 3
    assert scenario.config.seed == 1
    assert scenario.providers["east"].faults[0].kind == "outage"


def test_a_real_configuration_needs_no_other_type_and_no_credentials(tables):
    real = {"type": "azure", "auth": {"type": "api_key", "credentials": {"api_key": "env:NONE"}}, "options": {"x": 1}}
    (provider,) = parse_scenario(tables(east=real)).config.providers
    assert (provider.type, provider.auth, dict(provider.options)) == ("simulated", None, {})


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        ({"worklod": []}, "worklod", "unknown table; did you mean 'workload'?"),
        ({"managr": {}}, "managr", "unknown table; did you mean 'manager'?"),
        ({"seed": 3}, "seed", "stands in [scenario]"),
        ({"manager": {"max_atempts": 3}}, "manager.max_atempts", "did you mean 'max_attempts'?"),
        ({"scenario": {"name": "x"}}, "scenario.duration", "is required"),
        ({"scenario": {"name": "x", "duration": "5"}}, "scenario.duration", "must be a duration"),
        ({"scenario": {"name": "x", "duration": "0"}}, "scenario.duration", "longer than nothing"),
        ({"workload": []}, "workload", "is required"),
        ({"workload": [{"model": "m"}]}, "workload[0]", "either 'requests_per_second' or 'concurrency'"),
        ({"workload": [{"model": "n", "concurrency": 1}]}, "workload[0].model", "no provider has it; valid: m"),
        ({"providers": []}, "providers", "at least one"),
        ({"expect": {"max_amplificaton": 1}}, "expect.max_amplificaton", "did you mean 'max_amplification'?"),
        ({"expect": [{"min_share": {"est": 1}}]}, "expect[0].min_share.est", "did you mean 'east'?"),
        ({"expect": [{"window": "6m-7m"}]}, "expect[0].window", "after the end"),
    ],
)
def test_mistakes_are_told_with_their_place(tables, change, key, reason):
    error = refused({**tables(), **change}, file="day.toml")
    assert (error.file, error.key) == ("day.toml", key)
    assert reason in error.reason


@pytest.mark.parametrize(
    ("keys", "key", "reason"),
    [
        ({"wieght": 2}, "wieght", "did you mean 'weight'?"),
        ({"fault": []}, "fault", "did you mean 'faults'?"),
        ({"models": []}, "models", "is required"),
        ({"faults": [{"kind": "outtage"}]}, "faults[0].kind", "did you mean 'outage'?"),
        ({"faults": [{"kind": "brownout"}]}, "faults[0]", "needs a 'factor'"),
        ({"faults": [{"kind": "outage", "windows": ["5m"]}]}, "faults[0].windows", "must be a span"),
        ({"behaviour": {"first_chunk": {"median": 0}}}, "behaviour.first_chunk.median", "above 0"),
        ({"weight": -1}, "weight", "at least 0"),
    ],
)
def test_mistakes_of_a_provider_are_told_with_their_place(tables, keys, key, reason):
    error = refused(tables(west={}, east=keys))
    assert error.key == f"providers[1].{key}"
    assert reason in error.reason


def test_all_mistakes_are_told_at_once(tables):
    error = refused({**tables(east={"wieght": 1, "faults": [{"kind": "x"}]}), "worklod": 1})
    assert error.reason.endswith("(and 2 more)")
    assert len(error.__notes__) == 2


def test_a_model_that_a_route_takes_elsewhere_is_known(tables):
    routes = [{"name": "r", "model": "old-*", "to_model": "m"}]
    scenario = parse_scenario(tables(workload={"model": "old-1"}, more={"routes": routes}))
    assert scenario.workload[0].model == "old-1"


def test_another_seed_is_the_manager_s_too(scenario):
    altered = scenario().altered(seed=9, hours=2)
    assert (altered.seed, altered.config.seed, altered.seconds) == (9, 9, 7200.0)


def test_the_examples_are_those_that_the_project_promises():
    assert example_names() == sorted(
        ["all_dead", "brownout", "cascade_24h", "flapping", "one_dead", "stampede", "throttled"]
    )


@pytest.mark.parametrize("name", example_names())
def test_every_example_is_named_after_its_file_and_says_what_it_shows_and_expects(name):
    example = load_example(name)
    assert example.name == name
    assert example.description.endswith(".")
    assert example.expect


def test_an_unknown_example_names_the_nearest():
    with pytest.raises(ConfigurationError, match="did you mean 'one_dead'"):
        load_example("onedead")
