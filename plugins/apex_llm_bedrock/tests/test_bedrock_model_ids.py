from __future__ import annotations

from urllib.parse import unquote

import pytest
from apex_llm_bedrock.model_ids import GEOGRAPHIES, ModelId, parse_model_id, split_geo, with_geo
from hypothesis import assume, given
from hypothesis import strategies as st

BASE = "anthropic.claude-sonnet-4-20250514-v1:0"
ARN = "arn:aws:bedrock:eu-west-1:123456789012:"

# id, kind, region, geography, foundation model
READ = [
    (BASE, "foundation", "", "", BASE),
    ("anthropic.claude-v2:1:200k", "foundation", "", "", "anthropic.claude-v2:1:200k"),
    ("deepseek.v3.2", "foundation", "", "", "deepseek.v3.2"),
    ("moonshotai.kimi-k2.5", "foundation", "", "", "moonshotai.kimi-k2.5"),
    ("newcomer.model-v1:0", "foundation", "", "", "newcomer.model-v1:0"),
    (f"us.{BASE}", "profile", "", "us", BASE),
    (f"us-gov.{BASE}", "profile", "", "us-gov", BASE),
    (f"global.{BASE}", "profile", "", "global", BASE),
    ("apac.newcomer.model-v1:0", "profile", "", "apac", "newcomer.model-v1:0"),
    (f"sa.{BASE}", "profile", "", "sa", BASE),
    ("us.deepseek.r1-v1:0", "profile", "", "us", "deepseek.r1-v1:0"),
    ("a1b2c3d4e5f6", "unknown", "", "", ""),
    ("my-throughput_1", "unknown", "", "", ""),
    ("gpt-4.1", "unknown", "", "", ""),
    (f"arn:aws:bedrock:us-east-1::foundation-model/{BASE}", "foundation", "us-east-1", "", BASE),
    (f"arn:aws:bedrock:::foundation-model/{BASE}", "foundation", "", "", BASE),
    (f"{ARN}inference-profile/eu.{BASE}", "profile", "eu-west-1", "eu", BASE),
    (f"{ARN}application-inference-profile/a1b2c3", "application_profile", "eu-west-1", "", ""),
    (f"{ARN}provisioned-model/a1b2c3", "provisioned", "eu-west-1", "", ""),
    (f"{ARN}imported-model/a1b2c3", "imported", "eu-west-1", "", ""),
    (f"{ARN}custom-model/amazon.titan-text-lite-v1/a1b2c3", "custom", "eu-west-1", "", "amazon.titan-text-lite-v1"),
    (f"{ARN}custom-model-deployment/a1b2c3", "deployment", "eu-west-1", "", ""),
    (f"{ARN}prompt/ABCDEFGHIJ:1", "prompt", "eu-west-1", "", ""),
    (f"{ARN}prompt-router/a1b2c3", "prompt_router", "eu-west-1", "", ""),
    (f"{ARN}default-prompt-router/anthropic.claude:1", "prompt_router", "eu-west-1", "", ""),
    ("arn:aws:sagemaker:us-east-2:123456789012:endpoint/mine", "marketplace", "us-east-2", "", ""),
]


@pytest.mark.parametrize(("given_id", "kind", "region", "geo", "base"), READ)
def test_model_id_says_what_it_names(given_id, kind, region, geo, base):
    model = parse_model_id(given_id)

    assert (model.kind, model.region, model.geo, model.base) == (kind, region, geo, base)
    assert model.given == given_id


@pytest.mark.parametrize(
    ("partition", "region"), [("aws", "us-east-1"), ("aws-us-gov", "us-gov-west-1"), ("aws-cn", "cn-north-1")]
)
def test_arn_tells_partition_account_and_region(partition, region):
    model = parse_model_id(f"arn:{partition}:bedrock:{region}:210987654321:provisioned-model/x1")

    assert (model.partition, model.account, model.region) == (partition, "210987654321", region)


def test_trap_2_and_complaint_16_ids_with_colons_and_slashes_are_encoded_once_as_one_segment():
    assert parse_model_id(BASE).path == "anthropic.claude-sonnet-4-20250514-v1%3A0"
    assert parse_model_id(f"{ARN}custom-model/amazon.titan-text-lite-v1/a1").path == (
        "arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Acustom-model%2Famazon.titan-text-lite-v1%2Fa1"
    )


REFUSED = [
    ("", "is blank"),
    ("  \t", "is blank"),
    (f" {BASE}", "space or a line break"),
    ("my model", "space or a line break"),
    (f"{BASE}\n", "space or a line break"),
    ("anthropic.claude\u2011v2", "'\\u2011', which no model id has"),
    ("anthropic.claude?x=1", "'?', which no model id has"),
    ("arn:aws:bedrock:${AWS::Region}::foundation-model/x.y", "'$', which no model id has"),
    ("arn%3Aaws%3Abedrock", "percent-encoded; write it plainly"),
    ("x" * 2049, "2049 characters"),
    (".", "would change the path"),
    ("..", "would change the path"),
    (f"bedrock/us.{BASE}", f"write 'us.{BASE}'"),
    (f"converse/{BASE}", f"write '{BASE}'"),
    ("us:anthropic.claude-v2", "did you mean 'us.anthropic.claude-v2'?"),
    ("anthropic:claude-v2", "did you mean 'anthropic.claude-v2'?"),
    ("anthropic/claude-v2", "did you mean 'anthropic.claude-v2'?"),
    ("Anthropic.Claude-v2", "did you mean 'anthropic.claude-v2'?"),
    ("US.anthropic.claude-v2", "did you mean 'us.anthropic.claude-v2'?"),
    ("arn:", "cannot be read; write arn:aws:bedrock:"),
    ("ARN:aws:bedrock:us-east-1::foundation-model/a.b", "cannot be read"),
    ("arn:aws:bedrock:us-east-1:1234:provisioned-model/x", "cannot be read"),
    ("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/", "cannot be read"),
    (f"{ARN}provisioned-model/x/y", "goes on after the id"),
    (f"{ARN}guardrail/x", "is of a 'guardrail', which is no model"),
    (f"{ARN}inference-profiles/x", "did you mean 'inference-profile'?"),
    ("arn:aws:bedrock::123456789012:provisioned-model/x", "names no region"),
    ("arn:aws:lambda:us-east-1:123456789012:function/x", "is of the service 'lambda'"),
    ("arn:aws:sagemaker:us-east-1:123456789012:model/x", "is of the service 'sagemaker'"),
]


@pytest.mark.parametrize(("text", "complaint"), REFUSED)
def test_id_that_no_model_can_have_is_refused_with_advice(text, complaint):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_model_id(text)

    assert complaint in str(caught.value)


def test_complaint_17_colon_after_the_geography_is_pointed_out_and_not_repaired():
    with pytest.raises(ValueError, match=r"has ':' in place of a dot; did you mean 'us\.anthropic"):
        parse_model_id("us:anthropic.claude-3-haiku-20240307-v1:0")


def test_geography_is_put_before_plain_foundation_ids_only_when_asked_for():
    plain = parse_model_id(BASE)

    assert with_geo(plain, "") is plain
    assert with_geo(plain, "eu") == parse_model_id(f"eu.{BASE}")


@pytest.mark.parametrize("given_id", [row[0] for row in READ if row[1] != "foundation" or row[0].startswith("arn:")])
def test_geography_is_never_put_before_anything_else(given_id):
    model = parse_model_id(given_id)

    assert with_geo(model, "eu") is model


@pytest.mark.parametrize(("geo", "hint"), [("us.", "did you mean 'us'?"), ("europe", "'europe' is no geography")])
def test_unknown_geography_is_refused(geo, hint):
    with pytest.raises(ValueError, match=r".") as caught:
        with_geo(parse_model_id(BASE), geo)

    assert hint in str(caught.value)


_ids = st.from_regex(r"[A-Za-z0-9._:/@-]{1,80}", fullmatch=True)
_labels = st.from_regex(r"[a-z][a-z0-9]{0,8}\.[a-z0-9][a-z0-9-]{0,20}(:[0-9])?", fullmatch=True)


def _read(text: str) -> ModelId:
    try:
        return parse_model_id(text)
    except ValueError:
        assume(False)
        raise


@given(_ids | _labels | st.sampled_from([row[0] for row in READ]))
def test_id_is_never_changed_and_quoted_exactly_once(text):
    model = _read(text)

    assert model.given == text
    assert unquote(model.path) == text
    assert "/" not in model.path
    assert ":" not in model.path
    assert model.path.count("%") == text.count(":") + text.count("/") + text.count("@")


@given(_labels, st.sampled_from(GEOGRAPHIES))
def test_geography_and_foundation_id_come_apart_as_they_were_put_together(base, geo):
    assume(split_geo(base) == ("", base))
    assume(base.partition(".")[0] not in GEOGRAPHIES)
    model = with_geo(_read(base), geo)

    assert (model.geo, model.base, model.given) == (geo, base, f"{geo}.{base}")


@given(st.text(max_size=60) | st.builds("arn:aws:bedrock:{}".format, st.text(max_size=60)))
def test_any_text_is_read_or_refused_with_a_value_error(text):
    try:
        model = parse_model_id(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - what is raised for which text is another test's matter
        return
    assert model.given == text
