"""Every snippet of the README and of the guides, run as it stands.

A fenced block under a line that is only a path in backticks is that file. Files with a ``pyproject.toml`` among them are a
distribution: it is installed, and its ``test_*.py`` run. A path that comes a second time begins the next stage of the
distribution. The other blocks run in the directory of these files:

- ``python`` is a whole script; a ``text`` block right after it is what it prints,
- ``toml`` is a configuration,
- ``console`` has commands after ``$`` with what they print; those that begin with neither ``apex-llm`` nor ``curl`` are for the
  reader.

``…`` in expected output stands for anything on its line. Snippets that ask a gateway find one, on the ``gateway.toml`` that stands
before them, or without a configuration; the address and the keys of the documents are those of the tests while they run.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import tomllib
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest

from apex_llm_core.config import parse_config
from apex_llm_core.plugin.discovery import EXTENSIONS, discover

ROOT = Path(__file__).parent.parent
DOCUMENTS = (
    "README.md",
    "docs/using.md",
    "docs/resilience.md",
    "docs/gateway.md",
    "docs/batch.md",
    "docs/deployment.md",
    "docs/writing-a-provider.md",
    "docs/writing-a-strategy.md",
    "docs/writing-a-middleware.md",
)
_BLOCK = re.compile(
    r"(?:^`(?P<path>[\w./-]+)`\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$"
    r"(?:\n\n```text\n(?P<prints>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
#: Where documents say that the gateway is, and the commands that ask there.
_ADDRESS = "127.0.0.1:8080"
_ASKING = re.compile(rf"{re.escape(_ADDRESS)}|apex-llm (?:breakers|stats)\b")
_KEYS = {name: f"apex-{secrets.token_urlsafe(32)}" for name in ("APPLICATION_KEY", "OPERATOR_KEY")}
_COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


@attrs.frozen(kw_only=True)
class Snippet:
    document: str
    line: int
    language: str
    text: str
    #: The files that stand before it, by path.
    files: dict[str, str]
    prints: str | None = None

    def __str__(self):
        return f"{self.document}:{self.line}"


def read(document):
    """Return the snippets of *document* and the stages of its distribution."""
    text = (ROOT / document).read_text("utf-8")
    snippets, stages, files = [], [], {}
    for block in _BLOCK.finditer(text):
        path = block["path"]
        if path is not None:
            if path in files:
                stages.append(files)
            files = files | {path: block["text"]}
        if path is None or (path.endswith(".toml") and path != "pyproject.toml"):
            line = text.count("\n", 0, block.start("language")) + 1
            snippet = Snippet(
                document=document,
                line=line,
                language=block["language"],
                text=block["text"],
                files=files,
                prints=block["prints"],
            )
            snippets.append(snippet)
    return snippets, [stage for stage in (*stages, files) if "pyproject.toml" in stage]


SNIPPETS = [snippet for document in DOCUMENTS for snippet in read(document)[0]]
STAGES = [
    pytest.param(stage, id=f"{Path(document).name}-{number}")
    for document in DOCUMENTS
    for number, stage in enumerate(read(document)[1])
]


def of(language):
    return [pytest.param(snippet, id=str(snippet)) for snippet in SNIPPETS if snippet.language == language]


def python(*arguments, cwd, path=(), **environment):
    return run([sys.executable, *arguments], cwd=cwd, path=path, **environment)


def run(command, *, cwd, path=(), **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("APEX_LLM_", "PYTEST_", "PIP_"))}
    kept["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", "")))
    kept["PYTHONPATH"] = os.pathsep.join(map(str, path))
    return subprocess.run(
        command,
        cwd=cwd,
        env=kept | environment,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        timeout=120,
    )


class Workshop:
    """Writes files and installs distributions, each once."""

    def __init__(self, directory):
        self._directory = directory
        self._made = {}

    def make(self, files):
        """Return the directory of *files* and the places to import their distribution from."""
        key = tuple(sorted(files.items()))
        if key not in self._made:
            self._made[key] = self._make(files, self._directory / str(len(self._made)))
        return self._made[key]

    def _make(self, files, home):
        project = home / "project"
        project.mkdir(parents=True)
        for path, text in files.items():
            (project / path).write_text(text, "utf-8")
        if "pyproject.toml" not in files:
            return project, ()
        options = ("-q", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
        done = python("-m", "pip", "install", *options, "--target", home / "site", project, cwd=home)
        assert done.returncode == 0, done.stdout
        # From here on the installed modules count, not those beside the tests.
        for module in project.glob("apex_llm_*.py"):
            module.unlink()
        return project, (home / "site",)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("documents"))


class Gateways:
    """Serves configurations of documents, each once."""

    def __init__(self, workshop, stack):
        self._workshop = workshop
        self._stack = stack
        self._urls = {}

    def environment(self, snippet):
        """Return what tells the commands of *snippet* where a gateway is; nothing, when they do not ask for one."""
        if not _ASKING.search(snippet.text):
            return {}
        config = snippet.files.get("gateway.toml")
        if config not in self._urls:
            project, _ = self._workshop.make(snippet.files)
            self._urls[config] = self._stack.enter_context(serving(None if config is None else project))
        return {**_KEYS, "APEX_LLM_URL": self._urls[config], "APEX_LLM_KEY": "env:OPERATOR_KEY"}

    def moved(self, text, environment):
        """Return *text* with the address of the gateway in *environment*."""
        return text.replace(f"http://{_ADDRESS}", environment.get("APEX_LLM_URL", ""))


@contextmanager
def serving(project):
    """Run the gateway on the ``gateway.toml`` in *project*, or without a configuration; give its URL."""
    command = [sys.executable, "-m", "apex_llm_cli", "serve", "--port", "0", "--json"]
    if project is not None:
        command += ["--config", project / "gateway.toml"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APEX_LLM_")}
    with subprocess.Popen(
        command, env=kept | _KEYS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            told = process.stdout.readline()
            assert told, process.stderr.read()
            yield json.loads(told)["url"]
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def gateways(workshop):
    with ExitStack() as stack:
        yield Gateways(workshop, stack)


@pytest.mark.parametrize("files", STAGES)
def test_the_distribution_passes_its_own_tests(workshop, files):
    project, path = workshop.make(files)
    done = python("-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "--rootdir", project, cwd=project, path=path)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d\d passed", done.stdout), done.stdout


@pytest.mark.parametrize("snippet", of("python"))
def test_python_runs(workshop, gateways, snippet):
    project, path = workshop.make(snippet.files)
    environment = gateways.environment(snippet)
    done = python("-c", gateways.moved(snippet.text, environment), cwd=project, path=path, **environment)
    assert done.returncode == 0, done.stdout
    assert snippet.prints is not None, "a script that prints nothing shows nothing"
    assert matches(snippet.prints, done.stdout), done.stdout


@pytest.mark.parametrize("snippet", of("toml"))
def test_toml_is_a_configuration(snippet):
    config = parse_config(tomllib.loads(snippet.text), extensions=tuple(discover(EXTENSIONS)))
    assert config.providers
    assert config.warnings == ()


@pytest.mark.parametrize("snippet", of("console"))
def test_commands_print_what_is_shown(workshop, gateways, snippet):
    project, path = workshop.make(snippet.files)
    environment = gateways.environment(snippet)
    commands = _COMMAND.findall(snippet.text)
    assert "".join(f"$ {command}\n{output}" for command, output in commands) == snippet.text
    status = 0
    for command, expected in commands:
        if command == "echo $?":
            assert expected == f"{status}\n"
        elif re.search(r"(^|\| |[A-Z]=\w+ )(apex-llm|curl) ", command):
            moved = gateways.moved(command, environment)
            done = run(["/bin/sh", "-c", moved], cwd=project, path=path, NO_COLOR="1", **environment)
            status = done.returncode
            # Bodies have no line end.
            end = "\n" if done.stdout and not done.stdout.endswith("\n") else ""
            assert matches(expected, done.stdout + end), f"{command}\n{done.stdout}"
        else:
            assert command.startswith(("pip install ", "python -m pytest")), f"nobody tests: {command}"
            assert not expected, f"nobody compares the output of: {command}"


def matches(expected, printed):
    pattern = "[^\n]*".join(map(re.escape, expected.split("…")))
    return re.fullmatch(pattern, printed) is not None


@pytest.mark.parametrize("document", [*DOCUMENTS, "docs/index.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(document):
    home = (ROOT / document).parent
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / document).read_text("utf-8"))
    assert links
    assert [link for link in links if "://" not in link and not (home / link).exists()] == []


def test_what_the_readme_installs_exists():
    lines = re.findall(r"^pip install (.*?)(?: +#.*)?$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    paths = [re.sub(r"\[\w+\]$", "", path) for line in lines for path in shlex.split(line)]
    assert "." in paths
    assert [path for path in paths if not (ROOT / path / "pyproject.toml").is_file()] == []


def test_the_readme_lists_every_distribution():
    text = (ROOT / "README.md").read_text("utf-8")
    table = text[text.index("| distribution |") :].partition("\n\n")[0].replace("`, `-", "`\n`apex-llm-strategy-")
    listed = set(re.findall(r"`(apex-llm-[a-z-]+)`", table))
    metadata = [tomllib.loads(file.read_text("utf-8")) for file in ROOT.glob("plugins/*/pyproject.toml")]
    assert listed == {"apex-llm-core", *(document["project"]["name"] for document in metadata)}


def test_the_snippets_are_found():
    languages = {snippet.language for snippet in SNIPPETS}
    assert languages == {"console", "python", "sh", "text", "toml"}
    assert len(STAGES) == 4
