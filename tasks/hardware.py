"""The machine that a latency was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from ratchet.registry.metadata import BenchmarkHardware

_CPU_INFO = Path("/proc/cpuinfo")


def this_machine() -> BenchmarkHardware:
    """Describe processor, Python and ONNX Runtime of this machine."""
    return BenchmarkHardware(
        cpu_model=_cpu_model(),
        n_cores=os.cpu_count() or 1,
        python=platform.python_version(),
        onnxruntime=version("onnxruntime"),
    )


def _cpu_model() -> str:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"
