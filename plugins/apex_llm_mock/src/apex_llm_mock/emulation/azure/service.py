"""What Azure OpenAI does with a request that came in: finds the deployment, counts its limits, answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apex_llm_mock.emulation.answers import RefusedError, WholeAnswer, document_answer
from apex_llm_mock.emulation.azure import images
from apex_llm_mock.emulation.azure.catalogue import model_item, model_list
from apex_llm_mock.emulation.azure.chat import Completion, completion
from apex_llm_mock.emulation.azure.embeddings import embeddings
from apex_llm_mock.emulation.azure.errors import deployment_not_found, front_door, refusal
from apex_llm_mock.emulation.azure.limits import RateLimit
from apex_llm_mock.emulation.azure.models import STAND_INS, BaseModel, Kind, base_model
from apex_llm_mock.emulation.azure.routes import Route
from apex_llm_mock.emulation.azure.throttling import limited_message
from apex_llm_mock.emulation.fault_orders import PREFIX
from apex_llm_mock.emulation.incoming import Form
from apex_llm_mock.replies import Replier

_KINDS: dict[str, Kind] = {"chat/completions": "chat", "embeddings": "embeddings"}
_UPLOADS = ("image", "image[]")


class AzureService:
    """One resource with its deployments.

    Args:
        deployments: base models by the deployments' names.
        limits: requests and tokens per minute of each deployment.
        replier: writes the answers.
        seed: changes vectors and images.
        clock: seconds, for the limits.
        wall: seconds since 1970, for the time of answers.
        publish: keeps an image and returns its URL.
    """

    def __init__(
        self,
        *,
        deployments: Mapping[str, str],
        limits: tuple[int, int],
        replier: Replier,
        seed: int,
        clock: Callable[[], float],
        wall: Callable[[], float],
        publish: images.Publish,
    ) -> None:
        self._deployments = {name: base_model(model) for name, model in deployments.items()}
        self._limits = limits
        self._replier = replier
        self._seed = seed
        self._clock = clock
        self._wall = wall
        self._publish = publish
        self._rates: dict[str, RateLimit] = {}

    def has(self, deployment: str) -> bool:
        """Return whether there is such a deployment, declared or named after a fault."""
        return deployment in self._deployments or deployment.startswith(PREFIX)

    def rate(self, deployment: str) -> RateLimit:
        """Return the account of *deployment*."""
        found = self._rates.get(deployment)
        if found is None:
            requests, tokens = self._limits
            found = self._rates[deployment] = RateLimit(requests=requests, tokens=tokens, clock=self._clock)
        return found

    async def serve(self, route: Route, deployment: str, body: Any, *, key: str) -> WholeAnswer | Completion:
        """Answer *body*, a JSON document or a `Form`; *key* makes ids.

        Raises:
            RefusedError: it is not served; the answer says why.
        """
        if route.operation == "models":
            return document_answer(model_item(route.model) if route.model else model_list())
        model = self._model(route, deployment)
        rate = self.rate(deployment)
        limit = rate.exceeded()
        if limit is not None:
            seconds = max(1, round(rate.reset))
            message = limited_message(limit, f"Please retry after {seconds} seconds. ")
            advice = {"retry-after-ms": str(round(rate.reset * 1000)), "retry-after": str(seconds)}
            raise RefusedError(front_door(429, "429", message, headers=advice))
        if route.operation == "images/edits":
            document = await self._edited(body, model)
        else:
            fields = _object(body)
            if route.operation == "chat/completions":
                answered = completion(fields, route, model, self._replier, key=key, created=int(self._wall()))
                rate.spend(answered.usage.total_tokens)
                return answered
            if route.operation == "embeddings":
                document = await embeddings(fields, model, seed=self._seed)
            else:
                document = await images.generated(
                    fields, model, seed=self._seed, created=int(self._wall()), publish=self._publish
                )
        rate.spend(document.get("usage", {}).get("total_tokens", 0))
        return document_answer(document)

    def _model(self, route: Route, deployment: str) -> BaseModel:
        found = self._deployments.get(deployment)
        if found is not None:
            return found
        if not deployment:
            raise refusal("Missing required parameter: 'model'.", code="missing_required_parameter", param="model")
        if not self.has(deployment):
            raise deployment_not_found()
        return STAND_INS[_KINDS.get(route.operation, "images")]

    async def _edited(self, body: Any, model: BaseModel) -> dict[str, Any]:
        if not isinstance(body, Form):
            message = "Unsupported content type. Supported values: 'multipart/form-data'."
            raise refusal(message, status=415, code="unsupported_content_type")
        pictures = [upload for name, upload in body.files if name in _UPLOADS]
        masks = [upload for name, upload in body.files if name == "mask"]
        return await images.edited(
            body.fields,
            pictures,
            masks[0] if masks else None,
            model,
            seed=self._seed,
            created=int(self._wall()),
        )


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise refusal(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
            "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
        )
    return body


__all__ = ["AzureService"]
