"""The control plane: which models and inference profiles there are, and whether they may be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.base_model import BaseModel
from apex_llm_mock.emulation.bedrock.errors import invalid, refusal
from apex_llm_mock.emulation.bedrock.listing import Query, choice, paged
from apex_llm_mock.emulation.bedrock.models import INVALID_IDENTIFIER, MODELS, PROFILES, Profile, look_up
from apex_llm_mock.emulation.bedrock.profiles import (
    IMPORTED,
    PROVISIONED,
    Imported,
    Provisioned,
    model_arn,
    owned_arn,
)

Document = dict[str, Any]

#: When everything was made. The control plane writes times like this one.
CREATED = "2025-01-15T12:00:00Z"
_STARTED, _LEGACY, _ENDS = "2024-06-01T00:00:00Z", "2026-01-15T00:00:00Z", "2027-07-15T00:00:00Z"
_MODALITIES = ("TEXT", "IMAGE", "EMBEDDING")
_INFERENCE_TYPES = ("ON_DEMAND", "PROVISIONED", "INFERENCE_PROFILE")
_CUSTOMIZATIONS = ("FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION")
#: What counts as a foundation model.
_LISTED = ("foundation", "declared")
_STATUSES = ("Creating", "InService", "Updating", "Failed")


class Catalogue:
    """What the control plane of one region tells.

    Args:
        region: for ARNs, and for the inference profiles that can be called from there.
        declared: the only ids there are, each with the id of the model that it behaves like; None: all that Bedrock has.
        page_size: how many items a page has at most.
        granted: the ids of models that the account has access to, None for all.
    """

    def __init__(
        self,
        *,
        region: str,
        declared: Mapping[str, str] | None = None,
        page_size: int = 100,
        granted: frozenset[str] | None = None,
    ) -> None:
        self._region = region
        self._declared = declared
        self._page_size = page_size
        self._granted = granted

    def foundation_models(self, query: Query) -> Document:
        """Return the answer to ListFoundationModels, which has no pages; *query* are its filters.

        Raises:
            RefusedError: a filter is none.
        """
        provider = query.get("byProvider", "").lower()
        modality = choice(query, "byOutputModality", _MODALITIES)
        inference = choice(query, "byInferenceType", _INFERENCE_TYPES[:2])
        customization = choice(query, "byCustomizationType", _CUSTOMIZATIONS)
        return {
            "modelSummaries": [
                summary
                for summary in self._summaries()
                if (not provider or summary["providerName"].lower() == provider)
                and (not modality or modality in summary["outputModalities"])
                and (not inference or inference in summary["inferenceTypesSupported"])
                and (not customization or customization in summary["customizationsSupported"])
            ]
        }

    def foundation_model(self, given: str) -> Document:
        """Return the answer to GetFoundationModel; *given* is an id or ARN, percent-decoded once.

        Raises:
            RefusedError: there is no such model.
        """
        found = look_up(given, self._declared)
        if found is None or found.kind not in _LISTED:
            raise _no_model()
        model_id = given.rpartition("/")[2]
        return {"modelDetails": self._summary(model_id, found.model)}

    def availability(self, given: str) -> Document:
        """Return the answer to GetFoundationModelAvailability; *given* is an id, percent-decoded once.

        Raises:
            RefusedError: there is no such model.
        """
        found = look_up(given, self._declared)
        if found is None or found.kind not in _LISTED:
            raise _no_model()
        granted = self._granted is None or given in self._granted
        return {
            "modelId": given,
            "agreementAvailability": {"status": "AVAILABLE" if granted else "NOT_AVAILABLE"},
            "authorizationStatus": "AUTHORIZED" if granted else "NOT_AUTHORIZED",
            "entitlementAvailability": "AVAILABLE" if granted else "NOT_AVAILABLE",
            "regionAvailability": "AVAILABLE",
        }

    def inference_profiles(self, query: Query) -> Document:
        """Return the answer to ListInferenceProfiles, a page of those that can be called from the region.

        Raises:
            RefusedError: a parameter is none.
        """
        # The service model calls the parameter typeEquals, the wire has it as "type".
        kind = choice(query, "type", ("SYSTEM_DEFINED", "APPLICATION"), shown="typeEquals")
        found = [
            profile
            for profile in self._profiles()
            # Without a filter the account's own profiles are left out.
            if profile.type == (kind or "SYSTEM_DEFINED") and profile.callable_from(self._region)
        ]
        page, more = paged(found, query, page_size=self._page_size)
        return {"inferenceProfileSummaries": [self._profile(profile) for profile in page], **more}

    def inference_profile(self, given: str) -> Document:
        """Return the answer to GetInferenceProfile; *given* is an id or ARN, percent-decoded once.

        Raises:
            RefusedError: there is no such profile here.
        """
        found = look_up(given, self._declared)
        profile = found.profile if found is not None else None
        if profile is None or not profile.callable_from(self._region):
            raise refusal("ResourceNotFoundException", "The specified inference profile does not exist.")
        return self._profile(profile)

    def provisioned_throughputs(self, query: Query) -> Document:
        """Return the answer to ListProvisionedModelThroughputs, a page of it.

        Raises:
            RefusedError: a parameter is none.
        """
        status = choice(query, "statusEquals", _STATUSES)
        wanted = query.get("modelArnEquals")
        found = [
            self._provisioned(item)
            for item in PROVISIONED.values()
            if query.get("nameContains", "") in item.name
            and (not status or status == _status(item))
            and (wanted is None or wanted == model_arn(item.model.id, self._region))
        ]
        page, more = paged(found, query, page_size=self._page_size)
        return {"provisionedModelSummaries": page, **more}

    def provisioned_throughput(self, given: str) -> Document:
        """Return the answer to GetProvisionedModelThroughput; *given* is a name or ARN, percent-decoded once.

        Raises:
            RefusedError: there is no such throughput.
        """
        for item in PROVISIONED.values():
            document = self._provisioned(item)
            if given in (item.id, item.name, document["provisionedModelArn"]):
                return document
        raise refusal("ResourceNotFoundException", "The specified provisioned model does not exist.")

    def imported_models(self, query: Query) -> Document:
        """Return the answer to ListImportedModels, a page of it.

        Raises:
            RefusedError: a parameter is none.
        """
        found = [self._imported(item) for item in IMPORTED.values() if query.get("nameContains", "") in item.name]
        page, more = paged(found, query, page_size=self._page_size)
        return {"modelSummaries": page, **more}

    def _summaries(self) -> Iterator[Document]:
        for model_id in MODELS if self._declared is None else self._declared:
            found = look_up(model_id, self._declared)
            if found is None or found.kind not in _LISTED or model_id.startswith("arn:"):
                continue
            yield self._summary(model_id, found.model)
            if self._declared is None:
                for variant in found.model.variants:
                    yield self._summary(variant, found.model)

    def _profiles(self) -> list[Profile]:
        return [profile for profile in PROFILES.values() if look_up(profile.id, self._declared) is not None]

    def _summary(self, model_id: str, model: BaseModel) -> Document:
        lifecycle: Document = {"status": "ACTIVE", "startOfLifeTime": _STARTED}
        if model.legacy:
            lifecycle |= {"status": "LEGACY", "legacyTime": _LEGACY, "endOfLifeTime": _ENDS}
        return {
            "modelArn": model_arn(model_id, self._region),
            "modelId": model_id,
            "modelName": model.name,
            "providerName": model.vendor,
            "inputModalities": list(model.inputs),
            "outputModalities": list(model.outputs),
            "responseStreamingSupported": model.streaming,
            "customizationsSupported": list(model.customizations),
            "inferenceTypesSupported": ["PROVISIONED"] if model_id in model.variants else list(model.inference_types),
            "modelLifecycle": lifecycle,
        }

    def _profile(self, profile: Profile) -> Document:
        return {
            "inferenceProfileName": profile.name,
            "description": profile.description,
            "createdAt": CREATED,
            "updatedAt": CREATED,
            "inferenceProfileArn": profile.arn(self._region),
            "models": [{"modelArn": arn} for arn in profile.model_arns(self._region)],
            "inferenceProfileId": profile.id,
            "status": "ACTIVE",
            "type": profile.type,
        }

    def _provisioned(self, item: Provisioned) -> Document:
        arn = model_arn(item.model.id, self._region)
        return {
            "provisionedModelName": item.name,
            "provisionedModelArn": owned_arn("provisioned-model", item.id, self._region),
            "modelArn": arn,
            "desiredModelArn": arn,
            "foundationModelArn": arn,
            "modelUnits": item.units,
            "desiredModelUnits": item.units,
            "status": _status(item),
            "creationTime": CREATED,
            "lastModifiedTime": CREATED,
        }

    def _imported(self, item: Imported) -> Document:
        return {
            "modelArn": owned_arn("imported-model", item.id, self._region),
            "modelName": item.name,
            "creationTime": CREATED,
            "instructSupported": True,
            "modelArchitecture": item.architecture,
        }


def _status(item: Provisioned) -> str:
    return "InService" if item.in_service else "Creating"


def _no_model() -> RefusedError:
    return invalid(INVALID_IDENTIFIER)


__all__ = ["CREATED", "Catalogue"]
