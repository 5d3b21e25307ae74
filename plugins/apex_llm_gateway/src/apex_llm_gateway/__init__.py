"""apex-llm over HTTP: any OpenAI client is a client of the manager."""
