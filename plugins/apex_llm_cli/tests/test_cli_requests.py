"""Commands through the whole chain: command line, manager, strategy, mock provider."""

from __future__ import annotations

import base64
import io
import json
import struct
import sys
import tomllib

import pytest
from apex_llm_cli.answering import describe_answer
from apex_llm_cli.commands.image import targets
from apex_llm_cli.commands.models import price
from apex_llm_cli.commands.providers import served_operations
from apex_llm_cli.main import cli
from click.testing import CliRunner

from apex_llm_core.errors import Attempt, PluginError
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models import HealthState, HealthStatus, ImageGenerationResult, ModelInfo, Usage

CONFIG = """
[manager]
default_model = "large"

[[providers]]
name = "primary"
type = "mock"
priority = 1
region = "us"
retry_count = 0
{more}
[providers.options]
{options}
[[providers.models]]
id = "large"
provider_model_id = "mock-large"
cost_per_input_token = 2.5e-6
cost_per_output_token = 1e-5

[[providers.models]]
id = "vectors"
provider_model_id = "mock-embed"

[[providers.models]]
id = "pictures"
provider_model_id = "mock-image"

[[providers]]
name = "spare"
type = "mock"
enabled = false
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command line with a configuration around one mock provider."""
    monkeypatch.delenv("APEX_LLM_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, options="", more="", piped=None):
        (tmp_path / "config.toml").write_text(CONFIG.format(options=options, more=more))
        return CliRunner().invoke(cli, ["--config", "config.toml", *arguments], prog_name="apex-llm", input=piped)

    return run


class TestChat:
    def test_the_answer_is_streamed_text(self, run):
        result = run("chat", "hello", "world", options="chunk_size = 2")
        assert (result.exit_code, result.stdout, result.stderr) == (0, "hello world\n", "")

    def test_the_whole_answer_is_the_same(self, run):
        assert run("chat", "hello", "world", "--no-stream").stdout == "hello world\n"

    def test_what_is_piped_in_follows_the_prompt(self, run):
        assert run("chat", "sum up:", piped="a text").stdout == "sum up:\n\na text\n"

    def test_no_second_line_end_after_an_answer_that_has_one(self, run):
        for how in ([], ["--no-stream"]):
            assert run("chat", "hello", *how, options='script = [{ text = "done\\n" }]').stdout == "done\n"

    def test_streams_as_json_are_one_chunk_a_line(self, run):
        lines = run("chat", "hello world", "--json", options="chunk_size = 3").stdout.splitlines()
        chunks = [json.loads(line) for line in lines]
        assert len(chunks) > 2
        assert "".join(chunk["text"] for chunk in chunks) == "hello world"
        assert [chunk["finish_reason"] for chunk in chunks if chunk["finish_reason"]] == ["stop"]
        assert chunks[-1]["usage"]["completion_tokens"] > 0

    def test_a_whole_answer_as_json_is_the_result_object(self, run):
        result = json.loads(run("chat", "hello", "--no-stream", "--json").stdout)
        assert result["message"]["content"] == "hello"
        assert (result["provider"], result["model"], result["finish_reason"]) == ("primary", "large", "stop")
        usage = result["usage"]
        expected = usage["prompt_tokens"] * 2.5e-6 + usage["completion_tokens"] * 1e-5
        assert result["cost"] == pytest.approx(expected)
        assert [attempt["provider"] for attempt in result["attempts"]] == ["primary"]

    def test_options_reach_the_provider(self, run):
        result = run("chat", "one two three four five", "--max-tokens", "2", "--no-stream", "--json")
        answer = json.loads(result.stdout)
        assert answer["finish_reason"] == "length"
        assert answer["usage"]["completion_tokens"] <= 2
        assert run("chat", "one two three", "--stop", "two", "--stop", "three").stdout == "one \n"

    def test_the_system_message_is_sent(self, run):
        without = json.loads(run("chat", "hello", "--no-stream", "--json").stdout)["usage"]["prompt_tokens"]
        result = run("chat", "hello", "--system", "be very very brief", "--no-stream", "--json")
        assert json.loads(result.stdout)["usage"]["prompt_tokens"] > without

    def test_a_provider_may_be_named(self, run):
        assert run("chat", "-p", "primary", "-m", "mock-small", "hello").stdout == "hello\n"

    def test_a_failing_provider_exits_with_1(self, run):
        result = run("chat", "hello", options='faults = [{ error = "authentication_error" }]')
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("error: ")
        document = run("chat", "hello", "--json", options='faults = [{ error = "authentication_error" }]')
        error = json.loads(document.stdout)["error"]
        assert (error["type"], error["provider"], error["retryable"]) == ("authentication_error", "primary", False)
        assert [attempt["error_type"] for attempt in error["attempts"]] == ["authentication_error"]

    def test_a_stream_that_breaks_ends_its_line_before_the_error(self, run):
        options = 'chunk_size = 2\nfaults = [{ error = "service_unavailable_error", when = "mid_stream" }]'
        result = run("chat", "a long enough answer to break", options=options)
        assert result.exit_code == 1
        assert result.stdout.endswith("\n")
        assert "a long enough answer to break".startswith(result.stdout.rstrip("\n"))
        assert len(result.stdout) > 1
        assert result.stderr.count("\n") == 1
        lines = run("chat", "a long enough answer to break", "--json", options=options).stdout.splitlines()
        assert json.loads(lines[-1])["error"]["type"] == "service_unavailable_error"
        assert "text" in json.loads(lines[0])


class TestText:
    def test_streamed_and_whole(self, run):
        assert run("text", "once", "upon").stdout == "once upon\n"
        assert run("text", "--no-stream", piped="once upon").stdout == "once upon\n"
        assert json.loads(run("text", "once", "--no-stream", "--json").stdout)["text"] == "once"

    def test_it_takes_no_system_message(self, run):
        assert run("text", "once", "--system", "x").exit_code == 2


class TestEmbed:
    def test_a_table_of_each_text(self, run):
        lines = run("embed", "-m", "vectors", "--dimensions", "8", "short", "x" * 60).stdout.splitlines()
        assert lines[0].split()[:2] == ["text", "dimensions"]
        assert [line.split()[1] for line in lines[1:]] == ["8", "8"]
        assert lines[2].startswith("x" * 39 + "… ")

    def test_json_has_all_vectors(self, run):
        result = json.loads(run("embed", "-m", "vectors", "--json", "--lines", piped="one\ntwo\n").stdout)
        assert len(result["embeddings"]) == 2
        assert result["embedding"] == result["embeddings"][0]
        assert sum(number**2 for number in result["embedding"]) == pytest.approx(1)


class TestImage:
    def test_the_file_is_the_image(self, run, tmp_path):
        result = run("image", "-m", "pictures", "a", "cat", "-o", "cat.png", "--size", "64x32")
        assert (result.exit_code, result.stdout, result.stderr) == (0, "cat.png\n", "")
        content = (tmp_path / "cat.png").read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">II", content[16:24]) == (64, 32)

    def test_several_images_are_numbered(self, run, tmp_path):
        result = run("image", "-m", "pictures", "cat", "-o", "cat.png", "--n", "2", "--json")
        document = json.loads(result.stdout)
        assert document["files"] == ["cat-1.png", "cat-2.png"]
        for file, image in zip(document["files"], document["images"], strict=True):
            assert (tmp_path / file).read_bytes() == base64.b64decode(image)
        assert not (tmp_path / "cat.png").exists()

    def test_nothing_is_overwritten_without_force(self, run, tmp_path):
        (tmp_path / "cat.png").write_bytes(b"mine")
        refused = run(
            "image", "-m", "pictures", "cat", "-o", "cat.png", options='faults = [{ error = "unknown_error" }]'
        )
        assert refused.exit_code == 2, "it asked the provider first"
        assert "--force" in refused.stderr
        assert (tmp_path / "cat.png").read_bytes() == b"mine"
        assert run("image", "-m", "pictures", "cat", "-o", "cat.png", "--force").exit_code == 0
        assert (tmp_path / "cat.png").read_bytes() != b"mine"

    def test_a_name_that_says_another_format_is_warned_of(self, run):
        result = run("image", "-m", "pictures", "cat", "-o", "cat.jpg")
        assert result.exit_code == 0
        assert result.stderr == "warning: the image is image/png, though 'cat.jpg' says image/jpeg\n"

    @pytest.mark.parametrize("arguments", [(), ("-o", "nowhere/cat.png"), ("-o", ".")])
    def test_a_file_that_cannot_be_is_a_usage_error(self, run, arguments):
        result = run("image", "cat", *arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)

    @pytest.mark.parametrize(
        ("images", "media_type", "code", "out"),
        [
            (("https://example.org/cat.png",), None, 0, "https://example.org/cat.png\n"),
            (("not base64!",), "image/png", 1, ""),
        ],
    )
    def test_links_are_printed_and_garbage_is_the_providers_failure(
        self, run, monkeypatch, tmp_path, images, media_type, code, out
    ):
        async def answer(self, prompt, **options):
            attempt = Attempt(number=1, provider="primary", model="m", duration=0.0)
            return ImageGenerationResult(
                images=images, media_type=media_type, model="m", provider="primary", attempts=(attempt,)
            )

        monkeypatch.setattr(LLMProviderManager, "generate_image", answer)
        result = run("image", "cat", "-o", "cat.png")
        assert (result.exit_code, result.stdout) == (code, out)
        assert not (tmp_path / "cat.png").exists()

    def test_pictures_go_along_to_be_changed(self, run, tmp_path, monkeypatch):
        sent = {}
        draw = LLMProviderManager.generate_image

        async def watched(self, prompt, **options):
            sent.update(options)
            return await draw(self, prompt, **options)

        monkeypatch.setattr(LLMProviderManager, "generate_image", watched)
        (tmp_path / "a.png").write_bytes(b"picture")
        (tmp_path / "m.png").write_bytes(b"mask")
        arguments = ("-o", "new.png", "--change", "a.png", "--change", "a.png", "--mask", "m.png")
        assert run("image", "-m", "pictures", "cat", *arguments).exit_code == 0
        assert [base64.b64decode(part.data) for part in (*sent["images"], sent["mask"])] == [b"picture"] * 2 + [b"mask"]
        assert {part.media_type for part in sent["images"]} == {"image/png"}

    @pytest.mark.parametrize("arguments", [("--change", "no.png"), ("--change", "a.txt"), ("--mask", "a.png")])
    def test_pictures_that_cannot_be_changed_are_refused(self, run, tmp_path, arguments):
        (tmp_path / "a.txt").write_bytes(b"text")
        (tmp_path / "a.png").write_bytes(b"mask without picture")
        result = run("image", "-m", "pictures", "cat", "-o", "new.png", *arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)

    def test_targets(self, tmp_path):
        assert [file.name for file in targets(tmp_path / "a.b.png", 2)] == ["a.b-1.png", "a.b-2.png"]


class TestLists:
    def test_models(self, run):
        document = json.loads(run("models", "--json").stdout)
        first = document["models"][0]
        assert (first["id"], first["provider"], first["cost_per_input_token"]) == ("large", "primary", 2.5e-6)
        lines = run("models").stdout.splitlines()
        assert lines[0].split(maxsplit=5) == [
            "model",
            "provider",
            "type",
            "capabilities",
            "context",
            "input per M  output per M",
        ]
        assert lines[1].split()[-2:] == ["2.5", "10"]
        assert run("models", "-p", "primary").stdout == run("models").stdout
        assert "did you mean 'primary'" in run("models", "-p", "primry").stderr

    def test_models_that_no_configuration_lists_are_told_apart(self, run):
        assert {model["listed"] for model in json.loads(run("models", "--json").stdout)["models"]} == {True}
        document = json.loads(run("models", "--all", "--json").stdout)
        listed = {model["id"]: model["listed"] for model in document["models"]}
        assert listed == {"large": True, "vectors": True, "pictures": True, "mock-small": False}
        lines = run("models", "--all").stdout.splitlines()
        assert lines[0].split()[-1] == "listed"
        assert {line.split()[0]: line.split()[-1] for line in lines[1:]}["mock-small"] == "no"
        assert "mock-small" not in run("models").stdout
        # What the table promises: only with the provider can it be asked for.
        assert run("chat", "-m", "mock-small", "hello").exit_code == 2
        assert run("chat", "-m", "mock-small", "-p", "primary", "hello").exit_code == 0

    def test_the_operations_of_a_provider_are_those_of_its_models(self):
        offered = frozenset({"text", "chat", "stream", "embed"})
        chat = ModelInfo(id="a", capabilities=frozenset({"chat", "tools", "image"}))
        embed = ModelInfo(id="b", capabilities=frozenset({"embed"}))
        assert served_operations(offered, [chat, embed]) == {"chat", "embed"}
        assert served_operations(offered, [chat, ModelInfo(id="c")]) == offered
        assert served_operations(offered, []) == frozenset()

    def test_an_unknown_price_is_unknown(self):
        assert (price(None), price(0.0), price(1e-7)) == ("unknown", "0", "0.1")

    def test_providers(self, run):
        rows = json.loads(run("providers", "--json").stdout)["providers"]
        assert [(row["name"], row["enabled"]) for row in rows] == [("primary", True), ("spare", False)]
        assert rows[0]["models"] == ["large", "vectors", "pictures"]
        assert {"chat", "embed", "image", "stream", "text"} <= set(rows[0]["operations"])
        lines = run("providers").stdout.splitlines()
        assert lines[1].split()[:6] == ["primary", "mock", "yes", "1", "1", "us"]
        assert lines[2].split()[2] == "no"

    def test_health(self, run):
        well = run("health", "--json")
        assert well.exit_code == 0
        (row,) = json.loads(well.stdout)["health"]
        assert (row["provider"], row["status"]) == ("primary", "healthy")
        ill = run("health", options='health = "unavailable"')
        assert ill.exit_code == 1
        assert ill.stdout.splitlines()[1].split()[:2] == ["primary", "unavailable"]
        assert run("health", options='health = "degraded"').exit_code == 0

    def test_a_provider_whose_plugin_is_broken_fails_the_health_check(self, run, monkeypatch):
        async def answer(self):
            return {"broken": HealthStatus(status=HealthState.UNAVAILABLE, message="its plugin cannot be imported")}

        monkeypatch.setattr(LLMProviderManager, "get_health", answer)
        result = run("health")
        assert result.exit_code == 1
        assert "its plugin cannot be imported" in result.stdout


class TestConfig:
    def test_check_tells_what_there_is(self, run):
        result = run("config", "check")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[0] == "valid: config.toml"
        document = json.loads(run("config", "check", "--json").stdout)
        assert document["valid"] is True
        assert (document["providers"], document["models"]) == (["primary"], ["large", "pictures", "vectors"])

    def test_check_exits_with_2_when_a_plugin_cannot_be_used(self, run, monkeypatch):
        failure = PluginError("cannot be imported", plugin="x", distribution="acme", version="2")
        monkeypatch.setattr(LLMProviderManager, "failures", property(lambda self: [failure]))
        result = run("config", "check")
        assert result.exit_code == 2
        lines = result.stdout.splitlines()
        assert (lines[0], lines[-1]) == ("not valid: config.toml", f"failed: {failure.message}")
        document = json.loads(run("config", "check", "--json").stdout)
        assert (document["valid"], document["failures"]) == (False, [failure.message])

    def test_a_literal_secret_is_warned_of_and_never_shown(self, run):
        more = 'auth = { type = "none", credentials = { api_key = "literal-secret-value" } }'
        shown = run("config", "show", more=more)
        assert "literal-secret-value" not in shown.output
        assert tomllib.loads(shown.stdout)["providers"][0]["auth"]["credentials"] == {"api_key": "***"}
        assert "literal-secret-value" not in run("config", "check", more=more).output

    def test_show_is_toml_and_json_of_the_same(self, run):
        written = tomllib.loads(run("config", "show").stdout)
        document = json.loads(run("config", "show", "--json").stdout)
        assert written["manager"]["max_attempts"] == document["manager"]["max_attempts"] == 6
        assert [provider["name"] for provider in written["providers"]] == ["primary", "spare"]
        assert {"files", "warnings", "extensions"}.isdisjoint(document)

    def test_what_show_prints_is_a_configuration(self, run, tmp_path):
        (tmp_path / "again.toml").write_text(run("config", "show").stdout)
        result = CliRunner().invoke(cli, ["--config", str(tmp_path / "again.toml"), "config", "show"])
        assert result.stdout.partition("\n")[2] == run("config", "show").stdout.partition("\n")[2]

    def test_without_a_file_the_installed_defaults_are_shown(self, run):
        result = CliRunner().invoke(cli, ["config", "show"])
        assert "mock" in {provider["type"] for provider in tomllib.loads(result.stdout)["providers"]}
        assert result.stderr.startswith("warning: no configuration given")
        assert result.stderr.count("\n") == 1

    def test_schema_is_a_json_schema(self, run):
        schema = json.loads(run("config", "schema").stdout)
        assert {"manager", "providers"} <= set(schema["properties"])


BAD_TABLES = {
    "unknown plugin": ('[[providers]]\nname = "a"\ntype = "mok"', "did you mean 'mock'"),
    "unknown strategy": ('[manager]\nselection_strategy = "priorty"', "did you mean 'priority'"),
    "unknown middleware": ('[[middleware]]\ntype = "nothing-like-it"', "nothing-like-it"),
    "two providers with one name": ('[[providers]]\nname = "a"\ntype = "mock"\n' * 2, "a"),
    "malformed": ("[manager", "bad.toml"),
    "unknown key": ("[manager]\nmax_atempts = 3", "did you mean 'max_attempts'"),
    "wrong type": ('[manager]\nmax_attempts = "3"', "manager.max_attempts"),
    "missing secret": (
        '[[providers]]\nname = "a"\ntype = "mock"\nauth = { type = "none", credentials = { api_key = "env:NO_SUCH_X" } }',
        "NO_SUCH_X is not set",
    ),
    "unknown option": (
        '[[providers]]\nname = "a"\ntype = "mock"\noptions = { chunk_sise = 2 }',
        "did you mean 'chunk_size'",
    ),
}


@pytest.mark.parametrize(("text", "expected"), BAD_TABLES.values(), ids=BAD_TABLES)
@pytest.mark.parametrize("command", [("config", "check"), ("chat", "hello")], ids=" ".join)
def test_a_bad_configuration_is_one_line_and_exit_2(tmp_path, text, expected, command):
    (tmp_path / "bad.toml").write_text(text)
    arguments = ["--config", str(tmp_path / "bad.toml"), *command]
    result = CliRunner().invoke(cli, arguments, prog_name="apex-llm")
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert expected in result.stderr
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error"]
    document = CliRunner().invoke(cli, [*arguments, "--json"], prog_name="apex-llm")
    assert json.loads(document.stdout)["error"]["type"] in ("configuration_error", "plugin_error")


BAD_REQUESTS = {
    "unknown model": (["chat", "-m", "lrge", "hi"], "did you mean 'large'"),
    "unknown provider": (["chat", "-p", "primry", "hi"], "did you mean 'primary'"),
    "no model": (["chat", "-m", "", "hi"], "no model is called ''"),
    "no model to embed with": (["embed", "-m", " ", "hi"], "no model is called ' '"),
    "no provider": (["chat", "-p", "", "hi"], "no provider is called ''"),
    "nan": (["chat", "--temperature", "nan", "hi"], "temperature"),
    "negative": (["chat", "--top-p", "-1", "hi"], "top_p"),
    "infinite": (["text", "--timeout", "inf", "hi"], "timeout"),
    "zero tokens": (["chat", "--max-tokens", "0", "hi"], "max_tokens"),
    "no number": (["chat", "--max-tokens", "ten", "hi"], "'ten'"),
    "negative dimensions": (["embed", "--dimensions", "-3", "hi"], "dimensions"),
    "no images": (["image", "--n", "0", "-o", "x.png", "hi"], "n is 0"),
    "empty message": (["chat", ""], "empty"),
    "empty text": (["embed", " "], "empty"),
    "a model that cannot": (["embed", "-m", "large", "hi"], "embed"),
    "unknown option": (["chat", "--modle", "large", "hi"], "--model"),
    "missing file": (["--config", "no-such.toml", "models"], "no-such.toml"),
    "a directory": (["--config", ".", "models"], "error"),
}


@pytest.mark.parametrize(("arguments", "expected"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_is_one_line_and_exit_2(run, arguments, expected):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert expected in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


class TestFooter:
    def test_what_nobody_told_is_unknown(self):
        line = describe_answer(
            provider="p", model="m", usage=None, cost=None, seconds=0.5, attempts=1, finish_reason="stop"
        )
        assert line == "p/m, tokens unknown, cost unknown, 0.50 s"

    def test_everything(self):
        usage = Usage(prompt_tokens=3, completion_tokens=4, estimated=True)
        line = describe_answer(
            provider="p", model="m", usage=usage, cost=0.00012, seconds=1, attempts=2, finish_reason="length"
        )
        assert line == "p/m, about 3 + 4 tokens, cost 0.000120, 1.00 s, 2 attempts, ended by length"

    def test_it_stands_on_standard_error_of_a_terminal_only(self, run, monkeypatch):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        from apex_llm_cli import answering

        stream = Terminal()
        monkeypatch.setattr(answering, "is_terminal", lambda stream: stream is sys.stderr)
        monkeypatch.setattr(answering, "print_dim", stream.write)
        assert run("chat", "hello").stdout == "hello\n"
        assert stream.getvalue().startswith("primary/large, ")
