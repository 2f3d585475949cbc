"""Stages shown in MLflow, files kept in MLflow, and models loaded by stage."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from ratchet.clock import FixedClock
from ratchet.errors import (
    ArtifactError,
    CandidateRejectedError,
    ConfigurationError,
    InputError,
    NotFoundError,
    RegistryConflictError,
    UnavailableError,
)
from ratchet.registry import FileRegistry, ModelRegistry, ModelVersion
from ratchet.registry.loading import load_model_from_registry
from ratchet.registry.mlflow import MlflowRegistry
from ratchet.registry.mlflow_show import ShownStage
from ratchet.registry.mlflow_stages import TRANSITIONS, MlflowCatalog
from ratchet.testing.gate import gate_report
from tests.mlflow_stores import migrated_store
from tests.serving.workshop import N_FEATURE, N_TIME, metadata, run_onnx, tiny_onnx, window

__all__ = ["migrated_store"]

# MLflow announces what it will remove as FutureWarning.
pytestmark = [
    pytest.mark.filterwarnings("error::FutureWarning"),
    pytest.mark.filterwarnings("error::DeprecationWarning"),
]
WHO: Any = {"actor": "test", "reason": "to see"}
STAGES: tuple[ShownStage, ...] = get_args(ShownStage)
HOUR_NS = 3_600 * 1_000_000_000


@dataclass
class Mirrored:
    """A file registry, the catalog that shows it, and MLflow's own client on the same store."""

    registry: FileRegistry
    catalog: MlflowCatalog
    client: Any
    folder: Path

    def move(self, version: str, stage: ShownStage, **options: Any) -> Any:
        return self.catalog.transition_model_stage(self.registry, "btc", version, stage, **{**WHO, **options})

    def aliases(self) -> dict[str, str]:
        """The alias and which of our versions it is on."""
        found = self.client.get_registered_model("btc").aliases
        return {
            alias: self.client.get_model_version("btc", number).tags["ratchet.version"]
            for alias, number in found.items()
        }


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(10**18)


@pytest.fixture
def store(tmp_path: Path, migrated_store: Path) -> str:
    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def client(store: str) -> Any:
    from mlflow import MlflowClient  # noqa: PLC0415 - after telemetry is off

    return MlflowClient(tracking_uri=store, registry_uri=store)


@pytest.fixture
def mirrored(store: str, client: Any, tmp_path: Path, clock: FixedClock) -> Iterator[Mirrored]:
    with file_registry(tmp_path, clock) as registry:
        yield Mirrored(registry, MlflowCatalog(store, tmp_path / "artifacts", clock), client, tmp_path)


@pytest.fixture
def on_mlflow(store: str, tmp_path: Path, clock: FixedClock) -> Iterator[MlflowRegistry]:
    with mlflow_registry(store, tmp_path, clock) as registry:
        yield registry


@pytest.fixture
def experiment(client: Any, tmp_path: Path) -> str:
    """The id of an experiment of training runs."""
    return str(client.create_experiment("training", artifact_location=(tmp_path / "training").as_uri()))


def file_registry(folder: Path, clock: FixedClock) -> FileRegistry:
    root = folder / "registry"
    return FileRegistry(root, f"sqlite:///{root / 'registry.sqlite'}", clock)


def mlflow_registry(store: str, folder: Path, clock: FixedClock, database: str = "truth.sqlite") -> MlflowRegistry:
    return MlflowRegistry(store, folder / "artifacts", f"sqlite:///{folder / database}", clock)


def register(registry: ModelRegistry, model: bytes = b"onnx", *, is_judged: bool = True, **more: Any) -> ModelVersion:
    files: dict[str, Path | bytes] = {"model.onnx": model}
    if is_judged:
        files["gate.json"] = gate_report(model)
    return registry.register_model("btc", files, more, {}, **WHO)


def test_the_filter_of_this_module_would_notice_a_deprecated_call(client: Any) -> None:
    """MLflow's stages warn with a FutureWarning, which is an error here."""
    with pytest.raises(FutureWarning, match="get_latest_versions"):
        client.get_latest_versions("btc")


def test_a_version_goes_through_the_old_stages_as_tags_and_aliases(mirrored: Mirrored) -> None:
    """None, Staging, Production, Archived; the former production is archived and the alias moves."""
    first, second = register(mirrored.registry), register(mirrored.registry)
    for version in (first, second):
        mirrored.catalog.register_model_to_mlflow(mirrored.registry, version)
    assert mirrored.catalog.stage_of("btc", "v1.0.0") == "None"
    assert mirrored.move("v1.0.0", "Staging").is_shown
    assert mirrored.aliases() == {"v1-0-0": "v1.0.0", "v1-1-0": "v1.1.0", "staging": "v1.0.0"}
    assert mirrored.move("v1.0.0", "Production").version.stage == "production"
    mirrored.move("v1.1.0", "Production")
    assert mirrored.aliases() == {"v1-0-0": "v1.0.0", "v1-1-0": "v1.1.0", "production": "v1.1.0"}
    assert [mirrored.catalog.stage_of("btc", number) for number in ("v1.0.0", "v1.1.0")] == ["Archived", "Production"]
    mirrored.move("v1.1.0", "Archived")
    assert mirrored.aliases() == {"v1-0-0": "v1.0.0", "v1-1-0": "v1.1.0"}
    assert mirrored.client.get_model_version("btc", 2).current_stage == "None"  # MLflow's own stages stay untouched


@pytest.mark.parametrize(("start", "end"), list(product(STAGES, STAGES)))
def test_only_changes_in_the_table_are_made(
    start: ShownStage, end: ShownStage, tmp_path: Path, clock: FixedClock
) -> None:
    """Every pair of stages is allowed, in effect already, or refused by the table with nothing changed."""
    nowhere = MlflowCatalog("http://127.0.0.1:9", tmp_path / "artifacts", clock)  # MLflow has no say in it
    paths: dict[ShownStage, tuple[ShownStage, ...]] = {
        "None": (),
        "Staging": ("Staging",),
        "Production": ("Production",),
        "Archived": ("Staging", "Archived"),
    }
    with file_registry(tmp_path, clock) as registry:
        register(registry)
        for stage in paths[start]:
            nowhere.transition_model_stage(registry, "btc", "v1.0.0", stage, **WHO)
        epoch = registry.epoch()
        if start == end or end in TRANSITIONS[start]:
            moved = nowhere.transition_model_stage(registry, "btc", "v1.0.0", end, **WHO)
            assert (moved.version.stage, moved.is_shown) == (end.lower(), False)
            assert registry.epoch() == epoch + (start != end)
        else:
            with pytest.raises(RegistryConflictError, match=f"from {start} to {end}"):
                nowhere.transition_model_stage(registry, "btc", "v1.0.0", end, **WHO)
            assert registry.epoch() == epoch


def test_the_table_is_the_one_that_was_agreed() -> None:
    """Seven changes are allowed; production never goes back to staging, nothing goes back to None."""
    allowed = {(start, end) for start, ends in TRANSITIONS.items() for end in ends}
    assert allowed == {
        ("None", "Staging"),
        ("None", "Production"),
        ("Staging", "Production"),
        ("Staging", "Archived"),
        ("Production", "Archived"),
        ("Archived", "Staging"),
        ("Archived", "Production"),
    }


def test_the_registry_rules_hold_for_the_facade(mirrored: Mirrored) -> None:
    """No report of the gate, an old epoch or a retired version: refused, and MLflow shows nothing new."""
    register(mirrored.registry, is_judged=False)
    register(mirrored.registry)
    epoch = mirrored.registry.epoch()
    with pytest.raises(RegistryConflictError, match="gate"):
        mirrored.move("v1.0.0", "Production")
    mirrored.move("v1.1.0", "Staging")
    with pytest.raises(RegistryConflictError, match="moved on"):
        mirrored.move("v1.1.0", "Production", expected_epoch=epoch)
    with pytest.raises(NotFoundError):
        mirrored.move("v1.7.0", "Production")
    with pytest.raises(InputError):
        mirrored.move("production", "Archived")
    assert mirrored.aliases() == {"v1-1-0": "v1.1.0", "staging": "v1.1.0"}


def test_copying_twice_makes_one_model_version_of_the_run_that_trained_it(mirrored: Mirrored, experiment: str) -> None:
    """The copy belongs to the training run, holds the same files, and is found again."""
    run = mirrored.client.create_run(experiment, run_name="training")
    version = register(mirrored.registry, b"weights", tracking_run_id=run.info.run_id)
    numbers = [mirrored.catalog.register_model_to_mlflow(mirrored.registry, version) for _ in range(2)]
    assert numbers == [1, 1]
    copy = mirrored.client.get_model_version("btc", 1)
    assert (copy.run_id, copy.tags["ratchet.digest"]) == (run.info.run_id, version.digest)
    assert mirrored.catalog.files.read(version, "model.onnx") == b"weights"
    spooled = mirrored.client.create_run(experiment, tags={"ratchet.run_key": "5" * 32})
    delivered = register(mirrored.registry, tracking_run_id="5" * 32)
    mirrored.catalog.register_model_to_mlflow(mirrored.registry, delivered)
    assert mirrored.client.get_model_version("btc", 2).run_id == spooled.info.run_id
    stranger = register(mirrored.registry, tracking_run_id="0" * 32)
    mirrored.catalog.register_model_to_mlflow(mirrored.registry, stranger)
    own = mirrored.client.get_model_version("btc", 3)
    assert own.tags["ratchet.tracking_run_id"] == "0" * 32
    assert mirrored.client.get_run(own.run_id).info.status == "FINISHED"


def test_copying_at_the_same_time_makes_one_model_version(mirrored: Mirrored) -> None:
    """Four threads copy the same version: one does, the others find it."""
    version = register(mirrored.registry)
    with ThreadPoolExecutor(4) as pool:
        copies = [pool.submit(mirrored.catalog.register_model_to_mlflow, mirrored.registry, version) for _ in range(4)]
    assert [copy.result() for copy in copies] == [1] * 4
    assert len(mirrored.client.search_model_versions("name = 'btc'")) == 1


def test_altered_files_are_not_copied(mirrored: Mirrored) -> None:
    """What is copied is proved by the registered digest first, and a refused copy leaves nothing behind."""
    version = register(mirrored.registry)
    (Path(version.folder) / "model.onnx").write_bytes(b"evil")
    with pytest.raises(ArtifactError, match="altered"):
        mirrored.catalog.register_model_to_mlflow(mirrored.registry, version)
    assert mirrored.client.search_model_versions("name = 'btc'") == []


def test_pointers_are_aliases(mirrored: Mirrored) -> None:
    """`challenger` and `experiment-...` follow the registry; an alias that is not ours is left alone."""
    version = register(mirrored.registry)
    mirrored.catalog.register_model_to_mlflow(mirrored.registry, version)
    mirrored.client.set_registered_model_alias("btc", "favourite", "1")
    for pointer in ("challenger", "experiment-7"):
        mirrored.registry.set_pointer("btc", pointer, "v1.0.0", **WHO)
    mirrored.catalog.show(mirrored.registry, "btc")
    assert set(mirrored.aliases()) == {"v1-0-0", "favourite", "challenger", "experiment-7"}
    mirrored.registry.release_pointer("btc", "challenger", **WHO)
    mirrored.catalog.show(mirrored.registry, "btc")
    assert set(mirrored.aliases()) == {"v1-0-0", "favourite", "experiment-7"}


def test_a_server_that_hangs_does_not_undo_a_promotion(tmp_path: Path, clock: FixedClock) -> None:
    """It accepts and never answers: the promotion stands after seconds, and the caller is told it is not shown."""
    with socket.create_server(("127.0.0.1", 0)) as deaf, file_registry(tmp_path, clock) as registry:
        catalog = MlflowCatalog(f"http://127.0.0.1:{deaf.getsockname()[1]}", tmp_path / "artifacts", clock)
        register(registry)
        moved = catalog.transition_model_stage(registry, "btc", "v1.0.0", "Production", **WHO)
        assert (moved.version.stage, moved.is_shown) == ("production", False)
        with pytest.raises(UnavailableError, match="MLflow"):
            catalog.stage_of("btc", "v1.0.0")


def test_what_mlflow_says_decides_nothing(on_mlflow: MlflowRegistry, client: Any) -> None:
    """Aliases moved and tags changed by hand change neither what is live nor what is read; the next change mends."""
    register(on_mlflow, b"one"), register(on_mlflow, b"two")
    on_mlflow.set_production_model("btc", "v1.0.0", **WHO)
    for alias in ("production", "v1-0-0"):
        client.set_registered_model_alias("btc", alias, "2")
    client.set_model_version_tag("btc", "2", "stage", "Production")
    live = on_mlflow.get_model("btc", "production")
    assert (live.version, on_mlflow.read_file(live, "model.onnx")) == ("v1.0.0", b"one")
    on_mlflow.recover()
    assert client.get_model_version_by_alias("btc", "production").version == 1
    assert client.get_model_version("btc", "2").tags["stage"] == "None"


def test_a_lost_version_tag_is_made_up_for_by_the_alias(on_mlflow: MlflowRegistry, client: Any) -> None:
    """One of tag and alias is enough to find a version, the one in production too, and the other is restored."""
    register(on_mlflow)
    version = on_mlflow.set_production_model("btc", "v1.0.0", **WHO)
    client.delete_model_version_tag("btc", "1", "ratchet.version")
    assert on_mlflow.read_file(version, "model.onnx") == b"onnx"
    on_mlflow.recover()
    assert client.get_model_version("btc", "1").tags["ratchet.version"] == "v1.0.0"


def test_altered_or_missing_artifacts_are_refused(on_mlflow: MlflowRegistry, client: Any) -> None:
    """Bytes in MLflow's store are proved on every read, and such a version cannot be promoted."""
    version = register(on_mlflow)
    folder = Path(client.get_model_version("btc", "1").source.removeprefix("file://"))
    (folder / "model.onnx").write_bytes(b"evil")
    with pytest.raises(ArtifactError, match=r"models:/btc@v1-0-0/model\.onnx: altered"):
        on_mlflow.read_file(version, "model.onnx")
    with pytest.raises(ArtifactError):
        on_mlflow.set_production_model("btc", "v1.0.0", **WHO)
    (folder / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match="restore"):
        on_mlflow.read_file(version, "model.onnx")
    client.delete_model_version("btc", "1")
    with pytest.raises(ArtifactError, match="no such version"):
        on_mlflow.read_file(version, "model.onnx")


def test_a_version_that_was_never_committed_is_put_aside(
    on_mlflow: MlflowRegistry, store: str, client: Any, tmp_path: Path, clock: FixedClock
) -> None:
    """MLflow has it, the database does not: the next to open puts it aside, and its number is given anew."""
    register(on_mlflow)
    files = on_mlflow._files
    with files.staged("btc", {"model.onnx": b"never committed"}) as (staged, _):
        files.seal(staged, "btc", "v1.1.0")
    with mlflow_registry(store, tmp_path, clock) as registry:
        assert files.versions() == [("btc", "v1.0.0")]
        version = register(registry, b"committed")
        assert (version.version, registry.read_file(version, "model.onnx")) == ("v1.1.0", b"committed")
    assert client.get_model_version("btc", "2").tags["ratchet.orphan"] == "v1.1.0"
    assert client.get_model_version_by_alias("btc", "v1-1-0").version == 3


def test_a_store_that_belongs_to_another_database_is_refused(
    on_mlflow: MlflowRegistry, store: str, tmp_path: Path, clock: FixedClock
) -> None:
    """A second database over the same MLflow store would number its versions like the first."""
    register(on_mlflow), register(on_mlflow)
    with pytest.raises(ConfigurationError, match="another database"):
        mlflow_registry(store, tmp_path, clock, database="other.sqlite")


def test_what_an_interrupted_registration_left_is_swept_after_an_hour(
    on_mlflow: MlflowRegistry, store: str, client: Any, experiment: str, tmp_path: Path, clock: FixedClock
) -> None:
    """Uploads without a version go, be it a run of their own or files in a training run; sealed ones never."""
    training = client.create_run(experiment).info.run_id
    described = {"metadata.json": json.dumps({"tracking_run_id": training}).encode()}
    version = register(on_mlflow, tracking_run_id=training)
    files = on_mlflow._files
    left = [files._upload("btc", {"model.onnx": b"half", **more}) for more in ({}, described)]  # type: ignore[attr-defined]
    assert [upload.run_id == training for upload in left] == [False, True]
    for age_ns, n_left in ((0, 2), (HOUR_NS, 0)):
        clock.advance(age_ns)
        mlflow_registry(store, tmp_path, clock).close()
        assert sum(Path(upload.source.removeprefix("file://")).exists() for upload in left) == n_left
    assert client.get_run(left[0].run_id).info.lifecycle_stage == "deleted"
    assert client.get_run(training).info.lifecycle_stage == "active"
    assert on_mlflow.read_file(version, "model.onnx") == b"onnx"


def test_nothing_is_swept_while_somebody_is_staging(on_mlflow: MlflowRegistry, clock: FixedClock) -> None:
    """However long it takes: files that are being registered on this machine stay."""
    files = on_mlflow._files
    with files.staged("btc", {"model.onnx": b"slow"}) as (staged, _):
        clock.advance(2 * HOUR_NS)
        files.sweep()
        files.seal(staged, "btc", "v1.0.0")
        assert (Path(staged.source.removeprefix("file://")) / "model.onnx").read_bytes() == b"slow"


def test_only_what_the_registry_uploaded_is_ever_deleted(
    on_mlflow: MlflowRegistry, client: Any, experiment: str, tmp_path: Path
) -> None:
    """Tags and sources that name a folder of someone else, by hand or by malice, delete nothing there."""
    precious = tmp_path / "artifacts" / "precious"
    precious.mkdir()
    for _ in range(2):
        register(on_mlflow)
    client.create_model_version("btc", precious.as_uri(), tags={"ratchet.version": "v1.0.0"})
    run = client.create_run(experiment, tags={"ratchet.staging": "../../../artifacts/precious 0"})
    own = client.get_run(client.get_model_version("btc", "1").run_id).info.artifact_uri
    assert [version.version for version in on_mlflow.prune_models("btc", keep=1, **WHO)] == ["v1.0.0"]
    on_mlflow.recover()
    assert precious.exists()
    assert not list(Path(own.removeprefix("file://")).glob("registry/*"))
    assert "ratchet.staging" not in client.get_run(run.info.run_id).data.tags
    assert [item.version for item in client.search_model_versions("name = 'btc'")] == [2]


def test_a_failed_registration_leaves_no_files(on_mlflow: MlflowRegistry, client: Any) -> None:
    """The database refuses after the upload: files, run and model version are gone."""
    with pytest.raises(InputError):
        on_mlflow.register_model("btc", {"model.onnx": b""}, {}, {}, actor="", reason="why")
    files = on_mlflow._files
    with pytest.raises(ValueError, match="stop"), files.staged("btc", {"model.onnx": b""}):
        raise ValueError("stop")
    own = client.get_experiment_by_name("registry").experiment_id
    assert list(client.search_runs([own])) == []
    assert client.search_model_versions("name = 'btc'") == []


def test_mlflow_without_its_tables_is_unavailable(tmp_path: Path, clock: FixedClock) -> None:
    """A store that cannot be opened is told as such."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnavailableError, match="MLflow"):
        mlflow_registry(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", tmp_path, clock)


@pytest.fixture
def loadable(tmp_path: Path, clock: FixedClock) -> Iterator[FileRegistry]:
    """A registry with a real graph in production and another in staging."""
    with file_registry(tmp_path, clock) as registry:
        for bias in (0.0, 0.5):
            register(registry, tiny_onnx(bias), **metadata(["BTC/USDT"]))
        registry.set_production_model("btc", "v1.0.0", **WHO)
        registry.set_staging_model("btc", "v1.1.0", **WHO)
        yield registry


def test_a_model_loaded_by_stage_answers_like_its_graph(loadable: FileRegistry) -> None:
    """Each stage gives its own version, and the answers are ONNX Runtime's."""
    windows = np.stack([window(seed) for seed in range(3)])
    for stage, bias in (("Production", 0.0), ("Staging", 0.5), ("production", 0.0), ("v1.1.0", 0.5)):
        loaded = load_model_from_registry(loadable, "btc", stage)
        p_up = loaded.predict(windows)
        assert p_up.dtype == np.float64
        assert p_up.shape == (3,)
        np.testing.assert_allclose(p_up, run_onnx(tiny_onnx(bias), windows), rtol=0, atol=1e-7)


def test_windows_that_do_not_fit_are_refused(loadable: FileRegistry) -> None:
    """Shape, type and finiteness are checked before the graph is asked."""
    loaded = load_model_from_registry(loadable, "btc")
    good = np.zeros((2, N_TIME, N_FEATURE), dtype=np.float32)
    assert loaded.predict(good).shape == (2,)
    unfit: tuple[Any, ...] = (
        good[0],
        good[:, 1:],
        good[:, :, 1:],
        good.astype(np.float64),
        good + np.float32("nan"),
    )
    for bad in unfit:
        with pytest.raises(InputError, match="windows"):
            loaded.predict(bad)


def test_a_stage_without_one_version_is_refused(loadable: FileRegistry) -> None:
    """Many versions are archived or in no stage; an empty stage says what there is."""
    for stage in ("None", "Archived"):
        with pytest.raises(InputError, match="many versions"):
            load_model_from_registry(loadable, "btc", stage)
    loadable.withdraw_model("btc", "v1.0.0", **WHO)
    with pytest.raises(NotFoundError, match="production"):
        load_model_from_registry(loadable, "btc")


@pytest.mark.parametrize(
    ("model", "changed", "match"),
    [
        (tiny_onnx(), {"window": N_TIME + 1}, "must map"),
        (tiny_onnx(), {"feature_names": ["f0"]}, "must map"),
        (tiny_onnx(), {"window": "many"}, "metadata window"),
        (tiny_onnx(input_name="x"), {}, "must map"),
        (b"not a graph", {}, "cannot load"),
        (tiny_onnx(), {"signature": {"inputs": [], "outputs": []}}, "contradict"),
    ],
)
def test_a_graph_that_is_not_what_the_metadata_say_is_refused(
    model: bytes, changed: dict[str, Any], match: str, tmp_path: Path, clock: FixedClock
) -> None:
    """Window, features, names and signature must agree before a model may answer."""
    with file_registry(tmp_path, clock) as registry:
        register(registry, model, **{**metadata(["BTC/USDT"]), **changed})
        with pytest.raises(ArtifactError, match=match):
            load_model_from_registry(registry, "btc", "v1.0.0")


def test_a_swapped_file_is_refused_before_it_is_parsed(loadable: FileRegistry) -> None:
    """Another valid graph in the same place has another digest."""
    (Path(loadable.get_model("btc", "production").folder) / "model.onnx").write_bytes(tiny_onnx(0.5))
    with pytest.raises(ArtifactError, match="altered"):
        load_model_from_registry(loadable, "btc")


def test_answers_that_are_no_probabilities_are_refused(tmp_path: Path, clock: FixedClock) -> None:
    """A graph whose score is infinite answers NaN, which no caller gets to see."""
    with file_registry(tmp_path, clock) as registry:
        register(registry, tiny_onnx(op="Sqrt"), **metadata(["BTC/USDT"]))
        loaded = load_model_from_registry(registry, "btc", "v1.0.0")
        with pytest.raises(CandidateRejectedError, match="probability"):
            loaded.predict(np.full((1, N_TIME, N_FEATURE), -1, dtype=np.float32))


def test_the_two_databases_are_apart(on_mlflow: MlflowRegistry, tmp_path: Path) -> None:
    """MLflow's file holds no table of the registry, so MLflow's tools cannot change what is live."""
    register(on_mlflow)
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "model_versions" in tables
    assert not tables & {"versions", "events", "pointers"}
