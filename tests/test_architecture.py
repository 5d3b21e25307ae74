"""The promises of the house, held by machine: layers, exports, imports, dependencies, hooks."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import apex_llm_core
from apex_llm_core.hookspecs import HOOKSPECS
from apex_llm_core.markers import HOOK_PREFIX
from apex_llm_core.plugin.discovery import admits

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(module.name for module in pkgutil.walk_packages(apex_llm_core.__path__, "apex_llm_core."))
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
HOOKS = {name: function for spec in HOOKSPECS for name, function in vars(spec).items() if name.startswith(HOOK_PREFIX)}
#: Every hook says these; a hook without arguments or result leaves those two out.
SECTIONS = ("Args", "Returns", "Raises", "Called", "Ordering", "Cancellation")
RUNTIME_DEPENDENCIES = {"aiohttp", "attrs", "backoff", "cattrs", "loguru", "pluggy"}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_in_fixed_sections(name):
    function = HOOKS[name]
    text = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    parameters = [parameter for parameter in signature.parameters if parameter != "self"]
    expected = [
        section
        for section in SECTIONS
        if not (section == "Args" and not parameters)
        and not (section == "Returns" and signature.return_annotation == "None")
    ]
    found = re.findall(r"^(Args|Returns|Raises|Called|Ordering|Cancellation):", text, re.MULTILINE)
    assert expected == found
    for parameter in parameters:
        assert f"    {parameter}:" in text


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_a_test_that_implements_it(name):
    texts = [path.read_text("utf-8") for path in [*ROOT.glob("tests/*.py"), *ROOT.glob("plugins/*/tests/*.py")]]
    texts += [path.read_text("utf-8") for path in ROOT.glob("plugins/*/src/**/*.py")]
    assert any(re.search(rf"def {name}\(", text) for text in texts), f"nothing implements {name}"


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_have_neither_defaults_nor_keyword_only_parameters(name):
    for parameter in inspect.signature(HOOKS[name]).parameters.values():
        assert parameter.default is inspect.Parameter.empty
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


@pytest.mark.parametrize("name", ["apex_llm_core", *MODULES])
def test_exports_match_all(name):
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    if exported is None:
        assert not [
            n for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__module__", "") == name
        ]
        return
    assert sorted(exported) == sorted(set(exported))
    for public in exported:
        assert hasattr(module, public), f"{name}.__all__ names {public}, which does not exist"
    own = {
        n
        for n, value in vars(module).items()
        if not n.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == name
    }
    assert own <= set(exported), f"{name} defines {sorted(own - set(exported))} without exporting them"


def test_the_front_door_lists_what_its_type_checked_half_imports():
    tree = ast.parse((ROOT / "apex_llm_core/__init__.py").read_text("utf-8"))
    [checked] = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {alias.name for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(apex_llm_core.__all__)
    for name in apex_llm_core.__all__:
        assert getattr(apex_llm_core, name) is not None


def test_each_module_imports_alone():
    code = (
        "import importlib, sys\n"
        "name = sys.argv[1] if len(sys.argv) > 1 else ''\n"
        f"for name in {MODULES!r}:\n"
        "    for loaded in [m for m in sys.modules if m.startswith('apex_llm_core')]:\n"
        "        del sys.modules[loaded]\n"
        "    importlib.import_module(name)\n"
    )
    run(code)


def test_importing_opens_no_socket_file_or_thread_and_loads_no_heavy_package():
    code = """
import sys, threading
opened = []
def audit(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        opened.append((event, arguments))
sys.addaudithook(audit)
import apex_llm_core
import apex_llm_core.manager, apex_llm_core.blocking, apex_llm_core.transport, apex_llm_core.testing.clock
assert not opened, opened
assert threading.active_count() == 1
heavy = {"aiohttp", "botocore", "msal", "click", "rich", "yaml", "orjson", "uvloop"} & set(sys.modules)
assert not heavy, heavy
"""
    run(code)


def test_importing_the_package_costs_at_most_100_milliseconds_beyond_the_interpreter():
    timed = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
    seconds = [float(run(timed.format("import apex_llm_core"))) for _ in range(5)]
    assert statistics.median(seconds) < 0.100


def test_the_core_depends_on_exactly_its_six_packages():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    wanted = parser["options"]["install_requires"].split()
    assert {re.split(r"[<>=!~]", requirement)[0] for requirement in wanted} == RUNTIME_DEPENDENCIES


def test_the_core_imports_nothing_beyond_its_dependencies_and_extras():
    # aiohttp takes and gives yarl's URLs: the two come together.
    allowed = RUNTIME_DEPENDENCIES | {"apex_llm_core", "yarl", "yaml", "orjson", "uvloop", "pytest", "hypothesis"}
    for path in ROOT.glob("apex_llm_core/**/*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        checked_only = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                top = name.partition(".")[0]
                if id(node) not in checked_only and top not in sys.stdlib_module_names:
                    assert top in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_aiohttp_is_imported_by_the_transport_alone():
    for path in ROOT.glob("apex_llm_core/**/*.py"):
        if "transport" not in path.parts:
            assert not re.search(r"^\s*(import|from) aiohttp", path.read_text("utf-8"), re.MULTILINE), path


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_plugin_distributions_are_alike_and_admit_the_core(plugin):
    metadata = tomllib.loads((plugin / "pyproject.toml").read_text("utf-8"))
    project = metadata["project"]
    core = importlib.metadata.version("apex-llm-core")
    [requirement] = [item for item in project["dependencies"] if re.match(r"apex-llm-core\b", item)]
    specifier = requirement.removeprefix("apex-llm-core")
    assert admits(specifier, core), f"{project['name']} asks for {requirement}, the core is {core}"
    major, minor = core.split(".")[:2]
    assert specifier == f">={major}.{minor},<{major}.{int(minor) + 1}"
    assert "tool" not in metadata or set(metadata["tool"]) == {"setuptools"}
    package = plugin / "src" / plugin.name
    for name in ("README.md", "CHANGELOG.md"):
        assert (plugin / name).stat().st_size > 0
    assert (package / "py.typed").exists()
    assert list((plugin / "tests").glob("test_*.py"))
    groups = project.get("entry-points", {})
    if {"apex_llm.providers", "apex_llm.strategies", "apex_llm.extensions"} & set(groups):
        assert (package / "plugin.py").exists()


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_plugins_import_only_public_names_of_the_core(plugin):
    closed = {"assembly", "routing", "policies", "cache", "observability", "plugin"}
    if plugin.name == "apex_llm_cli":
        closed -= {"plugin"}
    for path in (plugin / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("apex_llm_core"):
                parts = (node.module or "").split(".")
                assert len(parts) == 1 or parts[1] not in closed, f"{path.name} imports {node.module}"
                assert not [alias.name for alias in node.names if alias.name.startswith("_")]


def test_every_plugin_is_among_the_extras_of_the_core():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = {re.split(r"[<>=]", line)[0] for line in parser["options.extras_require"]["all"].split()}
    assert listed == {path.name.replace("_", "-") for path in PLUGINS}


def test_imports_go_downwards():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
