"""How much a candidate may cost whoever looks at it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

_MIB = 1 << 20


class InspectionLimits(BaseModel):
    """Sizes of the files, and what the inspecting process may use.

    The process needs about 330 MiB of addresses for its libraries alone, so `memory_bytes` leaves a model about 400:
    thousands of times what ours take, and far from what would hurt the machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_files: int = Field(default=64, ge=1)
    max_file_bytes: int = Field(default=32 * _MIB, ge=1)
    max_total_bytes: int = Field(default=64 * _MIB, ge=1)
    max_json_bytes: int = Field(default=2 * _MIB, ge=1, description="A JSON object is many times its text in memory.")
    memory_bytes: int = Field(default=768 * _MIB, ge=1)
    cpu_s: int = Field(default=8, ge=1, description="Whole seconds, as the kernel counts them.")
    wall_s: float = Field(default=9.0, gt=0, description="From the start of the process to its verdict.")
    output_bytes: int = Field(default=_MIB, ge=1, description="What it may write into any one file.")
    max_open_files: int = Field(default=64, ge=16)
