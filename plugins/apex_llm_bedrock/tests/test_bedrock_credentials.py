from __future__ import annotations

import pytest
from apex_llm_bedrock.acquisition import renewable
from apex_llm_bedrock.credentials import (
    AccessKey,
    ApiKey,
    AssumedRole,
    DefaultChain,
    Profile,
    WebIdentity,
    check_role_arn,
    read_credentials,
)

from apex_llm_core.config import AuthConfig
from apex_llm_core.errors import ConfigurationError
from apex_llm_core.redaction import Secret

ROLE = "arn:aws:iam::123456789012:role/apex"
KEY = {"access_key_id": "AKID", "secret_access_key": "s"}


def read(auth_type="iam", /, **credentials):
    return read_credentials(AuthConfig(type=auth_type, credentials=credentials))


class TestWays:
    def test_without_any_is_the_default_chain(self):
        assert read_credentials(None) == read() == DefaultChain()

    @pytest.mark.parametrize(
        ("credentials", "expected"),
        [
            (KEY, AccessKey(**KEY)),
            (KEY | {"session_token": "t"}, AccessKey(**KEY, session_token="t")),
            ({"profile": "team"}, Profile(profile="team")),
            ({"role_arn": ROLE}, AssumedRole(role_arn=ROLE, source=DefaultChain())),
            (
                {"role_arn": ROLE, "external_id": "x"},
                AssumedRole(role_arn=ROLE, external_id="x", source=DefaultChain()),
            ),
            ({"role_arn": ROLE, "profile": "p"}, AssumedRole(role_arn=ROLE, source=Profile(profile="p"))),
            (
                KEY | {"role_arn": ROLE, "external_id": "x"},
                AssumedRole(role_arn=ROLE, external_id="x", source=AccessKey(**KEY)),
            ),
            (
                {"role_arn": ROLE, "web_identity_token_file": "/t"},
                WebIdentity(role_arn=ROLE, web_identity_token_file="/t"),
            ),
            ({"role_arn": f" {ROLE} "}, AssumedRole(role_arn=ROLE, source=DefaultChain())),
            ({"role_arn": "env:ROLE"}, AssumedRole(role_arn="env:ROLE", source=DefaultChain())),
        ],
    )
    def test_of_iam(self, credentials, expected):
        assert read(**credentials) == expected

    def test_by_api_key(self):
        assert read("api_key", api_key="env:KEY") == ApiKey(api_key="env:KEY")

    def test_take_secrets_made_in_code(self):
        assert read("api_key", api_key=Secret("k")) == ApiKey(api_key=Secret("k"))

    @pytest.mark.parametrize(
        ("auth_type", "credentials", "message"),
        [
            ("api_key", {}, "auth.credentials lacks 'api_key', which type 'api_key' needs"),
            ("api_key", {"api_kei": "k"}, r"api_kei: type 'api_key' does not take it; did you mean 'api_key'\?"),
            ("api_key", {"api_key": "k", "profile": "p"}, "profile: type 'api_key' does not take it"),
            ("api_key", {"api_key": 5}, "api_key: must be text, not int"),
            ("api_key", {"api_key": "  "}, "api_key: is empty"),
            ("iam", {"access_key_id": "a"}, "lacks 'secret_access_key', which access_key_id needs"),
            ("iam", {"secret_access_key": "a"}, "lacks 'access_key_id', which secret_access_key needs"),
            ("iam", {"session_token": "a"}, "lacks 'access_key_id', which session_token needs"),
            ("iam", {"aws_access_key_id": "a"}, r"aws_access_key_id: .* did you mean 'access_key_id'\?"),
            ("iam", {"aws_secret_access_key": "a"}, r"did you mean 'secret_access_key'\?"),
            ("iam", {"profil": "a"}, r"did you mean 'profile'\?"),
            ("iam", {"api_key": "a"}, "api_key: type 'iam' does not take it"),
            ("iam", {"region": "us-east-1"}, r"region: is no credential; it stands in \[providers.options\]"),
            ("iam", {"role_session_name": "x"}, r"stands in \[providers.options\]"),
            ("iam", KEY | {"profile": "p"}, "access_key_id and profile contradict each other"),
            ("iam", {"external_id": "x"}, "lacks 'role_arn', which external_id needs"),
            ("iam", {"web_identity_token_file": "/t"}, "lacks 'role_arn', which web_identity_token_file needs"),
            (
                "iam",
                {"role_arn": ROLE, "web_identity_token_file": "/t", "external_id": "x"},
                "web_identity_token_file and external_id contradict",
            ),
            (
                "iam",
                KEY | {"role_arn": ROLE, "web_identity_token_file": "/t"},
                "web_identity_token_file and access_key_id contradict",
            ),
            ("iam", {"role_arn": "apex"}, "role_arn: must be the ARN of a role: 'arn:aws:iam::123456789012:role/NAME'"),
            ("iam", {"role_arn": ROLE.replace("role/", "user/")}, "must be the ARN of a role"),
            ("iam", {"profile": ["p"]}, "profile: must be text, not list"),
            ("azure_ad", {}, "a Bedrock provider takes type 'iam' or 'api_key'"),
        ],
    )
    def test_that_do_not_exist_are_told(self, auth_type, credentials, message):
        with pytest.raises(ConfigurationError, match=message):
            read(auth_type, **credentials)

    @pytest.mark.parametrize(
        "credentials",
        [
            {"access_key_id": "AKID", "secret_access_key": "hidden-value", "session_token": "hidden-value"},
            {"access_key_id": "AKID", "secret_access_key": "hidden-value", "role_arn": ROLE},
        ],
    )
    def test_show_no_secret(self, credentials):
        assert "hidden-value" not in repr(read(**credentials))
        assert "hidden-value" not in repr(read("api_key", api_key="hidden-value"))

    def test_no_message_quotes_a_value(self):
        for credentials in (
            {"secret_access_key": 12345678},
            {"secret_access_key": "12345678"},
            {"role_arn": "12345678"},
        ):
            with pytest.raises(ConfigurationError) as caught:
                read(**credentials)
            assert "12345678" not in str(caught.value).replace("123456789012", "")


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::123456789012:role/a",
        "arn:aws-us-gov:iam::123456789012:role/path/to/a",
        "arn:aws-cn:iam::123456789012:role/service-role/x+=,.@-_",
    ],
)
def test_roles_of_all_partitions_are_taken(arn):
    assert check_role_arn(arn) == arn


@pytest.mark.parametrize(
    ("credential", "expected"),
    [
        (ApiKey(api_key="literal"), False),
        (ApiKey(api_key=Secret("made")), False),
        (ApiKey(api_key="file:/run/key"), True),
        (AccessKey(**KEY), False),
        (AccessKey(access_key_id="AKID", secret_access_key="s", session_token="env:TOKEN"), True),
        (DefaultChain(), True),
        (Profile(profile="p"), True),
        (AssumedRole(role_arn=ROLE, source=AccessKey(**KEY)), True),
        (WebIdentity(role_arn=ROLE, web_identity_token_file="/t"), True),
    ],
)
def test_only_literals_are_no_better_the_second_time(credential, expected):
    assert renewable(credential) is expected
