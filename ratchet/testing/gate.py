"""What the gate would have written, for tests that need a version which may be staged or promoted."""

from __future__ import annotations

import json

from ratchet.data.atomic import sha256_bytes
from ratchet.data.seal import SEAL, seal_digest


def gate_report(model: bytes, verdict: str = "approve") -> bytes:
    """Return a sealed `gate.json` about a model file; it holds what the registry relies on and nothing else.

    >>> b'"verdict": "approve"' in gate_report(b"onnx")
    True
    """
    report = {"verdict": verdict, "model_digest": sha256_bytes(model)}
    return json.dumps({**report, SEAL: seal_digest(report)}, sort_keys=True).encode()
