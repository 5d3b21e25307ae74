"""Bodies and answers of image models."""

from __future__ import annotations

import pytest
from apex_llm_bedrock.amazon_images import TASKS
from apex_llm_bedrock.families import FAMILIES
from apex_llm_bedrock.image_formats import Drawn, image_calls, media_type, read_drawn
from apex_llm_bedrock.image_sizes import RATIOS, UnfitSizeError, pixels, ratio
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import InvalidRequestError, ServiceUnavailableError
from apex_llm_core.models import ImageGenerationOptions, ImagePart, ImageRequest

CANVAS = "amazon.nova-canvas-v1:0"
TITAN = "amazon.titan-image-generator-v2:0"
SD3 = "stability.sd3-5-large-v1:0"
CORE = "stability.stable-image-core-v1:1"
ULTRA = "stability.stable-image-ultra-v1:1"
INPAINT = "us.stability.stable-image-inpaint-v1:0"
PICTURE = ImagePart(data="cGljdHVyZQ==", media_type="image/png")
OTHER = ImagePart(data="b3RoZXI=", media_type="image/jpeg")
MASK = ImagePart(data="bWFzaw==", media_type="image/png")
HEADERS = {"x-amzn-requestid": "req-1"}


def calls(base, *, unsupported="error", prompt="A boat", kind="", **options):
    request = ImageRequest(prompt=prompt, model="m", options=ImageGenerationOptions(**options))
    kind = kind or ("amazon" if base.startswith("amazon") else "stability")
    return image_calls(request, kind=kind, base=base, model_name=base, unsupported=unsupported)


def document(base, **more):
    (found,) = calls(base, **more).documents
    return found


def test_families_that_draw_have_bodies():
    assert {family.image for family in FAMILIES.values() if family.image} == {"amazon", "stability"}


def test_a_model_that_draws_nothing_is_refused():
    with pytest.raises(InvalidRequestError, match=r"draws no images.*base_model"):
        calls("anthropic.claude", kind="none")


@pytest.mark.parametrize("base", [CANVAS, TITAN])
def test_the_plainest_body_of_amazon(base):
    assert document(base) == {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "A boat"}}


@pytest.mark.parametrize("base", [SD3, CORE, ULTRA])
def test_the_plainest_body_of_stability(base):
    assert document(base) == {"prompt": "A boat"}


def test_every_option_of_amazon_has_its_place():
    assert document(
        CANVAS,
        size="1280x720",
        n=3,
        seed=7,
        quality="hd",
        style="PHOTOREALISM",
        extra={"negative_prompt": "people", "cfg_scale": 6.5, "conditionImage": "aGk="},
    ) == {
        "taskType": "TEXT_IMAGE",
        "textToImageParams": {
            "text": "A boat",
            "negativeText": "people",
            "conditionImage": "aGk=",
            "style": "PHOTOREALISM",
        },
        "imageGenerationConfig": {
            "width": 1280,
            "height": 720,
            "quality": "premium",
            "seed": 7,
            "cfgScale": 6.5,
            "numberOfImages": 3,
        },
    }


def test_every_option_of_stability_has_its_place():
    found = document(SD3, size="1344x768", seed=7, extra={"negative_prompt": "people", "output_format": "jpeg"})
    assert found == {
        "prompt": "A boat",
        "aspect_ratio": "16:9",
        "negative_prompt": "people",
        "output_format": "jpeg",
        "seed": 7,
    }
    assert document(SD3, extra={"negativeText": "people"})["negative_prompt"] == "people"


def test_many_images_of_amazon_are_calls_of_five_without_repeating_a_seed():
    configs = [one["imageGenerationConfig"] for one in calls(TITAN, n=12, seed=100).documents]
    assert configs == [
        {"numberOfImages": 5, "seed": 100},
        {"numberOfImages": 5, "seed": 105},
        {"numberOfImages": 2, "seed": 110},
    ]


def test_many_images_of_stability_are_calls_without_repeating_a_seed():
    assert [one["seed"] for one in calls(SD3, n=3, seed=100).documents] == [100, 101, 102]
    assert calls(SD3, n=3).documents == ({"prompt": "A boat"},) * 3


@pytest.mark.parametrize(
    ("options", "task", "params"),
    [
        ({"images": [PICTURE, OTHER]}, "IMAGE_VARIATION", {"images": [PICTURE.data, OTHER.data], "text": "A boat"}),
        (
            {"images": [PICTURE], "extra": {"similarityStrength": 0.4}},
            "IMAGE_VARIATION",
            {"images": [PICTURE.data], "text": "A boat", "similarityStrength": 0.4},
        ),
        (
            {"images": [PICTURE], "mask": MASK},
            "INPAINTING",
            {"image": PICTURE.data, "maskImage": MASK.data, "text": "A boat"},
        ),
        (
            {"images": [PICTURE], "extra": {"maskPrompt": "the sky"}},
            "INPAINTING",
            {"image": PICTURE.data, "maskPrompt": "the sky", "text": "A boat"},
        ),
        (
            {"images": [PICTURE], "mask": MASK, "extra": {"task_type": "OUTPAINTING", "outPaintingMode": "PRECISE"}},
            "OUTPAINTING",
            {"image": PICTURE.data, "maskImage": MASK.data, "text": "A boat", "outPaintingMode": "PRECISE"},
        ),
        (
            {"images": [PICTURE], "extra": {"taskType": "BACKGROUND_REMOVAL"}},
            "BACKGROUND_REMOVAL",
            {"image": PICTURE.data},
        ),
        (
            {"extra": {"colors": ["#FF9800"]}},
            "COLOR_GUIDED_GENERATION",
            {"text": "A boat", "colors": ["#FF9800"]},
        ),
        (
            {
                "images": [PICTURE],
                "extra": {"task_type": "VIRTUAL_TRY_ON", "referenceImage": "aGk=", "maskType": "GARMENT"},
            },
            "VIRTUAL_TRY_ON",
            {"sourceImage": PICTURE.data, "referenceImage": "aGk=", "maskType": "GARMENT"},
        ),
    ],
)
def test_what_comes_with_the_prompt_decides_the_task(options, task, params):
    assert document(CANVAS, **options) == {"taskType": task, TASKS[task].params: params}


def test_members_of_a_body_may_be_given_whole():
    found = document(
        CANVAS,
        size="512x512",
        extra={"textToImageParams": {"negativeText": "x"}, "imageGenerationConfig": {"cfgScale": 3}},
    )
    assert found["textToImageParams"] == {"text": "A boat", "negativeText": "x"}
    assert found["imageGenerationConfig"] == {"width": 512, "height": 512, "cfgScale": 3}
    with pytest.raises(InvalidRequestError, match="imageGenerationConfig is 5"):
        document(CANVAS, extra={"imageGenerationConfig": 5})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"extra": {"task_type": "OUTPAINT"}}, "did you mean 'OUTPAINTING'"),
        ({"images": [PICTURE, OTHER], "mask": MASK}, "INPAINTING takes one, not 2"),
        ({"images": [PICTURE], "extra": {"task_type": "TEXT_IMAGE"}}, "TEXT_IMAGE takes none"),
        (
            {"images": [PICTURE], "mask": MASK, "extra": {"task_type": "IMAGE_VARIATION"}},
            "mask: IMAGE_VARIATION takes none",
        ),
        ({"quality": "best"}, "quality is 'best'; valid: premium, standard"),
        ({"extra": {"text": "another"}}, "extra may not set text"),
        ({"size": "big"}, "size is 'big'; expected WIDTHxHEIGHT"),
        ({"size": "0x100"}, "expected WIDTHxHEIGHT"),
    ],
)
def test_what_amazon_cannot_do_is_refused(options, says):
    with pytest.raises(InvalidRequestError, match=says):
        calls(CANVAS, unsupported="drop", **options)


@pytest.mark.parametrize(("said", "sent"), [("standard", "standard"), ("low", "standard"), ("high", "premium")])
def test_qualities_of_other_services_are_understood(said, sent):
    assert document(CANVAS, quality=said)["imageGenerationConfig"] == {"quality": sent}


def test_automatic_choices_are_left_to_the_model():
    assert document(CANVAS, size="auto", quality="auto") == document(CANVAS)
    assert document(SD3, size="auto", quality="auto") == document(SD3)


@pytest.mark.parametrize(
    ("base", "options", "lost"),
    [
        (TITAN, {"style": "vivid"}, ("style",)),
        (CANVAS, {"style": "vivid", "images": [PICTURE]}, ("style",)),
        (CANVAS, {"size": "100x100"}, ("size",)),
        (TITAN, {"size": "1000x1000"}, ("size",)),
        (SD3, {"size": "1000x100"}, ("size",)),
        (SD3, {"style": "vivid", "quality": "hd"}, ("quality", "style")),
        (SD3, {"images": [PICTURE], "size": "1024x1024"}, ("size",)),
        (
            CANVAS,
            {"images": [PICTURE], "extra": {"task_type": "BACKGROUND_REMOVAL"}, "size": "512x512", "n": 2, "seed": 1},
            ("size", "seed", "n"),
        ),
    ],
)
def test_options_without_a_place_are_refused_or_dropped_and_told(base, options, lost):
    with pytest.raises(InvalidRequestError) as raised:
        calls(base, **options)
    assert lost[0] in str(raised.value)
    found = calls(base, unsupported="drop", **options)
    assert found.dropped == lost
    assert len(found.documents) == 1
    assert "width" not in str(found.documents)


def test_stability_redraws_a_picture():
    assert document(SD3, images=[PICTURE]) == {
        "prompt": "A boat",
        "image": PICTURE.data,
        "mode": "image-to-image",
        "strength": 0.7,
    }
    assert document(SD3, images=[PICTURE], extra={"strength": 0.2})["strength"] == 0.2


def test_stabilitys_editors_take_picture_and_mask():
    assert document(INPAINT, kind="stability", images=[PICTURE], mask=MASK) == {
        "prompt": "A boat",
        "image": PICTURE.data,
        "mask": MASK.data,
    }


@pytest.mark.parametrize(
    ("base", "options", "says"),
    [
        (CORE, {"images": [PICTURE]}, "from text alone; use 'stability.sd3-5"),
        (SD3, {"images": [PICTURE, OTHER]}, "one picture, not 2"),
        (SD3, {"images": [PICTURE], "mask": MASK}, "mask: the model takes none; use"),
        (SD3, {"extra": {"prompt": "x"}}, "extra may not set prompt"),
        (SD3, {"size": "wide"}, "expected WIDTHxHEIGHT"),
    ],
)
def test_what_stability_cannot_do_is_refused(base, options, says):
    with pytest.raises(InvalidRequestError, match=says):
        calls(base, unsupported="drop", **options)


@pytest.mark.parametrize(
    ("size", "found"),
    [
        ("1024x1024", "1:1"),
        ("512X512", "1:1"),
        ("1792x1024", "16:9"),
        ("1024x1792", "9:16"),
        ("1536x1024", "3:2"),
        ("1920x1080", "16:9"),
        ("16:9", "16:9"),
        ("4:2", None),
        ("1600x1000", None),
        ("5000x100", None),
    ],
)
def test_stability_draws_proportions(size, found):
    if found is None:
        with pytest.raises(UnfitSizeError, match=", ".join(RATIOS)):
            ratio(size)
    else:
        assert ratio(size) == found


@pytest.mark.parametrize("known", RATIOS)
def test_every_proportion_stands_for_itself(known):
    across, down = map(int, known.split(":"))
    assert ratio(known) == known
    assert ratio(f"{across * 100}x{down * 100}") == known


@pytest.mark.parametrize(
    ("model", "size", "fits"),
    [
        (CANVAS, "1024x1024", True),
        (CANVAS, "320x1280", True),
        (CANVAS, "4096x1024", True),
        (CANVAS, "2048x2048", True),
        (CANVAS, "4096x1040", False),
        (CANVAS, "320x1296", False),
        (CANVAS, "304x304", False),
        (CANVAS, "1000x1024", False),
        (TITAN, "1173x640", True),
        (TITAN, "1280x768", True),
        (TITAN, "1024x768", False),
        ("", "17x99", True),
    ],
)
def test_sizes_in_pixels(model, size, fits):
    if fits:
        assert pixels(size, model) == tuple(map(int, size.split("x")))
    else:
        with pytest.raises(UnfitSizeError, match=r"\d+x\d+"):
            pixels(size, model)


def test_the_nearest_size_is_named():
    with pytest.raises(UnfitSizeError, match="the nearest is '1280x768'"):
        pixels("1280x800", TITAN)


BLOCKED = "All of the generated images have been blocked by our content filters."


@pytest.mark.parametrize(
    ("answer", "drawn"),
    [
        ({"images": ["a", "b"], "error": None}, Drawn(("a", "b"), (), ())),
        ({"images": [], "error": BLOCKED}, Drawn((), (BLOCKED,), ())),
        ({"images": ["a"], "error": "Some of the generated images have been blocked by our content filters."}, None),
        ({"images": ["a"], "seeds": [5], "finish_reasons": [None]}, Drawn(("a",), (), (5,))),
        ({"finish_reasons": ["Filter reason: prompt"]}, Drawn((), ("Filter reason: prompt",), ())),
        ({"images": [""], "finish_reasons": ["Filter reason: output image"], "seeds": [5]}, None),
        ({"images": ["blurred"], "finish_reasons": ["Filter reason: output image"]}, None),
    ],
)
def test_every_good_answer_is_looked_into(answer, drawn):
    found = read_drawn(answer, HEADERS)
    if drawn is not None:
        assert found == drawn
    else:
        assert len(found.held_back) == 1
        assert found.images in ((), ("a",))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"images": [], "seeds": [1], "finish_reasons": ["Inference error"]}, "Inference error"),
        ({"finish_reasons": ["Inference error"]}, "Inference error"),
        ({"images": [], "error": "Unexpected error generating images."}, "Unexpected error"),
        ({"images": []}, "does not say why"),
        ({}, "does not say why"),
        ({"images": "a"}, "unknown form"),
        ({"images": [5]}, "no text"),
        ({"images": ["a"], "finish_reasons": "no"}, "unknown form"),
    ],
)
def test_answers_without_images_and_without_a_filter_are_a_broken_service(answer, says):
    with pytest.raises(ServiceUnavailableError, match=says) as raised:
        read_drawn(answer, HEADERS)
    assert raised.value.request_id == "req-1"
    # What cannot be read has been paid for; what says that it failed may go better next time.
    assert raised.value.retryable is ("error" in says)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("iVBORw0KGgoAAA", "image/png"),
        ("/9j/4AAQ", "image/jpeg"),
        ("UklGRhIAAA", "image/webp"),
        ("R0lGOD", None),
        ("", None),
    ],
)
def test_the_type_of_a_picture_is_in_its_beginning(data, kind):
    assert media_type(data) == kind


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["images", "error", "finish_reasons", "seeds"]), JSON))
def test_whatever_comes_is_images_or_the_word_of_a_filter_or_an_error(answer):
    try:
        found = read_drawn(answer, {})
    except ServiceUnavailableError:
        return
    assert found.images or found.held_back
    assert all(isinstance(image, str) and image for image in found.images)


@given(st.integers(1, 40), st.integers(0, 1000))
def test_all_images_are_asked_for_and_no_seed_twice(count, seed):
    documents = calls(CANVAS, n=count, seed=seed).documents
    configs = [one["imageGenerationConfig"] for one in documents]
    assert sum(config.get("numberOfImages", 1) for config in configs) == count
    assert len({config["seed"] for config in configs}) == len(configs)
