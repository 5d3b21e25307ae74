"""A picture of a recording: the providers over time above, what their callers got below."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import floor, log10

from apex_llm_simulator.durations import in_words
from apex_llm_simulator.figures import Figures, figures
from apex_llm_simulator.recording import Recording
from apex_llm_simulator.svg import Drawing, Point
from apex_llm_simulator.timeline import Piece, breaker_states, conditions, piece_length, pieces, runs
from apex_llm_simulator.wording import clock_time, share

_WIDTH = 980
_LEFT, _RIGHT = 150, 96
_PLOT = _WIDTH - _LEFT - _RIGHT
_TOP = 104
_LANE = 40
_CHART, _CHART_TITLE = 92, 34
_BOTTOM = 48
#: Shorter simulations have minutes on their axis.
_SHORT = 2 * 3_600.0
_TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1_440, 2_880, 7_200, 14_400)
_MOST_TICKS = 13

_STYLE = """
:root{color-scheme:light dark}
svg{--paper:#fff;--ink:#1f2328;--soft:#59636e;--grid:#d8dee4;--healthy:#5fb592;--degraded:#eaa821;--down:#cf4a26;
--closed:#e3e8ed;--half:#7fb2e5;--open:#1a4f8b;--off:#c9b8dc;--good:#4b8fd0;--bad:#cf4a26;--line:#1a4f8b;--faint:#7fb2e5;
background:var(--paper)}
@media(prefers-color-scheme:dark){svg{--paper:#0f1419;--ink:#e6edf3;--soft:#9aa4af;--grid:#2d353e;--healthy:#3f9a76;
--degraded:#d99a1c;--down:#e2603c;--closed:#29323c;--half:#3f78b5;--open:#a8d1ff;--off:#6d5a86;--good:#3f82c6;--bad:#e2603c;
--line:#a8d1ff;--faint:#3f78b5}}
rect{shape-rendering:crispEdges}rect[rx]{shape-rendering:auto}
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-size:12px;fill:var(--ink)}
.title{font-size:18px;font-weight:600}.head{font-weight:600;paint-order:stroke;stroke:var(--paper);stroke-width:4px}.soft{fill:var(--soft)}.small{fill:var(--soft);font-size:11px}
.paper{fill:var(--paper)}.grid{stroke:var(--grid);stroke-width:1}.healthy{fill:var(--healthy)}.degraded{fill:var(--degraded)}
.down{fill:var(--down)}.closed{fill:var(--closed)}.half_open{fill:var(--half)}.open{fill:var(--open)}.off{fill:var(--off)}
.answered{fill:var(--good)}.failed{fill:var(--bad)}
.rate,.p95,.p50{fill:none;stroke-width:1.75;stroke-linejoin:round;stroke-linecap:round}
.rate,.p95{stroke:var(--line)}.p50{stroke:var(--faint)}
"""
_SCRIPTED = (("healthy", "healthy"), ("degraded", "degraded"), ("down", "down"))
_BREAKER = (("closed", "closed"), ("half_open", "half-open"), ("open", "open"))


def plot(recording: Recording) -> str:
    """Return an SVG document; it suits light and dark pages."""
    return str(_Plot(recording).drawing)


class _Plot:
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._seconds = recording.scenario.seconds
        self._length = piece_length(self._seconds)
        self._names = list(recording.ledgers)
        self._lanes_end = _TOP + _LANE * len(self._names)
        height = self._lanes_end + 3 * (_CHART + _CHART_TITLE) + _BOTTOM
        name = recording.scenario.name
        self.drawing = Drawing(_WIDTH, height, title=f"Simulation of {name}", style=_STYLE)
        self.drawing.rect("paper", 0, 0, _WIDTH, height)
        whole = figures(recording)
        self._header(name, whole)
        self._time_axis(height - _BOTTOM)
        self._lanes(whole)
        self._charts(pieces(recording, self._length))

    def _header(self, name: str, whole: Figures) -> None:
        scenario = self._recording.scenario
        self.drawing.text("title", 20, 32, name)
        answered = "no requests" if whole.success_rate is None else f"{share(whole.success_rate)} answered"
        calls = "" if whole.amplification is None else f" · {whole.amplification:.3f} upstream calls per request"
        facts = f"{in_words(scenario.seconds)} · seed {scenario.seed} · {whole.requests:,} requests · {answered}{calls}"
        self.drawing.text("soft", _WIDTH - 20, 32, facts, anchor="end")
        self.drawing.text("soft", 20, 54, scenario.description)
        x = self._legend(_LEFT, "by the script:", _SCRIPTED)
        self._legend(x + 24, "circuit breaker:", _BREAKER)
        self.drawing.text("small", _WIDTH - _RIGHT + 10, 84, "share · calls")

    def _legend(self, x: float, title: str, entries: Sequence[tuple[str, str]]) -> float:
        self.drawing.text("soft", x, 84, title)
        x += 6.4 * len(title) + 8
        for kind, label in entries:
            self.drawing.rect(kind, x, 74, 12, 12, radius=2)
            self.drawing.text("soft", x + 17, 84, label)
            x += 17 + 6.6 * len(label) + 14
        return x

    def _time_axis(self, y: float) -> None:
        unit, title = (60.0, "minutes") if self._seconds <= _SHORT else (3_600.0, "hours")
        step = next((tick * 60.0 for tick in _TICKS if self._seconds / (tick * 60.0) <= _MOST_TICKS), self._seconds)
        if self._seconds < 2 * 60.0:
            step = self._seconds / 4
        at = 0.0
        while at <= self._seconds * 1.0001:
            x = self._x(at)
            self.drawing.line("grid", (x, _TOP - 6), (x, y + 5))
            self.drawing.text("soft", x, y + 20, f"{at / unit:g}", anchor="middle")
            at += step
        self.drawing.text("soft", _LEFT + _PLOT / 2, y + 38, f"{title} since the start", anchor="middle")

    def _lanes(self, whole: Figures) -> None:
        for position, name in enumerate(self._names):
            y = _TOP + position * _LANE
            ledger = self._recording.ledgers[name]
            self.drawing.text("head", _LEFT - 12, y + 17, _shortened(name), anchor="end")
            self._strip(conditions(self._recording, name, _PLOT), y, 14)
            self._strip(breaker_states(self._recording, name, _PLOT), y + 17, 8)
            self.drawing.text("soft", _WIDTH - _RIGHT + 10, y + 11, share(whole.shares[name]))
            self.drawing.text("small", _WIDTH - _RIGHT + 10, y + 25, f"{ledger.calls:,} calls")

    def _strip(self, states: Sequence[str], y: float, height: float) -> None:
        for state, first, end in runs(states):
            tip = f"{state.replace('_', '-')}, {self._clock(first)} to {self._clock(end)}"
            self.drawing.rect(state, _LEFT + first, y, end - first, height, tip=tip)

    def _charts(self, found: Sequence[Piece]) -> None:
        length = in_words(self._length)
        y = self._lanes_end + _CHART_TITLE
        highest = max((piece.answered + piece.failed for piece in found), default=0)
        scale = self._frame(y, f"Requests, each {length}", highest, _count)
        self._key(y, (("answered", "answered"), ("failed", "failed")))
        self._bars(found, y, scale)

        y += _CHART + _CHART_TITLE
        scale = self._frame(y, "Success rate", 1.0, lambda value: f"{value * 100:g} %")
        rates = [_rate(piece) for piece in found]
        self.drawing.curve("rate", list(self._points(rates, y, scale)))

        y += _CHART + _CHART_TITLE
        slowest = max((piece.p95 for piece in found if piece.p95 is not None), default=1.0)
        scale = self._frame(y, "Latency", slowest, lambda value: f"{value:g} s")
        self._key(y, (("open", "p95"), ("half_open", "p50")))
        self.drawing.curve("p50", list(self._points([piece.p50 for piece in found], y, scale)))
        self.drawing.curve("p95", list(self._points([piece.p95 for piece in found], y, scale)))

    def _frame(self, y: float, title: str, highest: float, label: Callable[[float], str]) -> float:
        """Draw title and value axis of a chart whose top is *y*; return pixels per unit."""
        self.drawing.text("head", _LEFT, y - 9, title)
        step = _nice(highest / 3 if highest else 1.0)
        top = step * max(1, -(-highest // step))
        scale = _CHART / top
        value = 0.0
        while value <= top * 1.0001:
            line = y + _CHART - value * scale
            self.drawing.line("grid", (_LEFT, line), (_LEFT + _PLOT, line))
            self.drawing.text("soft", _LEFT - 12, line + 4, label(value), anchor="end")
            value += step
        return scale

    def _key(self, y: float, entries: Sequence[tuple[str, str]]) -> None:
        x = _LEFT + _PLOT - 170
        for kind, label in entries:
            self.drawing.rect(kind, x, y - 18, 10, 10, radius=2)
            self.drawing.text("soft", x + 15, y - 9, label)
            x += 92

    def _bars(self, found: Sequence[Piece], y: float, scale: float) -> None:
        for position, piece in enumerate(found):
            x = self._x(position * self._length)
            width = max(0.5, self._x(min((position + 1) * self._length, self._seconds)) - x - 1)
            base = y + _CHART
            for kind, amount in (("answered", piece.answered), ("failed", piece.failed)):
                if amount:
                    base -= amount * scale
                    tip = f"{amount:,} {kind}, from {self._clock(x - _LEFT)}"
                    self.drawing.rect(kind, x, base, width, amount * scale, tip=tip)

    def _points(self, values: Sequence[float | None], y: float, scale: float) -> Iterator[Point | None]:
        for position, value in enumerate(values):
            middle = min((position + 0.5) * self._length, self._seconds)
            yield None if value is None else (self._x(middle), y + _CHART - value * scale)

    def _x(self, at: float) -> float:
        return _LEFT + at / self._seconds * _PLOT

    def _clock(self, pixels: float) -> str:
        return clock_time(round(pixels / _PLOT * self._seconds))


def _rate(piece: Piece) -> float | None:
    requests = piece.answered + piece.failed
    return piece.answered / requests if requests else None


def _nice(value: float) -> float:
    """Return the smallest of 1, 2 and 5, times a power of ten, that is at least *value*."""
    power = 10.0 ** floor(log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * 0.9999)


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _shortened(name: str, most: int = 19) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


__all__ = ["plot"]
