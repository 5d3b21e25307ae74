"""One configuration file: bytes to a table. TOML, JSON, or YAML with the extra."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from apex_llm_core.errors import ConfigurationError, nearest


def read_document(path: Path) -> dict[str, Any]:
    """Read *path*; the suffix tells the format. Blocking.

    Raises:
        ConfigurationError: the file is missing, unreadable, not UTF-8, malformed (with line and column), of unknown format,
            or has no table at its top.
    """
    file = str(path)
    parse = _FORMATS.get(path.suffix.lower())
    if parse is None:
        raise ConfigurationError(
            f"unknown suffix {path.suffix!r} of a configuration file{nearest(path.suffix, _FORMATS)}", file=file
        )
    try:
        # Editors on Windows put a byte order mark in front.
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigurationError("there is no such file", file=file) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"is not UTF-8 text (byte {error.start})", file=file) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"cannot be read: {reason}", file=file) from error
    try:
        # YAML's aliases may make one list of two, or a list of itself.
        document = copy_containers(parse(text))
    except RecursionError as error:
        raise ConfigurationError("is nested too deeply", file=file) from error
    except ValueError as error:
        raise ConfigurationError(str(error), file=file) from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"expected a table at the top, not a {type(document).__name__}", file=file)
    return document


def copy_containers(value: Any) -> Any:
    """Copy tables and lists, so that nobody's later change reaches a configuration in use; what they hold stays."""
    if isinstance(value, Mapping):
        return {key: copy_containers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy_containers(item) for item in value]
    return value


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is not valid TOML: {error}") from error


def _json(text: str) -> Any:
    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"is not valid JSON: the key {key!r} stands twice in one object")
            found[key] = value
        return found

    def constant(name: str) -> NoReturn:
        raise ValueError(f"is not valid JSON: {name} is no number")

    try:
        return json.loads(text, object_pairs_hook=table, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON: {error.msg} (at line {error.lineno}, column {error.colno})") from error


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ValueError('YAML needs an extra: pip install "apex-llm-core[yaml]"') from error
    try:
        document = yaml.load(text, Loader=_yaml_loader())  # noqa: S506 - a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (at line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        raise ValueError(f"is not valid YAML: {error.problem or error.context}{where}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"is not valid YAML: {' '.join(str(error).split())}") from error
    # An empty document is an empty table, as in TOML.
    return {} if document is None else document


@cache
def _yaml_loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Safe, without silently lost keys, and with numbers such as 1e-5 read as in YAML 1.2."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key_node, _ in node.value:
                key = key_node.value
                if isinstance(key, str) and key_node.tag != "tag:yaml.org,2002:merge":
                    if key in seen:
                        raise yaml.constructor.ConstructorError(
                            None, None, f"the key {key!r} stands twice in one mapping", key_node.start_mark
                        )
                    seen.add(key)
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )
    return Loader


_FORMATS: dict[str, Callable[[str], Any]] = {".toml": _toml, ".json": _json, ".yaml": _yaml, ".yml": _yaml}

__all__ = ["copy_containers", "read_document"]
