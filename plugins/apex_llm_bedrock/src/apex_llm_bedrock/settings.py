"""What ``[providers.options]`` of a Bedrock provider may say."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import attrs

from apex_llm_bedrock.endpoints import check_endpoint, check_region
from apex_llm_bedrock.metadata import MOST, fits
from apex_llm_bedrock.model_ids import GEOGRAPHIES
from apex_llm_core.config import setting
from apex_llm_core.errors import nearest

#: Bodies that InvokeModel is known to take for text.
INVOKE_FORMATS = ("openai", "anthropic", "titan", "llama", "mistral", "cohere", "ai21")
_GUARDRAIL = re.compile(
    r"[a-z0-9]{1,2048}|arn:aws(?:-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+", re.ASCII
)
_GUARDRAIL_VERSION = re.compile(r"[1-9][0-9]{0,7}|DRAFT", re.ASCII)
_EMPTY: Mapping[str, str] = MappingProxyType({})
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)


def _nothing() -> Mapping[str, str]:
    return _EMPTY


@attrs.frozen(kw_only=True)
class BedrockSettings:
    """One account, seen from one region."""

    region: str = setting(
        "",
        doc="AWS region; empty: AWS_REGION, AWS_DEFAULT_REGION, then the profile's. The region of a model's ARN wins.",
    )
    endpoint: str = setting(
        "", doc="Base URL in place of AWS's own: a VPC endpoint, a gateway, an emulator. Empty: by AWS's rules."
    )
    control_endpoint: str = setting(
        "", doc="Base URL for lists of models and profiles; empty: the same as endpoint, else by AWS's rules."
    )
    sts_endpoint: str = setting("", doc="Base URL of the Security Token Service, for roles; empty: by AWS's rules.")
    use_fips: bool = setting(False, doc="Use the FIPS endpoints.")
    use_dualstack: bool = setting(False, doc="Use the endpoints that know IPv6.")
    ca_file: str = setting(
        "",
        doc="A file of certificate authorities to trust, in PEM; empty: AWS_CA_BUNDLE, the profile's, else the usual ones.",
    )
    role_session_name: str = setting("apex-llm", doc="What an assumed role's session is called in AWS's logs.")
    role_duration: int = setting(3600, low=900, high=43200, doc="Seconds that an assumed role's credentials live.")
    geo_prefix: str = setting(
        "",
        doc="'us', 'eu', 'apac', 'global', …: call bare model ids by that geography's inference profile. Empty: ids are sent as they are, so that data stays where the id says.",
    )
    guardrail_identifier: str = setting("", doc="Id or ARN of the guardrail that every generation passes.")
    guardrail_version: str = setting("", doc="Its version: a number or 'DRAFT'.")
    guardrail_trace: str = setting("", doc="'enabled', 'disabled' or 'enabled_full'; empty: the service's default.")
    guardrail_stream_mode: str = setting(
        "", doc="'sync' checks before a piece is sent, 'async' beside it; empty: the service's default."
    )
    service_tier: str = setting("", doc="'default', 'priority', 'flex' or 'reserved'; empty: the service's default.")
    latency: str = setting("", doc="'standard' or 'optimized'; empty: the service's default.")
    request_metadata: Mapping[str, str] = setting(
        factory=_nothing, doc="Names and values that AWS keeps in the invocation log of each generation."
    )
    embedding_batch: int = setting(96, low=1, high=96, doc="Texts per embedding call, where a model takes several.")
    embedding_concurrency: int = setting(5, low=1, doc="Calls of one embedding or image request at the same time.")
    embedding_input_type: str = setting(
        "search_document",
        doc="What embedded texts are for, where a model asks: 'search_document', 'search_query', 'classification' or 'clustering'. A request's extra.input_type wins.",
    )
    invoke: Mapping[str, str] = setting(
        factory=_nothing,
        doc=f"Models to call by InvokeModel in place of Converse, by id or provider_model_id, with the form of their bodies: {', '.join(INVOKE_FORMATS)}.",
    )
    unsupported_parameters: str = setting(
        "error",
        doc="What becomes of a parameter that the model does not take: 'error', or 'drop', which is reported in the result's details.",
    )
    look_up_profiles: bool = setting(
        True, doc="Ask AWS once which model stands behind an application profile that declares no base_model."
    )
    models_ttl: float = setting(3600.0, low=0, doc="Seconds that the lists of models and profiles are kept.")
    quota_after: float = setting(
        3600.0, above=0, doc="A service that asks for so many seconds of waiting, or more, tells of a used-up quota."
    )

    def __attrs_post_init__(self) -> None:
        checks = {
            "region": check_region,
            **dict.fromkeys(("endpoint", "control_endpoint", "sts_endpoint"), check_endpoint),
        }
        for name, check in checks.items():
            if getattr(self, name):
                try:
                    check(getattr(self, name))
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
        if not _SESSION_NAME.fullmatch(self.role_session_name):
            raise ValueError(
                f"role_session_name is {self.role_session_name!r}; AWS takes 2 to 64 letters, digits and any of _+=,.@-"
            )
        if self.endpoint and (self.use_fips or self.use_dualstack):
            raise ValueError("endpoint is an address already; leave out use_fips and use_dualstack, or the endpoint")
        _check_word("geo_prefix", self.geo_prefix, GEOGRAPHIES)
        _check_word("guardrail_trace", self.guardrail_trace, ("enabled", "disabled", "enabled_full"))
        _check_word("guardrail_stream_mode", self.guardrail_stream_mode, ("sync", "async"))
        _check_word("service_tier", self.service_tier, ("default", "priority", "flex", "reserved"))
        _check_word("latency", self.latency, ("standard", "optimized"))
        _check_word(
            "embedding_input_type",
            self.embedding_input_type,
            ("search_document", "search_query", "classification", "clustering"),
        )
        if not self.unsupported_parameters:
            raise ValueError("unsupported_parameters is empty; valid: drop, error")
        _check_word("unsupported_parameters", self.unsupported_parameters, ("error", "drop"))
        for model, form in self.invoke.items():
            if not form:
                raise ValueError(f"invoke.{model} is empty{nearest('', INVOKE_FORMATS)}")
            _check_word(f"invoke.{model}", form, INVOKE_FORMATS)
        if self.guardrail_identifier and not _GUARDRAIL.fullmatch(self.guardrail_identifier):
            raise ValueError(
                f"guardrail_identifier is {self.guardrail_identifier!r}; it is the guardrail's id, of small letters and digits,"
                " or its ARN: 'arn:aws:bedrock:us-east-1:123456789012:guardrail/ID'"
            )
        if self.guardrail_version and not _GUARDRAIL_VERSION.fullmatch(self.guardrail_version):
            raise ValueError(f"guardrail_version is {self.guardrail_version!r}; it is a number, or 'DRAFT'")
        if self.ca_file and not Path(self.ca_file).is_file():
            raise ValueError(f"ca_file: there is no file {self.ca_file!r}")
        _check_metadata(self.request_metadata)
        if bool(self.guardrail_identifier) != bool(self.guardrail_version):
            raise ValueError("guardrail_identifier and guardrail_version belong together; give both or none")
        if not self.guardrail_identifier and (self.guardrail_trace or self.guardrail_stream_mode):
            raise ValueError(
                "guardrail_trace and guardrail_stream_mode need guardrail_identifier and guardrail_version"
            )

    @property
    def policy(self) -> Literal["error", "drop"]:
        """What becomes of unsupported parameters."""
        return "drop" if self.unsupported_parameters == "drop" else "error"

    @property
    def guardrail(self) -> dict[str, Any] | None:
        """The guardrail as Converse takes it, without what streams have beside it."""
        if not self.guardrail_identifier:
            return None
        found = {"guardrailIdentifier": self.guardrail_identifier, "guardrailVersion": self.guardrail_version}
        return {**found, "trace": self.guardrail_trace} if self.guardrail_trace else found


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if len(metadata) > MOST:
        raise ValueError(f"request_metadata has {len(metadata)} names; AWS takes {MOST}")
    for name, value in metadata.items():
        if not name or not fits(name) or not fits(value):
            raise ValueError(
                f"request_metadata.{name[:50]}: names and values are letters, digits, blanks and any of _:@$#=/+,.- "
                "(at most 256 of them)"
            )


def _check_word(key: str, value: str, choices: Collection[str]) -> None:
    if value and value not in choices:
        raise ValueError(f"{key} is {value!r}{nearest(value, choices)}")


__all__ = ["INVOKE_FORMATS", "BedrockSettings"]
