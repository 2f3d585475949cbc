"""Training: it learns what is there and no more, sees no future, and survives being killed."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.data import limited_threads, split_by_time
from models.factory import create_model, describe_model
from models.training.checkpoint import INDEX_NAME, EpochMetrics, TrainingState, load_checkpoint, save_checkpoint
from models.training.losses import direction_loss, fit_temperature
from models.training.optimizer import adamw, learning_rate
from models.training.recipes import RECIPES, TrainRecipe, recipe_by_name, small
from models.training.run import TrainedModel
from models.training.trainer import Trainer, fit_fold, load_weights, predict, save_weights
from ratchet.errors import ArtifactError, ConfigurationError, InputError, LeakageError
from ratchet.evaluation.metrics import accuracy
from ratchet.evaluation.walk_forward import Fold, PurgedWalkForward
from ratchet.features.panel import Panel
from tests.panels import FloatArray
from tests.unit.training_child import RECIPE, planted_panel

TRAIN = np.arange(1_500)
SHORT = replace(RECIPE, epochs=2)


@cache
def planted() -> tuple[Panel, FloatArray]:
    return planted_panel()


@cache
def trained() -> TrainedModel:
    """The model that an uninterrupted run of `training_child` gives."""
    return Trainer(RECIPE).fit(planted()[0], TRAIN)


def weights(model: TrainedModel) -> dict[str, Tensor]:
    state: dict[str, Tensor] = model.model.state_dict()
    return state


def assert_same_model(one: TrainedModel, other: TrainedModel) -> None:
    assert one.history == other.history
    assert list(weights(one)) == list(weights(other))
    assert all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


@cache
def long_run() -> tuple[Panel, FloatArray, Fold, TrainedModel]:
    """Half of a longer panel, learned properly."""
    panel, p_up = planted_panel(3_000)
    fold = PurgedWalkForward(n_splits=1, min_train_share=0.5).split(panel.decision_ns, panel.t1_ns)[0]
    return panel, p_up, fold, fit_fold(panel, fold, replace(RECIPE, batch_size=128, epochs=16))


def test_learns_a_planted_signal_nearly_as_well_as_possible() -> None:
    """Out of sample, at least 90 % of the way from a coin to the best possible accuracy, without overfitting.

    Half of the signal lies three bars back, so the sequence branch has to find it.
    """
    panel, p_up, fold, model = long_run()
    label = panel.label[fold.test]
    reached, best = accuracy(label, predict(model, panel, fold.test)), accuracy(label, p_up[fold.test])
    assert best > 0.75
    assert (reached - 0.5) / (best - 0.5) > 0.9
    assert model.train_accuracy - reached < 0.05


def test_probabilities_are_calibrated() -> None:
    """Among out-of-sample predictions of about p, a share of about p goes up."""
    panel, _, fold, model = long_run()
    p_up = predict(model, panel, fold.test)
    is_up = panel.label[fold.test] > 0
    bands = np.array_split(np.argsort(p_up), 8)
    assert np.mean([abs(is_up[band].mean() - p_up[band].mean()) for band in bands]) < 0.04


def test_finds_nothing_where_there_is_nothing() -> None:
    """On a pure random walk, out-of-sample accuracy is that of a coin and confidence is nearly gone."""
    panel, _ = planted_panel(2_400, strength=0.0)
    model = Trainer(SHORT).fit(panel, np.arange(2_000))
    test = np.arange(2_010, len(panel))
    p_up = predict(model, panel, test)
    assert abs(accuracy(panel.label[test], p_up) - 0.5) < 0.03
    assert np.abs(p_up - 0.5).mean() < 0.05


def test_the_future_cannot_change_a_model() -> None:
    """With every later feature, label and return replaced, the same samples give the same weights bit by bit."""
    panel, _ = planted()
    end_ns = panel.t1_ns[TRAIN].max()
    is_later = panel.decision_ns >= end_ns
    other = replace(
        panel,
        features=np.where(panel.row_ts_ns[:, None] >= end_ns, 9.0, panel.features).astype(np.float32),
        label=np.where(is_later, -panel.label, panel.label).astype(np.int8),
        ret=np.where(is_later, -panel.ret, panel.ret),
    )
    assert_same_model(Trainer(SHORT).fit(panel, TRAIN), Trainer(SHORT).fit(other, TRAIN))


def test_flat_moves_carry_no_weight() -> None:
    """Samples with label 0 are neither fitted nor validated on: leaving them out changes no weight."""
    panel, _ = planted()
    is_flat = np.arange(len(panel)) % 5 == 3
    flat = replace(panel, label=np.where(is_flat, 0, panel.label).astype(np.int8))
    without = TRAIN[~is_flat[TRAIN]]
    assert_same_model(Trainer(SHORT).fit(flat, TRAIN), Trainer(SHORT).fit(panel, without))


@pytest.mark.parametrize("horizon", [1, 6])
def test_inner_validation_is_later_and_purged(horizon: int) -> None:
    """The inner validation part holds the latest decision times, and no fitted label ends after its first decision."""
    panel, _ = planted()
    panel = replace(panel, horizon=horizon, t1_ns=panel.ts_ns + (horizon + 1) * 3_600_000_000_000)
    split = split_by_time(panel, TRAIN, 0.2)
    start_ns = panel.decision_ns[split.validation].min()
    assert panel.t1_ns[split.fit].max() == start_ns
    assert len(np.unique(panel.decision_ns[split.validation])) == len(np.unique(panel.decision_ns[TRAIN])) // 5
    assert set(split.fit) | set(split.validation) <= set(TRAIN)


def test_a_seed_decides_everything_and_threads_nothing() -> None:
    """Equal seeds give equal weights whatever torch did before, another seed gives others, and torch is left alone."""
    panel, _ = planted()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    with limited_threads(2):
        first = Trainer(SHORT).fit(panel, TRAIN)
        assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    with limited_threads(1):
        assert_same_model(first, Trainer(SHORT).fit(panel, TRAIN))
    other = Trainer(replace(SHORT, seed=6)).fit(panel, TRAIN)
    assert not torch.equal(weights(first)["logit.weight"], weights(other)["logit.weight"])


def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    """A training process killed by SIGKILL goes on from its last epoch and ends where an uninterrupted run ends."""
    child = subprocess.Popen([sys.executable, "-m", "tests.unit.training_child", str(tmp_path)])
    deadline = time.monotonic() + 120
    while not (tmp_path / INDEX_NAME).exists() or len(stored_epochs(tmp_path)) < 3:
        assert child.poll() is None, "the child ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    n_done = len(stored_epochs(tmp_path))
    resumed: list[EpochMetrics] = []
    model = Trainer(RECIPE, tmp_path, resumed.append).fit(planted()[0], TRAIN)
    assert 3 <= n_done < len(model.history)
    assert [metrics.epoch for metrics in resumed] == list(range(n_done, len(model.history)))
    assert_same_model(model, trained())


def stored_epochs(folder: Path) -> list[object]:
    history: list[object] = json.loads((folder / INDEX_NAME).read_text())["history"]
    return history


class InterruptionError(Exception):
    """Stands for whatever ends a run between two epochs."""


def test_any_number_of_interruptions_changes_nothing(tmp_path: Path) -> None:
    """A run that is interrupted after every single epoch ends with the weights of an uninterrupted one."""

    def interrupt(_: EpochMetrics) -> None:
        raise InterruptionError

    n_interruptions = 0
    while True:
        try:
            model = Trainer(RECIPE, tmp_path, interrupt).fit(planted()[0], TRAIN)
            break
        except InterruptionError:
            n_interruptions += 1
    assert n_interruptions == len(trained().history)
    assert_same_model(model, trained())


def test_a_finished_run_is_only_loaded(tmp_path: Path) -> None:
    """The same data and recipe train no second time; other data or another recipe do, from the start."""
    panel, _ = planted()
    first = Trainer(SHORT, tmp_path).fit(panel, TRAIN)
    epochs: list[EpochMetrics] = []
    assert_same_model(Trainer(SHORT, tmp_path, epochs.append).fit(panel, TRAIN), first)
    assert epochs == []
    Trainer(SHORT, tmp_path, epochs.append).fit(panel, TRAIN[:-3])
    assert [metrics.epoch for metrics in epochs] == [0, 1]
    Trainer(replace(SHORT, seed=1), tmp_path, epochs.append).fit(panel, TRAIN[:-3])
    assert [metrics.epoch for metrics in epochs] == [0, 1, 0, 1]


def small_state(seed: int) -> TrainingState:
    """A state after one step, as training leaves it."""
    torch.manual_seed(seed)
    network = create_model("hybrid_cnn_lstm", n_features=4, window=8, conv_channels=4, lstm_hidden=4, head=4)
    optimizer = adamw(network, 0.1)
    direction_loss(network(torch.randn(3, 8, 4)), torch.ones(3)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    averaged = copy.deepcopy(network)
    return TrainingState(network, averaged, optimizer, copy.deepcopy(network.state_dict()), history=[])


def save_for_ever(folder: Path, state: TrainingState) -> None:
    for epoch in range(100_000):
        state.history.append(
            EpochMetrics(epoch=epoch, train_loss=0.7, validation_loss=0.7, validation_accuracy=0.5, learning_rate=0.0)
        )
        state.network.temperature.fill_(float(epoch + 1))
        save_checkpoint(folder, state, "run")


def test_a_checkpoint_is_never_half_written(tmp_path: Path) -> None:
    """Whenever a process is killed while it stores checkpoints, what is on disk is one whole checkpoint."""
    rng = np.random.default_rng(0)
    fork = multiprocessing.get_context("fork")
    for attempt in range(15):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        child = fork.Process(target=save_for_ever, args=(folder, small_state(0)))
        child.start()
        while not (folder / INDEX_NAME).exists():
            assert child.is_alive()
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.03))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        state = small_state(1)
        assert load_checkpoint(folder, state, "run")
        assert float(state.network.temperature) == len(state.history)
        save_checkpoint(folder, state, "run")
        assert sorted(path.name for path in folder.iterdir()) == [
            INDEX_NAME,
            f"epoch-{len(state.history):04d}.safetensors",
        ]


@pytest.mark.parametrize("damage", ["tensors", "missing", "index"])
def test_an_altered_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    """A checkpoint with a changed byte, without its tensors or with a broken index is an error that says what to do."""
    save_checkpoint(tmp_path, small_state(0), "run")
    tensors = tmp_path / "epoch-0000.safetensors"
    if damage == "tensors":
        content = bytearray(tensors.read_bytes())
        content[-1] ^= 1
        tensors.write_bytes(content)
    elif damage == "missing":
        tensors.unlink()
    else:
        (tmp_path / INDEX_NAME).write_text("{")
    with pytest.raises(ArtifactError, match=r"delete .* to train anew"):
        load_checkpoint(tmp_path, small_state(1), "run")


def test_checkpoints_hold_no_pickle(tmp_path: Path) -> None:
    """A checkpoint folder holds JSON and safetensors, nothing else."""
    Trainer(SHORT, tmp_path).fit(planted()[0], TRAIN)
    assert sorted(path.name for path in tmp_path.iterdir()) == [INDEX_NAME, "epoch-0002.safetensors"]


def test_training_stops_when_validation_no_longer_improves() -> None:
    """On noise, training ends `patience` epochs after the best one, and the best one's weights are kept."""
    panel, _ = planted_panel(600, strength=0.0, seed=4)
    recipe = replace(RECIPE, epochs=40, patience=2, learning_rate=0.03)
    model = Trainer(recipe).fit(panel, np.arange(1_200))
    losses = [metrics.validation_loss for metrics in model.history]
    assert len(losses) < 40
    assert model.best_epoch == int(np.argmin(losses)) == len(losses) - 3
    assert model.validation_accuracy == model.history[model.best_epoch].validation_accuracy


def test_a_window_that_is_not_finite_is_refused() -> None:
    """NaN or infinity in any bar of a window is an input error that names the symbol, in training and prediction."""
    panel, _ = planted()
    features = panel.features.copy()
    features[panel.end_row[40] - 2, 1] = np.inf
    broken = replace(panel, features=features)
    with pytest.raises(InputError, match=r"windows hold features that are not finite.*S01/USDT"):
        Trainer(SHORT).fit(broken, TRAIN)
    with pytest.raises(InputError, match="not finite"):
        predict(trained(), broken, np.array([40]))
    assert np.isfinite(predict(trained(), broken, np.array([0, 100]))).all()


def test_too_little_history_is_refused() -> None:
    """One decision time, or flat moves only, cannot be split; another window than the recipe's does not fit."""
    panel, _ = planted()
    with pytest.raises(InputError, match="1 decision times cannot be split"):
        Trainer(SHORT).fit(panel, np.arange(3))
    with pytest.raises(InputError, match="give a longer history or lower costs"):
        Trainer(SHORT).fit(replace(panel, label=np.zeros_like(panel.label)), TRAIN)
    with pytest.raises(InputError, match="windows have 8 bars, the recipe needs 32"):
        Trainer(small()).fit(panel, TRAIN)


def test_a_fold_that_leaks_is_refused() -> None:
    """A fold whose training labels end inside its test window is not trained on."""
    panel, _ = planted()
    fold = PurgedWalkForward(n_splits=2).split(panel.decision_ns, panel.t1_ns)[0]
    with pytest.raises(LeakageError):
        fit_fold(panel, replace(fold, train=np.r_[fold.train, fold.test[:5]]), SHORT)


def test_weights_survive_their_file(tmp_path: Path) -> None:
    """model.pt and the description rebuild a network with the same answers, calibration included."""
    panel, _ = planted()
    save_weights(trained().model, tmp_path / "model.pt")
    description = describe_model(trained().model)
    twin = create_model(description["network"], **description["config"])
    load_weights(twin, tmp_path / "model.pt")
    index = np.arange(64)
    again = predict(replace(trained(), model=twin), panel, index)
    assert np.array_equal(again, predict(trained(), panel, index))


class Malicious:
    """What a poisoned weights file holds: an object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code ran')",))


def test_weights_that_are_not_weights_are_refused(tmp_path: Path) -> None:
    """A missing file, another network's weights and a pickle that would run code are artifact errors."""
    network = create_model("hybrid_cnn_lstm", n_features=3, window=8)
    save_weights(trained().model, tmp_path / "other.pt")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Malicious(), protocol=2))
    torch.save({"model": Malicious()}, tmp_path / "evil-archive.pt")
    for name in ("missing.pt", "other.pt", "evil.pt", "evil-archive.pt"):
        with pytest.raises(ArtifactError, match=f"{name} do not load"):
            load_weights(network, tmp_path / name)


def test_temperature_undoes_overconfidence() -> None:
    """Logits that are three times too large get temperature 3, and right ones get 1."""
    torch.manual_seed(0)
    logits = torch.randn(40_000) * 1.5
    is_up = (torch.rand(40_000) < torch.sigmoid(logits)).float()
    assert fit_temperature(logits, is_up) == pytest.approx(1.0, abs=0.05)
    assert fit_temperature(3.0 * logits, is_up) == pytest.approx(3.0, abs=0.15)
    assert fit_temperature(-logits, is_up) == pytest.approx(20.0)  # nothing to trust


def test_loss_has_its_textbook_values() -> None:
    """Cross-entropy, smoothing, focal weight and class weight equal what their formulas say at p = 0.8."""
    up, logit = torch.ones(1), torch.logit(torch.tensor([0.8]))
    down = torch.zeros(1)
    assert direction_loss(logit, up).item() == pytest.approx(-np.log(0.8))
    assert direction_loss(logit, down).item() == pytest.approx(-np.log(0.2))
    smoothed = -(0.9 * np.log(0.8) + 0.1 * np.log(0.2))
    assert direction_loss(logit, up, smoothing=0.2).item() == pytest.approx(smoothed)
    assert direction_loss(logit, up, focal_gamma=2.0).item() == pytest.approx(-(0.2**2) * np.log(0.8))
    assert direction_loss(logit, down, focal_gamma=2.0).item() == pytest.approx(-(0.8**2) * np.log(0.2))
    assert direction_loss(logit, up, up_weight=3.0).item() == pytest.approx(-3.0 * np.log(0.8))
    assert direction_loss(logit, down, up_weight=3.0).item() == pytest.approx(-np.log(0.2))


def test_class_weights_balance_a_lopsided_market() -> None:
    """Where 80 % of the moves are ups and nothing predicts them, balanced training answers about 50 %, not 80 %."""
    panel, _ = planted_panel(600, strength=0.0)
    is_up = np.random.default_rng(1).random(len(panel)) < 0.8
    lopsided = replace(panel, label=np.where(is_up, 1, -1).astype(np.int8))
    recipe = replace(SHORT, epochs=4)
    for is_balanced, expected in ((False, 0.8), (True, 0.5)):
        model = Trainer(replace(recipe, balance_classes=is_balanced)).fit(lopsided, np.arange(1_500))
        logits = torch.logit(torch.from_numpy(predict(model, lopsided, np.arange(1_510, 1_700)))) * model.temperature
        assert torch.sigmoid(logits).mean().item() == pytest.approx(expected, abs=0.07)


def test_learning_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    """One cycle: a linear warm-up, then a cosine down to almost zero."""
    rates = [learning_rate(TrainRecipe(warmup_share=0.2, learning_rate=1.0), step, 100) for step in range(100)]
    assert int(np.argmax(rates)) == 20
    assert max(rates) == pytest.approx(1.0)
    assert np.all(np.diff(rates[:21]) > 0)
    assert np.all(np.diff(rates[20:]) < 0)
    assert rates[-1] < 1e-3


def test_recipes_are_complete_and_plain() -> None:
    """Every recipe builds its network, survives JSON, and is found by name; unknown names list what there is."""
    for name in RECIPES:
        recipe = recipe_by_name(name)
        assert TrainRecipe(**json.loads(json.dumps(asdict(recipe)))) == recipe
        create_model(recipe.network, n_features=67, window=recipe.window, **recipe.network_options)
    with pytest.raises(ConfigurationError, match="there are: small, standard"):
        recipe_by_name("huge")
    with pytest.raises(ConfigurationError, match="validation_share must lie between 0 and 1"):
        replace(small(), validation_share=1.0)
    with pytest.raises(ConfigurationError, match="epochs"):
        replace(small(), epochs=0)


def test_recipes_need_no_torch() -> None:
    """Whoever only reads a recipe's numbers does not pay for importing torch."""
    code = "import sys, models.training.recipes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
