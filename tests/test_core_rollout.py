from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.assembly.runtime import SharedRuntime
from apex_llm_core.config import FlagConfig
from apex_llm_core.config.secrets import SecretResolver
from apex_llm_core.models import Caller
from apex_llm_core.policies.rollout import Flags, draw, subject_of
from apex_llm_core.redaction import Redactor
from apex_llm_core.testing import FakeRuntime

names = st.text(max_size=12)
subjects = st.text(st.characters(), max_size=12)
percentages = st.floats(0, 100) | st.sampled_from([0.0, 5.0, 99.999, 100.0])
words = st.sampled_from(["", "alice", "bob", "team-a", "gold", "free"])
patterns = st.sampled_from(["alice", "b?b", "team-*", "gold", "*", "g*", "nobody"])
callers = st.builds(
    Caller,
    user=st.none() | words,
    tier=st.none() | words,
    key=st.none() | words,
    session=st.none() | words,
    request_id=st.none() | words,
)
flags = st.booleans() | st.builds(
    FlagConfig,
    enabled=st.booleans(),
    percentage=percentages,
    users=st.lists(patterns, max_size=2).map(tuple),
    tiers=st.lists(patterns, max_size=2).map(tuple),
)


# -- draws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "subject", "expected"),
    [
        ("new-search", "alice", 99.08846051466753),
        ("new-search", "bob", 18.571579445688258),
        ("a", "lice", 41.29206311863527),
        ("al", "ice", 42.8660681315705),
        ("", "", 24.05246152284235),
        ("ü", "\ud800", 88.7756608228301),
    ],
)
def test_a_draw_is_the_same_in_every_process_and_version(name, subject, expected):
    # Another value would move the users of everybody's running roll-outs.
    assert draw(name, subject) == expected


@given(names, subjects)
def test_a_draw_is_a_percentage_below_100(name, subject):
    assert 0 <= draw(name, subject) < 100


def test_the_largest_draw_is_below_100():
    assert (2**40 - 1) * 100 / 2**40 < 100


def test_draws_are_uniform():
    lots = [draw("some-flag", f"user-{number}") for number in range(20_000)]
    for percentage in (1, 5, 20, 50, 90):
        share = sum(lot < percentage for lot in lots) / len(lots)
        deviation = math.sqrt(percentage / 100 * (1 - percentage / 100) / len(lots))
        assert abs(share - percentage / 100) < 4 * deviation


def test_draws_of_two_names_are_independent():
    users = [f"user-{number}" for number in range(20_000)]
    for first, second in (("a", "b"), ("flag-1", "flag-2"), ("route x", "shadow x")):
        both = sum(draw(first, user) < 20 and draw(second, user) < 20 for user in users) / len(users)
        assert abs(both - 0.04) < 4 * math.sqrt(0.04 * 0.96 / len(users))


# -- whom a draw is for ------------------------------------------------------------------------------------------------


def test_the_subject_is_the_session_else_the_user_else_the_key_else_the_request():
    known = {"session": "s", "user": "u", "key": "k", "request_id": "mine"}
    for field, expected in (("session", "s"), ("user", "u"), ("key", "k")):
        assert subject_of(Caller(**known), "r") == expected
        known[field] = "" if field == "user" else None
    assert subject_of(Caller(**known), "r") == "r"
    assert subject_of(Caller(**known)) == "mine"
    assert subject_of(Caller()) == ""


# -- flags -------------------------------------------------------------------------------------------------------------


def expected(name: str, flag: bool | FlagConfig, caller: Caller, request_id: str) -> bool:
    """The sentence of the configuration's documentation, said once more in another way."""
    if isinstance(flag, bool):
        return flag
    tier_fits = flag.tiers == () or True in {fnmatchcase(caller.tier or "", tier) for tier in flag.tiers}
    user_fits = True in {fnmatchcase(caller.user or "", user) for user in flag.users}
    subject = next(filter(None, (caller.session, caller.user, caller.key, request_id, caller.request_id)), None)
    lot = 99.9999 if subject is None else draw(name, subject)
    return flag.enabled and tier_fits and (user_fits or lot < flag.percentage or flag.percentage == 100)


@given(names, flags, callers, words)
def test_a_flag_is_on_for_those_whom_its_table_means(name, flag, caller, request_id):
    assert Flags({name: flag}).on(name, caller, request_id) is expected(name, flag, caller, request_id)


@given(names, callers, words, st.tuples(percentages, percentages).map(sorted), st.data())
def test_whoever_is_in_at_a_percentage_is_in_at_every_higher_one(name, caller, request_id, levels, data):
    rest = {key: data.draw(st.lists(patterns, max_size=2).map(tuple)) for key in ("users", "tiers")}
    low, high = (Flags({name: FlagConfig(percentage=level, **rest)}).on(name, caller, request_id) for level in levels)
    assert high or not low


@given(names, callers, words)
def test_nobody_is_in_at_0_and_everybody_at_100(name, caller, request_id):
    assert not Flags({name: FlagConfig(percentage=0)}).on(name, caller, request_id)
    assert Flags({name: FlagConfig(percentage=100)}).on(name, caller, request_id)


def test_a_draw_that_equals_the_percentage_is_out():
    lot = draw("f", "alice")
    inside = [
        Flags({"f": FlagConfig(percentage=percentage)}).on("f", Caller(user="alice"))
        for percentage in (lot, math.nextafter(lot, 100))
    ]
    assert inside == [False, True]


def test_a_flag_that_is_not_configured_is_off():
    assert not Flags({"other": True}).on("mine", Caller(user="alice"))
    assert not Flags({}).on("", Caller())


def test_a_session_stays_on_one_side_whoever_is_signed_in():
    flags = Flags({"half": FlagConfig(percentage=50)})
    answers = {
        flags.on("half", Caller(session="s-1", user=user, request_id=str(number)))
        for number, user in enumerate((None, "alice", "bob"))
    }
    assert len(answers) == 1


def test_callers_of_whom_nothing_is_known_are_not_drawn_all_at_once():
    flags = Flags({f"flag-{number}": FlagConfig(percentage=99.9) for number in range(50)})
    assert not any(flags.on(name, Caller()) for name in flags.settled)
    # With the ids of their requests they are told apart.
    inside = sum(Flags({"f": FlagConfig(percentage=30)}).on("f", Caller(), f"r-{number}") for number in range(2_000))
    assert 500 < inside < 700


def test_named_users_are_in_at_any_percentage_and_other_tiers_are_out():
    flags = Flags({"f": FlagConfig(percentage=0, users=("team-*",), tiers=("gold", "p?atinum"))})
    answers = {
        (user, tier): flags.on("f", Caller(user=user, tier=tier))
        for user, tier in product(["team-a", "alice"], ["gold", "platinum", "free", None])
    }
    assert {pair for pair, on in answers.items() if on} == {("team-a", "gold"), ("team-a", "platinum")}


def test_a_disabled_flag_is_off_for_its_users_too():
    flag = FlagConfig(enabled=False, percentage=100, users=("alice",))
    assert not Flags({"f": flag}).on("f", Caller(user="alice"))


@given(st.dictionaries(names, flags, max_size=3), callers, words)
def test_settled_flags_are_on_for_everybody(configured, caller, request_id):
    flags = Flags(configured)
    assert set(flags.settled) == set(configured)
    assert all(flags.on(name, caller, request_id) for name, settled in flags.settled.items() if settled)
    # The reverse: a stranger of whom nothing is known shows every condition there is, but for patterns that match "".
    strict = {name for name, flag in configured.items() if "*" not in (getattr(flag, "tiers", ()) or ())}
    strict &= {name for name, flag in configured.items() if "*" not in getattr(flag, "users", ())}
    assert {name for name in strict if flags.on(name, Caller())} == {name for name in strict if flags.settled[name]}


def test_settled_flags_cannot_be_changed():
    with pytest.raises(TypeError):
        Flags({"f": True}).settled["f"] = False


# -- what plugins see --------------------------------------------------------------------------------------------------


def shared(flags: Mapping[str, bool | FlagConfig]) -> SharedRuntime:
    return SharedRuntime(
        http=None,
        open_http=None,
        clock=lambda: 0.0,
        random=Random(0),
        flags=flags,
        emit=lambda _event: None,
        secrets=SecretResolver({}, Redactor()),
    )


@pytest.mark.parametrize("make", [shared, lambda flags: FakeRuntime(flags=flags)], ids=["shared", "fake"])
def test_a_runtime_answers_for_a_caller_and_for_everybody(make):
    runtime = make({"on": True, "off": False, "gold": FlagConfig(tiers=("gold",)), "half": FlagConfig(percentage=50)})
    assert runtime.flags == {"on": True, "off": False, "gold": False, "half": False}
    assert runtime.flag("gold", Caller(tier="gold"))
    assert not runtime.flag("gold", Caller(tier="free"))
    assert not runtime.flag("unknown", Caller())
    for request_id in ("r-1", "r-2", "r-3", "r-4"):
        assert runtime.flag("half", Caller(), request_id) is (draw("half", request_id) < 50)


def test_a_runtime_without_flags():
    assert FakeRuntime().flags == {}
    assert not FakeRuntime().flag("f", Caller(user="alice"))
