"""Azure OpenAI as a provider type of apex-llm. Everything is reached through the entry point `plugin`."""
