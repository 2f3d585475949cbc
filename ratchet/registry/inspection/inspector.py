"""The inspection that a candidate passes before it becomes a version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ratchet.errors import CandidateRejectedError, ConfigurationError
from ratchet.registry.evidence import GATE_FILE
from ratchet.registry.inspection.formats import check_names_and_sizes
from ratchet.registry.inspection.limits import InspectionLimits
from ratchet.registry.inspection.order import Order
from ratchet.registry.inspection.process import inspect_in_child
from ratchet.registry.inspection.verdicts import check_gate_report
from ratchet.registry.metadata import check_metadata
from ratchet.registry.names import check_name


class CandidateInspector:
    """Refuses whatever is not a harmless, working model of the kind that its metadata describe.

    Names, sizes and metadata are judged here; all that parses or runs a file happens in a child process with limits
    of memory, time and output, so the worst that a file can do is to be refused. Threads may share one inspector.

    What it cannot tell: whether the model is any good (the gate does), and whether it is the model that the gate
    judged. A weight may differ so little that every golden answer stays the same; for that reason the gate's report
    names the SHA-256 of the file, and the registry compares it (`ratchet.registry.evidence`). Nor does it stop code
    that breaks out of onnxruntime itself from reading what this user may read: the child is a process, not a jail.

    Args:
        limits: what a candidate may cost.
    """

    def __init__(self, limits: InspectionLimits | None = None) -> None:
        self._limits = limits or InspectionLimits()

    def __call__(self, name: str, files: Mapping[str, bytes], metadata: dict[str, Any]) -> None:
        """Return if the candidate may be registered; takes about a second, and never more than ten.

        Raises:
            InputError: the name or the metadata are malformed.
            CandidateRejectedError: a file is not acceptable; the message says which, why, and what to do.
            ConfigurationError: onnx or onnxruntime is not installed.
            UnavailableError: the inspecting process cannot be started.
        """
        check_name(name)
        described = check_metadata(metadata)
        try:
            check_names_and_sizes(files, self._limits)
            if GATE_FILE in files:
                check_gate_report(files[GATE_FILE])
            verdict = inspect_in_child(
                Order(
                    window=described.window,
                    n_features=described.n_features,
                    sizes={filename: len(content) for filename, content in files.items()},
                    limits=self._limits,
                ),
                files,
            )
        except CandidateRejectedError as error:
            raise CandidateRejectedError(f"{name}: {error}") from error
        if verdict.outcome == "not installed":
            raise ConfigurationError(f"inspecting a model needs {verdict.reason}: pip install 'ratchet[train]'")
        if verdict.outcome == "refused":
            raise CandidateRejectedError(f"{name}: {verdict.reason}")
