"""How bodies are read: what their model means, and what becomes of parameters nobody here knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from apex_llm_core.errors import InvalidRequestError
from apex_llm_gateway.settings import UnknownParameters


class ParameterError(InvalidRequestError):
    """A body that cannot be understood; `param` is the place in it, for example ``messages[0].content``."""

    def __init__(self, message: str, *, param: str | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.param = param


def nowhere(model: str) -> tuple[str | None, str]:
    """Take *model* as it is: no provider is named."""
    return None, model


@attrs.frozen(kw_only=True)
class Rules:
    """How bodies are read."""

    #: Parts "provider/model" into both; the provider is None where none is named.
    place: Callable[[str], tuple[str | None, str]] = nowhere
    unknown: UnknownParameters = "pass"


__all__ = ["ParameterError", "Rules", "nowhere"]
