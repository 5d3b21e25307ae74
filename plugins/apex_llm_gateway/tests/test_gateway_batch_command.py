from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

CHAT = "/v1/chat/completions"
PATIENCE = 60


def request(custom_id, text="Hello", url=CHAT, **body):
    if url == CHAT:
        body = {"model": "mock-small", "messages": [{"role": "user", "content": text}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


class Folder:
    """Where a batch is run, as a process of its own."""

    def __init__(self, path):
        self.path = path
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("APEX_LLM")}

    def configure(self, **options):
        provider = {"name": "mock", "type": "mock", "options": options}
        (self.path / "config.json").write_text(json.dumps({"providers": [provider]}))

    def write(self, *requests):
        lines = [each if isinstance(each, str) else json.dumps(each) for each in requests]
        (self.path / "in.jsonl").write_text("".join(f"{line}\n" for line in lines))

    def start(self, *more, **how):
        command = [
            sys.executable,
            "-m",
            "apex_llm_cli",
            "batch",
            "in.jsonl",
            "-o",
            "out.jsonl",
            "--config",
            "config.json",
        ]
        return subprocess.Popen(
            [*command, *more],
            cwd=self.path,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **how,
        )

    def run(self, *more, **how):
        process = self.start(*more, **how)
        output, told = process.communicate(timeout=PATIENCE)
        return process.returncode, output, told

    def until(self, process, more):
        """Wait until *process* has added so many bytes to the output, or ends."""
        path = self.path / "out.jsonl"

        def size():
            return path.stat().st_size if path.exists() else 0

        enough, ending = size() + more, time.monotonic() + PATIENCE
        while process.poll() is None and size() < enough:
            assert time.monotonic() < ending
            time.sleep(0.01)

    def records(self, name="out.jsonl"):
        """Return what is whole; a run that was killed may have left a part of a line behind."""
        path = self.path / name
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.fixture
def folder(tmp_path):
    found = Folder(tmp_path)
    found.configure()
    return found


def test_every_kind_of_line(folder):
    folder.write(
        request("chat", "Say this"),
        request("text", url="/v1/completions", model="mock-small", prompt=["one", "two"]),
        request("vectors", url="/v1/embeddings", model="mock-embed", input=["a", "b"], encoding_format="base64"),
        request("picture", url="/v1/images/generations", model="mock-image", prompt="a tree"),
        request("placed", model="mock/mock-large"),
        request("nobody", model="no-such-model"),
        request("streamed", stream=True),
        request("wrong", temperature="warm"),
        "no json",
        request("chat", "again"),
    )
    code, output, _ = folder.run("--json")
    summary = json.loads(output)
    good = {record["custom_id"]: record["response"]["body"] for record in folder.records()}
    assert code == 1
    assert good["chat"]["choices"][0]["message"]["content"]
    assert [choice["index"] for choice in good["text"]["choices"]] == [0, 1]
    assert all(isinstance(each["embedding"], str) for each in good["vectors"]["data"])
    assert good["picture"]["data"][0]["b64_json"]
    assert good["placed"]["model"] == "mock-large"
    bad = {record["custom_id"]: record for record in folder.records("out.errors.jsonl")}
    assert bad["nobody"]["response"]["status_code"] == 404
    assert bad["streamed"]["response"]["body"]["error"]["param"] == "stream"
    assert bad["wrong"]["response"]["body"]["error"]["param"] == "temperature"
    assert bad[None]["error"]["line"] == 9
    assert bad["chat"]["error"]["code"] == "duplicate_custom_id"
    assert (summary["lines"], summary["succeeded"], summary["failed"], summary["left"]) == (10, 5, 5, 0)


def test_records_are_read_by_the_official_types(folder):
    from openai.types.chat import ChatCompletion

    folder.write(request("a"))
    assert folder.run()[0] == 0
    (record,) = folder.records()
    assert ChatCompletion.model_validate(record["response"]["body"], strict=True).choices


def test_a_second_run_asks_nothing(folder):
    folder.write(request("a"), request("b"), request("c", model="none"))
    assert folder.run()[0] == 1
    before = (folder.path / "out.jsonl").read_bytes(), (folder.path / "out.errors.jsonl").read_bytes()
    code, output, told = folder.run("--json")
    summary = json.loads(output)
    assert (code, told) == (1, "")
    assert (summary["skipped"], summary["failed_before"], summary["succeeded"]) == (3, 1, 0)
    assert before == ((folder.path / "out.jsonl").read_bytes(), (folder.path / "out.errors.jsonl").read_bytes())


def test_errors_are_asked_again_when_that_is_wanted(folder):
    folder.write(request("a"), request("b", model="mock-late"))
    advice = "1 failed: 'errors' says why, and --retry-errors asks them again\n"
    assert folder.run()[::2] == (1, advice)
    code, output, told = folder.run()
    assert (code, told) == (1, advice)
    assert "lines/s" not in output
    folder.configure(unknown_models="serve")
    provider = {
        "name": "mock",
        "type": "mock",
        "models": [{"id": "mock-small"}, {"id": "mock-late", "base_model": "mock-small"}],
    }
    (folder.path / "config.json").write_text(json.dumps({"providers": [provider]}))
    assert folder.run("--retry-errors")[0] == 0
    assert [record["custom_id"] for record in folder.records()] == ["a", "b"]
    assert folder.records("out.errors.jsonl") == []


def test_a_killed_run_loses_nothing_and_repeats_nothing(folder):
    chance = random.Random(7)
    folder.configure(first_chunk={"seconds": 0.01})
    names = [f"line-{number}" for number in range(300)]
    folder.write(*(request(name, f"Say {name}") for name in names))
    kills = 0
    for _ in range(6):
        process = folder.start("--concurrency", "2")
        folder.until(process, chance.randrange(1, 20_000))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
    assert kills >= 3
    assert len(folder.records()) < len(names)
    assert folder.run()[0] == 0
    records = folder.records()
    assert sorted(record["custom_id"] for record in records) == sorted(names)
    assert all(record["response"]["body"]["choices"] for record in records)


def test_ctrl_c_finishes_what_is_under_way_and_says_how_to_go_on(folder):
    folder.configure(first_chunk={"seconds": 0.3})
    folder.write(*(request(f"{number}") for number in range(500)))
    process = folder.start("--concurrency", "5")
    folder.until(process, 1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)
    done = len(folder.records())
    assert process.returncode == 130
    assert f"{500 - done} lines left; the same command goes on" in told
    # Those that were under way, when the first came back, are among them.
    assert 5 <= done < 500
    assert "Traceback" not in told
    folder.configure()
    assert folder.run()[0] == 0
    assert len(folder.records()) == 500


@pytest.mark.parametrize("source", ["-", "/dev/stdin"])
def test_what_cannot_be_read_again_is_no_input(folder, source):
    folder.write(request("a"))
    command = [
        sys.executable,
        "-m",
        "apex_llm_cli",
        "batch",
        source,
        "-o",
        "out.jsonl",
        "--config",
        "config.json",
    ]
    ran = subprocess.run(
        command,
        cwd=folder.path,
        env=folder.environ,
        input=(folder.path / "in.jsonl").read_text(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 2
    assert "save it in a file" in ran.stderr
    assert not (folder.path / "out.jsonl").exists()


def test_answers_are_not_lost_to_a_configuration_that_cannot_be_used(folder):
    folder.write(request("a"))
    assert folder.run()[0] == 0
    before = folder.records()
    (folder.path / "config.json").write_text('{"providers": [{"name": "mock", "type": "mok"}]}')
    assert folder.run("--overwrite")[0] == 2
    assert folder.records() == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of processes")
def test_a_full_disk_is_told_and_the_run_gone_on_with(folder):
    import resource

    folder.write(*(request(f"{number}", "x" * 300) for number in range(100)))

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    code, _, told = folder.run(preexec_fn=small_files)
    assert code == 1
    assert "the same command goes on" in told
    kept = len(folder.records())
    assert 0 < kept < 100
    code, output, _ = folder.run("--json")
    assert (code, json.loads(output)["skipped"]) == (0, kept)
    assert sorted(int(record["custom_id"]) for record in folder.records()) == list(range(100))


def test_the_pace_is_found_out_when_that_is_wanted(folder):
    folder.write(*(request(f"{number}") for number in range(100)))
    assert folder.run("--concurrency", "auto")[0] == 0
    assert len(folder.records()) == 100


def test_money_ends_it(folder):
    model = {"id": "mock-small", "cost_per_input_token": 0.5, "cost_per_output_token": 0.5}
    provider = {"name": "mock", "type": "mock", "models": [model]}
    (folder.path / "config.json").write_text(json.dumps({"providers": [provider]}))
    folder.write(*(request(f"{number}") for number in range(50)))
    code, output, told = folder.run("--max-cost", "20", "--concurrency", "1")
    assert code == 1
    assert "--max-cost is reached" in told
    assert 1 <= len(folder.records()) < 50
    assert "left" in output


def test_unknown_costs_are_not_zero(folder):
    models = [{"id": "without-price"}]
    provider = {"name": "mock", "type": "mock", "models": models, "options": {"unknown_models": "serve"}}
    (folder.path / "config.json").write_text(json.dumps({"providers": [provider]}))
    folder.write(request("a", model="without-price"))
    code, output, _ = folder.run("--json")
    summary = json.loads(output)
    assert code == 0
    assert (summary["cost"], summary["cost_unknown"]) == (None, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--errors", "out.jsonl"], "three files"),
        (["--errors", "in.jsonl"], "three files"),
        (["--errors", "no/such/folder"], "no/such/folder"),
        (["-o", "-"], "standard output is none"),
        (["--errors", "-"], "standard output is none"),
        (["--concurrency", "0"], "from 1 to 1000"),
        (["--concurrency", "1001"], "from 1 to 1000"),
        (["--concurrency", "many"], "'auto'"),
    ],
)
def test_wrong_usage(folder, arguments, words):
    folder.write(request("a"))
    code, _, told = folder.run(*arguments)
    assert code == 2
    assert words in told
    assert json.loads((folder.path / "in.jsonl").read_text())["custom_id"] == "a"


def test_files_of_others_are_left_alone(folder):
    folder.write(request("a"))
    (folder.path / "out.jsonl").write_text("my notes\n")
    code, _, told = folder.run()
    assert code == 2
    assert "--overwrite" in told
    assert (folder.path / "out.jsonl").read_text() == "my notes\n"


def test_a_line_that_changed_since_is_told_before_anything_is_asked(folder):
    folder.write(request("a"))
    assert folder.run()[0] == 0
    folder.write(request("new"), request("a", "Something else"))
    code, _, told = folder.run()
    assert code == 2
    assert "line 2" in told
    assert len(folder.records()) == 1
