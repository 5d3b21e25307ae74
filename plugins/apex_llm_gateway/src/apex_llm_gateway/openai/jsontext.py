"""Texts as JSON, which is what most of every answer is."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from json.encoder import encode_basestring, encode_basestring_ascii

from apex_llm_core.converters import encode


def standard_quote(text: str) -> bytes:
    """Return *text* as JSON; halves of surrogate pairs, which UTF-8 does not have, are escaped."""
    try:
        return encode_basestring(text).encode()
    except UnicodeEncodeError:
        return encode_basestring_ascii(text).encode()


def fast_quote(dumps: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """Return `standard_quote` by means of orjson's *dumps*, which knows no halves of surrogate pairs."""

    def quote(text: str) -> bytes:
        try:
            return dumps(text)
        except TypeError:
            return standard_quote(text)

    return quote


def _fastest() -> Callable[[str], bytes]:
    try:
        return fast_quote(importlib.import_module("orjson").dumps)
    except ImportError:
        return standard_quote


#: The faster of the two that is there.
quote = _fastest()


def member(name: str, value: object) -> bytes:
    """Return *value* as the JSON member *name*, which needs no escapes."""
    return b'"%b":%b' % (name.encode(), encode(value))


__all__ = ["fast_quote", "member", "quote", "standard_quote"]
