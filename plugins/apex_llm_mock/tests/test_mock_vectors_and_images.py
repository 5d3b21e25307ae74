from __future__ import annotations

import base64
import math
import struct
import zlib
from itertools import pairwise

import pytest
from apex_llm_mock import images, vectors
from hypothesis import given, settings
from hypothesis import strategies as st

from apex_llm_core.errors import ContextLengthExceededError, InvalidRequestError

texts = st.text(st.characters(exclude_categories=()), max_size=50)


@settings(deadline=None)
@given(texts, st.integers(1, 300), st.integers())
def test_vectors_have_the_length_one_and_are_stable(text, dimensions, seed):
    vector = vectors.embed(text, dimensions=dimensions, seed=seed)
    assert len(vector) == dimensions
    assert math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-12)
    assert vector == vectors.embed(text, dimensions=dimensions, seed=seed)


@settings(deadline=None)
@given(texts, st.integers(1, 50), st.integers(51, 100))
def test_a_shorter_vector_is_the_normalised_beginning_of_a_longer_one(text, short, long):
    beginning = vectors.embed(text, dimensions=long, seed=0)[:short]
    length = math.hypot(*beginning)
    assert vectors.embed(text, dimensions=short, seed=0) == pytest.approx([number / length for number in beginning])


def test_vectors_are_spread_and_differ_by_text_and_seed():
    found = [vectors.embed(str(number), dimensions=256, seed=0) for number in range(50)]
    products = [sum(map(float.__mul__, one, other)) for one, other in pairwise(found)]
    assert max(map(abs, products)) < 0.3
    assert vectors.embed("0", dimensions=256, seed=1) != found[0]


def test_the_provider_embeds(mock):
    result = mock(embedding_dimensions=12).embed("a", "b" * 9, "a")
    assert [len(vector) for vector in result.embeddings] == [12, 12, 12]
    assert result.embeddings[0] == result.embeddings[2] != result.embeddings[1]
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (5, 0)
    assert len(mock().embed("a", dimensions=3).embedding) == 3


def test_what_cannot_be_embedded_is_refused(mock):
    with pytest.raises(InvalidRequestError, match="dimensions is 8193"):
        mock().embed("a", dimensions=8193)
    with pytest.raises(ContextLengthExceededError, match="'mock-embed' has 8192"):
        mock().embed("a", "b" * 4 * 8192)


def decode(data):
    """Decode a PNG of one bit a pixel with a palette, and check everything on the way."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = [], 8
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length) == (zlib.crc32(kind + content),)
        chunks.append((kind, content))
        place += 12 + length
    assert place == len(data)
    assert [kind for kind, _ in chunks] == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, depth, colour_type, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, colour_type, rest) == (1, 3, [0, 0, 0])
    assert len(chunks[1][1]) == 6
    raw, stride = zlib.decompress(chunks[2][1]), (width + 7) // 8 + 1
    assert len(raw) == stride * height
    rows = [raw[start : start + stride] for start in range(0, len(raw), stride)]
    assert {row[0] for row in rows} == {0}
    return [[row[1 + x // 8] >> (7 - x % 8) & 1 for x in range(width)] for row in rows]


@settings(deadline=None)
@given(texts, st.integers(1, 70), st.integers(1, 70))
def test_images_decode_to_the_asked_size(key, width, height):
    rows = decode(images.draw(key, width, height))
    assert (len(rows), {len(row) for row in rows}) == (height, {width})


def test_images_differ_and_are_symmetric():
    rows = decode(images.draw("a cat", 64, 64))
    assert all(row == row[::-1] for row in rows)
    assert {pixel for row in rows for pixel in row} == {0, 1}
    assert images.draw("a cat", 64, 64) == images.draw("a cat", 64, 64) != images.draw("a dog", 64, 64)


def test_the_provider_draws(mock):
    own = mock(image_size="40x20")
    result = own.image(n=3)
    assert result.media_type == "image/png"
    assert len(set(result.images)) == 3
    assert all(len(decode(base64.b64decode(image))) == 20 for image in result.images)
    # Two tiles of 32 by 32 pixels each.
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (2, 6)
    assert own.image().images[0] == result.images[0] != mock(seed=1, image_size="40x20").image().images[0]
    assert len(decode(base64.b64decode(own.image(size="8x9").images[0]))) == 9


@pytest.mark.parametrize("size", ["big", "10", "10x", "0x10", "10x4096", "-1x5", "10x10x10", "\u0661x\u0662"])
def test_a_wrong_size_is_refused(mock, size):
    with pytest.raises(InvalidRequestError, match="size is"):
        mock().image(size=size)


def test_too_many_images_are_refused(mock):
    with pytest.raises(InvalidRequestError, match="n is 11"):
        mock().image(n=11)
