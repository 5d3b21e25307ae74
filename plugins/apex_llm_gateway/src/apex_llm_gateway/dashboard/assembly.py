"""One document out of the page, its style and its scripts, and the policy that lets nothing else in."""

from __future__ import annotations

import base64
from collections.abc import Callable
from hashlib import sha256

import attrs

#: In the order of their use: each needs none but those before it.
SCRIPTS = (
    "dom.js",
    "format.js",
    "feed.js",
    "charts.js",
    "tables.js",
    "overview.js",
    "providers.js",
    "confirm.js",
    "requests.js",
    "decisions.js",
    "usage.js",
    "chat.js",
    "app.js",
)


@attrs.frozen(kw_only=True)
class Page:
    """The document with what a server says of it."""

    body: bytes
    #: The entity tag, with its quotes.
    tag: str
    #: The value of Content-Security-Policy: this very style and these very scripts, and connections to where it comes from.
    policy: str


def assemble(read: Callable[[str], str]) -> Page:
    """Put the page together.

    Args:
        read: returns the text of one of the files beside this module.
    """
    # One scope for all scripts, and none of their names in the window's.
    script = '"use strict";\n{\n' + "\n".join(map(read, SCRIPTS)) + "}\n"
    style = read("style.css")
    document = _fill(_fill(read("page.html"), "style", style), "script", script)
    body = document.encode()
    policy = (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(body=body, tag=f'"{sha256(body).hexdigest()[:32]}"', policy=policy)


def _fill(document: str, element: str, content: str) -> str:
    before, empty, after = document.partition(f"<{element}></{element}>")
    if not empty or f"</{element}" in content.lower():
        raise ValueError(f"the page has no single empty <{element}>, or its content would end it")
    return f"{before}<{element}>{content}</{element}>{after}"


def _source(content: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(content.encode()).digest()).decode()}'"


__all__ = ["SCRIPTS", "Page", "assemble"]
