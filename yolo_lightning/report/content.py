"""What a report says: figures, classes, and each detection and label with its kind of error, as JSON."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from yolo_lightning.metrics import MetricValue, StoredEvaluation, evaluate
from yolo_lightning.metrics.errors import ERROR_KINDS, ErrorSplit, split_errors
from yolo_lightning.metrics.label_errors import LabelIssue, probable_label_errors
from yolo_lightning.metrics.matching import BoolArray, EvaluationData, FloatArray, IntArray
from yolo_lightning.report.pictures import shown_names

__all__ = ["ReportContent", "badness", "select_content"]

_SHOWN_CONFIDENCE = 0.25  # that of `detect`
_EXPLAINING = tuple(ERROR_KINDS.index(kind) for kind in ("classification", "localisation"))
_COCO_FIGURES = {
    "map": "mAP",
    "map_50": "mAP50",
    "map_75": "mAP75",
    "map_small": "mAP small",
    "map_medium": "mAP medium",
    "map_large": "mAP large",
    "mar_100": "mAR100",
}
_YOLOV5_FIGURES = {
    "yolov5_map": "mAP",
    "yolov5_map_50": "mAP50",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "confidence": "at confidence",
    "fitness": "fitness",
}
_CLASS_COLUMNS = ("precision_per_class", "recall_per_class", "map_50_per_class", "map_per_class")


@dataclass(frozen=True)
class ReportContent:
    """What a page holds besides its pictures.

    Args:
        images: Positions in the evaluation of the images on the page, ascending.
        json: The data of the page; arrays are base64 of little-endian numbers.
        notes: What the page leaves out.
    """

    images: IntArray
    json: Mapping[str, Any]
    notes: tuple[str, ...]


def select_content(
    evaluation: StoredEvaluation,
    title: str,
    *,
    confidence_threshold: float = 0.05,
    max_images: int | None = None,
    most: int = 100_000,
) -> ReportContent:
    """Reads figures and errors of an evaluation and selects what a page shows.

    The figures are those of the whole evaluation, whatever is selected.

    Args:
        evaluation: Detections and labels.
        title: Name of the run.
        confidence_threshold: Detections below are left out.
        max_images: Most images; the worst are kept. None keeps all.
        most: Most detections; the most confident are kept.
    """
    data, errors = evaluation.data, split_errors(evaluation.data)
    names = shown_names(evaluation.images)
    images = _worst_images(data, errors, max_images)
    detections = np.flatnonzero((data.scores >= confidence_threshold) & np.isin(data.image_index, images))
    least_confidence = confidence_threshold
    notes = []
    if len(images) < data.num_images:
        notes.append(
            f"Only the worst {len(images)} of {data.num_images} images are on this page; figures, costs and the first "
            "columns of the table of classes are those of all images."
        )
    if len(detections) > most:
        kept = np.sort(detections[np.lexsort((detections, -data.scores[detections]))[:most]])
        least_confidence = float(data.scores[kept].min()) if most else 1.0
        notes.append(
            f"Only the {most} most confident of {len(detections)} detections are on this page: those below a "
            f"confidence of {least_confidence:.3f} are left out."
        )
        detections = kept
    targets = np.flatnonzero(np.isin(data.target_image_index, images))
    issues = probable_label_errors(data, errors)
    figures = evaluate(data)
    return ReportContent(
        images,
        {
            "title": title,
            "facts": _facts(evaluation),
            "notes": notes,
            "class_names": list(evaluation.class_names),
            "figures": [
                ["COCO's reading", _figures(figures, _COCO_FIGURES)],
                ["YOLOv5's reading", _figures(figures, _YOLOV5_FIGURES)],
            ],
            "map_50": errors.map_50,
            "costs": errors.costs,
            "classes": _classes(figures),
            "confidence": max(_SHOWN_CONFIDENCE, math.ceil(round(least_confidence * 100, 4)) / 100),
            "least_confidence": math.floor(round(least_confidence * 100, 4)) / 100,  # in steps of the slider
            "images": [names[image] for image in images.tolist()],
            "sizes": _array(evaluation.image_sizes[images], "<i4"),
            "detections": _detections(data, errors, images, detections, targets),
            "targets": _targets(data, images, targets),
            "issues": _issues(issues, images, detections, targets),
        },
        tuple(notes),
    )


def badness(data: EvaluationData, errors: ErrorSplit, confidence: float) -> FloatArray:
    """How bad the detections of each image are: the sum of the confidences of wrong ones, plus 1 for each missed label.

    Args:
        data: Detections and labels.
        errors: Their errors.
        confidence: Detections count from here on.

    Returns:
        (num_images,) sums, 0 where all is right. The page computes the same at the confidence chosen there.
    """
    shown = data.scores >= confidence
    wrong = shown & (errors.kinds >= 0)
    weights = data.scores[wrong]
    sums: FloatArray = np.bincount(data.image_index[wrong], weights=weights, minlength=data.num_images).astype(
        np.float64
    )
    missed = _missed(data, errors, shown)
    sums += np.bincount(data.target_image_index[missed], minlength=data.num_images)
    return sums


def _missed(data: EvaluationData, errors: ErrorSplit, shown: BoolArray) -> BoolArray:
    """(N,) labels that none of the shown detections finds or explains."""
    explains = shown & ((errors.kinds == -1) | np.isin(errors.kinds, _EXPLAINING)) & (errors.targets >= 0)
    missed = ~data.target_crowd
    missed[errors.targets[explains]] = False
    return missed


def _worst_images(data: EvaluationData, errors: ErrorSplit, max_images: int | None) -> IntArray:
    images = np.arange(data.num_images)
    if max_images is None or max_images >= data.num_images:
        return images
    order = np.lexsort((images, -badness(data, errors, _SHOWN_CONFIDENCE)))
    return np.sort(order[:max_images])


def _facts(evaluation: StoredEvaluation) -> list[list[str]]:
    data = evaluation.data
    epoch = [] if evaluation.epoch is None else [["epoch", str(evaluation.epoch)]]
    counts = {"images": data.num_images, "labels": len(data.target_labels), "detections": len(data.scores)}
    return [["split", evaluation.split], *epoch, *([name, f"{count:,}"] for name, count in counts.items())]


def _figures(figures: Mapping[str, MetricValue], names: Mapping[str, str]) -> list[list[Any]]:
    """COCO says −1 where there is nothing to measure."""
    values = {shown: float(figures[name]) for name, shown in names.items()}
    return [[shown, value if math.isfinite(value) and value >= 0 else None] for shown, value in values.items()]


def _classes(figures: Mapping[str, Any]) -> dict[str, list[Any]]:
    columns = {
        "labels": figures["num_instances_per_class"].tolist(),
        "images": figures["num_images_per_class"].tolist(),
    }
    for name in _CLASS_COLUMNS:
        values = figures[name].tolist()
        columns[name.removesuffix("_per_class")] = [None if math.isnan(value) else value for value in values]
    return columns


def _detections(
    data: EvaluationData, errors: ErrorSplit, images: IntArray, detections: IntArray, targets: IntArray
) -> dict[str, Any]:
    return {
        "boxes": _array(data.boxes[detections], "<f4"),
        "scores": _array(data.scores[detections], "<f4"),
        "labels": _array(data.labels[detections], "<i4"),
        "images": _array(_position(data.image_index[detections], images), "<i4"),
        "kinds": _array(errors.kinds[detections], "<i4"),
        "targets": _array(_position(errors.targets[detections], targets), "<i4"),
        "ious": _array(errors.ious[detections], "<f4"),
    }


def _targets(data: EvaluationData, images: IntArray, targets: IntArray) -> dict[str, Any]:
    return {
        "boxes": _array(data.target_boxes[targets], "<f4"),
        "labels": _array(data.target_labels[targets], "<i4"),
        "images": _array(_position(data.target_image_index[targets], images), "<i4"),
        "crowd": _array(data.target_crowd[targets], "<i4"),
        "areas": _array(data.target_areas[targets], "<f8"),
    }


def _issues(
    issues: Sequence[LabelIssue], images: IntArray, detections: IntArray, targets: IntArray
) -> list[dict[str, Any]]:
    """The probable errors of labels whose detection and label are on the page, in their order."""
    shown = []
    for issue in issues:
        detection, target = (
            None if index is None else int(_position(np.array([index]), among)[0])
            for index, among in ((issue.detection, detections), (issue.target, targets))
        )
        image = int(_position(np.array([issue.image]), images)[0])
        if image >= 0 and detection != -1 and target != -1:
            shown.append(
                {"kind": issue.kind, "image": image, "score": issue.score, "detection": detection, "target": target}
            )
    return shown


def _position(values: IntArray, among: IntArray) -> IntArray:
    """The position of each value among ascending ones, −1 where it is not there."""
    if not len(among):
        return np.full(len(values), -1)
    positions = np.minimum(np.searchsorted(among, values), len(among) - 1)
    return np.where(among[positions] == values, positions, -1)


def _array(values: npt.NDArray[Any], dtype: str) -> dict[str, str]:
    return {"type": dtype[1:], "base64": base64.b64encode(values.astype(dtype).tobytes()).decode()}
