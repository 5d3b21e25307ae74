from __future__ import annotations

import os
import socket
import sys

import click
import pytest
from apex_llm_cli.prompts import read_prompt, read_texts
from click.testing import CliRunner


@click.command()
@click.argument("words", nargs=-1)
def prompt(words):
    click.echo(repr(read_prompt(words)))


@click.command()
@click.option("--lines", is_flag=True)
@click.argument("texts", nargs=-1)
def texts(texts, lines):
    click.echo(repr(read_texts(texts, lines=lines)))


@pytest.mark.parametrize(
    ("words", "piped", "expected"),
    [
        (["two", "words"], "", "two words"),
        ([], "piped\n", "piped\n"),
        (["-"], "piped", "piped"),
        (["sum", "up:"], "a text\n", "sum up:\n\na text"),
        (["sum up:"], "  \n", "sum up:"),
        ([], "\ufeffwith a mark", "with a mark"),
        (["--", "-5", "+", "3"], "", "-5 + 3"),
    ],
)
def test_prompt(words, piped, expected):
    result = CliRunner().invoke(prompt, words, input=piped)
    assert result.output == f"{expected!r}\n"


@pytest.mark.parametrize(
    ("words", "piped", "message"),
    [
        ([], b"", "the prompt is empty"),
        (["  "], b"", "the prompt is empty"),
        (["-"], b"\n", "the prompt is empty"),
        ([], b"abc\xff", "not UTF-8 text (byte 3)"),
        (["\udcff"], b"", "an argument is not UTF-8"),
    ],
)
def test_a_prompt_that_is_none(words, piped, message):
    result = CliRunner().invoke(prompt, words, input=piped)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("arguments", "piped", "expected"),
    [
        (["one", "two words"], "ignored", ["one", "two words"]),
        ([], "all of\nit\n", ["all of\nit"]),
        (["--lines"], "one\n\ntwo\n", ["one", "two"]),
        (["-", "--lines"], "one", ["one"]),
    ],
)
def test_texts(arguments, piped, expected):
    assert CliRunner().invoke(texts, arguments, input=piped).output == f"{expected!r}\n"


@pytest.mark.parametrize(("arguments", "piped"), [([], ""), ([""], ""), (["--lines"], "\n\n"), (["a", " "], "")])
def test_texts_that_are_none(arguments, piped):
    assert CliRunner().invoke(texts, arguments, input=piped).exit_code == 2


def test_beside_an_argument_a_silent_socket_is_not_waited_for(monkeypatch):
    # How editors and supervisors start programs: an open channel on which nothing ever comes.
    ours, theirs = socket.socketpair()
    with ours, theirs, os.fdopen(os.dup(ours.fileno()), "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert read_prompt(["hello"]) == "hello"
