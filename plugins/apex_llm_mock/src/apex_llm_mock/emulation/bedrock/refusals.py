"""Refusals by name: credentials, permissions, models that cannot be used, requests that are not valid."""

from __future__ import annotations

from typing import Any

from apex_llm_mock.emulation.answers import WholeAnswer
from apex_llm_mock.emulation.bedrock.access import EXPIRED_TOKEN, INVALID_TOKEN, MISMATCH
from apex_llm_mock.emulation.bedrock.cache_points import NOT_ALLOWED
from apex_llm_mock.emulation.bedrock.errors import bad_api_key, error_answer, unknown_operation
from apex_llm_mock.emulation.bedrock.models import END_OF_LIFE, INVALID_IDENTIFIER, NO_ON_DEMAND
from apex_llm_mock.emulation.fault_forms import InsteadFault

MODEL = "anthropic.claude-sonnet-4-20250514-v1:0"
_USER = "User: arn:aws:iam::123456789012:user/emulator is not authorized to perform: bedrock:InvokeModel on resource: "


def _fault(doc: str, code: str, message: str, status: int | None = None, **more: Any) -> InsteadFault:
    return InsteadFault(doc=doc, answer=error_answer(code, message, status, more=more))


def _answer(doc: str, answer: WholeAnswer) -> InsteadFault:
    return InsteadFault(doc=doc, answer=answer)


def _invalid(doc: str, message: str) -> InsteadFault:
    return _fault(doc, "ValidationException", message)


_CREDENTIALS = {
    "unrecognized_client": _fault("403, an access key that nobody knows", "UnrecognizedClientException", INVALID_TOKEN),
    "invalid_client_token": _fault("403, the same in the words of STS", "InvalidClientTokenId", INVALID_TOKEN, 403),
    "invalid_signature": _fault("403, a signature that does not fit", "InvalidSignatureException", MISMATCH),
    "signature_expired": _fault(
        "403, the client's clock is behind",
        "InvalidSignatureException",
        "Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z (20260101T001000Z - 5 min.)",
    ),
    "signature_not_yet_current": _fault(
        "403, the client's clock is ahead",
        "InvalidSignatureException",
        "Signature not yet current: 20260101T001000Z is still later than 20260101T000500Z (20260101T000000Z + 5 min.)",
    ),
    "expired_token": _fault("403, credentials past their time", "ExpiredTokenException", EXPIRED_TOKEN),
    "expired_token_code": _fault("400, the same under its older code", "ExpiredToken", EXPIRED_TOKEN, 400),
    "incomplete_signature": _fault(
        "400, half an Authorization header",
        "IncompleteSignatureException",
        "Authorization header requires 'Signature' parameter.",
    ),
    "missing_authentication": _fault(
        "403, no credentials at all", "MissingAuthenticationTokenException", "Missing Authentication Token"
    ),
    "bad_api_key": _answer("403, a bearer token that does not hold: no code", bad_api_key().answer),
}
_PERMISSIONS = {
    "access_denied": _fault(
        "403, a missing permission",
        "AccessDeniedException",
        f"{_USER}arn:aws:bedrock:us-east-1::foundation-model/{MODEL} because no identity-based policy allows the "
        "bedrock:InvokeModel action",
    ),
    "access_denied_model": _fault(
        "403, no access to the model",
        "AccessDeniedException",
        "You don't have access to the model with the specified model ID.",
    ),
    "access_denied_marketplace": _fault(
        "403, the subscription of the model is missing",
        "AccessDeniedException",
        "Model access is denied due to IAM user or service role is not authorized to perform the required AWS Marketplace "
        "actions (aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe) to enable access to this model.",
    ),
    "use_case_form": _fault(
        "404, the form about the use of the model was never filled in",
        "ResourceNotFoundException",
        "Model use case details have not been submitted for this account. Fill out the Anthropic use case details form "
        "before using the model. If you have already filled out the form, try again in 15 minutes.",
    ),
    "caching_not_allowed": _fault("403, a cache point for a model without them", "AccessDeniedException", NOT_ALLOWED),
}
_MODELS = {
    "resource_not_found": _fault(
        "404",
        "ResourceNotFoundException",
        "Could not resolve the foundation model from the provided model identifier.",
    ),
    "end_of_life": _fault("404, the version is past its life", "ResourceNotFoundException", END_OF_LIFE),
    "invalid_model_identifier": _invalid("400, the id names no model", INVALID_IDENTIFIER),
    "on_demand_unsupported": _invalid("400, only an inference profile serves it", NO_ON_DEMAND.format(MODEL)),
    "unknown_operation": _answer("200, a path that means nothing", unknown_operation()),
}
_REQUESTS = {
    "validation": _invalid(
        "400",
        "1 validation error detected: Value '' at 'messages' failed to satisfy constraint: Member must not be null",
    ),
    "serialization": _fault("400, a value of a wrong type", "SerializationException", "Unexpected field type"),
    "conflict": _fault("400", "ConflictException", "The request conflicts with the state of the resource."),
    "too_large": _fault("413", "RequestEntityTooLargeException", "Request size exceeds the limit.", 413),
}
_CONTEXT = {
    "input_too_long": _invalid("400, too long a prompt", "Input is too long for requested model."),
    "prompt_too_long": _invalid(
        "400, the same in Claude's words",
        "The model returned the following errors: prompt is too long: 210000 tokens > 200000 maximum",
    ),
    "input_tokens_exceeded": _invalid(
        "400, the same in Nova's words", "Input Tokens Exceeded: Number of input tokens exceeds maximum length."
    ),
    "too_many_input_tokens": _invalid(
        "400, the same of an embedding",
        "Too many input tokens. Max input tokens: 8192, request input token count: 9001",
    ),
    "max_length": _invalid(
        "400, too long a string",
        "Malformed input request: expected maxLength: 50000, actual: 60000, please reformat your input and try again.",
    ),
}
_FILTERS = {
    "content_filtered_request": _invalid(
        "400, the prompt of an image was filtered",
        "This request has been blocked by our content filters. Our filters automatically flagged this prompt because it may "
        "conflict our AUP or AWS Responsible AI Policy. Please adjust your text prompt to submit a new request.",
    ),
    "content_policy": _invalid(
        "400, the model's maker filtered the prompt",
        "The model returned the following errors: Output blocked by content filtering policy",
    ),
}
REFUSALS = {**_CREDENTIALS, **_PERMISSIONS, **_MODELS, **_REQUESTS, **_CONTEXT, **_FILTERS}

__all__ = ["MODEL", "REFUSALS"]
