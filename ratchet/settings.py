"""One frozen settings tree, read once at each edge and passed down.

Environment variables carry the prefix `RATCHET_` and nest with `__`: `RATCHET_SERVING__PORT=8002`. URLs choose
engines; an unset URL means the embedded default below `home`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ratchet.errors import ConfigurationError

TELEMETRY_OFF = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "GX_ANALYTICS_ENABLED": "false",
}
"""What switches off the telemetry of every dependency; each value is the spelling that its package honours."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServingSettings(_Section):
    """The model server."""

    host: str = Field("127.0.0.1", description="Address the model server binds to.")
    port: int = Field(8001, ge=1, le=65535, description="Port of the model server.")
    poll_interval_s: float = Field(1.0, gt=0, description="How often the server looks for a new production version.")
    max_body_bytes: int = Field(1_048_576, gt=0, description="Largest request body that is read.")
    audit_share: float = Field(
        1.0, ge=0, le=1, description="Share of the predictions by symbol whose features are logged for the skew audit."
    )
    audit_kept: int = Field(100_000, ge=1, description="How many of the newest logged predictions are kept.")


class PrefectSettings(_Section):
    """The Prefect server that `ratchet up` runs."""

    host: str = Field("127.0.0.1", description="Address of the Prefect server.")
    port: int = Field(4200, ge=1, le=65535, description="Port of the Prefect server and UI.")


class MlflowSettings(_Section):
    """The MLflow UI that `ratchet up` runs."""

    host: str = Field("127.0.0.1", description="Address of the MLflow server.")
    port: int = Field(5000, ge=1, le=65535, description="Port of the MLflow server and UI.")


class CostSettings(_Section):
    """What one side of a trade costs, in basis points of its value, and what holding and delay cost."""

    fee_bps: float = Field(4.0, ge=0, description="Taker fee per side, bps.")
    half_spread_bps: float = Field(0.5, ge=0, description="Half the quoted spread, bps.")
    slippage_bps: float = Field(0.5, ge=0, description="Slippage per side, bps.")
    funding_bps_per_day: float = Field(0.0, ge=0, description="Paid per day on what is held, long or short, bps.")
    latency_bars: int = Field(0, ge=0, description="Bars by which an order is entered later than the next open.")

    @property
    def one_side_bps(self) -> float:
        """Cost of one side, bps."""
        return self.fee_bps + self.half_spread_bps + self.slippage_bps

    @property
    def round_trip_bps(self) -> float:
        """Cost of entering and leaving, bps."""
        return 2 * self.one_side_bps


class QualitySettings(_Section):
    """What the quality gate tolerates of candles; `ratchet.data.quality.QualityPolicy` has the rest."""

    max_quarantined_share: float = Field(0.005, ge=0, le=1, description="Largest share of rows in quarantine.")
    min_coverage: float = Field(0.9, ge=0, le=1, description="Least share of bars that a symbol must have.")
    min_stale_bars: int = Field(24, ge=2, description="Bars of the same prices without volume that count as stale.")
    max_zero_volume_bars: int = Field(12, ge=1, description="Longest run of bars without volume before a warning.")
    max_age_bars: int = Field(3, ge=0, description="Bars that a live market may be late before it fails the gate.")


class RecorderSettings(_Section):
    """The recorder of order books and trades that `ratchet up` runs where symbols are named."""

    source: str = Field("binance://", description="Venue whose order books and trades `ratchet up` records.")
    symbols: str = Field("", description="Symbols that `ratchet up` records, comma separated; empty: no recorder.")

    @property
    def symbol_list(self) -> list[str]:
        """The symbols one by one."""
        return [symbol.strip() for symbol in self.symbols.split(",") if symbol.strip()]


class Settings(BaseSettings):
    """Everything that can be configured; unknown keys fail."""

    model_config = SettingsConfigDict(
        env_prefix="RATCHET_", env_nested_delimiter="__", frozen=True, extra="forbid", env_file=None
    )

    home: Path = Field(Path("var"), description="Folder of all artefacts: datasets, registry, MLflow, logs.")
    registry_url: str | None = Field(None, description="Database of the registry; unset: SQLite below home.")
    tracking_url: str | None = Field(None, description="MLflow tracking store; unset: SQLite below home.")
    online_store_url: str | None = Field(
        None, description="Online feature store: sqlite:///PATH or redis://HOST:PORT/DB; unset: SQLite below home."
    )
    gate_policy: Path | None = Field(
        None, description="TOML file that says what a challenger has to show; unset: the defaults of GatePolicy."
    )
    serving: ServingSettings = ServingSettings()
    prefect: PrefectSettings = PrefectSettings()
    mlflow: MlflowSettings = MlflowSettings()
    quality: QualitySettings = QualitySettings()
    recorder: RecorderSettings = RecorderSettings()
    costs: CostSettings = CostSettings()

    @property
    def root(self) -> Path:
        """`home` as an absolute path."""
        return self.home.expanduser().resolve()

    @property
    def history_root(self) -> Path:
        """Folder of the candle history and its gap ledger."""
        return self.root / "market" / "candles"

    @property
    def recordings_root(self) -> Path:
        """Folder of recorded order books and trades."""
        return self.root / "market"

    @property
    def features_root(self) -> Path:
        """Folder of feature tables and of the stream's checkpoints."""
        return self.root / "features"

    @property
    def registry_database_url(self) -> str:
        """Where the registry's truth is kept."""
        return self.registry_url or f"sqlite:///{self.root / 'registry' / 'registry.sqlite'}"

    @property
    def tracking_store_url(self) -> str:
        """Where MLflow keeps runs."""
        return self.tracking_url or f"sqlite:///{self.root / 'mlflow' / 'mlflow.db'}"

    @property
    def online_store_database_url(self) -> str:
        """Where serving finds the latest feature windows."""
        return self.online_store_url or f"sqlite:///{self.root / 'online' / 'online.sqlite'}"

    @property
    def trials_path(self) -> Path:
        """File that counts every retraining and tuning trial."""
        return self.root / "evaluation" / "trials.sqlite"

    @property
    def served_log_path(self) -> Path:
        """File in which the model server logs the features that it answered from."""
        return self.root / "online" / "served.sqlite"

    @property
    def serving_url(self) -> str:
        """Base URL of the model server."""
        return f"http://{self.serving.host}:{self.serving.port}"

    @property
    def prefect_api_url(self) -> str:
        """API URL of the Prefect server."""
        return f"http://{self.prefect.host}:{self.prefect.port}/api"

    @property
    def mlflow_ui_url(self) -> str:
        """URL of the MLflow UI."""
        return f"http://{self.mlflow.host}:{self.mlflow.port}"


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        ConfigurationError: a variable has a wrong value or names no setting.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        where = "RATCHET_" + "__".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{where}: {first['msg']} (got {first.get('input')!r})") from error


def silence_telemetry(environ: MutableMapping[str, str]) -> None:
    """Switch off the telemetry of every dependency, unless the user has set it otherwise.

    Call it at an edge before the dependencies are imported.
    """
    for name, value in TELEMETRY_OFF.items():
        environ.setdefault(name, value)
