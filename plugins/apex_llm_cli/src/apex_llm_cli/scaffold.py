"""New distributions from the templates of this package."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Literal, get_args

import attrs

from apex_llm_core.plugin.discovery import EXTENSIONS, PROVIDERS, STRATEGIES, discover

Kind = Literal["provider", "strategy", "middleware"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Distribution and import names of a kind begin with this.
_PREFIXES: dict[Kind, str] = {
    "provider": "apex-llm-",
    "strategy": "apex-llm-strategy-",
    "middleware": "apex-llm-middleware-",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_LONGEST_NAME = 50
#: What the core itself registers.
_BUILT_IN: dict[Kind, frozenset[str]] = {
    "provider": frozenset(),
    "strategy": frozenset({"priority"}),
    "middleware": frozenset(),
}
#: Entry points of a kind.
_GROUPS: dict[Kind, str] = {"provider": PROVIDERS, "strategy": STRATEGIES, "middleware": EXTENSIONS}
#: Distributions of the project that may not be installed here.
_RESERVED = frozenset({"apex-llm-gateway", "apex-llm-simulator", "apex-llm-sqlite"})
_SUFFIX = ".template"
#: The directory of a template that is called like the import package.
_PACKAGE = "package"


@attrs.frozen(kw_only=True)
class PluginNames:
    """What a new plugin is called in each place."""

    kind: Kind
    #: The entry-point name: what the configuration says.
    plugin: str

    @property
    def distribution(self) -> str:
        """What pip installs."""
        return _PREFIXES[self.kind] + self.plugin.replace("_", "-")

    @property
    def package(self) -> str:
        """What Python imports."""
        return self.distribution.replace("-", "_")

    @property
    def class_stem(self) -> str:
        """What class names begin with."""
        return "".join(word.capitalize() for word in re.split("[-_]", self.plugin))


def name_problem(name: str) -> str | None:
    """Say why *name* cannot name a plugin, with the nearest name that can; None when all is well."""
    if _NAME.fullmatch(name) and not name.startswith(("apex-llm", "apex_llm")) and len(name) <= _LONGEST_NAME:
        return None
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1-\2", name).lower()
    words = re.sub(r"^(?:apex[-_]llm[-_]?)+|^[^a-z]+", "", re.sub(r"[^a-z0-9]+", "-", words))
    near = words[:_LONGEST_NAME].strip("-")
    hint = f"; did you mean {near!r}?" if _NAME.fullmatch(near) else ""
    return (
        f"{name!r} is no plugin name: lower-case letters and digits, words joined by - or _, beginning with a letter, "
        f"at most {_LONGEST_NAME} characters, without the prefix apex-llm{hint}"
    )


def name_owner(names: PluginNames) -> str | None:
    """Say to whom *names* belong already; None when they are free. Looks at metadata only."""
    for kind in ("strategy", "middleware"):
        if names.kind == "provider" and names.distribution.startswith(_PREFIXES[kind]):
            return f"{names.distribution} would be a {kind}'s distribution"
    if names.plugin in _BUILT_IN[names.kind]:
        return f"the core has a {names.kind} {names.plugin!r} built in"
    if names.distribution in _RESERVED:
        return f"{names.distribution} is a distribution of this project"
    rival = discover(_GROUPS[names.kind]).get(names.plugin)
    if rival is not None:
        return f"{rival.distribution} {rival.version} offers a {names.kind} of this name"
    try:
        version = importlib.metadata.version(names.distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    return f"{names.distribution} {version} is installed"


def write_distribution(names: PluginNames, target: Path) -> list[Path]:
    """Write a new distribution to *target*, which must not exist or be empty, and return its files.

    Raises:
        FileExistsError: *target* is taken.
        OSError: it cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(target)
    substitutions = {
        "name": names.plugin,
        "distribution": names.distribution,
        "package": names.package,
        "class_stem": names.class_stem,
        "core_range": core_range(importlib.metadata.version("apex-llm-core")),
    }
    written = []
    for parts, source in _files(importlib.resources.files("apex_llm_cli") / "templates" / names.kind):
        file = target.joinpath(*(names.package if part == _PACKAGE else part for part in parts))
        # The test's module name is unique, like the package's.
        file = file.with_name(file.name.removesuffix(_SUFFIX).replace(_PACKAGE, names.package))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(source.read_text("utf-8")).substitute(substitutions), "utf-8")
        written.append(file)
    return written


def core_range(version: str) -> str:
    """Return the range of apex-llm-core that a plugin made for *version* asks for: up to the next minor release."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{major}.{minor + 1}"


def _files(directory: Traversable, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Traversable]]:
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files(entry, (*above, entry.name))
        elif entry.name.endswith(_SUFFIX):
            yield (*above, entry.name), entry


__all__ = ["KINDS", "Kind", "PluginNames", "core_range", "name_owner", "name_problem", "write_distribution"]
