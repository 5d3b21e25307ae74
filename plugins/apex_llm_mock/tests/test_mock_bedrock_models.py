"""Which model an id means to the Bedrock emulator."""

from __future__ import annotations

import json
import re
from types import MappingProxyType

import pytest
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.model_table import RETIRED
from apex_llm_mock.emulation.bedrock.models import MODELS, PROFILES, find, look_up
from apex_llm_mock.emulation.bedrock.profiles import GEOGRAPHIES, MOST_MODELS, PROVISIONED
from apex_llm_mock.emulation.bedrock.text_formats import TEXT_FORMATS

SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
ACCOUNT = "arn:aws:bedrock:us-east-1:123456789012"


def refused(given, declared=None, **more):
    with pytest.raises(RefusedError) as caught:
        find(given, declared, **more)
    answer = caught.value.answer
    return answer.status, answer.headers["x-amzn-errortype"].split(":")[0], json.loads(answer.body)["message"]


class TestTable:
    def test_every_id_has_the_pattern_of_foundation_models(self):
        pattern = re.compile(r"[a-z0-9-]{1,63}[.][a-z0-9-]{1,63}([.]?[a-z0-9-]{1,63})([:][a-z0-9-]{1,63}){0,2}")
        assert [model_id for model_id in MODELS if not pattern.fullmatch(model_id)] == []

    def test_every_model_can_be_reached_in_some_way(self):
        for model in MODELS.values():
            assert model.on_demand or model.geographies
            assert model.converse or model.embedding or model.image or model.invoke

    def test_models_that_write_have_a_form_and_others_have_not(self):
        for model in MODELS.values():
            writes = model.outputs == ("TEXT",)
            assert writes == (model.invoke in TEXT_FORMATS)
            assert writes == (not model.embedding and not model.image)

    def test_vectors_have_lengths(self):
        assert all(bool(model.dimensions) == bool(model.embedding) for model in MODELS.values())

    def test_retired_models_are_not_offered(self):
        assert not RETIRED & MODELS.keys()

    def test_profiles_name_one_to_five_models_with_arns(self):
        for profile in PROFILES.values():
            arns = profile.model_arns("us-east-1")
            assert 1 <= len(arns) <= MOST_MODELS
            assert all(arn.endswith(f"::foundation-model/{profile.model.id}") for arn in arns)

    def test_a_global_profile_has_a_destination_without_region(self):
        profile = PROFILES[f"global.{SONNET}"]
        assert f"arn:aws:bedrock:::foundation-model/{SONNET}" in profile.model_arns("eu-west-1")

    def test_government_regions_are_another_partition(self):
        profile = PROFILES["us-gov.amazon.nova-pro-v1:0"]
        assert profile.arn("us-gov-west-1").startswith("arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:")


class TestFind:
    @pytest.mark.parametrize(
        ("given", "kind", "model"),
        [
            (HAIKU, "foundation", HAIKU),
            (f"us.{SONNET}", "profile", SONNET),
            (f"global.{SONNET}", "profile", SONNET),
            (f"arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}", "foundation", HAIKU),
            (f"{ACCOUNT}:inference-profile/us.{SONNET}", "profile", SONNET),
            (f"{ACCOUNT}:application-inference-profile/chatsupport1", "application_profile", SONNET),
            (f"{ACCOUNT}:provisioned-model/novapro12345", "provisioned", "amazon.nova-pro-v1:0"),
            (f"{ACCOUNT}:imported-model/ownllama1234", "imported", "meta.llama3-70b-instruct-v1:0"),
            (f"{ACCOUNT}:custom-model-deployment/tunednova123", "deployment", "amazon.nova-lite-v1:0"),
        ],
    )
    def test_ids_and_arns_of_all_kinds(self, given, kind, model):
        found = find(given, region="us-east-1")
        assert (found.given, found.kind, found.model.id) == (given, kind, model)
        assert found.region == ("us-east-1" if given.startswith("arn:") else "")

    def test_every_profile_is_found_from_a_source_region(self):
        for profile in PROFILES.values():
            region = GEOGRAPHIES.get(profile.geography, ())[:1] or ("eu-west-1",)
            assert find(profile.id, region=region[0]).profile is profile

    def test_ids_are_decoded_by_whoever_calls(self):
        status, code, _ = refused(HAIKU.replace(":", "%3A"))
        assert (status, code) == (400, "ValidationException")

    @pytest.mark.parametrize("given", [SONNET, f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}"])
    def test_some_models_need_an_inference_profile(self, given):
        status, code, message = refused(given)
        assert (status, code) == (400, "ValidationException")
        assert message.startswith(f"Invocation of model ID {given} with on-demand throughput isn\u2019t supported.")
        assert "inference profile" in message

    def test_the_variants_of_provisioned_throughput_cannot_be_invoked_either(self):
        assert "on-demand throughput" in refused(f"{HAIKU}:200k")[2]

    @pytest.mark.parametrize(
        "given",
        [
            "anthropic.claude-9",
            f"eu.{SONNET}",
            f"us:{SONNET}",
            "us.amazon.titan-embed-text-v2:0",
            f"arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.{SONNET}",
            f"{ACCOUNT}:application-inference-profile/nosuchthing1",
            f"{ACCOUNT}:inference-profile/chatsupport1",
            f"arn:aws:bedrock:us-east-1:123456789012:foundation-model/{HAIKU}",
        ],
    )
    def test_what_is_no_model_here_is_an_invalid_identifier(self, given):
        assert refused(given, region="us-east-1") == (
            400,
            "ValidationException",
            "The provided model identifier is invalid.",
        )

    def test_a_profile_is_called_from_its_own_geography(self):
        assert find(f"eu.{SONNET}", region="eu-central-1").profile.geography == "eu"
        assert find(f"jp.{SONNET}", region="ap-northeast-1").profile.geography == "jp"

    def test_what_is_no_id_at_all_fails_its_pattern(self):
        status, code, message = refused("claude 3")
        assert (status, code) == (400, "ValidationException")
        assert message.startswith("1 validation error detected: Value 'claude 3' at 'modelId'")

    def test_models_past_their_life_say_so(self):
        assert refused("anthropic.claude-v2:1")[:2] == (404, "ResourceNotFoundException")

    def test_what_belongs_to_others_is_forbidden(self):
        arn = "arn:aws:bedrock:us-east-1:999999999999:application-inference-profile/whatever1234"
        status, code, message = refused(arn)
        assert (status, code) == (403, "AccessDeniedException")
        assert f"is not authorized to perform: bedrock:InvokeModel on resource: {arn}" in message

    def test_throughput_in_the_making_is_not_ready(self):
        creating = next(item for item in PROVISIONED.values() if not item.in_service)
        assert refused(f"{ACCOUNT}:provisioned-model/{creating.id}")[:2] == (429, "ModelNotReadyException")


class TestDeclared:
    MODELS = MappingProxyType({"my-model": HAIKU, f"us.{SONNET}": f"us.{SONNET}", "eu.my": f"us.{SONNET}"})

    def test_declared_ids_behave_like_their_model(self):
        assert find("my-model", self.MODELS).kind == "declared"
        assert find("my-model", self.MODELS).model.id == HAIKU

    def test_an_id_that_is_declared_as_itself_stays_what_it_is(self):
        assert find(f"us.{SONNET}", self.MODELS).kind == "profile"

    def test_a_profile_under_another_name_is_not_tied_to_a_region(self):
        assert find("eu.my", self.MODELS, region="eu-west-1").model.id == SONNET

    def test_there_are_no_others(self):
        assert look_up(HAIKU, self.MODELS) is None
        assert refused(HAIKU, self.MODELS)[1] == "ValidationException"

    def test_a_declaration_for_a_model_that_is_none_is_found_by_nobody(self):
        assert look_up("x", {"x": "no.such"}) is None
