"""The 24 graph features: against numpy and networkx, without what is missing, and never from the future."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ratchet.errors import ArtifactError, InputError
from ratchet.features.catalogue.graph import GRAPH_FEATURES
from ratchet.features.kernel import graph_network, graph_relations
from ratchet.features.kernel.graph import N_GRAPH_FEATURES, N_LAGS
from ratchet.features.kernel.graph import graph_features as compiled_features
from ratchet.features.kernel.graph_window import GraphWindow, reference_symbols
from tests.oracles.graph import graph_features

FloatArray = NDArray[np.float64]

_NAMES = [item.name.removeprefix("graph_") for item in GRAPH_FEATURES]
_COLUMN = {name: place for place, name in enumerate(_NAMES)}
_WINDOWS = {
    f"corr_{coin}_{length}": f"corr_{coin}_{name}"
    for coin in ("btc", "eth")
    for length, name in ((60, "short"), (240, "long"))
}


def _market(n_bars: int, n_symbols: int, *, seed: int, common: float = 0.7) -> FloatArray:
    """Returns with a common factor of which some symbols take a little a bar later."""
    rng = np.random.default_rng(seed)
    factor, own = rng.standard_normal(n_bars + 1), rng.standard_normal((n_bars, n_symbols))
    load = common * rng.uniform(-0.3, 1.0, n_symbols)
    late = rng.uniform(0.0, 0.3, n_symbols)
    returns: FloatArray = 0.005 * (factor[1:, None] * load + factor[:-1, None] * late + 0.7 * own)
    return returns


def _ofi(n_symbols: int, *, seed: int) -> FloatArray:
    ofi = np.random.default_rng(seed).standard_normal(n_symbols)
    ofi[::3] = np.nan
    return ofi


def _compute(
    returns: FloatArray, ofi: FloatArray, *, btc: int | None = 0, eth: int | None = 1, short: int = 60, long: int = 240
) -> FloatArray:
    places = [-1 if place is None else place for place in (btc, eth)]
    return compiled_features(np.ascontiguousarray(returns), ofi, places[0], places[1], short, long)


def _expected(
    returns: FloatArray, ofi: FloatArray, *, btc: int | None = 0, eth: int | None = 1, short: int = 60, long: int = 240
) -> FloatArray:
    columns = graph_features(returns, ofi, btc=btc, eth=eth, short=short, long=long)
    missing = np.full(returns.shape[1], np.nan)
    return np.column_stack([columns.get(_WINDOWS.get(name, name), missing) for name in _NAMES])


def test_there_are_24_in_the_kernels_order() -> None:
    assert len(GRAPH_FEATURES) == len(set(_NAMES)) == N_GRAPH_FEATURES == 24
    named = {
        "corr_btc_60": graph_relations.CORR_BTC_SHORT,
        "corr_btc_240": graph_relations.CORR_BTC_LONG,
        "corr_eth_60": graph_relations.CORR_ETH_SHORT,
        "corr_eth_240": graph_relations.CORR_ETH_LONG,
        "beta_btc": graph_relations.BETA_BTC,
        "beta_market": graph_relations.BETA_MARKET,
        "residual_btc": graph_relations.RESIDUAL_BTC,
        "residual_market": graph_relations.RESIDUAL_MARKET,
        "btc_lead_1": graph_relations.BTC_LEAD,
        "neighbour_return_1": graph_network.NEIGHBOUR_RETURN,
        "neighbour_ofi": graph_network.NEIGHBOUR_OFI,
        "strength": graph_network.STRENGTH,
        "centrality": graph_network.CENTRALITY,
        "clustering": graph_network.CLUSTERING,
        "tree_degree": graph_network.TREE_DEGREE,
        "tree_distance_btc": graph_network.TREE_DISTANCE,
        "absorption_ratio": graph_network.ABSORPTION,
        "mean_correlation": graph_network.MEAN_CORRELATION,
        "beta_change": graph_relations.BETA_CHANGE,
    }
    assert named == {name: _COLUMN[name] for name in named}
    assert [dict(item.params)["column"] for item in GRAPH_FEATURES] == list(range(24))
    assert {(dict(item.params)["short"], dict(item.params)["long"]) for item in GRAPH_FEATURES} == {(60, 240)}


@pytest.mark.parametrize(
    ("n_symbols", "short", "long", "seed"),
    [
        (20, 60, 240, 1),
        (20, 60, 240, 2),
        (7, 20, 61, 3),
        (4, 60, 60, 4),
        (3, 10, 240, 5),
        (2, 60, 240, 6),
        (1, 60, 240, 7),
    ],
)
def test_values_are_those_of_networkx(n_symbols: int, short: int, long: int, seed: int) -> None:
    returns, ofi = _market(long + N_LAGS, n_symbols, seed=seed), _ofi(n_symbols, seed=seed)
    eth = 1 if n_symbols > 1 else None
    actual = _compute(returns, ofi, eth=eth, short=short, long=long)
    np.testing.assert_allclose(actual, _expected(returns, ofi, eth=eth, short=short, long=long), rtol=1e-8, atol=1e-8)
    if n_symbols > 2:
        assert np.isfinite(np.delete(actual, _COLUMN["neighbour_ofi"], axis=1)).all()


def test_values_of_unrelated_symbols_are_those_of_networkx() -> None:
    """Without a common factor eigenvalues lie close together, which iterations find hard."""
    returns, ofi = 0.01 * np.random.default_rng(8).standard_normal((243, 30)), _ofi(30, seed=8)
    np.testing.assert_allclose(_compute(returns, ofi), _expected(returns, ofi), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("btc", "eth"), [(None, 1), (0, None), (None, None)])
def test_without_a_reference_its_features_are_missing(btc: int | None, eth: int | None) -> None:
    returns, ofi = _market(243, 6, seed=9), _ofi(6, seed=9)
    actual = _compute(returns, ofi, btc=btc, eth=eth)
    np.testing.assert_allclose(actual, _expected(returns, ofi, btc=btc, eth=eth), rtol=1e-8, atol=1e-8)
    of_btc = [name for name in _NAMES if "btc" in name or name == "beta_change"]
    of_eth = [name for name in _NAMES if "eth" in name]
    missing = [*(of_btc if btc is None else []), *(of_eth if eth is None else [])]
    assert {name for name in _NAMES if np.isnan(actual[:, _COLUMN[name]]).all()} == set(missing)


def test_a_symbol_with_a_gap_has_no_part_in_the_graph() -> None:
    """Its features are missing; the others' are as if it were not there."""
    returns, ofi = _market(243, 8, seed=10), _ofi(8, seed=10)
    returns[120, 5] = np.nan
    actual = _compute(returns, ofi)
    assert np.isnan(actual[5]).all()
    others = [0, 1, 2, 3, 4, 6, 7]
    np.testing.assert_array_equal(actual[others], _compute(returns[:, others], ofi[others]))
    returns[120, 0] = np.nan
    assert np.isnan(_compute(returns, ofi)[1:, _COLUMN["beta_btc"]]).all()


def test_a_lead_is_missing_where_the_earlier_bars_are() -> None:
    returns, ofi = _market(243, 5, seed=11), _ofi(5, seed=11)
    returns[1, 0] = np.nan
    row = _compute(returns, ofi)[2]
    assert [bool(np.isnan(row[_COLUMN[f"btc_lead_{lag}"]])) for lag in (1, 2, 3)] == [False, True, True]
    returns[:3] = np.nan
    row = _compute(returns, ofi)[2]
    assert [name for name in _NAMES if np.isnan(row[_COLUMN[name]])] == ["btc_lead_1", "btc_lead_2", "btc_lead_3"]


def test_without_any_book_the_neighbours_order_flow_is_missing() -> None:
    actual = _compute(_market(243, 5, seed=12), np.full(5, np.nan))
    assert np.isnan(actual[:, _COLUMN["neighbour_ofi"]]).all()
    one_book = np.full(5, np.nan)
    one_book[2] = 0.4
    flow = _compute(_market(243, 5, seed=12), one_book)[:, _COLUMN["neighbour_ofi"]]
    assert np.isnan(flow[2])
    assert np.abs(np.delete(flow, 2)) == pytest.approx([0.4] * 4)


def test_halted_and_equal_symbols_give_defined_values() -> None:
    """No movement has correlation 0 with everything; symbols that move as one are at distance 0."""
    returns = np.zeros((243, 5))
    halted = _compute(returns, np.zeros(5))
    assert np.isfinite(halted).all()
    assert (halted[:, _COLUMN["strength"]] == 0.0).all()
    assert (halted[:, _COLUMN["centrality"]] == 1.0).all()
    assert halted[:, _COLUMN["absorption_ratio"]] == pytest.approx([0.2] * 5)
    returns[:] = _market(243, 1, seed=13)
    equal = _compute(returns, np.zeros(5))
    assert np.isfinite(equal).all()
    for name, value in {"strength": 1, "clustering": 1, "beta_btc": 1, "absorption_ratio": 1, "corr_eth_60": 1}.items():
        assert equal[:, _COLUMN[name]] == pytest.approx([value] * 5, abs=1e-9), name
    assert equal[:, _COLUMN["tree_distance_btc"]] == pytest.approx([0.0] * 5, abs=1e-6)


def test_betas_and_residuals_of_a_made_up_market() -> None:
    """Ether is Bitcoin doubled; a third coin follows Bitcoin two bars later."""
    btc = 0.01 * np.random.default_rng(14).standard_normal(243)
    eth, late = 2 * btc, np.concatenate(([0.0, 0.0], btc[:-2]))
    row = _compute(np.column_stack([btc, eth, late]), np.zeros(3))
    assert row[1, _COLUMN["beta_btc"]] == pytest.approx(2.0, rel=1e-9)
    assert row[1, _COLUMN["residual_btc"]] == pytest.approx(0.0, abs=1e-12)
    assert row[1, _COLUMN["beta_change"]] == pytest.approx(0.0, abs=1e-9)
    assert row[2, _COLUMN["btc_lead_2"]] == pytest.approx(1.0, rel=1e-9)
    assert abs(row[2, _COLUMN["btc_lead_1"]]) < 0.3
    weight = float(np.corrcoef(btc[-240:], late[-240:])[0, 1])
    expected = (eth[-1] + weight * late[-1]) / (1.0 + abs(weight))
    assert row[0, _COLUMN["neighbour_return_1"]] == pytest.approx(expected, rel=1e-9)
    assert row[:, _COLUMN["tree_degree"]].sum() == 4.0


def _window(n_symbols: int) -> GraphWindow:
    return GraphWindow(["BTC/USDT", "ETH/USDT", *(f"C{i}/USDT" for i in range(n_symbols - 2))])


def _replay(window: GraphWindow, returns: FloatArray, ofi: FloatArray) -> FloatArray:
    rows = []
    for row in returns:
        window.push(row)
        rows.append(window.features(ofi))
    return np.array(rows)


def test_features_appear_once_the_windows_are_full() -> None:
    rows = _replay(_window(6), _market(250, 6, seed=15), np.ones(6))
    for item in GRAPH_FEATURES:
        column = rows[:, :, _COLUMN[item.name.removeprefix("graph_")]]
        # A return takes two bars: after k returns k + 1 bars have been seen.
        assert np.isnan(column[: item.warmup_bars - 1]).all(), item.name
        assert np.isfinite(column[item.warmup_bars - 1 :]).all(), item.name


def test_no_value_sees_the_future() -> None:
    returns, ofi = _market(300, 6, seed=16), np.ones(6)
    before = _replay(_window(6), returns, ofi)
    changed = returns.copy()
    changed[261:] = 5 * np.random.default_rng(17).standard_normal((39, 6))
    after = _replay(_window(6), changed, ofi)
    np.testing.assert_array_equal(after[:261], before[:261])
    assert (after[261:] != before[261:]).any(axis=(1, 2)).all()


def test_values_do_not_depend_on_where_the_history_starts() -> None:
    returns, ofi = _market(500, 6, seed=18), np.ones(6)
    np.testing.assert_array_equal(
        _replay(_window(6), returns[200:], ofi)[-50:], _replay(_window(6), returns, ofi)[-50:]
    )


def test_a_restart_changes_nothing() -> None:
    """After any number of bars: before the ring is full, and after it has been."""
    returns, ofi = _market(600, 4, seed=19), np.ones(4)
    returns[100, 3] = np.nan
    for n_before in (0, 7, 243, 301):
        whole, before = _window(4), _window(4)
        for row in returns[:n_before]:
            whole.push(row)
            before.push(row)
        restored = GraphWindow.from_bytes(before.to_bytes())
        assert (restored.symbols, restored.references) == (whole.symbols, whole.references)
        np.testing.assert_array_equal(
            _replay(restored, returns[n_before : n_before + 250], ofi),
            _replay(whole, returns[n_before : n_before + 250], ofi),
        )


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"\xff\xfe\n123", b"cut", b"more", b"symbols"])
def test_damaged_states_are_refused(damage: bytes) -> None:
    data = _window(3).to_bytes()
    header, _, body = data.partition(b"\n")
    fields = json.loads(header)
    damaged = {
        b"cut": data[:-8],
        b"more": data + b"12345678",
        b"symbols": json.dumps({**fields, "symbols": ["A/B", "A/B"]}).encode() + b"\n" + body,
    }
    with pytest.raises(ArtifactError, match="graph window"):
        GraphWindow.from_bytes(damaged.get(damage, damage))


def test_references_are_the_first_by_name() -> None:
    symbols = ["XRP/USDT", "ETH/USDT", "BTC/USDT", "BTC/EUR", "WBTC/USDT"]
    assert reference_symbols(symbols) == ("BTC/EUR", "ETH/USDT")
    assert reference_symbols(["WBTC/USDT", "XRP/USDT"]) == (None, None)
    assert GraphWindow(symbols, references=("XRP/USDT", None)).references == ("XRP/USDT", None)


@pytest.mark.parametrize(
    ("symbols", "options"),
    [
        ([], {}),
        (["A/B", "A/B"], {}),
        (["A/B"], {"references": ("BTC/USDT", None)}),
        (["A/B"], {"short": 1}),
        (["A/B"], {"short": 10, "long": 9}),
    ],
)
def test_windows_that_make_no_sense_are_refused(symbols: Sequence[str], options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        GraphWindow(symbols, **options)  # type: ignore[arg-type]


def test_arrays_of_another_shape_are_refused() -> None:
    window = _window(3)
    with pytest.raises(InputError, match="3 symbols"):
        window.push(np.zeros(2))
    with pytest.raises(InputError, match="3 symbols"):
        window.features(np.zeros(4))


def test_recorded_coins_form_one_market() -> None:
    """On 20 recorded perpetuals values agree with networkx and show what is known of this market."""
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("RATCHET_REAL_DATA", root.parent / "shared" / "data")) / "candles/binance_1h_2023_2025"
    if not folder.is_dir():
        pytest.skip(f"no recorded candles: {folder} is absent, set RATCHET_REAL_DATA")
    closes = {path.name.removesuffix("USDT_1h.parquet"): pd.read_parquet(path)["close"] for path in folder.glob("*")}
    frame = pd.DataFrame(closes).sort_index().tail(1200)
    frame = frame[["BTC", "ETH", *sorted(set(closes) - {"BTC", "ETH"})]]
    returns, ofi = np.diff(np.log(frame.to_numpy()), axis=0), np.linspace(-1.0, 1.0, frame.shape[1])
    windows = [returns[end - 243 : end] for end in range(243, len(returns), 200)]
    rows = np.array([_compute(window, ofi) for window in windows])
    for row, window in zip(rows, windows, strict=True):
        np.testing.assert_allclose(row, _expected(window, ofi), rtol=1e-8, atol=1e-8)
    assert rows.shape == (5, 20, 24)
    mean = rows.mean(axis=0)
    assert 0.3 < mean[0, _COLUMN["mean_correlation"]] < 0.95
    assert mean[1, _COLUMN["corr_btc_240"]] > 0.6
    assert mean[2:, _COLUMN["beta_btc"]].mean() > 0.8
