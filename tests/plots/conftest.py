from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

NAMES = ("straße", "猫", "$x$ a$", "_under", "a name of a class that is much too long to fit")


def class_names(count: int) -> tuple[str, ...]:
    return (*NAMES, *(f"class {label}" for label in range(len(NAMES), count)))[:count]


def texts(figure: Figure) -> list[str]:
    """All texts of a figure."""
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def check_drawing(figure: Figure) -> None:
    """It can be drawn, with every letter, and is no white sheet."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
    assert (pixels[..., :3] < 200).any()


def make_results(num_classes: int, labelled: int | None = None, found: bool = True) -> dict[str, Any]:
    """Straight curves: class i has precision .5 + i / classes / 2 everywhere; classes without labels have none."""
    labelled = num_classes if labelled is None else labelled
    curves = np.full((num_classes, 1000), np.nan)
    height = (0.5 + np.arange(labelled) / max(1, labelled) / 2)[:, None] if found else np.zeros((labelled, 1))
    curves[:labelled] = height
    return {
        "curve_points": np.linspace(0, 1, 1000),
        **dict.fromkeys(("precision_recall_curve", "precision_curve", "recall_curve", "f1_curve"), curves),
        "yolov5_map_50_per_class": curves[:, 0],
        "yolov5_map_50": 0.512,
        "precision": 0.611,
        "recall": 0.622,
        "f1": 0.633,
        "confidence": 0.271,
    }


@pytest.fixture(autouse=True)
def _no_warnings(recwarn: pytest.WarningsRecorder) -> Any:
    """A letter that no font has, or a name that is not in the legend, is a warning of matplotlib."""
    yield
    assert not [str(warning.message) for warning in recwarn if issubclass(warning.category, UserWarning)]
