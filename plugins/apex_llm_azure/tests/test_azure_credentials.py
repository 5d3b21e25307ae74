from __future__ import annotations

import subprocess
import sys

import attrs
import pytest
from apex_llm_azure.auth import KeyAuthenticator, TokenAuthenticator, TokenSources, make_authenticator
from apex_llm_azure.authority import Authority
from apex_llm_azure.credentials import (
    ApiKey,
    AzureCli,
    ClientCertificate,
    ClientSecret,
    DeviceCode,
    ManagedIdentity,
    WorkloadIdentity,
    read_credentials,
)

from apex_llm_core.config import AuthConfig, ProviderConfig
from apex_llm_core.errors import AuthenticationError, ConfigurationError
from apex_llm_core.redaction import Secret
from apex_llm_core.testing import run_virtual
from apex_llm_core.testing.runtime import FakeRuntime, make_context

APP = {"tenant_id": "contoso", "client_id": "app"}


def read(auth_type="azure_ad", /, **credentials):
    return read_credentials(AuthConfig(type=auth_type, credentials=credentials))


def make(auth_type="azure_ad", /, *, authority="https://login.microsoftonline.com", runtime=None, **credentials):
    config = ProviderConfig(name="azure", type="azure", auth=AuthConfig(type=auth_type, credentials=credentials))
    runtime = runtime or FakeRuntime()
    return make_authenticator(config, authority=authority, ca_file="", runtime=runtime, sources=TokenSources())


class TestWays:
    @pytest.mark.parametrize(
        ("credentials", "expected"),
        [
            (APP | {"client_secret": "s"}, ClientSecret(**APP, client_secret="s")),
            (APP | {"certificate_path": "c.pem"}, ClientCertificate(**APP, certificate_path="c.pem")),
            (
                APP | {"certificate_path": "c.pfx", "certificate_password": "p"},
                ClientCertificate(**APP, certificate_path="c.pfx", certificate_password="p"),
            ),
            (APP | {"federated_token_file": "/t"}, WorkloadIdentity(**APP, federated_token_file="/t")),
            (APP | {"device_code": True}, DeviceCode(**APP)),
            ({"managed_identity": True}, ManagedIdentity()),
            ({"managed_identity": True, "client_id": "id"}, ManagedIdentity(client_id="id")),
            ({"managed_identity": True, "resource_id": "/r"}, ManagedIdentity(resource_id="/r")),
            ({"managed_identity": True, "object_id": "o"}, ManagedIdentity(object_id="o")),
            ({"azure_cli": True}, AzureCli()),
            ({"azure_cli": True, "tenant_id": "contoso"}, AzureCli(tenant_id="contoso")),
            (
                APP | {"client_secret": "s", "managed_identity": False, "azure_cli": False},
                ClientSecret(**APP, client_secret="s"),
            ),
        ],
    )
    def test_of_entra(self, credentials, expected):
        assert read(**credentials) == expected

    def test_by_key(self):
        assert read("api_key", api_key="env:KEY") == ApiKey(api_key="env:KEY")

    def test_take_secrets_made_in_code(self):
        assert read("api_key", api_key=Secret("k")) == ApiKey(api_key=Secret("k"))

    def test_need_no_tenant_when_the_authority_names_it(self):
        auth = AuthConfig(type="azure_ad", credentials={"client_id": "app", "client_secret": "s"})
        assert read_credentials(auth, tenant_known=True) == ClientSecret(
            tenant_id=None, client_id="app", client_secret="s"
        )

    @pytest.mark.parametrize(
        ("auth_type", "credentials", "message"),
        [
            ("api_key", {}, "lacks 'api_key', which type 'api_key' needs"),
            ("api_key", {"api_kei": "k"}, "api_kei: type 'api_key' does not take it; did you mean 'api_key'?"),
            ("api_key", {"api_key": "k", "client_secret": "s"}, "client_secret: type 'api_key' does not take it"),
            ("api_key", {"api_key": 5}, "api_key: must be text, not int"),
            ("api_key", {"api_key": "  "}, "api_key: is empty"),
            ("azure_ad", {}, "needs one of client_secret, certificate_path, .*managed_identity = true"),
            ("azure_ad", APP, "needs one of client_secret"),
            ("azure_ad", APP | {"client_secrett": "s"}, "did you mean 'client_secret'?"),
            ("azure_ad", {"client_id": "app", "client_secret": "s"}, "lacks 'tenant_id', which client_secret needs"),
            ("azure_ad", {"tenant_id": "t", "device_code": True}, "lacks 'client_id', which device_code needs"),
            (
                "azure_ad",
                APP | {"client_secret": "s", "certificate_path": "c"},
                "client_secret and certificate_path contradict each other",
            ),
            (
                "azure_ad",
                {"managed_identity": True, "azure_cli": True},
                "managed_identity and azure_cli contradict each other",
            ),
            ("azure_ad", {"managed_identity": "true"}, "managed_identity: must be true or false, not str"),
            ("azure_ad", {"managed_identity": 1}, "managed_identity: must be true or false, not int"),
            ("azure_ad", {"managed_identity": False}, "needs one of"),
            (
                "azure_ad",
                {"managed_identity": True, "client_id": "a", "object_id": "b"},
                "client_id and object_id name an identity each",
            ),
            ("azure_ad", {"managed_identity": True, "tenant_id": "t"}, "tenant_id: managed_identity does not take it"),
            ("azure_ad", APP | {"azure_cli": True}, "client_id: azure_cli does not take it"),
            (
                "azure_ad",
                APP | {"client_secret": "s", "certificate_password": "p"},
                "certificate_password: client_secret does not take it",
            ),
            ("iam", {}, "needs .* type 'api_key' or 'azure_ad'"),
        ],
    )
    def test_that_do_not_exist_are_told(self, auth_type, credentials, message):
        with pytest.raises(ConfigurationError, match=message):
            read(auth_type, **credentials)

    def test_must_be_configured(self):
        with pytest.raises(ConfigurationError, match="needs"):
            read_credentials(None)

    @pytest.mark.parametrize(
        "credentials",
        [
            {"client_secret": "hidden-value"} | APP,
            {"certificate_path": "c", "certificate_password": "hidden-value"} | APP,
        ],
    )
    def test_show_no_secret(self, credentials):
        assert "hidden-value" not in repr(read(**credentials))
        assert "hidden-value" not in repr(read("api_key", api_key="hidden-value"))

    def test_no_message_quotes_a_value(self):
        for credentials in ({"client_secret": 12345678}, {"client_secret": ["12345678"]}, {"azure_cli": "12345678"}):
            with pytest.raises(ConfigurationError) as caught:
                read(**APP, **credentials)
            assert "12345678" not in str(caught.value)


class TestAuthority:
    @pytest.mark.parametrize(
        ("address", "base", "tenant"),
        [
            ("https://login.microsoftonline.com", "https://login.microsoftonline.com", None),
            ("https://login.microsoftonline.us/", "https://login.microsoftonline.us", None),
            ("login.partner.microsoftonline.cn", "https://login.partner.microsoftonline.cn", None),
            ("https://127.0.0.1:8443/contoso", "https://127.0.0.1:8443", "contoso"),
            ("https://localhost:8443/contoso/v2.0/", "https://localhost:8443", "contoso"),
            (" https://[::1]:8443 ", "https://[::1]:8443", None),
        ],
    )
    def test_is_read_with_and_without_a_tenant(self, address, base, tenant):
        assert Authority.parse(address) == Authority(base=base, tenant=tenant)

    @pytest.mark.parametrize(
        "address",
        [
            "",
            "http://login.microsoftonline.com",
            "https://",
            "https://user:password@host",
            "https://host/a/b",
            "https://host?x=1",
            "https://host#x",
            "https://host:99999",
            "https://[::1",
        ],
    )
    def test_is_refused_without_being_quoted(self, address):
        with pytest.raises(ConfigurationError, match=r"options\.authority: must be the https address") as caught:
            Authority.parse(address)
        assert "password" not in str(caught.value)

    def test_puts_the_tenant_behind_the_host(self):
        assert Authority.parse("https://host").url("contoso.com") == "https://host/contoso.com"
        assert Authority.parse("https://host/Contoso").url("contoso") == "https://host/contoso"
        assert Authority.parse("https://host/contoso").url(None) == "https://host/contoso"

    @pytest.mark.parametrize("tenant", ["", "a/b", "../x", "a b", "a?b", "täglich"])
    def test_takes_no_tenant_that_would_change_the_address(self, tenant):
        with pytest.raises(AuthenticationError, match="tenant_id"):
            Authority.parse("https://host").url(tenant)

    def test_and_tenant_id_must_agree(self):
        with pytest.raises(AuthenticationError, match="different tenants"):
            Authority.parse("https://host/contoso").url("fabrikam")


class TestKey:
    def test_is_sent_as_api_key(self):
        auth = make("api_key", api_key="env:KEY", runtime=FakeRuntime(environ={"KEY": "k-1"}))
        assert isinstance(auth, KeyAuthenticator)
        assert run_virtual(auth.headers("scope", make_context())) == {"api-key": "k-1"}

    def test_is_looked_up_again_after_it_was_rejected(self):
        environ = {"KEY": "old"}
        auth = make("api_key", api_key="env:KEY", runtime=FakeRuntime(environ=environ))

        async def main():
            first = await auth.headers("scope", make_context())
            environ["KEY"] = "new"
            assert await auth.headers("scope", make_context()) == first
            assert not auth.rejected("scope", first)
            return await auth.headers("scope", make_context())

        assert run_virtual(main()) == {"api-key": "new"}

    @pytest.mark.parametrize("key", ["abc\ndef", " abc", "schlüssel", "abc\x00"])
    def test_that_fits_no_header_is_refused_without_being_quoted(self, key):
        auth = make("api_key", api_key=Secret(key))
        with pytest.raises(AuthenticationError, match="api_key") as caught:
            run_virtual(auth.headers("scope", make_context()))
        assert key not in str(caught.value)

    def test_that_leads_nowhere_is_an_authentication_error(self):
        auth = make("api_key", api_key="env:NOWHERE", runtime=FakeRuntime(environ={}))
        with pytest.raises(AuthenticationError, match="NOWHERE") as caught:
            run_virtual(auth.headers("scope", make_context()))
        assert isinstance(caught.value.__cause__, ConfigurationError)


class TestSharing:
    def test_one_source_for_the_same_credential_authority_and_scope(self):
        sources, runtime = TokenSources(), FakeRuntime()
        here, there = Authority.parse("https://a"), Authority.parse("https://b")
        one, other = read(**APP, client_secret="one"), read(**APP, client_secret="other")
        lease = lambda *what: sources.lease(*what, runtime)[1]  # noqa: E731
        first = lease(one, here, "", "scope")
        assert lease(attrs.evolve(one), here, "", "scope") is first
        others = [
            lease(other, here, "", "scope"),
            lease(one, there, "", "scope"),
            lease(one, here, "ca.pem", "scope"),
            lease(one, here, "", "another scope"),
        ]
        assert len({id(source) for source in (first, *others)}) == 5

    def test_lasts_until_the_last_user_gives_it_back(self):
        sources, runtime = TokenSources(), FakeRuntime()
        what = (read(**APP, client_secret="one"), Authority.parse("https://a"), "", "scope")

        async def main():
            key, first = sources.lease(*what, runtime)
            sources.lease(*what, runtime)
            await sources.release(key)
            assert sources.lease(*what, runtime)[1] is first
            await sources.release(key)
            await sources.release(key)
            assert sources.lease(*what, runtime)[1] is not first

        run_virtual(main())

    def test_authenticators_of_entra_are_made_without_any_io(self):
        auth = make(**APP, client_secret="env:NOT_SET", runtime=FakeRuntime(environ={}))
        assert isinstance(auth, TokenAuthenticator)
        assert auth._sources._leases == {}
        run_virtual(auth.close())


def python(script):
    return subprocess.run([sys.executable, "-W", "error", "-c", script], check=False, capture_output=True, text=True)


HEAVY = "{'msal', 'requests', 'jwt', 'cryptography'} & sys.modules.keys()"


def test_importing_the_package_imports_no_msal():
    modules = "plugin, auth, azure_cli, credentials, entra, tokens"
    done = python(f"import sys\nfrom apex_llm_azure import {modules}\nassert not {HEAVY}")
    assert done.returncode == 0, done.stderr


def test_a_provider_with_a_key_never_imports_msal():
    done = python(f"""
import asyncio, sys
from apex_llm_azure.auth import TokenSources, make_authenticator
from apex_llm_core.config import AuthConfig, ProviderConfig
from apex_llm_core.testing.runtime import FakeRuntime, make_context
config = ProviderConfig(name='a', type='azure', auth=AuthConfig(type='api_key', credentials={{'api_key': 'k'}}))
auth = make_authenticator(config, authority='https://host', ca_file='', runtime=FakeRuntime(), sources=TokenSources())
headers = asyncio.run(auth.headers('scope', make_context()))
assert headers == {{'api-key': 'k'}}
assert not {HEAVY}
""")
    assert done.returncode == 0, done.stderr


def test_a_provider_with_entra_imports_msal_only_when_a_token_is_needed():
    done = python(f"""
import asyncio, sys
from apex_llm_azure.auth import TokenSources, make_authenticator
from apex_llm_core.config import AuthConfig, ProviderConfig
from apex_llm_core.errors import LLMError
from apex_llm_core.testing.runtime import FakeRuntime, make_context
secret = {{'tenant_id': 't', 'client_id': 'c', 'client_secret': 's'}}
config = ProviderConfig(name='a', type='azure', auth=AuthConfig(type='azure_ad', credentials=secret))
# Port 9 is discard: nobody listens there.
auth = make_authenticator(
    config, authority='https://127.0.0.1:9', ca_file='', runtime=FakeRuntime(), sources=TokenSources()
)
assert not {HEAVY}
async def ask():
    try:
        await auth.headers('scope', make_context())
    except LLMError as error:
        print(error)
    await auth.close()
asyncio.run(ask())
assert 'msal' in sys.modules
""")
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1:9 cannot be asked: Connection refused" in done.stdout
