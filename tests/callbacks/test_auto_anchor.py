"""AutoAnchor in a run made from Python."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from yolo_lightning import DetectionDataModule, DetectionModule
from yolo_lightning.callbacks import EMA, AutoAnchor
from yolo_lightning.data import SyntheticShapes
from yolo_lightning.losses import AnchorRatioAssigner, YOLOv5Loss
from yolo_lightning.models import PAFPN, CSPDarknet, Detector, Head, YOLOv5Head, build_detector, describe

pytestmark = pytest.mark.usefixtures("one_thread")

HUGE = [[300 + index, 300, 400, 300, 500, 400] for index in range(3)]


def make_module(head: Any = YOLOv5Head, **options: Any) -> DetectionModule:
    torch.manual_seed(0)
    detector = partial(
        Detector,
        backbone=partial(CSPDarknet, depth_multiple=0.33, width_multiple=0.125),
        neck=partial(PAFPN, depth_multiple=0.33),
        head=head,
    )
    return DetectionModule(SyntheticShapes.class_names, detector=detector, **options)


def make_data(num_images: int = 12) -> DetectionDataModule:
    dataset = partial(SyntheticShapes, num_train_images=num_images, num_val_images=2, image_size=64)
    return DetectionDataModule(dataset=dataset, image_size=64, batch_size=4, eval_batch_size=2, num_workers=0)


def fit(module: DetectionModule, *callbacks: Callback, data: Any = None) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=2,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(module, datamodule=data or make_data())
    return trainer


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the callback says."""
    lines: list[str] = []
    monkeypatch.setattr("yolo_lightning.callbacks.auto_anchor.rank_zero_info", lines.append)
    return lines


def test_anchors_that_suit_stay(said: list[str]):
    module = make_module()
    before = module.detector.head.anchors.clone()
    fit(module, AutoAnchor())
    assert torch.equal(module.detector.head.anchors, before)
    assert describe(module.detector)["init_args"]["head"]["init_args"] == {"anchors": None}
    (line,) = said
    assert "the anchors suit the" in line
    assert "best possible recall 1.0000" in line


@pytest.mark.parametrize("average_first", [False, True])
def test_anchors_that_do_not_suit_are_replaced_everywhere(average_first: bool, said: list[str]):
    module = make_module(partial(YOLOv5Head, anchors=HUGE))
    ema, auto_anchor = EMA(0.5, 1), AutoAnchor(generations=50)
    averaged: list[torch.Tensor] = []

    class Watch(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            averaged.append(ema._averaged.module.detector.head.anchors.clone())  # type: ignore[union-attr]

    callbacks = [ema, auto_anchor] if average_first else [auto_anchor, ema]
    fit(module, *callbacks, Watch())
    anchors = module.detector.head.anchors
    assert 5 < anchors.min() < anchors.max() < 64
    areas = anchors.prod(-1).flatten()
    assert torch.equal(areas, areas.sort().values)
    assert len(averaged) == 2
    assert all(torch.equal(average, anchors) for average in averaged)
    assert torch.equal(build_detector(describe(module.detector), 5).head.anchors, anchors)
    assert "too few of the" in said[0]
    assert "recall 0.0000" in said[0]
    assert "recall 1.0000" in said[1]
    (width, height), *_ = anchors[0].tolist()
    assert f"stride 8: 300×300, 400×300, 500×400 → {width:g}×{height:g}, " in said[1]


def test_the_same_anchors_every_time():
    def anchors(**options: Any) -> torch.Tensor:
        module = make_module(partial(YOLOv5Head, anchors=HUGE))
        fit(module, AutoAnchor(generations=200, **options))
        return module.detector.head.anchors

    assert torch.equal(anchors(), anchors())
    assert not torch.equal(anchors(), anchors(seed=1))


def test_disabled(said: list[str]):
    module = make_module(partial(YOLOv5Head, anchors=HUGE))
    fit(module, AutoAnchor(enabled=False))
    assert module.detector.head.anchors.flatten(1).tolist() == HUGE
    assert said == []


def test_the_threshold_is_the_assigners(said: list[str]):
    """Boxes 1.3 times the largest anchor are out of reach if only a factor of 1.05 is allowed."""
    loss = partial(YOLOv5Loss, assigner=partial(AnchorRatioAssigner, 1.05))
    module = make_module(loss=loss)
    fit(module, AutoAnchor(generations=20))
    assert "too few" in said[0]


def test_evaluation_leaves_the_anchors(said: list[str]):
    module = make_module(partial(YOLOv5Head, anchors=HUGE))
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[AutoAnchor()])
    trainer.validate(module, datamodule=make_data(), verbose=False)
    assert module.detector.head.anchors.flatten(1).tolist() == HUGE
    assert said == []


def test_too_few_boxes_to_fit_anchors_to(said: list[str]):
    module = make_module(partial(YOLOv5Head, anchors=HUGE))
    fit(module, AutoAnchor(), data=make_data(num_images=1))
    assert module.detector.head.anchors.flatten(1).tolist() == HUGE
    assert "too few to fit 9 anchors to, so the anchors stay" in said[1]


def test_data_that_tells_no_sizes(said: list[str]):
    data = make_data()
    loaders = (data.train_dataloader(), data.val_dataloader())
    module = make_module(partial(YOLOv5Head, anchors=HUGE))
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        callbacks=[AutoAnchor()],
    )
    trainer.fit(module, *loaders)
    assert module.detector.head.anchors.flatten(1).tolist() == HUGE
    assert "stay unchecked" in said[0]


class OwnHead(Head):
    """A head whose anchors nobody may set."""

    def __init__(self, features: Any, num_classes: int) -> None:
        super().__init__()
        self.inner = YOLOv5Head(features, num_classes, HUGE)
        self.num_classes, self.strides, self.anchors = num_classes, features.strides, self.inner.anchors

    def forward(self, maps: Any) -> Any:
        return self.inner(maps)

    def decode(self, raw: Any) -> Any:
        return self.inner.decode(raw)


def test_another_kind_of_head_keeps_its_anchors(said: list[str]):
    module = make_module(OwnHead)
    fit(module, AutoAnchor())
    assert module.detector.head.anchors.flatten(1).tolist() == HUGE
    assert said == []


@pytest.mark.parametrize("options", [{"min_recall": -0.1}, {"min_recall": 1.5}, {"generations": -1}, {"seed": -1}])
def test_bad_arguments(options: dict[str, Any]):
    (name,) = options
    with pytest.raises(ValueError, match=f"auto_anchor.{name}"):
        AutoAnchor(**options)
