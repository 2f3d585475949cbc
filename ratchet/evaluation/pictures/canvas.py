"""What all pictures share: colours that stay apart for every common kind of colour blindness, axes, the PNG.

The colours are those of Okabe and Ito; where a colour means something, a form or a word says it as well.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ConfigurationError

BLUE, VERMILLION, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7"
BLACK, GREY, LIGHT = "#222222", "#767676", "#E5E5E5"

NS_PER_DAY = 86_400e9

_DPI = 120
_WIDTH = 10.0  # inches: 1,200 pixels


def new_figure(height: float, *, title: str, width: float = _WIDTH) -> Any:
    """Return an empty figure of `width` x `height` inches with its title above on the left.

    Raises:
        ConfigurationError: Matplotlib is not installed.
    """
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise ConfigurationError(
            "Matplotlib is missing; install the extra that draws: pip install 'ratchet[collect]'"
        ) from error
    from matplotlib.figure import Figure  # noqa: PLC0415 - only where something is drawn

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(plain(title), x=0.01, ha="left", fontsize=13, fontweight="bold")
    return figure


def plain(text: str) -> str:
    """Return text in which Matplotlib finds no formula: a `$` is a `$`."""
    return text.replace("$", r"\$")


def tidy(axes: Any, *, grid: str = "both") -> None:
    """Give axes a light grid below what is drawn, and no frame above and on the right."""
    axes.grid(visible=True, axis=grid, color=LIGHT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def percent_axis(axis: Any) -> None:
    """Write shares as percentages, with as many digits as tell neighbouring ticks apart."""
    from matplotlib.ticker import PercentFormatter  # noqa: PLC0415 - only where something is drawn

    axis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=None, symbol="%"))


def time_axis(axes: Any, *, n_ticks: int = 10) -> None:
    """Write the x axis, in days since 1970, as dates UTC."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - only where drawn

    locator = AutoDateLocator(minticks=3, maxticks=n_ticks, tz="UTC")
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))


def days(ts_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ns UTC as days since 1970, the unit of Matplotlib's dates."""
    return ts_ns / NS_PER_DAY


def whiskers(axes: Any, x: Any, y: Any, low: Any, high: Any, **style: Any) -> None:
    """Draw points with their vertical intervals; an interval that is not finite is left out."""
    point, bottom, top = (np.asarray(values, dtype=np.float64) for values in (y, low, high))
    reach = np.nan_to_num(np.maximum(np.vstack([point - bottom, top - point]), 0.0), nan=0.0, posinf=0.0)
    axes.errorbar(x, point, yerr=reach, **style)


def png(figure: Any) -> bytes:
    """Return the figure as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - only where something is drawn

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
