"""The few elements of SVG that a plot needs; numbers are short and the same everywhere, texts are escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

#: Characters that no XML document may hold.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]


def number(value: float) -> str:
    """Return *value* with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def text_of(value: str) -> str:
    """Return *value* as character data of XML."""
    return escape(_FORBIDDEN.sub("\ufffd", value))


class Drawing:
    """An SVG document. Elements have a class each; the style sheet gives them their looks."""

    def __init__(self, width: float, height: float, *, title: str, style: str) -> None:
        size = f'width="{number(width)}" height="{number(height)}" viewBox="0 0 {number(width)} {number(height)}"'
        self._lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{text_of(title)}</title>",
            f"<style>{style}</style>",
        ]

    def rect(
        self, kind: str, x: float, y: float, width: float, height: float, *, radius: float = 0.0, tip: str = ""
    ) -> None:
        """Draw a rectangle; *tip* shows when somebody points at it."""
        place = f'x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
        rounded = f' rx="{number(radius)}"' if radius else ""
        end = f"><title>{text_of(tip)}</title></rect>" if tip else "/>"
        self._lines.append(f'<rect class="{kind}" {place}{rounded}{end}')

    def line(self, kind: str, start: Point, end: Point) -> None:
        """Draw a straight line."""
        (x1, y1), (x2, y2) = start, end
        place = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
        self._lines.append(f'<line class="{kind}" {place}/>')

    def curve(self, kind: str, points: Sequence[Point | None]) -> None:
        """Draw lines from point to point, interrupted at None; a point alone becomes a dot."""
        path = ""
        for run in _runs(points):
            places = [f"{number(x)} {number(y)}" for x, y in run]
            path += f"M{'L'.join(places)}" if len(run) > 1 else f"M{places[0]}h0.01"
        if path:
            self._lines.append(f'<path class="{kind}" d="{path}"/>')

    def text(self, kind: str, x: float, y: float, text: str, *, anchor: Anchor = "start") -> None:
        """Write *text* with its base line at *y*."""
        aligned = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._lines.append(f'<text class="{kind}" x="{number(x)}" y="{number(y)}"{aligned}>{text_of(text)}</text>')

    def __str__(self) -> str:
        return "\n".join((*self._lines, "</svg>\n"))


def _runs(points: Iterable[Point | None]) -> Iterable[list[Point]]:
    run: list[Point] = []
    for point in (*points, None):
        if point is not None:
            run.append(point)
        elif run:
            yield run
            run = []


__all__ = ["Anchor", "Drawing", "Point", "number", "text_of"]
