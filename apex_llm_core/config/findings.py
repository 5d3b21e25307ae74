"""What checks find in a configuration: problems make it unusable, notices deserve attention."""

from __future__ import annotations

import attrs

from apex_llm_core.converters import Problem

#: Steps from the root: keys and positions.
KeyPath = tuple[str | int, ...]


@attrs.define
class Findings:
    """What was found, in the order in which it was looked for."""

    problems: list[Problem] = attrs.field(factory=list)
    notices: list[Problem] = attrs.field(factory=list)

    def problem(self, message: str, *path: str | int) -> None:
        """Note what makes the configuration unusable."""
        self.problems.append(Problem(path, message))

    def notice(self, message: str, *path: str | int) -> None:
        """Note what deserves attention."""
        self.notices.append(Problem(path, message))


__all__ = ["Findings", "KeyPath"]
