"""Feature health, use of features, their tables and their pictures."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from scipy.signal import lfilter

from ratchet.cli.feature_render import render_feature, render_features, render_health, render_skew, render_usage
from ratchet.errors import ArtifactError, ConfigurationError, InputError
from ratchet.features.audit.health import FeatureBaseline, FeatureHealth, check_features, describe_features
from ratchet.features.audit.skew import FeatureSkew, Share, SkewReport
from ratchet.features.audit.usage import UsageReport, model_use, report_usage
from ratchet.features.definitions import FeatureDefinition, define
from ratchet.features.pictures import feature_picture, overview_picture

_HOUR_NS = 3_600_000_000_000
_START_NS = 1_704_067_200_000_000_000
_N_TRAINED = 20_000
VERMILLION, BLUE = (213, 94, 0), (0, 114, 178)


def _names(n_features: int) -> list[str]:
    return [f"f{column}" for column in range(n_features)]


def _normal(n_rows: int, n_features: int, seed: int, persistence: float = 0.0) -> NDArray[np.float32]:
    """Standard normal columns; each row keeps the share `persistence` of the row before."""
    noise = np.random.default_rng(seed).normal(size=(n_rows + 1_000, n_features))
    series = lfilter([np.sqrt(1.0 - persistence**2)], [1.0, -persistence], noise, axis=0)
    return np.asarray(series[1_000:], dtype=np.float32)


def _check(baseline: FeatureBaseline, values: NDArray[np.float32], *, age_ns: int = 0) -> FeatureHealth:
    return check_features(baseline, values, newest_ns=1_000, now_ns=1_000 + age_ns, ttl_ns=10)


def _flag_rate(n_rows: int, *, shift: float, persistence: float) -> float:
    baseline = describe_features(_normal(_N_TRAINED, 40, 1, persistence), _names(40))
    checks = [_check(baseline, _normal(n_rows, 40, seed, persistence) + np.float32(shift)) for seed in range(10, 20)]
    return sum(len(health.flagged) for health in checks) / (40 * len(checks))


@pytest.mark.parametrize(("n_rows", "persistence"), [(500, 0.0), (50, 0.0), (500, 0.9)])
def test_an_unchanged_feature_is_not_flagged(n_rows: int, persistence: float) -> None:
    """Of 400 samples of the same distribution less than 1 % is flagged: few rows, and rows that are alike, included."""
    assert _flag_rate(n_rows, shift=0.0, persistence=persistence) < 0.01


@pytest.mark.parametrize(("shift", "persistence"), [(0.5, 0.0), (-0.5, 0.0), (2.0, 0.9)])
def test_a_shifted_feature_is_flagged(shift: float, persistence: float) -> None:
    """Half a standard deviation is found in 500 independent rows, two in 500 rows that are alike."""
    assert _flag_rate(500, shift=shift, persistence=persistence) > 0.98


def test_the_bands_alone_would_flag_chance() -> None:
    """With 50 rows, chance alone lifts the index above 0.1 more often than not, as its formula says."""
    baseline = describe_features(_normal(_N_TRAINED, 40, 1), _names(40))
    found = [item.psi for seed in range(5) for item in _check(baseline, _normal(50, 40, 50 + seed)).features]
    measured = np.array(found, dtype=np.float64)
    assert np.mean(measured > 0.1) > 0.5
    assert measured.mean() == pytest.approx(9 * (1 / 50 + 1 / _N_TRAINED), rel=0.15)


def test_a_profile_says_what_training_was() -> None:
    """Missing share, moments, quantiles and ten bins with a tenth of the rows each; as JSON and back unchanged."""
    values = _normal(_N_TRAINED, 2, 1)
    values[:2_000, 1] = np.nan
    baseline = describe_features(values, ["a", "b"])
    whole, holed = baseline.features
    assert (whole.null_rate, holed.n_values) == (0.0, 18_000)
    assert holed.null_rate == pytest.approx(0.1)
    assert whole.mean == pytest.approx(0.0, abs=0.02)
    assert whole.std == pytest.approx(1.0, abs=0.02)
    assert whole.quantiles[4] == pytest.approx(0.0, abs=0.03)
    assert len(whole.edges) == 9
    assert whole.shares == pytest.approx([0.1] * 10, abs=1e-3)
    assert sum(whole.bars) == pytest.approx(1.0)
    assert whole.noise_scale == pytest.approx(1.3, abs=0.3)
    assert whole.noise_freedom == pytest.approx(7.0, abs=2.0)
    assert FeatureBaseline.model_validate_json(baseline.model_dump_json()) == baseline


def test_constant_and_repeated_values_have_bins_of_their_own() -> None:
    """A constant is stable while it stays, and shifted when it moves either way; so is the share of a common value."""
    rng = np.random.default_rng(1)
    trained = np.column_stack((np.full(5_000, 3.0), np.where(rng.random(5_000) < 0.6, 0.0, rng.random(5_000))))
    baseline = describe_features(trained.astype(np.float32), ["constant", "mostly_zero"])
    assert sum(baseline.features[1].shares) == pytest.approx(1.0)
    assert max(baseline.features[1].shares) == pytest.approx(0.6, abs=0.03)
    assert _check(baseline, trained[:500].astype(np.float32)).is_healthy
    for moved in (3.5, 2.5):
        now = trained[:500].astype(np.float32)
        now[:, 0] = moved
        assert [item.name for item in _check(baseline, now).flagged] == ["constant"]
    now = trained[:500].astype(np.float32)
    now[:, 1] = np.where(rng.random(500) < 0.1, 0.0, rng.random(500))
    assert [item.name for item in _check(baseline, now).flagged] == ["mostly_zero"]


def test_a_feature_that_stands_still_is_flagged() -> None:
    """A feed that froze gives one value for ever, also one that is not rare."""
    baseline = describe_features(_normal(_N_TRAINED, 1, 1, 0.9), ["a"])
    (condition,) = _check(baseline, np.zeros((500, 1), np.float32)).features
    assert any("stands still at 0" in finding for finding in condition.findings)


def test_missing_values_are_judged() -> None:
    """A feature that was always missing may stay so; one that goes missing, or appears, is flagged."""
    trained = _normal(5_000, 4, 1)
    trained[:, 1] = np.nan
    trained[::10, 3] = np.nan
    baseline = describe_features(trained, _names(4))
    assert baseline.features[1].quantiles == ()
    now = _normal(500, 4, 2)
    now[:, 1] = np.nan
    now[::10, 3] = np.nan
    assert _check(baseline, now).is_healthy
    now[:, 0] = np.nan
    now[:100, 2] = np.nan
    now[:, 1] = 1.0
    health = _check(baseline, now)
    assert [item.name for item in health.flagged] == ["f0", "f1", "f2"]
    assert health.features[0].psi is None
    assert health.features[0].band == health.features[1].band == "unknown"
    assert health.features[2].null_change == pytest.approx(0.2)


@pytest.mark.parametrize(("age_ns", "is_fresh"), [(0, True), (10, True), (11, False), (-1, False)])
def test_freshness_is_the_age_of_the_newest_row(age_ns: int, is_fresh: bool) -> None:
    """Up to the limit it is fresh; later, or from the future, it is not."""
    values = _normal(500, 1, 1)
    health = _check(describe_features(values, ["a"]), values, age_ns=age_ns)
    assert (health.is_fresh, health.is_healthy, health.age_ns) == (is_fresh, is_fresh, age_ns)


def test_rows_that_cannot_be_judged_are_refused() -> None:
    """No rows, another width and infinities are an InputError."""
    values = _normal(100, 2, 1)
    baseline = describe_features(values, ["a", "b"])
    for wrong in (values[:0], values[:, :1], values[0]):
        with pytest.raises(InputError, match="2 columns and a row are needed"):
            _check(baseline, wrong)
    values[3, 1] = np.inf
    with pytest.raises(InputError, match="infinities"):
        describe_features(values, ["a", "b"])


def _definition(name: str, deprecated: str = "") -> FeatureDefinition:
    return define(
        name,
        "close",
        14,
        "-1..1",
        f"What {name} is.",
        family="indicator",
        source="bars",
        period=14.0,
        deprecated=deprecated,
    )


@pytest.fixture
def usage() -> UsageReport:
    """Two models on four features, of which one is deprecated and one is unused; one model uses a lost one."""
    catalogue = {name: _definition(name) for name in ("rsi", "adx", "cci")}
    catalogue["old"] = _definition("old", deprecated="use rsi")
    described: dict[str, Any] = {"feature_view": "v", "schema_hash": "aa", "feature_names": ["rsi", "old"], "window": 4}
    models = [
        model_use("alpha", "v1.0.0", "production", described),
        model_use("beta", "v1.0.0", "staging", described | {"schema_hash": "bb", "feature_names": ["rsi", "gone"]}),
    ]
    return report_usage(catalogue, {"aa": "small"}, models)


def test_use_is_matched_with_models(usage: UsageReport) -> None:
    """Sets by their hash, features by their name; what nobody uses and what nobody should use is listed."""
    assert [model.set_name for model in usage.models] == ["small", None]
    assert usage.features[0].used_by == ("alpha v1.0.0 (production)", "beta v1.0.0 (staging)")
    assert [feature.name for feature in usage.unused] == ["adx", "cci"]
    assert [feature.name for feature in usage.deprecated_in_use] == ["old"]
    assert usage.unknown == {"gone": ("beta v1.0.0 (staging)",)}
    assert UsageReport.model_validate_json(usage.model_dump_json()) == usage


def test_metadata_without_features_are_refused() -> None:
    """A version that does not say what it uses is named."""
    with pytest.raises(ArtifactError, match=r"alpha v1\.0\.0: metadata schema_hash"):
        model_use("alpha", "v1.0.0", "none", {"feature_view": "v", "feature_names": []})


def _shifted() -> tuple[FeatureBaseline, NDArray[np.float32], FeatureHealth]:
    """Five features: fine, shifted, all missing now, partly missing, never there."""
    trained, now = _normal(5_000, 5, 1), _normal(600, 5, 2)
    trained[:, 4] = now[:, 4] = now[:, 2] = now[200:300, 3] = np.nan
    now[:, 1] += 2.0
    baseline = describe_features(trained, ["fine", "shifted", "lost", "holed", "never"])
    return baseline, now, _check(baseline, now)


def _text(render: Any, *given: Any, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=160, color_system=None, highlight=False)
    render(console, *given, **options)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_tables_say_what_was_found(usage: UsageReport) -> None:
    """Each table names what it is about; healthy features are listed only on request."""
    definitions = [_definition("rsi"), _definition("old", deprecated="use rsi")]
    listed = _text(render_features, definitions, {"rsi": ["alpha v1.0.0"]})
    assert "old (deprecated)" in listed
    assert "2 features" in listed
    shown = _text(render_feature, definitions[1], ["alpha v1.0.0 (production)"])
    assert "What old is." in shown
    assert "period 14" in shown
    assert "use rsi" in shown
    health = _shifted()[2]
    short, long = _text(render_health, health), _text(render_health, health, every=True)
    assert "3 of 5 features flagged in 600 rows" in short
    assert "fine" not in short
    assert "fine" in long
    told = _text(render_usage, usage)
    assert "2 of 4 features unused" in told
    assert "gone is in no catalogue any more" in told
    assert "old is deprecated (use rsi) and used by alpha v1.0.0 (production)" in told


def test_the_table_of_a_skew_audit_names_the_feature() -> None:
    """The verdict, the feature, and what was lost on the way are printed."""
    wrong = FeatureSkew(
        name="rsi", n_compared=20, n_mismatched=5, n_one_sided=1, rate=0.25, largest_difference=0.5, resembles="adx"
    )
    report = SkewReport(
        tolerance=1e-5,
        max_mismatch_rate=1e-3,
        n_answers=100,
        n_answers_mismatched=25,
        n_unknown=2,
        n_rewritten=1,
        windows=Share.of(5, 20),
        features=(wrong,),
        alarm=True,
        verdict="skew",
    )
    text = _text(render_skew, report, n_lost=7)
    assert "skew: 5 of 20 windows differ from history (25.00%, 95 % interval 11.19% to 46.87%)" in text
    assert "7 answers not logged" in text
    assert "adx" in text


def _pixels(png: bytes) -> NDArray[np.int64]:
    image = pytest.importorskip("matplotlib.image")
    pixels: Any = image.imread(io.BytesIO(png), format="png")
    return np.asarray(np.rint(pixels[:, :, :3] * 255), dtype=np.int64)


def _count(png: bytes, colour: tuple[int, int, int]) -> int:
    return int((_pixels(png) == colour).all(axis=2).sum())


def test_a_picture_per_feature() -> None:
    """What is flagged is said in the warning colour; a feature without any value can be drawn as well."""
    baseline, now, health = _shifted()
    times = _START_NS + np.arange(len(now)) * _HOUR_NS
    pictures = {
        profile.name: feature_picture(profile, condition, times, now[:, column], title=profile.name)
        for column, (profile, condition) in enumerate(zip(baseline.features, health.features, strict=True))
    }
    assert all(_pixels(png).shape == (768, 1_320, 3) for png in pictures.values())
    assert {name for name, png in pictures.items() if _count(png, VERMILLION)} == {"shifted", "lost", "holed"}
    missing = {name: _count(png[:], BLUE) for name, png in pictures.items()}
    assert missing["lost"] > missing["holed"] + 10_000
    first = feature_picture(baseline.features[0], health.features[0], times, now[:, 0], title="fine")
    assert first == pictures["fine"]
    with pytest.raises(InputError, match="cannot be drawn"):
        feature_picture(baseline.features[0], health.features[0], times[1:], now[:, 0], title="t")


def test_a_picture_of_all_features() -> None:
    """A bar per feature that can be compared; the longest bar is the flagged one, cut at the edge."""
    _, _, health = _shifted()
    png = overview_picture(health, title="Features")
    assert _count(png, VERMILLION) > 10 * _count(png, BLUE) > 0
    nothing = describe_features(np.full((50, 1), np.nan, np.float32), ["a"])
    with pytest.raises(InputError, match="no feature has enough values"):
        overview_picture(_check(nothing, np.full((50, 1), np.nan, np.float32)), title="t")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Matplotlib, the message says what to install."""
    _, _, health = _shifted()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r"Matplotlib is missing; .*ratchet\[collect\]"):
        overview_picture(health, title="t")
