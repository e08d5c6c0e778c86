"""Test-time augmentation: views of an image, and their boxes back in the image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from yolo_lightning.models import Detector, Inference, yolov5
from yolo_lightning.models import TestTimeAugmentation as Augmentation  # under its own name pytest would collect it
from yolo_lightning.ops import NMS


@pytest.fixture
def detector(nano: Detector) -> Detector:
    return nano.eval()


def record_sizes(detector: Detector) -> list[tuple[int, ...]]:
    """Shapes of the images that the network sees from now on."""
    shapes: list[tuple[int, ...]] = []
    detector.register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape)))
    return shapes


@torch.no_grad()
def test_views_of_the_published_sizes(detector: Detector):
    shapes = record_sizes(detector)
    views = Augmentation()(detector, torch.rand(1, 3, 640, 640))
    assert shapes == [(1, 3, 640, 640), (1, 3, 544, 544), (1, 3, 448, 448)]
    assert [scores.shape[1] for _, scores in views] == [24_000, 18_207, 2_940]


@torch.no_grad()
def test_four_levels():
    views = Augmentation()(yolov5("n6").eval(), torch.rand(1, 3, 256, 320))
    # 256 × 320 has 20, 80, 320, 1280 cells; 192 × 256 (of .67) has 12, 48, 192, 768; three anchors each.
    assert [scores.shape[1] for _, scores in views] == [3 * 1680, 3 * 1700, 3 * (12 + 48 + 192)]


@torch.no_grad()
@pytest.mark.parametrize(("flip", "axis"), [("horizontal", 3), ("vertical", 2)])
def test_boxes_of_mirrored_images_are_mirrored_back(flip: str, axis: int, detector: Detector):
    images = torch.rand(2, 3, 64, 96)
    ((boxes, scores),) = Augmentation([1], [flip])(detector, images)
    plain_boxes, plain_scores = detector.decode(detector(images.flip(axis)))
    assert torch.equal(scores, plain_scores)
    side = images.shape[axis]
    low, high = (0, 2) if flip == "horizontal" else (1, 3)
    assert torch.allclose(boxes[..., low], side - plain_boxes[..., high])
    assert torch.allclose(boxes[..., high], side - plain_boxes[..., low])
    assert torch.equal(boxes[..., 1 - low : 4 - low : 2], plain_boxes[..., 1 - low : 4 - low : 2])


@torch.no_grad()
def test_a_shrunk_view_is_padded_with_grey_at_right_and_bottom(detector: Detector):
    seen: list[Tensor] = []
    detector.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    Augmentation([0.67], ["none"])(detector, torch.zeros(1, 3, 128, 96))
    (view,) = seen
    assert view.shape == (1, 3, 96, 96)  # 85 × 64, to multiples of 32
    assert float(view[..., :85, :64].abs().max()) == 0
    assert torch.equal(view[..., 85:, :], torch.full((1, 3, 11, 96), 0.447))
    assert torch.equal(view[..., 64:], torch.full((1, 3, 96, 32), 0.447))


@torch.no_grad()
def test_boxes_of_a_shrunk_view_are_divided_by_its_scale(detector: Detector):
    images = torch.rand(1, 3, 64, 64)
    ((boxes, _),) = Augmentation([0.5], ["none"])(detector, images)
    small = torch.nn.functional.interpolate(images, scale_factor=0.5, mode="bilinear")
    assert torch.allclose(boxes, 2 * detector.decode(detector(small))[0], atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("scales", "rows"),
    [
        ([1, 1], [252, 252]),  # all alike: nothing is left out
        ([1], [252]),
        ([1, 0.5], [240, 63 - 48]),
        ([0.5, 1, 1], [63 - 48, 240, 240]),
        ([0.5, 1, 2], [63 - 48, 252, 1008 - 48]),
    ],
)
def test_levels_that_suit_a_scale_least_are_left_out(scales: list[float], rows: list[int], detector: Detector):
    images = torch.rand(1, 3, 64, 64)
    flips = ["none"] * len(scales)
    assert [s.shape[1] for _, s in Augmentation(scales, flips)(detector, images)] == rows
    whole = [63 if scale == 0.5 else 252 if scale == 1 else 1008 for scale in scales]
    assert [s.shape[1] for _, s in Augmentation(scales, flips, clip_tails=False)(detector, images)] == whole
    assert [s.shape[1] for _, s in Augmentation(scales, flips)(detector, images, whole=True)] == whole


@torch.no_grad()
def test_given_raw_predictions_save_the_plain_view(detector: Detector):
    images = torch.rand(1, 3, 64, 64)
    raw = detector(images)
    expected = Augmentation()(detector, images)
    shapes = record_sizes(detector)
    found = Augmentation()(detector, images, raw)
    assert shapes == [(1, 3, 64, 64)] * 2  # .83 and .67 of 64, padded
    for (boxes, scores), (other_boxes, other_scores) in zip(found, expected, strict=True):
        assert torch.equal(boxes, other_boxes)
        assert torch.equal(scores, other_scores)


@torch.no_grad()
def test_one_plain_view_changes_nothing(detector: Detector):
    images, nms = torch.rand(2, 3, 64, 96), NMS(confidence_threshold=1e-4)
    plain = Inference([detector], nms)(images)
    same = Inference([detector], nms, augmentation=Augmentation([1], ["none"]))(images)
    assert len(plain[0]) > 0
    assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(plain, same, strict=True))


@torch.no_grad()
def test_half_precision(detector: Detector):
    detector.bfloat16()
    found = Inference([detector], NMS(confidence_threshold=1e-4), augmentation=Augmentation())(
        torch.rand(1, 3, 64, 96).bfloat16()
    )
    assert found[0].boxes.dtype == torch.float32
    assert len(found[0]) > 0


@pytest.mark.parametrize(
    ("scales", "flips", "message"),
    [
        ([], [], "one entry for each view"),
        ([1, 0.5], ["none"], "one entry for each view"),
        ([0.0], ["none"], "positive"),
        ([float("nan")], ["none"], "positive"),
        ([float("inf")], ["none"], "positive"),
        ([1], ["diagonal"], "'diagonal'"),
    ],
)
def test_wrong_views(scales, flips, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(scales, flips)
