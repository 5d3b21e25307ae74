"""Which model an id means: bare ids, profiles of a geography, and ARNs of everything that can be invoked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import attrs

from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.errors import refusal
from apex_llm_mock.emulation.bedrock.model_table import MODELS, RETIRED
from apex_llm_mock.emulation.bedrock.profiles import (
    ACCOUNT,
    DEPLOYMENTS,
    IMPORTED,
    PROFILES,
    PROVISIONED,
    Profile,
)

ModelKind = Literal["foundation", "profile", "application_profile", "provisioned", "imported", "deployment", "declared"]

INVALID_IDENTIFIER = "The provided model identifier is invalid."
END_OF_LIFE = (
    "This model version has reached the end of its life. Please refer to the AWS documentation for more details."
)
NOT_READY = "Provisioned throughput is not in service yet."
#: Bedrock writes a typographic apostrophe.
NO_ON_DEMAND = (
    "Invocation of model ID {} with on-demand throughput isn\u2019t supported. Retry your request with the ID or ARN of "
    "an inference profile that contains this model."
)
_WELL_FORMED = re.compile(r"arn:[a-zA-Z0-9_.:/-]{1,2040}|[a-zA-Z0-9_.:-]{1,2048}")
_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):bedrock:(?P<region>[a-z0-9-]{0,20}):(?P<account>[0-9]{0,12}):"
    r"(?P<kind>[a-z-]+)/(?P<name>[^/]+(?:/[^/]+)?)"
)


@attrs.frozen(kw_only=True)
class Found:
    """The model that an id means."""

    #: As in the path, decoded once.
    given: str
    kind: ModelKind
    model: BaseModel
    profile: Profile | None = None
    #: Of an ARN; "" otherwise.
    region: str = ""
    #: It serves requests; provisioned throughput may be in the making.
    ready: bool = True

    @property
    def on_demand(self) -> bool:
        """Whether it may be invoked by this id."""
        return self.kind != "foundation" or (self.model.on_demand and self.given not in self.model.variants)


def look_up(given: str, declared: Mapping[str, str] | None = None) -> Found | None:
    """Return what *given* means, None when there is no such thing.

    Args:
        given: an id or ARN as in the path of the request, percent-decoded once.
        declared: the only ids there are, each with the id of the model that it behaves like; None: all that Bedrock has.
    """
    if declared is not None:
        base = look_up(declared[given]) if given in declared else None
        if base is None:
            return None
        known = look_up(given)
        if known is not None and known.model is base.model:
            return known
        return Found(given=given, kind="declared", model=base.model)
    model = MODELS.get(given) or _VARIANTS.get(given)
    if model is not None:
        return Found(given=given, kind="foundation", model=model)
    profile = PROFILES.get(given)
    if profile is not None:
        return _of_profile(given, profile, region="")
    parts = _ARN.fullmatch(given)
    return None if parts is None else _of_arn(given, parts)


def find(given: str, declared: Mapping[str, str] | None = None, *, region: str = "") -> Found:
    """Return what *given* means to a request that invokes it; the arguments as of `look_up`.

    Args:
        given: an id or ARN, percent-decoded once.
        declared: the only ids there are, each with the id of the model that it behaves like; None: all that Bedrock has.
        region: where the request arrived; "" takes requests for every region.

    Raises:
        RefusedError: there is no such model, it is past its life, it cannot be invoked by this id, or not from here.
    """
    _check_form(given)
    found = look_up(given, declared)
    if found is None:
        raise _unknown(given)
    if not found.on_demand:
        raise refusal("ValidationException", NO_ON_DEMAND.format(given), 400)
    if not found.ready:
        raise refusal("ModelNotReadyException", NOT_READY, 429)
    profile = found.profile
    elsewhere = region and (
        found.region not in ("", region) or (profile is not None and not profile.callable_from(region))
    )
    if elsewhere and found.kind != "declared":
        raise refusal("ValidationException", INVALID_IDENTIFIER, 400)
    return found


def _of_profile(given: str, profile: Profile, *, region: str) -> Found:
    kind: ModelKind = "profile" if profile.type == "SYSTEM_DEFINED" else "application_profile"
    return Found(given=given, kind=kind, model=profile.model, profile=profile, region=region)


def _of_arn(given: str, parts: re.Match[str]) -> Found | None:
    name, region = parts["name"], parts["region"]
    if parts["kind"] == "foundation-model":
        model = MODELS.get(name) if not parts["account"] else None
        # An ARN of a model is its id in another spelling: what holds for the one holds for the other.
        return None if model is None else Found(given=given, kind="foundation", model=model, region=region)
    if parts["account"] != ACCOUNT:
        return None
    match parts["kind"]:
        case "inference-profile" | "application-inference-profile" as kind:
            profile = PROFILES.get(name)
            if profile is not None and (kind == "inference-profile") == (profile.type == "SYSTEM_DEFINED"):
                return _of_profile(given, profile, region=region)
        case "provisioned-model":
            units = PROVISIONED.get(name)
            if units is not None:
                return Found(given=given, kind="provisioned", model=units.model, region=region, ready=units.in_service)
        case "imported-model":
            weights = IMPORTED.get(name)
            if weights is not None:
                return Found(given=given, kind="imported", model=weights.model, region=region)
        case "custom-model-deployment":
            deployed = DEPLOYMENTS.get(name)
            if deployed is not None:
                return Found(given=given, kind="deployment", model=deployed, region=region)
    return None


def _check_form(given: str) -> None:
    if _WELL_FORMED.fullmatch(given) is None:
        raise refusal(
            "ValidationException",
            f"1 validation error detected: Value '{given}' at 'modelId' failed to satisfy constraint: Member must satisfy "
            f"regular expression pattern: {_WELL_FORMED.pattern}",
            400,
        )


def _unknown(given: str) -> RefusedError:
    if given in RETIRED:
        return refusal("ResourceNotFoundException", END_OF_LIFE, 404)
    parts = _ARN.fullmatch(given)
    if parts is not None and parts["account"] not in ("", ACCOUNT):
        return refusal(
            "AccessDeniedException",
            f"User: arn:{parts['partition']}:iam::{ACCOUNT}:user/emulator is not authorized to perform: bedrock:InvokeModel "
            f"on resource: {given} because no resource-based policy allows the bedrock:InvokeModel action",
            403,
        )
    return refusal("ValidationException", INVALID_IDENTIFIER, 400)


_VARIANTS = {variant: model for model in MODELS.values() for variant in model.variants}

__all__ = [
    "END_OF_LIFE",
    "INVALID_IDENTIFIER",
    "MODELS",
    "NO_ON_DEMAND",
    "PROFILES",
    "BaseModel",
    "Found",
    "ModelKind",
    "Profile",
    "find",
    "look_up",
]
