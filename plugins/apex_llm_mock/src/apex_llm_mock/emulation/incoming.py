"""Requests as they come in: their bodies read, and what the journal keeps of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
from aiohttp import web

from apex_llm_mock.emulation.journal import Received, masked


@attrs.frozen(kw_only=True)
class Upload:
    """A file of a form."""

    name: str
    media_type: str
    data: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Form:
    """The fields and files of a form, in order."""

    fields: Mapping[str, str]
    files: tuple[tuple[str, Upload], ...] = ()


async def read_body(request: web.Request) -> Any:
    """Return a JSON document, a `Form`, text that is no JSON, or None for an empty body."""
    if request.content_type == "multipart/form-data":
        return await _read_form(request)
    data = await request.read()
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")


async def _read_form(request: web.Request) -> Form | str:
    try:
        posted = await request.post()
    except ValueError:
        return "a form that cannot be read"
    fields: dict[str, str] = {}
    files: list[tuple[str, Upload]] = []
    for name, value in posted.items():
        if isinstance(value, str):
            fields[name] = value
        elif isinstance(value, web.FileField):
            data = value.file.read()
            files.append((name, Upload(name=value.filename, media_type=value.content_type, data=data)))
    return Form(fields=fields, files=tuple(files))


def deployment_in(body: Any) -> str:
    """Return the deployment that *body* names, empty when it names none."""
    fields = body.fields if isinstance(body, Form) else body
    found = fields.get("model") if isinstance(fields, Mapping) else None
    return found if isinstance(found, str) else ""


def asks_for_stream(operation: str, body: Any) -> bool:
    """Return whether the answer to *body* is to be streamed."""
    return operation == "chat/completions" and isinstance(body, Mapping) and body.get("stream") is True


def journal_entry(request: web.Request, body: Any, *, operation: str, deployment: str, fault: str | None) -> Received:
    """Return what the journal keeps of *request*."""
    if isinstance(body, Form):
        files = [
            (name, {"filename": upload.name, "content_type": upload.media_type, "bytes": len(upload.data)})
            for name, upload in body.files
        ]
        body = {**body.fields, "files": files}
    return Received(
        method=request.method,
        origin=str(request.url.origin()),
        path=request.rel_url.raw_path,
        query=dict(request.query),
        headers=masked(request.headers),
        body=body,
        operation=operation,
        deployment=deployment,
        fault=fault,
    )


__all__ = ["Form", "Upload", "asks_for_stream", "deployment_in", "journal_entry", "read_body"]
