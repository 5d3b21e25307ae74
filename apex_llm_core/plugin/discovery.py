"""Which plugins are installed, from distribution metadata alone: nothing is imported here until `load`."""

from __future__ import annotations

import importlib.metadata
import re
import warnings

import attrs

from apex_llm_core.errors import ConfigurationWarning, PluginError

PROVIDERS = "apex_llm.providers"
STRATEGIES = "apex_llm.strategies"
EXTENSIONS = "apex_llm.extensions"
COMMANDS = "apex_llm.commands"
GROUPS = (PROVIDERS, STRATEGIES, EXTENSIONS, COMMANDS)
CORE_DISTRIBUTION = "apex-llm-core"

_REQUIREMENT = re.compile(r"^apex[-_.]llm[-_.]core(?![\w.-])(?:\[[^\]]*\])?\s*\(?\s*([^;)]*)", re.IGNORECASE)
_CLAUSE = re.compile(r"(~=|==|!=|<=|>=|<|>)\s*v?([0-9]+(?:\.[0-9]+)*)(\.\*)?")


@attrs.frozen(kw_only=True)
class PluginSource:
    """One entry point: where a plugin comes from. `value` is ``module`` or ``module:attribute``."""

    name: str
    group: str
    distribution: str
    version: str
    value: str
    #: The version range of apex-llm-core that the distribution asks for; None when it asks for none.
    requires_core: str | None = None
    #: Other distributions that offer the same name; such a plugin is not loaded.
    rivals: tuple[str, ...] = ()

    def error(self, message: str) -> PluginError:
        """Make a `PluginError` that names this plugin's origin."""
        return PluginError(message, plugin=self.name, distribution=self.distribution, version=self.version)

    def incompatibility(self) -> str | None:
        """Say why this plugin does not fit the installed core, None when it does; imports nothing."""
        if self.rivals:
            offered = ", ".join((f"{self.distribution} {self.version}", *self.rivals))
            return f"{self.group} {self.name!r} is offered by {offered}; uninstall all but one"
        core = importlib.metadata.version(CORE_DISTRIBUTION)
        if self.requires_core is not None and not admits(self.requires_core, core):
            return f"it needs {CORE_DISTRIBUTION} {self.requires_core}, but {core} is installed"
        return None

    def load(self) -> object:
        """Import what the entry point names.

        Raises:
            PluginError: it does not fit the core, or the import failed; the cause is attached.
        """
        reason = self.incompatibility()
        if reason is not None:
            raise self.error(reason)
        entry_point = importlib.metadata.EntryPoint(name=self.name, value=self.value, group=self.group)
        if entry_point.pattern.match(self.value) is None:
            raise self.error(f"its entry point {self.value!r} is no 'module' or 'module:attribute'")
        try:
            return entry_point.load()
        except (Exception, SystemExit) as error:
            # A script that was never meant to be imported exits; that is its own end, not ours.
            raise self.error(f"cannot be imported: {type(error).__name__}: {error}") from error


def admits(specifier: str, version: str) -> bool:
    """Return whether *version* lies in *specifier*, for ranges of plain release numbers."""
    have = _release(version)
    for operator, text, any_more in _CLAUSE.findall(specifier):
        want = _release(text)
        width = len(want) if any_more else max(len(have), len(want))
        left, right = (have + (0,) * width)[:width], (want + (0,) * width)[:width]
        holds = {
            ">=": left >= right,
            ">": left > right,
            "<=": left <= right,
            "<": left < right,
            "==": left == right,
            "!=": left != right,
            "~=": left >= right and left[: max(1, len(want) - 1)] == right[: max(1, len(want) - 1)],
        }[operator]
        if not holds:
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def discover(group: str) -> dict[str, PluginSource]:
    """Return all installed plugins of *group* by name, in the order of their names."""
    found: dict[str, PluginSource] = {}
    for distribution in importlib.metadata.distributions():
        try:
            sources = _sources(distribution, group)
        except Exception as error:
            # One damaged installation, maybe of something else entirely, must not hide the others.
            place = distribution.locate_file("")
            text = (
                f"a distribution in {place} has unreadable metadata and is passed over: {type(error).__name__}: {error}"
            )
            warnings.warn(text, ConfigurationWarning, stacklevel=2)
            continue
        for source in sources:
            earlier = found.get(source.name)
            if earlier is None:
                found[source.name] = source
            elif earlier.distribution != source.distribution:
                rival = f"{source.distribution} {source.version}"
                found[source.name] = attrs.evolve(earlier, rivals=(*earlier.rivals, rival))
    return dict(sorted(found.items()))


def _sources(distribution: importlib.metadata.Distribution, group: str) -> list[PluginSource]:
    # Most distributions have nothing for us; a look at the text spares parsing theirs.
    if group not in (distribution.read_text("entry_points.txt") or ""):
        return []
    entry_points = [entry_point for entry_point in distribution.entry_points if entry_point.group == group]
    return [
        PluginSource(
            name=entry_point.name,
            group=group,
            distribution=distribution.name or "unknown",
            version=distribution.version or "unknown",
            value=entry_point.value,
            requires_core=_requires_core(distribution.requires),
        )
        for entry_point in entry_points
    ]


class Installed:
    """All installed plugins, their metadata read once: for code that asks several times."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, PluginSource]] = {}

    def __getitem__(self, group: str) -> dict[str, PluginSource]:
        found = self._groups.get(group)
        if found is None:
            found = self._groups[group] = discover(group)
        return found


def _requires_core(requirements: list[str] | None) -> str | None:
    for requirement in requirements or ():
        match = _REQUIREMENT.match(requirement)
        if match and "extra ==" not in requirement:
            return match.group(1).strip().rstrip(",") or None
    return None


__all__ = [
    "COMMANDS",
    "CORE_DISTRIBUTION",
    "EXTENSIONS",
    "GROUPS",
    "PROVIDERS",
    "STRATEGIES",
    "Installed",
    "PluginSource",
    "admits",
    "discover",
]
