"""The provider type ``bedrock``: AWS Bedrock. See `plugin` for what it registers."""
