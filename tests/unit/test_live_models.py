"""What a live stream takes from a model in production: its venue, symbols, features and windows."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.cli.feature_streams import options_for
from ratchet.clock import SystemClock
from ratchet.errors import ConfigurationError, InputError, NotFoundError
from ratchet.evaluation.turn import RetrainRequest
from ratchet.features.sets import FeatureSet
from ratchet.registry import FileRegistry
from ratchet.rollout.live_features import features_of, find_live, list_live
from ratchet.settings import Settings
from ratchet.testing.gate import gate_report

VENUE = "binance://?url=http://127.0.0.1:9/binance"


def _register(settings: Settings, name: str, *, source: str = VENUE, features: str = "core", schema: str = "") -> None:
    """Put a version into production that says what it reads."""
    request = RetrainRequest.create(source=source, symbols=["BTC/USDT"], timeframe="1m", model=name, features=features)
    metadata = {
        "request": request.model_dump(mode="json"),
        "feature_view": f"{name}-view",
        "schema_hash": schema or FeatureSet.named(features).schema_hash,
        "window": 32,
        "symbols": ["BTC/USDT"],
    }
    files: dict[str, Path | bytes] = {"model.onnx": b"onnx", "gate.json": gate_report(b"onnx")}
    with FileRegistry(settings.root / "registry", settings.registry_database_url, SystemClock()) as registry:
        version = registry.register_model(name, files, metadata, {}, actor="test", reason="test")
        registry.set_production_model(version.name, version.version, actor="test", reason="test")


def test_a_stream_for_a_model_writes_what_the_model_reads(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    _register(settings, "minute")
    options = options_for(settings, SystemClock(), "minute")
    assert (options.source, options.symbols, options.timeframe) == (VENUE, ("BTC/USDT",), "1m")
    assert (options.set_name, options.window, options.view) == ("core", 32, "minute-view")
    assert options.engine().schema_hash == FeatureSet.named("core").schema_hash


def test_models_without_a_market_or_of_other_features_are_refused_by_name(tmp_path: Path) -> None:
    settings, clock = Settings(home=tmp_path), SystemClock()
    with pytest.raises(NotFoundError, match="minute is in production"):
        options_for(settings, clock, "minute")
    _register(settings, "made-up", source="simulated://")
    with pytest.raises(InputError, match="does not go on"):
        options_for(settings, clock, "made-up")
    _register(settings, "old", schema="0" * 64)
    with pytest.raises(ConfigurationError, match="another version of the feature set 'core'"):
        features_of(find_live(settings, clock, "old"))
    with pytest.raises(InputError, match="name one with --model"):
        find_live(settings, clock)
    assert [version.name for version in list_live(settings, clock)] == ["made-up", "old"]
