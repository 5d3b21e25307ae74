"""The commands `apex-llm serve` and `apex-llm batch`."""
