"""The last returns of all symbols, which the graph features are computed from after every bar."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from ratchet.errors import ArtifactError, InputError
from ratchet.features.kernel.bars import FloatArray
from ratchet.features.kernel.graph import N_LAGS, graph_features


def reference_symbols(symbols: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the symbols that stand for Bitcoin and Ether: by name the first of BTC/... and of ETH/..., if any."""
    ordered = sorted(symbols)
    btc = next((symbol for symbol in ordered if symbol.startswith("BTC/")), None)
    eth = next((symbol for symbol in ordered if symbol.startswith("ETH/")), None)
    return btc, eth


class GraphWindow:
    """The state of the graph features: a ring of the last `long` returns, and three more, of a fixed list of symbols.

    >>> window = GraphWindow(["BTC/USDT", "ETH/USDT"], short=2, long=3)
    >>> for change in (0.01, -0.02, 0.03):
    ...     window.push(np.array([change, 2 * change]))
    >>> features = window.features()
    >>> features.shape, round(float(features[1, 4]), 6)
    ((2, 24), 2.0)
    """

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        references: tuple[str | None, str | None] | None = None,
        short: int = 60,
        long: int = 240,
    ) -> None:
        if not symbols or len(set(symbols)) != len(symbols):
            raise InputError("a graph needs symbols, each once")
        if not 2 <= short <= long:
            raise InputError(f"a graph's windows are at least 2 bars, the short one first; got {short} and {long}")
        self.symbols = tuple(symbols)
        self.references = reference_symbols(symbols) if references is None else references
        unknown = [name for name in self.references if name is not None and name not in self.symbols]
        if unknown:
            raise InputError(f"reference {unknown[0]} is not among the graph's symbols")
        self.short, self.long = short, long
        self._capacity = long + N_LAGS
        self._n_bars = 0
        self._ring = np.full((2 * self._capacity, len(self.symbols)), np.nan)
        self._columns = [-1 if name is None else self.symbols.index(name) for name in self.references]

    def push(self, returns: FloatArray) -> None:
        """Take the next bar's log returns, float64 (symbol,).

        NaN is a symbol that has no bar here, or had none just before: a return is over one bar, never over a gap.

        Raises:
            InputError: the array has another shape.
        """
        if returns.shape != (len(self.symbols),):
            raise InputError(f"expected the returns of {len(self.symbols)} symbols, got an array of {returns.shape}")
        place = self._n_bars % self._capacity
        self._ring[place] = returns
        self._ring[place + self._capacity] = returns
        self._n_bars += 1

    def returns(self) -> FloatArray:
        """Return a view of the last `long` + 3 bars' returns, float64 (time, symbol), NaN where there were none."""
        end = self._n_bars % self._capacity + self._capacity
        view: FloatArray = self._ring[end - self._capacity : end]
        return view

    def features(self, ofi: FloatArray | None = None) -> FloatArray:
        """Compute the features after the last bar, float64 (symbol, 24), in the order of the catalogue.

        `ofi` float64 (symbol,) is each symbol's order flow imbalance at that time, NaN where it is not known; without
        it the neighbours' order flow is missing.

        Raises:
            InputError: `ofi` has another shape.
        """
        flow = np.full(len(self.symbols), np.nan) if ofi is None else np.ascontiguousarray(ofi, dtype=np.float64)
        if flow.shape != (len(self.symbols),):
            raise InputError(f"expected the order flow of {len(self.symbols)} symbols, got an array of {flow.shape}")
        btc, eth = self._columns
        return graph_features(self.returns(), flow, btc, eth, self.short, self.long)

    def to_bytes(self) -> bytes:
        """Return the state: a line of JSON, and the returns as little-endian float64, oldest bar first."""
        header = {
            "symbols": self.symbols,
            "references": self.references,
            "short": self.short,
            "long": self.long,
        }
        return json.dumps(header).encode() + b"\n" + self.returns().astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> GraphWindow:
        """Restore a state; all features are as if it had never been stored.

        Raises:
            ArtifactError: the bytes are not those of `to_bytes`.
        """
        header, _, body = data.partition(b"\n")
        try:
            fields = json.loads(header)
            btc, eth = fields["references"]
            window = cls(fields["symbols"], references=(btc, eth), short=fields["short"], long=fields["long"])
            returns = np.frombuffer(body, dtype="<f8").reshape(window._capacity, len(window.symbols))
        except (ValueError, KeyError, TypeError, InputError) as error:
            raise ArtifactError(f"stored graph window cannot be read: {error}; replay the bars instead") from error
        for row in returns:
            window.push(row)
        return window
