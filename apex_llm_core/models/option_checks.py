"""What the fields of options may hold; every mistake is an `InvalidRequestError` that names the option and the value."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

from apex_llm_core.errors import InvalidRequestError, nearest

#: Parts of names a caller may never pass to a provider, in lower case and without separators: they could redirect a
#: request or its credentials. Budgets such as ``max_tokens`` are none of them.
FORBIDDEN_EXTRA = frozenset(
    {
        *("apibase", "endpoint", "header", "proxy", "url"),
        *("accesskey", "apikey", "authorization", "clientsecret", "credential", "password", "secretkey"),
        *("accesstoken", "apitoken", "authtoken", "bearertoken", "refreshtoken", "securitytoken", "sessiontoken"),
    }
)
#: Names that are forbidden as a whole only: "auth" is a credential, "author" is none.
_FORBIDDEN_WORDS = frozenset({"auth", "authentication", "bearer", "secret", "token"})
_FORBIDDEN = re.compile(f"{'|'.join(sorted(FORBIDDEN_EXTRA))}|^(?:{'|'.join(sorted(_FORBIDDEN_WORDS))})$")
#: The parameter that holds a caller's own labels: its keys are words for a list of requests, not names of parameters.
_LABELS = "metadata"
_SEPARATORS = re.compile(r"[\W_]+")
_SCALARS = frozenset({str, int, float, bool, type(None)})
_LONG_NAME = 64
#: Names, and characters of the place of each, that a message repeats.
_MOST_NAMED = 10
_LONGEST_PLACE = 300


def check_number(options: object, name: str, low: float, high: float = math.inf) -> None:
    """Refuse what is no finite number between *low* and *high*; None is fine."""
    value = getattr(options, name)
    if value is None:
        return
    if type(value) is not int and type(value) is not float:
        raise InvalidRequestError(f"{name} is {value!r}; expected a number")
    if not low <= value <= high or value == math.inf:
        bound = f"at least {low}" if high == math.inf else f"between {low} and {high}"
        raise InvalidRequestError(f"{name} is {value}; expected a finite number of {bound}")


def check_count(options: object, name: str, low: int) -> None:
    """Refuse what is no whole number of at least *low*; None is fine."""
    value = getattr(options, name)
    if value is not None and (type(value) is not int or value < low):
        raise InvalidRequestError(f"{name} is {value!r}; expected a whole number of at least {low}")


def check_whole(options: object, name: str) -> None:
    """Refuse what is no whole number; None is fine."""
    value = getattr(options, name)
    if value is not None and type(value) is not int:
        raise InvalidRequestError(f"{name} is {value!r}; expected a whole number")


def check_flag(options: object, name: str) -> None:
    """Refuse what is no boolean; None is fine where the option may be left out."""
    value = getattr(options, name)
    if type(value) is not bool and not (value is None and name != "no_cache"):
        raise InvalidRequestError(f"{name} is {value!r}; expected True or False")


def check_text(options: object, name: str, what: str = "a string") -> None:
    """Refuse what is no text; None is fine."""
    value = getattr(options, name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequestError(f"{name} is {value!r}; expected {what}")


def check_stop(value: object) -> None:
    """Refuse what is no tuple of texts."""
    if type(value) is not tuple:
        raise InvalidRequestError(f"stop is {value!r}; expected a string or a sequence of strings")
    for position, item in enumerate(value):
        if not isinstance(item, str):
            raise InvalidRequestError(f"stop[{position}] is {item!r}; expected a string")


def check_items(options: object, name: str, kind: type) -> None:
    """Refuse what is no tuple of instances of *kind*; None is fine."""
    value = getattr(options, name)
    if value is None:
        return
    if type(value) is not tuple:
        raise InvalidRequestError(f"{name} is a {type(value).__name__}; expected a sequence of {kind.__name__}")
    for position, item in enumerate(value):
        if not isinstance(item, kind):
            raise InvalidRequestError(f"{name}[{position}] is a {type(item).__name__}; expected {kind.__name__}")


def check_choice(options: object, name: str, kind: type, words: Collection[str], *, other_words: bool = False) -> None:
    """Refuse what is neither an instance of *kind* nor one of *words*; *other_words* allows any text but the empty one."""
    value = getattr(options, name)
    if isinstance(value, kind):
        return
    if not isinstance(value, str):
        raise InvalidRequestError(f"{name} is {value!r}; expected a string or {kind.__name__}")
    if value not in words and not (other_words and value):
        raise InvalidRequestError(f"{name} is {value!r}{nearest(value, words)}")


def check_function_name(name: object) -> None:
    """Refuse what is no text, or an empty one."""
    if not isinstance(name, str) or not name:
        raise InvalidRequestError(f"the name of a function is {name!r}; expected a string that is not empty")


def check_schema(schema: object, what: str) -> None:
    """Refuse what is no mapping; None is fine. *what* begins the message."""
    if schema is not None and not isinstance(schema, Mapping):
        raise InvalidRequestError(f"{what}: expected a JSON Schema as a mapping, not a {type(schema).__name__}")


def check_extra(extra: object) -> None:
    """Refuse what is no mapping with texts as keys, and names of addresses, headers and credentials at any depth.

    Texts of `metadata` may have any names: they are labels, which no provider follows.
    """
    if not isinstance(extra, Mapping):
        raise InvalidRequestError(f"extra is a {type(extra).__name__}; expected a mapping of parameters")
    for key in extra:
        if not isinstance(key, str):
            raise InvalidRequestError(f"extra has the key {key!r}; expected names of parameters as strings")
    if _LABELS in extra and _are_labels(extra[_LABELS]):
        extra = {key: item for key, item in extra.items() if key != _LABELS}
    forbidden = sorted(islice(_forbidden_names(extra), _MOST_NAMED))
    if forbidden:
        raise InvalidRequestError(
            f"extra may not set {', '.join(forbidden)}: addresses, headers and credentials come from the configuration"
        )


def _are_labels(value: object) -> bool:
    return isinstance(value, Mapping) and all(type(key) is type(item) is str for key, item in value.items())


def _forbidden_names(extra: Mapping[str, Any]) -> Iterable[str]:
    # A stack, not recursion: what a caller nested deeply or in a circle must not end in RecursionError. And a stack of
    # iterators: what a caller made long must not be written out a second time, with the place of each item.
    waiting: list[tuple[str | int, Iterator[tuple[str | int, Any]]]] = [("", iter(extra.items()))]
    seen = {id(extra)}
    while waiting:
        for key, item in waiting[-1][1]:
            if isinstance(key, str) and (_is_known_forbidden if len(key) < _LONG_NAME else _is_forbidden)(key):
                yield _place([*(step for step, _ in waiting[1:]), key])
                continue
            if type(item) in _SCALARS or not isinstance(item, Mapping | list | tuple) or not item or id(item) in seen:
                continue
            seen.add(id(item))
            waiting.append((key, iter(item.items() if isinstance(item, Mapping) else enumerate(item))))
            break
        else:
            waiting.pop()


def _place(steps: Iterable[str | int]) -> str:
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
    half = _LONGEST_PLACE // 2
    return place if len(place) <= _LONGEST_PLACE else f"{place[:half]}…{place[-half:]}"


def _is_forbidden(name: str) -> bool:
    return _FORBIDDEN.search(_SEPARATORS.sub("", name).lower()) is not None


#: The same few names come again and again; long ones would fill the memory.
_is_known_forbidden = lru_cache(maxsize=256)(_is_forbidden)


__all__ = [
    "FORBIDDEN_EXTRA",
    "check_choice",
    "check_count",
    "check_extra",
    "check_flag",
    "check_function_name",
    "check_items",
    "check_number",
    "check_schema",
    "check_stop",
    "check_text",
    "check_whole",
]
