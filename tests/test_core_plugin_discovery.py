from __future__ import annotations

import sys
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import PluginError
from apex_llm_core.plugin.discovery import EXTENSIONS, PROVIDERS, STRATEGIES, Installed, admits, discover

#: Importing this is a failure of the test.
BOOM = "raise RuntimeError('imported')"
SILENT = ""


def test_reads_metadata_and_imports_nothing(install):
    install(
        "acme-llm",
        "2.3",
        modules={"acme_llm.plugin": BOOM},
        entry_points={PROVIDERS: {"acme": "acme_llm.plugin"}, STRATEGIES: {"acme-rank": "acme_llm.plugin:thing"}},
        requires=["apex-llm-core>=0.1,<0.2", "acme-sdk"],
    )
    source = discover(PROVIDERS)["acme"]
    assert (source.distribution, source.version, source.value) == ("acme-llm", "2.3", "acme_llm.plugin")
    assert source.requires_core is not None
    assert admits(source.requires_core, "0.1.5")
    assert source.incompatibility() is None
    assert "acme" not in discover(EXTENSIONS)
    assert discover(STRATEGIES)["acme-rank"].value == "acme_llm.plugin:thing"
    assert not any(name.startswith("acme_llm") for name in sys.modules)


def test_names_are_in_order(install):
    for name in ("zeta", "beta"):
        install(f"{name}-llm", modules={}, entry_points={PROVIDERS: {name: f"{name}.plugin"}})
    found = [name for name in discover(PROVIDERS) if name in {"zeta", "beta"}]
    assert found == ["beta", "zeta"]


def test_what_is_installed_is_read_once(install):
    installed = Installed()
    before = installed[PROVIDERS]
    install("late-llm", modules={}, entry_points={PROVIDERS: {"late": "late.plugin"}})
    assert installed[PROVIDERS] is before
    assert "late" in Installed()[PROVIDERS]


def test_loading_gives_the_module_or_the_object(install):
    install(
        "acme-llm",
        modules={"acme_llm.plugin": "thing = 5"},
        entry_points={PROVIDERS: {"one": "acme_llm.plugin", "two": "acme_llm.plugin:thing"}},
    )
    found = discover(PROVIDERS)
    assert found["one"].load() is sys.modules["acme_llm.plugin"]
    assert found["two"].load() == 5


@pytest.mark.parametrize(
    ("source", "value", "reason"),
    [
        (BOOM, "acme_llm.plugin", "RuntimeError: imported"),
        ("def broken(:", "acme_llm.plugin", "SyntaxError"),
        (SILENT, "acme_llm.plugn", "ModuleNotFoundError"),
        (SILENT, "acme_llm.plugin:Missing", "AttributeError"),
    ],
)
def test_a_failing_import_names_distribution_and_version(install, source, value, reason):
    install("acme-llm", "2.3", modules={"acme_llm.plugin": source}, entry_points={PROVIDERS: {"acme": value}})
    with pytest.raises(PluginError, match=reason) as caught:
        discover(PROVIDERS)["acme"].load()
    error = caught.value
    assert (error.plugin, error.distribution, error.version) == ("acme", "acme-llm", "2.3")
    assert error.__cause__ is not None
    assert "'acme' (from acme-llm 2.3): cannot be imported" in str(error)


def test_two_distributions_with_one_name_are_both_named(install):
    for number in (1, 2, 3):
        install(
            f"acme-{number}",
            f"{number}.0",
            modules={f"acme{number}.plugin": BOOM},
            entry_points={PROVIDERS: {"acme": f"acme{number}.plugin"}},
        )
    source = discover(PROVIDERS)["acme"]
    with pytest.raises(PluginError, match="uninstall all but one") as caught:
        source.load()
    for number in (1, 2, 3):
        assert f"acme-{number} {number}.0" in str(caught.value)


@pytest.mark.parametrize(
    ("requirement", "fits"),
    [
        ("apex-llm-core>=0.1,<0.2", True),
        ("apex_llm_core (>=0.1,<0.2)", True),
        ("apex-llm-core[yaml]>=0.1,<0.2", True),
        ("Apex-LLM-Core ~=0.1", True),
        ("apex-llm-core", True),
        ("apex-llm-core>=9", False),
        ("apex-llm-core<0.1", False),
        # Other distributions whose names only begin the same.
        ("apex-llm-core-extras>=9", True),
        ("apex-llm-corelation>=9", True),
        ("apex-llm-core>=9 ; extra == 'future'", True),
    ],
)
def test_the_range_of_cores_is_read_from_the_requirements(install, requirement, fits):
    install(
        "acme-llm",
        "2.3",
        modules={"acme_llm.plugin": BOOM},
        entry_points={PROVIDERS: {"acme": "acme_llm.plugin"}},
        requires=["attrs>=24", requirement],
    )
    reason = discover(PROVIDERS)["acme"].incompatibility()
    assert (reason is None) is fits
    if not fits:
        with pytest.raises(PluginError, match=r"acme-llm 2\.3.*needs apex-llm-core [<>].*is installed"):
            discover(PROVIDERS)["acme"].load()


@pytest.mark.parametrize(
    ("specifier", "version", "expected"),
    [
        (">=0.1,<0.2", "0.1.0", True),
        (">=0.1,<0.2", "0.1.99", True),
        (">=0.1,<0.2", "0.2.0", False),
        (">=0.1,<0.2", "0.0.9", False),
        ("~=0.1", "0.9", True),
        ("~=0.1.2", "0.1.9", True),
        ("~=0.1.2", "0.2.0", False),
        ("==0.1", "0.1.0", True),
        ("==0.1.*", "0.1.7", True),
        ("==0.1.*", "0.2.0", False),
        ("!=0.1.*", "0.1.7", False),
        ("!=0.1.0", "0.1", False),
        (">0.1", "0.1.0", False),
        ("<=0.1", "0.1.0", True),
        ("", "0.1.0", True),
    ],
)
def test_ranges(specifier, version, expected):
    assert admits(specifier, version) is expected


releases = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))


@given(left=releases, right=releases, operator=st.sampled_from([">=", ">", "<=", "<", "==", "!="]))
def test_ranges_agree_with_the_standard(left, right, operator):
    packaging = pytest.importorskip("packaging.specifiers")
    assert admits(operator + right, left) is packaging.SpecifierSet(operator + right).contains(left)


@pytest.mark.parametrize(
    "damage",
    [
        lambda info: (info / "entry_points.txt").write_bytes(b"[apex_llm.providers]\nx = \xe9\n"),
        lambda info: (info / "entry_points.txt").write_text("[apex_llm.providers]\nno equals sign\n"),
        lambda info: (info / "METADATA").write_bytes(b"Metadata-Version: 2.1\nName: J\xe9\nVersion: 1\n"),
        lambda info: (info / "METADATA").unlink(),
    ],
)
def test_a_damaged_installation_hides_nobody(install, damage):
    install("sound-llm", modules={}, entry_points={PROVIDERS: {"sound": "sound.plugin"}})
    site = install("hurt-llm", modules={}, entry_points={PROVIDERS: {"hurt": "hurt.plugin"}})
    damage(site / "hurt_llm-1.0.dist-info")
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        found = discover(PROVIDERS)
    assert "sound" in found
    assert "mock" in found


def test_a_module_that_exits_is_a_broken_plugin(install):
    install("exit-llm", modules={"exit_llm": "raise SystemExit(3)"}, entry_points={PROVIDERS: {"exit": "exit_llm"}})
    with pytest.raises(PluginError, match=r"exit-llm 1.0.*cannot be imported: SystemExit: 3"):
        discover(PROVIDERS)["exit"].load()


def test_a_malformed_entry_point_is_told(install):
    install("odd-llm", modules={}, entry_points={PROVIDERS: {"odd": "odd-mod:"}})
    with pytest.raises(PluginError, match="'odd-mod:' is no 'module' or 'module:attribute'"):
        discover(PROVIDERS)["odd"].load()
