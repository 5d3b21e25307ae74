"""Images and documents: what they are before what they are called, and names that the service takes."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

import pytest
from apex_llm_bedrock.media import DocumentNames, media_block
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import InvalidRequestError
from apex_llm_core.models import DocumentPart, ImagePart

#: The beginning of a file by its format.
FILES = {
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "gif": b"GIF89a\1\0\1\0",
    "webp": b"RIFF\x24\0\0\0WEBPVP8 ",
    "pdf": b"%PDF-1.7\n%",
}
IMAGES = ("png", "jpeg", "gif", "webp")
NAME = re.compile(r"[A-Za-z0-9()\[\]-]+( [A-Za-z0-9()\[\]-]+)*")


def encoded(kind, length=200):
    return b64encode(FILES.get(kind, b"whatever").ljust(length, b"\7")).decode()


def block(part, names=None):
    return media_block(part, names or DocumentNames(), "messages[3]")


def refused(part, match):
    with pytest.raises(InvalidRequestError, match=rf"^messages\[3\]: .*{match}"):
        block(part)


class TestImages:
    @pytest.mark.parametrize("kind", IMAGES)
    @pytest.mark.parametrize("media_type", ["image/png", "image/jpg", "image/bmp", "application/octet-stream", ""])
    def test_are_what_their_bytes_say(self, kind, media_type):
        # hermes-agent#55429, QwenPaw#3313, litellm#18068
        data = encoded(kind)
        assert block(ImagePart(data=data, media_type=media_type)) == {
            "image": {"format": kind, "source": {"bytes": data}}
        }

    @pytest.mark.parametrize(
        ("media_type", "kind"),
        [
            ("image/png", "png"),
            ("image/jpeg", "jpeg"),
            ("image/jpg", "jpeg"),
            ("image/pjpeg", "jpeg"),
            ("IMAGE/GIF; q=1", "gif"),
            (" image/webp ", "webp"),
        ],
    )
    def test_are_what_they_are_called_where_the_bytes_say_nothing(self, media_type, kind):
        assert block(ImagePart(data=encoded("?"), media_type=media_type))["image"]["format"] == kind

    def test_of_another_type_are_refused_with_the_nearest(self):
        refused(ImagePart(data=encoded("?"), media_type="image/jpge"), "'image/jpge' are not taken.*image/jpg")

    def test_that_are_pdfs_are_documents(self):
        data = encoded("pdf")
        wire = {"document": {"format": "pdf", "name": "document", "source": {"bytes": data}}}
        assert block(ImagePart(data=data, media_type="image/png")) == wire
        assert block(ImagePart(data=encoded("?"), media_type="application/pdf"))["document"]["format"] == "pdf"

    def test_may_be_very_small(self):
        assert block(ImagePart(data="R0lGOA==", media_type="image/png"))["image"]["format"] == "gif"
        assert block(ImagePart(data="QQ==", media_type="image/png"))["image"]["format"] == "png"

    @pytest.mark.parametrize("data", ["?", "QQ", "ä" * 40, "data:image/png;base64,QQ==", "https://a.example/b.png"])
    def test_that_are_no_base64_are_refused(self, data):
        if data == "QQ":
            assert block(ImagePart(data=data, media_type="image/png"))
        else:
            refused(ImagePart(data=data, media_type="image/png"), "no base64")

    def test_without_data_are_refused(self):
        refused(ImagePart(data="", media_type="image/png"), "there is no data")
        refused(ImagePart(url="data:image/png;base64,"), "there is no data")


class TestAddresses:
    @pytest.mark.parametrize(
        ("head", "kind"),
        [
            ("data:image/png;base64,", "jpeg"),
            ("DATA:image/gif;charset=utf-8;BASE64,", "jpeg"),
            ("data:;base64,", "jpeg"),
        ],
    )
    def test_with_data_in_them_are_data(self, head, kind):
        data = encoded(kind)
        assert block(ImagePart(url=head + data)) == {"image": {"format": kind, "source": {"bytes": data}}}

    def test_with_data_tell_the_type_where_the_bytes_do_not(self):
        assert block(ImagePart(url=f"data:image/gif;base64,{encoded('?')}"))["image"]["format"] == "gif"
        refused(ImagePart(url=f"data:image/bmp;base64,{encoded('?')}"), "'image/bmp' are not taken")

    def test_with_data_in_another_encoding_are_refused(self):
        refused(ImagePart(url="data:image/png,%89PNG"), "not in base64")

    @pytest.mark.parametrize("url", ["https://a.example/b.png", "http://a/b", "file:///etc/passwd", "b.png", ""])
    def test_of_the_web_are_refused(self, url):
        refused(ImagePart(url=url), "fetches no images from the web")

    @pytest.mark.parametrize(
        ("part", "kind"),
        [
            (ImagePart(url="s3://bucket/a/b.jpg"), "jpeg"),
            (ImagePart(url="s3://bucket/b.PNG"), "png"),
            (ImagePart(url="s3://bucket/b", media_type="image/webp"), "webp"),
            (ImagePart(url="s3://bucket/b.png", media_type="image/gif"), "gif"),
        ],
    )
    def test_in_s3_go_through(self, part, kind):
        assert block(part) == {"image": {"format": kind, "source": {"s3Location": {"uri": part.url}}}}

    @pytest.mark.parametrize("url", ["s3://bucket/b", "s3://bucket/b.bmp"])
    def test_in_s3_need_a_format(self, url):
        refused(ImagePart(url=url), "give its media_type")


class TestDocuments:
    @pytest.mark.parametrize(
        ("media_type", "kind"),
        [
            ("application/pdf", "pdf"),
            ("text/csv", "csv"),
            ("application/msword", "doc"),
            ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
            ("application/vnd.ms-excel", "xls"),
            ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
            ("text/html; charset=utf-8", "html"),
            ("text/plain", "txt"),
            ("Text/Markdown", "md"),
        ],
    )
    def test_have_a_format_by_their_type(self, media_type, kind):
        data = encoded("?")
        assert block(DocumentPart(data=data, media_type=media_type, name="r.bin")) == {
            "document": {"format": kind, "name": "r", "source": {"bytes": data}}
        }

    @pytest.mark.parametrize(
        ("name", "kind"),
        [("a.DOCX", "docx"), ("a.htm", "html"), ("a.b.markdown", "md"), ("a.text", "txt"), ("a.md", "md")],
    )
    def test_have_a_format_by_their_ending_where_the_type_says_nothing(self, name, kind):
        part = DocumentPart(data=encoded("?"), media_type="application/octet-stream", name=name)
        assert block(part)["document"]["format"] == kind

    def test_are_pdfs_by_their_bytes(self):
        part = DocumentPart(data=encoded("pdf"), media_type="text/plain", name="a.txt")
        assert block(part)["document"]["format"] == "pdf"

    @pytest.mark.parametrize("kind", IMAGES)
    def test_that_are_images_are_images(self, kind):
        data = encoded(kind)
        assert block(DocumentPart(data=data, media_type="application/pdf")) == {
            "image": {"format": kind, "source": {"bytes": data}}
        }

    def test_of_another_type_are_refused_with_the_nearest(self):
        refused(DocumentPart(data=encoded("?"), media_type="application/pfd"), "'application/pfd'.*application/pdf")

    @pytest.mark.parametrize(
        ("media_type", "kind"),
        [
            (None, "txt"),
            ("text/csv", "csv"),
            ("text/html", "html"),
            ("text/markdown", "md"),
            ("application/pdf", "txt"),
        ],
    )
    def test_of_text_are_encoded(self, media_type, kind):
        found = block(DocumentPart(text="Größe \ud800", media_type=media_type))["document"]
        assert found["format"] == kind
        assert b64decode(found["source"]["bytes"]).decode() == "Größe ?"

    @pytest.mark.parametrize("text", ["", " \n"])
    def test_without_words_are_refused(self, text):
        refused(DocumentPart(text=text), "the document is empty")

    def test_without_data_are_refused(self):
        refused(DocumentPart(data="", media_type="application/pdf"), "there is no data")


class TestNames:
    # llm-bedrock#8, vercel/ai#20365, generative-ai-use-cases#1671, opencode#48756
    @pytest.mark.parametrize(
        ("name", "fitting"),
        [
            ("report.pdf", "report"),
            ("Q3 report (final) [2].docx", "Q3 report (final) [2]"),
            ("a_b.c d.txt", "a b c d"),
            ("a  b\t\u00a0\u2003c", "a b c"),
            ("größe.md", "gr e"),
            ("Ωμέγα", "document"),
            ("", "document"),
            (None, "document"),
            (".pdf", "document"),
            ("../../etc/passwd", "etc passwd"),
        ],
    )
    def test_have_only_what_the_service_takes(self, name, fitting):
        assert DocumentNames().fitting(name) == fitting

    def test_come_once(self):
        names = DocumentNames()
        found = [names.fitting(name) for name in ("a.pdf", "A.txt", "a 2", "a", None, "")]
        assert found == ["a", "A 2", "a 2 2", "a 3", "document", "document 2"]

    @given(st.lists(st.none() | st.text(max_size=20) | st.text("ab. ", max_size=250), max_size=12))
    def test_of_any_kind_fit_and_come_once(self, given_names):
        names = DocumentNames()
        found = [names.fitting(name) for name in given_names]
        assert all(NAME.fullmatch(name) and len(name) <= 200 for name in found)
        assert len({name.lower() for name in found}) == len(found)


class TestAnyData:
    @given(st.binary(min_size=1, max_size=60), st.sampled_from(["image/png", "image/bmp", "application/pdf", ""]))
    def test_goes_through_as_it_is_or_is_refused(self, content, media_type):
        data = b64encode(content).decode()
        for part in (ImagePart(data=data, media_type=media_type), DocumentPart(data=data, media_type=media_type)):
            try:
                wire = block(part)
            except InvalidRequestError:
                continue
            (found,) = wire.values()
            assert found["source"] == {"bytes": data}
