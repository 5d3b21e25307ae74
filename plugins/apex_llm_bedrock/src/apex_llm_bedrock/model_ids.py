"""What a model id says: kind, region, geography, and the model behind it. An id is never changed, only read.

::

    written                                                       kind                  says
    anthropic.claude-3-haiku-20240307-v1:0                        foundation            base
    us.anthropic.claude-sonnet-4-20250514-v1:0                    profile               geo, base
    arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-…     foundation            region, base
    arn:aws:bedrock:eu-west-1:…:inference-profile/eu.amazon.…     profile               region, account, geo, base
    arn:…:application-inference-profile/a1b2c3                    application_profile   region, account
    arn:…:provisioned-model/a1b2c3                                provisioned           region, account
    arn:…:imported-model/a1b2c3                                   imported              region, account
    arn:…:custom-model/amazon.titan-text-lite-v1/a1b2c3           custom                region, account, base
    arn:…:custom-model-deployment/a1b2c3                          deployment            region, account
    arn:…:prompt/ABCDEFGHIJ:1                                     prompt                region, account
    arn:…:default-prompt-router/anthropic.claude:1                prompt_router         region, account
    arn:aws:sagemaker:us-east-1:…:endpoint/name                   marketplace           region, account
    a1b2c3                                                        unknown

A geography (``us.``, ``eu.``) decides in which countries prompts are processed: it is put before an id only by `with_geo`,
which callers use only when the operator asked for it.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import quote

import attrs

from apex_llm_core.errors import nearest

ModelKind = Literal[
    "foundation",
    "profile",
    "application_profile",
    "provisioned",
    "imported",
    "custom",
    "deployment",
    "prompt",
    "prompt_router",
    "marketplace",
    "unknown",
]

#: Geographies of cross-region inference profiles.
GEOGRAPHIES: tuple[str, ...] = ("us", "eu", "apac", "jp", "au", "ca", "in", "us-gov", "global")
_VENDOR_WORDS = (
    "ai21 amazon anthropic cohere deepseek google luma meta minimax mistral moonshot moonshotai nvidia openai qwen stability "
    "twelvelabs writer xai zai"
)
#: First parts of foundation model ids. New ones need not be listed; listed ones are told from geographies and typing errors.
VENDORS: frozenset[str] = frozenset(_VENDOR_WORDS.split())

_KINDS: dict[str, ModelKind] = {
    "foundation-model": "foundation",
    "inference-profile": "profile",
    "application-inference-profile": "application_profile",
    "provisioned-model": "provisioned",
    "imported-model": "imported",
    "custom-model": "custom",
    "custom-model-deployment": "deployment",
    "prompt": "prompt",
    "prompt-router": "prompt_router",
    "default-prompt-router": "prompt_router",
}
#: As the service model limits it.
_LONGEST = 2048
_STRANGE = re.compile(r"[^A-Za-z0-9._:/@-]")
_ARN = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z0-9-]+)?):(?P<service>[a-z0-9-]+):(?P<region>[a-z0-9-]*):(?P<account>\d{12})?:"
    r"(?P<type>[a-z-]+)/(?P<id>[^/].*)",
    re.ASCII,
)
_CUSTOM = re.compile(r"(?P<base>[^/]+)/[^/]+")
_FOUNDATION = re.compile(r"[a-z][a-z0-9]*\.[a-z0-9][A-Za-z0-9._:-]*", re.ASCII)
#: What a geography looks like that is newer than `GEOGRAPHIES`.
_GEO = re.compile(r"[a-z]{2,6}(?:-[a-z]{2,4})?", re.ASCII)
#: What other libraries put before model ids.
_ROUTES = frozenset({"bedrock", "amazon-bedrock", "converse", "converse_like", "invoke", "bedrock_converse"})
_EXAMPLE = "write an id such as 'anthropic.claude-3-haiku-20240307-v1:0', that of an inference profile, or an ARN"


@attrs.frozen(kw_only=True)
class ModelId:
    """What is called, and what its name tells of it; "" for what it does not tell."""

    #: As configured.
    given: str
    kind: ModelKind
    #: `given`, percent-encoded exactly once: the segment of the URL between ``/model/`` and ``/converse``.
    path: str
    #: Of an ARN; it wins over the configured region.
    region: str = ""
    #: Of an ARN: ``aws``, ``aws-us-gov``, ``aws-cn`` and so on.
    partition: str = ""
    #: Of an ARN: 12 digits.
    account: str = ""
    #: Where a profile may process requests: one of `GEOGRAPHIES`, or a newer one.
    geo: str = ""
    #: The foundation model's id with its version, without geography.
    base: str = ""


def parse_model_id(text: str) -> ModelId:
    """Return what the model id *text* says.

    Raises:
        ValueError: no model can have this id; the message says what to write.
    """
    _check_characters(text)
    if text[:4].lower() == "arn:":
        return _parse_arn(text)
    _check_plain(text)
    geo, base = split_geo(text)
    kind: ModelKind = "profile" if geo else "foundation" if base else "unknown"
    return ModelId(given=text, kind=kind, path=quote(text, safe=""), geo=geo, base=base)


def with_geo(model: ModelId, geo: str) -> ModelId:
    """Return the inference profile of *model* in the geography *geo*; only plain foundation ids have one to put before.

    Everything else, ARNs and profiles of another geography among them, is returned as it is, and so is all with *geo* "".

    Raises:
        ValueError: *geo* is no geography.
    """
    if not geo:
        return model
    if geo not in GEOGRAPHIES:
        raise ValueError(f"{geo!r} is no geography of inference profiles{nearest(geo, GEOGRAPHIES)}")
    if model.kind != "foundation" or model.partition:
        return model
    return parse_model_id(f"{geo}.{model.given}")


def split_geo(text: str) -> tuple[str, str]:
    """Return the geography and the foundation id in *text*, an id that is no ARN; "" for what it has not."""
    first, _, rest = text.partition(".")
    if first not in VENDORS and _FOUNDATION.fullmatch(rest):
        known = rest.partition(".")[0] in VENDORS
        if first in GEOGRAPHIES or (known and _GEO.fullmatch(first)):
            return first, rest
    return "", text if _FOUNDATION.fullmatch(text) else ""


def _check_characters(text: str) -> None:
    if not text.strip():
        raise ValueError(f"the model id is blank; {_EXAMPLE}")
    if len(text) > _LONGEST:
        raise ValueError(f"the model id has {len(text)} characters, more than {_LONGEST}; {_EXAMPLE}")
    if "%" in text:
        raise ValueError(
            f"the model id {text!r} is percent-encoded; write it plainly, it is encoded once when it is sent"
        )
    strange = _STRANGE.search(text)
    if strange is not None:
        char = strange[0]
        if char.isspace():
            raise ValueError(f"the model id {text!r} has a space or a line break; remove it")
        raise ValueError(f"the model id {text!r} has the character {char!a}, which no model id has; {_EXAMPLE}")


def _check_plain(text: str) -> None:
    """Refuse what looks like an id of another library, or nearly like one of Bedrock."""
    if text in {".", ".."}:
        raise ValueError(f"the model id {text!r} would change the path of the request; {_EXAMPLE}")
    before, slash, after = text.partition("/")
    if slash and before.lower() in _ROUTES:
        raise ValueError(f"the model id {text!r} begins with another library's route; write {after!r}")
    separated = re.match(r"([A-Za-z0-9-]+)([:/])(.+)", text)
    if separated is not None and (separated[1].lower() in GEOGRAPHIES or separated[1].lower() in VENDORS):
        suggestion = f"{separated[1]}.{separated[3]}".lower()
        raise ValueError(f"the model id {text!r} has {separated[2]!r} in place of a dot; did you mean {suggestion!r}?")
    low = text.lower()
    if text != low and any(part in VENDORS for part in low.split(".")[:2]) and split_geo(low)[1]:
        raise ValueError(f"the model id {text!r} has capital letters; did you mean {low!r}?")


def _parse_arn(text: str) -> ModelId:
    match = _ARN.fullmatch(text)
    if match is None:
        raise ValueError(
            f"the ARN {text!r} cannot be read; write arn:aws:bedrock:REGION:ACCOUNT:TYPE/ID, for example "
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6"
        )
    kind = _arn_kind(text, match["service"], match["type"])
    if not match["region"] and kind != "foundation":
        raise ValueError(f"the ARN {text!r} names no region; every {match['type']} belongs to one")
    resource = match["id"]
    geo = base = ""
    if kind in {"foundation", "profile"}:
        geo, base = split_geo(resource)
    elif kind == "custom":
        custom = _CUSTOM.fullmatch(resource)
        base = split_geo(custom["base"])[1] if custom is not None else ""
    if "/" in resource and kind != "custom":
        raise ValueError(f"the ARN {text!r} goes on after the id of the {match['type']}; remove what follows it")
    return ModelId(
        given=text,
        kind=kind,
        path=quote(text, safe=""),
        region=match["region"],
        partition=match["partition"],
        account=match["account"] or "",
        geo=geo,
        base=base,
    )


def _arn_kind(text: str, service: str, resource_type: str) -> ModelKind:
    if service == "sagemaker" and resource_type == "endpoint":
        return "marketplace"
    if service != "bedrock":
        raise ValueError(
            f"the ARN {text!r} is of the service {service!r}; models are of 'bedrock', or endpoints of 'sagemaker'"
        )
    if resource_type not in _KINDS:
        raise ValueError(
            f"the ARN {text!r} is of a {resource_type!r}, which is no model{nearest(resource_type, _KINDS)}"
        )
    return _KINDS[resource_type]


__all__ = ["GEOGRAPHIES", "VENDORS", "ModelId", "ModelKind", "parse_model_id", "split_geo", "with_geo"]
