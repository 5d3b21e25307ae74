"""Images and documents as Converse takes them: formats by content before names, document names that pass.

Base64 goes through as it is; only its beginning is decoded, to see what it really is.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import Any

from apex_llm_core.errors import InvalidRequestError, UnsupportedParameterError, nearest
from apex_llm_core.models import DocumentPart, ImagePart

_IMAGES = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/pjpeg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
    "text/x-markdown": "md",
}
_DOCUMENT_FORMATS = frozenset(_DOCUMENTS.values())
#: Formats of documents that are text.
_PLAIN_FORMATS = ("txt", "md", "csv", "html")
#: First bytes, with what they say. The containers of RIFF and ZIP need a second look.
_SIGNS = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"), (b"%PDF-", "pdf"))
#: Characters of base64 that hold the first bytes.
_BEGINNING = 32
_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*?)(;base64)?,", re.IGNORECASE)
_S3_URL = re.compile(r"s3://([a-z0-9][\w.-]*)/(.+)", re.IGNORECASE)
_ENDING = re.compile(r"\.([A-Za-z0-9]{1,8})$")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9()\[\]-]+")
_LONGEST_NAME = 200


def media_block(part: ImagePart | DocumentPart, names: DocumentNames, where: str) -> dict[str, Any]:
    """Return the content block for *part*; a document that came as an image, or the other way, is what it really is.

    Raises:
        InvalidRequestError: Bedrock takes nothing of that kind; *where* begins the message.
    """
    if isinstance(part, ImagePart):
        return _image(part, names, where)
    if part.text is not None:
        if not part.text.strip():
            raise InvalidRequestError(f"{where}: the document is empty")
        data = b64encode(part.text.encode("utf-8", "replace")).decode()
        written = _DOCUMENTS.get(_plain(part.media_type))
        return _document(data, written if written in _PLAIN_FORMATS else "txt", part.name, names)
    found = _sniffed(part.data or "", where)
    if found in ("png", "jpeg", "gif", "webp"):
        return {"image": {"format": found, "source": {"bytes": part.data}}}
    kind = found or _DOCUMENTS.get(_plain(part.media_type)) or _by_ending(part.name)
    if kind is None:
        raise UnsupportedParameterError(
            f"{where}: documents of type {part.media_type!r} are not taken{nearest(_plain(part.media_type), _DOCUMENTS)}",
            parameters=["documents"],
        )
    return _document(part.data or "", kind, part.name, names)


class DocumentNames:
    """Names of the documents of one request: the characters that the service takes, and none twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def fitting(self, name: str | None) -> str:
        """Return a name like *name*, without its ending."""
        plain = _ENDING.sub("", name or "")
        wish = _NOT_IN_NAMES.sub(" ", plain).strip()[: _LONGEST_NAME - 8].strip() or "document"
        found, number = wish, 1
        while found.lower() in self._taken:
            number += 1
            found = f"{wish} {number}"
        self._taken.add(found.lower())
        return found


def _image(part: ImagePart, names: DocumentNames, where: str) -> dict[str, Any]:
    data, media_type = part.data, part.media_type
    if part.url is not None:
        stored = _S3_URL.fullmatch(part.url)
        if stored:
            kind = _IMAGES.get(_plain(media_type)) or _image_ending(stored[2], where)
            return {"image": {"format": kind, "source": {"s3Location": {"uri": part.url}}}}
        data, media_type = _from_data_url(part.url, where)
    found = _sniffed(data or "", where)
    if found in _DOCUMENT_FORMATS or _plain(media_type) == "application/pdf":
        return _document(data or "", found or "pdf", None, names)
    image = found or _IMAGES.get(_plain(media_type))
    if image is None:
        raise UnsupportedParameterError(
            f"{where}: images of type {media_type!r} are not taken{nearest(_plain(media_type), _IMAGES)}",
            parameters=["images"],
        )
    return {"image": {"format": image, "source": {"bytes": data}}}


def _document(data: str, kind: str, name: str | None, names: DocumentNames) -> dict[str, Any]:
    return {"document": {"format": kind, "name": names.fitting(name), "source": {"bytes": data}}}


def _from_data_url(url: str, where: str) -> tuple[str, str]:
    match = _DATA_URL.match(url)
    if match is None:
        raise UnsupportedParameterError(
            f"{where}: Bedrock fetches no images from the web; pass their data in base64, or an s3:// address",
            parameters=["images"],
        )
    if not match[3]:
        raise InvalidRequestError(f"{where}: the data: URL is not in base64")
    return url[match.end() :], match[1] or "image/png"


def _sniffed(data: str, where: str) -> str | None:
    """Return the format that the first bytes tell, None when they tell none."""
    if not data:
        raise InvalidRequestError(f"{where}: there is no data")
    head = data[:_BEGINNING]
    try:
        first = b64decode(head + "=" * (-len(head) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError(f"{where}: the data is no base64: {error}") from error
    for sign, kind in _SIGNS:
        if first.startswith(sign):
            return kind
    return "webp" if first[:4] == b"RIFF" and first[8:12] == b"WEBP" else None


def _plain(media_type: str | None) -> str:
    return (media_type or "").partition(";")[0].strip().lower()


def _by_ending(name: str | None) -> str | None:
    match = _ENDING.search(name or "")
    ending = match[1].lower() if match else ""
    ending = {"htm": "html", "markdown": "md", "text": "txt"}.get(ending, ending)
    return ending if ending in _DOCUMENT_FORMATS else None


def _image_ending(key: str, where: str) -> str:
    match = _ENDING.search(key)
    ending = match[1].lower() if match else ""
    kind = _IMAGES.get(f"image/{ending}")
    if kind is None:
        raise InvalidRequestError(f"{where}: the format of the image in S3 is unknown; give its media_type")
    return kind


__all__ = ["DocumentNames", "media_block"]
