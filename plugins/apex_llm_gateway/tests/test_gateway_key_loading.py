from __future__ import annotations

import asyncio
import hashlib

import pytest
from apex_llm_gateway.keys import Key, KeyRing, check_open, load_keys, new_key
from apex_llm_gateway.settings import ApiKeySettings, GatewaySettings
from multidict import CIMultiDict

from apex_llm_core.config import EnvSecrets, FileSecrets, SecretResolver
from apex_llm_core.errors import ConfigurationError, ConfigurationWarning
from apex_llm_core.redaction import Redactor

KEYS = {
    "ONE": new_key(),
    "TWO": new_key(),
    "WEAK": "changeme12345678",
    "LABEL": "test-key-0123456789abcdef",
    "EMPTY": "",
}


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def load(*api_keys, file=None):
    schemes = {
        "env": EnvSecrets(KEYS).apex_resolve_secret,
        "file": FileSecrets().apex_resolve_secret,
    }
    resolver = SecretResolver(schemes, Redactor())
    return asyncio.run(load_keys(GatewaySettings(api_keys=api_keys), resolver.resolve, file=file))


def refused(*api_keys, file=None):
    with pytest.raises(ConfigurationError) as caught:
        load(*api_keys, file=file)
    error = caught.value
    while error is not None:
        assert not any(value and value in str(error) for value in KEYS.values())
        error = error.__cause__
    return caught.value


def entry(key="env:ONE", **more):
    return ApiKeySettings(key=key, **more)


def test_references_and_hashes_become_keys(tmp_path):
    (tmp_path / "key").write_text(KEYS["TWO"] + "\n")
    third = new_key()
    ring = load(
        entry(user="alice", tier="gold", roles=("user", "researcher"), models=("gpt-*",), providers=("azure",)),
        entry(f"file:{tmp_path}/key", name="ci", roles=("admin",)),
        ApiKeySettings(key_sha256=sha256(third).upper()),
    )
    alice = ring.authenticate(CIMultiDict({"Authorization": f"Bearer {KEYS['ONE']}"}))
    assert (alice.name, alice.user, alice.tier, alice.roles) == ("alice", "alice", "gold", {"user", "researcher"})
    assert alice.admits("gpt-4o", "azure")
    assert not alice.admits("claude")
    ci = ring.authenticate(CIMultiDict({"x-api-key": KEYS["TWO"]}))
    assert (ci.name, ci.user, ci.roles) == ("ci", None, {"admin"})
    assert ring.authenticate(CIMultiDict({"x-api-key": third})).name == "key-3"


def test_no_keys_are_an_open_ring():
    assert load().open


def test_a_text_is_a_key_with_the_role_user():
    ring = load("env:ONE")
    (key,) = ring.keys
    assert (key.name, key.roles, key.user) == ("key-1", {"user"}, None)


def test_the_text_of_a_key_is_forgotten():
    (key,) = load("env:ONE").keys
    assert key.digest.hex() == sha256(KEYS["ONE"])
    kept = [getattr(key, name) for name in key.__slots__ if hasattr(key, name)]
    assert KEYS["ONE"] not in kept


def test_a_literal_key_is_taken_with_a_warning_that_does_not_show_it():
    with pytest.warns(ConfigurationWarning) as told:
        load(KEYS["ONE"], entry(KEYS["TWO"]), file="apex.toml")
    texts = [str(one.message) for one in told]
    assert texts == [
        f"apex.toml: gateway.api_keys[{place}]: a literal secret in the configuration; keep it elsewhere and write"
        " 'env:NAME' or 'file:PATH'".replace("[1]:", "[1].key:")
        for place in (0, 1)
    ]


def test_a_key_easy_to_guess_is_taken_with_a_warning():
    with pytest.warns(
        ConfigurationWarning, match=r"api_keys\[0\].key: the key is easy to guess; make a random one"
    ) as told:
        load(entry("env:LABEL"))
    assert KEYS["LABEL"] not in str(told[0].message)


class TestRefused:
    @pytest.mark.parametrize(
        ("broken", "key", "reason"),
        [
            (entry("env:WEAK"), "gateway.api_keys[1].key", "the key consists of words of examples; make one"),
            ("env:WEAK", "gateway.api_keys[1]", "the key consists of words of examples; make one"),
            (entry("env:NONE"), "gateway.api_keys[1].key", "the environment variable NONE is not set"),
            (entry("env:EMPTY"), "gateway.api_keys[1].key", "is empty"),
            (entry("file:/no/such/file"), "gateway.api_keys[1].key", "cannot be read"),
            (entry("vault:team/key"), "gateway.api_keys[1].key", "unknown secret scheme"),
            (entry("env:ONE"), "gateway.api_keys[1]", "is the key of gateway.api_keys[0], too"),
            (
                ApiKeySettings(key_sha256=sha256(KEYS["ONE"])),
                "gateway.api_keys[1]",
                "is the key of gateway.api_keys[0], too",
            ),
            (entry("env:TWO", name="first"), "gateway.api_keys[1].name", "gateway.api_keys[0] is named 'first', too"),
            (entry("env:TWO", user="first"), "gateway.api_keys[1].name", "give each key of a user a name"),
            (entry("env:TWO", roles=()), "gateway.api_keys[1].roles", "opens nothing"),
            (entry("env:TWO", roles=("admn",)), "gateway.api_keys[1].roles", "did you mean 'admin'"),
            (entry("env:TWO", name="a\nb"), "gateway.api_keys[1].name", "control character"),
            (entry("env:TWO", user="a\x1b[31m"), "gateway.api_keys[1].user", "control character"),
            (ApiKeySettings(key_sha256="abc"), "gateway.api_keys[1].key_sha256", "64 hexadecimal digits"),
            (ApiKeySettings(key_sha256="g" * 64), "gateway.api_keys[1].key_sha256", "64 hexadecimal digits"),
            (
                ApiKeySettings(key_sha256=sha256("changeme")),
                "gateway.api_keys[1].key_sha256",
                "hash of a well-known key",
            ),
        ],
    )
    def test_with_its_place_and_reason(self, broken, key, reason):
        error = refused(entry(name="first"), broken, file="apex.toml")
        assert (error.file, error.key) == ("apex.toml", key)
        assert reason in error.reason

    @pytest.mark.filterwarnings("ignore:.*a literal secret")
    @pytest.mark.parametrize("key", ["changeme", "sk-1234", "password12345678", "", "a b c d e f g h i j k"])
    def test_a_weak_literal_is_not_shown_either(self, key):
        with pytest.raises(ConfigurationError) as caught:
            load(key)
        assert caught.value.key == "gateway.api_keys[0]"
        assert not key or key not in str(caught.value)


def test_ten_thousand_keys_are_loaded_one_look_each():
    digests = [sha256(f"a-key-of-caller-{number}") for number in range(10_000)]
    ring = load(*(ApiKeySettings(key_sha256=text) for text in digests))
    assert ring.authenticate(CIMultiDict({"x-api-key": "a-key-of-caller-7777"})).name == "key-7778"


class TestCheckOpen:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
    def test_loopback_needs_no_keys(self, host):
        check_open(KeyRing(), host)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.7", "gateway.example"])  # noqa: S104 - nobody listens there
    def test_everything_else_does(self, host):
        with pytest.raises(ConfigurationError, match="without keys everybody") as caught:
            check_open(KeyRing(), host, file="apex.toml")
        assert (caught.value.file, caught.value.key) == ("apex.toml", "gateway.host")
        assert "apex-llm serve --new-key" in str(caught.value)
        check_open(KeyRing([Key(name="a", digest=b"a" * 32)]), host)
