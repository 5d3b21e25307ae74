from __future__ import annotations

import pytest
from apex_llm_gateway.openai.logprobs import LEAST, chat_logprobs, completion_logprobs, tokens_of
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.chat_completion import ChoiceLogprobs
from openai.types.completion_choice import Logprobs

NUMBERS = st.floats() | st.integers(-100, 0)
ENTRIES = st.fixed_dictionaries(
    {"token": st.text(max_size=5), "logprob": NUMBERS},
    optional={
        "bytes": st.none() | st.lists(st.integers(0, 255), max_size=5),
        "top_logprobs": st.lists(st.fixed_dictionaries({"token": st.text(max_size=5), "logprob": NUMBERS}), max_size=3),
    },
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["content", "refusal", "tokens", "token_logprobs", "top_logprobs", "token", "logprob", "bytes"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
HELLO = {"token": "Hel", "logprob": -0.5, "bytes": [72, 101, 108], "top_logprobs": []}
LO = {
    "token": "lo",
    "logprob": -0.25,
    "bytes": None,
    "top_logprobs": [{"token": "lo", "logprob": -0.25, "bytes": None}, {"token": "p", "logprob": -3.0, "bytes": [112]}],
}


class TestChatForm:
    def test_its_own_form_is_kept(self):
        assert chat_logprobs({"content": [HELLO, LO], "refusal": None}) == {"content": [HELLO, LO], "refusal": None}

    def test_refusals_are_kept_apart(self):
        assert chat_logprobs({"content": None, "refusal": [LO]}) == {"content": None, "refusal": [LO]}

    def test_a_bare_list_gets_its_frame(self):
        told = chat_logprobs([{"token": "a", "logprob": -1}])

        assert told == {
            "content": [{"token": "a", "logprob": -1, "bytes": None, "top_logprobs": []}],
            "refusal": None,
        }

    def test_the_form_of_completions_is_turned_around(self):
        told = chat_logprobs(
            {"tokens": ["a", "b"], "token_logprobs": [None, -2.0], "top_logprobs": [None, {"b": -2.0, "c": -3.0}]}
        )

        # Nothing is before the first token, so it has no probability.
        assert [entry["token"] for entry in told["content"]] == ["b"]
        assert [other["token"] for other in told["content"][0]["top_logprobs"]] == ["b", "c"]

    @pytest.mark.parametrize("value", [float("-inf"), float("inf"), float("nan")])
    def test_numbers_json_does_not_have_become_the_least(self, value):
        assert chat_logprobs([{"token": "a", "logprob": value}])["content"][0]["logprob"] == LEAST

    @pytest.mark.parametrize(
        "given_",
        [
            None,
            [],
            {},
            "likely",
            -1.5,
            [1, 2],
            [{"token": "a"}],
            [{"token": "a", "logprob": True}],
            {"content": "a"},
            {"tokens": ["a"]},
            {"tokens": ["a"], "token_logprobs": [-1, -2]},
        ],
    )
    def test_what_nobody_can_read_is_left_out(self, given_):
        assert chat_logprobs(given_) is None
        assert completion_logprobs(tokens_of(given_)) is None

    @given(entries=st.lists(ENTRIES, max_size=4))
    def test_every_entry_arrives_in_the_official_type(self, entries):
        told = chat_logprobs({"content": entries})

        if not entries:
            assert told is None
        else:
            parsed = ChoiceLogprobs.model_validate(told, strict=True)
            assert [entry.token for entry in parsed.content] == [entry["token"] for entry in entries]

    @given(junk=JUNK)
    def test_nothing_a_plugin_gives_breaks_an_answer(self, junk):
        ChoiceLogprobs.model_validate(chat_logprobs(junk) or {}, strict=True)
        Logprobs.model_validate(completion_logprobs(tokens_of(junk)) or {}, strict=True)


class TestCompletionForm:
    def test_the_form_of_chats_is_turned_around(self):
        told = completion_logprobs(tokens_of({"content": [HELLO, LO]}))

        assert told == {
            "tokens": ["Hel", "lo"],
            "token_logprobs": [-0.5, -0.25],
            "top_logprobs": [{}, {"lo": -0.25, "p": -3.0}],
            "text_offset": [0, 3],
        }

    def test_without_alternatives_there_are_none(self):
        assert completion_logprobs(tokens_of([HELLO]))["top_logprobs"] is None

    def test_offsets_count_on_from_the_start(self):
        assert completion_logprobs(tokens_of([HELLO, LO, HELLO]), 10)["text_offset"] == [10, 13, 15]

    @given(entries=st.lists(ENTRIES, min_size=1, max_size=4))
    def test_both_forms_tell_the_same(self, entries):
        there = completion_logprobs(tokens_of(entries))
        back = tokens_of(there)

        assert [(token.text, token.logprob) for token in back] == [
            (token.text, token.logprob) for token in tokens_of(entries)
        ]
        Logprobs.model_validate(there, strict=True)
