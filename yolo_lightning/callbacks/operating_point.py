"""Confidence thresholds for a wanted precision or recall, chosen on an evaluation and kept beside the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from yolo_lightning.callbacks.evaluated import evaluated_split
from yolo_lightning.errors import InputError
from yolo_lightning.metrics import choose_operating_point, operating_point_table, table_text
from yolo_lightning.metrics.operating_point import check_settings
from yolo_lightning.operating_point import OperatingPoint, Suppression, Target, WeightsFile, operating_point_path
from yolo_lightning.ops import NMS

__all__ = ["ChooseOperatingPoint"]

# Above it, scores are cut off that a threshold might have to tell apart.
_HIGHEST_FLOOR = 0.01


class ChooseOperatingPoint(Callback):
    """Chooses the confidence threshold of each class in ``validate`` or ``test``, if a target is given.

    Thresholds, precision and recall with their intervals of 95 % are printed and written to ``operating_point.json`` in
    the run directory and to ``<weights>.operating_point.json`` beside the weights, where ``detect`` finds them. Choose
    on validation; figures on test images are honest only for thresholds that were not chosen there.

    Args:
        precision: Precision that each class shall have, at the highest recall that it allows.
        recall: Recall that each class shall have, at the highest threshold that it allows.
        f_beta: Makes F-beta of each class as high as it goes; 1 counts precision and recall alike.
        conservative: The lower end of the interval must reach the precision or recall, which protects from a lucky few.
        iou_threshold: Overlap from which on a detection is right.
        min_labels: Classes with fewer labels use the threshold of all classes together.
        num_resamples: Samples of the images behind the intervals.
        seed: Seed of their drawing.
        weights: File beside which to store the result. By default the checkpoint, or the model's weights if that is a
            local file.

    Raises:
        ValueError: If more than one of precision, recall and f_beta is given, or a number is out of range.
    """

    def __init__(
        self,
        precision: float | None = None,
        recall: float | None = None,
        f_beta: float | None = None,
        conservative: bool = False,
        iou_threshold: float = 0.5,
        min_labels: int = 10,
        num_resamples: int = 1000,
        seed: int = 0,
        weights: str | None = None,
    ) -> None:
        targets = {"precision": precision, "recall": recall, "f_beta": f_beta}
        given = [(metric, value) for metric, value in targets.items() if value is not None]
        if len(given) > 1:
            names = " and ".join(metric for metric, _ in given)
            raise ValueError(f"operating_point has {names}: a threshold is chosen for one of them")
        if conservative and not given:
            raise ValueError("operating_point.conservative needs operating_point.precision or operating_point.recall")
        check_settings(iou_threshold, min_labels, num_resamples)
        self.target = Target(given[0][0], given[0][1], conservative) if given else None  # type: ignore[arg-type]
        self.settings = {
            "iou_threshold": iou_threshold, "min_labels": min_labels, "num_resamples": num_resamples, "seed": seed,
        }  # fmt: skip
        self.weights = weights

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Says what would spoil the choice before anything is evaluated."""
        if self.target is None:
            return
        nms = pl_module.postprocess
        if stage not in {"validate", "test"}:
            rank_zero_warn("only validate and test choose an operating point: run validate with the checkpoint")
        elif isinstance(nms, NMS) and (floor := _highest(nms.confidence_threshold)) > _HIGHEST_FLOOR:
            rank_zero_warn(
                f"detections below {floor:g} are left out, so no lower threshold can be chosen: use "
                "--model.postprocess.confidence_threshold=0.001"
            )

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Refuses classes that are taken as one, whose threshold would be of no use to the network.

        Raises:
            InputError: If they are.
        """
        if self.target is not None and len(pl_module.metrics.class_names) != len(pl_module.class_names):
            raise InputError(
                f"an operating point has a threshold for each of the {len(pl_module.class_names)} classes of the "
                "network, which data.single_class takes as one: leave one of the two out"
            )

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Refuses the same."""
        self.on_validation_start(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Chooses, prints and writes."""
        if trainer.state.fn == "validate":
            self._report(trainer, pl_module, evaluated_split(trainer))

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Chooses, prints and writes."""
        self._report(trainer, pl_module, evaluated_split(trainer))

    def _report(self, trainer: Trainer, pl_module: Any, split: str) -> None:
        data = pl_module.evaluation
        if self.target is None or data is None:
            return
        path = getattr(getattr(trainer, "datamodule", None), "path", None)
        try:  # on every process, so that all fail or none
            point = choose_operating_point(
                data,
                pl_module.metrics.class_names,
                self.target,
                data_name=None if path is None else str(path),
                split=split,
                suppression=_suppression(pl_module.postprocess),
                **self.settings,  # type: ignore[arg-type]
            )
        except ValueError as error:
            raise InputError(f"no operating point: {error}") from error
        rank_zero_info(table_text(operating_point_table(point)))
        directory = trainer.log_dir  # a broadcast: every process asks
        if trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False):
            self._write(point, directory, self.weights or trainer.ckpt_path)

    def _write(self, point: OperatingPoint, directory: str | None, weights: str | Path | None) -> None:
        places = [] if directory is None else [Path(directory) / "operating_point.json"]
        if weights is not None:
            file = Path(weights)
            point = replace(point, weights=WeightsFile.of(file) if file.is_file() else WeightsFile(file.name))
            if file.is_file():
                places.append(operating_point_path(file))
            else:  # the bare name of a published file stands for one in the cache, which is not the user's place
                rank_zero_info(f"{file} is no local file, beside which an operating point could be kept")
        for place in places:
            try:
                point.save(place)
            except (OSError, InputError) as error:
                rank_zero_warn(f"the operating point was not written to {place}: {error}")
            else:
                rank_zero_info(f"Operating point: {place}")


def _highest(threshold: float | tuple[float, ...]) -> float:
    return max(threshold) if isinstance(threshold, tuple) else threshold


def _suppression(postprocess: object) -> Suppression | None:
    if not isinstance(postprocess, NMS):
        return None
    return Suppression(
        postprocess.iou_threshold, postprocess.max_detections, postprocess.multi_label, postprocess.class_agnostic
    )
