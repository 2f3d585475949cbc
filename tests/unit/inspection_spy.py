"""Stands in for the inspecting process and tells what it could see."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ratchet.registry.inspection.order import Verdict


def main() -> None:
    """Write what a hostile model that broke out of onnxruntime would find."""
    descriptors = sorted(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - the listing's own is last
    seen = {
        "environment": sorted(os.environ),
        "folder": [path.name for path in Path.cwd().iterdir()],
        "descriptors": descriptors[:-1],
        "session": os.getsid(0),
        "process": os.getpid(),
    }
    sys.stdout.write(Verdict(outcome="passed", reason=json.dumps(seen)).model_dump_json())


if __name__ == "__main__":
    main()
