"""The quality gate on Great Expectations: suite, checkpoint and Data Docs below one folder.

Each check of `ratchet.data.checks` is one expectation. The engine's verdict is compared, row by row, with the rows that
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
from numpy.typing import NDArray

from ratchet.data.checks import (
    AtLeast,
    Between,
    Present,
    RowCheck,
    Rule,
    Unique,
    column_types,
    describe_failure,
    failures_of,
    row_checks,
    row_reasons,
    table_failures,
    with_time_columns,
)
from ratchet.data.quality import Failure, QualityReport
from ratchet.errors import ArtifactError, ConfigurationError
from ratchet.market.candles import CANDLE_COLUMNS
from ratchet.market.symbols import Timeframe

_REWRITTEN = (
    *("great_expectations.yml", "expectations", "checkpoints", "validation_definitions"),
    *("uncommitted/config_variables.yml", "uncommitted/validations/.ge_store_backend_id"),
)
_RESULT_FORMAT = {"result_format": "COMPLETE", "return_unexpected_index_query": False}
# Great Expectations keeps the open context in a global of the process.
_one_context = threading.Lock()

Broken = Sequence[tuple[RowCheck, NDArray[np.int64]]]
Verdicts = dict[tuple[str, str], Any]
"""What Great Expectations found, by name and columns of the check."""


class GreatExpectationsGate:
    """A `QualityGate` that leaves HTML pages for people.

    Rows with defects (a missing or infinite number, a high or low inside the bar, a negative volume) are quarantined as
    long as their share is at most `max_quarantined_share`; above it, and for every other defect, the gate fails.

    Args:
        root: folder of the context; made where absent, and shared safely by several processes.
        max_quarantined_share: largest share of rows that may be quarantined, 0 to 1.
        n_kept_runs: of how many runs results and pages are kept; each one slows the Data Docs' index by 20 ms.
    """

    def __init__(self, root: Path, max_quarantined_share: float = 0.005, *, n_kept_runs: int = 50) -> None:
        if not 0 <= max_quarantined_share <= 1:
            raise ConfigurationError(f"max_quarantined_share is a share from 0 to 1, not {max_quarantined_share}")
        self._root = root.expanduser().resolve()
        self._max_share = max_quarantined_share
        self._n_kept_runs = max(n_kept_runs, 1)

    def check(self, candles: pd.DataFrame, *, timeframe: Timeframe) -> tuple[QualityReport, pd.DataFrame, pd.DataFrame]:
        """Judge candles; see `QualityGate.check`.

        Raises:
            ConfigurationError: Great Expectations is not installed.
            ArtifactError: the folder of the context cannot be used.
        """
        defects = table_failures(candles)
        if defects:
            return self._judge_table(candles, defects)
        rows = with_time_columns(candles, timeframe)
        checks = row_checks(timeframe)
        broken = failures_of(rows, checks)
        verdicts, docs_path = self._run(rows, "candles", checks)
        disagreements = _disagreements(verdicts, checks, broken)
        failures = [*(describe_failure(rows, check, positions) for check, positions in broken), *disagreements]
        reasons = row_reasons(len(rows), broken)
        is_bad = reasons != ""
        failures += self._share_failure(int(is_bad.sum()), len(rows))
        report = _report(len(rows), int(is_bad.sum()), failures, docs_path)
        return report, _part(candles, ~is_bad), _part(candles, is_bad).assign(reason=reasons[is_bad])

    def _judge_table(
        self, candles: pd.DataFrame, defects: list[Failure]
    ) -> tuple[QualityReport, pd.DataFrame, pd.DataFrame]:
        there = candles.loc[:, [name for name in CANDLE_COLUMNS if name in candles]].reset_index(drop=True)
        _, docs_path = self._run(there, "candle_table", ())
        report = _report(len(candles), len(candles), defects, docs_path)
        quarantined = candles.reset_index(drop=True).assign(reason="; ".join(defect.reason for defect in defects))
        return report, candles.iloc[:0].reset_index(drop=True), quarantined

    def _share_failure(self, n_bad: int, n_rows: int) -> list[Failure]:
        if n_bad <= self._max_share * n_rows:
            return []
        reason = f"{n_bad} of {n_rows} rows are bad ({n_bad / n_rows:.2%}); at most {self._max_share:.2%} may be"
        return [
            Failure(check="quarantined_share", column="", n_rows=n_bad, sample=(), reason=reason, severity="critical")
        ]

    def _run(self, rows: pd.DataFrame, name: str, checks: Sequence[RowCheck]) -> tuple[Verdicts, str]:
        """Run the checkpoint; return its verdicts and the path of the HTML page."""
        try:
            import great_expectations.exceptions as gx_errors  # noqa: PLC0415 - seconds that only this gate may cost
        except ImportError as error:
            raise ConfigurationError(
                "Great Expectations is not installed; run pip install 'ratchet[validate]'"
            ) from error
        with _one_context, _only_user(self._root):
            try:
                _tidy(self._root / "gx", self._n_kept_runs)
                return _run_checkpoint(self._root, rows, name, self._expectations(checks))
            except (gx_errors.GreatExpectationsError, OSError) as error:
                cause = " ".join(str(error).split())[:200]
                raise ArtifactError(f"{self._root}: the quality context failed ({cause}); remove the folder") from error

    def _expectations(self, checks: Sequence[RowCheck]) -> list[Any]:
        mostly = {"critical": 1.0, "row": 1.0 - self._max_share}
        severity = {"critical": "critical", "row": "warning"}
        return _table_expectations() + [
            _expectation(
                check.rule,
                mostly=mostly[check.severity],
                severity=severity[check.severity],
                notes=check.reason,
                meta={"check": check.name, "column": check.column},
            )
            for check in checks
        ]


def _table_expectations() -> list[Any]:
    import great_expectations.expectations as gxe  # noqa: PLC0415

    exist = [
        gxe.ExpectColumnToExist(column=name, meta={"check": "column_present", "column": name})
        for name in CANDLE_COLUMNS
    ]
    typed = [
        gxe.ExpectColumnValuesToBeInTypeList(
            column=name, type_list=list(types), meta={"check": "column_type", "column": name}
        )
        for name in CANDLE_COLUMNS
        if (types := column_types(name))
    ]
    filled = gxe.ExpectTableRowCountToBeBetween(min_value=1, meta={"check": "not_empty", "column": ""})
    return [*exist, *typed, filled]


def _expectation(rule: Rule, *, mostly: float, **options: Any) -> Any:
    import great_expectations.expectations as gxe  # noqa: PLC0415

    match rule:
        case Present(column):
            return gxe.ExpectColumnValuesToNotBeNull(column=column, mostly=mostly, **options)
        case Between(column, minimum, maximum, is_strict):
            upper = maximum if np.isfinite(maximum) else None
            return gxe.ExpectColumnValuesToBeBetween(
                column=column, min_value=minimum, max_value=upper, strict_min=is_strict, mostly=mostly, **options
            )
        case AtLeast(column, floor):
            return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A=column,
                column_B=floor,
                or_equal=True,
                ignore_row_if="either_value_is_missing",
                mostly=mostly,
                **options,
            )
        case Unique(columns):
            return gxe.ExpectCompoundColumnsToBeUnique(column_list=list(columns), mostly=mostly, **options)


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
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("candles")
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


def _disagreements(verdicts: Verdicts, checks: Sequence[RowCheck], broken: Broken) -> list[Failure]:
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


def _report(n_rows: int, n_bad: int, failures: Sequence[Failure], docs_path: str) -> QualityReport:
    return QualityReport(
        passed=all(failure.severity != "critical" for failure in failures),
        n_rows=n_rows,
        n_quarantined=n_bad,
        failures=tuple(failures),
        docs_path=docs_path,
    )


def _part(candles: pd.DataFrame, mask: NDArray[np.bool_]) -> pd.DataFrame:
    return candles[mask].reset_index(drop=True)


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
