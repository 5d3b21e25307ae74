"""The page as a document: whole, closed to everything from elsewhere, readable in both schemes."""

from __future__ import annotations

import asyncio
import base64
import re
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from types import SimpleNamespace

import pytest
from apex_llm_gateway import dashboard
from apex_llm_gateway.dashboard.assembly import SCRIPTS, assemble
from apex_llm_gateway.handlers import dashboard as handler

FOLDER = files("apex_llm_gateway.dashboard")
STYLE = FOLDER.joinpath("style.css").read_text()
SOURCES = {name: FOLDER.joinpath(name).read_text() for name in SCRIPTS}
#: What reads text as markup or as a program.
SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|setHTML|\beval\b|new Function|srcdoc|javascript:"
)


class Document(HTMLParser):
    """Takes a page apart."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.contents = {"style": [], "script": []}
        self._within = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._within = tag

    def handle_endtag(self, _tag):
        self._within = None

    def handle_data(self, data):
        if self._within in self.contents:
            self.contents[self._within].append(data)


@pytest.fixture(scope="module")
def document():
    return Document(dashboard.page().body.decode())


def answer(**headers):
    return asyncio.run(handler.page(None, SimpleNamespace(request=SimpleNamespace(headers=headers))))


class TestDocument:
    def test_it_is_one_document_with_one_style_and_one_script(self, document):
        assert {name: len(found) for name, found in document.contents.items()} == {"style": 1, "script": 1}
        for source in (STYLE, *SOURCES.values()):
            assert source in dashboard.page().body.decode()

    def test_every_script_beside_it_is_part_of_it(self):
        assert sorted(SCRIPTS) == sorted(file.name for file in FOLDER.iterdir() if file.name.endswith(".js"))

    def test_nothing_is_fetched_from_elsewhere(self, document):
        for tag, attributes in document.elements:
            for name in ("src", "href", "action", "data", "poster"):
                value = attributes.get(name, "#")
                assert value.startswith(("#", "data:image/svg+xml,")), (tag, name, value)
        assert "@import" not in STYLE
        assert "url(" not in STYLE

    def test_nothing_in_it_needs_a_weaker_policy(self, document):
        for tag, attributes in document.elements:
            assert "style" not in attributes, tag
            assert not [name for name in attributes if name.startswith("on")], tag

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_scripts_never_read_text_as_markup(self, name):
        assert SINKS.search(SOURCES[name]) is None

    def test_ids_are_unique_and_every_reference_leads_somewhere(self, document):
        ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for tag, attributes in document.elements:
            references = [attributes.get("href", "").removeprefix("#"), attributes.get("for") or ""]
            for name in ("aria-labelledby", "aria-describedby"):
                references += (attributes.get(name) or "").split()
            for reference in filter(None, references):
                assert reference in ids or reference.startswith("data:"), (tag, reference)
        wanted = {
            found for source in SOURCES.values() for found in re.findall(r'(?:byId|panel)\("([a-z-]+)"\)', source)
        }
        assert wanted
        assert wanted <= set(ids)

    def test_a_page_without_its_places_is_refused(self):
        texts = dict.fromkeys(SCRIPTS, "") | {"style.css": "", "page.html": "<style></style>"}
        with pytest.raises(ValueError, match="<script>"):
            assemble(texts.__getitem__)

    def test_content_that_would_end_its_element_is_refused(self):
        texts = dict.fromkeys(SCRIPTS, "") | {"style.css": "", "page.html": "<style></style><script></script>"}
        assemble(texts.__getitem__)
        with pytest.raises(ValueError, match="<script>"):
            assemble({**texts, "app.js": '"</Script>"'}.__getitem__)


class TestPolicy:
    def test_it_admits_this_very_style_and_script_and_nothing_else(self, document):
        def source(text):
            return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"

        directives = dict(part.strip().split(" ", 1) for part in dashboard.page().policy.split(";"))
        assert directives == {
            "default-src": "'none'",
            "style-src": source(document.contents["style"][0]),
            "script-src": source(document.contents["script"][0]),
            "connect-src": "'self'",
            "img-src": "data:",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }


class TestAnswer:
    def test_it_says_what_browsers_may_do_with_the_page(self):
        reply = answer()
        assert (reply.status, reply.content_type) == (200, "text/html; charset=utf-8")
        assert reply.body == dashboard.page().body
        assert reply.headers["Content-Security-Policy"] == dashboard.page().policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["X-Frame-Options"] == "DENY"

    def test_whoever_has_it_is_not_sent_it_again(self):
        tag = answer().headers["ETag"]
        assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
        for known in (tag, f"W/{tag}", f'"other", {tag}'):
            again = answer(**{"if-none-match": known})
            assert (again.status, again.body) == (304, b"")
            assert again.headers["ETag"] == tag
        assert answer(**{"if-none-match": '"other"'}).status == 200


def luminance(colour):
    parts = [int(colour[position : position + 2], 16) / 255 for position in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


PALETTE = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", STYLE)
}


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
class TestColours:
    """The contrasts that WCAG 2.2 asks for at level AA."""

    @pytest.mark.parametrize("ground", ["ground", "panel", "sunk"])
    @pytest.mark.parametrize("text", ["ink", "muted", "accent", "good", "warn", "bad"])
    def test_text_is_readable(self, text, ground, scheme):
        assert contrast(PALETTE[text][scheme], PALETTE[ground][scheme]) >= 4.5

    @pytest.mark.parametrize("ground", ["warn-wash", "bad-wash"])
    def test_notices_are_readable(self, ground, scheme):
        assert contrast(PALETTE["ink"][scheme], PALETTE[ground][scheme]) >= 4.5

    def test_buttons_are_readable(self, scheme):
        assert contrast(PALETTE["on-accent"][scheme], PALETTE["accent"][scheme]) >= 4.5

    @pytest.mark.parametrize("series", ["first", "second", "third", "fourth", "bad"])
    def test_series_stand_out(self, series, scheme):
        assert contrast(PALETTE[series][scheme], PALETTE["panel"][scheme]) >= 3
