"""What stands before models: inference profiles, provisioned throughput, imported models, custom deployments."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import attrs

from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.model_table import MODELS

#: The account to which everything belongs that is not Amazon's.
ACCOUNT = "123456789012"
#: An account of somebody else, whose resources exist but may not be used.
FOREIGN_ACCOUNT = "999999999999"

ProfileType = Literal["SYSTEM_DEFINED", "APPLICATION"]

#: Regions from which a profile of a geography may be called; they are its destinations, too. "global" has all.
GEOGRAPHIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "us": ("us-east-1", "us-east-2", "us-west-1", "us-west-2"),
        "eu": ("eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-2", "eu-west-3"),
        "apac": (
            "ap-northeast-1",
            "ap-northeast-2",
            "ap-northeast-3",
            "ap-south-1",
            "ap-southeast-1",
            "ap-southeast-2",
        ),
        "jp": ("ap-northeast-1", "ap-northeast-3"),
        "au": ("ap-southeast-2", "ap-southeast-4"),
        "ca": ("ca-central-1",),
        "us-gov": ("us-gov-east-1", "us-gov-west-1"),
        "global": (),
    }
)
_NAMES = {"us": "US", "eu": "EU", "us-gov": "US-GOV", "jp": "JP", "au": "AU", "ca": "CA", "apac": "APAC"}
#: GetInferenceProfile names at most so many models.
MOST_MODELS = 5


def partition_of(region: str) -> str:
    """Return the partition in which *region* lies."""
    if region.startswith("us-gov-"):
        return "aws-us-gov"
    return "aws-cn" if region.startswith("cn-") else "aws"


def model_arn(model_id: str, region: str) -> str:
    """Return the ARN of a foundation model."""
    return f"arn:{partition_of(region)}:bedrock:{region}::foundation-model/{model_id}"


def owned_arn(kind: str, name: str, region: str, account: str = ACCOUNT) -> str:
    """Return the ARN of something of *account*, for example of the *kind* "inference-profile"."""
    return f"arn:{partition_of(region)}:bedrock:{region}:{account}:{kind}/{name}"


@attrs.frozen(kw_only=True)
class Profile:
    """An inference profile."""

    id: str
    type: ProfileType
    name: str
    description: str
    model: BaseModel
    #: "us", "eu", …, "global"; "" for an application's profile of a model in one region.
    geography: str = ""

    def arn(self, region: str) -> str:
        """Return its ARN as seen from *region*."""
        kind = "inference-profile" if self.type == "SYSTEM_DEFINED" else "application-inference-profile"
        return owned_arn(kind, self.id, region)

    def callable_from(self, region: str) -> bool:
        """Return whether *region* is one of its source regions."""
        if self.geography == "global":
            return not region.startswith(("us-gov-", "cn-"))
        return not self.geography or region in GEOGRAPHIES[self.geography]

    def model_arns(self, region: str) -> list[str]:
        """Return the models behind it as seen from *region*."""
        if not self.geography:
            return [model_arn(self.model.id, region)]
        if self.geography == "global":
            # The destination "anywhere" is an ARN without a region.
            return [model_arn(self.model.id, region), f"arn:aws:bedrock:::foundation-model/{self.model.id}"]
        return [model_arn(self.model.id, destination) for destination in GEOGRAPHIES[self.geography][:MOST_MODELS]]


@attrs.frozen(kw_only=True)
class Provisioned:
    """Provisioned throughput."""

    id: str
    name: str
    model: BaseModel
    units: int = 1
    in_service: bool = True


@attrs.frozen(kw_only=True)
class Imported:
    """A model of one's own weights; *model* is what it behaves like."""

    id: str
    name: str
    architecture: str
    model: BaseModel


def _system_profiles() -> dict[str, Profile]:
    found = {}
    for model in MODELS.values():
        for geography in model.geographies:
            profile_id = f"{geography}.{model.id}"
            where = "across the world" if geography == "global" else f"in {', '.join(GEOGRAPHIES[geography])}"
            title = "Global" if geography == "global" else _NAMES[geography]
            found[profile_id] = Profile(
                id=profile_id,
                type="SYSTEM_DEFINED",
                name=f"{title} {model.vendor} {model.name}",
                description=f"Routes requests to {model.vendor} {model.name} {where}.",
                model=model,
                geography=geography,
            )
    return found


def _application(profile_id: str, name: str, base: str, geography: str = "") -> Profile:
    return Profile(
        id=profile_id,
        type="APPLICATION",
        name=name,
        description=f"Accounts for what {name} spends",
        model=MODELS[base],
        geography=geography,
    )


_APPLICATIONS = (
    _application("chatsupport1", "chat-support", "anthropic.claude-sonnet-4-5-20250929-v1:0", "us"),
    _application("novareports1", "nova-reports", "amazon.nova-pro-v1:0"),
    _application("searchtitan1", "search-vectors", "amazon.titan-embed-text-v2:0"),
    _application("searchcohere", "search-cohere", "cohere.embed-v4:0", "us"),
)
#: By their ids, those of the system first.
PROFILES: Mapping[str, Profile] = MappingProxyType(
    _system_profiles() | {profile.id: profile for profile in _APPLICATIONS}
)
PROVISIONED: Mapping[str, Provisioned] = MappingProxyType(
    {
        item.id: item
        for item in (
            Provisioned(id="novapro12345", name="nova-pro-units", model=MODELS["amazon.nova-pro-v1:0"]),
            Provisioned(
                id="haiku1234567", name="haiku-units", model=MODELS["anthropic.claude-3-haiku-20240307-v1:0"], units=2
            ),
            Provisioned(
                id="creating1234", name="not-ready-yet", model=MODELS["amazon.nova-lite-v1:0"], in_service=False
            ),
        )
    }
)
_LLAMA = MODELS["meta.llama3-70b-instruct-v1:0"]
_QWEN = MODELS["qwen.qwen3-32b-v1:0"]
IMPORTED: Mapping[str, Imported] = MappingProxyType(
    {
        item.id: item
        for item in (
            Imported(
                id="ownllama1234",
                name="own-llama",
                architecture="llama",
                model=attrs.evolve(_LLAMA, converse=False, name="own-llama"),
            ),
            Imported(
                id="ownqwen12345",
                name="own-qwen",
                architecture="qwen3",
                model=attrs.evolve(_QWEN, name="own-qwen"),
            ),
        )
    }
)
#: On-demand deployments of customised models, by their ids.
DEPLOYMENTS: Mapping[str, BaseModel] = MappingProxyType({"tunednova123": MODELS["amazon.nova-lite-v1:0"]})

__all__ = [
    "ACCOUNT",
    "DEPLOYMENTS",
    "FOREIGN_ACCOUNT",
    "GEOGRAPHIES",
    "IMPORTED",
    "MOST_MODELS",
    "PROFILES",
    "PROVISIONED",
    "Imported",
    "Profile",
    "ProfileType",
    "Provisioned",
    "model_arn",
    "owned_arn",
    "partition_of",
]
