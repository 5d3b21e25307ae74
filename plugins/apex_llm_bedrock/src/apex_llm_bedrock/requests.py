"""From the core's requests to the bodies of Converse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from apex_llm_bedrock.answer_forms import AnswerForm, answer_form
from apex_llm_bedrock.answers import Reading
from apex_llm_bedrock.conversation import wire_conversation
from apex_llm_bedrock.families import Family
from apex_llm_bedrock.lost import Lost
from apex_llm_bedrock.metadata import fits
from apex_llm_bedrock.models import Model
from apex_llm_bedrock.reasoning import beside_reasoning, reasoning_fields
from apex_llm_bedrock.settings import BedrockSettings
from apex_llm_bedrock.tool_names import ToolNames
from apex_llm_bedrock.tools import forbids_tools, specifications, used_tools, wire_choice
from apex_llm_core.errors import InvalidRequestError, UnsupportedParameterError
from apex_llm_core.models import ChatGenerationOptions, GenerateRequest, TextGenerationOptions

#: What `extra` may not set, since it would contradict the request itself.
_OURS = frozenset(
    {
        *("modelId", "messages", "system", "inferenceConfig", "toolConfig"),
        *("model_id", "inference_config", "tool_config"),
    }
)
#: Members of Converse that `extra` may set, by either spelling; everything else is the model's own.
_MEMBERS = {
    "additional_model_request_fields": "additionalModelRequestFields",
    "additional_model_response_field_paths": "additionalModelResponseFieldPaths",
    "guardrail_config": "guardrailConfig",
    "output_config": "outputConfig",
    "performance_config": "performanceConfig",
    "prompt_variables": "promptVariables",
    "request_metadata": "requestMetadata",
    "service_tier": "serviceTier",
}
_WIRE_MEMBERS = frozenset(_MEMBERS.values())
#: Parameters that the service has no place for, with the value that changes nothing.
_UNKNOWN: tuple[tuple[str, object], ...] = (
    ("frequency_penalty", 0),
    ("presence_penalty", 0),
    ("seed", None),
    ("logprobs", False),
    ("top_logprobs", 0),
)
_MOST_STOPS = 2500
#: What the log of invocations takes as a value.


class ConverseBody(NamedTuple):
    """The body of Converse, and how its answer is to be read."""

    document: dict[str, Any]
    reading: Reading


def converse_body(
    request: GenerateRequest, model: Model, settings: BedrockSettings, streamed: bool | None = None
) -> ConverseBody:
    """Return the body for *request*; *streamed* where that is not as the request says.

    Raises:
        InvalidRequestError: the request has something Converse cannot take, or, by the settings' policy, an option that this
            model does not take.
    """
    options = request.options
    family = model.family
    names = ToolNames()
    dropped: list[str] = []
    emulated: list[str] = []
    #: Left out without asking anybody: the answer is as good without.
    spared: list[str] = []
    chat = options if isinstance(options, ChatGenerationOptions) else None
    if chat is not None:
        for tool in chat.all_tools:
            names.written(tool.name)
    conversation = wire_conversation(request.messages, family, names)
    system = conversation.system
    document: dict[str, Any] = {"messages": conversation.turns}
    inference = _inference(options, family, dropped)
    fields: dict[str, Any] = {}
    form = AnswerForm()
    if chat is not None:
        form = answer_form(chat, family, names, dropped, emulated)
        if chat.reasoning_effort is not None and conversation.thoughtless and family.reasoning == "budget":
            # Claude refuses to begin thinking in the middle, after calls that another model made.
            spared.append("reasoning_effort")
        elif chat.reasoning_effort is not None:
            fields = reasoning_fields(chat.reasoning_effort, family, options.max_tokens, dropped)
            inference = beside_reasoning(inference, chat.reasoning_effort, family, dropped, fields)
        tools = _tools(chat, family, names, form, dropped, emulated, fields)
        if any(tool.strict for tool in chat.all_tools) and not _has_strict(tools):
            spared.append("strict")
        if tools is None and conversation.has_tools:
            tools = {"tools": used_tools(conversation.turns)}
        if tools is not None:
            document["toolConfig"] = tools
    elif conversation.has_tools:
        document["toolConfig"] = {"tools": used_tools(conversation.turns)}
    if form.instruction:
        if family.system:
            system = [*system, {"text": form.instruction}]
        else:
            _instruct(conversation.turns, form.instruction)
    if system:
        document["system"] = system
    if inference:
        document["inferenceConfig"] = inference
    if form.output_config is not None:
        document["outputConfig"] = form.output_config
    _add_settings(document, settings, streamed=request.stream if streamed is None else streamed)
    _add_user(document, options.user, dropped)
    _add_extra(document, fields, options.extra, settings)
    if fields:
        document["additionalModelRequestFields"] = fields
    if settings.policy == "error":
        refuse_dropped(dropped, model.name)
    reading = Reading(names=names, json_tool=form.tool_name, dropped=(*dropped, *spared), emulated=tuple(emulated))
    return ConverseBody(document, reading)


def refuse_dropped(dropped: Sequence[str], model: str) -> None:
    """Refuse a request that would lose the options called *dropped*.

    Raises:
        UnsupportedParameterError: there are any.
    """
    if dropped:
        told = ", ".join(f"{name} ({name.why})" if isinstance(name, Lost) else name for name in dropped)
        raise UnsupportedParameterError(
            f"{told}: not taken by the model {model!r} on Bedrock; change or leave it out, "
            "or set options.unsupported_parameters = 'drop'",
            parameters=[str(name) for name in dropped],
        )


def add_extra(document: dict[str, Any], extra: Mapping[str, Any] | None, *, ours: frozenset[str]) -> None:
    """Add a caller's own parameters to *document*.

    Raises:
        InvalidRequestError: *extra* has one of *ours*, which the request itself says.
    """
    if extra:
        said = ours & extra.keys()
        if said:
            raise InvalidRequestError(f"extra may not set {', '.join(sorted(said))}: the request itself does")
        document.update(extra)


def _inference(options: TextGenerationOptions, family: Family, dropped: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if options.n is not None and options.n > 1:
        raise UnsupportedParameterError("n: Bedrock gives one answer to a request; ask several times", parameters=["n"])
    if options.max_tokens is not None:
        found["maxTokens"] = options.max_tokens
    temperature, top_p = options.temperature, options.top_p
    if temperature is not None:
        # A model that takes none works at 1 anyway.
        if family.temperature and temperature <= 1:
            found["temperature"] = temperature
        elif temperature != 1:
            dropped.append(Lost("temperature", "0 to 1") if family.temperature else "temperature")
    if top_p is not None:
        if family.top_p and (family.sampling_both or "temperature" not in found):
            found["topP"] = top_p
        elif top_p != 1:
            dropped.append(Lost("top_p", "or temperature, not both") if family.top_p else "top_p")
    if options.stop:
        # Blank ones are refused by the models, and would end nothing of use.
        stops = [stop for stop in options.stop if stop.strip()]
        most = family.stop_limit or _MOST_STOPS
        if not family.stop_sequences:
            dropped.append("stop")
        elif len(stops) < len(options.stop):
            dropped.append(Lost("stop", "blank sequences are refused"))
        elif len(stops) > most:
            dropped.append(Lost("stop", f"{most} sequences at most"))
        if stops and family.stop_sequences:
            found["stopSequences"] = stops[:most]
    for name, neutral in _UNKNOWN:
        value = getattr(options, name)
        if value is not None and value != neutral:
            dropped.append(name)
    return found


def _tools(
    chat: ChatGenerationOptions,
    family: Family,
    names: ToolNames,
    form: AnswerForm,
    dropped: list[str],
    emulated: list[str],
    fields: dict[str, Any],
) -> dict[str, Any] | None:
    forbidden = forbids_tools(chat)
    tools = [] if forbidden else specifications(chat.all_tools, names, strict=family.json == "native")
    choice = wire_choice(chat, family, names, dropped, emulated)
    if form.tool is not None:
        tools.append(form.tool)
        if len(tools) == 1:
            choice = form.choice
        elif choice is None or "auto" in choice:
            choice = form.choice_among
    if not tools:
        return None
    if chat.parallel_tool_calls is False:
        if family.vendor == "anthropic":
            # The service has no word for it, the model has.
            fields["tool_choice"] = {**_model_choice(choice), "disable_parallel_tool_use": True}
            return {"tools": tools}
        dropped.append("parallel_tool_calls")
    return {"tools": tools} if choice is None else {"tools": tools, "toolChoice": choice}


def _has_strict(tools: Mapping[str, Any] | None) -> bool:
    return tools is not None and any("strict" in tool["toolSpec"] for tool in tools["tools"])


def _instruct(turns: Sequence[dict[str, Any]], instruction: str) -> None:
    """Add *instruction* to what the user said last, never to results of tools, which may have to stand alone."""
    for turn in reversed(turns):
        if turn["role"] == "user" and "toolResult" not in turn["content"][0]:
            turn["content"].append({"text": instruction})
            return


def _model_choice(choice: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a choice of tools in the words of Claude's own interface."""
    for word, value in (choice or {"auto": {}}).items():
        return {"type": word, **value}
    return {"type": "auto"}


def _add_settings(document: dict[str, Any], settings: BedrockSettings, *, streamed: bool) -> None:
    guardrail = settings.guardrail
    if guardrail is not None:
        if streamed and settings.guardrail_stream_mode:
            guardrail["streamProcessingMode"] = settings.guardrail_stream_mode
        document["guardrailConfig"] = guardrail
    if settings.service_tier:
        document["serviceTier"] = {"type": settings.service_tier}
    if settings.latency:
        document["performanceConfig"] = {"latency": settings.latency}
    if settings.request_metadata:
        document["requestMetadata"] = dict(settings.request_metadata)


def _add_user(document: dict[str, Any], user: str | None, dropped: list[str]) -> None:
    if user is None:
        return
    if not fits(user):
        dropped.append(Lost("user", "only the characters of AWS's metadata, 256 at most"))
    else:
        document["requestMetadata"] = {**document.get("requestMetadata", {}), "user": user}


def _add_extra(
    document: dict[str, Any],
    fields: dict[str, Any],
    extra: Mapping[str, Any] | None,
    settings: BedrockSettings,
) -> None:
    for name, value in (extra or {}).items():
        member = _MEMBERS.get(name, name)
        if member in _OURS:
            raise InvalidRequestError(f"extra may not set {name}: the request itself does")
        if member == "guardrailConfig" and settings.guardrail_identifier:
            raise InvalidRequestError(f"extra may not set {name}: the configuration has a guardrail for this provider")
        if member == "additionalModelRequestFields":
            if not isinstance(value, Mapping):
                raise InvalidRequestError(f"extra.{name} is a {type(value).__name__}; expected a mapping")
            fields.update(value)
        elif member in _WIRE_MEMBERS:
            document[member] = _merged(document.get(member), value)
        else:
            fields[name] = value


def _merged(ours: Any, theirs: Any) -> Any:
    """Return what the caller says, above what the configuration or the request says beside it."""
    return {**ours, **theirs} if isinstance(ours, Mapping) and isinstance(theirs, Mapping) else theirs


__all__ = ["ConverseBody", "add_extra", "converse_body", "refuse_dropped"]
