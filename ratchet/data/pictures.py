"""Pictures of candles, gaps and coverage: PNG by Matplotlib, and text for a terminal by plotext.

Colours are those of Okabe and Ito, which stay apart for every common kind of colour blindness; classes of gaps also
differ by hatch or letter. All times are UTC.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.errors import ConfigurationError, InputError

MAX_BARS = 2_000
"""More bars than that are joined before they are drawn."""

_MAX_CANDLES = 240  # more are drawn as a line of closes with the range around it
_MAX_EDGES = 150  # with more gaps of a class, the depth of the shade shows how much is missing
_DPI = 120
_BLUE, _BLACK, _GREY = "#0072B2", "#222222", "#8C8C8C"
_MONTH_NS = 30 * 86_400 * 10**9
_HINT = "install the extra that draws: pip install 'ratchet[collect]'"
# plotext has one figure per process.
_one_figure = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Look:
    name: str
    colour: str
    hatch: str
    letter: str
    ansi: str


_LOOKS = {
    "fetch_failure": _Look("fetch failure", "#D55E00", "////", "F", "red"),
    "exchange_outage": _Look("exchange outage", "#CC79A7", "xxxx", "X", "magenta"),
    "no_trades": _Look("no trades", "#E69F00", "....", "o", "orange"),
    "not_listed": _Look("not listed", "#999999", "", "-", "gray"),
}

_UNKNOWN = _Look("missing, not classified", "#000000", "", "?", "default")


def candle_picture(candles: pd.DataFrame, gaps: pd.DataFrame, *, title: str) -> bytes:
    """Draw one symbol's candles, their volume and its gaps as a PNG of 1320 x 744 pixels.

    Up to 240 bars appear as candles, hollow where the price rose; more as a line of closes with the range from low to
    high, broken where bars are missing; more than `MAX_BARS` are joined first.

    Args:
        candles: a candle frame of one symbol.
        gaps: columns `symbol`, `start_ns`, `end_ns` (exclusive) and `kind`; those of other symbols are left out.
        title: stands above the picture.

    Raises:
        InputError: no candles, candles of several symbols, or an unknown kind of gap.
        ConfigurationError: Matplotlib is not installed.
    """
    _require_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415 - only here

    symbol, holes = _one_symbol(candles, gaps)
    bars, step_ns = _join(candles, MAX_BARS)
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    price, volume = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    if len(bars) <= _MAX_CANDLES:
        _draw_candles(price, bars, step_ns)
    else:
        _draw_line(price, bars, step_ns)
    times, heights = _with_breaks(bars, step_ns, "volume")
    volume.fill_between(_days(times), 0, heights, step="post", color=_GREY, linewidth=0)
    _shade(price, volume, holes)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    price.set_ylabel(f"price ({symbol.partition('/')[2].partition(':')[0]})")
    volume.set_ylabel(f"volume ({symbol.partition('/')[0]})")
    _time_axis(volume)
    _tidy(price, volume)
    return _png(figure)


def coverage_picture(coverage: pd.DataFrame, *, title: str) -> bytes:
    """Draw which share of its bars each symbol has over time as a PNG, a row per symbol.

    Args:
        coverage: a frame of `ratchet.data.coverage.COVERAGE_COLUMNS`, the buckets the same for all symbols.
        title: stands above the picture.

    Raises:
        InputError: there is nothing to draw, or an unknown kind of gap.
        ConfigurationError: Matplotlib is not installed.
    """
    _require_matplotlib()
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415 - only here
    from matplotlib.figure import Figure  # noqa: PLC0415 - only here

    if coverage.empty:
        raise InputError("there is no coverage to draw; name symbols and a period with candles or gaps")
    _known_kinds(coverage.loc[coverage["kind"] != "", "kind"])
    shares = coverage.pivot_table(index="symbol", columns="start_ns", values="share")
    edges = _days(np.append(shares.columns.to_numpy(), coverage["end_ns"].max()))
    rows = np.arange(len(shares) + 1)
    colours = LinearSegmentedColormap.from_list("coverage", ["#F4F4F4", "#9CC7E4", "#3F86BD"])
    figure = Figure(figsize=(11, 1.9 + 0.21 * max(len(shares), 4)), layout="constrained")
    axes = figure.subplots()
    mesh = axes.pcolormesh(edges, rows, shares.to_numpy(), cmap=colours, vmin=0, vmax=1, rasterized=True)
    _mark_kinds(axes, coverage, {str(symbol): row for row, symbol in enumerate(shares.index)})
    axes.set_yticks(rows[:-1] + 0.5, labels=list(shares.index), fontsize=9 if len(shares) <= 30 else 8)
    axes.hlines(rows[1:-1], edges[0], edges[-1], color="white", linewidth=1.5)
    axes.set_ylim(len(shares), 0)
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)
    slim = 12 + len(shares)
    bar = figure.colorbar(mesh, ax=axes, label="share of bars present", aspect=slim, pad=0.01)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    _time_axis(axes)
    return _png(figure)


def candle_text(
    candles: pd.DataFrame, gaps: pd.DataFrame, *, width: int = 100, height: int = 24, colour: bool = True
) -> str:
    """Draw one symbol's candles and gaps as text for a terminal, `width` columns by `height` lines.

    Bars are joined until each has a column. A rising bar has a light body, a falling one a full one; a gap is a column
    of its class's letter, explained in the last line. Without `colour` there is no escape code in the text.

    Raises:
        InputError: no candles, candles of several symbols, an unknown kind of gap, or less room than 40 x 10.
        ConfigurationError: plotext is not installed.
    """
    if width < 40 or height < 10:
        raise InputError(f"{width} x {height} is too small for a picture; give at least 40 columns and 10 lines")
    try:
        import plotext  # noqa: PLC0415 - only here
    except ImportError as error:
        raise ConfigurationError(f"plotext is missing; {_HINT}") from error
    symbol, holes = _one_symbol(candles, gaps)
    bars, step_ns = _join(candles, width - 14)
    with _one_figure:
        figure = plotext.figure
        figure.clear()
        plotext.terminal.limit(False, False)
        figure.plot_size(width, height - 1)
        figure.theme("colorless")
        _text_candles(plotext, figure, bars, holes, step_ns)
        text = str(figure.build()).rstrip("\n")
        figure.clear()
    kinds = [look for kind, look in _LOOKS.items() if kind in set(holes["kind"])]
    legend = "  ".join([f"{symbol} UTC", "▒ up  █ down", *(f"{look.letter} {look.name}" for look in kinds)])
    return f"{text if colour else plotext.uncolorize(text)}\n{legend[:width]}"


def _require_matplotlib() -> None:
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise ConfigurationError(f"Matplotlib is missing; {_HINT}") from error


def _one_symbol(candles: pd.DataFrame, gaps: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    symbols = candles["symbol"].unique()
    if len(symbols) != 1:
        raise InputError(f"a picture shows one symbol, not {len(symbols)}; choose one that has candles")
    _known_kinds(gaps["kind"])
    return str(symbols[0]), gaps[gaps["symbol"] == symbols[0]]


def _known_kinds(kinds: pd.Series) -> None:
    unknown = sorted(set(kinds) - set(_LOOKS))
    if unknown:
        raise InputError(f"{', '.join(map(str, unknown))} is no kind of gap; there are {', '.join(_LOOKS)}")


def _join(candles: pd.DataFrame, max_bars: int) -> tuple[pd.DataFrame, int]:
    """Return at most `max_bars` bars of equal length on one grid, and that length; missing bars stay missing."""
    ordered = candles.sort_values("ts_event_ns", kind="stable")
    times_ns = ordered["ts_event_ns"].to_numpy()
    steps = np.diff(times_ns)
    step_ns = int(steps[steps > 0].min()) if (steps > 0).any() else 1
    n_slots = int(times_ns[-1] - times_ns[0]) // step_ns + 1
    factor = -(-n_slots // max_bars)
    slot = (times_ns - times_ns[0]) // (step_ns * factor)
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    bars = ordered.groupby(slot).agg(how).reset_index(names="slot")
    return bars.assign(ts_event_ns=times_ns[0] + bars["slot"] * step_ns * factor), step_ns * factor


def _days(times_ns: pd.Series | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return times as Matplotlib counts them: days since 1970."""
    return np.asarray(times_ns, dtype=np.float64) / 86_400e9


def _with_breaks(bars: pd.DataFrame, step_ns: int, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return times and values with a NaN at the close before each hole, and at the end."""
    times_ns, values = bars["ts_event_ns"].to_numpy(), bars[name].to_numpy(dtype=np.float64)
    last = np.append(np.diff(times_ns) > step_ns, [True])
    at = np.flatnonzero(last) + 1
    return np.insert(times_ns, at, times_ns[at - 1] + step_ns), np.insert(values, at, np.nan)


def _draw_candles(axes: Any, bars: pd.DataFrame, step_ns: int) -> None:
    middle = _days(bars["ts_event_ns"] + step_ns // 2)
    is_up = (bars["close"] >= bars["open"]).to_numpy()
    colours = np.where(is_up, _BLUE, _BLACK)
    bottom, top = bars[["open", "close"]].min(axis=1), bars[["open", "close"]].max(axis=1)
    axes.vlines(middle, bars["low"], bottom, colors=colours, linewidth=0.9)
    axes.vlines(middle, top, bars["high"], colors=colours, linewidth=0.9)
    least = 0.001 * (bars["high"].max() - bars["low"].min())
    faces = np.where(is_up, "white", _BLACK)
    width = 0.72 * step_ns / 86_400e9
    axes.bar(middle, np.maximum(top - bottom, least), width, bottom, color=faces, edgecolor=colours, linewidth=0.9)


def _draw_line(axes: Any, bars: pd.DataFrame, step_ns: int) -> None:
    times, low = _with_breaks(bars, step_ns, "low")
    high, close = (_with_breaks(bars, step_ns, name)[1] for name in ("high", "close"))
    axes.fill_between(_days(times), low, high, color=_BLUE, alpha=0.25, linewidth=0)
    axes.plot(_days(times), close, color=_BLUE, linewidth=0.9)


def _shade(price: Any, volume: Any, holes: pd.DataFrame) -> None:
    """Shade the gaps; edges keep the shortest ones visible, unless they would cover everything."""
    from matplotlib.patches import Patch  # noqa: PLC0415 - only here

    handles = []
    for kind, look in _LOOKS.items():
        rows = holes[holes["kind"] == kind]
        if rows.empty:
            continue
        start = _days(rows["start_ns"])
        spans = list(zip(start, _days(rows["end_ns"]) - start, strict=True))
        for axes in (price, volume):
            across = {"transform": axes.get_xaxis_transform()}
            axes.broken_barh(spans, (0, 1), facecolor=look.colour, alpha=0.35, linewidth=0, zorder=0.5, **across)
            if len(rows) <= _MAX_EDGES:
                edge = {"edgecolor": look.colour, "hatch": look.hatch, "linewidth": 1.1}
                axes.broken_barh(spans, (0, 1), facecolor="none", zorder=0.6, **edge, **across)
        plural = "" if len(rows) == 1 else "s"
        label = f"{look.name} ({len(rows)} gap{plural})"
        handles.append(Patch(facecolor=look.colour + "59", edgecolor=look.colour, hatch=look.hatch, label=label))
    if handles:
        price.figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), frameon=False, fontsize=9)


def _mark_kinds(axes: Any, coverage: pd.DataFrame, row_of: dict[str, int]) -> None:
    """Mark buckets that miss bars with their class; a bar at the foot, as high as the missing share."""
    from matplotlib.patches import Patch  # noqa: PLC0415 - only here

    handles = []
    for kind, look in [*_LOOKS.items(), ("", _UNKNOWN)]:
        holes = coverage[(coverage["kind"] == kind) & (coverage["share"] < 1)]
        if holes.empty:
            continue
        start, end = _days(holes["start_ns"]), _days(holes["end_ns"])
        heights = np.clip(1 - holes["share"].to_numpy(), 0.3, 1.0)
        feet = holes["symbol"].map(row_of).to_numpy() + 1 - heights
        axes.bar(start, heights, end - start, feet, align="edge", color=look.colour, linewidth=0)
        handles.append(Patch(facecolor=look.colour, label=look.name))
    if handles:
        axes.figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), frameon=False, fontsize=9)


def _time_axis(axes: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - only here

    locator = AutoDateLocator(minticks=4, maxticks=10, tz="UTC")
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))
    axes.set_xlabel("UTC", loc="left")  # the year stands at the right


def _tidy(price: Any, volume: Any) -> None:
    from matplotlib.ticker import EngFormatter  # noqa: PLC0415 - only here

    for axes in (price, volume):
        axes.margins(x=0.01)
        axes.grid(visible=True, color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    price.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    volume.yaxis.set_major_formatter(EngFormatter(sep=""))
    volume.set_ylim(bottom=0)


def _png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - only here

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _text_candles(plotext: ModuleType, figure: Any, bars: pd.DataFrame, holes: pd.DataFrame, step_ns: int) -> None:
    first_ns, last = int(bars["ts_event_ns"].iloc[0]), int(bars["slot"].iloc[-1])
    low, high = float(bars["low"].min()), float(bars["high"].max())

    def draw(slot: int, bottom: float, top: float, letter: str, colour: str) -> None:
        marker = plotext.marker(letter, plotext.pixel(foreground=colour))
        figure.draw(figure.segment((slot, slot), (bottom, top), marker=marker))

    columns = (bars[name].to_numpy() for name in ("slot", "open", "high", "low", "close"))
    for slot, opening, top, bottom, close in zip(*columns, strict=True):
        colour = "blue" if close >= opening else "default"
        draw(slot, bottom, top, "│", colour)
        draw(slot, opening, close, "▒" if close >= opening else "█", colour)
    drawn = set(bars["slot"])
    for slot, kind in _holes_by_slot(holes, first_ns, step_ns, last):
        # Where a joined bar misses only some of its time, the letter stands at its foot.
        draw(slot, low, low if slot in drawn else high, _LOOKS[kind].letter, _LOOKS[kind].ansi)
    ticks = np.linspace(0, last, 5).astype(int)
    times = pd.to_datetime(first_ns + ticks * step_ns)
    is_short = last * step_ns < _MONTH_NS
    figure.ruler("x").ticks(
        ticks.astype(float).tolist(), list(times.strftime("%m-%d %H:%M" if is_short else "%Y-%m-%d"))
    )


def _holes_by_slot(holes: pd.DataFrame, first_ns: int, step_ns: int, last: int) -> list[tuple[int, str]]:
    touched = set()
    for kind, start_ns, end_ns in zip(holes["kind"], holes["start_ns"], holes["end_ns"], strict=True):
        begin, end = (start_ns - first_ns) // step_ns, -((first_ns - end_ns) // step_ns)
        touched |= {(int(slot), str(kind)) for slot in range(max(begin, 0), min(end, last + 1))}
    return sorted(touched)
