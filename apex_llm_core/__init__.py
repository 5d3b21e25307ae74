"""apex-llm-core: many LLM providers as one."""
