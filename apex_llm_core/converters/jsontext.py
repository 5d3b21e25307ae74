"""JSON text of JSON-safe data; orjson is used when it is there and never needed."""

from __future__ import annotations

import importlib
import json
import math
from functools import cache
from typing import Any, NoReturn

from apex_llm_core.errors import InvalidRequestError


@cache
def _orjson() -> Any:
    try:
        return importlib.import_module("orjson")
    except ImportError:
        return None


def dumps(document: Any) -> str:
    """Return compact JSON text; numbers that are not finite become null, as JSON has none."""
    fast = _orjson()
    if fast is not None:
        try:
            return str(fast.dumps(document), "utf-8")
        except TypeError:
            # Integers beyond 64 bits and halves of surrogate pairs; the standard library writes them.
            pass
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(document, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(document), separators=(",", ":"))
    return text


def _finite(document: Any) -> Any:
    if isinstance(document, float):
        return document if math.isfinite(document) else None
    if isinstance(document, list):
        return [_finite(item) for item in document]
    if isinstance(document, dict):
        return {key: _finite(item) for key, item in document.items()}
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def loads(text: str | bytes) -> Any:
    """Return the data of a JSON text.

    Raises:
        InvalidRequestError: it is not JSON; NaN and Infinity are not, either.
    """
    fast = _orjson()
    if fast is not None:
        try:
            return fast.loads(text)
        except ValueError:
            # The standard library takes halves of surrogate pairs, and says better what is wrong.
            pass
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequestError(f"not valid JSON: {reason}") from error


__all__ = ["dumps", "loads"]
