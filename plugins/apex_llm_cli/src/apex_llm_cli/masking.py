"""A configuration as it may be shown: references to secrets stay, secrets do not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from apex_llm_core.redaction import MASK, Redactor

#: What a key is called whose text is a secret.
_SECRET_KEY = re.compile(
    r"(?:^|[_-])(?:keys?(?:_sha256)?|credentials?|token|secret|password|passwd|passphrase|authorization|sig|signature"
    r"|connection_string|dsn)$",
    re.IGNORECASE,
)
#: Credentials that say who or where, not what the secret is.
_HARMLESS_CREDENTIAL = re.compile(r"(?:_(?:arn|path|file|url)|(?:tenant|client|external)_id|^profile|^scope)$")
#: Schemes whose references name a place and give nothing away. Any other prefix may be half of a literal secret.
_REFERENCE = re.compile(r"(?:env|file):\S")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")


def masked(data: Any, *, secret: bool = False) -> Any:
    """Return *data* (JSON-safe) with every secret text replaced.

    Texts under ``credentials`` and under keys that sound like a secret are replaced unless they are references or known to
    be harmless; in all other texts, whatever is shaped like a credential is. Tables in a list tell by their own keys what
    is secret, so that ``api_keys = [{key = …, user = "alice"}]`` still shows the user.

    Args:
        data: a configuration, or a part of one.
        secret: texts that stand here are secrets.
    """
    if isinstance(data, Mapping):
        return {key: masked(value, secret=_is_secret(key, within_secret=secret)) for key, value in data.items()}
    if isinstance(data, list):
        return [masked(item, secret=secret and not isinstance(item, Mapping)) for item in data]
    if not isinstance(data, str):
        return data
    if secret:
        return data if not data or _REFERENCE.match(data) else MASK
    return _USER_INFO.sub(f"{MASK}@", Redactor().scrub(data))


def _is_secret(key: str, *, within_secret: bool) -> bool:
    if within_secret:
        return _HARMLESS_CREDENTIAL.search(key) is None
    return _SECRET_KEY.search(key) is not None


__all__ = ["masked"]
