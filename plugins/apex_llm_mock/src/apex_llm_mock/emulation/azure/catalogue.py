"""The models available to a resource. They are not its deployments, which this interface does not tell."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from apex_llm_mock.emulation.answers import RefusedError
from apex_llm_mock.emulation.azure.errors import from_model
from apex_llm_mock.emulation.azure.models import BASE_MODELS, BaseModel


def model_list() -> dict[str, Any]:
    """Return all models."""
    return {"data": [_item(model) for model in BASE_MODELS.values()], "object": "list"}


def model_item(model_id: str) -> dict[str, Any]:
    """Return one model.

    Raises:
        RefusedError: there is no such model.
    """
    for model in BASE_MODELS.values():
        if model_id == _id(model):
            return _item(model)
    message = f"The model '{model_id}' does not exist"
    raise RefusedError(from_model(message, status=404, code="model_not_found", param="model"))


def _id(model: BaseModel) -> str:
    return f"{model.name}-{model.version}"


def _item(model: BaseModel) -> dict[str, Any]:
    created = _released(model)
    return {
        "capabilities": {
            "chat_completion": model.kind == "chat",
            "completion": False,
            "embeddings": model.kind == "embeddings",
            "fine_tune": False,
            "inference": True,
        },
        "created_at": created,
        "deprecation": {"inference": created + 2 * 365 * 86_400},
        "id": _id(model),
        "lifecycle_status": "generally-available",
        "object": "model",
        "status": "succeeded",
        "updated_at": created,
    }


def _released(model: BaseModel) -> int:
    try:
        day = datetime.fromisoformat(model.version)
    except ValueError:
        day = datetime(2024, 1, 25)  # noqa: DTZ001 - gets its zone below; older versions are no dates
    return int(day.replace(tzinfo=UTC).timestamp())


__all__ = ["model_item", "model_list"]
