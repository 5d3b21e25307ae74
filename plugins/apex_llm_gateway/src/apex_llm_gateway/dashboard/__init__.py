"""The page at ``/``: one document, nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from apex_llm_gateway.dashboard.assembly import Page, assemble


@cache
def page() -> Page:
    """Return the page; its files are read at the first call, which belongs into a thread."""
    folder = files(__name__)
    return assemble(lambda name: folder.joinpath(name).read_text(encoding="utf-8"))


__all__ = ["Page", "page"]
