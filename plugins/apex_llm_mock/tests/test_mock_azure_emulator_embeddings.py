"""Embeddings and images over the wire."""

from __future__ import annotations

import io
import struct
from base64 import b64decode

import aiohttp
import pytest
from apex_llm_mock.emulation.jpeg import encode_grey
from apex_llm_mock.images import draw

Image = pytest.importorskip("PIL.Image")

PNG = draw("a", 64, 64)


def refused(answer, code, param=None):
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, code, param)
    return answer.error["message"]


def embed(emulated, model="text-embedding-3-small", **body):
    async def main(caller):
        return await caller.ask("POST", "/openai/v1/embeddings", json={"model": model, **body})

    return emulated(main)


class TestEmbeddings:
    @pytest.mark.parametrize(
        ("model", "length"),
        [("text-embedding-ada-002", 1536), ("text-embedding-3-small", 1536), ("text-embedding-3-large", 3072)],
    )
    def test_each_model_has_its_length(self, emulated, model, length):
        document = embed(emulated, model, input="hello").json
        assert [len(item["embedding"]) for item in document["data"]] == [length]
        assert document["usage"] == {"prompt_tokens": 2, "total_tokens": 2}

    def test_base64_is_little_endian_floats(self, emulated):
        plain = embed(emulated, input=["a", "b"], dimensions=8).json["data"]
        packed = embed(emulated, input=["a", "b"], dimensions=8, encoding_format="base64").json["data"]
        for one, other in zip(plain, packed, strict=True):
            assert struct.unpack("<8f", b64decode(other["embedding"])) == pytest.approx(one["embedding"], abs=1e-6)

    def test_token_ids_are_texts_too(self, emulated):
        document = embed(emulated, input=[[1, 2, 3], [4]], dimensions=2).json
        assert len(document["data"]) == 2
        assert document["usage"]["prompt_tokens"] == 4
        assert len(embed(emulated, input=[1, 2, 3], dimensions=2).json["data"]) == 1

    def test_2048_inputs_and_no_more(self, emulated):
        assert len(embed(emulated, input=["x"] * 2048, dimensions=1).json["data"]) == 2048
        message = refused(embed(emulated, input=["x"] * 2049), "array_above_max_length", "input")
        assert "maximum length 2048" in message

    def test_8192_tokens_each_and_no_more(self, emulated):
        assert embed(emulated, input="x" * 4 * 8192).status == 200
        message = refused(embed(emulated, input="x" * 4 * 8193), None)
        assert message.startswith(
            "This model's maximum context length is 8192 tokens, however you requested 8193 tokens"
        )

    def test_300000_tokens_together_and_no_more(self, emulated):
        full = ["x" * 4 * 8000] * 37 + ["x" * 4 * 4000]
        assert embed(emulated, input=full, dimensions=1).json["usage"]["total_tokens"] == 300_000
        message = refused(embed(emulated, input=[*full, "x"]), "max_tokens_per_request")
        assert message == "Requested 300001 tokens, max 300000 tokens per request"

    @pytest.mark.parametrize("given", ["", [], [""], [[]], ["a", 1], {"a": 1}, 7, [[1, "a"]], [True]])
    def test_what_is_no_input(self, emulated, given):
        assert "'$.input' is invalid" in refused(embed(emulated, input=given), None, "input")

    @pytest.mark.parametrize(
        ("body", "code", "param"),
        [
            ({}, "missing_required_parameter", "input"),
            ({"input": "x", "encoding_format": "hex"}, "invalid_value", "encoding_format"),
            ({"input": "x", "dimensions": 1537}, None, "dimensions"),
            ({"input": "x", "dimensions": 0}, None, "dimensions"),
            ({"input": "x", "colour": "red"}, "unknown_parameter", "colour"),
        ],
    )
    def test_mistakes(self, emulated, body, code, param):
        refused(embed(emulated, **body), code, param)

    def test_ada_cannot_shorten(self, emulated):
        answer = embed(emulated, "text-embedding-ada-002", input="x", dimensions=8)
        assert "does not support specifying dimensions" in refused(answer, None, "dimensions")

    def test_a_chat_model_cannot_embed(self, emulated):
        assert embed(emulated, "gpt-4o", input="x").error["code"] == "OperationNotSupported"


def draw_by(emulated, model="gpt-image-1", **body):
    async def main(caller):
        return await caller.ask(
            "POST", "/openai/v1/images/generations", json={"model": model, "prompt": "a cat", **body}
        )

    return emulated(main)


class TestImages:
    @pytest.mark.parametrize("form", ["png", "jpeg"])
    def test_they_are_what_they_say(self, emulated, form):
        document = draw_by(emulated, n=2, size="1536x1024", output_format=form, quality="low").json
        for item in document["data"]:
            assert item.keys() == {"b64_json"}
            with Image.open(io.BytesIO(b64decode(item["b64_json"]))) as image:
                image.load()
                assert (image.format, image.size) == (form.upper(), (1536, 1024))
        assert (document["size"], document["output_format"], document["quality"]) == ("1536x1024", form, "low")
        tokens = 2 * 48 * 32
        assert document["usage"] == {
            "input_tokens": 2,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": 2},
            "output_tokens": tokens,
            "total_tokens": tokens + 2,
        }

    @pytest.mark.parametrize("size", [(1, 1), (7, 9), (64, 64), (1024, 1536)])
    def test_jpegs_of_any_size_are_whole(self, size):
        with Image.open(io.BytesIO(encode_grey("key", *size))) as image:
            image.load()
            assert (image.size, image.mode) == (size, "L")

    def test_gpt_image_refuses_response_format(self, emulated):
        refused(draw_by(emulated, response_format="b64_json"), "unknown_parameter", "response_format")

    @pytest.mark.parametrize(
        ("body", "code", "param"),
        [
            ({"size": "256x256"}, "invalid_value", "size"),
            ({"quality": "hd"}, "invalid_value", "quality"),
            ({"output_format": "webp"}, "invalid_value", "output_format"),
            ({"output_compression": 50}, "invalid_value", "output_compression"),
            ({"background": "transparent", "output_format": "jpeg"}, "invalid_value", "background"),
            ({"n": 11}, "invalid_value", "n"),
            ({"prompt": ""}, "missing_required_parameter", "prompt"),
            ({"prompt": "x" * 32_001}, "string_above_max_length", "prompt"),
        ],
    )
    def test_mistakes(self, emulated, body, code, param):
        refused(draw_by(emulated, **body), code, param)

    def test_dall_e_gives_urls_that_can_be_fetched(self, emulated):
        async def main(caller):
            path = "/openai/deployments/dall-e-3/images/generations?api-version=2024-10-21"
            body = {"prompt": "a cat", "size": "1792x1024", "quality": "hd", "style": "vivid"}
            [item] = (await caller.ask("POST", path, json=body)).json["data"]
            assert item["revised_prompt"] == "An image of: a cat"
            assert item["content_filter_results"]["violence"]["filtered"] is False
            assert item["prompt_filter_results"]["profanity"]["detected"] is False
            fetched = await caller.ask("GET", item["url"].removeprefix(caller.emulator.url), headers={})
            with Image.open(io.BytesIO(fetched.body)) as image:
                assert image.size == (1792, 1024)
            assert (await caller.ask("GET", "/generated/none.png", headers={})).status == 404
            [item] = (await caller.ask("POST", path, json={**body, "response_format": "b64_json"})).json["data"]
            assert b64decode(item["b64_json"]) == fetched.body
            refused(await caller.ask("POST", path, json={**body, "n": 2}), "invalid_value", "n")

        emulated(main)

    def test_a_chat_model_cannot_draw(self, emulated):
        assert draw_by(emulated, "gpt-4o").error["code"] == "OperationNotSupported"


def edit(emulated, *files, model="gpt-image-1", journal=None, **fields):
    async def main(caller):
        form = aiohttp.FormData(default_to_multipart=True)
        for name, value in {"prompt": "a dog", "model": model, **fields}.items():
            form.add_field(name, value)
        for name, data in files:
            form.add_field(name, data, filename=f"{name[:5]}.png", content_type="image/png")
        answer = await caller.ask("POST", "/openai/v1/images/edits", data=form)
        if journal is not None:
            journal.extend(caller.emulator.journal)
        return answer

    return emulated(main)


class TestEdits:
    def test_the_image_and_the_mask_make_a_difference(self, emulated):
        drawn = [
            edit(emulated, *files, size="1024x1024", input_fidelity="high").json["data"][0]["b64_json"]
            for files in (
                [("image", PNG)],
                [("image", draw("b", 64, 64))],
                [("image[]", PNG), ("image[]", PNG)],
                [("image", PNG), ("mask", PNG)],
            )
        ]
        assert len(set(drawn)) == 4

    def test_it_exists_on_the_latest_dated_version_only(self, emulated):
        async def main(caller):
            statuses = []
            for version in ("2024-10-21", "2025-04-01-preview"):
                form = aiohttp.FormData(default_to_multipart=True)
                form.add_field("prompt", "x")
                form.add_field("image", PNG, filename="x.png")
                path = f"/openai/deployments/gpt-image-1/images/edits?api-version={version}"
                statuses.append((await caller.ask("POST", path, data=form)).status)
            assert statuses == [404, 200]

        emulated(main)

    @pytest.mark.parametrize(
        ("files", "fields", "code", "param"),
        [
            ([], {}, "missing_required_parameter", "image"),
            ([("image", b"GIF89a")], {}, "unsupported_file_mimetype", "image"),
            ([("image[]", PNG)] * 17, {}, "invalid_value", "image"),
            ([("image", PNG), ("mask", draw("a", 32, 64))], {}, "invalid_mask_image_format", "mask"),
            ([("image", PNG), ("mask", b"\xff\xd8\xff")], {}, "invalid_mask_image_format", "mask"),
            ([("image", PNG)], {"n": "many"}, "invalid_type", "n"),
            ([("image", PNG)], {"n": "11"}, "invalid_value", "n"),
            ([("image", PNG)], {"style": "vivid"}, "unknown_parameter", "style"),
        ],
    )
    def test_mistakes(self, emulated, files, fields, code, param):
        refused(edit(emulated, *files, **fields), code, param)

    def test_json_is_no_form(self, emulated):
        async def main(caller):
            body = {"model": "gpt-image-1", "prompt": "x"}
            answer = await caller.ask("POST", "/openai/v1/images/edits", json=body)
            assert (answer.status, answer.error["code"]) == (415, "unsupported_content_type")

        emulated(main)

    def test_the_journal_keeps_no_pictures(self, emulated):
        journal = []
        edit(emulated, ("image[]", PNG), journal=journal)
        body = {"prompt": "a dog", "model": "gpt-image-1"}
        files = [("image[]", {"filename": "image.png", "content_type": "image/png", "bytes": len(PNG)})]
        assert journal[0].body == {**body, "files": files}
