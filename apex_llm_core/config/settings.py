"""Settings classes of plugins: their tables, held to the same rules as the configuration itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from apex_llm_core.config.overlays import Document
from apex_llm_core.converters import Problem, StructureError, structure_strictly


def settings_from(options: Mapping[str, Any], cls: type | None, *, key: str, file: str | None = None) -> Any:
    """Build a plugin's settings from its table.

    Args:
        options: the table as configured.
        cls: the plugin's attrs class; None: it takes no settings.
        key: where the table stands, for messages, for example ``providers[0].options``.
        file: the file it stands in, None for a configuration made in code.

    Returns:
        An instance of *cls*, or None when *cls* is None.

    Raises:
        ConfigurationError: an option is unknown, missing or does not fit; all of them are told.
    """
    document = Document.of(options, file, key)
    if cls is None:
        if options:
            raise document.error(
                [Problem((str(option),), "unknown key; there are no settings here") for option in options]
            )
        return None
    try:
        return structure_strictly(options, cls)
    except StructureError as error:
        raise document.error(error.problems) from error


def all_defaults(cls: type | None) -> bool:
    """Tell whether *cls* can be made without any configured option; None needs none."""
    return cls is None or all(field.default is not attrs.NOTHING for field in attrs.fields(cls) if field.init)


__all__ = ["all_defaults", "settings_from"]
