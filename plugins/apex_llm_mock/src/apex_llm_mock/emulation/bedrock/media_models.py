"""The models that make vectors and images."""

from __future__ import annotations

from apex_llm_mock.emulation.bedrock.base_model import BaseModel, EmbeddingFormat, ImageFormat, Modality


def _vectors(
    model_id: str,
    vendor: str,
    name: str,
    embedding: EmbeddingFormat,
    dimensions: tuple[int, ...],
    *,
    inputs: tuple[Modality, ...] = ("TEXT",),
    window: int = 8_192,
    geographies: tuple[str, ...] = (),
) -> BaseModel:
    return BaseModel(
        id=model_id,
        vendor=vendor,
        name=name,
        inputs=inputs,
        outputs=("EMBEDDING",),
        streaming=False,
        geographies=geographies,
        window=window,
        max_output=0,
        converse=False,
        system=False,
        embedding=embedding,
        dimensions=dimensions,
    )


def _pictures(model_id: str, vendor: str, name: str, image: ImageFormat, *, legacy: bool = False) -> BaseModel:
    return BaseModel(
        id=model_id,
        vendor=vendor,
        name=name,
        inputs=("TEXT", "IMAGE"),
        outputs=("IMAGE",),
        streaming=False,
        legacy=legacy,
        window=10_000,
        max_output=0,
        converse=False,
        system=False,
        image=image,
    )


MEDIA_MODELS = (
    _vectors("amazon.titan-embed-text-v1", "Amazon", "Titan Embeddings G1 - Text", "titan_v1", (1_536,)),
    _vectors("amazon.titan-embed-text-v2:0", "Amazon", "Titan Text Embeddings V2", "titan_v2", (1_024, 512, 256)),
    _vectors(
        "amazon.titan-embed-image-v1",
        "Amazon",
        "Titan Multimodal Embeddings G1",
        "titan_image",
        (1_024, 384, 256),
        inputs=("TEXT", "IMAGE"),
        window=256,
    ),
    _vectors(
        "amazon.nova-2-multimodal-embeddings-v1:0",
        "Amazon",
        "Amazon Nova Multimodal Embeddings",
        "nova",
        (3_072, 1_024, 384, 256),
        inputs=("TEXT", "IMAGE", "VIDEO", "SPEECH"),
        window=8_172,
    ),
    _vectors("cohere.embed-english-v3", "Cohere", "Embed English", "cohere_v3", (1_024,), window=512),
    _vectors("cohere.embed-multilingual-v3", "Cohere", "Embed Multilingual", "cohere_v3", (1_024,), window=512),
    _vectors(
        "cohere.embed-v4:0",
        "Cohere",
        "Embed v4",
        "cohere_v4",
        (1_536, 1_024, 512, 256),
        inputs=("TEXT", "IMAGE"),
        window=128_000,
        geographies=("us", "eu", "global"),
    ),
    _pictures("amazon.nova-canvas-v1:0", "Amazon", "Nova Canvas", "amazon"),
    _pictures("amazon.titan-image-generator-v1", "Amazon", "Titan Image Generator G1", "amazon", legacy=True),
    _pictures("amazon.titan-image-generator-v2:0", "Amazon", "Titan Image Generator G1 v2", "amazon"),
    _pictures("stability.sd3-5-large-v1:0", "Stability AI", "Stable Diffusion 3.5 Large", "stability"),
    _pictures("stability.stable-image-core-v1:1", "Stability AI", "Stable Image Core 1.0", "stability"),
    _pictures("stability.stable-image-ultra-v1:0", "Stability AI", "Stable Image Ultra 1.0", "stability", legacy=True),
    _pictures("stability.stable-image-ultra-v1:1", "Stability AI", "Stable Image Ultra 1.0", "stability"),
)

__all__ = ["MEDIA_MODELS"]
