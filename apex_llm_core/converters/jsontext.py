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


@cache
def _encoder(ascii_only: bool) -> json.JSONEncoder:
    return json.JSONEncoder(ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":"))


@cache
def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_no_constant)


def encode(document: Any) -> bytes:
    """Return compact JSON as UTF-8; numbers that are not finite become null, as JSON has none."""
    fast = _orjson()
    if fast is not None:
        try:
            found: bytes = fast.dumps(document)
        except TypeError:
            # Integers beyond 64 bits and halves of surrogate pairs; the standard library writes them.
            pass
        else:
            return found
    try:
        return _encoder(False).encode(document).encode()
    except UnicodeEncodeError:
        return _encoder(True).encode(document).encode()
    except ValueError:
        return _encoder(True).encode(_finite(document)).encode()


def dumps(document: Any) -> str:
    """Return compact JSON text; numbers that are not finite become null, as JSON has none."""
    return str(encode(document), "utf-8")


def _finite(document: Any) -> Any:
    if isinstance(document, float):
        return document if math.isfinite(document) else None
    if isinstance(document, list | tuple):
        return [_finite(item) for item in document]
    if isinstance(document, dict):
        return {key: _finite(item) for key, item in document.items()}
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def decode(text: str | bytes) -> Any:
    """Return the data of a JSON text; bytes are UTF-8.

    Raises:
        ValueError: it is not JSON; NaN and Infinity are not, either.
    """
    fast = _orjson()
    if fast is not None:
        try:
            return fast.loads(text)
        except ValueError:
            # The standard library takes halves of surrogate pairs, and says better what is wrong.
            pass
    try:
        if not isinstance(text, str):
            text = str(text, "utf-8")
        try:
            # Nearly every text is nothing but its document; `decode` looks for space around it, twice.
            document, end = _decoder().raw_decode(text)
        except ValueError:
            end = -1
        return document if end == len(text) else _decoder().decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def loads(text: str | bytes) -> Any:
    """Return the data of a JSON text that a caller or an operator wrote.

    Raises:
        InvalidRequestError: it is not JSON; NaN and Infinity are not, either.
    """
    try:
        return decode(text)
    except ValueError as error:
        raise InvalidRequestError(f"not valid JSON: {error}") from error


__all__ = ["decode", "dumps", "encode", "loads"]
