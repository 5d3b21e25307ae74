"""Query parameters of the control plane, and lists that come in pages."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.errors import invalid

T = TypeVar("T")
#: Makes tokens hold a plus and slashes, which a query must escape; real ones do, too.
_MARK = b"\xfb\xff\xfe"
Query = Mapping[str, str]
#: Most that a page may hold.
LARGEST_PAGE = 1_000
BAD_PAGE = "The provided nextToken is invalid."


def choice(query: Query, name: str, choices: Collection[str], shown: str = "") -> str:
    """Return the parameter *name*, "" without one; *shown* is what errors call it.

    Raises:
        RefusedError: it is none of the *choices*.
    """
    value = query.get(name, "")
    if value and value not in choices:
        constraint = f"Member must satisfy enum value set: [{', '.join(choices)}]"
        raise _violation(shown or name, value, constraint)
    return value


def paged(items: Sequence[T], query: Query, *, page_size: int) -> tuple[list[T], dict[str, str]]:
    """Return one page and the member that leads to the next one, nothing after the last.

    Args:
        items: the whole list. It must be in the same order at every call.
        query: ``maxResults`` and ``nextToken``.
        page_size: how many items a page has when the query does not say; never more.

    Raises:
        RefusedError: the parameters are none.
    """
    size = min(_size(query, page_size), page_size)
    start = _start(query.get("nextToken"), len(items))
    end = start + size
    more = {"nextToken": _token(end)} if end < len(items) else {}
    return list(items[start:end]), more


def _size(query: Query, default: int) -> int:
    given = query.get("maxResults")
    if given is None:
        return default
    size = int(given) if given.isdecimal() else 0
    if size < 1:
        raise _violation("maxResults", given, "Member must have value greater than or equal to 1")
    if size > LARGEST_PAGE:
        raise _violation("maxResults", given, f"Member must have value less than or equal to {LARGEST_PAGE}")
    return size


def _token(place: int) -> str:
    return b64encode(_MARK + str(place).encode()).decode()


def _start(token: str | None, length: int) -> int:
    if token is None:
        return 0
    try:
        decoded = b64decode(token, validate=True)
    except ValueError as error:
        raise invalid(BAD_PAGE) from error
    place = decoded.removeprefix(_MARK)
    if place == decoded or not place.isdigit() or not 0 < int(place) < length:
        raise invalid(BAD_PAGE)
    return int(place)


def _violation(name: str, value: str, constraint: str) -> RefusedError:
    return invalid(
        f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: {constraint}"
    )


__all__ = ["BAD_PAGE", "LARGEST_PAGE", "Query", "choice", "paged"]
