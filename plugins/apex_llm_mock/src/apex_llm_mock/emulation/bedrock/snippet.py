"""A configuration of apex-llm that uses a running emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apex_llm_mock.emulation.bedrock.models import MODELS, PROFILES
from apex_llm_mock.emulation.toml_text import quoted

if TYPE_CHECKING:
    from apex_llm_mock.emulation.bedrock.emulator import BedrockEmulator

#: One model for each thing that one can do with Bedrock; a configuration need not list them all.
_SHOWN = (
    "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "amazon.nova-lite-v1:0",
    "amazon.titan-embed-text-v2:0",
    "amazon.nova-canvas-v1:0",
)


def configuration(emulator: BedrockEmulator) -> str:
    """Return TOML with two providers: one signs its requests, the other one bears the API key."""
    keys = f"{{ access_key_id = {quoted(emulator.access_key_id)}, secret_access_key = {quoted(emulator.secret_access_key)} }}"
    signing = f'{{ type = "iam", credentials = {keys} }}'
    bearing = f'{{ type = "api_key", credentials = {{ api_key = {quoted(emulator.api_key)} }} }}'
    return "\n".join((_provider(emulator, "bedrock", signing), _provider(emulator, "bedrock-api-key", bearing)))


def shown_models(emulator: BedrockEmulator) -> dict[str, str]:
    """Return the ids that a configuration lists, each with the id of the model behind it."""
    if emulator.models is not None:
        return emulator.models
    return {_invocable(base, emulator.region): base for base in _SHOWN}


def _invocable(base: str, region: str) -> str:
    if MODELS[base].on_demand:
        return base
    profiles = (profile for profile in PROFILES.values() if profile.model is MODELS[base])
    return next((profile.id for profile in profiles if profile.callable_from(region)), base)


def _provider(emulator: BedrockEmulator, name: str, auth: str) -> str:
    options = f"{{ region = {quoted(emulator.region)}, endpoint = {quoted(emulator.url)} }}"
    # Ids of Bedrock's own say which model they mean.
    models = "".join(
        f"  {{ id = {quoted(model)}{'' if model.endswith(base) else f', base_model = {quoted(base)}'} }},\n"
        for model, base in shown_models(emulator).items()
    )
    return (
        f'[[providers]]\nname = "{name}"\ntype = "bedrock"\nauth = {auth}\noptions = {options}\nmodels = [\n{models}]\n'
    )


__all__ = ["configuration", "shown_models"]
