"""Refusals by name: content filters, prompts that are too long, credentials, deployments, parameters."""

from __future__ import annotations

from typing import Any

from apex_llm_mock.emulation.answers import WholeAnswer, document_answer
from apex_llm_mock.emulation.azure.errors import BAD_KEY, NO_DEPLOYMENT, NOT_AUTHORIZED, from_model, front_door
from apex_llm_mock.emulation.azure.filters import filtered
from apex_llm_mock.emulation.fault_forms import InsteadFault

FILTERED = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your "
    "prompt and retry. To learn more about our content filtering policies please read our documentation: "
    "https://go.microsoft.com/fwlink/?linkid=2198766"
)
UNSAFE = (
    "Your request was rejected as a result of our safety system. Your prompt may contain text that is not allowed by our "
    "safety system."
)
_PROMPT_VERDICT = {**filtered(), "jailbreak": {"filtered": False, "detected": False}}


def content_filter_error(
    inner: dict[str, Any], *, message: str = FILTERED, code: str = "content_filter"
) -> dict[str, Any]:
    """Return the document of a filtered prompt; *inner* is what it tells about the filter."""
    return {"error": {"message": message, "type": None, "param": "prompt", "code": code, "status": 400, **inner}}


def inner_error(code: str = "ResponsibleAIPolicyViolation") -> dict[str, Any]:
    """Return the inner error as Azure really sends it."""
    return {"innererror": {"code": code, "content_filter_result": _PROMPT_VERDICT}}


def _fault(doc: str, answer: WholeAnswer) -> InsteadFault:
    return InsteadFault(doc=doc, answer=answer)


def _filter(doc: str, inner: dict[str, Any], *, status: int = 400, **more: str) -> InsteadFault:
    return _fault(doc, document_answer(content_filter_error(inner, **more), status=status))


_CONTENT_FILTER = {
    "content_filter": _filter("400, the prompt was filtered, in the live spelling", inner_error()),
    "content_filter_500": _filter("the same with status 500", inner_error(), status=500),
    "content_filter_specified": _filter(
        "400, the spelling of the specification: inner_error, content_filter_results",
        {"inner_error": {"code": "ResponsibleAIPolicyViolation", "content_filter_results": _PROMPT_VERDICT}},
    ),
    "content_filter_inner_only": _filter(
        "400, only the inner code tells", inner_error("ContentFiltered"), message="Bad request.", code="BadRequest"
    ),
    "content_filter_bare": _filter("400, without an inner error", {}),
    "content_filter_text": _fault("400, only the text tells", front_door(400, "400", FILTERED)),
    "content_policy_violation": _fault(
        "400, the prompt of an image, with verdicts and the revised prompt",
        from_model(
            UNSAFE,
            code="content_policy_violation",
            more={
                "inner_error": {
                    "code": "ResponsibleAIPolicyViolation",
                    "content_filter_results": _PROMPT_VERDICT,
                    "revised_prompt": "A harmless picture instead.",
                }
            },
        ),
    ),
    "content_filter_image": _fault(
        "400, an image that was made and then filtered: contentFilter",
        front_door(400, "contentFilter", "Your task failed as a result of our safety system."),
    ),
    "safety_system": _fault("400, an image's prompt, only the text tells", from_model(UNSAFE)),
}
_CONTEXT = {
    "context_length": _fault(
        "400, too long a prompt, with the code context_length_exceeded",
        from_model(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. Please "
            "reduce the length of the messages.",
            code="context_length_exceeded",
            param="messages",
        ),
    ),
    "context_length_configured": _fault(
        "400, only the text tells: configured limit",
        from_model(
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300010 tokens. Please "
            "reduce the length of the messages.",
            param="messages",
        ),
    ),
    "context_length_window": _fault(
        "400, only the text tells: context window",
        from_model("Your input exceeds the context window of this model. Please adjust your input and try again."),
    ),
    "context_length_input": _fault(
        "400, only the text tells: maximum input length",
        from_model("This model's maximum input length is 8192 tokens."),
    ),
    "context_length_embedding": _fault(
        "400, only the text tells: maximum context length, without a code",
        from_model(
            "This model's maximum context length is 8192 tokens, however you requested 8450 tokens (8450 in your prompt; 0 "
            "for the completion). Please reduce your prompt; or completion length."
        ),
    ),
    "string_above_max_length": _fault(
        "400, too long a user id; the context has room",
        from_model(
            "Invalid 'user': string too long. Expected a string with maximum length 64, but got a string with length 100 "
            "instead.",
            code="string_above_max_length",
            param="user",
        ),
    ),
    "prompt_above_max_length": _fault(
        "400, string_above_max_length of the messages",
        from_model(
            "Invalid 'messages[0].content': string too long. Expected a string with maximum length 10485760, but got a "
            "string with length 10485761 instead.",
            code="string_above_max_length",
            param="messages[0].content",
        ),
    ),
}
_CREDENTIALS = {
    "unauthorized": _fault("401, a wrong key", front_door(401, "401", BAD_KEY)),
    "unauthorized_token": _fault(
        "401, a token that does not hold, in the gateway's form",
        document_answer({"statusCode": 401, "message": NOT_AUTHORIZED}, status=401),
    ),
    "unauthorized_code": _fault("401, the same with an error code", front_door(401, "Unauthorized", NOT_AUTHORIZED)),
    "permission_denied": _fault(
        "401, the principal lacks the role",
        front_door(401, "PermissionDenied", "Principal does not have access to API/Operation."),
    ),
    "public_access_disabled": _fault(
        "403, network rules", front_door(403, "403", "Public access is disabled. Please configure private endpoint.")
    ),
    "firewall": _fault(
        "403, network rules", front_door(403, "403", "Access denied due to Virtual Network/Firewall rules.")
    ),
    "key_disabled": _fault(
        "403, keys are disabled",
        front_door(403, "AuthenticationTypeDisabled", "Key based authentication is disabled for this resource."),
    ),
    "blocked": _fault(
        "403, the resource was blocked for abuse",
        front_door(
            403,
            "Forbidden",
            "Your resource has been temporarily blocked because we detected behavior that may violate our content policy.",
        ),
    ),
    "call_volume": _fault(
        "403, the gateway's quota",
        document_answer(
            {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 00:12:30."},
            status=403,
        ),
    ),
}
_UNSUITABLE = (
    "The chatCompletion operation does not work with the specified model, gpt-5-codex. Please choose different model and "
    "try again. You can learn more about which models can be used with each operation here: "
    "https://go.microsoft.com/fwlink/?linkid=2197993."
)
_DEPLOYMENTS = {
    "deployment_not_found": _fault("404, no such deployment", front_door(404, "DeploymentNotFound", NO_DEPLOYMENT)),
    "resource_not_found": _fault("404, wrong path, version or host", front_door(404, "404", "Resource not found")),
    "model_not_found": _fault(
        "404, no such model",
        from_model("The model `gpt-9` does not exist", status=404, code="model_not_found", param="model"),
    ),
    "operation_not_supported": _fault(
        "400, the model has no such operation", front_door(400, "OperationNotSupported", _UNSUITABLE)
    ),
    "operation_not_supported_404": _fault("404, the same", front_door(404, "OperationNotSupported", _UNSUITABLE)),
}


def _parameter(doc: str, message: str, code: str | None, param: str | None, *, status: int = 400) -> InsteadFault:
    return _fault(doc, from_model(message, status=status, code=code, param=param))


_PARAMETERS = {
    "unknown_parameter": _parameter(
        "400, stream_options is unknown to an old version",
        "Unknown parameter: 'stream_options'.",
        "unknown_parameter",
        "stream_options",
    ),
    "unsupported_max_tokens": _parameter(
        "400, a reasoning model wants max_completion_tokens",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "unsupported_parameter",
        "max_tokens",
    ),
    "unsupported_max_completion_tokens": _parameter(
        "400, an old deployment wants max_tokens",
        "Unsupported parameter: 'max_completion_tokens' is not supported with this model. Use 'max_tokens' instead.",
        "unsupported_parameter",
        "max_completion_tokens",
    ),
    "unsupported_value": _parameter(
        "400, a reasoning model and its temperature",
        "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
        "unsupported_value",
        "temperature",
    ),
    "invalid_value": _parameter(
        "400, a value that is not allowed", "Invalid value: 'loud'.", "invalid_value", "messages[0].role"
    ),
    "bad_request": _fault("400, in the front door's form", front_door(400, "BadRequest", "The request is not valid.")),
    "unsupported_api_version": _fault(
        "400, the version",
        front_door(400, "UnsupportedApiVersion", "The HTTP resource does not support the API version."),
    ),
    "conflict": _fault("409", front_door(409, "Conflict", "The resource is being changed.")),
    "too_large": _fault("413", front_door(413, "RequestTooLarge", "The request body is too large.")),
    "unsupported_media_type": _fault("415", front_door(415, "UnsupportedMediaType", "Unsupported media type.")),
    "unprocessable": _fault("422", from_model("The request is well-formed but has semantic errors.", status=422)),
}
REFUSALS = {**_CONTENT_FILTER, **_CONTEXT, **_CREDENTIALS, **_DEPLOYMENTS, **_PARAMETERS}

__all__ = ["FILTERED", "REFUSALS", "UNSAFE", "content_filter_error", "inner_error"]
