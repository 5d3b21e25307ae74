"""The wire of OpenAI's API: bodies in, the core's models out, and back. Pure, no I/O."""
