"""The ONNX file: it answers like the network on real windows, from raw features, or it is not written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from models.data import limited_threads
from models.optimization.benchmark import benchmark
from models.optimization.onnx import (
    PARITY_BATCHES,
    OnnxPredictor,
    OnnxReport,
    WindowArray,
    check_parity,
    export_to_onnx,
)
from models.training.recipes import small
from models.training.run import TrainedModel
from models.training.trainer import fit_fold, predict
from ratchet.data.atomic import sha256_file
from ratchet.errors import ArtifactError, CandidateRejectedError, InputError
from ratchet.evaluation.walk_forward import Fold, PurgedWalkForward
from ratchet.exchanges import SimulatedMarket, SimulatedMarketConfig
from ratchet.features.panel import Panel, build_panel
from ratchet.features.sets import FeatureSet
from ratchet.market import Timeframe

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Exported:
    """A network trained on simulated candles, its file, and windows of the fold's test period."""

    trained: TrainedModel
    panel: Panel
    fold: Fold
    path: Path
    report: OnnxReport
    windows: WindowArray

    @property
    def content(self) -> bytes:
        return self.path.read_bytes()

    def torch_answers(self, windows: WindowArray) -> WindowArray:
        with torch.inference_mode(), limited_threads(1):
            answers: WindowArray = torch.sigmoid(self.trained.model(torch.from_numpy(windows))).numpy()
        return answers


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The production shape, 32 bars of 67 features, trained for two epochs and exported once."""
    panel = build_panel(
        SimulatedMarket(SimulatedMarketConfig(n_symbols=2, n_bars=1_400)).candles(),
        FeatureSet.base(),
        timeframe=Timeframe.parse("1h"),
        horizon=1,
        window=32,
        round_trip_bps=10.0,
    )
    fold = PurgedWalkForward(n_splits=1, min_train_share=0.8).split(panel.decision_ns, panel.t1_ns)[0]
    trained = fit_fold(panel, fold, replace(small(), epochs=2, batch_size=64))
    windows = panel.windows(fold.test[:200])
    path = tmp_path_factory.mktemp("candidate") / "model.onnx"
    report = export_to_onnx(trained.model, path, example_windows=windows)
    return Exported(trained, panel, fold, path, report, windows)


@pytest.mark.parametrize("size", PARITY_BATCHES)
def test_answers_like_torch_at_every_batch_size(exported: Exported, size: int) -> None:
    """On windows of the test period, ONNX Runtime and torch agree within 1e-4, and both have opinions."""
    predictor = OnnxPredictor(exported.path)
    answers = predictor(exported.windows[:size])
    assert answers.shape == (size,)
    assert answers.dtype == np.float32
    assert np.abs(answers - exported.torch_answers(exported.windows[:size])).max() <= 1e-4
    assert exported.torch_answers(exported.windows).std() > 0.02


def test_answers_like_the_evaluated_predictions(exported: Exported) -> None:
    """What is served is what was judged: the same samples get the p_up of the walk-forward evaluation."""
    index = exported.fold.test
    judged = predict(exported.trained, exported.panel, index)
    served = OnnxPredictor(exported.path)(exported.panel.windows(index))
    assert np.abs(served - judged).max() <= 1e-4
    assert np.array_equal(served > 0.5, judged > 0.5)


def test_report_describes_the_file(exported: Exported) -> None:
    """Size and digest are those of the one file that was written, and the gap is over all windows."""
    report = exported.report
    assert [path.name for path in exported.path.parent.iterdir()] == ["model.onnx"]
    assert report.size_bytes == exported.path.stat().st_size < 300_000
    assert report.digest == sha256_file(exported.path)
    assert report.n_windows == len(exported.windows)
    assert report.opset == onnx.load(exported.path).opset_import[0].version
    assert 0.0 <= report.max_abs_diff <= 1e-4


def test_standardisation_is_inside_the_graph(exported: Exported) -> None:
    """The graph takes raw features: windows standardised beforehand, as an outside scaler would, are not its input."""
    scaler = exported.trained.model.standardize
    raw = exported.windows
    outside = ((torch.from_numpy(raw) - scaler.mean) * scaler.scale).numpy()
    assert raw.std(axis=(0, 1)).min() < 0.01
    predictor = OnnxPredictor(exported.path)
    assert np.abs(predictor(raw) - exported.torch_answers(raw)).max() <= 1e-4
    assert np.abs(predictor(outside) - exported.torch_answers(raw)).max() > 0.05


def test_calibration_is_inside_the_graph(exported: Exported) -> None:
    """The temperature found in training is part of what the file answers."""
    assert exported.trained.temperature != pytest.approx(1.0, abs=1e-3)
    logits = torch.logit(torch.from_numpy(exported.torch_answers(exported.windows)))
    uncalibrated = torch.sigmoid(logits * exported.trained.temperature).numpy()
    assert np.abs(OnnxPredictor(exported.path)(exported.windows) - uncalibrated).max() > 1e-3


def test_file_tells_nothing_of_the_machine(exported: Exported) -> None:
    """No path, user or stack trace of the machine that exported it is left in the file."""
    for trace in (str(ROOT), str(Path.home()), "site-packages", "stack_trace", ".py"):
        assert trace.encode() not in exported.content


def tampered(content: bytes, change: Callable[[WindowArray], WindowArray]) -> bytes:
    """The same graph with the weights of its last layer changed."""
    model = onnx.load_from_string(content)
    weights = next(item for item in model.graph.initializer if item.name.endswith("network.logit.weight"))
    array = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(change(array.copy()).astype(np.float32), weights.name))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    "change", [lambda w: w + 0.01, lambda w: -w, lambda w: w * np.nan], ids=["a bit", "sign", "nan"]
)
def test_a_graph_that_answers_differently_is_refused(
    exported: Exported, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Weights that are slightly off, of the wrong sign or not a number fail the parity gate."""
    assert check_parity(exported.trained.model, exported.content, exported.windows) <= 1e-4
    with pytest.raises(CandidateRejectedError, match="differs from the network"):
        check_parity(exported.trained.model, tampered(exported.content, change), exported.windows)


class Chameleon(nn.Module):
    """Behaves otherwise while it is exported, as a mistranslated operator would."""

    def forward(self, windows: Tensor) -> Tensor:
        logits = windows.mean(dim=(1, 2))
        return logits + 0.01 if torch.compiler.is_exporting() else logits


def test_a_broken_export_leaves_no_file_and_no_noise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A network that the exporter mistranslates is rejected, nothing is written, and nothing is printed."""
    windows = np.random.default_rng(0).normal(size=(64, 4, 3)).astype(np.float32)
    with pytest.raises(CandidateRejectedError, match="at most 1e-04 is accepted"):
        export_to_onnx(Chameleon(), tmp_path / "model.onnx", example_windows=windows)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_too_few_windows_prove_nothing(exported: Exported) -> None:
    """Parity over fewer windows than its largest batch is refused."""
    with pytest.raises(InputError, match="at least 64 real windows, got 63"):
        check_parity(exported.trained.model, exported.content, exported.windows[:63])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_window_that_is_not_finite_is_refused(exported: Exported, value: float) -> None:
    """One number that is not finite, anywhere, is an error: the graph itself would clip an infinity and answer."""
    windows = exported.windows[:2].copy()
    windows[1, 5, 3] = value
    with pytest.raises(InputError, match="not finite"):
        OnnxPredictor(exported.path)(windows)


def test_a_window_of_another_shape_is_refused(exported: Exported) -> None:
    """Too few features or bars are an input error that names the shape."""
    for windows in (exported.windows[:, :, :-1], exported.windows[:, 1:], exported.windows[0]):
        with pytest.raises(InputError, match=r"cannot answer windows of shape"):
            OnnxPredictor(exported.path)(windows)


def test_what_is_not_a_model_is_refused(exported: Exported, tmp_path: Path) -> None:
    """A missing file, random bytes, a truncated file and a graph with other names are artifact errors."""
    other = onnx.load_from_string(exported.content)
    other.graph.output[0].name = "logit"
    other.graph.node[-1].output[0] = "logit"
    for model in (tmp_path / "missing.onnx", b"nothing", exported.content[:1_000], other.SerializeToString()):
        with pytest.raises(ArtifactError, match="ONNX model"):
            OnnxPredictor(model)


def test_benchmark_measures_single_predictions(exported: Exported) -> None:
    """The latency report covers the calls that were asked for; too few calls bound no percentile."""
    report = benchmark(exported.path, exported.windows[:1], n=450)
    assert report.n == 450
    assert 0.0 < report.p50_ms <= report.p99_ms <= report.p99_upper_ms
    with pytest.raises(InputError, match="408"):
        benchmark(exported.path, exported.windows[:1], n=100)
