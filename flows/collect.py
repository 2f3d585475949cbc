"""Keep market data current: fetch what is missing, cut a dataset, judge it, and show how complete it is.

Started by its schedule, from the Prefect UI, or by hand. Bars that came are kept whatever fails; a run that finds
nothing new changes nothing and names the same dataset.
"""

from __future__ import annotations

from prefect import flow

from ratchet.data.history import CollectionRequest
from ratchet.data.manifest import DatasetRef
from tasks.history import cut_history, publish_coverage, update_history
from tasks.validate import validate_dataset


@flow(name="collect", flow_run_name="collect {source} {timeframe}")
def collect(
    source: str = "simulated://",
    symbols: list[str] | None = None,
    timeframe: str = "1h",
    start: str | None = None,
    end: str | None = None,
    ask_again: bool = False,
    fill_no_trades: bool = False,
    with_books: bool = False,
) -> DatasetRef:
    """Bring the history of a venue up to date and return the dataset that passed the quality gate."""
    request = CollectionRequest.create(
        source=source, symbols=symbols, timeframe=timeframe, start=start, end=end, ask_again=ask_again
    )
    report = update_history(request)
    raw = cut_history(report, fill_no_trades=fill_no_trades, with_books=with_books)
    publish_coverage(report, raw)
    return validate_dataset(raw, is_live=request.is_live)
