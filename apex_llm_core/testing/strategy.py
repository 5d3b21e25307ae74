"""What every strategy must do, as a test class to subclass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import isfinite
from random import Random
from types import ModuleType
from typing import Any, ClassVar

import pytest
from hypothesis import given

from apex_llm_core.models import Candidate, HealthState, LiveFacts, Request, Turn
from apex_llm_core.models.candidates import Balance, ScorePart
from apex_llm_core.plugin.discovery import STRATEGIES, discover
from apex_llm_core.plugin.manager import PluginManager
from apex_llm_core.plugin.registrar import PluginRegistrar
from apex_llm_core.plugin.validation import problems
from apex_llm_core.routing.replaying import recorded, replay
from apex_llm_core.testing.examples import REQUESTS, balances, examples, graded, kinds, pools, seeds, sequences
from apex_llm_core.testing.guard import ConformanceBase
from apex_llm_core.testing.recording import facts, record
from apex_llm_core.testing.runtime import FakeRuntime, make_candidate


def _names(ranking: Sequence[Candidate]) -> list[str]:
    return [candidate.provider for candidate in ranking]


def _is_part(value: object) -> bool:
    return value is None or isinstance(value, str) or (isinstance(value, float | int) and isfinite(value))


class StrategyConformance(ConformanceBase):
    """Subclass it as ``class TestMyStrategy(StrategyConformance)`` and give `make_strategy`.

    Switches tell what the strategy claims; the tests of what it does not claim are skipped.
    """

    #: The module with `apex_register`, and the name it registers the strategy under.
    plugin: ClassVar[ModuleType | None] = None
    name: ClassVar[str] = ""

    #: The best candidate wins wherever it stands and whatever the turn. Give a strategy without random exploration.
    scores_candidates: ClassVar[bool] = False
    #: A candidate that is down by every sign is never first while another one is well.
    considers_health: ClassVar[bool] = False
    #: A candidate without prices never stands before one with prices, all else being equal.
    considers_price: ClassVar[bool] = False
    #: Tells the parts of every candidate's score while somebody wants to know them (`Turn.note`), for decision records.
    tells_scores: ClassVar[bool] = False
    #: Goes by nothing in a request but its kind, needs and sizes, so that a ranking can be made again from its record.
    replayable: ClassVar[bool] = True
    #: May leave candidates out; without it, a ranking holds all of them.
    may_exclude: ClassVar[bool] = False

    def make_strategy(self) -> Any:
        """Return a new strategy."""
        raise NotImplementedError

    def make_settings(self, cls: type) -> object:
        """Return the settings for the registered factory; override where they have no defaults."""
        return cls()

    def _rank(
        self,
        request: Request,
        candidates: Sequence[Candidate],
        *,
        sequence: int = 0,
        seed: int = 0,
        strategy: Any = None,
        **turn: Any,
    ) -> list[Candidate]:
        strategy = self.make_strategy() if strategy is None else strategy
        return list(strategy.apex_select(request, candidates, Turn(sequence=sequence, random=Random(seed), **turn)))

    def _check(self, ranking: Sequence[Candidate], candidates: Sequence[Candidate]) -> None:
        given_ids = {id(candidate) for candidate in candidates}
        ranked_ids = [id(candidate) for candidate in ranking]
        assert set(ranked_ids) <= given_ids, "the ranking holds an object that was not among the candidates"
        assert len(set(ranked_ids)) == len(ranked_ids), "the ranking holds a candidate twice"
        assert ranking, "the ranking is empty although there were candidates"
        if not self.may_exclude:
            assert len(ranking) == len(candidates), "the ranking leaves candidates out; claim it with may_exclude"

    def test_hook_has_the_right_form(self) -> None:
        """`apex_select` is there, marked, synchronous, with exactly (request, candidates, turn).

        Troubleshooting: the message says which rule is broken. Write ``@hookimpl def apex_select(self, request,
        candidates, turn)``: no ``async``, no defaults, no keyword-only parameters, and no other attribute that begins
        with ``apex_`` but is no hook.
        """
        strategy = self.make_strategy()
        assert hasattr(strategy, "apex_select"), "apex_select is missing"
        found = problems(strategy)
        assert not found, "; ".join(found)

    def test_registered_factory_makes_the_strategy(self) -> None:
        """`apex_register` offers a factory under the name, and what it makes ranks.

        Troubleshooting: set `plugin` to the module your entry point names and `name` to the entry point's name; the same
        name belongs into ``registrar.strategy(name, ...)``. Settings without defaults need `make_settings`.
        """
        if self.plugin is None:
            pytest.skip("no plugin module to register: set `plugin` and `name`")
        registrar = PluginRegistrar()
        PluginManager().register_module(self.plugin, "under test", registrar, None)
        registration = registrar.get("strategy", self.name)
        assert registration is not None, f"registers {registrar.names('strategy')}; expected {self.name!r}"
        options = None if registration.settings is None else self.make_settings(registration.settings)
        strategy: Any = registration.factory({}, options, FakeRuntime())
        found = problems(strategy)
        assert not found, "; ".join(found)
        candidates = [make_candidate()]
        ranking = self._rank(REQUESTS["chat"], candidates, strategy=strategy)
        assert ranking == candidates, "what the factory made does not rank a single candidate"

    def test_entry_point_leads_to_the_plugin(self) -> None:
        """The installed metadata has an entry point of that name, and it leads to the plugin's module.

        Troubleshooting: ``[project.entry-points."apex_llm.strategies"]`` in your ``pyproject.toml`` needs the line
        ``name = "your_package.plugin"``. After a change there, install the distribution again.
        """
        if self.plugin is None:
            pytest.skip("no plugin module to look for: set `plugin` and `name`")
        source = discover(STRATEGIES).get(self.name)
        assert source is not None, f"no installed distribution has the entry point {self.name!r} in {STRATEGIES}"
        assert source.load() is self.plugin, f"the entry point {self.name!r} names {source.value}"

    @examples
    @given(kind=kinds, candidates=pools, sequence=sequences, seed=seeds)
    def test_ranking_is_made_of_the_candidates(
        self, kind: str, candidates: list[Candidate], sequence: int, seed: int
    ) -> None:
        """A ranking holds the very objects it was given, each at most once, and is never empty.

        Troubleshooting: rank the objects themselves, never copies (``attrs.evolve`` makes one). Leave out only what certainly
        cannot serve, and rank everything when nothing remains: an empty ranking fails the request.
        """
        self._check(self._rank(REQUESTS[kind], candidates, sequence=sequence, seed=seed), candidates)

    @examples
    @given(kind=kinds, candidates=pools, sequence=sequences, seed=seeds)
    def test_ranking_depends_on_its_arguments_only(
        self, kind: str, candidates: list[Candidate], sequence: int, seed: int
    ) -> None:
        """The same request, candidates and turn give the same ranking, whatever was ranked before.

        Troubleshooting: take counters from ``turn.sequence`` and randomness from ``turn.random``; never count in the strategy,
        in a module, or by ``id()``, ``hash()`` or time. Then a dry run changes nothing.
        """
        used = self.make_strategy()
        for other, request in enumerate(REQUESTS.values()):
            self._rank(request, candidates, sequence=other, seed=other, strategy=used)
        expected = self._rank(REQUESTS[kind], candidates, sequence=sequence, seed=seed)
        ranking = self._rank(REQUESTS[kind], candidates, sequence=sequence, seed=seed, strategy=used)
        same = [id(candidate) for candidate in ranking] == [id(candidate) for candidate in expected]
        assert same, f"a used strategy ranks {_names(ranking)}, a new one {_names(expected)}"

    @examples
    @given(kind=kinds, candidates=pools, sequence=sequences, seed=seeds)
    def test_ranking_changes_nothing(self, kind: str, candidates: list[Candidate], sequence: int, seed: int) -> None:
        """Neither the strategy nor the list of candidates nor a candidate's facts are different afterwards.

        Troubleshooting: do not sort or shuffle the list in place, do not write to ``candidate.live`` (the core does), do not set
        attributes of the strategy in `apex_select`.
        """
        strategy = self.make_strategy()
        order = [id(candidate) for candidate in candidates]
        before = facts(strategy), facts(candidates)
        self._rank(REQUESTS[kind], candidates, sequence=sequence, seed=seed, strategy=strategy)
        assert [id(candidate) for candidate in candidates] == order, "the list of candidates was reordered"
        assert facts(candidates) == before[1], "a candidate's facts were changed"
        assert facts(strategy) == before[0], "the strategy keeps something"

    @examples
    @given(kind=kinds, candidates=pools, sequence=sequences, seed=seeds, balance=balances)
    def test_ranking_is_whole_however_load_is_spread(
        self, kind: str, candidates: list[Candidate], sequence: int, seed: int, balance: Balance
    ) -> None:
        """Whatever spreads the load over equals, with and without adaptive weights, the rules of rankings hold.

        Troubleshooting: leave equals to ``turn.shuffle``, ``turn.by_priority`` or ``turn.rank``, and take all they yield.
        """
        for adaptive in (True, False):
            turn: dict[str, Any] = {"balance": balance, "adaptive": adaptive, "now": 1.0, "tokens": 1000}
            self._check(self._rank(REQUESTS[kind], candidates, sequence=sequence, seed=seed, **turn), candidates)

    @examples
    @given(kind=kinds, candidates=pools, sequence=sequences, seed=seeds, balance=balances)
    def test_telling_scores_changes_nothing(
        self, kind: str, candidates: list[Candidate], sequence: int, seed: int, balance: Balance
    ) -> None:
        """The ranking is the same when somebody wants to know what it follows from; what is told are numbers and words.

        Troubleshooting: draw nothing from ``turn.random`` for a note. Call ``turn.note(candidate, cost=...)`` with finite
        numbers, short texts or None for what is unknown. With `tells_scores`, say something of every candidate given.
        """
        turn: dict[str, Any] = {"sequence": sequence, "seed": seed, "balance": balance}
        notes: dict[int, dict[str, ScorePart]] = {}
        silent = self._rank(REQUESTS[kind], candidates, **turn)
        told = self._rank(REQUESTS[kind], candidates, notes=notes, **turn)
        assert list(map(id, told)) == list(map(id, silent)), f"ranks {_names(told)}, and silently {_names(silent)}"
        assert notes.keys() <= {id(candidate) for candidate in candidates}, "notes about others than the candidates"
        for candidate in candidates:
            parts = notes.get(id(candidate), {})
            assert parts or not self.tells_scores, f"says nothing of {candidate.provider}; claimed with tells_scores"
            for name, part in parts.items():
                assert _is_part(part), f"the part {name!r} is {part!r}; expected a finite number, a text or None"

    @examples
    @given(kind=kinds, candidates=pools, sequence=sequences, seed=seeds, balance=balances)
    def test_ranking_can_be_made_again_from_its_record(
        self, kind: str, candidates: list[Candidate], sequence: int, seed: int, balance: Balance
    ) -> None:
        """The record of a decision, written as JSON and read again, leads another instance to the same ranking.

        Troubleshooting: a record holds the facts of candidates, the turn, and of the request its kind, needs, estimated prompt
        tokens, `max_tokens` and `n`. A strategy that goes by more sets `replayable` to False.
        """
        if not self.replayable:
            pytest.skip("does not claim replayable")
        turn: dict[str, Any] = {"sequence": sequence, "balance": balance, "now": 1.0, "tokens": 1000}
        decision = record(self.make_strategy().apex_select, REQUESTS[kind], candidates, seed=seed, **turn)
        again = replay(decision, self.make_strategy().apex_select)
        assert again == recorded(decision), f"recorded {recorded(decision)}, ranked again {again}"

    @pytest.mark.parametrize("kind", sorted(REQUESTS))
    def test_one_candidate_is_its_own_ranking(self, kind: str) -> None:
        """A single candidate is ranked, for every kind of request, however little is known of it.

        Troubleshooting: every fact but the names may be None, and None is unknown: neither zero nor a reason to leave out.
        """
        candidate = make_candidate()
        for pool in ([candidate], (candidate,)):
            assert self._rank(REQUESTS[kind], pool) == [candidate], "a single candidate is not ranked"

    @pytest.mark.parametrize("kind", sorted(REQUESTS))
    @pytest.mark.parametrize("known", [True, False])
    def test_a_thousand_candidates_are_ranked(self, kind: str, known: bool) -> None:
        """A thousand candidates are ranked, known or unknown.

        Troubleshooting: a recursion or a product of all pairs shows here.
        """
        candidates = [graded(position) if known else make_candidate(f"p{position}") for position in range(1000)]
        self._check(self._rank(REQUESTS[kind], candidates, sequence=12_345), candidates)

    def test_the_best_wins_wherever_it_stands(self) -> None:
        """Of candidates that differ in everything, the best one is first in every order and turn.

        Troubleshooting: ties must be ties of scores, not of positions. Explore at random only with a setting that turns it off,
        and turn it off in `make_strategy` of this class.
        """
        if not self.scores_candidates:
            pytest.skip("does not claim scores_candidates")
        candidates = [graded(position) for position in range(7)]
        for seed, (kind, request) in product(range(20), REQUESTS.items()):
            order = Random(seed).sample(candidates, len(candidates))
            assert self._rank(request, order, sequence=seed, seed=seed)[0] is candidates[0], f"{kind}, seed {seed}"

    def test_a_dead_candidate_is_never_first(self) -> None:
        """A candidate whose breaker is open, whose attempts failed and whose health check failed is never first.

        Troubleshooting: read ``live.breaker``, ``live.success_rate`` and ``live.health``, probes of the strategy's own included.
        """
        if not self.considers_health:
            pytest.skip("does not claim considers_health")
        dead = LiveFacts(attempts=50, success_rate=0.0, breaker="open", health=HealthState.UNAVAILABLE, latency=0.001)
        for seed, (kind, request) in product(range(200), REQUESTS.items()):
            candidates = [make_candidate(f"p{position}") for position in range(3)]
            candidates.insert(seed % 4, make_candidate("dead", priority=-1, weight=1000.0, live=dead))
            ranking = self._rank(request, candidates, sequence=seed, seed=seed)
            assert ranking[0].provider != "dead", f"{kind}, seed {seed}"

    def test_an_unknown_price_is_never_cheap(self) -> None:
        """Candidates without prices stand behind all with prices, however dear those are.

        Troubleshooting: an unknown price is None; ``price or 0.0`` makes it free.
        """
        if not self.considers_price:
            pytest.skip("does not claim considers_price")
        for seed, (kind, request) in product(range(20), REQUESTS.items()):
            candidates = [
                make_candidate(f"known {price}", cost_per_input_token=price, cost_per_output_token=price)
                for price in (0.0, 1e-6, 1000.0)
            ] + [make_candidate(f"unknown {position}", priority=-1, weight=1000.0) for position in range(3)]
            order = Random(seed).sample(candidates, len(candidates))
            ranking = self._rank(request, order, sequence=seed, seed=seed)
            known = [candidate.cost_per_input_token is not None for candidate in ranking]
            assert known == sorted(known, reverse=True), f"{kind}, seed {seed}"


__all__ = ["StrategyConformance"]
