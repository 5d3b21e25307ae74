"""Pictures and files in messages. Their base64 goes on as it came; only documents that are text are decoded."""

from __future__ import annotations

import binascii
from base64 import b64decode
from types import MappingProxyType
from typing import NamedTuple

from apex_llm_core.models import DocumentPart, ImagePart
from apex_llm_gateway.openai import fields
from apex_llm_gateway.openai.fields import Json
from apex_llm_gateway.openai.rules import ParameterError

_OOXML = "application/vnd.openxmlformats-officedocument"
#: By the ending of a file's name, for data that does not say what it is.
_TYPES = MappingProxyType(
    {
        "csv": "text/csv",
        "doc": "application/msword",
        "docx": f"{_OOXML}.wordprocessingml.document",
        "htm": "text/html",
        "html": "text/html",
        "json": "application/json",
        "md": "text/markdown",
        "pdf": "application/pdf",
        "pptx": f"{_OOXML}.presentationml.presentation",
        "txt": "text/plain",
        "xls": "application/vnd.ms-excel",
        "xlsx": f"{_OOXML}.spreadsheetml.sheet",
    }
)
#: Characters of a data: URL before its data, at most.
_LONGEST_HEAD = 256


class DataUrl(NamedTuple):
    """What a data: URL says; `media_type` is empty when it does not."""

    media_type: str
    data: str


def image_of(part: Json, place: str) -> ImagePart:
    """Return the picture of the `image_url` part at *place*.

    Raises:
        ParameterError: it is no picture, or its URL is of no use.
    """
    where = f"{place}.image_url"
    members = fields.mapping(fields.given(part, "image_url", place), where)
    url = fields.text(fields.given(members, "url", where), f"{where}.url")
    detail = members.get("detail")
    if detail is not None:
        detail = fields.name(detail, f"{where}.detail")
    scheme = url[:8].lower()
    if scheme.startswith(("https://", "http://")):
        return ImagePart(url=url, detail=detail)
    if not scheme.startswith("data:"):
        raise ParameterError(f"{where}.url: expected an http(s) or a data: URL", param=f"{where}.url")
    media_type, data = _parted(url, f"{where}.url")
    if not media_type.startswith("image/"):
        raise ParameterError(
            f"{where}.url is {fields.shown(media_type) if media_type else 'of no type'}; expected data:image/…;base64,… "
            "(documents go into a part of type 'file')",
            param=f"{where}.url",
        )
    return ImagePart(data=data, media_type=media_type, detail=detail)


def document_of(part: Json, place: str) -> DocumentPart:
    """Return the document of the `file` part at *place*.

    Raises:
        ParameterError: its data is not here, or of unknown type.
    """
    where = f"{place}.file"
    members = fields.mapping(fields.given(part, "file", place), where)
    if members.get("file_id") is not None:
        raise ParameterError(
            f"{where}.file_id: no files are stored here; send the file itself as 'file_data'", param=f"{where}.file_id"
        )
    data = fields.text(fields.given(members, "file_data", where), f"{where}.file_data")
    file_name = members.get("filename")
    if file_name is not None:
        file_name = fields.name(file_name, f"{where}.filename")
    media_type = ""
    if data[:5].lower() == "data:":
        media_type, data = _parted(data, f"{where}.file_data")
    elif not data:
        raise ParameterError(f"{where}.file_data is empty", param=f"{where}.file_data")
    media_type = media_type or _TYPES.get((file_name or "").rpartition(".")[2].lower(), "")
    if not media_type:
        raise ParameterError(
            f"{where}.file_data does not say what it is: send data:application/pdf;base64,… or a 'filename' with a known "
            f"ending ({', '.join(_TYPES)})",
            param=f"{where}.file_data",
        )
    written = _written(data, f"{where}.file_data") if _is_text(media_type) else None
    if written is not None:
        return DocumentPart(text=written, media_type=media_type, name=file_name)
    return DocumentPart(data=data, media_type=media_type, name=file_name)


def _parted(url: str, place: str) -> DataUrl:
    comma = url.find(",", 0, _LONGEST_HEAD)
    media_type, *attributes = url[len("data:") : max(comma, 0)].lower().split(";")
    if comma < 0 or "base64" not in (attribute.strip() for attribute in attributes):
        raise ParameterError(f"{place}: expected data:TYPE;base64,DATA", param=place)
    if comma + 1 == len(url):
        raise ParameterError(f"{place} has no data", param=place)
    return DataUrl(media_type.strip(), url[comma + 1 :])


def _is_text(media_type: str) -> bool:
    return media_type.startswith("text/") or media_type == "application/json"


def _written(data: str, place: str) -> str | None:
    """Return the text that *data* is, None when it is not in UTF-8."""
    try:
        return b64decode(data, validate=True).decode()
    except UnicodeDecodeError:
        return None
    except (binascii.Error, ValueError) as error:
        raise ParameterError(f"{place} is no base64: {error}", param=place) from error


__all__ = ["document_of", "image_of"]
