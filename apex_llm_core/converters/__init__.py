"""JSON forms of all data: strict, in snake_case and in the specification's camelCase.

Strict means that nothing is guessed: "false" is no boolean, 2.9 and true are no integers, "nan" is no number, a text is no
list of characters, and a key nobody knows is refused. What does not fit is told with its path
(``messages[2].content[0].tool_call_id``), the reason and the nearest valid name.

Data under free keys (JSON Schemas, `extra`, `metadata`, options) passes through unchanged in both spellings.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from apex_llm_core.converters import jsontext, structuring, unstructuring
from apex_llm_core.converters.jsontext import decode, encode, loads
from apex_llm_core.converters.problems import Problem, StructureError, flatten, place
from apex_llm_core.errors import InvalidRequestError

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")

#: Spellings of the specification that the rule of `camel` does not give.
_IRREGULAR = {"cache_ttl": "cacheTTL"}


def camel(name: str) -> str:
    """Return the specification's spelling of a field: ``max_tokens`` is ``maxTokens``."""
    first, *others = name.split("_")
    return _IRREGULAR.get(name) or first + "".join(word.capitalize() for word in others)


def _no_hook(cls: Any) -> NoReturn:
    raise TypeError(f"{cls} has no JSON form")


@cache
def _converter(camel_case: bool) -> Converter:
    """Build a converter at its first use, so that importing this module does not import cattrs."""
    from cattrs import Converter

    spell = camel if camel_case else str
    converter = Converter(detailed_validation=True, forbid_extra_keys=True, structure_fallback_factory=_no_hook)
    structuring.register(converter, spell)
    unstructuring.register(converter, spell)
    return converter


def structure_strictly(data: Any, cls: type[T], *, camel_case: bool = False) -> T:
    """Like `structure`, with everything that does not fit as one `StructureError`; for callers with their own errors."""
    # A class no JSON fits is its author's mistake, not that of whoever wrote the data.
    hook = _converter(camel_case).get_structure_hook(cls)
    try:
        instance: T = hook(data, cls)
        return instance
    except Exception as error:
        raise StructureError(flatten(error, (), camel if camel_case else str)) from error


def structure(data: Any, cls: type[T], *, camel_case: bool = False, path: str = "") -> T:
    """Build *cls* from JSON data; instances inside *data* are taken as they are.

    Args:
        data: what `loads` returns, or the like.
        cls: an attrs class, or a type made of such, for example ``tuple[ChatMessage, ...]``.
        camel_case: the keys are spelled as in the specification (``maxTokens``).
        path: where *data* stands, for messages, for example ``messages[0]``.

    Raises:
        InvalidRequestError: something does not fit; the message names the path, the reason and the nearest valid name.
        TypeError: *cls* has a field for which there is no JSON.
    """
    try:
        return structure_strictly(data, cls, camel_case=camel_case)
    except StructureError as error:
        first, *others = error.problems
        where = place(first.path, path)
        more = f" (and {len(others)} more)" if others else ""
        raise InvalidRequestError(f"{where}: {first.message}{more}" if where else first.message + more) from error


def unstructure(obj: Any, *, camel_case: bool = False) -> Any:
    """Return *obj* as JSON-safe data: every field, None as null, sets sorted, secrets masked.

    Of an `LLMError` it is what it says to others, never its `original_error`.

    Raises:
        TypeError: something inside has no JSON form.
    """
    return unstructuring.plain(obj, _converter(camel_case))


def dumps(obj: Any, *, camel_case: bool = False) -> str:
    """Return *obj* as compact JSON text; numbers that are not finite become null, as JSON has none.

    Raises:
        TypeError: something inside has no JSON form.
    """
    return jsontext.dumps(unstructure(obj, camel_case=camel_case))


__all__ = [
    "Problem",
    "StructureError",
    "camel",
    "decode",
    "dumps",
    "encode",
    "loads",
    "place",
    "structure",
    "structure_strictly",
    "unstructure",
]
