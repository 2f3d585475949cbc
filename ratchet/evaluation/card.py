"""The card of a model version: what it is, what it was shown to do, and what it was not shown to do."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ratchet.clock import iso_utc
from ratchet.evaluation.gate import GateReport
from ratchet.evaluation.latency import LatencyReport
from ratchet.evaluation.limits import limits
from ratchet.evaluation.markdown import code, number, plain, share, table, title_of
from ratchet.evaluation.metrics import Metric
from ratchet.evaluation.records import LeakReport, Scores, SelectionReport, Slice, Trading
from ratchet.evaluation.sections import (
    accuracy_section,
    leaks_section,
    limits_section,
    probabilities_section,
    selection_section,
    slices_section,
    trading_section,
)
from ratchet.evaluation.turn import DatasetSummary


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(_Record):
    """What a model is asked."""

    symbols: tuple[str, ...]
    timeframe: str
    horizon: int = Field(ge=1, description="Bars.")
    target: str = "whether the price rises or falls over the horizon, if it moves by more than trading costs"


class Training(_Record):
    """How a model was made; `recipe` holds what is needed to make it again."""

    network: str
    recipe: dict[str, JsonValue]
    feature_set: str
    n_features: int
    window: int = Field(description="Bars that the model sees at a time.")
    train_end_ns: int = Field(description="End of the latest label that it was trained on, ns UTC.")
    seeds: tuple[int, ...]
    code_commit: str | None


class ModelCard(_Record):
    """Everything that the card of one version says.

    `digest` is the SHA-256 of the model file. `scores`, `trading`, `baselines`, `gain_over` and `slices` are over all
    out-of-sample rows of the walk-forward; `gain_over` is the paired gain in accuracy over each baseline.
    """

    name: str
    version: str
    created_ns: int
    digest: str
    question: Question
    training: Training
    data: DatasetSummary
    scores: Scores
    trading: Trading
    selection: SelectionReport | None
    baselines: dict[str, Metric]
    gain_over: dict[str, Metric]
    slices: tuple[Slice, ...]
    leaks: LeakReport | None
    gate: GateReport
    latency: LatencyReport | None = Field(description="As served; None where the artifact did not answer.")
    size_bytes: int
    run_id: str
    parent_version: str | None


def model_card(card: ModelCard) -> str:
    """Write a card for people, in Markdown; what the figures leave open is said before the figures.

    Text that came from outside is escaped, so that nothing in it is Markdown or HTML.
    """
    lines = [
        f"# {plain(card.name)} {plain(card.version)}",
        "",
        *_in_short(card),
        *_question(card.question),
        *_intended_use(card),
        *limits_section(_doubts(card)),
        *_training(card.training),
        *_data(card.data),
        *accuracy_section(card.scores.accuracy, card.baselines, card.gain_over),
        *probabilities_section(card.scores),
        *trading_section(card.trading),
        *selection_section(card.selection),
        *slices_section(card.slices),
        *leaks_section(card.leaks),
        *_gate(card.gate),
        *_artifact(card),
        *_lineage(card),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _in_short(card: ModelCard) -> list[str]:
    gate, latency = card.gate, card.latency
    return [
        f"Created {iso_utc(card.created_ns)}. Figures in brackets are 95 % intervals; a year has 365 days.",
        "",
        f"- the gate says **{gate.verdict}**, against {_champion(gate)}",
        f"- right on {share(card.scores.accuracy)} of {card.scores.n_moves:,} moves out of sample",
        f"- net Sharpe ratio {number(card.trading.net_sharpe)} a year after costs",
        "- did not answer when it was tried"
        if latency is None
        else f"- answers within {latency.p99_upper_ms:.2f} ms in 99 % of calls",
        f"- to take it out of production: {code(f'ratchet registry rollback {card.name} --reason REASON')}",
        "",
    ]


def _question(question: Question) -> list[str]:
    return [
        "## What it predicts",
        "",
        (
            f"At the close of a bar of {plain(question.timeframe)}, p\\_up: {plain(question.target)}. The horizon is "
            f"{_bars(question.horizon)} from the next bar's open."
        ),
        "",
        f"Symbols: {plain(', '.join(question.symbols))}.",
        "",
    ]


def _intended_use(card: ModelCard) -> list[str]:
    return [
        "## Intended use",
        "",
        (
            "One input of a strategy that has limits of its own for size and loss, on these symbols, at this timeframe "
            f"and horizon, with prices from {plain(card.data.source)}. Nothing was measured on other symbols, "
            "timeframes, horizons or venues. Costs are assumed and leave out what one's own orders move; a market can "
            "change."
        ),
        "",
    ]


def _doubts(card: ModelCard) -> list[str]:
    found = limits(
        scores=card.scores,
        gain_over=card.gain_over,
        trading=card.trading,
        selection=card.selection,
        slices=card.slices,
        leaks=card.leaks,
    )
    if card.gate.verdict != "approve":
        found.insert(0, "The gate did not approve it.")
    if not card.gate.is_sealed:
        found.insert(0, "The gate report was altered after the gate wrote it: do not rely on its verdict.")
    if card.gate.model_digest != card.digest:
        found.insert(0, f"The gate report is about another model file, {code(card.gate.model_digest[:16])}.")
    return found


def _training(training: Training) -> list[str]:
    rows = [
        ("network", plain(training.network)),
        ("feature set", plain(training.feature_set)),
        ("features", f"{training.n_features:,}"),
        ("window", _bars(training.window)),
        ("labels end", iso_utc(training.train_end_ns)),
        ("seeds", ", ".join(map(str, training.seeds))),
        ("code", code(training.code_commit) if training.code_commit else "unknown"),
    ]
    rows += [(f"recipe: {title_of(name)}", code(str(value))) for name, value in training.recipe.items()]
    return ["## How it was trained", "", *table(("", ""), rows)]


def _data(data: DatasetSummary) -> list[str]:
    rows = [
        ("dataset", code(data.digest)),
        ("source", plain(data.source)),
        ("symbols", f"{len(data.symbols)}"),
        ("rows", f"{data.n_rows:,}, and {data.n_quarantined:,} in quarantine"),
        ("time", f"{iso_utc(data.start_ns)} to {iso_utc(data.end_ns)}"),
    ]
    return ["## Data", "", *table(("", ""), rows)]


def _gate(gate: GateReport) -> list[str]:
    rows = [
        (title_of(item.name), item.status if item.status == "passed" else f"**{item.status}**", plain(item.reason))
        for item in gate.criteria
    ]
    return [
        "## Gate",
        "",
        (
            f"Verdict **{gate.verdict}** on {gate.n:,} moves from {iso_utc(gate.window.start_ns)} to "
            f"{iso_utc(gate.window.end_ns)}, about {gate.n_blocks:.0f} independent stretches of time, against "
            f"{_champion(gate)}. Report {code(gate.digest[:16])}."
        ),
        "",
        *table(("criterion", "status", "reason"), rows),
    ]


def _champion(gate: GateReport) -> str:
    return "no champion" if gate.champion is None else f"champion {plain(gate.champion)}"


def _artifact(card: ModelCard) -> list[str]:
    latency = card.latency
    rows = [
        ("model file, SHA-256", code(card.digest)),
        ("size", f"{card.size_bytes / 1024:,.0f} KiB"),
        *(_LATENCY_UNKNOWN if latency is None else _latency(latency)),
    ]
    return ["## Speed and size", "", *table(("", ""), rows)]


_LATENCY_UNKNOWN = (("latency", "not measured, the artifact did not answer"),)


def _latency(latency: LatencyReport) -> tuple[tuple[str, str], ...]:
    return (
        ("latency as served, median", f"{latency.p50_ms:.2f} ms"),
        ("latency, 99th percentile", f"{latency.p99_ms:.2f} ms of {latency.n:,} calls"),
        ("its 95 % upper bound", f"{latency.p99_upper_ms:.2f} ms"),
    )


def _lineage(card: ModelCard) -> list[str]:
    rows = [
        ("run", code(card.run_id)),
        ("parent version", "none" if card.parent_version is None else plain(card.parent_version)),
        ("dataset", code(card.data.digest)),
        ("gate report", code(card.gate.digest)),
    ]
    return ["## Lineage", "", *table(("", ""), rows)]


def _bars(n: int) -> str:
    return "1 bar" if n == 1 else f"{n:,} bars"
