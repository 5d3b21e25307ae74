"""Whatever a caller or an operator gets wrong is a typed error that names the thing, its place and the nearest choice."""

from __future__ import annotations

import math

import pytest

from apex_llm_core.errors import ConfigurationError, InvalidRequestError, LLMError, ModelNotFoundError, PluginError
from apex_llm_core.manager import LLMProviderManager
from apex_llm_core.models import (
    ChatGenerationOptions,
    ChatMessage,
    FunctionDefinition,
    RequestFinished,
    ResponseFormat,
    ToolCallPart,
    ToolResultPart,
)
from apex_llm_core.testing import run_virtual


def refused(stage, call, kind=InvalidRequestError):
    """Make a request; return the error that *call* raises before any provider is called."""
    scene = stage({"a": []}, providers={"a": {"models": [{"id": "gpt-4o"}]}})

    async def body(manager):
        with pytest.raises(LLMError) as caught:
            await call(manager)
        return caught.value

    error = scene.run(body)
    assert type(error) is kind
    assert error.attempts == ()
    assert scene.called == ""
    return str(error)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"temperature": math.nan}, "temperature is nan; expected a finite number"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": "hot"}, "temperature is 'hot'; expected a number"),
        ({"top_p": 1.5}, "top_p is 1.5; expected a finite number of between 0.0 and 1.0"),
        ({"top_p": math.inf}, "top_p is inf"),
        ({"frequency_penalty": 3}, "frequency_penalty is 3"),
        ({"presence_penalty": -3}, "presence_penalty is -3"),
        ({"max_tokens": 0}, "max_tokens is 0; expected a whole number of at least 1"),
        ({"max_tokens": -5}, "max_tokens is -5"),
        ({"max_tokens": 2.9}, "max_tokens is 2.9"),
        ({"max_tokens": True}, "max_tokens is True"),
        ({"timeout": -1}, "timeout is -1"),
        ({"deadline": math.nan}, "deadline is nan"),
        ({"retry_count": -1}, "retry_count is -1"),
        ({"n": 0}, "n is 0"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"stop": 5}, "stop is 5; expected a string or a sequence of strings"),
        ({"stop": ["x", 5]}, "stop[1] is 5; expected a string"),
        ({"no_cache": "false"}, "no_cache is 'false'; expected True or False"),
        ({"extra": ["top_k"]}, "extra is a list; expected a mapping of parameters"),
        ({"model": 5}, "model is 5; expected the name of a model"),
        ({"extra": {"api_key": "x"}}, "extra may not set api_key"),
        ({"extra": {"Base_URL": "x"}}, "extra may not set Base_URL"),
        ({"temprature": 1}, "unknown option 'temprature'; did you mean 'temperature'?"),
        ({"tools": ["weather"]}, "tools[0] is a str; expected FunctionDefinition"),
        ({"response_format": "json"}, "response_format is a str; expected ResponseFormat"),
    ],
)
def test_options(stage, keywords, message):
    assert message in refused(stage, lambda manager: manager.generate_chat("hi", **{"model": "gpt-4o", **keywords}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1}, "temprature"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": 2.9}, "max_tokens"),
        (5, "options are int; expected ChatGenerationOptions, a mapping or None"),
    ],
)
def test_options_in_other_forms(stage, options, message):
    assert message in refused(stage, lambda manager: manager.generate_chat("hi", options))


CALL = ChatMessage(role="assistant", content=[ToolCallPart(id="call-1", name="weather")])


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "messages are empty; a request needs at least one message"),
        (None, "messages are a NoneType"),
        (7, "messages are a int"),
        ({"role": "usr", "content": "hi"}, "messages.role: unknown value 'usr'; did you mean 'user'?"),
        (["hi"], "messages[0] is a str; expected ChatMessage or a mapping with 'role'"),
        ([{"role": "usr", "content": "hi"}], "usr"),
        ([{"content": "hi"}], "role"),
        ([{"role": "user", "contents": "hi"}], "content"),
        (
            [CALL, ChatMessage(role="tool", content=[ToolResultPart(tool_call_id="call-2")])],
            "messages[1] is the result of tool call 'call-2', which no earlier message makes; did you mean 'call-1'?",
        ),
        (
            [ChatMessage(role="tool", content=[ToolResultPart(tool_call_id="call-1")]), CALL],
            "messages[0] is the result of tool call 'call-1'",
        ),
        (
            [ChatMessage(role="function", name="weather", content="sunny")],
            "messages[0] is the result of function 'weather', which no earlier message calls",
        ),
    ],
)
def test_messages(stage, messages, message):
    assert message in refused(stage, lambda manager: manager.generate_chat(messages, model="gpt-4o"))


@pytest.mark.parametrize("message", [ChatMessage(role="user", content="hi"), {"role": "user", "content": "hi"}])
def test_one_message_is_a_conversation(stage, message):
    scene = stage({"a": ["hello"]})
    assert scene.run(lambda manager: manager.generate_chat(message)).message.text == "hello"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [FunctionDefinition(name="f")]),
        ("tool_choice", "auto"),
        ("parallel_tool_calls", False),
        ("functions", [FunctionDefinition(name="f")]),
        ("function_call", "none"),
        ("response_format", ResponseFormat(type="json")),
        ("reasoning_effort", "low"),
    ],
)
def test_a_text_request_takes_options_of_chat_only_where_text_has_them_too(stage, field, value):
    options = ChatGenerationOptions(model="gpt-4o", **{field: value})
    message = f"a text request takes no option '{field}'"
    assert message in refused(stage, lambda manager: manager.generate_text("hi", options))

    async def start_stream(manager):
        manager.generate_text_stream("hi", options)

    assert message in refused(stage, start_stream)


def test_options_of_chat_serve_a_text_request(stage):
    scene = stage({"a": ["hello"]})
    options = ChatGenerationOptions(temperature=0.5)
    assert scene.run(lambda manager: manager.generate_text("hi", options, stop="x")).text == "hello"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda manager: manager.generate_text(""), "the prompt is empty"),
        (lambda manager: manager.generate_text(5), "the prompt is a int; expected str"),
        (lambda manager: manager.generate_image("  "), "the image prompt is empty"),
        (lambda manager: manager.generate_image(None), "the image prompt"),
        (lambda manager: manager.generate_embedding([]), "no text to embed"),
        (lambda manager: manager.generate_embedding(5), "the text to embed is a int"),
        (lambda manager: manager.generate_embedding(None), "the text to embed is a NoneType"),
        (lambda manager: manager.generate_embedding(["a", 5]), "text 1 to embed is a int; expected str"),
        (lambda manager: manager.generate_embedding("a", dimensions=0), "dimensions is 0"),
    ],
)
def test_other_requests(stage, call, message):
    assert message in refused(stage, call)


def test_unknown_model_and_provider(stage):
    kind = ModelNotFoundError
    model = refused(stage, lambda manager: manager.generate_chat("hi", model="gpt-4"), kind)
    assert model == "no provider serves a model called 'gpt-4'; did you mean 'gpt-4o'?"
    provider = refused(stage, lambda manager: manager.generate_chat("hi", provider="aa"), kind)
    assert provider == "no provider is called 'aa'; did you mean 'a'?"


def test_an_unknown_model_is_one_failed_request(stage):
    scene = stage({"a": []})
    scene.failed_chat(ModelNotFoundError, model="x")
    [event] = scene.events_of(RequestFinished)
    assert (event.outcome, event.model, event.provider, event.attempts) == ("model_not_found_error", "x", None, 0)


# -- the operator's ------------------------------------------------------------------------------------------------------


def start(config, **more):
    async def main():
        async with LLMProviderManager(config, **{"environ": {}, **more}):
            pass

    with pytest.raises((ConfigurationError, PluginError)) as caught:
        run_virtual(main())
    return caught.value


PROVIDER = {"name": "a", "type": "mock", "models": [{"id": "m"}]}


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        ({"providers": [PROVIDER, PROVIDER]}, "providers[1].name", "another provider is named 'a'"),
        ({"providers": [{**PROVIDER, "type": "moc"}]}, "providers[0].type", "did you mean 'mock'?"),
        ({"providers": [{**PROVIDER, "timeout": math.nan}]}, "providers[0].timeout", "nan"),
        ({"providers": [{**PROVIDER, "timeout": -1}]}, "providers[0].timeout", "at least 0"),
        ({"providers": [{**PROVIDER, "enabled": "false"}]}, "providers[0].enabled", "true or false"),
        ({"providers": [{**PROVIDER, "pritority": 1}]}, "providers[0].pritority", "'priority'"),
        ({"providers": [PROVIDER], "manger": {}}, "manger", "did you mean 'manager'?"),
        (
            {"providers": [PROVIDER], "manager": {"default_provider": "b"}},
            "manager.default_provider",
            "no provider 'b'; valid: a",
        ),
        ({"providers": [{**PROVIDER, "enabled": False}]}, "providers", "every provider is disabled"),
    ],
)
def test_configuration(config, key, message):
    error = start(config)
    assert error.key == key
    assert message in str(error)


@pytest.mark.parametrize("content", ["[manager\n", "\xff\xfe", ""], ids=["malformed", "not text", "empty"])
def test_an_unreadable_file_is_named(tmp_path, content):
    file = tmp_path / "apex.toml"
    file.write_bytes(content.encode("latin-1"))
    assert start(file).file == str(file)
    assert start(None, environ={"APEX_LLM_CONFIG": str(file)}).file == str(file)


def test_a_missing_file_is_named(tmp_path):
    assert "nowhere.toml" in str(start(tmp_path / "nowhere.toml"))


@pytest.mark.parametrize(
    ("reference", "message"),
    [("env:ACME_KY", "did you mean 'ACME_KEY'?"), ("file:/nowhere/key", "cannot be read"), ("vault:x", "vault")],
)
def test_a_missing_secret_names_its_reference_and_place(stage, scripted, reference, message):
    scene = stage(
        {"a": []},
        providers={"a": {"auth": {"type": "api_key", "credentials": {"api_key": reference}}}},
        environ={"ACME_KEY": "canary"},
    )
    scene._register = None
    scene.plugins = (
        scripted.Plugin(
            lambda registrar: registrar.provider("scripted", lambda *_: scene.a, auth=["api_key"], auth_required=True)
        ),
    )
    error = start(scene.config, plugins=scene.plugins, environ=scene.environ)
    assert error.key == "providers[0].auth.credentials.api_key"
    assert message in str(error)
    assert "canary" not in str(error)


def test_authentication_that_does_not_fit_is_told(stage, scripted):
    def error_of(auth):
        plugin = scripted.Plugin(
            lambda registrar: registrar.provider(
                "scripted", lambda *_: scripted.ScriptedProvider(), auth=["api_key", "oauth"], auth_required=True
            )
        )
        config = {"providers": [{"name": "a", "type": "scripted", **auth}]}
        return start(config, plugins=[plugin])

    missing = error_of({})
    assert missing.key == "providers[0].auth"
    assert "needs [providers.auth] with type api_key or oauth" in str(missing)
    other = error_of({"auth": {"type": "iam"}})
    assert other.key == "providers[0].auth.type"
    assert "does not take 'iam'; valid: api_key, oauth" in str(other)
