"""A scenario: a configuration, what its providers do, who asks, and what is expected."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import attrs

from apex_llm_core.config import Config, ProviderConfig, parse_config, setting
from apex_llm_core.config.loading import TABLES
from apex_llm_core.config.overlays import Document
from apex_llm_core.config.reading import read_document
from apex_llm_core.converters import Problem, StructureError, structure_strictly
from apex_llm_core.errors import ConfigurationError, nearest
from apex_llm_simulator.behaviour import Behaviour
from apex_llm_simulator.durations import duration, seconds
from apex_llm_simulator.expectations import Expect
from apex_llm_simulator.faults import Fault
from apex_llm_simulator.provider import PROVIDER_TYPE
from apex_llm_simulator.workload import Workload

T = TypeVar("T")

_OWN_TABLES = ("scenario", "workload", "expect")
_OWN_KEYS = ("behaviour", "faults")
#: Keys of a real provider that a simulated one has no use for.
_UNUSED_KEYS = ("type", "auth", "options")
_PROVIDER_KEYS = tuple(field.name for field in attrs.fields(ProviderConfig))


@attrs.frozen(kw_only=True)
class ScenarioConfig:
    """The table ``[scenario]``."""

    name: str = setting(doc="What it is called in reports.")
    description: str = setting("", doc="What it shows, in a sentence.")
    duration: str = duration(doc="The simulated time, for example '24h' or '90m'.")
    seed: int = setting(0, doc="Another seed is another run of the same scenario.")

    def __attrs_post_init__(self) -> None:
        if not seconds(self.duration):
            raise ValueError("'duration' must be longer than nothing")


@attrs.frozen(kw_only=True)
class ProviderPart:
    """How one provider serves and fails."""

    behaviour: Behaviour = attrs.field(factory=Behaviour)
    faults: tuple[Fault, ...] = ()


@attrs.frozen(kw_only=True)
class Scenario:
    """Everything a simulation needs. `seconds` is the simulated time."""

    name: str
    description: str
    seconds: float
    seed: int
    config: Config
    #: By the name of the provider.
    providers: Mapping[str, ProviderPart]
    workload: tuple[Workload, ...]
    expect: tuple[Expect, ...]

    def altered(self, *, seed: int | None = None, hours: float | None = None) -> Scenario:
        """Return this scenario with another seed, or of another length."""
        found = self
        if seed is not None:
            found = attrs.evolve(found, seed=seed, config=attrs.evolve(found.config, seed=seed))
        if hours is not None:
            found = attrs.evolve(found, seconds=hours * 3_600.0)
        return found


def load_scenario(path: Path) -> Scenario:
    """Read a scenario's file (TOML, JSON or YAML). Blocking.

    Raises:
        ConfigurationError: names the file, the key's path, the reason and the nearest valid name.
    """
    return parse_scenario(read_document(path), file=str(path))


def parse_scenario(tables: Mapping[str, Any], *, file: str | None = None) -> Scenario:
    """Make a `Scenario` of tables that were read already.

    Raises:
        ConfigurationError: as for `load_scenario`.
    """
    problems: list[Problem] = []
    problems += _unknown_tables(tables)
    head = _structured(tables.get("scenario", {}), ScenarioConfig, ("scenario",), problems)
    workload = _structured(tables.get("workload", []), tuple[Workload, ...], ("workload",), problems)
    expect = _expectations(tables.get("expect", ()), problems)
    parts, providers = _split_providers(tables.get("providers", ()), problems)
    if not problems and not workload:
        problems.append(Problem(("workload",), "is required: without requests there is nothing to simulate"))
    if problems:
        raise Document.of(tables, file).error(problems)
    configured = {name: value for name, value in tables.items() if name not in _OWN_TABLES}
    config = parse_config({**configured, "seed": head.seed, "providers": providers}, file=file)
    named = {provider.name: part for provider, part in zip(config.providers, parts, strict=True)}
    length = seconds(head.duration)
    problems += _misfits(config, workload, expect, length)
    if problems:
        raise Document.of(tables, file).error(problems)
    return Scenario(
        name=head.name,
        description=head.description,
        seconds=length,
        seed=head.seed,
        config=config,
        providers=named,
        workload=workload,
        expect=expect,
    )


def example_names() -> list[str]:
    """Return the names of the scenarios that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _examples().iterdir() if entry.name.endswith(".toml"))


def load_example(name: str) -> Scenario:
    """Read one of the scenarios that come with the package.

    Raises:
        ConfigurationError: there is none of that name; the nearest is in the message.
    """
    known = example_names()
    if name not in known:
        raise ConfigurationError(f"there is no scenario {name!r}{nearest(name, known)}")
    with importlib.resources.as_file(_examples() / f"{name}.toml") as path:
        return load_scenario(path)


def _examples() -> Any:
    return importlib.resources.files("apex_llm_simulator") / "examples"


def _unknown_tables(tables: Mapping[str, Any]) -> Iterator[Problem]:
    for name in tables:
        if name == "seed":
            yield Problem((name,), "the seed of a scenario stands in [scenario]")
        elif name not in TABLES and name not in _OWN_TABLES:
            yield Problem((str(name),), f"unknown table{nearest(str(name), {*TABLES, *_OWN_TABLES})}")


def _structured(data: Any, cls: Any, path: tuple[str | int, ...], problems: list[Problem]) -> Any:
    """Structure one part of a scenario; what does not fit goes to *problems*."""
    try:
        return structure_strictly(data, cls)
    except StructureError as error:
        problems += [Problem((*path, *problem.path), problem.message) for problem in error.problems]
        return None


def _expectations(data: Any, problems: list[Problem]) -> tuple[Expect, ...]:
    if isinstance(data, Mapping):
        only = _structured(data, Expect, ("expect",), problems)
        return () if only is None else (only,)
    return _structured(data, tuple[Expect, ...], ("expect",), problems) or ()


def _split_providers(data: Any, problems: list[Problem]) -> tuple[list[ProviderPart], list[Mapping[str, Any]]]:
    """Divide each table of a provider into what is simulated and what the configuration takes."""
    if not isinstance(data, Sequence) or not data or not all(isinstance(table, Mapping) for table in data):
        problems.append(Problem(("providers",), "expected a list of tables, at least one"))
        return [], []
    parts: list[ProviderPart] = []
    configured: list[Mapping[str, Any]] = []
    for position, table in enumerate(data):
        here = ("providers", position)
        for key in table:
            if key not in _PROVIDER_KEYS and key not in _OWN_KEYS:
                hint = nearest(str(key), (*_PROVIDER_KEYS, *_OWN_KEYS))
                problems.append(Problem((*here, str(key)), f"unknown key{hint}"))
        if not table.get("models"):
            problems.append(Problem((*here, "models"), "is required: nobody can be asked what there is"))
        own = {key: value for key, value in table.items() if key in _OWN_KEYS}
        parts.append(_structured(own, ProviderPart, here, problems))
        rest = {key: value for key, value in table.items() if key not in _OWN_KEYS + _UNUSED_KEYS}
        configured.append({**rest, "type": PROVIDER_TYPE})
    return parts, configured


def _misfits(
    config: Config, workload: Sequence[Workload], expect: Sequence[Expect], length: float
) -> Iterator[Problem]:
    """Find names of models and providers that the configuration does not have, and times after the end."""
    models = {model.id for provider in config.providers for model in provider.models}
    routed = [route.model for route in config.routes if route.to_model is not None]
    for position, work in enumerate(workload):
        known = not work.model or work.model in models or any(fnmatchcase(work.model, pattern) for pattern in routed)
        if not known:
            yield Problem(("workload", position, "model"), f"no provider has it{nearest(work.model, models)}")
    names = [provider.name for provider in config.providers]
    for position, bounds in enumerate(expect):
        if bounds.times is not None and bounds.times[0] >= length:
            yield Problem(("expect", position, "window"), "begins after the end of the scenario")
        for key, name in bounds.providers:
            if name not in names:
                yield Problem(("expect", position, key, name), f"there is no such provider{nearest(name, names)}")


__all__ = [
    "ProviderPart",
    "Scenario",
    "ScenarioConfig",
    "example_names",
    "load_example",
    "load_scenario",
    "parse_scenario",
]
