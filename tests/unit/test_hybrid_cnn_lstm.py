"""The network: shapes, causality, standardisation inside it, and that it can learn."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from models.data import limited_threads
from models.factory import create_model, describe_model
from models.hybrid_cnn_lstm import CausalConv, HybridCNNLSTM, HybridCNNLSTMConfig
from models.layers import Standardize
from models.training.losses import direction_loss
from ratchet.errors import ConfigurationError


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with limited_threads(1):
        yield


def network(**changes: int | float) -> HybridCNNLSTM:
    torch.manual_seed(1)
    sizes: dict[str, int | float] = {"n_features": 5, "window": 16, "conv_channels": 8, "lstm_hidden": 8, "head": 8}
    model = create_model("hybrid_cnn_lstm", **{**sizes, **changes})
    assert isinstance(model, HybridCNNLSTM)
    return model


def with_opinion(model: HybridCNNLSTM) -> HybridCNNLSTM:
    torch.nn.init.normal_(model.logit.weight)
    return model.eval()


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize(
    "changes",
    [{}, {"window": 15}, {"window": 1}, {"stride": 1}, {"stride": 3}, {"conv_blocks": 4}, {"lstm_layers": 2}],
)
def test_every_size_answers_one_finite_logit_per_window(changes: dict[str, int], batch: int) -> None:
    """Odd windows, other strides, depths and batches all map (batch, time, feature) to (batch,)."""
    model = with_opinion(network(**changes))
    logits = model(torch.randn(batch, model.config.window, 5))
    assert logits.shape == (batch,)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("length", "stride"), [(16, 1), (16, 2), (15, 2), (16, 3), (17, 3)])
def test_convolutions_see_no_later_bar(length: int, stride: int) -> None:
    """Changing the bars after t changes no step that ends at or before t, and the last step ends at the last bar."""
    torch.manual_seed(2)
    block = CausalConv(3, 4, kernel_size=3, stride=stride, length=length)
    block.conv.weight.data.abs_()  # with positive inputs nothing is cut off by the rectifier
    windows = torch.rand(2, 3, length) + 0.1
    steps = block(windows)
    step_ends = range(length - 1 - stride * (block.out_length - 1), length, stride)
    assert steps.shape == (2, 4, block.out_length)
    for changed in range(length):
        other = windows.clone()
        other[:, :, changed] += 1.0
        is_same = (block(other) == steps).all(dim=1).all(dim=0)  # (step,)
        assert all(is_same[index] for index, end in enumerate(step_ends) if end < changed)
        assert bool(is_same[-1]) == (changed <= length - 1 - 3)


def test_stacked_convolutions_stay_causal() -> None:
    """The blocks together, as the network uses them, let no step see a bar after its own."""
    model = network(conv_blocks=3)
    windows = torch.randn(1, 5, 16)
    steps = model.convolutions(windows)
    windows[:, :, 10:] = 9.0
    assert torch.equal(model.convolutions(windows)[:, :, :5], steps[:, :, :5])  # step i ends at bar 2 i + 1
    assert not torch.equal(model.convolutions(windows)[:, :, 5:], steps[:, :, 5:])


def test_an_untrained_network_has_no_opinion() -> None:
    """Before training every answer is exactly 50 %, whatever the window."""
    model = network().eval()
    assert torch.equal(torch.sigmoid(model(torch.randn(4, 16, 5))), torch.full((4,), 0.5))


def test_history_matters_beyond_the_newest_bar() -> None:
    """Two windows with the same newest bar and different pasts get different answers."""
    model = with_opinion(network())
    windows = torch.randn(2, 16, 5)
    windows[1, -1] = windows[0, -1]
    first, second = model(windows)
    assert first != second


def test_standardisation_centres_scales_clips_and_drops_constants() -> None:
    """Training rows come out with mean 0 and deviation 1, outliers at the limit, a constant feature always at 0."""
    torch.manual_seed(3)
    layer = Standardize(3, clip_sigma=5.0)
    rows = torch.stack([1e6 + 100.0 * torch.randn(5000), 1e-6 * torch.randn(5000), torch.full((5000,), 7.0)], dim=1)
    layer.fit(rows)
    scaled = layer(rows)
    assert scaled.mean(dim=0).abs().max() < 1e-2
    assert (scaled.std(dim=0)[:2] - 1.0).abs().max() < 1e-2
    assert torch.equal(scaled[:, 2], torch.zeros(5000))
    extreme = layer(torch.tensor([[1e9, -1.0, 8.0]]))
    assert extreme.tolist() == [[5.0, -5.0, 0.0]]


def test_temperature_changes_confidence_and_never_direction() -> None:
    """Calibration divides every logit by the same number."""
    model = with_opinion(network())
    windows = torch.randn(6, 16, 5)
    before = model(windows)
    model.calibrate(2.0)
    assert torch.allclose(model(windows), before / 2.0)


def test_overfits_one_batch() -> None:
    """With dropout off, the network learns 64 random outcomes by heart, so gradients reach what they must."""
    model = network(dropout=0.0, skip_dropout=0.0, lstm_hidden=16, head=32)
    windows, is_up = torch.randn(64, 16, 5), (torch.rand(64) > 0.5).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    loss = fit_by_heart(model, optimizer, windows, is_up, n_steps=150)
    assert loss < 0.01
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def fit_by_heart(
    model: HybridCNNLSTM, optimizer: torch.optim.Optimizer, windows: Tensor, is_up: Tensor, n_steps: int
) -> float:
    model.train()
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = direction_loss(model(windows), is_up)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(loss.detach())


def test_description_rebuilds_the_same_network() -> None:
    """A description survives JSON and gives a network into which the weights fit, with the same answers."""
    model = with_opinion(network(stride=1, lstm_layers=2))
    description = json.loads(json.dumps(describe_model(model)))
    twin = create_model(description["network"], **description["config"])
    twin.load_state_dict(model.state_dict())
    windows = torch.randn(3, 16, 5)
    assert torch.equal(twin.eval()(windows), model(windows))


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("transformer", {}, "no network 'transformer'; there are: hybrid_cnn_lstm"),
        ("hybrid_cnn_lstm", {"n_features": 5, "window": 8, "width": 3}, "width"),
        ("hybrid_cnn_lstm", {"n_features": 5}, "window"),
        ("hybrid_cnn_lstm", {"n_features": 5, "window": 8, "kernel_size": 1}, "shorter than stride"),
    ],
)
def test_wrong_names_and_sizes_are_named(name: str, config: dict[str, int], message: str) -> None:
    """Whatever is wrong with a network's name or sizes is a configuration error that says what."""
    with pytest.raises(ConfigurationError, match=message):
        create_model(name, **config)


def test_description_refuses_a_foreign_module() -> None:
    """Only networks that the factory can rebuild are described."""
    with pytest.raises(ConfigurationError, match="Linear is none of the networks"):
        describe_model(torch.nn.Linear(2, 1))


def test_configuration_is_frozen() -> None:
    """A network's sizes cannot change under it."""
    with pytest.raises(AttributeError):
        HybridCNNLSTMConfig(n_features=2, window=4).window = 5  # type: ignore[misc]
