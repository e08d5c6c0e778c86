"""All pictures of a run directory, drawn from its files; what is missing or damaged is told and leaves the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from matplotlib.figure import Figure

from yolo_lightning.errors import InputError
from yolo_lightning.metrics import StoredEvaluation, evaluate
from yolo_lightning.plots.confusion import draw_confusion
from yolo_lightning.plots.curves import CURVES, compare_curves, draw_curve
from yolo_lightning.plots.history import History
from yolo_lightning.plots.label_statistics import LabelStatistics
from yolo_lightning.plots.labels import draw_correlogram, draw_labels
from yolo_lightning.plots.results import draw_rates, draw_results
from yolo_lightning.plots.style import message_figure, save_figure

__all__ = ["EVALUATION_PICTURES", "PICTURES", "Drawn", "Run", "compare_runs", "draw_run"]

_T = TypeVar("_T")

_HISTORY_PICTURES = ("results.png", "learning_rate.png")
EVALUATION_PICTURES = (*(f"{name}.png" for name in CURVES), "confusion_matrix.png", "confusion_matrix_normalised.png")
"""Pictures of detections and labels, which a validation or test has, too."""
_LABEL_PICTURES = ("labels.png", "labels_correlogram.png")
PICTURES = (*_HISTORY_PICTURES, *EVALUATION_PICTURES, *_LABEL_PICTURES)
"""Names of all pictures."""


@dataclass(frozen=True)
class Run:
    """What the files of a run directory hold; None for what is not there.

    Args:
        name: What the run is called.
        history: Figures of its epochs.
        evaluation: Detections and labels.
        results: All figures of the evaluation.
        labels: What the labels of its training data are like.
        reasons: Why something is not there, by ``history``, ``evaluation`` and ``labels``.
    """

    name: str
    history: History | None
    evaluation: StoredEvaluation | None
    results: Mapping[str, Any] | None
    labels: LabelStatistics | None
    reasons: Mapping[str, str]

    @classmethod
    def read(cls, directory: Path, name: str | None = None) -> Run:
        """Reads what can be read."""
        reasons: dict[str, str] = {}
        history = _read(History.read, directory, "history", reasons)
        if history is not None and not history.is_training:
            history = None
            reasons["history"] = f"{directory} is of an evaluation, which has no epochs"
        evaluation = _read(StoredEvaluation.load, directory, "evaluation", reasons)
        labels = _read(LabelStatistics.load, directory, "labels", reasons)
        results = None if evaluation is None else evaluate(evaluation.data)
        return cls(name or directory.resolve().name, history, evaluation, results, labels, reasons)


@dataclass
class Drawn:
    """What was drawn.

    Args:
        files: The pictures.
        notes: What is not drawn, or only in part, and why.
        failures: What should have been drawn, but could not be.
    """

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def save(self, draw: Callable[[], Figure], path: Path) -> None:
        """Draws a picture and writes it; if that fails, the others are drawn all the same."""
        try:
            save_figure(draw(), path)
        except Exception as error:
            self.failures.append(f"{path} is not drawn: {error!r}")
        else:
            self.files.append(path)


def draw_run(run: Run, output: Path, *, wanted: Collection[str] = PICTURES, placeholders: bool = False) -> Drawn:
    """Draws the pictures of a run, in the place of older ones.

    Args:
        run: What its files hold.
        output: Directory for the pictures; made if there is something to draw.
        wanted: Names of the pictures to draw.
        placeholders: Draws a picture that says why there is none where something is missing.
    """
    drawn = Drawn()
    figures = {name: draw for name, draw in _figures(run).items() if name in wanted}
    for kind, names in _KINDS.items():
        missing = [name for name in names if name in wanted and name not in figures]
        if missing:
            drawn.notes.append(f"{', '.join(missing)}: {run.reasons[kind]}")
            if placeholders:
                figures |= {name: partial(message_figure, _title(name), run.reasons[kind]) for name in missing}
    if run.history is not None and run.history.remark:
        drawn.notes.append(run.history.remark)
    if figures:
        output.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        if name in figures:
            drawn.save(figures[name], output / name)
    return drawn


def compare_runs(runs: Collection[Run], output: Path) -> Drawn:
    """Draws the epochs and the mean curves of several runs, each into one picture.

    Args:
        runs: What their files hold; their names must differ.
        output: Directory for the pictures, which exists.
    """
    drawn = Drawn()
    histories = {run.name: run.history for run in runs if run.history is not None}
    results = {run.name: run.results for run in runs if run.results is not None}
    for run in runs:
        for kind, names in (("history", _HISTORY_PICTURES), ("evaluation", tuple(f"{name}.png" for name in CURVES))):
            if kind in run.reasons:
                drawn.notes.append(f"{', '.join(names)} without {run.name}: {run.reasons[kind]}")
        if run.history is not None and run.history.remark:
            drawn.notes.append(run.history.remark)
    if histories:
        drawn.save(partial(draw_results, histories), output / "results.png")
        drawn.save(partial(draw_rates, histories), output / "learning_rate.png")
    if results:
        for name, curve in CURVES.items():
            drawn.save(partial(compare_curves, curve, results), output / f"{name}.png")
    return drawn


_KINDS = {"history": _HISTORY_PICTURES, "evaluation": EVALUATION_PICTURES, "labels": _LABEL_PICTURES}


def _figures(run: Run) -> dict[str, Callable[[], Figure]]:
    """How each picture is drawn of which there is something to draw."""
    figures: dict[str, Callable[[], Figure]] = {}
    if run.history is not None:
        histories = {run.name: run.history}
        figures |= {
            "results.png": partial(draw_results, histories),
            "learning_rate.png": partial(draw_rates, histories),
        }
    if run.results is not None and run.evaluation is not None:
        names, matrix = run.evaluation.class_names, run.results["confusion_matrix"]
        figures |= {f"{name}.png": partial(draw_curve, curve, run.results, names) for name, curve in CURVES.items()}
        figures["confusion_matrix.png"] = partial(draw_confusion, matrix, names)
        figures["confusion_matrix_normalised.png"] = partial(draw_confusion, matrix, names, normalise=True)
    if run.labels is not None:
        figures |= {
            "labels.png": partial(draw_labels, run.labels),
            "labels_correlogram.png": partial(draw_correlogram, run.labels),
        }
    return figures


def _read(read: Callable[[Path], _T], directory: Path, kind: str, reasons: dict[str, str]) -> _T | None:
    try:
        return read(directory)
    except InputError as error:
        reasons[kind] = str(error)
        return None


def _title(picture: str) -> str:
    return picture.removesuffix(".png").replace("_", " ").capitalize()
