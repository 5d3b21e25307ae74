from __future__ import annotations

import hashlib
import secrets
import string
from random import Random

import pytest
from apex_llm_gateway.keys import new_key
from apex_llm_gateway.strength import LONGEST, SHORTEST, is_guessable, is_known_digest, refusal
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "shorter than 16"),
        ("a1B2c3D4e5F6g7H", "shorter than 16"),
        ("x" * 8 + "abcdefgh" * LONGEST, "longer than 512"),
        ("sk-1234567890abcdef", "well-known"),
        ("your-api-key-here", "well-known"),
        ("Your_API_Key_Here!", "well-known"),
        ("ChangeMe-ChangeMe", "well-known"),
        ("aaaaaaaaaaaaaaaa", "few characters"),
        ("0101010101010101", "few characters"),
        ("hunter2hunter2hunter2", "few characters"),
        ("admin-key-admin-key", "few characters"),
        ("secret-secret-secret", "few characters"),
        ("sk-1234123412341234", "few characters"),
        ("my-team-key-abcabcabc", "few characters"),
        ("qwertyuiopasdfghjkl", "row"),
        ("zyxwvutsrqponmlkjihg", "row"),
        ("0123456789012345", "row"),
        ("0000-1111-2222-3333-4444-5555", "row"),
        ("changeme12345678", "words"),
        ("password12345678", "words"),
        ("my-secret-admin-key", "words"),
        ("litellm-master-key", "words"),
        ("change-me-please-2026", "words"),
        ("please-insert-your-token-here", "words"),
        ("correct horse battery", "a space"),
        ("a1B2c3D4\te5F6g7H8", "a control character"),
        ("schlüssel-7f3a9c1e5b2d", "outside of ASCII"),
    ],
)
def test_what_everybody_guesses_is_refused(key, reason):
    assert reason in refusal(key)
    # The reason is shown to whoever looks over the shoulder.
    assert not key or key not in refusal(key)


@pytest.mark.parametrize(
    "key", ["7f3a9c1e5b2d4f60", "alice-secret-key-0001", "k-alice-7f3a9c1e5b2d4f60", "Tr0ub4dor&3-Tr0ub4dor"]
)
def test_what_somebody_made_is_taken(key):
    assert refusal(key) is None
    assert not is_guessable(key)


@pytest.mark.parametrize(
    "key",
    [
        "test-key-0123456789abcdef",
        "apex-1234567890123456",
        "user-key-abcdefghijkl",
        "sk-qwertyuiopasdfgh",
        "my-gateway-key-1",
        "company-gateway-2026",
        "AcmeCorpGateway1",
        "my-gateway-key-77",
    ],
)
def test_a_label_with_a_row_or_a_number_is_taken_with_a_warning(key):
    assert refusal(key) is None
    assert is_guessable(key)


def test_random_keys_are_taken():
    random = Random(7)
    made = [new_key() for _ in range(200)]
    made += [secrets.token_hex(SHORTEST) for _ in range(200)]
    made += ["".join(random.choices(string.ascii_letters + string.digits, k=SHORTEST)) for _ in range(2000)]
    assert [key for key in made if refusal(key) is not None or is_guessable(key)] == []


@given(st.text(max_size=40))
def test_any_text_has_an_answer(key):
    reason = refusal(key)
    if reason is None:
        assert key.isascii()
        assert key.isprintable()
        assert " " not in key
        assert SHORTEST <= len(key) <= LONGEST


@pytest.mark.parametrize(
    "key",
    ["", "test", "changeme", "CHANGEME", "password", "sk-1234", "a" * 16, "1" * 32, "12345678", "0123456789abcdef"],
)
def test_hashes_of_well_known_keys_are_known(key):
    assert is_known_digest(hashlib.sha256(key.encode()).digest())


def test_hashes_of_other_keys_are_not():
    assert not is_known_digest(hashlib.sha256(new_key().encode()).digest())
