"""What reaches standard output: text, tables for a terminal, aligned columns for a pipe, JSON documents."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

import click

#: A terminal obeys these characters; a model or a provider must not command it. Shown as their Unicode pictures.
_HARMLESS: dict[int, int | None] = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n\r"}
_HARMLESS |= {0x0D: None, 0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
#: JSON leaves these as they are: a terminal may obey the first, no encoding takes the second.
_ESCAPED_IN_JSON = re.compile("[\x7f-\x9f\ud800-\udfff]")
#: What stands between two columns of a table on a terminal.
_GAP = 3


class OutputError(Exception):
    """The output cannot be written where it was sent; the message says why."""


def is_terminal(stream: IO[Any] | None) -> bool:
    """Return whether somebody looks at *stream*."""
    return stream is not None and stream.isatty()


def neutralise(text: str) -> str:
    """Return *text* without characters that command a terminal; line ends and tabs stay."""
    return text.translate(_HARMLESS)


def one_line(text: str) -> str:
    """Return *text* on one line, harmless to a terminal."""
    return neutralise(" ".join(text.split()))


def write(text: str) -> None:
    """Write and flush *text* as it is, harmless if somebody looks."""
    click.echo(neutralise(text) if is_terminal(sys.stdout) else text, nl=False, color=True)


def print_document(document: Any) -> None:
    """Print one JSON document (data or objects of the core): indented on a terminal, one line in a pipe."""
    write(to_json(document, indented=is_terminal(sys.stdout)) + "\n")


def to_json(document: Any, *, indented: bool = False) -> str:
    """Return *document* as JSON text in snake_case that every encoding and terminal takes."""
    from apex_llm_core.converters import dumps

    text = dumps(document)
    if indented:
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    return _ESCAPED_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def print_dim(text: str) -> None:
    """Print a line beside the output, on standard error, unobtrusively if the terminal can."""
    line = one_line(text)
    click.echo(click.style(line, dim=True) if _may_style() else line, err=True)


def _may_style() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[str] = (),
    styles: Mapping[str, str] | None = None,
) -> None:
    """Print *rows* under *titles*.

    Args:
        titles: one per column.
        rows: the cells, as many per row as titles.
        numbers: titles of the columns that stand to the right.
        styles: on a terminal, the style of a cell by its text.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    if is_terminal(sys.stdout):
        _print_rich(titles, cells, numbers, (styles or {}) if _may_style() else None)
    else:
        write(aligned(titles, cells, numbers))


def aligned(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()) -> str:
    """Return *rows* under *titles* as columns of plain text, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = []
    for row in (titles, *rows):
        padded = (
            cell.rjust(width) if title in numbers else cell.ljust(width)
            for title, cell, width in zip(titles, row, widths, strict=True)
        )
        lines.append("  ".join(padded).rstrip() + "\n")
    return "".join(lines)


def column_widths(titles: Sequence[str], rows: Sequence[Sequence[str]], available: int) -> list[int] | None:
    """Return how many terminal cells each column gets of *available*; None when a word would have to be broken.

    Every column gets its longest word; what is left goes first to the columns that lack least.
    """
    from rich.cells import cell_len

    columns = list(zip(titles, *rows, strict=True))
    widths = [max((cell_len(word) for cell in column for word in cell.split()), default=1) for column in columns]
    left = available - sum(widths)
    if left < 0:
        return None
    lacking = sorted(
        (max(map(cell_len, column)) - width, index)
        for index, (column, width) in enumerate(zip(columns, widths, strict=True))
    )
    for position, (lack, index) in enumerate(lacking):
        granted = min(lack, left // (len(lacking) - position))
        widths[index] += max(granted, 0)
        left -= max(granted, 0)
    return widths


def _print_rich(
    titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str], styles: Mapping[str, str] | None
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    title_style = "" if styles is None else "bold"
    styles = styles or {}
    widths = column_widths(titles, rows, console.width - _GAP * (len(titles) - 1))
    if widths is None:
        for row in rows:
            for title, cell in zip(titles, row, strict=True):
                line = Text.assemble((f"{title}:", title_style), " ", (cell, styles.get(cell, "")))
                console.print(line, overflow="fold")
            console.print()
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style=title_style)
    for title, width in zip(titles, widths, strict=True):
        table.add_column(title, justify="right" if title in numbers else "left", overflow="fold", width=width)
    for row in rows:
        table.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in row))
    console.print(table)


__all__ = [
    "OutputError",
    "aligned",
    "column_widths",
    "is_terminal",
    "neutralise",
    "one_line",
    "print_dim",
    "print_document",
    "print_table",
    "to_json",
    "write",
]
