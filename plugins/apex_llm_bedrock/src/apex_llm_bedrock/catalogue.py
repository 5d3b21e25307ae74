"""The account's catalogue: foundation models and inference profiles, all pages, kept for a while; and its health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from apex_llm_bedrock.client import BedrockClient
from apex_llm_bedrock.families import UNKNOWN, family_of
from apex_llm_bedrock.model_ids import ModelId, parse_model_id
from apex_llm_bedrock.models import model_info
from apex_llm_core.context import CallContext
from apex_llm_core.errors import (
    AuthorizationError,
    LLMError,
    ModelNotFoundError,
    RateLimitError,
    ServiceUnavailableError,
)
from apex_llm_core.models import HealthState, HealthStatus, ModelInfo

#: The control plane's own limits of one page, and of pages that are sensible.
_PAGE = 1000
_MOST_PAGES = 100
#: Output modalities, in our words.
_ABILITIES = {"EMBEDDING": frozenset({"embed"}), "IMAGE": frozenset({"image"})}


class Catalogue:
    """Lists, each asked for once in *ttl* seconds by whoever needs it first."""

    def __init__(self, client: BedrockClient, *, ttl: float, clock: Callable[[], float]) -> None:
        self._client = client
        self._ttl = ttl
        self._clock = clock
        self._lock = asyncio.Lock()
        self._models: list[ModelInfo] = []
        self._until = -1.0

    async def models(self, context: CallContext) -> list[ModelInfo]:
        """Return the foundation models that can be called by their own id, and the inference profiles.

        Raises:
            LLMError: the foundation models cannot be listed.
        """
        async with self._lock:
            if self._clock() >= self._until:
                self._models, whole = await self._listed(context)
                if whole:
                    self._until = self._clock() + self._ttl
            return list(self._models)

    async def base_of(self, model: ModelId, context: CallContext) -> str:
        """Return the foundation id behind an inference profile, "" when its answer has none.

        Raises:
            LLMError: the profile cannot be had.
        """
        path = f"/inference-profiles/{quote(model.given, safe='')}"
        profile = await self._client.get(path, "", context, region=model.region)
        for entry in _list(profile, "models"):
            try:
                return parse_model_id(str(entry.get("modelArn", ""))).base
            except ValueError:
                continue
        return ""

    async def health(self, context: CallContext) -> HealthStatus:
        """Ask for the catalogue: that proves network, credentials and address, and spends no tokens."""
        started = context.clock()
        try:
            answer = await self._client.get("/foundation-models", "byOutputModality=TEXT", context)
            _list(answer, "modelSummaries")
        except (AuthorizationError, ModelNotFoundError, RateLimitError) as error:
            # Who may call models need not be allowed to list them, and an endpoint of the runtime alone has no lists: the
            # service knows the credentials, and answers.
            return HealthStatus(
                status=HealthState.HEALTHY,
                latency=context.clock() - started,
                message=f"reachable, but models cannot be listed: {error.message}",
                details=_facts(error),
            )
        except LLMError as error:
            return HealthStatus(
                status=HealthState.UNAVAILABLE,
                latency=context.clock() - started,
                message=error.message,
                details=_facts(error),
            )
        region = await self._client.targets.region()
        return HealthStatus(status=HealthState.HEALTHY, latency=context.clock() - started, details={"region": region})

    async def _listed(self, context: CallContext) -> tuple[list[ModelInfo], bool]:
        """Return what can be listed, and whether that is all there is to list."""
        whole = True
        answer = await self._client.get("/foundation-models", "", context)
        found: dict[str, ModelInfo] = {}
        entries = [entry for entry in _list(answer, "modelSummaries") if isinstance(entry.get("modelId"), str)]
        summaries = {entry["modelId"]: entry for entry in entries}
        for name, entry in summaries.items():
            # The others are called by a profile, or by bought throughput.
            if "ON_DEMAND" in (entry.get("inferenceTypesSupported") or ("ON_DEMAND",)):
                found[name] = _foundation(name, entry)
        for kind in ("SYSTEM_DEFINED", "APPLICATION"):
            try:
                profiles = await self._profiles(kind, context)
            except LLMError as error:
                # Listing them needs a permission of its own; the models are worth telling anyway.
                whole = whole and isinstance(error, AuthorizationError)
                continue
            for profile in profiles:
                info = _profile(profile, summaries)
                if info is not None:
                    found[info.id] = info
        return list(found.values()), whole

    async def _profiles(self, kind: str, context: CallContext) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        token = ""
        for _ in range(_MOST_PAGES):
            query = {"maxResults": str(_PAGE), "type": kind, **({"nextToken": token} if token else {})}
            answer = await self._client.get("/inference-profiles", urlencode(query, quote_via=quote, safe=""), context)
            found += _list(answer, "inferenceProfileSummaries")
            token = str(answer.get("nextToken") or "")
            if not token:
                return found
        raise ServiceUnavailableError("the list of inference profiles has no end", retryable=False)


def _list(answer: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    entries = answer.get(name)
    if not isinstance(entries, list):
        raise ServiceUnavailableError(
            f"the service answered without {name!r}; check that the endpoint is Bedrock's control plane",
            status_code=200,
            retryable=False,
        )
    return [entry for entry in entries if isinstance(entry, dict)]


def _foundation(name: str, entry: Mapping[str, Any]) -> ModelInfo:
    status = str((entry.get("modelLifecycle") or {}).get("status") or "listed").lower()
    said = " ".join(str(entry.get(member) or "") for member in ("providerName", "modelName")).strip()
    return _described(name, name, f"{said} ({status})" if said else status, entry)


def _profile(entry: Mapping[str, Any], summaries: Mapping[str, Mapping[str, Any]]) -> ModelInfo | None:
    application = entry.get("type") == "APPLICATION"
    name = entry.get("inferenceProfileArn" if application else "inferenceProfileId")
    if not isinstance(name, str) or entry.get("status", "ACTIVE") != "ACTIVE":
        return None
    base = ""
    for model in entry.get("models") or ():
        try:
            base = parse_model_id(str(model.get("modelArn", ""))).base
        except (ValueError, AttributeError):
            continue
        break
    kind = "application profile" if application else "inference profile"
    return _described(name, base, f"{entry.get('inferenceProfileName') or name} ({kind})", summaries.get(base, {}))


def _described(name: str, base: str, description: str, entry: Mapping[str, Any]) -> ModelInfo:
    family = family_of(base)
    info = model_info(name, family, description=description)
    if family is not UNKNOWN:
        return info
    outputs = entry.get("outputModalities") or ()
    words = set().union(*(_ABILITIES.get(str(output), frozenset()) for output in outputs))
    if "TEXT" in outputs:
        words |= {"text", "chat"} | ({"stream"} if entry.get("responseStreamingSupported") else set())
        words |= {"vision"} if "IMAGE" in (entry.get("inputModalities") or ()) else set()
    return ModelInfo(
        id=name, provider_model_id=name, base_model=base or None, capabilities=words or None, description=description
    )


def _facts(error: LLMError) -> dict[str, Any]:
    facts = {"error_type": error.type.value, "request_id": error.request_id}
    return {name: value for name, value in facts.items() if value}


__all__ = ["Catalogue"]
