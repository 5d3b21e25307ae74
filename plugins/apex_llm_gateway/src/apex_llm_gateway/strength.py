"""Whether a key can be guessed: too short, copied from an example, or made of words and rows of the keyboard.

No estimate of entropy: what is refused here, nobody made at random, and random keys are not refused.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from string import ascii_letters, digits

#: Characters of the shortest key, and of the longest.
SHORTEST, LONGEST = 16, 512
_FEWEST_DIFFERENT = 6
#: Keys of examples, tutorials and other gateways, and what people write in their place.
_WELL_KNOWN = (
    "sk-1234",
    "sk-12345",
    "sk-123456",
    "sk-1234567890",
    "sk-1234567890abcdef",
    "sk-1234567890abcdefghijklmnopqrstuvwxyz",
    "sk-proj-1234567890",
    "sk-abcdef1234567890",
    "sk-litellm-master-key",
    "sk-no-key-required",
    "sk-placeholder",
    "sk-your-key-here",
    "sk-your-api-key",
    "sk-your-master-key",
    "sk-anything",
    "anything",
    "none",
    "null",
    "empty",
    "ollama",
    "lm-studio",
    "changeme",
    "change-me",
    "change-me-please",
    "please-change-me",
    "changeme-changeme",
    "changemechangeme",
    "replace-me",
    "replace-me-please",
    "test",
    "test-key",
    "test-api-key",
    "testtesttesttest",
    "secret",
    "password",
    "admin",
    "your-api-key",
    "your-api-key-here",
    "your_api_key_here",
    "my-api-key",
    "my-secret-key",
    "insert-your-key-here",
    "api-key-placeholder",
    "0123456789abcdef",
    "0123456789abcdef0123456789abcdef",
    "1234567890abcdef",
    "1234567890123456",
    "12345678901234567890",
    "abcdefghijklmnop",
    "abcdefghijklmnopqrstuvwxyz",
    "deadbeefdeadbeef",
    "deadbeefdeadbeefdeadbeefdeadbeef",
    "correct-horse-battery-staple",
    "correcthorsebatterystaple",
    "qwertyuiopasdfgh",
    "qwertyuiop1234567890",
    "00000000-0000-0000-0000-000000000000",
    "12345678-1234-1234-1234-123456789012",
)
#: Words of which nobody's own key consists.
_PLACEHOLDERS = (
    "changeme|change|replace|placeholder|password|passw0rd|passwort|letmein|welcome|default|example|sample|insert|"
    "please|your|here|todo|foobar|foo|bar|baz|dummy|master|hello|world|iloveyou"
)
#: Words that name a key, and say nothing of the rest.
_LABELS = (
    "testing|test|secret|token|gateway|service|server|client|admin|user|team|company|corp|acme|litellm|portkey|openai|apex|"
    "proj|demo|auth|prod|local|api|key|llm|dev|app|sk|my|the|me"
)
_WORDS = re.compile(rf"(?P<placeholder>{_PLACEHOLDERS})|{_LABELS}")
#: What tells keys of different makers apart, and nothing else.
_PREFIX = re.compile(rf"^(?:{_LABELS})+")
#: Rows in which neighbours follow each other.
_ROWS = ("01234567890", "0123456789abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm", "90abcdef")
_SHORTEST_ROW = 4
_LONGEST_NUMBER = 4


def refusal(key: str) -> str | None:
    """Return why *key* may not be used, None when it may; the reason quotes nothing of it."""
    if len(key) < SHORTEST:
        return f"is shorter than {SHORTEST} characters"
    if len(key) > LONGEST:
        return f"is longer than {LONGEST} characters, so it is likely another file or variable"
    if any(not "!" <= character <= "~" for character in key):
        return "contains a space, a control character or one outside of ASCII, which headers do not carry"
    plain = _plain(key)
    unlabelled = _PREFIX.sub("", plain)
    if plain in _well_known_plain():
        return "is a well-known example"
    if len(set(key.lower())) < _FEWEST_DIFFERENT or any(map(_repeats, (plain, unlabelled))):
        return "repeats the same few characters"
    words, rows, rest = _taken_apart(plain)
    if _says_something(rest):
        return None
    if not words:
        return "is a row of neighbouring characters" if not rest else None
    if "placeholder" in words or (not rows and not rest):
        return "consists of words of examples"
    return None


def is_guessable(key: str) -> bool:
    """Tell whether an acceptable *key* is labels with a row of neighbours or a short number, and deserves a warning."""
    return not _says_something(_taken_apart(_plain(key))[2])


def is_known_digest(digest: bytes) -> bool:
    """Tell whether *digest* is the SHA-256 of a key that everybody tries first."""
    return digest in _known_digests()


def _plain(key: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", key.lower())


def _says_something(rest: str) -> bool:
    """Tell whether what is left without words and rows is more than a year or a number behind a name."""
    return bool(rest) and not (rest.isdigit() and len(rest) <= _LONGEST_NUMBER)


def _repeats(plain: str) -> bool:
    """Tell whether *plain* is a unit shorter than half a key again and again, the last time perhaps not whole."""
    sizes = range(1, min(SHORTEST, len(plain)) // 2 + 1)
    return len(plain) > _LONGEST_NUMBER and any(plain == (plain[:size] * len(plain))[: len(plain)] for size in sizes)


def _taken_apart(plain: str) -> tuple[frozenset[str], bool, str]:
    """Return the kinds of known words in *plain*, whether there are rows, and what is left without both."""
    kinds = frozenset("placeholder" if word["placeholder"] else "label" for word in _WORDS.finditer(plain))
    without_words = _WORDS.sub(" ", plain)
    pieces, rows = [], False
    for piece in without_words.split():
        rest = piece
        while (found := _longest_row(rest)) is not None:
            start, end = found
            rest = f"{rest[:start]} {rest[end:]}"
            rows = True
        pieces.append(rest)
    left = "".join("".join(pieces).split())
    return kinds, rows, left


def _longest_row(text: str) -> tuple[int, int] | None:
    best: tuple[int, int] | None = None
    for start in range(len(text) - _SHORTEST_ROW + 1):
        end = start + _SHORTEST_ROW
        while end <= len(text) and _is_row(text[start:end]):
            if best is None or end - start > best[1] - best[0]:
                best = (start, end)
            end += 1
    return best


def _is_row(text: str) -> bool:
    if " " in text:
        return False
    return len(set(text)) == 1 or any(text in row or text[::-1] in row for row in _ROWS)


@cache
def _well_known_plain() -> frozenset[str]:
    return frozenset(_plain(key) for key in _WELL_KNOWN)


@cache
def _known_digests() -> frozenset[bytes]:
    texts = {"", *_WELL_KNOWN, *(key.upper() for key in _WELL_KNOWN), *(key.capitalize() for key in _WELL_KNOWN)}
    for character in ascii_letters + digits:
        texts.update(character * length for length in (*range(1, 33), 40, 48, 64))
    for row in ("1234567890" * 4, "0123456789" * 4, "abcdefghijklmnopqrstuvwxyz"):
        texts.update(row[:length] for length in range(1, len(row) + 1))
    texts |= {text + "\n" for text in _WELL_KNOWN}
    return frozenset(hashlib.sha256(text.encode()).digest() for text in texts)


__all__ = ["LONGEST", "SHORTEST", "is_guessable", "is_known_digest", "refusal"]
