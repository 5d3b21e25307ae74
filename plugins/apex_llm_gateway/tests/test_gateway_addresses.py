from __future__ import annotations

import pytest
from apex_llm_gateway.addresses import guard_browser, is_loopback
from apex_llm_gateway.http import HttpError
from multidict import CIMultiDict


class Sent:
    def __init__(self, headers):
        self.headers = CIMultiDict(headers)


def refused(headers):
    with pytest.raises(HttpError) as caught:
        guard_browser(Sent(headers))
    assert caught.value.status == 403
    return caught.value.code


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost", "LOCALHOST", " localhost "])
def test_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", "127.0.0.1.evil.example", "127.1", "2130706433"],  # noqa: S104 - text, not an address to listen at
)
def test_not_loopback(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:8080"},
        {"Host": "localhost"},
        {"Host": "[::1]:8080"},
        {"Host": "localhost:8080", "Origin": "http://localhost:8080"},
        {"Host": "LocalHost:8080", "Origin": "http://localhost:8080"},
        {"Host": "127.0.0.1", "Origin": "http://127.0.0.1:80"},
        {"Host": "localhost", "Origin": "https://localhost"},
        {"Host": "[::1]:8080", "Origin": "http://[::1]:8080"},
        {"Host": "localhost:8080", "Sec-Fetch-Site": "same-origin"},
        {"Host": "localhost:8080", "Sec-Fetch-Site": "none"},
    ],
)
def test_own_pages_and_programs_come_in(headers):
    guard_browser(Sent(headers))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "0.0.0.0:8080",
        "localhost:x",
        "localhost:8080:1",
        "a@localhost",
        "localhost/evil.example",
        "localhost evil.example",
        "[::1",
        "169.254.169.254",
    ],
)
def test_other_names_of_this_machine_are_refused(host):
    assert refused({"Host": host}) == "host_not_allowed"


def test_no_name_at_all_is_refused():
    assert refused({}) == "host_not_allowed"


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://localhost",
        "http://localhost:3000",
        "http://127.0.0.1:8080",
        "https://localhost:8081",
        "file://",
        "http://localhost:8080.evil.example",
        "http://localhost:8080/",
        "http://a@localhost:8080",
        "chrome-extension://localhost:8080",
    ],
)
def test_pages_of_other_sites_are_refused(origin):
    assert refused({"Host": "localhost:8080", "Origin": origin}) == "origin_not_allowed"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_pictures_and_scripts_of_other_sites_are_refused(site):
    assert refused({"Host": "localhost:8080", "Sec-Fetch-Site": site}) == "origin_not_allowed"
