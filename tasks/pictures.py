"""What an evaluation looks like: pictures beside the training, and in the Prefect UI."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from ratchet.data.atomic import write_bytes
from ratchet.evaluation.gate import GateReport
from ratchet.evaluation.pictures import (
    calibration_picture,
    confusion_picture,
    equity_picture,
    fold_picture,
    gate_picture,
    slices_picture,
)
from ratchet.evaluation.predictions import Predictions
from ratchet.evaluation.report import EvaluationReport
from ratchet.evaluation.trading import equity_curve
from ratchet.settings import CostSettings


def draw_evidence(evaluation: EvaluationReport, rows: Predictions, costs: CostSettings) -> dict[str, bytes]:
    """Return the pictures of an evaluation, PNG by name."""
    curve = equity_curve(rows, costs)
    pictures = {
        "folds": fold_picture(evaluation.validation),
        "equity": equity_picture(curve.ts_ns, curve.gross, curve.net, curve.drawdown),
        "calibration": calibration_picture(evaluation.scores),
        "confusion": confusion_picture(evaluation.scores),
    }
    return pictures | ({"slices": slices_picture(evaluation.slices)} if evaluation.slices else {})


def draw_gate(gate: GateReport) -> dict[str, bytes]:
    """Return the picture of a gate report, by name."""
    return {"gate": gate_picture(gate)}


def keep_pictures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Write each picture as NAME.png."""
    for name, content in pictures.items():
        write_bytes(folder / f"{name}.png", content)


def inline(pictures: Mapping[str, bytes]) -> str:
    """Return pictures as Markdown that needs no other file; an image artifact of Prefect would show its address."""
    encoded = {name: base64.b64encode(content).decode() for name, content in pictures.items()}
    return "\n\n".join(f"![{name}](data:image/png;base64,{text})" for name, text in encoded.items())
