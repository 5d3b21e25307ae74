from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase

import pytest
from apex_llm_gateway.http import HttpError
from apex_llm_gateway.keys import NOBODY, OPEN, Key, KeyRing, new_key
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

ALICE, BOB = "alice-7f3a9c1e5b2d4f60", "bob-0c9d8e7f6a5b4c3d"


def digest(text):
    return hashlib.sha256(text.encode()).digest()


RING = KeyRing([Key(name="alice", digest=digest(ALICE), roles=["user"]), Key(name="bob", digest=digest(BOB))])


def refused(ring, headers):
    with pytest.raises(HttpError) as caught:
        ring.authenticate(CIMultiDict(headers))
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    return caught.value.message


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {ALICE}"},
        {"authorization": f"bearer   {ALICE}  "},
        {"x-api-key": ALICE},
        {"API-Key": ALICE},
        {"Authorization": f"Bearer {ALICE}", "api-key": ALICE, "x-api-key": ALICE},
        {"Authorization": "Basic dXNlcjpwYXNz", "x-api-key": ALICE},
    ],
)
def test_a_key_is_found_wherever_clients_put_it(headers):
    assert RING.authenticate(CIMultiDict(headers)).name == "alice"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": ALICE},
        {"Authorization": f"Basic {ALICE}"},
        {"x-api-key": ""},
    ],
)
def test_without_a_key_one_is_told_where_to_put_it(headers):
    assert "Authorization: Bearer KEY" in refused(RING, headers)


@pytest.mark.parametrize(
    "key",
    [ALICE[:-1], ALICE + "x", ALICE.upper(), f'"{ALICE}"', digest(ALICE).hex(), "\udc80\udcff", "ключ", "\ud800"],
)
def test_an_unknown_key_is_refused_and_not_quoted(key):
    message = refused(RING, {"Authorization": f"Bearer {key}"})
    assert key not in message
    assert "Authorization: Bearer KEY" in message


@pytest.mark.parametrize("second", ["x-api-key", "api-key"])
def test_two_different_keys_are_one_too_many(second):
    assert "several different keys" in refused(RING, {"Authorization": f"Bearer {ALICE}", second: BOB})
    assert "several different keys" in refused(RING, {"x-api-key": ALICE, "api-key": BOB})


@given(st.text(max_size=80))
def test_nothing_else_opens(text):
    if text.strip() not in (ALICE, BOB):
        refused(RING, {"Authorization": f"Bearer {text}", "x-api-key": text})


def test_without_keys_everybody_may_do_everything():
    ring = KeyRing()
    assert ring.open
    for headers in ({}, {"Authorization": "Bearer anything"}):
        assert ring.authenticate(CIMultiDict(headers)) is OPEN
    assert OPEN.roles == {"user", "admin"}
    assert OPEN.admits("any/model", "any")
    assert not RING.open
    assert NOBODY.roles == frozenset()


def test_no_text_and_no_hash_is_shown():
    key = Key(name="alice", digest=digest(ALICE))
    for shown in (repr(key), repr(RING)):
        assert ALICE not in shown
        assert str(digest(ALICE)) not in shown
        assert digest(ALICE).hex() not in shown


class TestAdmits:
    def test_everything_by_default(self):
        assert Key().admits("gpt-4o")
        assert Key().admits("gpt-4o", "azure")

    @pytest.mark.parametrize(
        ("patterns", "model", "provider", "admitted"),
        [
            (("gpt-*",), "gpt-4o", None, True),
            (("gpt-*",), "gpt-4o", "azure", True),
            (("gpt-*",), "claude", None, False),
            (("gpt-*", "claude"), "claude", None, True),
            (("azure/*",), "gpt-4o", "azure", True),
            (("azure/*",), "gpt-4o", "bedrock", False),
            # Without a provider the request may end anywhere.
            (("azure/*",), "gpt-4o", None, False),
            (("azure/*",), "azure/gpt-4o", None, True),
            (("gpt-?",), "gpt-4o", None, False),
            (("GPT-*",), "gpt-4o", None, False),
            ((), "gpt-4o", None, False),
            (("a.b",), "axb", None, False),
            (("gpt-4",), "gpt-4\n", None, False),
        ],
    )
    def test_models(self, patterns, model, provider, admitted):
        assert Key(models=patterns).admits(model, provider) is admitted

    def test_providers(self):
        key = Key(providers=("azure-*",))
        assert key.admits("gpt-4o", "azure-eu")
        assert not key.admits("gpt-4o", "bedrock")
        assert key.admits("gpt-4o")
        assert not Key(providers=()).admits("gpt-4o", "azure")

    @given(st.lists(st.text("ab*?/", max_size=4), max_size=3), st.text("ab/", max_size=4))
    def test_as_fnmatch_has_it(self, patterns, model):
        assert Key(models=tuple(patterns)).admits(model) is any(fnmatchcase(model, pattern) for pattern in patterns)


def test_new_keys_are_long_and_never_the_same():
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(key.startswith("apex-") and len(key) >= 40 for key in made)
