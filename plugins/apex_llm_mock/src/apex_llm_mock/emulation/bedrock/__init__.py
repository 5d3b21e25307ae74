"""An emulator of Amazon Bedrock: the runtime and what clients need of the control plane, at one address."""
