"""What to do next, by what went wrong: the end of every message about a failed call."""

from __future__ import annotations

from apex_llm_azure.failure_shapes import Report, one_line
from apex_llm_core.errors import LLMErrorType as Kind

_ROLE = "the role 'Cognitive Services OpenAI User' on the resource (a new assignment takes up to 5 minutes to hold)"
_NOT_FOUND = (
    "one of three is wrong: the path (is this the right surface, v1 or dated?), the api-version (does the service know "
    "it, and does it belong to this surface?) or the host (is the endpoint this resource?)"
)


def advice(kind: Kind, status: int, report: Report, *, target: str = "") -> str:
    """Return what the operator or the caller can do about a failure of *kind*.

    *target* is where a redirection points, "" when there is none that can be shown.
    """
    if 300 <= status < 400 and kind is Kind.SERVICE_UNAVAILABLE_ERROR:
        where = f" to {target}" if target else ""
        return (
            f"the address redirects{where}; correct options.endpoint: credentials are never sent on to another address"
        )
    text = report.message.lower()
    match kind:
        case Kind.CONTENT_FILTER_ERROR:
            caught = one_line(", ".join(report.held_back), 200)
            change = "change the prompt, or the content filter of the deployment"
            return f"held back by: {caught}; {change}" if caught else change
        case Kind.CONTEXT_LENGTH_EXCEEDED_ERROR:
            return "shorten the prompt or the wished answer, or take a model with a larger context window"
        case Kind.AUTHENTICATION_ERROR:
            return _authentication(text)
        case Kind.AUTHORIZATION_ERROR:
            return _authorization(text, report.code.lower())
        case Kind.MODEL_NOT_FOUND_ERROR:
            return _not_found(text, report.code.lower(), status)
        case Kind.RATE_LIMIT_ERROR:
            return "wait, spread the load over more deployments, or ask for more quota (a larger capacity of the deployment)"
        case Kind.QUOTA_EXCEEDED_ERROR:
            return "waiting seconds will not help: raise the quota or the budget, or use another deployment"
        case Kind.INVALID_REQUEST_ERROR:
            return _invalid(text, report.code.lower())
        case Kind.TIMEOUT_ERROR:
            return "try again, ask for a shorter answer, or stream it"
        case Kind.SERVICE_UNAVAILABLE_ERROR:
            return "try again later, or let another deployment take over; status of the cloud: https://azure.status.microsoft"
        case _:
            return "the service gave no known reason; look at the endpoint, and ask its support with the request id"


def _authentication(text: str) -> str:
    if "tenant" in text:
        return "the token is of another tenant than the resource: correct auth.credentials.tenant_id"
    if "audience" in text or "token" in text:
        return (
            "the token is missing, too old, or meant for another audience: check options.scope (the clouds of the US government "
            "and of China have their own) and options.authority"
        )
    return (
        "check that the key is one of this very resource, and that options.endpoint is its address; for Microsoft Entra ID use "
        "auth.type = 'azure_ad'"
    )


def _authorization(text: str, code: str) -> str:
    if "authenticationtypedisabled" in code or "key based authentication is disabled" in text:
        return "the resource takes no API keys: use auth.type = 'azure_ad' and give the identity " + _ROLE
    if "public access is disabled" in text or "virtual network" in text or "firewall" in text:
        return (
            "the resource's network rules refuse this machine: allow its address, or come through the private endpoint"
        )
    if "temporarily blocked" in text:
        return "the resource is blocked for suspected abuse: ask Azure support"
    return f"give the identity {_ROLE}"


def _not_found(text: str, code: str, status: int) -> str:
    if status == 410 or "retired" in text:
        return "the model is retired: deploy its successor"
    if code in {"deploymentnotfound", "model_not_found", "unknown_model"} or "deployment for this resource" in text:
        return (
            "provider_model_id must be a deployment's name, which its operator chose and which need not be the model's; a new "
            "deployment takes up to 5 minutes to appear"
        )
    if "operationnotsupported" in code or "does not work with the specified model" in text:
        return (
            "the model behind this deployment does not offer the operation (some answer to the Responses API only, which is "
            "not called here): use a deployment of another model"
        )
    return _NOT_FOUND


def _invalid(text: str, code: str) -> str:
    if "api version" in text or "api-version" in text or "unsupportedapiversion" in code:
        return "correct options.api_version: dated versions belong to the dated surface, /openai/v1 needs none"
    if code == "unknown_parameter":
        return "leave it out: this version or model does not know it"
    if code in {"unsupported_parameter", "unsupported_value"}:
        return (
            "leave it out, or declare the deployment's base_model so that it is left out in time "
            "(options.unsupported_parameters = 'drop')"
        )
    return "the request itself must change; trying again does not help"


__all__ = ["advice"]
