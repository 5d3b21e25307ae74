from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.config import watched_files
from apex_llm_core.config.watching import FileWatcher, Snapshot
from apex_llm_core.errors import ConfigurationError
from apex_llm_core.testing import FakeClock, run_virtual

INTERVAL = 10.0
Action = Callable[[], object]


class EndOfScriptError(Exception):
    """The script of a test is over."""


class Stage:
    """Takes the place of sleep: what happens to the files happens there, one action before each look."""

    def __init__(self, files: Sequence[Path], actions: Sequence[Action | None]) -> None:
        self.files = tuple(files)
        self.actions = list(actions)
        self.pauses: list[float] = []
        self.truth = [Snapshot.of(self.files)]

    async def sleep(self, seconds: float) -> None:
        if len(self.pauses) == len(self.actions):
            raise EndOfScriptError
        action = self.actions[len(self.pauses)]
        self.pauses.append(seconds)
        if action is not None:
            action()
        self.truth.append(Snapshot.of(self.files))

    def told(self, **options: object) -> list[tuple[int, tuple[Path, ...]]]:
        """Run the script; return after how many looks which files were told."""
        watcher = FileWatcher(self.files, INTERVAL, sleep=self.sleep, **options)
        found: list[tuple[int, tuple[Path, ...]]] = []

        async def watch() -> None:
            while True:
                changed = await watcher.changed()
                found.append((len(self.pauses), changed))

        with pytest.raises(EndOfScriptError):
            run_virtual(watch())
        return found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("seed = 1\n")
    return path


def test_nothing_is_told_while_nothing_changes(file):
    stage = Stage([file], [None] * 5)
    assert stage.told() == []
    assert stage.pauses == [INTERVAL] * 5


def test_a_change_is_told_once_after_two_equal_looks(file):
    stage = Stage([file], [None, lambda: file.write_text("seed = 22\n"), None, None, None])
    assert stage.told() == [(3, (file,))]
    assert stage.pauses == [INTERVAL, INTERVAL, 1.0, INTERVAL, INTERVAL]


def test_an_interval_shorter_than_a_second_is_kept(file):
    stage = Stage([file], [lambda: file.write_text("seed = 22\n"), None])
    watcher = FileWatcher([file], 0.2, sleep=stage.sleep)
    assert run_virtual(watcher.changed()) == (file,)
    assert stage.pauses == [0.2, 0.2]


def test_an_interval_may_be_changed_between_two_calls(file):
    stage = Stage([file], [lambda: file.write_text("seed = 22\n"), None, lambda: file.write_text("seed = 333\n"), None])
    watcher = FileWatcher([file], INTERVAL, sleep=stage.sleep)

    async def twice() -> None:
        await watcher.changed()
        watcher.interval = 0.5
        await watcher.changed()

    run_virtual(twice())
    assert stage.pauses == [INTERVAL, 1.0, 0.5, 0.5]


def test_two_changes_are_told_twice(file):
    actions = [lambda: file.write_text("seed = 22\n"), None, lambda: file.write_text("seed = 333\n"), None, None]
    assert Stage([file], actions).told() == [(2, (file,)), (4, (file,))]


def test_a_file_that_is_being_written_is_told_when_it_is_done(file):
    def more() -> None:
        with file.open("a") as stream:
            stream.write("# more\n")

    assert Stage([file], [more, more, more, None, None]).told() == [(4, (file,))]


def test_a_change_that_is_undone_is_none(tmp_path):
    folder, aside = tmp_path / "etc", tmp_path / "aside"
    folder.mkdir()
    file = folder / "config.toml"
    file.write_text("")
    stage = Stage([file], [lambda: folder.rename(aside), lambda: aside.rename(folder), None, None])
    assert stage.told() == []
    assert stage.truth[1] != stage.truth[0] == stage.truth[2]


def test_a_file_that_is_renamed_over_another_of_the_same_size_and_time(file, tmp_path):
    other = tmp_path / "other.toml"

    def replace() -> None:
        other.write_text("seed = 2\n")
        times = file.stat()
        os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
        other.replace(file)

    assert Stage([file], [replace, None, None]).told() == [(2, (file,))]


def test_a_content_of_the_same_size_whose_time_is_set_back(file):
    def rewrite() -> None:
        times = file.stat()
        # Until the file system's own clock has moved on.
        while file.stat().st_ctime_ns == times.st_ctime_ns:
            file.write_text("seed = 2\n")
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert Stage([file], [rewrite, None, None]).told() == [(2, (file,))]


def test_a_link_that_leads_elsewhere_as_in_a_mounted_config_map(tmp_path):
    for version in ("..2026_1", "..2026_2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "config.toml").write_text("seed = 1\n")
    (tmp_path / "..data").symlink_to("..2026_1")
    file = tmp_path / "config.toml"
    file.symlink_to("..data/config.toml")

    def swap() -> None:
        (tmp_path / "..data_tmp").symlink_to("..2026_2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        shutil.rmtree(tmp_path / "..2026_1")

    assert Stage([file], [None, swap, None, None]).told() == [(3, (file,))]


def test_a_file_that_vanishes_for_a_moment_is_told_when_it_is_back(file):
    stage = Stage([file], [file.unlink, lambda: file.write_text("seed = 22\n"), None, None])
    assert stage.told() == [(3, (file,))]
    # A file that is gone gets a whole interval to come back.
    assert stage.pauses == [INTERVAL, INTERVAL, 1.0, INTERVAL]


def test_a_file_that_stays_away_is_told_and_so_is_its_return(file):
    actions = [file.unlink, None, None, lambda: file.write_text("seed = 1\n"), None, None]
    assert Stage([file], actions).told() == [(2, (file,)), (5, (file,))]


def test_a_directory_that_vanishes_and_becomes_a_file(tmp_path):
    file = tmp_path / "etc" / "config.toml"
    file.parent.mkdir()
    file.write_text("")

    def becomes_a_file() -> None:
        shutil.rmtree(file.parent)
        file.parent.write_text("")

    assert Stage([file], [becomes_a_file, None, None]).told() == [(2, (file,))]


def test_a_file_that_cannot_be_looked_at_is_not_one_that_is_missing(file):
    def loop() -> None:
        file.symlink_to(file)

    assert Stage([file], [file.unlink, None, loop, None, None]).told() == [(2, (file,)), (4, (file,))]


def test_new_permissions_are_a_change(file):
    def forbid() -> None:
        before = file.stat().st_ctime_ns
        while file.stat().st_ctime_ns == before:
            file.chmod(0)

    assert Stage([file], [forbid, None, None]).told() == [(2, (file,))]


def test_several_files_that_change_together_are_told_together(file, tmp_path):
    overlay = tmp_path / "config.prod.toml"
    other = tmp_path / "other.toml"
    other.write_text("")

    def both() -> None:
        file.write_text("seed = 22\n")
        overlay.write_text("seed = 3\n")

    assert Stage([file, overlay, other], [both, None, None]).told() == [(2, (file, overlay))]


def test_an_overlay_that_appears_is_told(file):
    files = watched_files(file, environ={"APEX_LLM_ENV": "prod"})
    assert files == (file, file.with_name("config.prod.toml"))
    stage = Stage(files, [None, lambda: files[1].write_text("seed = 2\n"), None, None])
    assert stage.told() == [(3, (files[1],))]


def test_what_changed_between_reading_and_watching_is_told(file):
    read = Snapshot.of([file])
    file.write_text("seed = 22\n")
    assert Stage([file], [None, None, None]).told(since=read) == [(2, (file,))]
    assert Stage([file], [None, None, None]).told() == []


def test_what_changes_while_nobody_waits_is_told_at_the_next_call(file):
    stage = Stage([file], [lambda: file.write_text("seed = 22\n"), *[None] * 4])
    watcher = FileWatcher([file], INTERVAL, sleep=stage.sleep)

    async def twice() -> None:
        assert await watcher.changed() == (file,)
        file.write_text("seed = 333\n")
        assert await watcher.changed() == (file,)

    run_virtual(twice())
    assert stage.pauses == [INTERVAL, 1.0, INTERVAL, 1.0]


@pytest.mark.parametrize("after", [1, 10.5, 11])
def test_a_watcher_that_is_cancelled_leaves_nothing_behind_and_can_go_on(file, after):
    clock = FakeClock()
    watcher = FileWatcher([file], INTERVAL, since=Snapshot.of([file]))
    file.write_text("seed = 22\n")

    async def cancelled_and_again() -> None:
        task = asyncio.create_task(watcher.changed())
        await asyncio.sleep(after)
        if not task.done():
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            task = asyncio.create_task(watcher.changed())
        assert await task == (file,)

    run_virtual(cancelled_and_again(), clock=clock)


def test_looks_are_taken_in_a_thread(file, monkeypatch):
    stat, threads = Path.stat, set()

    def noted(path: Path, **options: object) -> os.stat_result:
        threads.add(threading.get_ident())
        return stat(path, **options)

    watcher = FileWatcher([file], INTERVAL, since=Snapshot.of([file]))
    file.write_text("seed = 22\n")
    monkeypatch.setattr(Path, "stat", noted)
    assert run_virtual(watcher.changed()) == (file,)
    assert threads
    assert threading.get_ident() not in threads


# -- against a model ---------------------------------------------------------------------------------------------------


def expected(truth: Sequence[Snapshot]) -> list[int]:
    """After which looks something is told: the look equals its predecessor, and not what was told last."""
    told, found = truth[0], []
    for number, (before, seen) in enumerate(itertools.pairwise(truth), 1):
        if seen == before and seen != told:
            told = seen
            found.append(number)
    return found


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["keep", "write", "replace", "remove"])), max_size=12))
def test_any_history_is_told_as_the_model_says(history):
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "a.toml", Path(folder) / "b.toml"]
        counter = itertools.count(1)

        def act(file: Path, what: str) -> None:
            text = "x" * next(counter)
            if what == "write":
                file.write_text(text)
            elif what == "replace":
                aside = file.with_suffix(".new")
                aside.write_text(text)
                aside.replace(file)
            elif what == "remove":
                file.unlink(missing_ok=True)

        stage = Stage(files, [lambda file=files[which], what=what: act(file, what) for which, what in history])
        told = stage.told()
    assert [look for look, _ in told] == expected(stage.truth)
    for look, changed in told:
        last = max((earlier for earlier, _ in told if earlier < look), default=0)
        pairs = zip(files, stage.truth[last].traces, stage.truth[look].traces, strict=True)
        assert changed == tuple(file for file, then, now in pairs if then != now)


# -- which files -------------------------------------------------------------------------------------------------------


def test_the_files_of_no_source_are_none():
    assert watched_files(environ={}) == ()
    assert watched_files(environ={"APEX_LLM_ENV": "prod", "APEX_LLM_CONFIG": ""}) == ()


def test_the_files_need_not_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert watched_files("~/c.toml", environ={}) == (tmp_path / "c.toml",)
    environ = {"APEX_LLM_CONFIG": "/nowhere/c.yaml", "APEX_LLM_ENV": "prod"}
    assert watched_files(environ=environ) == (Path("/nowhere/c.yaml"), Path("/nowhere/c.prod.yaml"))
    assert watched_files("d.json", environ=environ) == (Path("d.json"), Path("d.prod.json"))


def test_the_files_of_an_environment_that_is_no_word():
    with pytest.raises(ConfigurationError, match="expected a word"):
        watched_files("c.toml", environ={"APEX_LLM_ENV": "../x"})
