from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from apex_llm_simulator import plot, simulate
from apex_llm_simulator.recording import BreakerStep, Recording
from apex_llm_simulator.svg import Drawing, number, text_of
from apex_llm_simulator.timeline import breaker_states, conditions, piece_length, pieces, runs

NAMESPACE = "{http://www.w3.org/2000/svg}"


def elements(text, name, kind=None):
    root = ET.fromstring(text)  # noqa: S314 - our own
    return [found for found in root.iter(NAMESPACE + name) if kind is None or found.get("class") == kind]


def texts(text):
    return ["".join(found.itertext()) for found in elements(text, "text")]


@pytest.fixture
def flawed(scenario):
    return simulate(
        scenario(
            minutes=10,
            east={"faults": [{"kind": "outage", "windows": ["2m-5m"]}]},
            west={"faults": [{"kind": "brownout", "factor": 2, "windows": ["5m-10m"]}]},
        )
    )


def test_every_provider_has_a_lane_and_every_axis_a_title(flawed):
    found = texts(plot(flawed))
    assert {"east", "west", "minutes since the start", "Success rate", "Latency", "Requests, each 5 s"} <= set(found)


def test_long_simulations_have_hours_on_their_axis(scenario):
    found = texts(plot(simulate(scenario(minutes=300, workload={"requests_per_second": 0.01}))))
    assert "hours since the start" in found


def test_lanes_show_the_script_to_scale(flawed):
    drawn = plot(flawed)
    (down,) = [rect for rect in elements(drawn, "rect", "down") if rect.find(NAMESPACE + "title") is not None]
    whole = sum(float(rect.get("width")) for rect in elements(drawn, "rect", "closed") if float(rect.get("width")) > 12)
    assert float(down.get("width")) == pytest.approx(734 * 0.3, abs=1)
    assert "down, 0:02:00 to 0:05:00" in down.find(NAMESPACE + "title").text
    assert whole < 2 * 734


def test_bars_stand_for_every_request(flawed):
    tips = [
        rect.find(NAMESPACE + "title").text
        for kind in ("answered", "failed")
        for rect in elements(plot(flawed), "rect", kind)
        if rect.find(NAMESPACE + "title") is not None
    ]
    assert sum(int(re.match(r"[\d,]+", tip)[0].replace(",", "")) for tip in tips) == len(flawed.requests)


def test_nothing_is_drawn_outside_the_picture(flawed):
    drawn = plot(flawed)
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    width, height = float(root.get("width")), float(root.get("height"))
    for rect in elements(drawn, "rect"):
        assert float(rect.get("x")) >= 0
        assert float(rect.get("x")) + float(rect.get("width")) <= width
        assert float(rect.get("y")) >= 0
        assert float(rect.get("y")) + float(rect.get("height")) <= height


def test_a_scenario_without_any_request_can_be_drawn(scenario):
    silent = scenario(workload={"requests_per_second": 0.001, "windows": ["4m-5m"]}, minutes=5)
    recording = simulate(silent)
    assert len(recording.requests) == 0
    assert "no requests" in " ".join(texts(plot(recording)))


def test_names_and_descriptions_are_escaped(tables):
    from apex_llm_simulator import parse_scenario

    found = tables(minutes=1, **{"</text><script>alert(1)</script>": {}})
    found["scenario"] |= {"name": 'a & "b" <c>', "description": "bell \x07 and \ud800"}
    drawn = plot(simulate(parse_scenario({**found, "providers": [{**found["providers"][0], "name": "<script>"}]})))
    assert "<script" not in drawn
    assert 'a & "b" <c>' in texts(drawn)
    assert "bell \ufffd and \ufffd" in texts(drawn)


def test_light_and_dark_pages_are_served(flawed):
    assert "@media(prefers-color-scheme:dark)" in plot(flawed)


def test_numbers_are_short():
    assert [number(value) for value in (1.0, 0.126, -0.001, 1234.5)] == ["1", "0.13", "0", "1234.5"]


def test_lines_break_where_there_is_no_value_and_dots_stand_alone():
    drawing = Drawing(10, 10, title="t", style="")
    drawing.curve("rate", [(0, 1), (1, 2), None, (3, 4), None])
    (path,) = elements(str(drawing), "path")
    assert path.get("d") == "M0 1L1 2M3 4h0.01"


def test_no_text_breaks_the_document():
    assert text_of('<&"\x00\x1b') == "&lt;&amp;&quot;\ufffd\ufffd"


class TestTimeline:
    @pytest.fixture
    def recording(self, scenario):
        flapping = [{"kind": "outage", "every": "4s", "lasting": "2s", "windows": ["1m-2m"]}]
        both = [{"kind": "brownout", "factor": 2}, {"kind": "outage", "windows": ["150s-200s"]}]
        return Recording(scenario(minutes=5, east={"faults": flapping}, west={"faults": both}), lambda: 0.0)

    def test_what_comes_and_goes_too_fast_is_degraded(self, recording):
        assert conditions(recording, "east", 10) == ["healthy"] * 2 + ["degraded"] * 2 + ["healthy"] * 6

    def test_what_comes_and_goes_slowly_enough_is_shown(self, recording):
        assert conditions(recording, "east", 300)[58:68] == [
            *("healthy", "healthy", "down", "down", "healthy", "healthy", "down", "down", "healthy", "healthy")
        ]

    def test_down_covers_degraded(self, recording):
        assert list(runs(conditions(recording, "west", 30))) == [
            *(("degraded", 0, 15), ("down", 15, 20), ("degraded", 20, 30))
        ]

    def test_the_shortest_opening_of_a_breaker_is_seen(self, recording):
        steps = [(100.0, "open"), (100.1, "half_open"), (100.2, "closed"), (200.0, "metrics_only")]
        recording.breakers += [BreakerStep(at=at, provider="east", model="m", state=state) for at, state in steps]
        assert list(runs(breaker_states(recording, "east", 30))) == [
            *(("closed", 0, 10), ("open", 10, 11), ("closed", 11, 20), ("off", 20, 30))
        ]

    def test_the_worst_of_several_models_is_shown(self, recording):
        recording.breakers += [
            BreakerStep(at=50.0, provider="east", model="a", state="half_open"),
            BreakerStep(at=100.0, provider="east", model="b", state="forced_open"),
        ]
        assert list(runs(breaker_states(recording, "east", 6))) == [
            ("closed", 0, 1),
            ("half_open", 1, 2),
            ("open", 2, 6),
        ]

    def test_pieces_are_of_lengths_that_people_can_name(self):
        assert [piece_length(length) for length in (60, 1_800, 86_400, 1e9)] == [1.0, 15.0, 600.0, 1e9 / 150]

    def test_pieces_hold_every_request_once(self, scenario):
        recording = simulate(scenario())
        found = pieces(recording, 7.0)
        assert len(found) == 43
        assert sum(piece.answered + piece.failed for piece in found) == len(recording.requests)
