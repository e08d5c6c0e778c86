"""``yolo-lightning explain``: what the figures of a run are worth, what costs most, and which labels look wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolo_lightning.metrics.errors import ErrorSplit
    from yolo_lightning.metrics.intervals import Interval
    from yolo_lightning.metrics.label_errors import LabelIssue
    from yolo_lightning.metrics.stored import StoredEvaluation

__all__ = ["explain"]

_COCO = {
    "AP": "map",
    "AP50": "map_50",
    "AP75": "map_75",
    "AP small": "map_small",
    "AP medium": "map_medium",
    "AP large": "map_large",
    "AR, 1 detection": "mar_1",
    "AR, 10 detections": "mar_10",
    "AR, 100 detections": "mar_100",
    "AR small": "mar_small",
    "AR medium": "mar_medium",
    "AR large": "mar_large",
}
_YOLOV5 = {
    "mAP50-95": "yolov5_map",
    "mAP50": "yolov5_map_50",
    "fitness": "fitness",
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "at confidence": "confidence",
}


def explain(run: Path, *, most: int = 20, resamples: int = 1000, seed: int = 0, json: Path | None = None) -> None:
    """Explains the figures of a run.

    Reads what `fit`, `validate` or `test` detected. Prints COCO's twelve figures and YOLOv5's with intervals of 95 %
    (samples of the images; 0 detections or one image give no width), each kind of error with the number of them and
    the AP50 that mending them would gain (TIDE), and the labels that are most probably wrong.

    Args:
        run: Run directory, or evaluation.npz.
        most: Probable label errors to list.
        resamples: Samples of the images for the intervals, 100 or more.
        seed: Seed of their drawing.
        json: File to write all of it to.

    Raises:
        InputError: If there is no evaluation, or it is damaged.
    """
    # Imported here, so that --help comes at once.
    from yolo_lightning.errors import InputError
    from yolo_lightning.metrics.errors import split_errors
    from yolo_lightning.metrics.evaluation import evaluate
    from yolo_lightning.metrics.intervals import precision_intervals
    from yolo_lightning.metrics.label_errors import probable_label_errors
    from yolo_lightning.metrics.stored import StoredEvaluation
    from yolo_lightning.tools.report import print_line, print_table, text_table, write_json

    if resamples < 100 or min(most, seed) < 0:
        raise InputError(f"resamples is {resamples}, 100 or more; most is {most} and seed {seed}, 0 or more")
    evaluation = StoredEvaluation.load(run)
    data = evaluation.data
    result, errors = evaluate(data), split_errors(data)
    intervals = precision_intervals(data, num_resamples=resamples, seed=seed)
    issues = probable_label_errors(data, errors, most)
    if json is not None:
        write_json(json, _content(evaluation, result, intervals, errors, issues))
    print_line(
        f"{run}: {len(data.scores)} detections and {result['num_instances']} labels on {data.num_images} images "
        f"({evaluation.split})"
    )
    for title, names in (("COCO", _COCO), ("YOLOv5", _YOLOV5)):
        rows = [[name, _value(result[key]), _interval(intervals.get(key))] for name, key in names.items()]
        print_table(text_table((title, "value", "95 % interval"), rows))
    print_table(text_table(("errors at IoU .5", "number", "AP50 lost"), _error_rows(errors)))
    print_line(
        "Each kind mended alone, after TIDE; the kinds do not add up. false_positive: all wrong detections removed; "
        "false_negative: only found labels count."
    )
    if not issues:
        print_line("No label looks wrong.")
        return
    print_table(text_table(("probable label error", "score", "class", "box (x1 y1 x2 y2)"), _rows(evaluation, issues)))
    for number, issue in enumerate(issues, 1):
        print_line(f"{number}: {evaluation.images[issue.image]}")


def _value(value: Any) -> str:
    return "–" if value < 0 else f"{value:.4f}"  # COCO's −1: no label


def _interval(interval: Interval | None) -> str:
    return f"{interval.low:.4f} … {interval.high:.4f}" if interval else ""


def _error_rows(errors: ErrorSplit) -> list[list[str]]:
    counts = errors.counts
    return [[kind, str(counts.get(kind, "")), f"{cost:.4f}"] for kind, cost in errors.costs.items()]


def _rows(evaluation: StoredEvaluation, issues: list[LabelIssue]) -> list[list[str]]:
    found = [_described(evaluation, issue) for issue in issues]
    return [
        [
            f"{number}: {issue['kind']}",
            f"{issue['score']:.3f}",
            issue["class"],
            " ".join(f"{value:.0f}" for value in issue["box"]),
        ]
        for number, issue in enumerate(found, 1)
    ]


def _described(evaluation: StoredEvaluation, issue: LabelIssue) -> dict[str, Any]:
    """What is labelled, and what the model says, where both are."""
    data, names = evaluation.data, evaluation.class_names
    labelled = None if issue.target is None else names[data.target_labels[issue.target]]
    detected = None if issue.detection is None else names[data.labels[issue.detection]]
    shown = " → ".join(dict.fromkeys(name for name in (labelled, detected) if name is not None))
    return {
        "kind": issue.kind,
        "score": issue.score,
        "image": evaluation.images[issue.image],
        "class": shown,
        "labelled": labelled,
        "detected": detected,
        "box": (data.boxes[issue.detection] if issue.target is None else data.target_boxes[issue.target]).tolist(),
        "detected_box": None if issue.detection is None else data.boxes[issue.detection].tolist(),
    }


def _content(
    evaluation: StoredEvaluation,
    result: Mapping[str, Any],
    intervals: Mapping[str, Interval | None],
    errors: ErrorSplit,
    issues: list[LabelIssue],
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "split": evaluation.split,
        "epoch": evaluation.epoch,
        "num_images": evaluation.data.num_images,
        "coco": {name: result[name] for name in _COCO.values()},
        "yolov5": {name: result[name] for name in _YOLOV5.values()},
        "intervals": {name: interval and asdict(interval) for name, interval in intervals.items()},
        "errors": {kind: {"number": errors.counts.get(kind), "cost": cost} for kind, cost in errors.costs.items()},
        "label_errors": [_described(evaluation, issue) for issue in issues],
    }
