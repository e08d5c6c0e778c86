"""``yolo-lightning evaluate``: COCO's and YOLOv5's numbers of detections in a file, whatever found them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["evaluate"]


def evaluate(
    detections: Path,
    *,
    annotations: Path | None = None,
    output: Path | None = None,
    save_json: Path | None = None,
) -> None:
    """Measures detections by annotations.

    Takes COCO's files: `predictions.json` of `predict` and of `validate --evaluation_file.formats [coco]`, or what any
    other detector wrote, and the `instances_….json` that they are to be measured by. Or the run directory of `fit`,
    `validate` or `test` alone. Prints COCO's twelve numbers, equal to those of pycocotools, and YOLOv5's with a table
    of the classes.

    Args:
        detections: COCO's result file, or a run directory, or its evaluation.npz.
        annotations: COCO's annotation file; none for a run directory.
        output: New directory for an evaluation.npz, which `plot`, `explain`, `compare` and `report` take.
        save_json: File for the numbers.

    Raises:
        InputError: If a file cannot be read, or detections are of other images or classes than the annotations.
    """
    # Imported here, so that --help comes at once.
    import json

    from yolo_lightning.errors import InputError
    from yolo_lightning.metrics import (
        EVALUATION_FILE,
        StoredEvaluation,
        per_class_table,
        read_coco_evaluation,
    )
    from yolo_lightning.metrics import evaluate as measure
    from yolo_lightning.paths import new_directory, write_new_file
    from yolo_lightning.tools.report import print_line, print_table

    if annotations is None:
        if detections.suffix.lower() == ".json":
            raise InputError(f"{detections}: give the annotations, too, with --annotations")
        evaluation = StoredEvaluation.load(detections)
    else:
        evaluation = read_coco_evaluation(detections, annotations)
    figures = measure(evaluation.data)
    for name, text in _COCO_LINES.items():
        print_line(f"{text:<52} {figures[name]:.3f}")
    print_table(per_class_table(figures, evaluation.class_names))
    numbers = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    try:
        if save_json is not None:
            written = write_new_file(save_json, (json.dumps(numbers, indent=2) + "\n").encode())
            print_line(f"numbers: {written}")
        if output is not None:
            file = new_directory(output) / EVALUATION_FILE
            evaluation.save(file)
            print_line(f"evaluation: {file}")
    except OSError as error:
        raise InputError(f"cannot write ({error})") from error


_COCO_LINES = {
    "map": "AP    IoU .50-.95, all areas, 100 detections",
    "map_50": "AP50  IoU .50",
    "map_75": "AP75  IoU .75",
    "map_small": "AP    small, area up to 32²",
    "map_medium": "AP    medium, area up to 96²",
    "map_large": "AP    large",
    "mar_1": "AR    1 detection of a class on an image",
    "mar_10": "AR    10 detections",
    "mar_100": "AR    100 detections",
    "mar_small": "AR    small",
    "mar_medium": "AR    medium",
    "mar_large": "AR    large",
}
