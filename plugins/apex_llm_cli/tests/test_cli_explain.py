from __future__ import annotations

import json

import attrs
import pytest
from apex_llm_cli.commands.explain import known, summary
from apex_llm_cli.main import cli
from click.testing import CliRunner

from apex_llm_core.converters import loads, structure
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models.decisions import Consideration, Decision, RankedRoute

CONFIG = """
[manager]
default_model = "large"
selection_strategy = "cost"
strategy_options = { expected_output_tokens = 1000 }

[[routes]]
name = "guests"
model = "large"
tier = "guest"
strategy = "priority"

[[providers]]
name = "reader"
type = "mock"
priority = 2
[[providers.models]]
id = "large"
provider_model_id = "mock-large"
cost_per_input_token = 1e-6
cost_per_output_token = 1e-5

[[providers]]
name = "writer"
type = "mock"
priority = 3
[[providers.models]]
id = "large"
provider_model_id = "mock-large"
cost_per_input_token = 4e-6
cost_per_output_token = 2e-6

[[providers]]
name = "nobody-knows"
type = "mock"
priority = 1
[[providers.models]]
id = "large"
provider_model_id = "unheard-of"
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command line in a directory with a configuration and, beside it, no network."""
    monkeypatch.delenv("APEX_LLM_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG)

    def run(*arguments, config="config.toml", piped=None):
        shared = ["--config", config] if config else []
        return CliRunner().invoke(cli, [*shared, "explain", *arguments], prog_name="apex-llm", input=piped)

    return run


@pytest.fixture
def recorded(run, tmp_path):
    """A recorded decision as data; `write` puts it into a file."""

    def write(document):
        (tmp_path / "decision.json").write_text(json.dumps(document))
        return "decision.json"

    document = json.loads(run("hello", "--json").stdout)
    return document, write


def providers(result):
    return [line.split()[1] for line in result.stdout.splitlines()[1:-1]]


class TestExplain:
    def test_candidates_are_listed_by_rank_with_scores_and_a_summary(self, run):
        result = run("hello", "world")
        assert (result.exit_code, result.stderr) == (0, "")
        assert providers(result) == ["writer", "reader", "nobody-knows"]
        first, second, third = result.stdout.splitlines()[1:-1]
        assert "taken" in first
        assert "cost 0.002" in first
        assert "not reached" in second
        assert "cost unknown" in third
        last = result.stdout.splitlines()[-1]
        assert last.startswith("writer would be asked for large (strategy cost; about ")

    def test_the_length_of_the_prompt_and_of_the_answer_decide(self, run):
        assert providers(run("hello", "--max-tokens", "1", piped="x" * 40_000))[0] == "reader"
        assert providers(run("hello", "--max-tokens", "4000"))[0] == "writer"

    def test_json_is_the_record_without_the_words(self, run):
        result = run("our", "secret", "plans", "--json", "--stream", "--max-tokens", "12")
        decision = structure(loads(result.stdout), Decision)
        assert "secret" not in result.stdout
        assert (decision.dry_run, decision.outcome, decision.stream, decision.max_tokens) == (True, "ok", True, 12)
        assert decision.routes[0].options == {"expected_output_tokens": 1000}
        assert [c.rank for c in decision.candidates] == [1, 2, 3]

    def test_the_caller_decides_about_rules(self, run):
        result = run("hello", "--tier", "guest", "--user", "jane", "--session", "s1")
        assert providers(result)[0] == "nobody-knows"
        assert "strategy priority, rule 'guests'" in result.stdout

    def test_one_provider_may_be_named(self, run):
        assert providers(run("hello", "-p", "reader")) == ["reader"]

    def test_an_unknown_model_is_a_mistake_of_the_caller(self, run):
        result = run("hello", "-m", "lrage")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "did you mean 'large'?" in result.stderr

    def test_nobody_to_ask_is_a_failure(self, run, monkeypatch):
        refused = Decision(request_id="r", operation="chat", model="large", at=0.0, outcome="refused", dry_run=True)
        monkeypatch.setattr(LLMProviderManager, "explain", lambda *_arguments, **_keywords: refused)
        result = run("hello")
        assert result.exit_code == 1
        assert result.stdout.splitlines()[-1] == "nobody would be asked (no strategy)"


class TestReplay:
    def test_a_record_gives_the_same_ranking_without_configuration(self, run, recorded):
        document, write = recorded
        result = run("--replay", write(document), config=None)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.splitlines()[-1] == "the same: 3 recorded places"
        assert [line.split()[2:] for line in result.stdout.splitlines()[1:-1]] == [
            ["1", "writer", "writer"],
            ["2", "reader", "reader"],
            ["3", "nobody-knows", "nobody-knows"],
        ]

    def test_a_configuration_that_is_not_there_is_not_missed(self, run, recorded):
        document, write = recorded
        assert run("--replay", write(document), config="no-such.toml").exit_code == 0

    def test_the_recorded_settings_count(self, run, recorded):
        document, write = recorded
        document["routes"][0]["options"] = {"expected_output_tokens": 0}
        result = run("--replay", write(document), "--json", config=None)
        assert result.exit_code == 1
        told = json.loads(result.stdout)
        assert told["same"] is False
        assert told["routes"][0]["recorded"][0] == ["writer", "large"]
        assert told["routes"][0]["again"][0] == ["reader", "large"]

    def test_the_recorded_facts_count(self, run, recorded):
        document, write = recorded
        writer = next(c for c in document["candidates"] if c["provider"] == "writer")
        writer["facts"]["cost_per_output_token"] = 1.0
        result = run("--replay", write(document), config=None)
        assert result.exit_code == 1
        assert result.stdout.splitlines()[-1] == "not the same"

    def test_a_record_of_which_only_the_first_place_was_asked_for_is_compared_that_far(self, run, recorded):
        document, write = recorded
        for candidate in document["candidates"][1:]:
            candidate["rank"] = None
        assert "the same: 1 recorded places" in run("--replay", write(document), config=None).stdout

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"routes": []}, "holds no ranking"),
            ({"ruotes": []}, "did you mean 'routes'?"),
            ({"at": "noon"}, "at: expected a number"),
            ({"operation": None}, "operation: "),
        ],
    )
    def test_what_is_no_record_is_refused(self, run, recorded, change, complaint):
        document, write = recorded
        result = run("--replay", write(document | change), config=None)
        assert (result.exit_code, result.stdout) == (2, "")
        assert complaint in result.stderr

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"strategy": "csot"}, "routes[0].strategy: no strategy called 'csot' is installed; did you mean 'cost'?"),
            ({"options": {"expected_tokens": 3}}, "routes[0].options.expected_tokens"),
            ({"omitted": 5}, "leaves out 5 candidates"),
        ],
    )
    def test_a_route_that_cannot_be_ranked_is_refused(self, run, recorded, change, complaint):
        document, write = recorded
        document["routes"][0] |= change
        result = run("--replay", write(document), config=None)
        assert (result.exit_code, result.stdout) == (2, "")
        assert complaint in result.stderr

    def test_facts_that_are_none_are_told(self, run, recorded):
        document, write = recorded
        document["candidates"][0]["facts"]["cost_per_input_token"] = "much"
        result = run("--replay", write(document), config=None)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "the record of model 'large' cannot be ranked again: TypeError" in result.stderr

    def test_a_record_may_be_piped_in(self, run, recorded):
        document, _ = recorded
        assert run("--replay", "-", config=None, piped=json.dumps(document)).exit_code == 0
        broken = run("--replay", "-", config=None, piped="{")
        assert broken.exit_code == 2
        assert "not valid JSON" in broken.stderr

    @pytest.mark.parametrize("more", [["hello"], ["-m", "large"], ["--stream"], ["--user", "jane"]])
    def test_it_stands_alone(self, run, recorded, more):
        document, write = recorded
        result = run("--replay", write(document), *more)
        assert result.exit_code == 2
        assert "--replay takes the request from its file" in result.stderr

    def test_a_file_that_is_not_there_is_named(self, run):
        result = run("--replay", "nowhere.json")
        assert result.exit_code == 2
        assert "nowhere.json" in result.stderr


def test_facts_say_nothing_of_what_goes_without_saying():
    usual = {
        "priority": 100,
        "weight": 1.0,
        "weight_factor": 1.0,
        "in_flight": 0,
        "breaker": "closed",
        "health": "unknown",
    }
    assert known(usual | {"latency": None, "tags": ["x"]}) == "priority 100"
    unusual = {
        "priority": 1,
        "weight": 3.0,
        "weight_factor": 0.512,
        "in_flight": 4,
        "latency": 1.23456,
        "success_rate": 0.8,
        "breaker": "open",
        "health": "degraded",
        "remaining_requests": 0,
    }
    assert known(unusual) == (
        "priority 1, weight 3, weight times 0.51, 4 in flight, 1.23 s, 80% succeed, breaker open, degraded, 0 requests left"
    )


def test_the_summary_counts_what_is_not_listed():
    decision = Decision(
        request_id="r",
        operation="chat",
        model="m",
        at=0.0,
        routes=(RankedRoute(model="m", strategy="priority", omitted=984),),
        candidates=(Consideration(provider="p", model="m", rank=1, verdict="taken"),),
    )
    assert summary(decision) == "p would be asked for m (strategy priority; 984 more candidates are not listed)"
    assert "about 12 prompt tokens" in summary(attrs.evolve(decision, estimated_prompt_tokens=12))
