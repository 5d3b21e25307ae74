from __future__ import annotations

import errno
import json
import subprocess
import sys
import types

import click
import pytest
from apex_llm_cli import group, main
from click.testing import CliRunner

from apex_llm_core.errors import (
    Attempt,
    ConfigurationError,
    ConfigurationWarning,
    InvalidRequestError,
    LLMErrorType,
    ModelNotFoundError,
    PluginError,
    RateLimitError,
)
from apex_llm_core.plugin.discovery import COMMANDS, PluginSource

ATTEMPT = Attempt(number=1, provider="p", model="m", duration=0.1, error_type=LLMErrorType.RATE_LIMIT_ERROR)


def source(name, value, **fields):
    return PluginSource(name=name, group=COMMANDS, distribution="acme-tools", version="1.2", value=value, **fields)


@pytest.fixture
def installed(monkeypatch):
    """Commands that `discover` finds; values name attributes of a module made up here."""
    module = types.ModuleType("acme_commands")
    monkeypatch.setitem(sys.modules, "acme_commands", module)
    found = {}
    monkeypatch.setattr(group, "discover", lambda _group: dict(found))

    def install(name, command, **fields):
        attribute = name.replace("-", "_")
        setattr(module, attribute, command)
        found[name] = source(name, f"acme_commands:{attribute}", **fields)

    install.found = found
    return install


def run(*arguments, **keywords):
    return CliRunner().invoke(main.cli, list(arguments), prog_name="apex-llm", **keywords)


def failing(error):
    @click.command("fail")
    def command():
        raise error

    return command


class TestDiscovery:
    def test_a_command_of_another_distribution_runs(self, installed):
        installed("hello", click.Command("hello", callback=lambda: click.echo("hello")))
        assert run("hello").output == "hello\n"

    def test_a_broken_command_is_reported_and_hides_no_other(self, installed):
        installed("hello", click.Command("hello", help="Say hello.", callback=lambda: click.echo("hello")))
        installed.found["bad"] = source("bad", "acme_no_such_module:command")
        broken = run("bad")
        assert broken.exit_code == 2
        assert broken.stderr.startswith("error: plugin 'bad' (from acme-tools 1.2): cannot be imported: ModuleNotFound")
        assert broken.stderr.count("\n") == 1
        assert run("hello").output == "hello\n"
        listing = " ".join(run("--help").output.split())
        assert "hello Say hello." in listing
        assert "bad (broken) plugin 'bad' (from acme-tools 1.2)" in listing

    def test_an_object_that_is_no_command_is_reported(self, installed):
        installed("odd", object())
        assert "is no click command but object" in run("odd").stderr

    def test_a_command_for_another_core_is_not_imported(self, installed):
        installed("old", click.Command("old"), requires_core=">=99")
        result = run("old")
        assert result.exit_code == 2
        assert "needs apex-llm-core >=99" in result.stderr

    def test_hidden_commands_run_but_are_not_listed(self, installed):
        installed("secret", click.Command("secret", hidden=True, callback=lambda: click.echo("ran")))
        assert run("secret").output == "ran\n"
        assert "secret" not in run("--help").output

    def test_an_unknown_command_names_the_nearest(self, installed):
        installed("models", click.Command("models"))
        result = run("model")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "error: no such command 'model'; did you mean 'models'?\n"

    @pytest.mark.parametrize(
        ("name", "distribution"),
        [
            ("serve", "apex-llm-gateway"),
            ("batch", "apex-llm-gateway"),
            ("emulate", "apex-llm-mock"),
            ("simulate", "apex-llm-simulator"),
        ],
    )
    def test_a_command_of_a_distribution_that_is_not_installed_names_it(self, installed, name, distribution):
        installed("state", click.Command("state"))
        result = run(name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"error: the command {name!r} comes with {distribution}, which is not installed\n"

    def test_a_command_of_another_known_distribution_runs(self, installed):
        installed("serve", click.Command("serve", callback=lambda: click.echo("serving")))
        assert run("serve").output == "serving\n"

    def test_every_declared_command_loads(self):
        found = group.discover(COMMANDS)
        ours = {name for name, entry in found.items() if entry.distribution == "apex-llm-cli"}
        expected = "breakers chat config embed explain health image models new-plugin plugins providers stats text"
        assert ours == set(expected.split())
        for name in ours:
            assert group.load_command(found[name]).name == name

    def test_the_help_of_commands_below_is_not_cut_off(self):
        lines = run("config", "--help").stdout.partition("Commands:\n")[2].splitlines()
        assert len(lines) == 3
        assert all(line.endswith(".") and not line.endswith("...") for line in lines)


class TestSharedOptions:
    @pytest.fixture
    def shown(self, installed):
        @click.command("show")
        @click.pass_obj
        def show(invocation):
            click.echo(f"{invocation.config} {invocation.json} {invocation.debug}")

        installed("show", show)
        nested = click.Group("nested", commands=[click.Command("show", callback=show.callback)])
        installed("nested", nested)
        return installed

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--config", "a.toml", "--json", "--debug", "show"),
            ("show", "--config", "a.toml", "--json", "--debug"),
            ("--json", "show", "--config", "a.toml", "--debug"),
            ("--config", "b.toml", "--json", "--debug", "show", "--config", "a.toml"),
            ("nested", "--json", "show", "--config", "a.toml", "--debug"),
            ("--config", "a.toml", "nested", "show", "--debug", "--json"),
        ],
    )
    def test_they_stand_before_or_after_the_command(self, shown, arguments):
        assert run(*arguments).output == "a.toml True True\n"

    def test_absent_they_are_off(self, shown):
        assert run("show").output == "None False False\n"

    def test_an_option_of_the_command_itself_wins(self, installed):
        @click.command("own")
        @click.option("--json", "text")
        def own(text):
            click.echo(text)

        installed("own", own)
        assert run("own", "--json", "words").output == "words\n"

    def test_a_command_taken_twice_has_them_once(self, shown):
        run("show")
        run("show")
        command = group.load_command(shown.found["show"])
        assert [parameter.name for parameter in command.params] == ["config", "json", "debug"]


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "code", "type_"),
        [
            (RateLimitError("slow down", provider="p", model="m", attempts=[ATTEMPT]), 1, "rate_limit_error"),
            (InvalidRequestError("bad"), 2, "invalid_request_error"),
            (InvalidRequestError("bad", attempts=[ATTEMPT]), 1, "invalid_request_error"),
            (ModelNotFoundError("no such model"), 2, "model_not_found_error"),
            (ModelNotFoundError("gone", attempts=[ATTEMPT]), 1, "model_not_found_error"),
            (ConfigurationError("bad key", file="c.toml", key="a.b"), 2, "configuration_error"),
            (PluginError("broken", plugin="x", distribution="d", version="1"), 2, "plugin_error"),
            (click.UsageError("not so"), 2, "usage_error"),
            (ZeroDivisionError("oops"), 1, "internal_error"),
        ],
    )
    def test_exit_code_and_document(self, installed, error, code, type_):
        installed("fail", failing(error))
        plain = run("fail")
        assert (plain.exit_code, plain.stdout) == (code, "")
        assert plain.stderr.startswith("error: ")
        assert plain.stderr.count("\n") == 1
        document = run("fail", "--json")
        assert (document.exit_code, document.stderr) == (code, "")
        fields = json.loads(document.stdout)["error"]
        assert set(fields) == {"type", "message", "provider", "model", "retryable", "attempts"}
        assert fields["type"] == type_

    def test_attempts_are_in_the_document(self, installed):
        installed("fail", failing(RateLimitError("slow down", provider="p", model="m", attempts=[ATTEMPT])))
        fields = json.loads(run("--json", "fail").stdout)["error"]
        assert (fields["provider"], fields["model"], fields["retryable"]) == ("p", "m", True)
        assert [(a["provider"], a["error_type"]) for a in fields["attempts"]] == [("p", "rate_limit_error")]

    def test_a_message_of_several_lines_is_folded_and_harmless(self, installed):
        installed("fail", failing(ConfigurationError("one\n  two\x1b[2J")))
        assert run("fail").stderr == "error: one two␛[2J\n"

    def test_a_traceback_needs_debug(self, installed):
        installed("fail", failing(ZeroDivisionError("api_key=supersecretvalue")))
        assert "Traceback" not in run("fail").stderr
        debugged = run("--debug", "fail").stderr
        assert "Traceback" in debugged
        assert "ZeroDivisionError" in debugged
        assert "supersecret" not in debugged

    def test_further_problems_are_told_on_lines_of_their_own(self, installed):
        error = ConfigurationError("one (and 1 more)")
        error.add_note("two: unknown key")
        installed("fail", failing(error))
        assert run("fail").stderr == "error: one (and 1 more)\nalso: two: unknown key\n"
        assert json.loads(run("fail", "--json").stdout)["error"]["others"] == ["two: unknown key"]

    def test_a_file_that_cannot_be_written_is_not_the_output(self, installed):
        installed("fail", failing(OSError(errno.ENOSPC, "No space left on device", "some.file")))
        result = run("fail")
        assert result.exit_code == 1
        assert "unexpected OSError" in result.stderr

    def test_json_is_known_even_when_the_arguments_cannot_be_parsed(self, installed):
        installed("fail", failing(ValueError()))
        result = run("fail", "--bogus", "--json")
        assert json.loads(result.stdout)["error"]["type"] == "usage_error"
        assert run("fail", "--", "--json").stderr.startswith("error: ")

    def test_warnings_are_one_line_each_and_shown_once(self, installed):
        def warned():
            import warnings

            for text in ("first\nline", "second", "first\nline"):
                warnings.warn(text, ConfigurationWarning, stacklevel=1)

        installed("warned", click.Command("warned", callback=warned))
        assert run("warned").stderr == "warning: first line\nwarning: second\n"

    def test_other_warnings_take_their_usual_way(self, installed):
        def warned():
            import warnings

            warnings.warn("old", DeprecationWarning, stacklevel=1)

        installed("warned", click.Command("warned", callback=warned))
        with pytest.warns(DeprecationWarning, match="old"):
            run("warned")

    def test_an_interrupt_exits_as_shells_report_it(self, installed):
        installed("fail", failing(KeyboardInterrupt()))
        result = run("fail")
        assert result.exit_code == 130
        assert "rror" not in result.output

    def test_a_command_may_choose_its_exit_code(self, installed):
        @click.command("three")
        @click.pass_context
        def three(context):
            context.exit(3)

        installed("three", three)
        assert run("three").exit_code == 3

    def test_without_a_command_the_help_is_shown(self):
        result = run()
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("Usage: apex-llm")
        assert json.loads(run("--json").stdout)["error"]["type"] == "usage_error"

    def test_without_standalone_mode_errors_are_raised(self, installed):
        installed("fail", failing(ConfigurationError("bad")))
        with pytest.raises(ConfigurationError, match="bad"):
            main.cli.main(["fail"], standalone_mode=False)


class TestVersion:
    def test_it_names_command_line_core_and_python(self):
        assert run("--version").output.startswith("apex-llm 0.")

    @pytest.mark.parametrize(
        ("arguments", "absent"),
        [
            (("--version",), ("apex_llm_cli.commands", "apex_llm_core.manager", "rich", "cattrs", "aiohttp")),
            (("chat", "--help"), ("apex_llm_cli.commands.plugins", "apex_llm_core.manager", "rich", "aiohttp")),
            (("--help",), ("apex_llm_core.manager", "rich", "cattrs", "aiohttp")),
        ],
    )
    def test_nothing_is_imported_that_is_not_needed(self, arguments, absent):
        script = (
            "import sys\nfrom apex_llm_cli.main import cli\n"
            f"cli.main({list(arguments)!r}, prog_name='apex-llm', standalone_mode=False)\n"
            f"print([name for name in {absent!r} if name in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stderr == "[]\n"


class TestPlugins:
    def test_it_lists_the_commands_of_this_distribution_from_metadata(self):
        result = run("plugins", "--json")
        rows = {(row["group"], row["name"]): row for row in json.loads(result.stdout)["plugins"]}
        row = rows["apex_llm.commands", "chat"]
        assert (row["distribution"], row["status"], row["compatible"]) == ("apex-llm-cli", "installed", True)

    def test_broken_and_incompatible_plugins_are_told_apart_and_hide_no_other(self):
        from apex_llm_cli.commands.plugins import examine

        broken = source("bad", "acme_no_such_module:command")
        assert examine(broken, check=False)["status"] == "installed"
        checked = examine(broken, check=True)
        assert checked["status"] == "broken"
        assert "acme_no_such_module" in checked["reason"]
        old = examine(source("old", "json:dumps", requires_core=">=99"), check=True)
        assert (old["status"], old["compatible"]) == ("incompatible", False)
        assert "apex-llm-core >=99" in old["reason"]

    def test_check_registers_a_provider_plugin_and_finds_one_that_offers_nothing(self):
        from apex_llm_cli.commands.plugins import examine

        empty = PluginSource(name="x", group="apex_llm.providers", distribution="d", version="1", value="json")
        assert "apex_register" in examine(empty, check=True)["reason"]

    def test_check_exits_with_2_when_one_is_broken(self, monkeypatch):
        from apex_llm_cli.commands import plugins

        found = {"bad": source("bad", "acme_no_such_module:command")}
        monkeypatch.setattr(plugins, "discover", lambda name: found if name == COMMANDS else {})
        assert run("plugins").exit_code == 0
        checked = run("plugins", "--check")
        assert checked.exit_code == 2
        assert "broken" in checked.stdout
