from __future__ import annotations

import warnings

import pytest
from apex_llm_azure.deployments import Deployments
from apex_llm_azure.endpoints import parse_endpoint

from apex_llm_core.config import ModelConfig, ProviderConfig
from apex_llm_core.errors import ConfigurationWarning


def deployments(base_model):
    models = (ModelConfig(id="assistant", provider_model_id="prod", base_model=base_model),)
    return Deployments(ProviderConfig(name="a", type="azure", models=models), parse_endpoint("r.openai.azure.com"))


@pytest.mark.parametrize("name", ["gpt4o", "o-3", "text-embedding-3-smal"])
def test_a_misspelt_base_model_is_doubted(name):
    with pytest.warns(ConfigurationWarning, match="did you mean"):
        deployments(name)


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-4o-2024-08-06", "deepseek-r1", None])
def test_a_known_or_entirely_other_base_model_is_not(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deployments(name)
