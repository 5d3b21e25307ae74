"""What to do next, by what went wrong: the end of every message about a failed call."""

from __future__ import annotations

import re
from collections.abc import Sequence

from apex_llm_core.errors import LLMErrorType as Kind

#: Pairs of what the service says, in lower case, and what helps; the first that is found counts.
_Advice = Sequence[tuple[str, str]]

_AUTHENTICATION: _Advice = (
    (
        r"signature not yet current|signature expired|requestexpired|requesttimetooskewed",
        "the clock of this machine is wrong by more than 5 minutes: correct it",
    ),
    (
        r"bearer|api key|authentication failed",
        "check that the API key is one of Bedrock, whole, not expired, and made for this region's partition",
    ),
    (
        r"expired",
        "the credentials have ended: renew them where they come from ('aws sso login', a new role session, a new file)",
    ),
    (
        r"security token included in the request is invalid|unrecognizedclient|invalidclienttokenid|invalidaccesskeyid",
        (
            "AWS does not know the access key: it is deleted, inactive, of another partition, or a temporary one without its "
            "session token"
        ),
    ),
    (
        r"scoped to a valid region|valid region|scoped to correct service",
        (
            "the request was signed for another region than the endpoint is of: correct options.region, the endpoint, or the "
            "model's ARN, whose region signs"
        ),
    ),
    (
        r"signature we calculated|invalidsignature|signaturedoesnotmatch",
        (
            "check that the secret access key belongs to the access key id; or something on the way (a gateway, a proxy) "
            "changes path or headers after they were signed"
        ),
    ),
    (
        r"missing ?authentication|incomplete ?signature",
        "the header Authorization did not arrive whole: a proxy or gateway removes it, or options.endpoint is not Bedrock's",
    ),
)
_AUTHORIZATION: _Advice = (
    (
        r"ftuform|use case details",
        (
            "fill in the form of use case details for Anthropic models, once per account, in the Bedrock console (model "
            "catalogue); it takes some 15 minutes to hold"
        ),
    ),
    (r"badcscore", "AWS refuses the account itself: ask AWS support"),
    (r"operation not allowed", "AWS keeps Bedrock from this account, often a new one: ask AWS support"),
    (
        r"marketplace",
        (
            "the first call of a third party's model subscribes to it: allow aws-marketplace:Subscribe and "
            "aws-marketplace:ViewSubscriptions, or have an administrator call it once"
        ),
    ),
    (
        r"explicit deny|service control policy",
        (
            "a policy denies it, which no allowance outweighs: ask the organisation's administrators (a service control policy "
            "may deny the other regions of an inference profile)"
        ),
    ),
    (
        r"not authorized to perform",
        (
            "allow this action on this resource in IAM; an inference profile needs it on the profile and on the foundation model "
            "in every region it may send to"
        ),
    ),
    (
        r"access to the model|model access|access to this model",
        "give the account access to the model in the Bedrock console of this very region, or choose another model or region",
    ),
)
_NOT_FOUND: _Advice = (
    (
        r"on-demand throughput",
        (
            "call the model by an inference profile of your geography ('us.', 'eu.', 'apac.', … before the id), as id of the model "
            "or by options.geo_prefix; it is never added silently, because it decides where data is processed"
        ),
    ),
    (
        r"end of its life|legacy|deprecated|no longer available",
        "the model is retired, or kept for those who used it lately: choose its successor",
    ),
    (r"invalid for the service region|wrong region", "the ARN is of another region: call it where it was made"),
    (
        r"unknownoperation|could not be found|method not allowed",
        (
            "the path leads nowhere: options.endpoint must be the base URL of bedrock-runtime, and a gateway in between must "
            "pass %2F and %3A on as they are"
        ),
    ),
    (
        r"",
        (
            "check spelling, version and region of the model id: 'apex-llm models --all' lists what there is; profiles of a geography "
            "answer only in its own regions"
        ),
    ),
)
_INVALID: _Advice = (
    (
        r"prompt caching",
        "leave out the cache points: this model, or this account, does not cache prompts",
    ),
    (
        r"cannot both be specified|(?:doesn't|does not) support the|unsupported parameter|extraneous key|unknown parameter",
        (
            "leave it out; options.unsupported_parameters = 'drop' does so for what a known model refuses (declare base_model for "
            "ARNs)"
        ),
    ),
    (r"maximum tokens you requested|max_?tokens", "lower max_tokens to what the model can answer at most"),
    (r"tool use in streaming mode|unsupported for streaming", "ask without streaming"),
    (
        r"guardrail",
        "check guardrail_identifier and guardrail_version, and that the guardrail is of the region that is called",
    ),
)
_UNAVAILABLE: _Advice = (
    (r"mpagreementbeingcreated|agreement", "the subscription to the model is being made: try again in 15 minutes"),
    (r"modelnotready|not ready", "the model is being loaded: try again in a minute"),
    (
        r"modelerror|modelstreamerror",
        "the model itself broke over this request: change the request, or use another model",
    ),
)
_GENERAL: dict[Kind, str] = {
    Kind.AUTHENTICATION_ERROR: "check where the credentials come from: [providers.auth], environment, profile",
    Kind.AUTHORIZATION_ERROR: (
        "allow bedrock:InvokeModel and bedrock:InvokeModelWithResponseStream in IAM for this model and region, and give the "
        "account access to the model"
    ),
    Kind.RATE_LIMIT_ERROR: (
        "wait, spread the load over regions (cross-region inference profiles) or providers, or raise the model's requests and "
        "tokens per minute in AWS Service Quotas"
    ),
    Kind.QUOTA_EXCEEDED_ERROR: "waiting seconds will not help: raise the quota in AWS Service Quotas, or use another provider",
    Kind.CONTEXT_LENGTH_EXCEEDED_ERROR: "shorten the prompt or the wished answer, or take a model with a larger context window",
    Kind.CONTENT_FILTER_ERROR: "change the prompt",
    Kind.INVALID_REQUEST_ERROR: "the request itself must change; trying again does not help",
    Kind.TIMEOUT_ERROR: "the model took too long: ask for a shorter answer, or stream it",
    Kind.SERVICE_UNAVAILABLE_ERROR: (
        "try again later, or let another region or provider take over; status of AWS: https://health.aws.amazon.com"
    ),
}
_BY_KIND: dict[Kind, _Advice] = {
    Kind.AUTHENTICATION_ERROR: _AUTHENTICATION,
    Kind.AUTHORIZATION_ERROR: _AUTHORIZATION,
    Kind.MODEL_NOT_FOUND_ERROR: _NOT_FOUND,
    Kind.INVALID_REQUEST_ERROR: _INVALID,
    Kind.SERVICE_UNAVAILABLE_ERROR: _UNAVAILABLE,
}


def advice(kind: Kind, code: str, message: str, *, redirected_to: str | None = None) -> str:
    """Return what the operator or the caller can do about a failure of *kind*.

    Args:
        kind: of the failure.
        code: of the service, "" without one.
        message: what the service said.
        redirected_to: scheme and host where a redirection points, "" when they cannot be shown, None for no redirection.
    """
    if redirected_to is not None:
        where = f" to {redirected_to}" if redirected_to else ""
        return f"the address redirects{where}; correct options.endpoint: signed requests are never sent on to another address"
    said = f"{code} {message}".lower()
    for pattern, step in _BY_KIND.get(kind, ()):
        if re.search(pattern, said):
            return step
    return _GENERAL.get(kind, "the service gave no known reason; ask AWS support with the request id")


__all__ = ["advice"]
