"""The services of AWS that give credentials: STS, IAM Identity Center (SSO), instance metadata, container credentials."""
