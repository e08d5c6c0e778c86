"""Anchors that suit the training data, checked and if need be replaced before training."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_info

from yolo_lightning.models import YOLOv5Head
from yolo_lightning.ops.anchors import AnchorFit, box_sizes, fit_anchors, jitter_sizes, measure_anchors

__all__ = ["AutoAnchor"]


class AutoAnchor(Callback):
    """Checks before training whether the anchors suit the boxes, and fits new ones if not, as YOLOv5 does.

    A box that differs from every anchor by the loss's ``ratio_threshold`` or more is never learned. Sizes are those in
    images that just fit the training size. New anchors come from k-means and a genetic search and are taken only if
    they fit more boxes; they are part of the checkpoints and of the run's ``config.yaml``. Every process finds the
    same ones. A run that goes on from a checkpoint keeps that one's anchors.

    Args:
        enabled: Whether to do this.
        min_recall: Anchors that suit at least this share of the boxes are kept.
        generations: Rounds of the genetic search.
        seed: Seed of the search.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, enabled: bool = True, min_recall: float = 0.98, generations: int = 1000, seed: int = 0) -> None:
        if not 0 <= min_recall <= 1:
            raise ValueError(f"auto_anchor.min_recall must be in 0…1, got {min_recall}")
        if generations < 0:
            raise ValueError(f"auto_anchor.generations must not be negative, got {generations}")
        if seed < 0:
            raise ValueError(f"auto_anchor.seed must not be negative, got {seed}")
        self.enabled = enabled
        self.min_recall = min_recall
        self.generations = generations
        self.seed = seed

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Checks the anchors, before other callbacks copy or describe the network."""
        head = getattr(getattr(pl_module, "detector", None), "head", None)
        if not self.enabled or stage != "fit" or not isinstance(head, YOLOv5Head):
            return
        data = getattr(trainer, "datamodule", None)
        if not callable(getattr(data, "dataset", None)) or not hasattr(data, "image_size"):
            _say("the data does not tell the sizes of its boxes, so the anchors stay unchecked")
        elif self._improve(head, data, _ratio_threshold(pl_module)):
            self._copy_again(trainer, pl_module, stage)

    def _improve(self, head: YOLOv5Head, data: Any, ratio_threshold: float) -> bool:
        """Replaces the anchors if that is needed and possible; says what it does."""
        sizes_wh = box_sizes(data.dataset("train"), data.image_size)
        if len(sizes_wh) == 0:
            _say("there are no boxes, so the anchors stay")
            return False
        jittered_wh = jitter_sizes(sizes_wh, self.seed)
        before = measure_anchors(jittered_wh, head.anchors.cpu().numpy(), ratio_threshold)
        if before.best_possible_recall >= self.min_recall:
            _say(f"the anchors suit the {len(sizes_wh)} boxes ({before})")
            return False
        _say(f"the anchors suit too few of the {len(sizes_wh)} boxes ({before}), fitting others …")
        try:
            fitted = fit_anchors(
                sizes_wh, head.anchors.shape[0] * head.anchors.shape[1], ratio_threshold, self.generations, self.seed
            )
        except ValueError as error:
            _say(f"{error}, so the anchors stay")
            return False
        after = measure_anchors(jittered_wh, fitted.anchors_wh, ratio_threshold)
        if fitted.remark:
            _say(fitted.remark)
        if after.best_possible_recall <= before.best_possible_recall:
            _say(f"others are no better ({after}), so the anchors stay")
            return False
        old = _text(head)
        head.set_anchors(fitted.anchors_wh.reshape(head.anchors.shape).tolist())
        _say(_change(head, old, after))
        return True

    def _copy_again(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """An average of the weights that was set up before has the old anchors: it copies the network again."""
        before: list[Callback] = trainer.callbacks[: trainer.callbacks.index(self)]  # type: ignore[attr-defined]
        for callback in before:
            if isinstance(callback, WeightAveraging):
                callback.setup(trainer, pl_module, stage)


def _ratio_threshold(pl_module: Any) -> float:
    assigner = getattr(getattr(pl_module, "loss", None), "assigner", None)
    return float(getattr(assigner, "ratio_threshold", 4.0))


def _text(head: YOLOv5Head) -> list[str]:
    """The anchors of each level."""
    return [", ".join(f"{width:g}×{height:g}" for width, height in level) for level in head.anchors.tolist()]


def _change(head: YOLOv5Head, old: list[str], after: AnchorFit) -> str:
    levels = zip(head.strides, old, _text(head), strict=True)
    lines = [f"  stride {stride}: {before} → {now}" for stride, before, now in levels]
    return "\n".join([f"new anchors ({after}), in pixels", *lines])


def _say(text: str) -> None:
    rank_zero_info(f"AutoAnchor: {text}")
