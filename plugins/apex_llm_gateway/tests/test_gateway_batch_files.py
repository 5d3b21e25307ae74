from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from apex_llm_gateway.batch.journal import Journal, JournalError
from apex_llm_gateway.batch.lines import Line, Unreadable, lines_of, read_line, record_id
from hypothesis import given, settings
from hypothesis import strategies as st

CHAT = "/v1/chat/completions"
URLS = (CHAT, "/v1/embeddings")


def raw(custom_id="a", **more):
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": {"model": "m"}, **more}).encode()


def line(custom_id="a", number=1, **more):
    read = read_line(number, raw(custom_id, **more), URLS)
    assert isinstance(read, Line)
    return read


class TestLines:
    def test_what_a_line_says(self):
        read = line("first", 7)
        assert (read.number, read.custom_id, read.url, read.body) == (7, "first", CHAT, {"model": "m"})

    @pytest.mark.parametrize(
        ("data", "code", "words"),
        [
            (b"{", "invalid_json", "no JSON"),
            (b"\xff", "invalid_json", "no JSON"),
            (b"[" * 100_000, "invalid_json", ""),
            (b"[]", "invalid_line", "no JSON object"),
            (b"{}", "invalid_line", "'custom_id'"),
            (raw(custom_id=3), "invalid_line", "'custom_id'"),
            (raw(custom_id=""), "invalid_line", "'custom_id'"),
            (raw(method="GET"), "invalid_line", "'method'"),
            (raw(url="/v1/chat/completion"), "invalid_url", f"did you mean '{CHAT}'?"),
            (raw(url=None), "invalid_url", "'url'"),
            (raw(body=[1]), "invalid_line", "'body'"),
            (raw(boby={}), "invalid_line", "did you mean 'body'?"),
        ],
    )
    def test_what_cannot_be_asked(self, data, code, words):
        read = read_line(12, data, URLS)
        assert isinstance(read, Unreadable)
        assert read.code == code
        assert words in read.message
        assert read.message.startswith("line 12: ")

    @given(
        st.binary(max_size=60) | st.builds(lambda d: json.dumps(d).encode(), st.dictionaries(st.text(), st.integers()))
    )
    def test_any_bytes_are_a_line_or_told_why_not(self, data):
        assert read_line(1, data, URLS).id == record_id(data)

    def test_blank_lines_are_none_and_the_last_needs_no_end(self, tmp_path):
        path = tmp_path / "in.jsonl"
        path.write_bytes(b"\n" + raw("a") + b"\r\n\n  \n" + raw("b"))
        assert [(each.number, each.custom_id) for each in lines_of(path, URLS)] == [(2, "a"), (5, "b")]

    def test_a_mark_of_utf_8_is_no_part_of_the_first_line(self, tmp_path):
        path = tmp_path / "in.jsonl"
        path.write_bytes(b"\xef\xbb\xbf" + raw("a") + b"\n" + raw("b"))
        assert [(each.number, each.custom_id, each.id) for each in lines_of(path, URLS)] == [
            (1, "a", record_id(raw("a"))),
            (2, "b", record_id(raw("b"))),
        ]

    def test_a_file_of_nothing_has_no_lines(self, tmp_path):
        path = tmp_path / "in.jsonl"
        path.touch()
        assert list(lines_of(path, URLS)) == []

    def test_the_later_of_two_with_one_id_cannot_be_asked(self, tmp_path):
        path = tmp_path / "in.jsonl"
        path.write_bytes(b"\n".join([raw("a"), raw("b"), raw("a", body={"model": "n"})]))
        *_, last = lines_of(path, URLS)
        assert isinstance(last, Unreadable)
        assert (last.code, last.custom_id) == ("duplicate_custom_id", "a")
        assert "line 1" in last.message


@pytest.fixture
def files(tmp_path):
    return tmp_path / "out.jsonl", tmp_path / "out.errors.jsonl"


def written(path):
    return [json.loads(text) for text in path.read_text().splitlines()]


class TestJournal:
    def test_good_and_bad_answers_have_their_files(self, files):
        with Journal(*files) as journal:
            journal.answered(line("a"), 200, "req-1", b'{"id":"chatcmpl-1"}')
            journal.answered(line("b"), 404, "req-2", b'{"error":{"code":"model_not_found"}}')
            journal.unreadable(read_line(3, b"{", URLS))
            journal.sync()
        (good,), (bad, unread) = map(written, files)
        assert good == {
            "id": line("a").id,
            "custom_id": "a",
            "response": {"status_code": 200, "request_id": "req-1", "body": {"id": "chatcmpl-1"}},
            "error": None,
        }
        assert bad["response"]["body"]["error"]["code"] == "model_not_found"
        assert unread["response"] is None
        assert unread["error"]["code"] == "invalid_json"

    def test_the_next_run_knows_what_is_finished(self, files):
        lines = [line("a"), line("b"), read_line(3, b"{", URLS), line("c", 4), read_line(5, b"{", URLS)]
        with Journal(*files) as journal:
            journal.answered(lines[0], 200, "", b"{}")
            journal.answered(lines[1], 500, "", b"{}")
            journal.unreadable(lines[2])
        with Journal(*files) as journal:
            assert [journal.finished.covers(each) for each in lines] == [True, True, True, False, False]
            assert [journal.finished.failed(each) for each in lines[:3]] == [False, True, True]
        with Journal(*files, retry_errors=True) as journal:
            assert [journal.finished.covers(each) for each in lines] == [True, False, False, False, False]
        with Journal(*files, overwrite=True) as journal:
            assert not any(map(journal.finished.covers, lines))

    def test_a_changed_line_of_a_known_id_is_told(self, files):
        with Journal(*files) as journal:
            journal.answered(line("a"), 200, "", b"{}")
        with Journal(*files) as journal, pytest.raises(JournalError, match="'a' was answered already"):
            journal.finished.covers(line("a", body={"model": "other"}))

    def test_a_changed_line_that_failed_before_may_be_asked_again(self, files):
        with Journal(*files) as journal:
            journal.answered(line("a"), 404, "", b"{}")
        changed = line("a", body={"model": "other"})
        with Journal(*files) as journal, pytest.raises(JournalError, match=r"'a' failed already.*--retry-errors"):
            journal.finished.covers(changed)
        with Journal(*files, retry_errors=True) as journal:
            assert not journal.finished.covers(changed)

    def test_the_two_files_are_not_mistaken_for_each_other(self, files):
        with Journal(*files) as journal:
            journal.answered(line("a"), 200, "", b"{}")
            journal.answered(line("b"), 404, "", b"{}")
        before = [path.read_bytes() for path in files]
        with pytest.raises(JournalError, match="no record of a batch"), Journal(*reversed(files)):
            pass
        assert [path.read_bytes() for path in files] == before

    def test_half_a_record_that_did_not_fit_is_taken_back(self, files, monkeypatch):
        write, room = os.write, [400]

        def scarce(file, data):
            if not room[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken = write(file, data[: room[0]])
            room[0] -= taken
            return taken

        names = [f"{number}" for number in range(9)]
        with Journal(*files) as journal:
            monkeypatch.setattr(os, "write", scarce)
            for name in names:
                try:
                    journal.answered(line(name), 200, "", b"{}")
                except OSError:
                    room[0] = 1000
        kept = [record["custom_id"] for record in written(files[0])]
        assert len(kept) == 8
        assert set(kept) < set(names)

    @pytest.mark.skipif(os.name == "nt", reason="needs devices that are files")
    def test_devices_are_no_files(self, files):
        with pytest.raises(JournalError, match="choose a regular one"), Journal(Path(os.devnull), files[1]):
            pass

    def test_nothing_is_emptied_when_another_run_has_one_of_the_files(self, files, tmp_path):
        other = tmp_path / "other.jsonl"
        with Journal(other, tmp_path / "mine") as journal:
            journal.answered(line("a"), 200, "", b"{}")
        before = other.read_bytes()
        with Journal(*files), pytest.raises(JournalError, match="another run"):
            Journal(other, files[1], overwrite=True).open()
        assert other.read_bytes() == before

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_whatever_a_killed_run_left_is_gone_on_with(self, tmp_path_factory, data):
        folder = tmp_path_factory.mktemp("cut")
        files = folder / "out", folder / "errors"
        lines = [line(f"é-{number}", number) for number in range(5)]
        with Journal(*files) as journal:
            for each in lines:
                journal.answered(each, 200, "r", b'{"text":"%b"}' % (b"x" * 50))
        whole = files[0].read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        files[0].write_bytes(whole[:cut])
        with Journal(*files) as journal:
            left = [each for each in lines if not journal.finished.covers(each)]
            assert len(left) == 5 - whole[:cut].count(b"\n")
            for each in left:
                journal.answered(each, 200, "r", b'{"text":"%b"}' % (b"x" * 50))
        assert files[0].read_bytes() == whole

    @pytest.mark.parametrize(
        "content",
        [b"my notes\n", b"my notes", b"{}\n", b'{"id":1}\n', b'{"id":"x","custom_id":null,"error":null}\n', b"[" * 9],
    )
    def test_files_of_others_are_left_alone(self, files, content):
        files[0].write_bytes(content)
        with pytest.raises(JournalError, match="no record of a batch"), Journal(*files):
            pass
        assert files[0].read_bytes() == content

    def test_two_runs_do_not_share_a_file(self, files):
        with Journal(*files), pytest.raises(JournalError, match="another run"), Journal(*files):
            pass
        with Journal(*files):
            pass

    def test_nothing_stays_open(self, files):
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
        with Journal(*files):
            pass
        files[1].write_text("notes")
        with pytest.raises(JournalError), Journal(*files):
            pass
        assert before in {0, len(os.listdir("/proc/self/fd"))}  # noqa: PTH208
