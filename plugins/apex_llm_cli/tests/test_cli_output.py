from __future__ import annotations

import io
import json
import re
import sys
import tomllib

import pytest
from apex_llm_cli import output
from apex_llm_cli.masking import masked
from apex_llm_cli.toml_text import to_toml
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.models import ChatGenerationChunk


class Terminal(io.StringIO):
    """Standard output that somebody looks at."""

    def isatty(self):
        return True


@pytest.fixture
def look(monkeypatch):
    """Make standard output a terminal; not before the test runs, since pytest puts its own there."""

    def look():
        stream = Terminal()
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setenv("TERM", "xterm-256color")
        for variable in ("NO_COLOR", "FORCE_COLOR", "CI"):
            monkeypatch.delenv(variable, raising=False)
        return stream

    return look


def test_escape_sequences_of_a_model_do_not_reach_a_look(look):
    terminal = look()
    output.write("\x1b]0;owned\x07 a\r\nb\tc \x9b2J \x7f")
    assert terminal.getvalue() == "␛]0;owned␇ a\nb\tc �2J ␡"


def test_a_pipe_gets_the_text_as_it_is(capsys):
    output.write("\x1b[31mred\x1b[0m [bold]no markup[/bold]\r\n")
    assert capsys.readouterr().out == "\x1b[31mred\x1b[0m [bold]no markup[/bold]\r\n"


def test_plain_tables_are_aligned_and_have_no_colours(capsys):
    output.print_table(("name", "count"), [("a", "5"), ("long name", "12345")], numbers=("count",), styles={"a": "red"})
    assert capsys.readouterr().out == "name       count\na              5\nlong name  12345\n"


def test_a_cell_with_line_breaks_and_escapes_stays_one_harmless_line(capsys):
    output.print_table(("name", "message"), [("a", "first\nsecond\x1b[2J")])
    assert capsys.readouterr().out == "name  message\na     first second␛[2J\n"


def test_a_table_without_rows_has_its_titles(capsys):
    output.print_table(("name", "count"), [])
    assert capsys.readouterr().out == "name  count\n"


def test_tables_on_a_terminal_are_coloured(look, monkeypatch):
    terminal = look()
    monkeypatch.setenv("COLUMNS", "80")
    output.print_table(("name", "status"), [("a", "healthy")], styles={"healthy": "green"})
    assert "\x1b[32mhealthy" in terminal.getvalue()


def test_no_color_is_respected(look, monkeypatch):
    terminal = look()
    monkeypatch.setenv("NO_COLOR", "1")
    output.print_table(("name", "status"), [("a", "healthy")], styles={"healthy": "green"})
    assert "\x1b" not in terminal.getvalue()
    assert "healthy" in terminal.getvalue()


def test_markup_in_cells_is_text(look):
    terminal = look()
    output.print_table(("name",), [("[red]:smile:[/red]",)])
    assert "[red]:smile:[/red]" in terminal.getvalue()


@pytest.mark.parametrize("columns", ["1", "5", "20", "39"])
def test_a_narrow_terminal_gets_records_and_loses_nothing(look, monkeypatch, columns):
    terminal = look()
    monkeypatch.setenv("COLUMNS", columns)
    output.print_table(("provider", "status", "message", "region"), [("azure-eastus", "healthy", "fine", "us")])
    assert "azure-eastus" in "".join(re.sub(r"\x1b\[\d*m", "", terminal.getvalue()).split())


TITLES = ("provider", "status", "message")
ROWS = (("azure-eastus", "healthy", "all is well today"), ("b", "unavailable", "no"))
#: The longest words of the columns and what stands between them.
FITTING = len("azure-eastus") + len("unavailable") + len("message") + 2 * 3


@pytest.mark.parametrize("columns", [FITTING, FITTING + 1, FITTING + 7, 80])
def test_a_table_that_fits_breaks_no_word(look, monkeypatch, columns):
    terminal = look()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    output.print_table(TITLES, ROWS)
    shown = terminal.getvalue()
    assert max(map(len, shown.splitlines())) <= columns
    assert "─" in shown
    assert set(shown.split()) >= {word for row in (TITLES, *ROWS) for cell in row for word in cell.split()}


def test_a_table_whose_words_do_not_fit_becomes_records(look, monkeypatch):
    terminal = look()
    monkeypatch.setenv("COLUMNS", str(FITTING - 1))
    monkeypatch.setenv("NO_COLOR", "1")
    output.print_table(TITLES, ROWS)
    assert terminal.getvalue().startswith("provider: azure-eastus\nstatus: healthy\nmessage: all is well today\n")


def test_columns_get_their_words_first_and_then_what_they_lack():
    rows = [("aaaa", "b b b b b b", "c c")]
    assert output.column_widths(("a", "b", "c"), rows, 100) == [4, 11, 3]
    assert output.column_widths(("a", "b", "c"), rows, 12) == [4, 5, 3]
    assert output.column_widths(("a", "b", "c"), rows, 6) == [4, 1, 1]
    assert output.column_widths(("a", "b", "c"), rows, 5) is None
    assert output.column_widths(("a",), [("世界",)], 3) is None


def test_documents_are_one_line_in_a_pipe_and_indented_on_a_terminal(look):
    terminal = look()
    output.print_document({"a": [1]})
    assert terminal.getvalue() == '{\n  "a": [\n    1\n  ]\n}\n'
    assert output.to_json({"a": [1]}) == '{"a":[1]}'


@given(st.text())
def test_json_survives_every_text_and_commands_no_terminal(text):
    rendered = output.to_json(ChatGenerationChunk(text=text))
    assert json.loads(rendered)["text"] == text
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in rendered)


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.recursive(
            st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=12,
        ),
        max_size=4,
    )
)
def test_toml_reads_back_as_what_was_written(document):
    assert tomllib.loads(to_toml(document)) == document


def test_toml_leaves_nulls_out():
    assert to_toml({"a": None, "t": {"b": None, "c": [1, None]}}) == "[t]\nc = [1]\n"


class TestMasking:
    def test_literal_credentials_are_hidden_and_references_shown(self):
        credentials = {"api_key": "literal-value", "other": "env:KEY", "third": "file:/run/key", "tenant_id": "t-1"}
        assert masked({"auth": {"credentials": credentials}})["auth"]["credentials"] == {
            "api_key": "***",
            "other": "env:KEY",
            "third": "file:/run/key",
            "tenant_id": "t-1",
        }

    def test_a_colon_does_not_make_a_secret_a_reference(self):
        assert masked({"credentials": {"api_key": "user:hunter2"}}) == {"credentials": {"api_key": "***"}}

    def test_nested_credentials_are_hidden(self):
        assert masked({"credentials": {"a": {"b": ["one", {"c": "two"}]}}})["credentials"]["a"]["b"][0] == "***"

    def test_keys_of_gateway_users_are_hidden_in_both_spellings(self):
        table = {"api_keys": ["plain-key", {"key": "long-key", "user": "alice", "roles": ["user"]}]}
        assert masked(table) == {"api_keys": ["***", {"key": "***", "user": "alice", "roles": ["user"]}]}

    def test_options_that_sound_like_a_secret_are_hidden(self):
        options = {"client_secret": "abc", "max_tokens": 5, "endpoint": "redis://me:pw@host/0", "region": "us"}
        assert masked(options) == {
            "client_secret": "***",
            "max_tokens": 5,
            "endpoint": "redis://***@host/0",
            "region": "us",
        }

    def test_texts_shaped_like_credentials_are_hidden_anywhere(self):
        assert "sk-" not in str(masked({"note": "sk-abcdefghijklmnopqrstuvwx"}))
