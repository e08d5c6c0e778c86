"""What all figures have in common: size, colours, letters in any script, and how they become files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.typing import LineStyleType

from yolo_lightning.drawing import class_colour
from yolo_lightning.drawing.text import FONT_FOLDER, writable
from yolo_lightning.paths import replacing

__all__ = [
    "BOLD",
    "GREY",
    "class_label",
    "finish",
    "line_colour",
    "message_figure",
    "new_figure",
    "run_colour",
    "save_figure",
    "say",
]

BOLD = "#1b4f9c"
GREY = "#9aa0a6"
_DPI = 150
# Okabe and Ito's colours, which people with any colour vision tell apart.
_RUN_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b5a900")
_RUN_DASHES: tuple[LineStyleType, ...] = ("-", (0.0, (5.0, 2.0)), (0.0, (1.0, 1.0)))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that is drawn without a display."""
    figure = Figure((width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def message_figure(title: str, text: str) -> Figure:
    """A figure that says in words why there is nothing to see."""
    figure = new_figure(8, 5)
    axes = figure.subplots()
    axes.set_title(title)
    say(axes, text)
    return finish(figure)


def say(axes: Axes, text: str) -> None:
    """Words in the place of a plot."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.35", wrap=True)


def finish(figure: Figure) -> Figure:
    """Lets every text be in any script, and be what it says: ``$`` begins no formula."""
    families = _font_families()
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_fontfamily(families)
            text.set_parse_math(False)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG, whole or not at all, in the place of an older one.

    Raises:
        OSError: If it cannot be written.
    """
    engine = figure.get_layout_engine()
    if engine is not None:
        # Once is enough; `savefig` draws a whole figure for it.
        engine.execute(figure)
        figure.set_layout_engine(None)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def class_label(name: str, most: int = 24) -> str:
    """The name of a class or run in one line that fits and has letters that can be drawn."""
    text = writable(name) or "?"
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return f" {text}" if text.startswith("_") else text  # matplotlib leaves such names out of legends


def line_colour(label: int) -> tuple[float, float, float]:
    """The colour that a class has on pictures, a little darker, as thin lines on white need it."""
    red, green, blue = class_colour(label)
    return red * 0.85 / 255, green * 0.85 / 255, blue * 0.85 / 255


def run_colour(position: int) -> tuple[str, LineStyleType]:
    """Colour and dashes of a run among others; those of 24 runs differ."""
    return _RUN_COLOURS[position % len(_RUN_COLOURS)], _RUN_DASHES[position // len(_RUN_COLOURS) % len(_RUN_DASHES)]


@cache
def _font_families() -> Sequence[str]:
    """The font of matplotlib, and after it the one that comes along with Chinese, Japanese and Korean."""
    font_manager.fontManager.addfont(FONT_FOLDER / "DroidSansFallback.ttf")
    return ["DejaVu Sans", font_manager.FontProperties(fname=FONT_FOLDER / "DroidSansFallback.ttf").get_name()]
