"""Image requests: how many calls they become, and what becomes of images that a filter holds back."""

from __future__ import annotations

import asyncio
import json

import pytest
from apex_llm_bedrock.families import family_of
from apex_llm_bedrock.images import generate_images
from apex_llm_bedrock.model_ids import parse_model_id
from apex_llm_bedrock.models import Model
from apex_llm_bedrock.settings import BedrockSettings

from apex_llm_core.errors import ContentFilterError, InvalidRequestError, RateLimitError, ServiceUnavailableError
from apex_llm_core.models import ImageGenerationOptions, ImagePart, ImageRequest
from apex_llm_core.testing import make_context, run_virtual

CANVAS = "amazon.nova-canvas-v1:0"
SD3 = "stability.sd3-5-large-v1:0"
PNG = "iVBORw0KGgo="
JPEG = "/9j/4AA="
PICTURE = ImagePart(data="QUJD" * 1000, media_type="image/png")
SOME = "Some of the generated images have been blocked by our content filters."


class Response:
    def __init__(self, document, headers):
        self.document = document
        self.headers = headers


class FakeClient:
    """Gives the *answers* in turn; one that is an error is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []
        self.sizes = []
        self.headers = []
        self.most = 0
        self._now = 0

    async def call(self, model, operation, document, context, *, headers=None, size=0):
        assert operation == "invoke"
        answer = self.answers[len(self.calls) % len(self.answers)]
        self.calls.append(document)
        self.sizes.append(size)
        self.headers.append(headers)
        number = len(self.calls)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(1)
        finally:
            self._now -= 1
        if isinstance(answer, Exception):
            raise answer
        return Response(answer, {"x-amzn-requestid": f"req-{number}"})

    async def read(self, response):
        return response.document


def run(client, prompt="A boat", *, model=CANVAS, context=None, settings=None, base="", **options):
    request = ImageRequest(prompt=prompt, model="m", options=ImageGenerationOptions(**options))
    meant = Model(
        name=model, id=parse_model_id(model), family=family_of(base or model), base=base or model, invoke_format=""
    )
    return run_virtual(
        generate_images(
            client,
            request,
            context or make_context(),
            model=meant,
            provider="aws",
            model_name="m",
            settings=BedrockSettings(**(settings or {})),
        )
    )


def drawn(image=PNG, seed=5):
    return {"images": [image], "seeds": [seed], "finish_reasons": [None]}


FILTERED = {"finish_reasons": ["Filter reason: output image"]}


def test_amazon_draws_several_in_one_call():
    client = FakeClient({"images": [PNG, PNG], "error": None})
    result = run(client, n=2, size="1024x1024")
    assert result.images == (PNG, PNG)
    assert (result.model, result.provider, result.request_id, result.media_type) == ("m", "aws", "req-1", "image/png")
    assert result.usage is None
    assert result.details is None
    assert len(client.calls) == 1


def test_stability_draws_one_a_call():
    client = FakeClient(drawn(JPEG, 1), drawn(JPEG, 2), drawn(JPEG, 3))
    result = run(client, model=SD3, n=3, settings={"embedding_concurrency": 2})
    assert result.images == (JPEG,) * 3
    assert result.media_type == "image/jpeg"
    assert result.details == {"seeds": [1, 2, 3]}
    assert client.most == 2


def test_a_model_behind_a_profile_is_known_by_its_base_model():
    client = FakeClient(drawn())
    profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"
    with pytest.raises(InvalidRequestError, match="from text alone"):
        run(client, model=profile, base="stability.stable-image-core-v1:1", images=[PICTURE])
    assert client.calls == []


def test_what_a_filter_leaves_is_returned_with_a_note():
    result = run(FakeClient({"images": [PNG], "error": SOME}), n=2)
    assert result.images == (PNG,)
    assert result.details == {"held_back": [SOME]}
    result = run(FakeClient(drawn(), FILTERED, drawn(seed=6)), model=SD3, n=3)
    assert result.images == (PNG, PNG)
    assert result.details == {"held_back": ["Filter reason: output image"], "seeds": [5, 6]}


@pytest.mark.parametrize(
    ("model", "answer", "says"),
    [
        (
            CANVAS,
            {"images": [], "error": "All of the generated images have been blocked by our content filters."},
            "All",
        ),
        (CANVAS, {"error": "All of the generated images have been blocked by our content filters."}, "All"),
        (SD3, FILTERED, "Filter reason: output image"),
        (SD3, {"seeds": [1], "finish_reasons": ["Filter reason: prompt"], "images": []}, "Filter reason: prompt"),
        (SD3, {"finish_reasons": ["Filter reason: input image"]}, "Filter reason: input image"),
    ],
)
def test_nothing_left_by_a_filter_is_its_error(model, answer, says):
    with pytest.raises(ContentFilterError, match=says) as raised:
        run(FakeClient(answer), model=model, n=2)
    assert raised.value.status_code == 200
    assert raised.value.request_id == "req-1"
    assert not raised.value.retryable
    assert raised.value.details["held_back"]


def test_images_that_were_paid_for_are_not_drawn_again():
    # After the failure the third call does not begin.
    broken = {"finish_reasons": ["Inference error"]}
    client = FakeClient(drawn(seed=1), broken, drawn(seed=2), drawn(seed=3))
    context = make_context()
    with pytest.raises(ServiceUnavailableError, match="Inference error"):
        run(client, model=SD3, n=3, context=context, settings={"embedding_concurrency": 1})
    result = run(client, model=SD3, n=3, context=context, settings={"embedding_concurrency": 1})
    assert len(client.calls) == 4
    assert result.details == {"seeds": [1, 2, 3]}


def test_calls_under_way_end_when_another_one_fails():
    broken = {"finish_reasons": ["Inference error"]}
    client = FakeClient(drawn(seed=1), broken, drawn(seed=3), drawn(seed=2))
    context = make_context()
    with pytest.raises(ServiceUnavailableError, match="Inference error"):
        run(client, model=SD3, n=3, context=context)
    result = run(client, model=SD3, n=3, context=context)
    assert (len(client.calls), result.details) == (4, {"seeds": [1, 2, 3]})


def test_another_prompt_in_the_same_request_is_drawn_anew():
    client = FakeClient(drawn(seed=1), drawn(seed=2))
    context = make_context()
    first = run(client, "a boat", model=SD3, context=context)
    second = run(client, "a ship", model=SD3, context=context)
    assert (first.details, second.details) == ({"seeds": [1]}, {"seeds": [2]})


def test_the_guardrail_and_the_like_are_asked_for_by_headers():
    client = FakeClient(drawn())
    settings = {"guardrail_identifier": "abc", "guardrail_version": "1", "service_tier": "flex"}
    run(client, settings=settings, user="u1")
    [headers] = client.headers
    assert headers["X-Amzn-Bedrock-GuardrailIdentifier"] == "abc"
    assert headers["X-Amzn-Bedrock-Service-Tier"] == "flex"
    assert json.loads(headers["X-Amzn-Bedrock-Request-Metadata"]) == {"user": "u1"}


def test_a_user_that_fits_no_header_is_told():
    with pytest.raises(InvalidRequestError, match=r"user \(only the characters of AWS's metadata"):
        run(FakeClient(drawn()), user="é")
    client = FakeClient(drawn())
    result = run(client, user="é", settings={"unsupported_parameters": "drop"})
    assert (client.headers, result.details["dropped_parameters"]) == ([None], ["user"])


def test_other_errors_pass():
    with pytest.raises(RateLimitError):
        run(FakeClient(RateLimitError("slow down")))


def test_dropped_options_are_told():
    result = run(FakeClient(drawn()), model=SD3, style="vivid", settings={"unsupported_parameters": "drop"})
    assert result.details == {"seeds": [5], "dropped_parameters": ["style"]}
    with pytest.raises(InvalidRequestError, match="style"):
        run(FakeClient(drawn()), model=SD3, style="vivid")


def test_pictures_go_as_they_came_and_their_size_is_told():
    client = FakeClient({"images": [PNG]})
    run(client, images=[PICTURE], mask=PICTURE)
    params = client.calls[0]["inPaintingParams"]
    assert params["image"] is PICTURE.data
    assert client.sizes[0] == 2 * len(PICTURE.data) + len("A boat")


def test_an_unknown_beginning_is_taken_for_png():
    assert run(FakeClient({"images": ["AAAA"]})).media_type == "image/png"
