"""Hooks from data to objects. Nothing is guessed: a value of another JSON kind is refused, never converted."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args, get_origin

import attrs

from apex_llm_core.converters.kinds import is_container, is_literal, is_mapping, is_union
from apex_llm_core.converters.problems import MisfitError, Step, describe, refuse
from apex_llm_core.errors import nearest
from apex_llm_core.redaction import Secret

if TYPE_CHECKING:
    from cattrs import Converter

Hook = Callable[[Any, Any], Any]


def _str(value: Any, cls: Any) -> Any:
    if cls is not str and issubclass(cls, Enum):
        return _enum(value, cls)
    return value if type(value) is str else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        refuse("a string", value)
    # An enumeration's member is a string, too; its own text is meant.
    return str(value.value) if isinstance(value, Enum) else str(value)


def _bool(value: Any, _: Any) -> bool:
    return value if type(value) is bool else refuse("true or false", value)


def _int(value: Any, _: Any) -> int:
    return value if type(value) is int else refuse("a whole number", value)


def _float(value: Any, _: Any) -> float:
    if type(value) is not float and type(value) is not int:
        refuse("a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise MisfitError(f"expected a finite number, not {number}")
    return number


def _enum(value: Any, cls: type[Enum]) -> Enum:
    try:
        return cls(value)
    except ValueError:
        _choice(value, [member.value for member in cls])


def _choice(value: Any, choices: Iterable[Any]) -> NoReturn:
    if not isinstance(value, str):
        refuse(" or ".join(json.dumps(choice) for choice in choices), value)
    shown = value if len(value) <= 40 else f"{value[:40]}…"
    raise MisfitError(f"unknown value {shown!r}{nearest(value, map(str, choices))}")


def _literal_hook(cls: Any, _converter: Converter) -> Hook:
    choices = get_args(cls)
    kinds = {type(choice) for choice in choices}

    def literal(value: Any, _: Any) -> Any:
        if type(value) not in kinds or value not in choices:
            _choice(value, choices)
        return value

    return literal


def _floats_hook(cls: Any, _converter: Converter) -> Hook:
    """Vectors have thousands of numbers; look at their types all at once."""

    def floats(value: Any, _: Any) -> tuple[float, ...]:
        if type(value) not in (list, tuple):
            refuse("a list", value)
        if set(map(type, value)) <= {float}:
            vector = tuple(value)
            # A sum is finite when every number is; else the slow way finds the culprit, or none in a vast sum.
            if math.isfinite(sum(vector)):
                return vector
        return tuple(_each(value, enumerate(value), _float, float, cls))

    return floats


def _each(data: Any, pairs: Iterable[tuple[Step, Any]], hook: Hook, item: Any, cls: Any) -> list[Any]:
    """Structure every value of *pairs*, collecting what does not fit under its position or key."""
    from cattrs.errors import IterableValidationError, IterableValidationNote

    found, errors = [], []
    for step, value in pairs:
        try:
            found.append(hook(value, item))
        except Exception as error:
            error.add_note(IterableValidationNote(f"at {step!r}", step, item))
            errors.append(error)
    if errors:
        raise IterableValidationError(f"while structuring {len(data)} items", errors, cls)
    return found


def _sequence_hook(cls: Any, converter: Converter) -> Hook:
    origin = get_origin(cls) or cls
    build: Callable[[Iterable[Any]], Any] = origin if origin in (tuple, list, frozenset, set) else tuple
    arguments = get_args(cls) or (Any, ...)
    if origin is tuple and Ellipsis not in arguments:
        return _fixed_tuple_hook(cls, converter, arguments)
    item = arguments[0]
    hook = converter.get_structure_hook(item)

    def sequence(value: Any, _: Any) -> Any:
        if type(value) not in (list, tuple) and not isinstance(value, frozenset | set):
            refuse("a list", value)
        return build(_each(value, enumerate(value), hook, item, cls))

    return sequence


def _fixed_tuple_hook(cls: Any, converter: Converter, items: tuple[Any, ...]) -> Hook:
    hooks = [converter.get_structure_hook(item) for item in items]

    def fixed_tuple(value: Any, _: Any) -> tuple[Any, ...]:
        if type(value) not in (list, tuple) or len(value) != len(items):
            refuse(f"a list of {len(items)}", value)
        pairs = enumerate(zip(hooks, items, value, strict=True))
        return tuple(_each(value, pairs, lambda triple, _: triple[0](triple[2], triple[1]), Any, cls))

    return fixed_tuple


def _mapping_hook(cls: Any, converter: Converter) -> Hook:
    _, item = get_args(cls) or (str, Any)
    hook = None if item is Any else converter.get_structure_hook(item)

    def mapping(value: Any, _: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            refuse("an object", value)
        for key in value:
            if not isinstance(key, str):
                raise MisfitError(f"expected keys that are strings, not {describe(key)}")
        if hook is None:
            return value
        return dict(zip(value, _each(value, value.items(), hook, item, cls), strict=True))

    return mapping


def _class_hook(cls: Any, converter: Converter, spell: Callable[[str], str]) -> Hook:
    from cattrs.gen import make_dict_structure_fn, override

    attrs.resolve_types(cls)
    overrides = {}
    for field in attrs.fields(cls):
        check, single = field.metadata.get("check"), field.metadata.get("single")
        hook = _checked(converter.get_structure_hook(field.type), check) if check is not None else None
        if single is not None:
            hook = _or_single(converter.get_structure_hook(field.type), single)
        overrides[field.name] = override(rename=spell(field.name), struct_hook=hook)
    make: Any = make_dict_structure_fn
    build: Hook = make(cls, converter, **overrides)

    def instance(value: Any, _: Any) -> Any:
        if type(value) is cls:
            return value
        if not isinstance(value, Mapping):
            refuse("an object", value)
        return build(value, cls)

    return instance


def _checked(hook: Hook, check: Callable[[Any], None]) -> Hook:
    """Check a value where it is structured, so that every field that does not fit is found, not only the first."""

    def checked(value: Any, cls: Any) -> Any:
        result = hook(value, cls)
        check(result)
        return result

    return checked


def _or_single(hook: Hook, kind: type) -> Hook:
    """Let a lone *kind* stand for a sequence of one; the class itself makes the sequence of it."""

    def structured(value: Any, cls: Any) -> Any:
        return value if type(value) is kind else hook(value, cls)

    return structured


def _union_hook(union: Any, converter: Converter) -> Hook:
    """Choose the member by the kind of the data; classes by their `type`, else by the keys they know."""
    members = [member for member in get_args(union) if member is not types.NoneType]
    nullable = len(members) < len(get_args(union))
    classes = [member for member in members if attrs.has(member)]
    hooks: dict[type, tuple[Hook, Any]] = {}
    for member in members:
        for kind in _kinds(member):
            hooks.setdefault(kind, (converter.get_structure_hook(member), member))
    if len(classes) > 1:
        hooks[dict] = (_classes_hook(classes, converter), union)
    wanted = _alternatives(dict.fromkeys(word for kind in hooks for word in _WORDS.get(kind, ())))

    def union_member(value: Any, _: Any) -> Any:
        if value is None and nullable:
            return None
        kind = type(value)
        found = hooks.get(kind)
        if found is None and (kind in classes or isinstance(value, Mapping)):
            found = hooks.get(dict)
        if found is None:
            if len(members) == 1:
                return converter.get_structure_hook(members[0])(value, members[0])
            refuse(wanted, value)
        hook, member = found
        return hook(value, member)

    return union_member


#: How a message names what JSON can be.
_WORDS = {
    str: ("a string",),
    bool: ("true", "false"),
    int: ("a whole number",),
    float: ("a number",),
    list: ("a list",),
    dict: ("an object",),
}


def _alternatives(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _kinds(member: Any) -> tuple[type, ...]:
    origin = get_origin(member) or member
    if origin is Literal:
        return tuple({type(choice) for choice in get_args(member)})
    if origin is float:
        return (float, int)
    if origin in (bool, int):
        return (origin,)
    if origin in (tuple, list, set, frozenset):
        return (list, tuple)
    if attrs.has(origin) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return (dict,)
    return (str,)


def _classes_hook(classes: list[Any], converter: Converter) -> Hook:
    tags: dict[str, Any] = {}
    for cls in classes:
        attrs.resolve_types(cls)
        tag = attrs.fields_dict(cls).get("type")
        tags.update((choice, cls) for choice in get_args(tag.type if tag is not None else None))

    def tagged(value: Any, _: Any) -> Any:
        if type(value) in classes:
            return value
        tag = value.get("type")
        cls = tags.get(tag) if isinstance(tag, str) else None
        if cls is None:
            reason = (
                "is required" if tag is None else "unknown value" + (f" {tag[:40]!r}" if isinstance(tag, str) else "")
            )
            raise MisfitError(f"{reason}{nearest(str(tag), tags)}", "type")
        return converter.get_structure_hook(cls)(value, cls)

    def widest(value: Any, _: Any) -> Any:
        if type(value) in classes:
            return value
        hooks = [converter.get_structure_hook(cls) for cls in classes]
        for hook, cls in zip(hooks[:-1], classes[:-1], strict=True):
            try:
                return hook(value, cls)
            except Exception:  # noqa: S112 - the last class tells what does not fit
                continue
        return hooks[-1](value, classes[-1])

    return tagged if len(tags) >= len(classes) else widest


def _secret(value: Any, _: Any) -> Secret:
    return value if isinstance(value, Secret) else Secret(_text(value))


def register(converter: Converter, spell: Callable[[str], str]) -> None:
    """Teach *converter* all of them; *spell* gives the keys of the fields."""
    hooks: dict[type, Hook] = {str: _str, bool: _bool, int: _int, float: _float, Secret: _secret}
    for scalar, hook in hooks.items():
        converter.register_structure_hook(scalar, hook)
    converter.register_structure_hook(Path, lambda value, _: Path(_text(value)))
    # cattrs asks the predicate registered last first.
    factory: Any = converter.register_structure_hook_factory
    factory(attrs.has, lambda cls, converter: _class_hook(cls, converter, spell))
    factory(is_union, _union_hook)
    factory(is_mapping, _mapping_hook)
    factory(is_container, _sequence_hook)
    factory(lambda cls: cls == tuple[float, ...], _floats_hook)
    factory(is_literal, _literal_hook)


__all__ = ["register"]
