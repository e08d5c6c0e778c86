"""Losses, metrics and rates over epochs."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.plots.conftest import check_drawing, legend, texts
from yolo_lightning.plots.history import History
from yolo_lightning.plots.results import draw_rates, draw_results

COLUMNS = (
    "train/loss",
    "val/loss",
    "train/loss_box",
    "val/loss_box",
    "val/map",
    "val/fitness",
    "lr/bias",
    "lr/weight",
    "momentum/bias",
)


def make_history(num_epochs: int = 4, **columns: list[float]) -> History:
    values = {name: np.linspace(1, 2, num_epochs) + position for position, name in enumerate(COLUMNS)}
    values |= {name.replace("_of_", "/"): np.array(column) for name, column in columns.items()}
    return History(np.arange(float(num_epochs)), values)


def panels(figure: Figure) -> dict[str, dict[str, list[float]]]:
    """Values of the lines of each panel, but for the mark of the best epoch."""
    return {
        axes.get_title(): {
            str(line.get_label()): np.asarray(line.get_ydata()).tolist()
            for line in axes.lines
            if "/" in str(line.get_label())
        }
        for axes in figure.axes
        if axes.get_title()
    }


@pytest.mark.parametrize("num_epochs", [1, 4, 300])
def test_results(num_epochs: int):
    history = make_history(num_epochs)
    figure = draw_results({"fit": history})
    shown = panels(figure)
    assert list(shown) == ["loss", "loss_box", "fitness", "map"]
    assert list(shown["loss"]) == ["train/loss", "val/loss"]
    assert shown["map"]["val/map"] == history.columns["val/map"].tolist()
    assert legend(figure) == ["train", "val", *(["best epoch"] if num_epochs > 1 else [])]
    limits = {axes.get_xlim() for axes in figure.axes if axes.get_title()}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low < 0 <= num_epochs - 1 < high
    check_drawing(figure)


def test_missing_values_leave_the_line_whole_and_others_say_so():
    figure = draw_results({"fit": make_history(val_of_map=[0.1, np.nan, np.inf, 0.4], val_of_fitness=[np.nan] * 4)})
    assert panels(figure)["map"]["val/map"] == [0.1, 0.4]
    assert texts(figure).count("no finite value") == 1
    assert "best epoch" not in legend(figure)
    check_drawing(figure)


def test_no_label_to_find_is_no_figure():
    """COCO says −1 where no object of a size is labelled: it is left out, and a panel without anything else says so."""
    figure = draw_results(
        {
            "fit": make_history(
                val_of_map=[0.1, -1, 0.3, 0.4],
                val_of_map_small=[-1, -1, -1, -1],
                val_of_mar_large=[-1, np.nan, -1, -1],
                val_of_map_75=[-1, -1, -1, -1],
                val_of_skill=[-1, -1, -1, -0.5],
            )
        }
    )
    shown = panels(figure)
    np.testing.assert_array_equal(shown["map"]["val/map"], [0.1, np.nan, 0.3, 0.4])
    assert shown["skill"]["val/skill"] == [-1, -1, -1, -0.5]  # a figure of one's own may be −1
    assert shown["map_small"] == shown["mar_large"] == shown["map_75"] == {}
    for words in ("no small objects\nare labelled", "no large objects\nare labelled", "no labels"):
        assert texts(figure).count(words) == 1
    check_drawing(figure)


def test_best_epoch():
    figure = draw_results({"fit": make_history(val_of_fitness=[0.1, 0.4, np.nan, 0.2])})
    marks = [line.get_xdata() for axes in figure.axes for line in axes.lines if "/" not in str(line.get_label())]
    assert marks
    assert all(list(mark) == [1, 1] for mark in marks)


def test_runs_are_overlaid():
    figure = draw_results({"fit": make_history(4), "猫": make_history(9), "_x": make_history(2)})
    assert [len(values) for values in panels(figure)["map"].values()] == [2]  # lines of one name
    loss = next(axes for axes in figure.axes if axes.get_title() == "loss")
    assert [len(line.get_xdata()) for line in loss.lines] == [4, 4, 9, 9, 2, 2]  # type: ignore[arg-type]
    assert len({line.get_color() for line in loss.lines}) == 3
    assert legend(figure) == ["fit", "猫", " _x", "train", "val"]
    check_drawing(figure)


def test_rates():
    figure = draw_rates({"fit": make_history()})
    assert list(panels(figure)) == ["learning rate", "momentum"]
    assert list(panels(figure)["learning rate"]) == ["lr/bias", "lr/weight"]
    assert legend(figure) == ["bias", "weight"]
    rate = figure.axes[0].lines
    assert rate[0].get_color() != rate[1].get_color()
    check_drawing(figure)


def test_nothing_was_logged():
    empty = History(np.arange(2.0), {})
    for draw, words in (
        (draw_results, "no losses or metrics were logged"),
        (draw_rates, "no learning rates were logged"),
    ):
        assert words in texts(draw({"fit": empty}))
