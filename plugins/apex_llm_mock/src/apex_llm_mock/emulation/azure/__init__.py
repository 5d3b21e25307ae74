"""Azure OpenAI: the resource, its wire forms, and everything that goes wrong with it."""
