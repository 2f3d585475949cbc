"""The card of a version and the report of a validation: complete, honest, and safe to open."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ratchet.errors import InputError
from ratchet.evaluation.card import ModelCard, model_card
from ratchet.evaluation.card_html import card_html
from ratchet.evaluation.markdown import code, plain, table
from ratchet.evaluation.metrics import Metric
from ratchet.evaluation.pictures import confusion_picture
from ratchet.evaluation.records import LeakReport
from ratchet.evaluation.report import EvaluationReport
from ratchet.evaluation.report_text import validation_report
from tests.unit.evaluations import LEAKS, evaluated, gated, made_card

CARD_SECTIONS = (
    "What it predicts",
    "Intended use",
    "What this does not show",
    "How it was trained",
    "Data",
    "Accuracy",
    "Probabilities",
    "Trading",
    "Luck of having tried often",
    "Slices",
    "Leak probes",
    "Gate",
    "Speed and size",
    "Lineage",
)
REPORT_SECTIONS = (
    "What this does not show",
    "Folds",
    "Beside the baselines",
    "Probabilities",
    "Trading",
    "Luck of having tried often",
    "Paths",
    "Slices",
    "Leak probes",
)
EVIL = (
    "<script>alert(1)</script>",
    '<img src="http://evil.example/a.png" onerror="alert(1)">',
    "![x](http://evil.example/b.png)",
    "[x](http://evil.example/c)",
    "<http://evil.example/d>",
    "a | b\n\n# heading\n\n<script src=//evil.example></script>",
    "`</code><script>alert(1)</script>`",
    "[x]: http://evil.example/e",
)
VOID = {"meta", "img", "br", "hr", "input", "link"}


class _Page(HTMLParser):
    """Reads a document and keeps its tags, attributes, headings and text; tags must close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: list[str] = []
        self.images: dict[str, str] = {}
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "h2":
            self.sections.append("")
        if tag == "img":
            self.images[dict(attrs)["alt"] or ""] = self.sections[-1]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] == "h2":
            self.sections[-1] += data


def _refers_to_nothing(page: _Page) -> bool:
    """Whether no tag can load, run or link to anything that is not in the document."""
    tags = {tag for tag, _ in page.tags}
    targets = [str(value) for _, attrs in page.tags for name, value in attrs.items() if name in {"src", "href"}]
    handlers = [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    forbidden = tags & {"script", "a", "link", "iframe", "object", "embed", "form", "base"}
    return not forbidden and not handlers and all(target.startswith("data:image/png;base64,") for target in targets)


def _cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:2] == "| "]


def test_a_card_says_everything_that_its_record_holds() -> None:
    """Each section is there once and in order, and figures, digests and reasons are those of the record."""
    card = made_card()
    text = model_card(card)
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == CARD_SECTIONS
    for said in (
        card.digest,
        card.data.digest,
        card.gate.digest,
        card.run_id,
        "0123abcd",
        "v1.0.0",
        "1.13 ms",
        "96 KiB",
    ):
        assert said in text
    accuracy = card.scores.accuracy
    assert f"{accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})" in text
    rows = {row[0]: row for row in _cells(text)}
    assert rows["last sign"][1].startswith(f"{card.baselines['last_sign'].value:.1%}")
    assert rows["last sign"][2].startswith(f"{100 * card.gain_over['last_sign'].value:+.1f}")
    assert rows["sum of returns"][1:] == [f"{card.trading.gross_return:+.1%}", f"{card.trading.net_return:+.1%}"]
    assert rows["trials, this one included"][1] == "37"
    assert all(criterion.reason in text for criterion in card.gate.criteria)
    assert all(item.name in text for item in card.slices)


def test_a_report_shows_folds_baselines_paths_and_probes() -> None:
    """Every fold and every baseline has its row with intervals and paired gains."""
    report = evaluated()
    text = validation_report("Validation of simulated-1h", report)
    assert text.startswith("# Validation of simulated-1h\n")
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == REPORT_SECTIONS
    rows = _cells(text)
    folds = [row for row in rows if re.fullmatch(r"\d+", row[0])]
    assert [row[3][:5] for row in folds] == [f"{fold.accuracy.value:.1%}" for fold in report.validation.folds]
    gain = report.validation.pooled.gain_over["logistic"]
    logistic = next(row for row in rows if row[0] == "logistic")
    assert logistic[2] == f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    assert ["49.0%", "52.0%", "54.0%", "1 of 5"] in rows
    assert "random walk | **skipped**" in text


def test_a_report_without_the_optional_parts_says_so() -> None:
    """What was not run is named as such, not left out in silence."""
    bare = evaluated().model_copy(update={"selection": None, "paths": None, "leaks": None, "slices": ()})
    text = validation_report("t", bare)
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == REPORT_SECTIONS
    for said in ("No search for leaks was run", "trials were not counted", "No combinatorial validation", "No part of"):
        assert said in text


def test_a_report_survives_json() -> None:
    """The record comes back from JSON as it was, and gives the same text."""
    report = evaluated()
    again = EvaluationReport.model_validate_json(report.model_dump_json())
    assert again.model_dump() == report.model_dump()
    assert validation_report("t", again) == validation_report("t", report)


def _metric(value: float, low: float, high: float) -> Metric:
    return Metric(value=value, low=low, high=high)


def _with_gain(low: float, high: float) -> ModelCard:
    return made_card().model_copy(update={"gain_over": {"logistic": _metric(0.5 * (low + high), low, high)}})


def _with_trading(**update: object) -> ModelCard:
    card = made_card()
    return card.model_copy(update={"trading": card.trading.model_copy(update=update)})


def _with_selection(**update: object) -> ModelCard:
    card = made_card()
    assert card.selection is not None
    return card.model_copy(update={"selection": card.selection.model_copy(update=update)})


def _with_accuracy(low: float, high: float) -> ModelCard:
    card = made_card()
    accuracy = _metric(0.5 * (low + high), low, high)
    return card.model_copy(update={"scores": card.scores.model_copy(update={"accuracy": accuracy})})


def _with_probe(status: str) -> ModelCard:
    first = LEAKS.probes[0].model_copy(update={"status": status})
    return made_card().model_copy(update={"leaks": LeakReport(probes=(first,), seed=1)})


DOUBTS: dict[str, tuple[str, Callable[[], ModelCard], Callable[[], ModelCard]]] = {
    "gain": ("not shown to be better than logistic", lambda: _with_gain(0.0, 0.02), lambda: _with_gain(0.001, 0.02)),
    "worse": ("is worse than logistic", lambda: _with_gain(-0.02, -0.001), lambda: _with_gain(-0.02, 0.001)),
    "coin": ("more often than a coin", lambda: _with_accuracy(0.49, 0.53), lambda: _with_accuracy(0.51, 0.53)),
    "wrong": ("less often than a coin", lambda: _with_accuracy(0.45, 0.49), lambda: _with_accuracy(0.45, 0.51)),
    "sharpe": (
        "not shown that trading it earns",
        lambda: _with_trading(net_sharpe=_metric(1.0, -0.5, 2.5)),
        lambda: _with_trading(net_sharpe=_metric(1.0, 0.5, 1.5)),
    ),
    "loss": (
        "loses money after costs",
        lambda: _with_trading(net_sharpe=_metric(-1.0, -2.5, -0.1)),
        lambda: _with_trading(net_sharpe=_metric(-1.0, -2.5, 0.1)),
    ),
    "costs": (
        "Costs take all",
        lambda: _with_trading(gross_return=0.1, net_return=-0.02),
        lambda: _with_trading(gross_return=0.1, net_return=0.02),
    ),
    "record": (
        "The record is too short",
        lambda: _with_trading(min_track_record_bars=419.0),
        lambda: _with_trading(min_track_record_bars=418.0),
    ),
    "deflated": (
        "may be the luck of 37 trials",
        lambda: _with_selection(deflated_sharpe=0.94),
        lambda: _with_selection(deflated_sharpe=0.96),
    ),
    "pbo": ("is no help", lambda: _with_selection(pbo=0.5), lambda: _with_selection(pbo=0.2)),
    "uncounted": ("trials were not counted", lambda: made_card().model_copy(update={"selection": None}), made_card),
    "unsearched": ("No search for leaks", lambda: made_card().model_copy(update={"leaks": None}), made_card),
    "leak": ("A leak was found", lambda: _with_probe("failed"), lambda: _with_probe("passed")),
    "skipped": ("Not every leak was searched for", lambda: _with_probe("skipped"), lambda: _with_probe("passed")),
    "altered": (
        "was altered after the gate wrote it",
        lambda: made_card().model_copy(update={"gate": gated().model_copy(update={"verdict": "approve"})}),
        made_card,
    ),
    "another": (
        "is about another model file",
        lambda: made_card().model_copy(update={"digest": "ef" * 32}),
        made_card,
    ),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_a_card_says_what_was_not_shown_and_only_that(name: str) -> None:
    """Each doubt has its sentence where the figures leave it, and none where they do not."""
    sentence, doubtful, clear = DOUBTS[name]

    def doubts(card: ModelCard) -> str:
        return model_card(card).partition("## What this does not show")[2].partition("\n## ")[0]

    assert sentence in doubts(doubtful())
    assert sentence not in doubts(clear())


def test_noise_is_called_noise() -> None:
    """A model without any signal, judged by the real functions, is not said to be right or to earn anything."""
    text = model_card(made_card(strength=0.0))
    assert "than a coin" in text
    assert "better than logistic" in text or "worse than logistic" in text
    assert "earns anything after costs" in text or "loses money after costs" in text


def test_the_page_is_whole_and_alone() -> None:
    """The HTML parses, holds every section and every picture in its place, and refers to nothing outside."""
    png = confusion_picture(evaluated().scores)
    names = ("folds", "equity", "calibration", "confusion", "slices", "gate")
    text = model_card(made_card())
    html = card_html(text, dict.fromkeys(names, png))
    page = _Page(html)
    assert tuple(page.sections) == (*CARD_SECTIONS, "More pictures")
    assert page.images == {
        "folds": "More pictures",
        "equity": "Trading",
        "calibration": "Probabilities",
        "confusion": "Probabilities",
        "slices": "Slices",
        "gate": "Gate",
    }
    assert _refers_to_nothing(page)
    assert "<title>simulated-1h v1.2.0</title>" in html
    assert sum(tag == "table" for tag, _ in page.tags) > 8
    report = _Page(card_html(validation_report("t", evaluated()), {"folds": png}))
    assert report.images == {"folds": "Folds"}
    assert tuple(report.sections) == REPORT_SECTIONS


@pytest.mark.parametrize("evil", EVIL)
def test_foreign_text_stays_text(evil: str) -> None:
    """A name, a reason, a symbol, a source or a recipe that is HTML or Markdown is shown as it was written."""
    card = made_card(name=evil)
    gate = card.gate.model_copy(
        update={"criteria": (card.gate.criteria[0].model_copy(update={"reason": evil}),), "champion": evil}
    )
    probe = LEAKS.probes[0].model_copy(update={"reason": evil})
    card = card.model_copy(
        update={
            "gate": gate,
            "version": evil,
            "run_id": evil,
            "parent_version": evil,
            "leaks": LeakReport(probes=(probe,), seed=1),
            "question": card.question.model_copy(update={"symbols": (evil,), "target": evil}),
            "training": card.training.model_copy(update={"network": evil, "recipe": {evil: evil}, "code_commit": evil}),
            "data": card.data.model_copy(update={"source": evil, "digest": evil}),
            "slices": (card.slices[0].model_copy(update={"name": evil}),),
        }
    )
    text = model_card(card)
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == CARD_SECTIONS
    page = _Page(card_html(text, {evil: confusion_picture(evaluated().scores)}))
    assert _refers_to_nothing(page)
    assert tuple(page.sections) == (*CARD_SECTIONS, "More pictures")
    assert page.text.count(" ".join(evil.split())) > 5
    report = evaluated().model_copy(update={"symbols": (evil,), "dataset_digest": evil, "leaks": card.leaks})
    page = _Page(card_html(validation_report(evil, report), {}))
    assert _refers_to_nothing(page)
    assert tuple(page.sections) == REPORT_SECTIONS


def test_html_in_the_markdown_itself_is_escaped() -> None:
    """Even text that nobody escaped cannot run or load anything."""
    page = _Page(card_html("# <b>t</b>\n\n" + "\n\n".join(EVIL), {}))
    assert _refers_to_nothing(page)
    assert "<script>alert(1)</script>" in page.text


def test_what_is_no_png_is_not_embedded() -> None:
    """A picture that is something else is refused."""
    with pytest.raises(InputError, match="'gate' is not a PNG"):
        card_html("# t", {"gate": b"<svg onload=alert(1)>"})


_letters = st.characters(codec="utf-8", min_codepoint=32)  # HTML cannot show the control characters below


@given(st.text(alphabet=st.one_of(st.sampled_from("\\`*_[]<>|#~&!-+=.()1a /:;\"'"), _letters), max_size=40))
@example("__0__")
def test_escaped_text_reads_as_it_was_written(text: str) -> None:
    """In a paragraph and in the cell of a table, escaped text shows what it was, and is one cell."""
    wanted = " ".join(text.split())
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    shown = _Page(parser.render(plain(text)))
    assert shown.text.strip() == wanted
    cells = _Page(parser.render("\n".join(table(("", ""), [(plain(text), "")]))))
    assert cells.text.strip() == wanted
    assert sum(tag == "td" for tag, _ in cells.tags) == 2


def test_code_holds_no_backtick_and_no_line_break() -> None:
    """What would end the code early is replaced."""
    assert code("a`b\nc|d") == "`a'b c\\|d`"
    assert code("") == ""
