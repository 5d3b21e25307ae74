"""What Bedrock refuses: each rule with the words it says, and what passes beside it."""

from __future__ import annotations

import base64
import json

import pytest
from apex_llm_mock import MockSettings
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.converse import ConverseService
from apex_llm_mock.emulation.bedrock.models import MODELS
from apex_llm_mock.emulation.bedrock.reasoning import REDACTION_TRIGGER
from apex_llm_mock.replies import Replier

CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
OLD_CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
LLAMA, MISTRAL = "meta.llama3-1-70b-instruct-v1:0", "mistral.mistral-large-2402-v1:0"
TITAN, EMBED, NOVA = "amazon.titan-text-express-v1", "amazon.titan-embed-text-v2:0", "amazon.nova-lite-v1:0"
NOVA_2 = "amazon.nova-2-lite-v1:0"
DEEPSEEK, GPT_OSS = "deepseek.r1-v1:0", "openai.gpt-oss-20b-1:0"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()
DATA = base64.b64encode(b"some text").decode()
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def user(*content):
    return {"role": "user", "content": list(content)}


def assistant(*content):
    return {"role": "assistant", "content": list(content)}


def text(words="hello"):
    return {"text": words}


def use(name="weather", call="call_1", **more):
    return {"toolUse": {"toolUseId": call, "name": name, "input": {}, **more}}


def result(call="call_1", *content, **more):
    return {"toolResult": {"toolUseId": call, "content": list(content or [text("sunny")]), **more}}


def tool(name="weather", schema=None, **more):
    return {"toolSpec": {"name": name, "inputSchema": {"json": schema or SCHEMA}, **more}}


def image(kind="png", data=PNG):
    return {"image": {"format": kind, "source": {"bytes": data}}}


def document(name="report", **more):
    return {"document": {"name": name, "format": "pdf", "source": {"bytes": DATA}, **more}}


POINT = {"cachePoint": {"type": "default"}}
HOUR = {"cachePoint": {"type": "default", "ttl": "1h"}}
TOOLS = {"tools": [tool()]}
ASKED = [user(text())]
USED = [user(text()), assistant(use()), user(result())]


def serve(body, model=CLAUDE, *, streamed=False, **settings):
    service = ConverseService(replier=Replier(MockSettings(**settings)), seed=0, clock=lambda: 0.0)
    return service.serve(body, MODELS[model], streamed=streamed)


def refused(body, model=CLAUDE, **more):
    """Return status, code and message of the refusal."""
    with pytest.raises(RefusedError) as caught:
        serve(body, model, **more)
    answer = caught.value.answer
    return answer.status, answer.headers["x-amzn-errortype"].partition(":")[0], json.loads(answer.body)["message"]


def asked(**more):
    return {"messages": ASKED, **more}


def said(*messages, **more):
    return {"messages": list(messages), **more}


MODEL_SAID = "The model returned the following errors: "
#: A body, and what is said about it.
CONVERSATIONS = {
    "no message": (said(), "must contain at least one message"),
    "no messages": ({}, "Value null at 'messages' failed to satisfy constraint: Member must not be null"),
    "no content": (said(user()), "The content field in the Message object at messages.0 is empty."),
    "blank": (
        said(user(text("hi"), text(" \n"))),
        "The text field in the ContentBlock object at messages.0.content.1 is blank. Add text to the text field, and try again.",
    ),
    "two turns of one": (said(user(text()), user(text())), "A conversation must alternate between user and assistant"),
    "assistant first": (said(assistant(text())), "A conversation must start with a user message."),
    "an unknown role": (said({"role": "tool", "content": [text()]}), "enum value set: [assistant, system, user]"),
    "the role system": (said(user(text()), {"role": "system", "content": [text()]}), "Use the system field"),
    "image of an assistant": (said(user(text()), assistant(image())), "isn't supported for the role assistant"),
    "tool use of a user": (said(user(use()), toolConfig=TOOLS), "isn't supported for the role user"),
    "reasoning of a user": (
        said(user({"reasoningContent": {"reasoningText": {"text": "hm"}}})),
        "User messages cannot contain reasoning content.",
    ),
    "no result": (
        said(user(text()), assistant(use(), use(call="b")), user(result()), toolConfig=TOOLS),
        "Expected toolResult blocks at messages.2.content for the following Ids: b",
    ),
    "results in two turns": (
        said(
            user(text()),
            assistant(use(), use(call="b")),
            user(result()),
            assistant(text()),
            user(result("b")),
            toolConfig=TOOLS,
        ),
        "Expected toolResult blocks at messages.2.content for the following Ids: b",
    ),
    "a use at the end": (
        said(user(text()), assistant(use()), toolConfig=TOOLS),
        "Expected toolResult blocks at messages.2.content for the following Ids: call_1",
    ),
    "too many results": (
        said(user(text()), assistant(use()), user(result(), result("b")), toolConfig=TOOLS),
        "The number of toolResult blocks at messages.2.content exceeds the number of toolUse blocks of previous turn.",
    ),
    "a result of nothing": (
        said(user(result()), toolConfig=TOOLS),
        "The number of toolResult blocks at messages.0.content exceeds",
    ),
    "the same use twice": (
        said(user(text()), assistant(use(), use()), user(result(), result()), toolConfig=TOOLS),
        "contain duplicate Ids: call_1",
    ),
    "no toolConfig": (
        said(*USED),
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
    ),
    "input that is no object": (
        said(user(text()), assistant(use(input="{}")), user(result()), toolConfig=TOOLS),
        "The format of the value at messages.1.content.0.toolUse.input is invalid. Provide a json object",
    ),
    "json that is no object": (
        said(user(text()), assistant(use()), user(result("call_1", {"json": [1]})), toolConfig=TOOLS),
        "The format of the value at messages.2.content.0.toolResult.content.0.json is invalid.",
    ),
    "a failure that says nothing": (
        said(
            user(text()),
            assistant(use()),
            user({"toolResult": {"toolUseId": "call_1", "content": [], "status": "error"}}),
            toolConfig=TOOLS,
        ),
        "The content field at messages.2.content.0.toolResult cannot be empty when status value is error.",
    ),
    "a schema of an array": (
        asked(toolConfig={"tools": [tool(schema={"type": "array"})]}),
        "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object.",
    ),
    "two tools of one name": (asked(toolConfig={"tools": [tool(), tool()]}), "Tool names must be unique."),
    "a choice that is not offered": (
        asked(toolConfig={**TOOLS, "toolChoice": {"tool": {"name": "other"}}}),
        "Tool 'other' not found in provided tools",
    ),
    "jpg": (
        said(user(text(), image("jpg"))),
        "at 'messages.1.member.content.2.member.image.format' failed to satisfy constraint: Member must satisfy enum value",
    ),
    "png that calls itself jpeg": (said(user(text(), image("jpeg"))), "appears to be a image/png image"),
    "a large image": (said(user(text(), image(data="A" * 6_000_000))), "image exceeds 3.75 MB maximum"),
    "21 images": (said(user(text(), *[image()] * 21)), "more than 20 images"),
    "6 documents": (
        said(user(text(), *[document(f"d{number}") for number in range(6)])),
        "You can't include more than 5 documents in a request.",
    ),
    "a document alone": (said(user(document())), "A text block must be included when using documents."),
    "two documents of one name": (
        said(user(text(), document(), document())),
        "Messages can't contain duplicate document names.",
    ),
    "a document without a format": (
        said(user(text(), {"document": {"name": "a", "source": {"bytes": DATA}}})),
        "The format field at messages.0.content.1.document is required.",
    ),
    "no base64": (said(user(text(), image(data="***"))), "Unexpected field type"),
    "a content block of two kinds": (
        said(user({"text": "a", "image": image()["image"]})),
        "The ContentBlock object at messages.0.content.0 must set only one of the following keys: text, image",
    ),
    "a content block of no kind": (
        said(user({})),
        "The ContentBlock object at messages.0.content.0 must set one of the following keys: text, image",
    ),
    "an unknown member": (
        said(user({"type": "text", "text": "a"})),
        "Malformed input request: #/messages/0/content/0: extraneous key [type] is not permitted",
    ),
    "an unknown parameter": (asked(temperature=1), "Malformed input request: #: extraneous key [temperature]"),
    "toolChoice none": (
        asked(toolConfig={**TOOLS, "toolChoice": {"none": {}}}),
        "#/toolConfig/toolChoice: extraneous key [none] is not permitted",
    ),
    "no tools": (asked(toolConfig={"tools": []}), "Member must have length greater than or equal to 1"),
    "an empty description": (asked(toolConfig={"tools": [tool(description="")]}), "toolSpec.description"),
    "a name with a dot": (
        asked(toolConfig={"tools": [tool("my.tool")]}),
        "Value 'my.tool' at 'toolConfig.tools.1.member.toolSpec.name' failed to satisfy constraint: Member must satisfy",
    ),
    "a long name": (asked(toolConfig={"tools": [tool("x" * 65)]}), "length less than or equal to 64"),
    "a long id": (
        said(user(text()), assistant(use(call="x" * 65)), user(result("x" * 65)), toolConfig=TOOLS),
        "2 validation errors detected",
    ),
    "no tokens": (asked(inferenceConfig={"maxTokens": 0}), "Member must have value greater than or equal to 1"),
    "tokens in halves": (asked(inferenceConfig={"maxTokens": 1.5}), "Unexpected field type"),
    "hot": (asked(inferenceConfig={"temperature": 1.5}), "Member must have value less than or equal to 1"),
    "an empty stop": (asked(inferenceConfig={"stopSequences": [""]}), "length greater than or equal to 1"),
    "2501 stops": (asked(inferenceConfig={"stopSequences": ["a"] * 2501}), "length less than or equal to 2500"),
    "an empty system": (asked(system=[text("")]), "Value '' at 'system.1.member.text'"),
    "system as text": (asked(system="Be brief."), "Unexpected field type"),
    "a tier": (asked(serviceTier={"type": "fast"}), "enum value set: [default, flex, priority, reserved]"),
    "a latency": (asked(performanceConfig={"latency": "low"}), "enum value set: [optimized, standard]"),
    "metadata": (asked(requestMetadata={"a": "ü"}), "regular expression pattern"),
    "too much metadata": (asked(requestMetadata={str(n): "" for n in range(17)}), "length less than or equal to 16"),
    "no metadata": (asked(requestMetadata={}), "length greater than or equal to 1"),
    "a stream's guardrail": (
        asked(guardrailConfig={"streamProcessingMode": "sync"}),
        "#/guardrailConfig: extraneous key [streamProcessingMode]",
    ),
    "half a guardrail": (asked(guardrailConfig={"guardrailIdentifier": "emulated"}), "must both be set"),
    "another guardrail": (
        asked(guardrailConfig={"guardrailIdentifier": "other", "guardrailVersion": "1"}),
        "The guardrail identifier or version provided in the request does not exist.",
    ),
    "a path that is none": (asked(additionalModelResponseFieldPaths=["stop"]), "is not a valid JSON Pointer"),
    "fields that are none": (asked(additionalModelRequestFields=[1]), "must be a JSON object"),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_no_model_takes_it(name):
    body, message = CONVERSATIONS[name]
    status, code, words = refused(body)
    assert (status, code) in {(400, "ValidationException"), (400, "SerializationException")}
    assert message in words


@pytest.mark.parametrize("body", ["text", None, [1], 3])
def test_a_body_that_is_no_object(body):
    assert refused(body) == (400, "SerializationException", "Unexpected field type")


@pytest.mark.parametrize(
    "name", ["John's report", "report.pdf", "a  b", "a\tb", "a\u3000b", "résumé", " a", "x" * 201, ""]
)
def test_names_of_documents(name):
    status, code, message = refused(said(user(text(), document(name))))
    assert (status, code) == (400, "ValidationException")
    assert "can only contain alphanumeric characters" in message or "document.name" in message


@pytest.mark.parametrize("name", ["report", "A report (2) [final]", "under_score", "x" * 200])
def test_names_of_documents_that_pass(name):
    serve(said(user(text(), document(name))))


#: A model, a body, and what is said about it.
MODELS_REFUSE = {
    "an embedding": (EMBED, asked(), "This action doesn't support the model that you provided."),
    "system": (TITAN, asked(system=[text()]), "This model doesn't support the system field."),
    "tools": (DEEPSEEK, asked(toolConfig=TOOLS), "This model doesn't support tool use."),
    "any": (
        LLAMA,
        asked(toolConfig={**TOOLS, "toolChoice": {"any": {}}}),
        "This model doesn't support the toolConfig.toolChoice.any field. Remove toolConfig.toolChoice.any and try again.",
    ),
    "images": (TITAN, said(user(text(), image())), "This model doesn't support the image field."),
    "stop sequences": (
        LLAMA,
        asked(inferenceConfig={"stopSequences": ["x"]}),
        "This model doesn't support the stopSequences field.",
    ),
    "five stop sequences": (
        NOVA,
        asked(inferenceConfig={"stopSequences": list("abcde")}),
        "#/inferenceConfig/stopSequences: expected maximum item count: 4, found: 5",
    ),
    "blank stop sequences": (
        CLAUDE,
        asked(inferenceConfig={"stopSequences": ["\n"]}),
        "each stop sequence must contain non-whitespace",
    ),
    "long answers": (
        OLD_CLAUDE,
        asked(inferenceConfig={"maxTokens": 4097}),
        "The maximum tokens you requested exceeds the model limit of 4096.",
    ),
    "both samplings": (
        CLAUDE,
        asked(inferenceConfig={"temperature": 0.5, "topP": 0.5}),
        "`temperature` and `top_p` cannot both be specified for this model.",
    ),
    "text beside results": (
        MISTRAL,
        said(user(text()), assistant(use()), user(result(), text()), toolConfig=TOOLS),
        "messages.2.content: Conversation blocks and tool result blocks cannot be provided in the same turn.",
    ),
    "documents beside results": (
        CLAUDE,
        said(user(text()), assistant(use()), user(result(), text(), document()), toolConfig=TOOLS),
        "messages.2.content: document and video blocks cannot be provided",
    ),
    "an assistant at the end": (NOVA, said(user(text()), assistant(text())), "must end with a user message"),
    "a blank at the end": (CLAUDE, said(user(text()), assistant(text("So "))), "cannot end with trailing whitespace"),
    "a schema": (
        LLAMA,
        asked(outputConfig={"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{}"}}}}),
        "This model doesn't support the outputConfig.textFormat field.",
    ),
    "an open schema": (
        CLAUDE,
        asked(
            outputConfig={
                "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(SCHEMA)}}}
            }
        ),
        "For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    "a schema that is no JSON": (
        CLAUDE,
        asked(outputConfig={"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{"}}}}),
        "is not a valid JSON schema",
    ),
    "a video": (
        OLD_CLAUDE,
        said(user(text(), {"video": {"format": "mp4", "source": {"bytes": DATA}}})),
        "This model doesn't support the video field.",
    ),
    "reasoning of another": (
        DEEPSEEK,
        said(user(text()), assistant({"reasoningContent": {"reasoningText": {"text": "hm"}}}, text()), user(text())),
        "cannot contain reasoning content",
    ),
    "a signature": (
        GPT_OSS,
        said(
            user(text()),
            assistant({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}, text()),
            user(text()),
        ),
        "This model doesn't support the reasoningContent.reasoningText.signature field.",
    ),
    "five cache points": (
        CLAUDE,
        said(user(text(), POINT, text(), POINT, text(), POINT), system=[text(), POINT, text(), POINT]),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "a cache point after a document": (
        CLAUDE,
        said(user(text(), document(), POINT)),
        "messages.0.content.2.type: Field required",
    ),
    "a cache point after nothing": (CLAUDE, said(user(POINT, text())), "messages.0.content.0.type: Field required"),
    "a long life after a short one": (
        CLAUDE,
        said(user(text(), HOUR), system=[text(), POINT]),
        "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.",
    ),
    "a long prompt": (CLAUDE, said(user(text("x" * 800_000))), "prompt is too long: 200003 tokens > 200000 maximum"),
    "a long prompt elsewhere": (TITAN, said(user(text("x" * 40_000))), "Input is too long for requested model."),
    "unknown fields": (CLAUDE, asked(additionalModelRequestFields={"foo": 1}), "foo: Extra inputs are not permitted"),
    "unknown fields of Nova": (
        NOVA_2,
        asked(additionalModelRequestFields={"foo": 1}),
        "#: extraneous key [foo] is not permitted",
    ),
    "an effort that is none": (
        NOVA_2,
        asked(additionalModelRequestFields={"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "huge"}}),
        "huge is not a valid enum value",
    ),
}


@pytest.mark.parametrize("name", MODELS_REFUSE)
def test_one_model_does_not_take_it(name):
    model, body, message = MODELS_REFUSE[name]
    status, code, words = refused(body, model)
    assert (status, code) == (400, "ValidationException")
    assert message in words


def test_tools_in_streams():
    serve(asked(toolConfig=TOOLS), LLAMA)
    assert refused(asked(toolConfig=TOOLS), LLAMA, streamed=True)[2] == (
        "This model doesn't support tool use in streaming mode."
    )


@pytest.mark.parametrize(
    "body", [said(user(text(), POINT)), asked(system=[text(), POINT]), asked(toolConfig={"tools": [tool(), POINT]})]
)
def test_cache_points_where_there_is_no_cache(body):
    status, code, message = refused(body, LLAMA)
    assert (status, code) == (403, "AccessDeniedException")
    assert message.startswith("You invoked an unsupported model or your request did not allow prompt caching.")


def test_a_cache_point_for_the_tools_of_nova():
    assert refused(asked(toolConfig={"tools": [tool(), POINT]}), NOVA)[:2] == (403, "AccessDeniedException")
    serve(asked(system=[text(), POINT]), NOVA)


@pytest.mark.parametrize(
    ("fields", "config", "message"),
    [
        ({"thinking": {"type": "on"}}, {}, "Input tag 'on' found using 'type'"),
        ({"thinking": {"type": "adaptive"}}, {}, "Input tag 'adaptive' found using 'type'"),
        ({"thinking": {"type": "enabled"}}, {}, "thinking.enabled.budget_tokens: Field required"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1000}}, {}, "greater than or equal to 1024"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"maxTokens": 2000},
            "`max_tokens` must be greater than `thinking.budget_tokens`",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"temperature": 0.5},
            "`temperature` may only be set to 1 when thinking is enabled.",
        ),
    ],
)
def test_thinking_of_claude(fields, config, message):
    words = refused(asked(additionalModelRequestFields=fields, inferenceConfig=config))[2]
    assert words.startswith(MODEL_SAID)
    assert message in words


THINKING = {"thinking": {"type": "enabled", "budget_tokens": 2000}}


def test_thinking_and_a_forced_tool():
    config = {**TOOLS, "toolChoice": {"any": {}}}
    words = refused(asked(additionalModelRequestFields=THINKING, toolConfig=config))[2]
    assert "Thinking may not be enabled when tool_choice forces tool use." in words


def test_a_turn_that_thought_must_come_back_with_its_thoughts():
    words = refused(said(*USED, toolConfig=TOOLS, additionalModelRequestFields=THINKING))[2]
    assert "Expected `thinking` or `redacted_thinking`, but found `tool_use`." in words


def test_reasoning_must_come_back_as_it_was():
    answer = serve(asked(additionalModelRequestFields=THINKING)).document()
    content = answer["output"]["message"]["content"]
    reasoning = content[0]["reasoningContent"]["reasoningText"]
    back = [*ASKED, assistant(*content), user(text("and now?"))]
    serve(said(*back))
    for changed, message in (
        ({**reasoning, "text": reasoning["text"] + " "}, "Invalid `signature` in `thinking` block"),
        ({**reasoning, "signature": "made up"}, "Invalid `signature` in `thinking` block"),
        ({"text": reasoning["text"]}, "thinking.signature: Field required"),
    ):
        block = {"reasoningContent": {"reasoningText": changed}}
        words = refused(said(*ASKED, assistant(block, text()), user(text())))[2]
        assert words.startswith(f"{MODEL_SAID}messages.1.content.0")
        assert message in words


def test_redacted_reasoning_must_come_back_as_it_was():
    prompt = [user(text(REDACTION_TRIGGER))]
    answer = serve(said(*prompt, additionalModelRequestFields=THINKING)).document()
    block = answer["output"]["message"]["content"][0]
    data = block["reasoningContent"]["redactedContent"]
    assert REDACTION_TRIGGER.encode() not in base64.b64decode(data)
    serve(said(*prompt, assistant(block, text()), user(text())))
    for wrong in ("AAAA", data[:-8] + "AAAAAAAA"):
        block = {"reasoningContent": {"redactedContent": wrong}}
        words = refused(said(*prompt, assistant(block, text()), user(text())))[2]
        assert "Invalid `data` in `redacted_thinking` block" in words
