"""Causal convolutions, an LSTM and attention pooling over a window of features: one logit for "the price rises".

    windows (batch, time, feature)
       |  Standardize: training mean and deviation, clipped
       +--> CausalConv x n --> LSTM --> AttentionPooling --+
       |                                                   +--> hidden --+
       +--> newest bar ------------------------------------+             +--> logit (batch,)
                         `-----------------------------------------------+

Convolutions find short shapes, the LSTM orders them in time, attention weighs the steps. The newest bar's features
also reach the logit directly: most of what can be known about the next move is there, and a linear model of them is a
hard rival. The logit starts at zero, so training begins from "no opinion" and adds only what the data support.

Sources: Zhang, Zohren, Roberts, "DeepLOB", IEEE Trans. Signal Processing 67 (2019), doi:10.1109/TSP.2019.2907260
(convolutions under an LSTM); Bai, Kolter, Koltun, arXiv:1803.01271 (causal convolutions); Bahdanau, Cho, Bengio,
arXiv:1409.0473 (additive attention); Guo, Pleiss, Sun, Weinberger, arXiv:1706.04599 (temperature scaling).

Non-finite input is not repaired here, and clipping would turn an infinity into a plausible number. Therefore training,
`models.data.probabilities` and `models.optimization.onnx.OnnxPredictor` refuse such windows before they get here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import DirectionNetwork


@dataclass(frozen=True, kw_only=True)
class HybridCNNLSTMConfig:
    """Sizes of the network, plain numbers that go into JSON as they are.

    `stride` is the first convolution's: with 2 the LSTM walks through half the steps. `head` is the width of the hidden
    layer before the logit. `dropout` acts on what the sequence branch and the head have learned, `skip_dropout` on the
    newest bar's features.

    Raises:
        ValueError: the kernel is shorter than the stride, so that bars would be skipped.
    """

    n_features: int
    window: int
    conv_channels: int = 24
    conv_blocks: int = 2
    kernel_size: int = 3
    stride: int = 2
    lstm_hidden: int = 32
    lstm_layers: int = 1
    head: int = 48
    dropout: float = 0.3
    skip_dropout: float = 0.05
    clip_sigma: float = 5.0

    def __post_init__(self) -> None:
        if self.kernel_size < self.stride:
            raise ValueError(f"kernel_size {self.kernel_size} is shorter than stride {self.stride}")


class CausalConv(nn.Module):
    """A convolution over time whose steps see no bar after their own; the last step ends at the last bar."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int, length: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, stride=stride)
        self.left_padding = kernel_size - 1 - (length - 1) % stride
        self.out_length = (length - 1) // stride + 1

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, length) to (batch, out_channels, out_length)."""
        return functional.relu(self.conv(functional.pad(x, (self.left_padding, 0))))


class AttentionPooling(nn.Module):
    """A weighted mean over time whose weights are learned from the steps themselves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, steps, width) to (batch, width)."""
        weight = torch.softmax(self.score(torch.tanh(self.hidden(x))), dim=1)  # (batch, steps, 1)
        return (weight * x).sum(dim=1)  # (batch, width)


class HybridCNNLSTM(DirectionNetwork):
    """Windows of raw features to logits; `sigmoid(logit)` is P(up | the move is not flat)."""

    def __init__(self, config: HybridCNNLSTMConfig) -> None:
        super().__init__(config.n_features, config.clip_sigma)
        self.config = config
        self.convolutions = _convolutions(config)
        self.lstm = nn.LSTM(config.conv_channels, config.lstm_hidden, config.lstm_layers, batch_first=True)
        self.pooling = AttentionPooling(config.lstm_hidden)
        self.hidden = nn.Linear(config.lstm_hidden + config.n_features, config.head)
        self.logit = nn.Linear(config.head + config.n_features, 1)
        nn.init.zeros_(self.logit.weight)
        nn.init.zeros_(self.logit.bias)
        self.dropout = nn.Dropout(config.dropout)
        self.skip_dropout = nn.Dropout(config.skip_dropout)

    def forward(self, windows: Tensor) -> Tensor:
        """Map raw, finite float32 features (batch, time, feature), oldest bar first, to logits (batch,)."""
        x = self.standardize(windows)  # (batch, time, feature)
        newest = self.skip_dropout(x[:, -1])  # (batch, feature)
        shapes = self.convolutions(x.transpose(1, 2))  # (batch, feature, time) -> (batch, channels, steps)
        states, _ = self.lstm(shapes.transpose(1, 2))  # (batch, steps, channels) -> (batch, steps, hidden)
        history = self.dropout(self.pooling(states))  # (batch, hidden)
        mixed = functional.relu(self.hidden(torch.cat([history, newest], dim=1)))  # (batch, head)
        logit: Tensor = self.logit(torch.cat([self.dropout(mixed), newest], dim=1))  # (batch, 1)
        return (logit / self.temperature).squeeze(1)  # (batch,)


def _convolutions(config: HybridCNNLSTMConfig) -> nn.Sequential:
    """Build the blocks; only the first one strides."""
    blocks = nn.Sequential()
    channels, length = config.n_features, config.window
    for index in range(config.conv_blocks):
        stride = config.stride if index == 0 else 1
        block = CausalConv(channels, config.conv_channels, kernel_size=config.kernel_size, stride=stride, length=length)
        blocks.append(block)
        channels, length = config.conv_channels, block.out_length
    return blocks
