"""Overlays: one document over another, remembering which file said what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import attrs

from apex_llm_core.converters import Problem, place
from apex_llm_core.errors import ConfigurationError

KeyPath = tuple[str | int, ...]
Table = Mapping[str, Any]

#: Arrays of tables whose items are matched by a key; all other arrays are replaced as a whole.
_ARRAYS: dict[tuple[str, ...], str] = {
    ("providers",): "name",
    ("limits",): "name",
    ("routes",): "name",
    ("providers", "models"): "id",
}


@attrs.frozen
class Document:
    """A table and where its parts come from: *origins* has the file of a path and of everything below it.

    *root* is the written path of the table itself, empty for a whole configuration.
    """

    data: Table
    origins: Mapping[KeyPath, str | None]
    root: str = ""

    @classmethod
    def of(cls, data: Table, file: str | None, root: str = "") -> Document:
        """Return a document that comes from one file (None: from code)."""
        return cls(data, {(): file}, root)

    def file_of(self, path: KeyPath) -> str | None:
        """Return the file that set *path*, or the table it would stand in."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return None

    def overlaid(self, data: Table, file: str) -> Document:
        """Return this document with *data* over it."""
        origins = dict(self.origins)
        return Document(_Merge(file, origins).tables(self.data, data, ()), origins)

    def sentence(self, problem: Problem) -> str:
        """Return *problem* in words, with its file and its place."""
        parts = (self.file_of(problem.path), place(problem.path, self.root), problem.message)
        return ": ".join(part for part in parts if part)

    def error(self, problems: Sequence[Problem]) -> ConfigurationError:
        """Return one error for all *problems*: the first is the message, the others are its notes."""
        first, *others = problems
        more = f" (and {len(others)} more)" if others else ""
        error = ConfigurationError(
            first.message + more, file=self.file_of(first.path), key=place(first.path, self.root) or None
        )
        for problem in others:
            error.add_note(self.sentence(problem))
        return error


@attrs.frozen
class _Merge:
    """One overlay being laid over a document; keeps account of what it sets in *origins*."""

    file: str
    origins: dict[KeyPath, str | None]

    def tables(self, base: Table, over: Table, path: KeyPath) -> Table:
        merged = dict(base)
        for key, value in over.items():
            here = (*path, key)
            old = base.get(key)
            identity = _ARRAYS.get(tuple(step for step in here if isinstance(step, str)))
            if isinstance(old, Mapping) and isinstance(value, Mapping):
                merged[key] = self.tables(old, value, here)
            elif identity is not None and _is_array_of_tables(old) and _is_array_of_tables(value):
                merged[key] = self.arrays(old, value, identity, here)
            else:
                merged[key] = value
                self.claim(here)
        return merged

    def arrays(self, base: list[Table], over: list[Table], identity: str, path: KeyPath) -> list[Table]:
        merged = list(base)
        # Only items of the base are matched: two of one name in the overlay are a mistake to be told, not to be merged.
        positions: dict[str, int] = {}
        for position, item in enumerate(base):
            if isinstance(item.get(identity), str) and item[identity]:
                positions.setdefault(item[identity], position)
        for item in over:
            name = item.get(identity)
            found = positions.pop(name, None) if isinstance(name, str) else None
            if found is not None:
                merged[found] = self.tables(merged[found], item, (*path, found))
            else:
                self.claim((*path, len(merged)))
                merged.append(item)
        return merged

    def claim(self, path: KeyPath) -> None:
        for below in [known for known in self.origins if known[: len(path)] == path]:
            del self.origins[below]
        self.origins[path] = self.file


def _is_array_of_tables(value: Any) -> TypeGuard[list[Table]]:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


__all__ = ["Document"]
