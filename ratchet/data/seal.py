"""JSON records that carry the digest of their own content, so that a later change of them is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "digest"
"""The key under which a sealed record carries its digest."""


def seal_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON object without its own seal: sorted keys, UTF-8, lower-case hex.

    >>> seal_digest({"b": 1, "a": 2}) == seal_digest({"a": 2, "b": 1, "digest": "anything"})
    True
    """
    unsealed = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(json.dumps(unsealed, sort_keys=True).encode()).hexdigest()


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Tell whether a record still is what was sealed."""
    return content.get(SEAL) == seal_digest(content)
