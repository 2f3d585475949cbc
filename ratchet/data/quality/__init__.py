from ratchet.data.quality.datasets import JudgedDataset, judge_dataset
from ratchet.data.quality.engines import Engine, open_gate
from ratchet.data.quality.expectations import GreatExpectationsGate
from ratchet.data.quality.gates import QualityGate, validate_books, validate_data_quality, validate_trades
from ratchet.data.quality.policy import QualityPolicy
from ratchet.data.quality.report import Failure, QualityReport, Severity
from ratchet.data.quality.vectorized import VectorizedGate

__all__ = [
    "Engine",
    "Failure",
    "GreatExpectationsGate",
    "JudgedDataset",
    "QualityGate",
    "QualityPolicy",
    "QualityReport",
    "Severity",
    "VectorizedGate",
    "judge_dataset",
    "open_gate",
    "validate_books",
    "validate_data_quality",
    "validate_trades",
]
