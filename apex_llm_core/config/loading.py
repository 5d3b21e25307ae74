"""From a file, or a dict in code, to a `Config`: sources, overlays, and everything found told at once."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import attrs

from apex_llm_core.config.checks import check_config, check_provider
from apex_llm_core.config.findings import Findings
from apex_llm_core.config.overlays import Document
from apex_llm_core.config.reading import copy_containers, read_document
from apex_llm_core.config.schema import Config, FlagConfig, ProviderConfig
from apex_llm_core.converters import Problem, StructureError, structure_strictly
from apex_llm_core.errors import ConfigurationError, nearest

CONFIG_VARIABLE = "APEX_LLM_CONFIG"
ENVIRONMENT_VARIABLE = "APEX_LLM_ENV"

#: Fields of `Config` that are no tables of a file.
_NO_TABLES = frozenset({"extensions", "warnings", "files"})
TABLES = frozenset(field.name for field in attrs.fields(Config)) - _NO_TABLES
#: Tables that are known of, with what makes them usable.
_ABSENT = {
    "gateway": "the gateway is not installed: pip install apex-llm-gateway",
}


def load_config(
    path: str | Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    extensions: Collection[str] = (),
) -> Config | None:
    """Read the configuration. Blocking; call it in a thread from asynchronous code.

    Args:
        path: the file (TOML, JSON or YAML); None takes the one that ``APEX_LLM_CONFIG`` names. With ``APEX_LLM_ENV`` set,
            ``NAME.ENV.SUFFIX`` beside ``NAME.SUFFIX`` is laid over it.
        environ: where the two variables are looked up.
        extensions: names of installed extensions, which may have a table of their own.

    Returns:
        The configuration; None when neither *path* nor ``APEX_LLM_CONFIG`` names a file.

    Raises:
        ConfigurationError: names the file, the key's path, the reason and the nearest valid name. Further problems are its
            notes (``__notes__``).
    """
    file = _source(path, environ)
    if file is None:
        return None
    if path is None and not file.exists():
        raise ConfigurationError(f"there is no such file, which {CONFIG_VARIABLE} names", file=str(file))
    document = Document.of(read_document(file), str(file))
    files = [str(file)]
    environment = environ.get(ENVIRONMENT_VARIABLE, "")
    overlay = _overlay(file, environment)
    if overlay is not None and _in_use(overlay, file, environment):
        document = document.overlaid(read_document(overlay), str(overlay))
        files.append(str(overlay))
    return _config(document, tuple(files), extensions)


def watched_files(path: str | Path | None = None, *, environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return the files whose changes `load_config` would see: the overlay also while there is none. Touches no disk.

    Args:
        path: as for `load_config`; None takes what ``APEX_LLM_CONFIG`` names, and is no file when it names none.
        environ: as for `load_config`.

    Raises:
        ConfigurationError: ``APEX_LLM_ENV`` is no word.
    """
    file = _source(path, environ)
    if file is None:
        return ()
    overlay = _overlay(file, environ.get(ENVIRONMENT_VARIABLE, ""))
    return (file,) if overlay is None else (file, overlay)


def parse_config(mapping: Mapping[str, Any], *, file: str | None = None, extensions: Collection[str] = ()) -> Config:
    """Make a `Config` of a table that was read already or written in code.

    Args:
        mapping: the tables by name, as in a file; later changes to it have no effect.
        file: where it came from, for messages.
        extensions: names of installed extensions, which may have a table of their own.

    Raises:
        ConfigurationError: as for `load_config`.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigurationError(f"expected a table at the top, not a {type(mapping).__name__}", file=file)
    document = Document.of(copy_containers(mapping), file)
    return _config(document, () if file is None else (file,), extensions)


def parse_provider(
    provider: Mapping[str, Any] | ProviderConfig, *, file: str | None = None
) -> tuple[ProviderConfig, tuple[str, ...]]:
    """Make a `ProviderConfig` of one table, for providers registered at run time; also return its warnings.

    Raises:
        ConfigurationError: as for `load_config`.
    """
    document = Document.of({}, file)
    findings = Findings()
    try:
        config = structure_strictly(copy_containers(_as_table(provider)), ProviderConfig)
    except StructureError as error:
        raise document.error(error.problems) from error
    config = check_provider(config, (), findings)
    if findings.problems:
        raise document.error(findings.problems)
    return config, tuple(map(document.sentence, findings.notices))


def checked_config(config: Config) -> Config:
    """Check a `Config` made in code as a file would be: types, relations, addresses, literal secrets. Twice is harmless.

    Raises:
        ConfigurationError: as for `load_config`.
    """
    document = Document.of({}, None)
    findings = Findings()
    try:
        checked = check_config(structure_strictly(_as_table(config), Config), findings)
    except StructureError as error:
        raise document.error(error.problems) from error
    if findings.problems:
        raise document.error(findings.problems)
    if config.files:
        # Loading told the same, with the file.
        return checked
    warnings = dict.fromkeys((*config.warnings, *map(document.sentence, findings.notices)))
    return attrs.evolve(checked, warnings=tuple(warnings))


def _as_table(value: Any) -> Any:
    """Take the classes of the schema apart, which check no types themselves; free tables stay as they are."""
    if attrs.has(type(value)):
        return {field.name: _as_table(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, list | tuple):
        return [_as_table(item) for item in value]
    if isinstance(value, Mapping) and any(isinstance(item, FlagConfig) for item in value.values()):
        return {key: _as_table(item) for key, item in value.items()}
    return value


def _source(path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    chosen = os.fspath(path) if path is not None else environ.get(CONFIG_VARIABLE, "")
    return None if path is None and not chosen else Path(chosen).expanduser()


def _overlay(file: Path, environment: str) -> Path | None:
    """Return where the overlay of *environment* stands, or would stand; None without an environment."""
    if not environment:
        return None
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", environment):
        raise ConfigurationError(
            f"{ENVIRONMENT_VARIABLE} is {environment!r}; expected a word of letters, digits, '_' and '-'"
        )
    return file.with_name(f"{file.stem}.{environment}{file.suffix}")


def _in_use(overlay: Path, file: Path, environment: str) -> bool:
    """Return whether *overlay* is there; False when *file* has no overlays at all."""
    if overlay.exists():
        return True
    pattern = re.compile(rf"{re.escape(file.stem)}\.([^.]+){re.escape(file.suffix)}")
    others = [match[1] for sibling in file.parent.iterdir() if (match := pattern.fullmatch(sibling.name))]
    if others:
        # Where overlays are in use, a misspelt environment must not silently run on the base alone.
        raise ConfigurationError(
            f"{ENVIRONMENT_VARIABLE} is {environment!r}, but there is no such overlay{nearest(environment, others)}",
            file=str(overlay),
        )
    return False


def _config(document: Document, files: tuple[str, ...], extensions: Collection[str]) -> Config:
    problems: list[Problem] = []
    tables: dict[str, Any] = {}
    extension_tables: dict[str, Mapping[str, Any]] = {}
    for name, value in document.data.items():
        if name in TABLES:
            tables[name] = value
        elif name not in extensions:
            problems.append(Problem((str(name),), _unknown_table(str(name), extensions)))
        elif isinstance(value, Mapping):
            extension_tables[name] = value
        else:
            problems.append(Problem((name,), f"expected a table, not a {type(value).__name__}"))
    try:
        config = structure_strictly(tables, Config)
    except StructureError as error:
        raise document.error([*problems, *error.problems]) from error
    findings = Findings(problems=problems)
    config = check_config(attrs.evolve(config, files=files), findings)
    if findings.problems:
        raise document.error(findings.problems)
    warnings = tuple(map(document.sentence, findings.notices))
    return attrs.evolve(config, extensions=extension_tables, warnings=warnings)


def _unknown_table(name: str, extensions: Collection[str]) -> str:
    if name in _ABSENT:
        return _ABSENT[name]
    hint = nearest(name, TABLES | set(extensions))
    where = "" if "did you mean" in hint else "; the table of an extension needs the extension installed"
    return f"unknown table{hint}{where}"


__all__ = [
    "CONFIG_VARIABLE",
    "ENVIRONMENT_VARIABLE",
    "TABLES",
    "checked_config",
    "load_config",
    "parse_config",
    "parse_provider",
    "watched_files",
]
