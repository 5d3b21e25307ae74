from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP

from apex_llm_azure.multipart import Field, multipart
from hypothesis import given
from hypothesis import strategies as st

names = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=10).filter(
    lambda name: not set(name) & set('"\\')
)


def parsed(body, content_type):
    """Read it with the standard library's parser, which is not ours."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_payload(decode=True),
            part.get_filename(""),
            part.get_content_type() if part["content-type"] else "",
        )
        for part in message.iter_parts()
    ]


@given(st.lists(st.tuples(names, st.binary(max_size=200)), min_size=1, max_size=5))
def test_another_parser_reads_what_was_written(fields):
    files = [Field(name, b"\x89" + value + b"\x01", "a.png", "image/png") for name, value in fields]
    body, content_type = multipart(files)
    boundary = content_type.partition("boundary=")[2].encode()
    assert body.count(b"--" + boundary) == len(fields) + 1
    for (name, value), piece in zip(fields, body.split(b"--" + boundary)[1:], strict=False):
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        assert f'name="{name}"'.encode() in head
        assert content == b"\x89" + value + b"\x01\r\n"


def test_fields_and_files():
    body, content_type = multipart([Field("prompt", "Grün".encode()), Field("image[]", b"PNG", "a.png", "image/png")])
    assert parsed(body, content_type) == [
        ("prompt", "Grün".encode(), "", ""),
        ("image[]", b"PNG", "a.png", "image/png"),
    ]


def test_quotes_and_line_breaks_end_no_header():
    body, content_type = multipart([Field('a"\r\nX: y', b"v")])
    assert b"\r\nX: y" not in body
    assert len(parsed(body, content_type)) == 1
