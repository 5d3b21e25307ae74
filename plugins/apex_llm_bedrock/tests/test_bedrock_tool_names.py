"""Names of tools and ids of calls: they fit, they stay different, they are read back."""

from __future__ import annotations

import re

from apex_llm_bedrock.tool_names import ToolNames, written_id
from hypothesis import example, given
from hypothesis import strategies as st

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
#: Names that look alike once they are written: long ones, foreign ones, and what became of others.
alike = st.sampled_from(["", " ", "a b", "a_b", "a.b", "x" * 64, "x" * 65, "y" * 99, "погода", "天気", "\ud800", "-"])
names = st.one_of(alike, st.text(max_size=80), st.from_regex(NAME, fullmatch=True))


class TestToolNames:
    @given(st.lists(names, max_size=30))
    def test_fit_stay_different_and_are_read_back(self, given_names):
        book = ToolNames()
        written = {name: book.written(name) for name in given_names}
        assert all(NAME.fullmatch(name) for name in written.values())
        assert len(set(written.values())) == len(written)
        for name, found in written.items():
            assert book.written(name) == found
            assert book.original(found) == name

    @given(st.lists(names, max_size=10), st.lists(names, max_size=5))
    def test_stay_different_from_what_became_of_others(self, first, second):
        # Callers may call a tool what another one's name became.
        book, other = ToolNames(), ToolNames()
        taken = [other.written(name) for name in first] + second
        given_names = [*taken, *first]
        written = {name: book.written(name) for name in given_names}
        assert len(set(written.values())) == len(written)
        assert all(book.original(found) == name for name, found in written.items())
        assert all(NAME.fullmatch(found) for found in written.values())

    def test_stay_different_after_several_collisions(self):
        one, two = ToolNames(), ToolNames()
        first = one.written("a b")
        two.written(first)
        second = two.written("a b")
        three = ToolNames()
        three.written(first)
        three.written(second)
        assert three.written("a b") not in (first, second)
        assert three.original(three.written("a b")) == "a b"

    @given(names)
    @example("weather_look-up9")
    def test_that_fit_are_left_alone(self, name):
        assert (ToolNames().written(name) == name) == bool(NAME.fullmatch(name))

    @given(names)
    def test_are_the_same_in_every_request(self, name):
        assert ToolNames().written(name) == ToolNames().written(name)

    def test_keep_what_can_be_kept(self):
        assert ToolNames().written("weather.look up").startswith("weather_look_up_")

    def test_nobody_gave_are_read_as_they_are(self):
        assert ToolNames().original("made_up") == "made_up"

    def test_that_are_reserved_are_nobodys(self):
        book = ToolNames()
        assert book.reserved("json_answer") == "json_answer"
        book.written("json_answer")
        assert book.reserved("json_answer") == "json_answer_2"
        book.written("json_answer_2")
        assert book.reserved("json_answer") == "json_answer_3"


class TestIds:
    @given(st.lists(names, max_size=30, unique=True))
    def test_fit_and_stay_different(self, ids):
        written = [written_id(each) for each in ids]
        assert all(ID.fullmatch(each) for each in written)
        assert len(set(written)) == len(ids)

    @given(st.from_regex(ID, fullmatch=True))
    def test_that_fit_are_left_alone(self, call_id):
        assert written_id(call_id) == call_id

    def test_of_other_services_fit(self):
        assert written_id("call_AbC.1:2-3") == "call_AbC.1:2-3"
        assert ID.fullmatch(written_id("fc_" + "x" * 100 + "|rs_" + "y" * 100))
