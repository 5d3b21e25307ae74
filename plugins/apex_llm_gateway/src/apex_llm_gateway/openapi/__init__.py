"""The gateway's own description, as ``/openapi.json`` gives it: what it takes, what it answers, who may ask."""
