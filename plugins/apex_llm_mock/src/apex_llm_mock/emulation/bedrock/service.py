"""What Bedrock does with a request that came in: finds the model, counts its limits, answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from apex_llm_core.errors import nearest
from apex_llm_mock.emulation.answers import RefusedError, WholeAnswer, encoded
from apex_llm_mock.emulation.bedrock.catalogue import Catalogue
from apex_llm_mock.emulation.bedrock.converse import Completion, ConverseService
from apex_llm_mock.emulation.bedrock.counting import count_tokens
from apex_llm_mock.emulation.bedrock.errors import JSON, refusal, unknown_operation
from apex_llm_mock.emulation.bedrock.event_frames import StreamEvent, chunk
from apex_llm_mock.emulation.bedrock.failures import TOO_MANY_REQUESTS, TOO_MANY_TOKENS
from apex_llm_mock.emulation.bedrock.invoke import invoke_events, serve_invoke
from apex_llm_mock.emulation.bedrock.models import MODELS, PROFILES, Found, find, look_up
from apex_llm_mock.emulation.bedrock.routes import Route
from apex_llm_mock.emulation.fault_orders import PREFIX
from apex_llm_mock.emulation.limits import RateLimit
from apex_llm_mock.replies import Replier

#: What a model named after a fault is otherwise.
STAND_IN = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


@attrs.frozen(kw_only=True)
class Chunks:
    """The answer to InvokeModelWithResponseStream."""

    documents: list[dict[str, Any]]
    #: The answer to the same request of InvokeModel.
    whole: Callable[[], dict[str, Any]]

    def document(self) -> dict[str, Any]:
        """Return the whole answer."""
        return self.whole()

    def events(self, _chunk_size: int) -> Iterator[StreamEvent]:
        """Yield the events of the stream, which is cut already."""
        return map(chunk, self.documents)


#: What an answered request may be.
Served = WholeAnswer | Completion | Chunks


class BedrockService:
    """One account in one region.

    Args:
        region: where it is.
        models: the ids there are, each with the id of the model that it behaves like; None: all that Bedrock has.
        limits: requests and tokens per minute of each model.
        replier: writes the answers.
        seed: changes vectors, images and signatures.
        chunk_size: characters per piece of an InvokeModel stream.
        page_size: items per page of a list.
        clock: seconds, for limits and cached prompts.

    Raises:
        ValueError: an id behaves like a model that there is not.
    """

    def __init__(
        self,
        *,
        region: str,
        models: Mapping[str, str] | None,
        limits: tuple[int, int],
        replier: Replier,
        seed: int,
        chunk_size: int,
        page_size: int,
        clock: Callable[[], float],
    ) -> None:
        for base in (models or {}).values():
            if look_up(base) is None:
                known = [*MODELS, *PROFILES]
                raise ValueError(f"{base!r} is no model that the emulator knows{nearest(base, known)}")
        self._region = region
        self._models = models
        self._limits = limits
        self._replier = replier
        self._seed = seed
        self._chunk_size = chunk_size
        self._clock = clock
        self._converse = ConverseService(replier=replier, seed=seed, clock=clock)
        self._catalogue = Catalogue(region=region, declared=models, page_size=page_size)
        self._rates: dict[str, RateLimit] = {}

    async def serve(self, route: Route, query: Mapping[str, str], body: Any, *, key: str) -> Served:
        """Answer *body*, a JSON document; *key* makes ids.

        Raises:
            RefusedError: it is not served; the answer says why.
        """
        if not route.of_model:
            return _document(self._listed(route, query))
        declared = self._models
        if route.name.startswith(PREFIX) and route.name not in (declared or {}):
            declared = {route.name: STAND_IN}
        if route.operation == "count-tokens":
            return _document(count_tokens(route.name, body, declared))
        found = find(route.name, declared, region=self._region)
        rate = self._rate(route.name)
        served, tokens = await self._generated(route, found, body, key)
        rate.spend(tokens)
        return served

    async def _generated(self, route: Route, found: Found, body: Any, key: str) -> tuple[Served, int]:
        if route.operation in ("converse", "converse-stream"):
            streamed = route.operation == "converse-stream"
            completion = self._converse.serve(body, found.model, streamed=streamed)
            return completion, completion.tokens
        document = body if isinstance(body, (dict, list)) else None
        if route.operation == "invoke":
            if found.model.image:
                # Pictures take their time.
                invoked = await asyncio.to_thread(
                    serve_invoke, found, document, key=key, replier=self._replier, seed=self._seed
                )
            else:
                invoked = serve_invoke(found, document, key=key, replier=self._replier, seed=self._seed)
            answer = WholeAnswer(body=encoded(invoked.document), headers=invoked.headers, content_type=JSON)
            return answer, invoked.input_tokens + (invoked.output_tokens or 0)
        documents = invoke_events(found, document, key=key, replier=self._replier, chunk_size=self._chunk_size)

        def whole() -> dict[str, Any]:
            return serve_invoke(found, document, key=key, replier=self._replier, seed=self._seed).document

        used = documents[-1].get("amazon-bedrock-invocationMetrics", {}) if documents else {}
        tokens = used.get("inputTokenCount", 0) + used.get("outputTokenCount", 0)
        return Chunks(documents=documents, whole=whole), tokens

    def _rate(self, model: str) -> RateLimit:
        """Count a request against the limits of *model*; raise `RefusedError` when they are used up."""
        rate = self._rates.get(model)
        if rate is None:
            requests, tokens = self._limits
            rate = self._rates[model] = RateLimit(requests=requests, tokens=tokens, clock=self._clock)
        limit = rate.exceeded()
        if limit is not None:
            raise refusal("ThrottlingException", TOO_MANY_REQUESTS if limit == "call rate" else TOO_MANY_TOKENS)
        return rate

    def _listed(self, route: Route, query: Mapping[str, str]) -> dict[str, Any]:
        catalogue = self._catalogue
        match route.operation:
            case "foundation-models":
                return catalogue.foundation_models(query)
            case "foundation-model":
                return catalogue.foundation_model(route.name)
            case "foundation-model-availability":
                return catalogue.availability(route.name)
            case "inference-profiles":
                return catalogue.inference_profiles(query)
            case "inference-profile":
                return catalogue.inference_profile(route.name)
            case "provisioned-model-throughputs":
                return catalogue.provisioned_throughputs(query)
            case "provisioned-model-throughput":
                return catalogue.provisioned_throughput(route.name)
            case "imported-models":
                return catalogue.imported_models(query)
        raise RefusedError(unknown_operation())


def _document(document: Mapping[str, Any]) -> WholeAnswer:
    return WholeAnswer(body=encoded(document), content_type=JSON)


__all__ = ["STAND_IN", "BedrockService", "Chunks", "Served"]
