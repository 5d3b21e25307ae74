"""Images through InvokeModel of the Bedrock emulator."""

from __future__ import annotations

import io
import json
from base64 import b64decode, b64encode

import pytest
from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.bedrock.filters import MARKS
from apex_llm_mock.emulation.bedrock.invoke import serve_invoke
from apex_llm_mock.emulation.bedrock.models import find
from apex_llm_mock.emulation.bedrock.stability_images import SIZES
from apex_llm_mock.images import draw
from apex_llm_mock.replies import Replier
from apex_llm_mock.settings import MockSettings

Image = pytest.importorskip("PIL.Image")

CANVAS, TITAN = "amazon.nova-canvas-v1:0", "amazon.titan-image-generator-v2:0"
SD, CORE, ULTRA = (
    "stability.sd3-5-large-v1:0",
    "stability.stable-image-core-v1:1",
    "stability.stable-image-ultra-v1:1",
)
PNG = b64encode(draw("a", 64, 64)).decode()
ALL = "All of the generated images have been blocked by our content filters."
SOME = "Some of the generated images have been blocked by our content filters."


def invoke(model, body, **more):
    return serve_invoke(find(model), body, key="k", replier=Replier(MockSettings()), **more)


def refused(model, body, code="ValidationException", status=400, **more):
    with pytest.raises(RefusedError) as caught:
        invoke(model, body, **more)
    answer = caught.value.answer
    assert (answer.status, answer.headers["x-amzn-errortype"].split(":")[0]) == (status, code)
    return json.loads(answer.body)["message"]


def text_image(text="a cat", config=None, **more):
    body = {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": text, **more}}
    return body if config is None else {**body, "imageGenerationConfig": config}


def opened(encoded):
    return Image.open(io.BytesIO(b64decode(encoded)))


class TestAmazon:
    @pytest.mark.parametrize("model", [CANVAS, TITAN])
    def test_real_pngs_of_the_size_asked_for(self, model):
        document = invoke(model, text_image(config={"width": 1152, "height": 768, "numberOfImages": 2})).document
        assert document["error"] is None
        assert [opened(image).size for image in document["images"]] == [(1152, 768)] * 2
        assert opened(document["images"][0]).format == "PNG"
        assert document["images"][0] != document["images"][1]

    def test_one_of_1024_pixels_unless_asked_otherwise(self):
        (image,) = invoke(CANVAS, text_image()).document["images"]
        assert opened(image).size == (1024, 1024)

    def test_the_same_request_gives_the_same_image_another_seed_another_one(self):
        found = [invoke(CANVAS, text_image(config={"seed": seed})).document["images"] for seed in (1, 1, 2)]
        assert found[0] == found[1] != found[2]

    @pytest.mark.parametrize("where", ["", "textToImageParams", "imageGenerationConfig"])
    def test_extraneous_keys_are_refused_wherever_they_are(self, where):
        body = text_image(config={})
        (body[where] if where else body)["samples"] = 1
        place = f"#/{where}" if where else "#"
        assert (
            refused(CANVAS, body)
            == f"Malformed input request: {place}: extraneous key [samples] is not permitted, please reformat your input and try again."
        )

    def test_texts_of_canvas_have_1024_characters_those_of_titan_512(self):
        invoke(CANVAS, text_image("x" * 1024))
        assert "expected maxLength: 1024, actual: 1025" in refused(CANVAS, text_image("x" * 1025))
        invoke(TITAN, text_image("x" * 512))
        assert "expected maxLength: 512, actual: 513" in refused(TITAN, text_image("x" * 513))

    def test_one_to_five_images(self):
        assert len(invoke(CANVAS, text_image(config={"numberOfImages": 5})).document["images"]) == 5
        assert "6 is not less or equal to 5" in refused(CANVAS, text_image(config={"numberOfImages": 6}))
        assert "0 is not greater or equal to 1" in refused(CANVAS, text_image(config={"numberOfImages": 0}))

    @pytest.mark.parametrize(
        ("size", "words"),
        [
            ((1000, 1024), "divisible by 16"),
            ((304, 1024), "between 320"),
            ((4096, 1040), "pixels"),
            ((2048, 320), "1:4"),
        ],
    )
    def test_sizes_that_canvas_does_not_make(self, size, words):
        assert words in refused(CANVAS, text_image(config={"width": size[0], "height": size[1]}))

    def test_titan_makes_certain_sizes_only(self):
        assert "720x720 is not supported" in refused(TITAN, text_image(config={"width": 720, "height": 720}))

    def test_a_blocked_prompt_is_an_error(self):
        message = "This request has been blocked by our content filters. Please adjust your text prompt to submit a new request."
        assert refused(CANVAS, text_image("a cat [blocked prompt]")) == message
        assert refused(CANVAS, text_image(), blocked="prompt") == message
        assert "adjust your input image" in refused(CANVAS, text_image(), blocked="input_image")

    def test_blocked_images_are_told_with_status_200(self):
        config = {"numberOfImages": 3}
        document = invoke(CANVAS, text_image("a cat [blocked image]", config)).document
        assert document == {"images": [], "error": ALL}
        document = invoke(CANVAS, text_image("a cat [blocked some]", config)).document
        assert (len(document["images"]), document["error"]) == (2, SOME)
        assert invoke(CANVAS, text_image(), blocked="images").document["error"] == ALL

    def test_of_one_image_some_are_all(self):
        assert invoke(CANVAS, text_image("[blocked some]")).document == {"images": [], "error": ALL}

    def test_a_failing_model_is_an_error(self):
        refused(CANVAS, text_image("[failed image]"), code="ModelErrorException", status=424)

    @pytest.mark.parametrize(
        ("task", "member", "parameters"),
        [
            ("COLOR_GUIDED_GENERATION", "colorGuidedGenerationParams", {"text": "a", "colors": ["#ff0000"]}),
            ("IMAGE_VARIATION", "imageVariationParams", {"images": [PNG]}),
            ("INPAINTING", "inPaintingParams", {"image": PNG, "text": "a", "maskPrompt": "b"}),
            ("OUTPAINTING", "outPaintingParams", {"image": PNG, "text": "a", "maskPrompt": "b"}),
            ("BACKGROUND_REMOVAL", "backgroundRemovalParams", {"image": PNG}),
        ],
    )
    @pytest.mark.parametrize("model", [CANVAS, TITAN])
    def test_all_tasks(self, model, task, member, parameters):
        assert len(invoke(model, {"taskType": task, member: parameters}).document["images"]) == 1
        assert f"required key [{member}] not found" in refused(model, {"taskType": task})

    def test_trying_on_clothes_is_canvas_alone(self):
        body = {
            "taskType": "VIRTUAL_TRY_ON",
            "virtualTryOnParams": {"sourceImage": PNG, "referenceImage": PNG, "maskType": "GARMENT"},
        }
        assert invoke(CANVAS, body).document["images"]
        assert "VIRTUAL_TRY_ON is not a valid enum value" in refused(TITAN, body)

    def test_images_in_requests_must_be_images(self):
        body = {"taskType": "IMAGE_VARIATION", "imageVariationParams": {"images": [PNG, "AAAA"]}}
        assert "Unable to decode the image in images" in refused(CANVAS, body)


class TestStability:
    @pytest.mark.parametrize("model", [SD, CORE, ULTRA])
    def test_one_image_with_its_seed(self, model):
        document = invoke(model, {"prompt": "a cat", "seed": 7}).document
        assert document["seeds"] == [7]
        assert document["finish_reasons"] == [None]
        assert opened(*document["images"]).size == (1024, 1024)

    @pytest.mark.parametrize("ratio", SIZES)
    def test_aspect_ratios(self, ratio):
        width, height = map(int, ratio.split(":"))
        size = opened(*invoke(SD, {"prompt": "a", "aspect_ratio": ratio}).document["images"]).size
        assert size[0] / size[1] == pytest.approx(width / height, rel=0.05)

    @pytest.mark.parametrize(("wanted", "got"), [("png", "PNG"), ("jpeg", "JPEG")])
    def test_formats(self, wanted, got):
        picture = opened(*invoke(SD, {"prompt": "a", "output_format": wanted}).document["images"])
        picture.load()
        assert picture.format == got

    def test_a_seed_is_chosen_when_none_is_given(self):
        (seed,) = invoke(SD, {"prompt": "a"}).document["seeds"]
        assert 0 < seed < 2**32
        assert invoke(SD, {"prompt": "a", "seed": 0}).document["seeds"] == [seed]

    @pytest.mark.parametrize(
        ("mark", "reason"),
        [
            ("[blocked prompt]", "Filter reason: prompt"),
            ("[blocked image]", "Filter reason: output image"),
            ("[blocked input image]", "Filter reason: input image"),
            ("[failed image]", "Inference error"),
        ],
    )
    def test_filters_strike_with_status_200_and_without_images(self, mark, reason):
        for document in (
            invoke(SD, {"prompt": f"a cat {mark}"}).document,
            invoke(SD, {"prompt": "a cat"}, blocked=MARKS[mark]).document,
        ):
            assert document["finish_reasons"] == [reason]
            assert "images" not in document

    def test_images_from_images(self):
        body = {"prompt": "a", "mode": "image-to-image", "image": PNG, "strength": 0.5}
        assert invoke(SD, body).document["images"]
        assert "aspect_ratio" in refused(SD, {**body, "aspect_ratio": "1:1"})
        assert "required key [strength]" in refused(SD, {"prompt": "a", "image": PNG})
        assert "required key [image]" in refused(SD, {"prompt": "a", "mode": "image-to-image"})
        assert "extraneous key [image]" in refused(CORE, body)

    def test_mistakes_get_the_words_of_bedrock(self):
        assert "#: required key [prompt] not found, #: extraneous key [text] is not permitted" in refused(
            SD, {"text": "a"}
        )
        assert "#/aspect_ratio: 4:3 is not a valid enum value" in refused(SD, {"prompt": "a", "aspect_ratio": "4:3"})
        assert "expected maxLength: 10000, actual: 10001" in refused(SD, {"prompt": "x" * 10_001})
