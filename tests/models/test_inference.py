"""Images to detections with one network or several."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from yolo_lightning.errors import InputError
from yolo_lightning.models import Detector, Inference, Slices, WeightedBoxesFusion, detector_from_weights, yolov5
from yolo_lightning.models import TestTimeAugmentation as Augmentation
from yolo_lightning.ops import NMS
from yolo_lightning.types import Detections

Vote = tuple[Tensor, Tensor]


@pytest.fixture
def other() -> Detector:
    torch.manual_seed(8)
    return yolov5("n").eval()


def same(first: list[Detections], second: list[Detections]) -> bool:
    return all(
        torch.equal(a.boxes, b.boxes) and torch.equal(a.scores, b.scores) and torch.equal(a.labels, b.labels)
        for a, b in zip(first, second, strict=True)
    )


@torch.no_grad()
def test_one_network_is_decoded_and_suppressed(nano: Detector):
    nano.eval()
    images, nms = torch.rand(2, 3, 64, 96), NMS(confidence_threshold=1e-4)
    inference = Inference([nano], nms)
    raw = nano(images)
    expected = nms(*nano.decode(raw))
    assert len(expected[0]) > 0
    assert same(inference(images), expected)
    passes: list[int] = []
    nano.register_forward_hook(lambda *_: passes.append(1))
    assert same(inference(images, raw), expected)
    assert not passes
    assert inference.is_plain
    assert (inference.stride, inference.num_classes) == (32, 80)


@torch.no_grad()
def test_networks_pool_their_boxes(nano: Detector, other: Detector):
    nano.eval()
    images, nms = torch.rand(2, 3, 64, 96), NMS(confidence_threshold=1e-4)
    inference = Inference([nano, other], nms)
    decoded = [network.decode(network(images)) for network in (nano, other)]
    expected = nms(torch.cat([boxes for boxes, _ in decoded], 1), torch.cat([scores for _, scores in decoded], 1))
    assert same(inference(images), expected)
    assert same(inference(images, nano(images)), expected)
    assert not same(Inference([other], nms)(images), expected)
    assert not inference.is_plain


def test_the_coarsest_stride_counts(nano: Detector):
    assert Inference([nano, yolov5("n6")], NMS()).stride == 64


def test_networks_are_no_part_of_anything(nano: Detector):
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inference = Inference([nano], NMS())

    assert not Holder().state_dict()


def test_wrong_networks(nano: Detector):
    with pytest.raises(ValueError, match="at least one detector"):
        Inference([], NMS())
    with pytest.raises(ValueError, match=r"the same classes, found \[3, 80\] classes"):
        Inference([nano, yolov5("n", 3)], NMS())
    with pytest.raises(ValueError, match="3 weights for 2 networks"):
        Inference([nano, nano], NMS(), fusion=WeightedBoxesFusion(weights=[1, 2, 3]))


@pytest.mark.parametrize("option", ["augmentation", "fusion", "slices"])
def test_what_is_not_plain(option: str, nano: Detector):
    part = {"augmentation": Augmentation(), "fusion": WeightedBoxesFusion(), "slices": Slices()}[option]
    assert not Inference([nano], NMS(), **{option: part}).is_plain  # type: ignore[arg-type]


@torch.no_grad()
def test_everything_at_once(nano: Detector, other: Detector):
    nano.eval()
    nms = NMS(confidence_threshold=1e-5, max_detections=20)
    inference = Inference(
        [nano, other], nms, augmentation=Augmentation(), fusion=WeightedBoxesFusion(), slices=Slices((64, 96))
    )
    found = inference(torch.rand(2, 3, 128, 128))
    for each in found:
        assert 0 < len(each) <= 20
        assert torch.equal(each.scores, each.scores.sort(descending=True).values)
        assert each.boxes.dtype == torch.float32


# ------------------------------------------------------------------------------------------- weighted boxes fusion


def vote(*rows: tuple[list[float], float, int], num_classes: int = 2) -> Vote:
    """Dense predictions for one image of (box, score, label)."""
    boxes, scores = torch.zeros(1, len(rows), 4), torch.zeros(1, len(rows), num_classes)
    for number, (box, score, label) in enumerate(rows):
        boxes[0, number], scores[0, number, label] = torch.tensor(box), score
    return boxes, scores


BOX, NEAR, FAR = [10.0, 10.0, 50.0, 50.0], [12.0, 10.0, 52.0, 50.0], [60.0, 60.0, 90.0, 90.0]


def fuse(*votes: Vote, nms: NMS | None = None, **options) -> Detections:
    (found,) = WeightedBoxesFusion(**options)([[each] for each in votes], nms or NMS(), (100, 120))
    return found


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([vote(), vote()], []),
        ([vote((BOX, 0.8, 0))], [(BOX, 0.8, 0)]),
        ([vote((BOX, 0.8, 0)), vote((BOX, 0.4, 0))], [(BOX, 0.6, 0)]),
        # weighted by score: (10 · .6 + 12 · .2) / .8
        ([vote((BOX, 0.6, 0)), vote((NEAR, 0.2, 0))], [([10.5, 10, 50.5, 50], 0.4, 0)]),
        # an object that one of two knows gets half the score
        ([vote((BOX, 0.8, 0)), vote((FAR, 0.6, 0))], [(BOX, 0.4, 0), (FAR, 0.3, 0)]),
        # classes are apart
        ([vote((BOX, 0.8, 0)), vote((BOX, 0.6, 1))], [(BOX, 0.4, 0), (BOX, 0.3, 1)]),
        # what a network sees twice is suppressed first
        ([vote((BOX, 0.8, 0), (NEAR, 0.7, 0)), vote((BOX, 0.4, 0))], [(BOX, 0.6, 0)]),
        # clipped to the image of 100 × 120, and nothing remains of what is outside
        ([vote(([-10, 80, 40, 130], 0.9, 1), ([130, 10, 140, 20], 0.8, 0))], [([0, 80, 40, 100], 0.9, 1)]),
    ],
)
def test_fusion(votes: list[Vote], expected: list[tuple[list[float], float, int]]):
    found = fuse(*votes)
    assert found.labels.tolist() == [label for *_, label in expected]
    torch.testing.assert_close(found.scores, torch.tensor([score for _, score, _ in expected]))
    torch.testing.assert_close(found.boxes, torch.tensor([box for box, *_ in expected]).float().reshape(-1, 4))


def test_fusion_weights():
    found = fuse(vote((BOX, 0.6, 0)), vote((NEAR, 0.6, 0)), weights=[3, 1])
    torch.testing.assert_close(found.boxes, torch.tensor([[10.5, 10, 50.5, 50]]))
    torch.testing.assert_close(found.scores, torch.tensor([0.6]))
    crowd = vote((BOX, 0.9, 0), ([13.0, 10.0, 60.0, 50.0], 0.9, 0))
    assert float(fuse(crowd, vote(), weights=[9, 1], nms=NMS(iou_threshold=0.9)).scores.max()) <= 1


def test_fusion_thresholds():
    votes = vote((BOX, 0.3, 0)), vote((BOX, 0.24, 0))
    nms = NMS(confidence_threshold=0.25)
    # the second does not vote, and half of .3 is not enough
    assert len(fuse(*votes, nms=nms)) == 0
    found = fuse(*votes, nms=nms, skip_box_threshold=0.1)
    torch.testing.assert_close(found.scores, torch.tensor([0.27]))
    assert nms.confidence_threshold == 0.25
    assert len(fuse(vote((BOX, 0.8, 0)), vote((NEAR, 0.8, 0)), iou_threshold=0.95)) == 2
    assert len(fuse(vote((BOX, 0.9, 0), (FAR, 0.8, 0)), nms=NMS(max_detections=1))) == 1


def test_fusion_across_classes():
    votes = vote((BOX, 0.8, 0)), vote((BOX, 0.6, 1))
    assert fuse(*votes, nms=NMS(class_agnostic=True)).labels.tolist() == [0]


@pytest.mark.parametrize(
    ("kind", "score"), [("avg", 0.4), ("max", 0.8), ("box_and_model_avg", 0.4), ("absent_model_aware_avg", 0.4)]
)
def test_fusion_joins_scores_as_told(kind: str, score: float):
    found = fuse(vote((BOX, 0.8, 0)), vote(), confidence_type=kind)
    torch.testing.assert_close(found.scores, torch.tensor([score]))


@torch.no_grad()
def test_views_vote_with_all_levels(nano: Detector, monkeypatch: pytest.MonkeyPatch):
    """Each view of each network has a vote of its own."""
    votes: list[int] = []
    fusion, augmentation = WeightedBoxesFusion(), Augmentation()
    original = fusion._fuse
    monkeypatch.setattr(fusion, "_fuse", lambda given, *rest: votes.append(len(given)) or original(given, *rest))
    Inference([nano.eval(), nano], NMS(), augmentation=augmentation, fusion=fusion)(torch.rand(1, 3, 64, 64))
    assert votes == [6]
    assert augmentation.clip_tails


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iou_threshold": 1.5}, "iou_threshold is 1.5"),
        ({"skip_box_threshold": -0.1}, "skip_box_threshold is -0.1"),
        ({"weights": [1, 0]}, "weights must be positive"),
        ({"weights": [1, float("nan")]}, "weights must be positive"),
    ],
)
def test_wrong_fusion(options, message):
    with pytest.raises(ValueError, match=message):
        WeightedBoxesFusion(**options)


def test_the_library_is_asked_for(nano: Detector, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ensemble_boxes", None)
    with pytest.raises(InputError, match=r"yolo-lightning\[ensemble\]"):
        Inference([nano], NMS(), fusion=WeightedBoxesFusion())


@torch.no_grad()
def test_fused_views_of_a_picture_show_the_same_objects(shared: Path):
    from tests.test_official import _letterboxed

    detector, _ = detector_from_weights(shared / "weights" / "yolov5n.pt")
    images, _ = _letterboxed(shared / "data" / "images" / "bus.jpg")
    nms = NMS(confidence_threshold=0.25, iou_threshold=0.45, multi_label=False)
    (plain,) = Inference([detector.eval()], nms)(images)
    (fused,) = Inference([detector], nms, augmentation=Augmentation(), fusion=WeightedBoxesFusion())(images)
    sure = plain.scores > 0.6
    overlap = box_iou(plain.boxes[sure], fused.boxes) * (plain.labels[sure][:, None] == fused.labels)
    assert int(sure.sum()) == 3
    assert float(overlap.amax(1).min()) > 0.8
