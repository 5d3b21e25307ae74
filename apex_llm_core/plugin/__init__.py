"""Discovery, validation and registration of plugins, and the registry of configured providers."""
