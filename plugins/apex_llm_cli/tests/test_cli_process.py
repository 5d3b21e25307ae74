"""The installed command as a process of its own: pipes, terminals, signals, plugins from elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

#: A provider that says one word, waits until a file is there, says another, and leaves a note when it is closed.
GATED = """
import asyncio
from pathlib import Path

from apex_llm_core.markers import hookimpl
from apex_llm_core.models import ChatGenerationChunk, ModelInfo, ProviderCapabilities


class Gated:
    @hookimpl
    def apex_capabilities(self):
        return ProviderCapabilities(features={"chat", "stream"}, served=[ModelInfo(id="gated-1")])

    @hookimpl
    async def apex_stream(self, request, context):
        try:
            yield [ChatGenerationChunk(text="first ")]
            while not Path("gate").exists():
                await asyncio.sleep(0.01)
            yield [ChatGenerationChunk(text="second \\x1b[31m[bold]")]
            yield [ChatGenerationChunk(finish_reason="stop")]
        finally:
            Path("closed").touch()


@hookimpl
def apex_register(registrar):
    registrar.provider("gated", lambda config, settings, runtime: Gated())
"""
#: Ctrl-C must work even where whoever runs the tests ignores it.
START = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from apex_llm_cli.main import main; main()"


@pytest.fixture
def install(tmp_path):
    """Put a distribution of one module where Python and its metadata are found."""

    def install(module, code, group, name):
        (tmp_path / f"{module}.py").write_text(code)
        metadata = tmp_path / f"{module}-1.5.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.5\n")
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")

    return install


@pytest.fixture
def start(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "TERM": "xterm-256color"}
    for variable in ("APEX_LLM_CONFIG", "APEX_LLM_ENV", "NO_COLOR", "COLUMNS"):
        environment.pop(variable, None)

    def start(*arguments, env=(), **streams):
        defaults = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, "-c", START, *arguments],
            cwd=tmp_path,
            env=environment | dict(env),
            **(defaults | streams),
        )

    return start


@pytest.fixture
def run(start):
    def run(*arguments, piped=None, **keywords):
        streams = {} if piped is None else {"stdin": subprocess.PIPE}
        with start(*arguments, **streams, **keywords) as process:
            out, err = process.communicate(piped, timeout=60)
        return process.returncode, out.decode(), err.decode()

    return run


@pytest.fixture
def gated(install, tmp_path):
    install("acme_gated", GATED, "apex_llm.providers", "gated")
    (tmp_path / "config.toml").write_text('[[providers]]\nname = "mine"\ntype = "gated"\n')
    return ("--config", "config.toml", "chat", "hello")


def look_at(start, *arguments, **keywords):
    """Run with standard output and error on a terminal and return the exit code and what it shows."""
    ours, theirs = pty.openpty()
    with start(*arguments, stdout=theirs, stderr=theirs, **keywords) as process:
        os.close(theirs)
        shown = b""
        # Linux says EIO when the last program has left the terminal.
        with contextlib.suppress(OSError), os.fdopen(ours, "rb", buffering=0) as terminal:
            while part := terminal.read(4096):
                shown += part
        process.wait(timeout=60)
    return process.returncode, shown.decode()


def test_without_a_configuration_the_mock_answers(run):
    code, out, err = run("chat", "-p", "mock", "hello")
    assert (code, out) == (0, "hello\n")
    assert err.startswith("warning: no configuration given")
    assert err.count("\n") == 1


def test_the_console_script_is_installed():
    script = Path(sys.executable).with_name("apex-llm")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("apex-llm ")


def test_standard_input_is_read(run):
    assert run("chat", "-p", "mock", piped="Grüße\n".encode())[1] == "Grüße\n"


def test_an_output_that_cannot_hold_the_answer_replaces_what_it_must(run):
    code, out, _ = run("chat", "-p", "mock", "cold ☃", env={"PYTHONIOENCODING": "latin-1"})
    assert (code, out) == (0, "cold ?\n")


def test_text_arrives_before_the_answer_is_complete(start, gated, tmp_path):
    with start(*gated) as process:
        assert process.stdout.read(6) == b"first "
        assert not (tmp_path / "closed").exists()
        (tmp_path / "gate").touch()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, b"second \x1b[31m[bold]\n", b"")


def test_an_interrupt_closes_the_upstream_and_is_quiet(start, gated, tmp_path):
    with start(*gated) as process:
        assert process.stdout.read(6) == b"first "
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == b""
    assert (tmp_path / "closed").exists()


def test_a_reader_that_leaves_closes_the_upstream_and_is_quiet(start, gated, tmp_path):
    with start(*gated) as process:
        assert process.stdout.read(6) == b"first "
        process.stdout.close()
        (tmp_path / "gate").touch()
        err = process.stderr.read()
    assert (process.returncode, err) == (141, b"")
    assert (tmp_path / "closed").exists()


@pytest.mark.parametrize("arguments", [("--help",), ("plugins",), ("chat", "--help"), ("config", "schema")])
def test_other_output_that_nobody_reads_is_quiet(start, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    with start(*arguments, stdout=writing) as process:
        os.close(writing)
        err = process.stderr.read()
    assert (process.returncode, err) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("plugins",), ("plugins", "--json"), ("config", "schema"), ("chat", "-p", "mock", "hello")],
)
def test_output_for_which_there_is_no_room_is_one_line(start, arguments):
    with Path("/dev/full").open("wb") as full, start(*arguments, stdout=full) as process:
        err = process.stderr.read().decode()
    assert process.returncode == 1
    lines = [line for line in err.splitlines() if not line.startswith("warning: no configuration")]
    assert lines == ["error: cannot write the output: No space left on device"]


def test_a_terminal_gets_harmless_text_and_a_dim_footer(start, gated, tmp_path):
    (tmp_path / "gate").touch()
    code, shown = look_at(start, *gated)
    assert code == 0
    answer, footer = shown.splitlines()
    assert answer == "first second ␛[31m[bold]"
    assert re.fullmatch(r"\x1b\[2mmine/gated-1, tokens unknown, cost unknown, \d+\.\d\d s\x1b\[0m", footer)


def test_tables_fold_in_a_narrow_terminal_and_respect_no_color(start):
    code, wide = look_at(start, "plugins", env={"COLUMNS": "200"})
    assert code == 0
    assert "─" in wide
    code, narrow = look_at(start, "plugins", env={"COLUMNS": "30", "NO_COLOR": "1"})
    assert code == 0
    assert "\x1b" not in narrow
    assert max(map(len, narrow.splitlines())) <= 30
    assert "plugin: chat" in narrow


def test_json_on_a_terminal_is_indented(start):
    code, shown = look_at(start, "plugins", "--json")
    assert code == 0
    assert json.loads(shown)["plugins"]
    assert shown.startswith('{\r\n  "plugins"')


BROKEN = {
    "misspelt hook": ("    async def apex_genrate(self, request, context): ...", "did you mean 'apex_generate'"),
    "wrong signature": ("    async def apex_generate(self, request): ...", "apex_generate"),
    "not a coroutine": ("    def apex_generate(self, request, context): ...", "async def"),
    "import error": (None, "ModuleNotFoundError"),
}


@pytest.mark.parametrize(("hook", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_broken_provider_plugin_is_one_line_with_its_origin(run, install, tmp_path, hook, expected):
    code = (
        "import no_such_module_at_all"
        if hook is None
        else "from apex_llm_core.markers import hookimpl\n"
        f"class Broken:\n    @hookimpl\n{hook}\n"
        "@hookimpl\ndef apex_register(registrar):\n"
        "    registrar.provider('broken', lambda config, settings, runtime: Broken())\n"
    )
    install("acme_broken", code, "apex_llm.providers", "broken")
    (tmp_path / "config.toml").write_text('[[providers]]\nname = "b"\ntype = "broken"\n')
    status, out, err = run("chat", "hello", env={"APEX_LLM_CONFIG": "config.toml"})
    assert (status, out) == (2, "")
    (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert expected in error
    assert "acme_broken 1.5" in error
    assert "Traceback" not in err
    # Without a configuration that names it, it hides no other.
    status, out, err = run("chat", "-p", "mock", "hello")
    assert (status, out) == (0, "hello\n")
    assert "acme_broken" in err
    assert "Traceback" not in err
