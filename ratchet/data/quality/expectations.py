"""The quality gate on Great Expectations: suite, checkpoint and Data Docs below one folder.

Each check of a suite is one expectation. The engine's verdict is compared, row by row, with the rows that
the check itself finds; the gate passes only where both agree, so neither can be wrong alone. The suites are code: the
context's configuration is written anew at each run, which also makes a half-written one harmless, and only results and
Data Docs are kept.
"""

from __future__ import annotations

import fcntl
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd

from ratchet.data.quality.books import book_suite
from ratchet.data.quality.candles import candle_suite
from ratchet.data.quality.checks import Broken, Check, Result, Suite, judge
from ratchet.data.quality.policy import QualityPolicy
from ratchet.data.quality.report import Failure
from ratchet.data.quality.rows import Rows
from ratchet.data.quality.rules import AtLeast, Between, OneOf, Other, Present, Rule, Unique
from ratchet.data.quality.trades import trade_suite
from ratchet.errors import ArtifactError, ConfigurationError
from ratchet.market.symbols import Timeframe

_REWRITTEN = (
    *("great_expectations.yml", "expectations", "checkpoints", "validation_definitions"),
    *("uncommitted/config_variables.yml", "uncommitted/validations/.ge_store_backend_id"),
)
_RESULT_FORMAT = {"result_format": "COMPLETE", "return_unexpected_index_query": False}
# Great Expectations keeps the open context in a global of the process.
_one_context = threading.Lock()

Verdicts = dict[tuple[str, str], Any]
"""What Great Expectations found, by name and columns of the check."""


class GreatExpectationsGate:
    """A `QualityGate` that leaves HTML pages for people.

    Rows with defects (a missing or infinite number, a high or low inside the bar, a negative volume) are quarantined as
    long as their share is at most the policy's; above it, and for every critical defect, the gate fails.

    Args:
        root: folder of the context; made where absent, and shared safely by several processes.
        policy: the thresholds.
        n_kept_runs: of how many runs results and pages are kept; each one slows the Data Docs' index by 20 ms.
    """

    def __init__(
        self,
        root: Path,
        policy: QualityPolicy = QualityPolicy(),  # noqa: B008 - it is frozen
        *,
        n_kept_runs: int = 50,
    ) -> None:
        self._root = root.expanduser().resolve()
        self._policy = policy
        self._n_kept_runs = max(n_kept_runs, 1)

    def check(
        self,
        candles: pd.DataFrame,
        *,
        timeframe: Timeframe,
        reference: pd.DataFrame | None = None,
        now_ns: int | None = None,
    ) -> Result:
        """Judge candles; see `QualityGate.check`.

        Raises:
            ConfigurationError: Great Expectations is not installed.
            ArtifactError: the folder of the context cannot be used.
            InputError: the reference is no candle frame.
        """
        return self._judge(candles, candle_suite(timeframe, self._policy, reference=reference, now_ns=now_ns))

    def check_books(self, books: pd.DataFrame) -> Result:
        """Judge order books; see `QualityGate.check_books`. Raises as `check`."""
        return self._judge(books, book_suite(self._policy))

    def check_trades(self, trades: pd.DataFrame) -> Result:
        """Judge trades; see `QualityGate.check_trades`. Raises as `check`."""
        return self._judge(trades, trade_suite(self._policy))

    def _judge(self, table: pd.DataFrame, suite: Suite) -> Result:
        def witness(rows: Rows | None, broken: Broken) -> tuple[list[Failure], str | None]:
            if rows is None:
                there = table.loc[:, [name for name in suite.types if name in table]].reset_index(drop=True)
                return [], self._run(there, suite, ())[1]
            verdicts, docs_path = self._run(_with_derived(rows, suite), suite, suite.checks)
            return _disagreements(verdicts, suite.checks, broken), docs_path

        return judge(table, suite, engine="great_expectations", witness=witness)

    def _run(self, rows: pd.DataFrame, suite: Suite, checks: Sequence[Check]) -> tuple[Verdicts, str]:
        """Run the checkpoint; return its verdicts and the path of the HTML page."""
        try:
            import great_expectations.exceptions as gx_errors  # noqa: PLC0415 - seconds that only this gate may cost
        except ImportError as error:
            raise ConfigurationError(
                "Great Expectations is not installed; run pip install 'ratchet[validate]'"
            ) from error
        name = suite.table if checks else f"{suite.table}_table"
        with _one_context, _only_user(self._root):
            try:
                _tidy(self._root / "gx", self._n_kept_runs)
                return _run_checkpoint(self._root, rows, name, _expectations(suite, checks))
            except (gx_errors.GreatExpectationsError, OSError) as error:
                cause = " ".join(str(error).split())[:200]
                raise ArtifactError(f"{self._root}: the quality context failed ({cause}); remove the folder") from error


def _with_derived(rows: Rows, suite: Suite) -> pd.DataFrame:
    """Return the columns of the suite and the derived ones that its rules judge, with a fresh index."""
    judged = dict.fromkeys(check.rule.column for check in suite.checks)
    return pd.DataFrame({name: rows.dense(name) for name in dict.fromkeys((*suite.types, *judged))}, copy=False)


def _expectations(suite: Suite, checks: Sequence[Check]) -> list[Any]:
    mostly = {"critical": 1.0, "row": 1.0 - suite.max_quarantined_share, "warn": 1.0}
    severity = {"critical": "critical", "row": "warning", "warn": "info"}
    return _table_expectations(suite) + [
        _expectation(
            check.rule,
            mostly=mostly[check.severity],
            severity=severity[check.severity],
            notes=check.reason,
            meta={"check": check.name, "column": check.column},
        )
        for check in checks
    ]


def _table_expectations(suite: Suite) -> list[Any]:
    import great_expectations.expectations as gxe  # noqa: PLC0415

    exist = [
        gxe.ExpectColumnToExist(column=name, meta={"check": "column_present", "column": name}) for name in suite.types
    ]
    typed = [
        gxe.ExpectColumnValuesToBeInTypeList(
            column=name, type_list=list(types), meta={"check": "column_type", "column": name}
        )
        for name, types in suite.types.items()
        if types
    ]
    filled = gxe.ExpectTableRowCountToBeBetween(min_value=1, meta={"check": "not_empty", "column": ""})
    return [*exist, *typed, filled]


def _expectation(rule: Rule, *, mostly: float, **options: Any) -> Any:
    import great_expectations.expectations as gxe  # noqa: PLC0415

    match rule:
        case Present(column):
            return gxe.ExpectColumnValuesToNotBeNull(column=column, mostly=mostly, **options)
        case Between(column, minimum, maximum, is_strict):
            lower, upper = (bound if np.isfinite(bound) else None for bound in (minimum, maximum))
            return gxe.ExpectColumnValuesToBeBetween(
                column=column, min_value=lower, max_value=upper, strict_min=is_strict, mostly=mostly, **options
            )
        case Other(column, value):
            return gxe.ExpectColumnValuesToNotBeInSet(column=column, value_set=[value], mostly=mostly, **options)
        case OneOf(column, choices):
            return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(choices), mostly=mostly, **options)
        case AtLeast(column, floor, is_strict):
            return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A=column,
                column_B=floor,
                or_equal=not is_strict,
                ignore_row_if="either_value_is_missing",
                mostly=mostly,
                **options,
            )
        case Unique(column):
            return gxe.ExpectCompoundColumnsToBeUnique(column_list=["symbol", column], mostly=mostly, **options)


def _run_checkpoint(root: Path, rows: pd.DataFrame, name: str, expectations: list[Any]) -> tuple[Verdicts, str]:
    import great_expectations as gx  # noqa: PLC0415

    context = gx.get_context(mode="file", project_root_dir=root)
    result = _checkpoint(context, name, expectations).run(batch_parameters={"dataframe": rows})
    ((identifier, validation),) = result.run_results.items()
    (site,) = context.get_docs_sites_urls(resource_identifier=identifier)
    verdicts = {(meta["check"], meta["column"]): entry for entry, meta in _with_meta(validation.results)}
    return verdicts, unquote(urlsplit(site["site_url"]).path)


def _with_meta(results: Sequence[Any]) -> Iterator[tuple[Any, dict[str, str]]]:
    return ((entry, entry.expectation_config.meta) for entry in results)


def _checkpoint(context: Any, name: str, expectations: list[Any]) -> Any:
    import great_expectations as gx  # noqa: PLC0415
    from great_expectations.checkpoint import UpdateDataDocsAction  # noqa: PLC0415

    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    context.variables.save()
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name, expectations=expectations))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
    return context.checkpoints.add(
        gx.Checkpoint(
            name=name,
            validation_definitions=[definition],
            actions=[UpdateDataDocsAction(name="data_docs")],
            result_format=_RESULT_FORMAT,
        )
    )


def _disagreements(verdicts: Verdicts, checks: Sequence[Check], broken: Broken) -> list[Failure]:
    """Return a critical failure for each check on which the engine and the check itself differ in any row."""
    positions = {(check.name, check.column): rows.tolist() for check, rows in broken}
    expected = {key: positions.get(key, []) for key in ((check.name, check.column) for check in checks)}
    found = {key: _unexpected_rows(verdicts[key]) if key in verdicts else None for key in expected}
    of_table = [key for key, verdict in verdicts.items() if key not in expected and not verdict.success]
    return [_disagreement(key, found[key], rows) for key, rows in expected.items() if found[key] != rows] + [
        _disagreement(key, None, []) for key in of_table
    ]


def _unexpected_rows(verdict: Any) -> list[int] | None:
    """Return the positions that break an expectation; None where the engine could not evaluate it."""
    rows = verdict.result.get("unexpected_index_list")
    return None if rows is None else sorted(rows)


def _disagreement(key: tuple[str, str], found: list[int] | None, expected: list[int]) -> Failure:
    n_found = "no such verdict" if found is None else f"{len(found)} rows"
    reason = f"Great Expectations gives {n_found} for {key[0]}, the check itself {len(expected)} rows"
    return Failure(
        check="engine_agreement",
        column=key[1],
        n_rows=len(expected),
        sample=(),
        reason=reason,
        severity="critical",
    )


@contextmanager
def _only_user(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tidy(context_folder: Path, n_kept_runs: int) -> None:
    """Remove what is written anew, and the results and pages of old runs: with the next, `n_kept_runs` remain."""
    for name in _REWRITTEN:
        path = context_folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    kept = context_folder / "uncommitted"
    latest_first = sorted((kept / "validations").glob("*/*/*"), key=lambda run: run.name, reverse=True)
    for run in latest_first[n_kept_runs - 1 :]:
        shutil.rmtree(run)
        shutil.rmtree(kept / "data_docs" / "local_site" / run.relative_to(kept), ignore_errors=True)
