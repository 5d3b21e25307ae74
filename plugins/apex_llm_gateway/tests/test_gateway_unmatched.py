from __future__ import annotations

import pytest
from apex_llm_gateway.keys import Key
from apex_llm_gateway.unmatched import unmatched, warn_of_unmatched

from apex_llm_core.config import parse_config
from apex_llm_core.errors import ConfigurationWarning

ALICE = Key(name="alice-laptop", user="alice", tier="gold", roles=("user", "batch"))
NAMELESS = Key(name="key-2", roles=("user",))
LISTED = {"providers": [{"name": "east", "type": "mock", "models": [{"id": "gpt-4o"}, {"id": "mock-small"}]}]}


def told(document, *keys):
    return dict(unmatched(parse_config({**LISTED, **document}), keys))


def limit(**more):
    return {"limits": [{"name": "l", "requests": 1, **more}]}


def route(**more):
    return {"routes": [{"providers": ["east"], **more}]}


@pytest.mark.parametrize(
    ("document", "place", "words"),
    [
        (limit(scope="key", match="alice-laptp"), "limits[0].match", "did you mean 'alice-laptop'?"),
        (limit(scope="user", match="alise"), "limits[0].match", "did you mean 'alice'?"),
        (limit(scope="user", match="bob*"), "limits[0].match", "no key of [gateway] has the user 'bob*'; valid: alice"),
        (limit(tier="gild"), "limits[0].tier", "did you mean 'gold'?"),
        (route(user="bob"), "routes[0].user", "valid: alice"),
        (route(tier="silver"), "routes[0].tier", "valid: gold"),
        (route(role="bach"), "routes[0].role", "did you mean 'batch'?"),
    ],
)
def test_patterns_that_fit_no_key_are_told_with_what_is_near(document, place, words):
    found = told(document, ALICE, NAMELESS)
    assert [*found] == [place]
    assert words in found[place]


@pytest.mark.parametrize(
    "document",
    [
        limit(scope="key", match="alice-*"),
        limit(scope="key", match="key-?"),
        limit(scope="user", match="alice", tier="g*"),
        limit(scope="user"),
        limit(scope="model", match="gpt-4o"),
        limit(),
        route(user="ali*", tier="gold", role="batch"),
        route(model="anything"),
        {},
    ],
)
def test_those_that_fit_are_not(document):
    assert told(document, ALICE, NAMELESS) == {}


def test_keys_for_what_does_not_exist_are_told():
    key = Key(name="k", providers=("est", "e*"), models=("gtp-4o", "gpt-*", "east/mock-small", "west/*"))
    found = [*unmatched(parse_config(LISTED), [ALICE, key])]
    assert found == [
        ("gateway.api_keys[1].providers", "there is no provider 'est'; did you mean 'east'?"),
        ("gateway.api_keys[1].models", "no enabled provider serves a model 'gtp-4o'; did you mean 'gpt-4o'?"),
        ("gateway.api_keys[1].models", "no enabled provider serves a model 'west/*'; valid: gpt-4o, mock-small"),
    ]


def test_models_that_only_a_provider_knows_are_not_doubted():
    unlisted = {"providers": [*LISTED["providers"], {"name": "all", "type": "mock"}]}
    assert told(unlisted, Key(name="k", models=("anything",))) == {}
    assert [*unmatched(parse_config({}), [Key(name="k", models=("anything",), providers=("any",))])] == []


def test_without_keys_nobody_is_told_apart():
    assert told(limit(scope="user", match="bob")) == {}


def test_the_warning_names_file_and_place():
    config = parse_config({**LISTED, **limit(tier="gild")})
    with pytest.warns(
        ConfigurationWarning, match=r"^apex\.toml: limits\[0\]\.tier: no key of \[gateway\] has the tier 'gild'"
    ):
        warn_of_unmatched(config, [ALICE], file="apex.toml")
