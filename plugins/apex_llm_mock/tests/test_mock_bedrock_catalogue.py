"""The control plane of the Bedrock emulator: models, profiles, throughput, and pages of them."""

from __future__ import annotations

import json
import re

import pytest
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.catalogue import Catalogue
from apex_llm_mock.emulation.bedrock.models import MODELS, PROFILES, look_up
from apex_llm_mock.emulation.bedrock.profiles import IMPORTED, PROVISIONED

parsers = pytest.importorskip("botocore.parsers")
session = pytest.importorskip("botocore.session")

REGION = "us-east-1"
SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
TIMES = re.compile("(At|Time)$")


@pytest.fixture(scope="module")
def service():
    return session.Session().get_service_model("bedrock")


@pytest.fixture
def catalogue():
    return Catalogue(region=REGION)


def refused(call, *arguments):
    with pytest.raises(RefusedError) as caught:
        call(*arguments)
    answer = caught.value.answer
    return answer.headers["x-amzn-errortype"].split(":")[0], json.loads(answer.body)["message"]


def ids(document):
    return [summary["modelId"] for summary in document["modelSummaries"]]


def pages(call, **query):
    found = [call(query)]
    while "nextToken" in found[-1]:
        found.append(call({**query, "nextToken": found[-1]["nextToken"]}))
    return found


def check_kept(sent, parsed, name=""):
    """Check that nothing of *sent* is lost or changed in *parsed*; times become objects."""
    if isinstance(sent, dict):
        assert parsed.keys() == sent.keys()
        for key, value in sent.items():
            check_kept(value, parsed[key], key)
    elif isinstance(sent, list):
        assert len(parsed) == len(sent)
        for one, other in zip(sent, parsed, strict=True):
            check_kept(one, other, name)
    elif TIMES.search(name):
        assert parsed.strftime("%Y-%m-%dT%H:%M:%SZ") == sent
    else:
        assert parsed == sent


class TestBotocore:
    """What the emulator says must survive botocore's parser: a member that its model does not know is lost there."""

    @pytest.mark.parametrize(
        ("operation", "answer"),
        [
            ("ListFoundationModels", lambda catalogue: catalogue.foundation_models({})),
            ("GetFoundationModel", lambda catalogue: catalogue.foundation_model(HAIKU)),
            ("GetFoundationModelAvailability", lambda catalogue: catalogue.availability(HAIKU)),
            ("ListInferenceProfiles", lambda catalogue: catalogue.inference_profiles({"maxResults": "3"})),
            ("GetInferenceProfile", lambda catalogue: catalogue.inference_profile(f"us.{SONNET}")),
            ("ListProvisionedModelThroughputs", lambda catalogue: catalogue.provisioned_throughputs({})),
            ("GetProvisionedModelThroughput", lambda catalogue: catalogue.provisioned_throughput("novapro12345")),
            ("ListImportedModels", lambda catalogue: catalogue.imported_models({})),
        ],
    )
    def test_no_member_is_lost_and_none_that_is_required_is_missing(self, service, catalogue, operation, answer):
        sent = answer(catalogue)
        shape = service.operation_model(operation).output_shape
        parser = parsers.create_parser("rest-json")
        parsed = parser.parse({"status_code": 200, "headers": {}, "body": json.dumps(sent).encode()}, shape)
        parsed.pop("ResponseMetadata")
        check_kept(sent, parsed)
        check_required(sent, shape)

    def test_the_enumerations_that_botocore_knows(self, service, catalogue):
        statuses = service.shape_for("FoundationModelLifecycleStatus").enum
        summaries = catalogue.foundation_models({})["modelSummaries"]
        assert {summary["modelLifecycle"]["status"] for summary in summaries} == set(statuses)
        kinds = service.shape_for("InferenceProfileType").enum
        assert {profile.type for profile in PROFILES.values()} == set(kinds)

    def test_ids_and_arns_have_their_patterns(self, service, catalogue):
        pattern = service.shape_for("InferenceProfileArn").metadata["pattern"]
        for kind in ("SYSTEM_DEFINED", "APPLICATION"):
            for summary in catalogue.inference_profiles({"type": kind})["inferenceProfileSummaries"]:
                assert re.fullmatch(pattern, summary["inferenceProfileArn"])
        pattern = service.shape_for("FoundationModelArn").metadata["pattern"]
        for summary in catalogue.foundation_models({})["modelSummaries"]:
            assert re.fullmatch(pattern, summary["modelArn"])


def check_required(sent, shape):
    if shape.type_name == "structure":
        assert set(shape.required_members) <= sent.keys()
        for name, value in sent.items():
            check_required(value, shape.members[name])
    elif shape.type_name == "list":
        for item in sent:
            check_required(item, shape.member)


class TestFoundationModels:
    def test_all_of_them_at_once(self, catalogue):
        document = catalogue.foundation_models({"maxResults": "1"})
        assert set(MODELS) <= set(ids(document))
        assert document.keys() == {"modelSummaries"}

    def test_variants_for_provisioned_throughput_are_listed_too(self, catalogue):
        summaries = {item["modelId"]: item for item in catalogue.foundation_models({})["modelSummaries"]}
        assert summaries[f"{HAIKU}:200k"]["inferenceTypesSupported"] == ["PROVISIONED"]
        assert summaries[SONNET]["inferenceTypesSupported"] == ["INFERENCE_PROFILE"]
        assert summaries[HAIKU]["inferenceTypesSupported"] == ["ON_DEMAND", "INFERENCE_PROFILE"]

    def test_filters(self, catalogue):
        def listed(**query):
            return catalogue.foundation_models(query)["modelSummaries"]

        assert {item["providerName"] for item in listed(byProvider="mistral ai")} == {"Mistral AI"}
        assert all("EMBEDDING" in item["outputModalities"] for item in listed(byOutputModality="EMBEDDING"))
        assert SONNET not in [item["modelId"] for item in listed(byInferenceType="ON_DEMAND")]
        assert [item["modelId"] for item in listed(byInferenceType="PROVISIONED")] == [f"{HAIKU}:48k", f"{HAIKU}:200k"]
        both = listed(byProvider="amazon", byOutputModality="IMAGE")
        assert {item["modelId"] for item in both} == {
            "amazon.nova-canvas-v1:0",
            "amazon.titan-image-generator-v1",
            "amazon.titan-image-generator-v2:0",
        }
        assert listed(byProvider="nobody") == []

    def test_wrong_filters_are_refused(self, catalogue):
        code, message = refused(catalogue.foundation_models, {"byOutputModality": "SPEECH"})
        assert code == "ValidationException"
        assert "'byOutputModality' failed to satisfy constraint" in message

    def test_one_by_id_or_arn(self, catalogue):
        by_id = catalogue.foundation_model(HAIKU)
        assert by_id["modelDetails"]["modelId"] == HAIKU
        assert catalogue.foundation_model(by_id["modelDetails"]["modelArn"]) == by_id

    @pytest.mark.parametrize("given", ["no.such-model", f"us.{SONNET}"])
    def test_profiles_and_strangers_are_no_foundation_models(self, catalogue, given):
        for call in (catalogue.foundation_model, catalogue.availability):
            assert refused(call, given) == ("ValidationException", "The provided model identifier is invalid.")

    def test_access_may_be_missing(self):
        catalogue = Catalogue(region=REGION, granted=frozenset({HAIKU}))
        assert catalogue.availability(HAIKU)["entitlementAvailability"] == "AVAILABLE"
        denied = catalogue.availability(SONNET)
        assert denied["authorizationStatus"] == "NOT_AUTHORIZED"
        assert denied["agreementAvailability"] == {"status": "NOT_AVAILABLE"}

    def test_declared_ids_are_all_there_is(self):
        catalogue = Catalogue(region=REGION, declared={"mine": HAIKU, f"us.{SONNET}": SONNET})
        assert ids(catalogue.foundation_models({})) == ["mine"]
        profiles = catalogue.inference_profiles({})["inferenceProfileSummaries"]
        assert [profile["inferenceProfileId"] for profile in profiles] == [f"us.{SONNET}"]


class TestProfiles:
    def all(self, catalogue, **query):
        return [
            profile
            for page in pages(catalogue.inference_profiles, **query)
            for profile in page["inferenceProfileSummaries"]
        ]

    def test_pages_follow_each_other_without_gaps(self, catalogue):
        whole = self.all(catalogue)
        found = pages(catalogue.inference_profiles, maxResults="7")
        assert len(found) == -(-len(whole) // 7) > 2
        assert [item for page in found for item in page["inferenceProfileSummaries"]] == whole
        assert all(len(page["inferenceProfileSummaries"]) == 7 for page in found[:-1])
        assert "nextToken" not in found[-1]

    def test_the_emulator_may_make_pages_smaller_than_asked_for(self):
        catalogue = Catalogue(region=REGION, page_size=5)
        assert len(catalogue.inference_profiles({"maxResults": "1000"})["inferenceProfileSummaries"]) == 5

    def test_tokens_hold_characters_that_a_query_must_escape(self, catalogue):
        token = catalogue.inference_profiles({"maxResults": "1"})["nextToken"]
        assert set("+/") & set(token)

    @pytest.mark.parametrize("token", ["x", "", "AAAA", "+//+MA==", "+//+OTk5OTk="])
    def test_tokens_of_nobody_are_refused(self, catalogue, token):
        assert refused(catalogue.inference_profiles, {"nextToken": token})[0] == "ValidationException"

    @pytest.mark.parametrize("size", ["0", "-1", "1001", "many"])
    def test_page_sizes_have_bounds(self, catalogue, size):
        code, message = refused(catalogue.inference_profiles, {"maxResults": size})
        assert code == "ValidationException"
        assert "'maxResults'" in message

    def test_types_are_asked_for_one_by_one(self, catalogue):
        system = self.all(catalogue)
        assert system == self.all(catalogue, type="SYSTEM_DEFINED")
        own = self.all(catalogue, type="APPLICATION")
        assert {profile["type"] for profile in own} == {"APPLICATION"}
        assert all("application-inference-profile/" in profile["inferenceProfileArn"] for profile in own)
        assert "typeEquals" in refused(catalogue.inference_profiles, {"type": "OTHER"})[1]

    def test_a_region_lists_what_can_be_called_from_it(self):
        found = {
            region: {profile["inferenceProfileId"].split(".")[0] for profile in self.all(Catalogue(region=region))}
            for region in ("us-east-1", "eu-west-1", "ap-northeast-1", "us-gov-west-1", "ca-central-1")
        }
        assert found == {
            "us-east-1": {"us", "global"},
            "eu-west-1": {"eu", "global"},
            "ap-northeast-1": {"apac", "jp", "global"},
            "us-gov-west-1": {"us-gov"},
            "ca-central-1": {"ca", "global"},
        }

    def test_one_by_id_or_arn(self, catalogue):
        by_id = catalogue.inference_profile(f"us.{SONNET}")
        assert catalogue.inference_profile(by_id["inferenceProfileArn"]) == by_id
        own = catalogue.inference_profile("chatsupport1")
        assert catalogue.inference_profile(own["inferenceProfileArn"]) == own
        assert {arn["modelArn"].rpartition("/")[2] for arn in own["models"]} == {SONNET}

    @pytest.mark.parametrize("given", [f"eu.{SONNET}", "nosuchthing1", HAIKU])
    def test_profiles_of_elsewhere_are_not_found(self, catalogue, given):
        assert refused(catalogue.inference_profile, given)[0] == "ResourceNotFoundException"

    def test_every_arn_of_the_lists_means_something(self, catalogue):
        for kind in ("SYSTEM_DEFINED", "APPLICATION"):
            for profile in self.all(catalogue, type=kind):
                assert look_up(profile["inferenceProfileArn"]).profile.id == profile["inferenceProfileId"]


class TestOwnModels:
    def test_throughput_is_listed_and_found(self, catalogue):
        document = catalogue.provisioned_throughputs({})
        assert len(document["provisionedModelSummaries"]) == len(PROVISIONED)
        for summary in document["provisionedModelSummaries"]:
            arn, name = summary["provisionedModelArn"], summary["provisionedModelName"]
            assert catalogue.provisioned_throughput(arn) == catalogue.provisioned_throughput(name) == summary
            assert look_up(arn).kind == "provisioned"
        assert refused(catalogue.provisioned_throughput, "nothing")[0] == "ResourceNotFoundException"

    def test_filters_and_pages_of_throughput(self, catalogue):
        def names(**query):
            found = pages(catalogue.provisioned_throughputs, **query)
            return [item["provisionedModelName"] for page in found for item in page["provisionedModelSummaries"]]

        assert names(statusEquals="Creating") == ["not-ready-yet"]
        assert names(nameContains="units") == ["nova-pro-units", "haiku-units"]
        arn = f"arn:aws:bedrock:{REGION}::foundation-model/{HAIKU}"
        assert names(modelArnEquals=arn) == ["haiku-units"]
        assert names(maxResults="1") == names()

    def test_imported_models_are_listed_and_invoked_by_their_arns(self, catalogue):
        summaries = catalogue.imported_models({})["modelSummaries"]
        assert len(summaries) == len(IMPORTED)
        assert all(look_up(summary["modelArn"]).kind == "imported" for summary in summaries)
        assert [
            item["modelName"] for item in catalogue.imported_models({"nameContains": "qwen"})["modelSummaries"]
        ] == ["own-qwen"]
