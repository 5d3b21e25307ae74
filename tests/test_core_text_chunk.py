import attrs
import pytest

from apex_llm_core.models import ChatGenerationChunk, text_chunk, text_chunks


@pytest.mark.parametrize(("text", "index"), [("", 0), ("word", 0), ("é\ud83d", 3)])
def test_a_chunk_made_quickly_is_one_made_by_its_constructor(text, index):
    quick, whole = text_chunk(text, index), ChatGenerationChunk(text=text, index=index)
    assert type(quick) is ChatGenerationChunk
    assert quick == whole
    assert repr(quick) == repr(whole)
    assert hash(quick) == hash(whole)
    # A field that it forgets would be missing.
    assert attrs.asdict(quick) == attrs.asdict(whole)


@pytest.mark.parametrize("texts", [[], ["a"], ["a", "", "é\ud83d"]])
def test_many_at_once_are_the_same(texts):
    assert text_chunks(iter(texts), 2) == [ChatGenerationChunk(text=text, index=2) for text in texts]


def test_it_is_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        text_chunk("word").text = "other"
