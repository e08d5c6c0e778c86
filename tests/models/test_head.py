from __future__ import annotations

import copy
import math

import pytest
import torch

from yolo_lightning.models import YOLOv5Head, build_detector, describe, yolov5
from yolo_lightning.types import FeatureInfo

P5 = FeatureInfo((8, 16, 32), (8, 16, 32))
P6 = FeatureInfo((8, 16, 32, 64), (8, 16, 32, 64))


@pytest.mark.parametrize(("num_classes", "shift"), [(80, -4.880274), (20, -3.455265), (3, -1.203978), (1, 11.002100)])
def test_class_biases_start_at_the_reference(num_classes: int, shift: float) -> None:
    plain, head = _plain_and_head(P5, num_classes)
    for before, conv in zip(plain, head.m, strict=True):
        moved = (conv.bias - before).view(3, -1)
        assert torch.allclose(moved[:, 5:], torch.tensor(shift), rtol=0, atol=1e-5)
        assert torch.all(moved[:, :4] == 0)


def test_objectness_biases_start_at_the_reference() -> None:
    plain, head = _plain_and_head(P6, 80)
    for before, conv, shift in zip(plain, head.m, (-6.684612, -5.298317, -3.912023, -2.525729), strict=True):
        moved = (conv.bias - before).view(3, -1)[:, 4]
        assert torch.allclose(moved, torch.tensor(shift), rtol=0, atol=1e-5)


def _plain_and_head(features: FeatureInfo, num_classes: int) -> tuple[list[torch.Tensor], YOLOv5Head]:
    """Biases as torch draws them, and a head made from the same random numbers."""
    torch.manual_seed(0)
    outputs = 3 * (5 + num_classes)
    plain = [torch.nn.Conv2d(channels, outputs, 1).bias.detach().clone() for channels in features.channels]
    torch.manual_seed(0)
    return plain, YOLOv5Head(features, num_classes)


def test_decode_of_an_empty_batch() -> None:
    head = YOLOv5Head(P5, 3)
    boxes, scores = head.decode(head(tuple(torch.zeros(0, c, 4, 4) for c in P5.channels)))
    assert boxes.shape == (0, 144, 4)
    assert scores.shape == (0, 144, 3)


def test_decode_numbers_and_row_order() -> None:
    head = YOLOv5Head(P5, 2)
    raw = tuple(torch.zeros(1, 3, 64 // stride, 96 // stride, 7) for stride in P5.strides)
    level, anchor, row, column = 1, 2, 3, 5
    raw[level][0, anchor, row, column] = torch.tensor([0.3, -0.7, 0.4, -0.2, 1.5, -2.0, 0.6])
    boxes, scores = head.decode(raw)
    index = 3 * 8 * 12 + anchor * 4 * 6 + row * 6 + column
    x = (2 * _sigmoid(0.3) + column - 0.5) * 16
    y = (2 * _sigmoid(-0.7) + row - 0.5) * 16
    w = (2 * _sigmoid(0.4)) ** 2 * 59
    h = (2 * _sigmoid(-0.2)) ** 2 * 119
    assert boxes[0, index].tolist() == pytest.approx([x - w / 2, y - h / 2, x + w / 2, y + h / 2], abs=1e-4)
    assert scores[0, index].tolist() == pytest.approx(
        [_sigmoid(1.5) * _sigmoid(-2.0), _sigmoid(1.5) * _sigmoid(0.6)], abs=1e-6
    )
    # Zero logits are the anchor itself in the middle of its cell.
    assert boxes[0, 1].tolist() == pytest.approx([12 - 5, 4 - 6.5, 12 + 5, 4 + 6.5])
    assert scores[0, 0].tolist() == [0.25, 0.25]
    assert boxes.shape == (1, 3 * (8 * 12 + 4 * 6 + 2 * 3), 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_decode_is_exact_in_half_precision(dtype: torch.dtype) -> None:
    head = YOLOv5Head(P6, 1, anchors=[[1.25, 513.5], [3.0, 4.0], [5.0, 6.0], [925.3, 791.1]])
    anchors = head.anchors.clone()
    raw = tuple(torch.zeros(1, 1, 160, 160, 6, dtype=dtype) for _ in P6.strides)
    boxes, scores = head.to(dtype).decode(raw)
    assert torch.equal(head.anchors, anchors)
    assert head.m[0].weight.dtype == dtype
    assert boxes.dtype == scores.dtype == torch.float32
    last = (159 + 0.5) * 64
    assert boxes[0, -1].tolist() == pytest.approx(
        [last - 925.3 / 2, last - 791.1 / 2, last + 925.3 / 2, last + 791.1 / 2], rel=1e-6
    )


def test_decode_keeps_float64() -> None:
    boxes, scores = YOLOv5Head(P5, 1).decode(tuple(torch.zeros(1, 3, 2, 2, 6, dtype=torch.float64) for _ in range(3)))
    assert boxes.dtype == scores.dtype == torch.float64


def test_forward_is_the_same_in_training_and_evaluation() -> None:
    head = YOLOv5Head(P5, 4)
    maps = tuple(torch.rand(2, stride, 64 // stride, 96 // stride) for stride in P5.strides)  # as many channels
    training = head.train()(maps)
    evaluation = head.eval()(maps)
    assert [level.shape for level in training] == [(2, 3, 8, 12, 9), (2, 3, 4, 6, 9), (2, 3, 2, 3, 9)]
    assert all(torch.equal(a, b) for a, b in zip(training, evaluation, strict=True))


@pytest.mark.parametrize(
    "anchors",
    [[[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], [[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]]],
)
def test_anchors_are_given_flat_or_in_pairs(anchors: list[list[float]]) -> None:
    head = YOLOv5Head(P5, 1, anchors)
    assert head.anchors.flatten().tolist() == list(range(1, 13))
    assert head.anchors.shape == (3, 2, 2)
    assert head(tuple(torch.zeros(1, c, 2, 2) for c in P5.channels))[0].shape == (1, 2, 2, 2, 6)


def test_anchors_are_saved() -> None:
    head = YOLOv5Head(P5, 1)
    head.anchors += 3
    other = YOLOv5Head(P5, 1)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other.anchors, head.anchors)


def test_set_anchors_are_saved_and_described() -> None:
    detector = yolov5("n", 2)
    anchors = [[12.35, 10.1, 3, 4, 5, 6], [7, 8, 9.99, 10, 11, 12], [13, 14, 15, 16, 17.5, 1e3]]
    detector.head.set_anchors([[[x, y] for x, y in zip(level[::2], level[1::2], strict=True)] for level in anchors])
    assert detector.head.anchors.flatten(1).tolist() == [pytest.approx(level) for level in anchors]
    assert describe(detector)["init_args"]["head"]["init_args"]["anchors"] == anchors
    other = build_detector(describe(detector), 2)
    assert torch.equal(other.head.anchors, detector.head.anchors)
    assert describe(other) == describe(detector)
    assert describe(copy.deepcopy(detector).half()) == describe(detector)


def test_anchors_of_a_state_are_described() -> None:
    source, detector = yolov5("n", 2), yolov5("n", 2)
    source.head.anchors += 0.25
    detector.load_state_dict(source.state_dict())
    assert torch.equal(build_detector(describe(detector), 2).head.anchors, source.head.anchors)
    detector.load_state_dict(yolov5("n", 2).state_dict())
    assert describe(detector)["init_args"]["head"]["init_args"]["anchors"] is None


def test_set_anchors_of_another_number_are_refused() -> None:
    head = YOLOv5Head(P5, 1)
    with pytest.raises(ValueError, match="3 anchors a level, not 2"):
        head.set_anchors([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]])
    with pytest.raises(ValueError, match="anchors must"):
        head.set_anchors([[1, 2]])
    assert head.anchors[0, 0].tolist() == [10, 13]
    assert not head.has_own_anchors


@pytest.mark.parametrize(
    "anchors",
    [
        [],
        [[], [], []],
        [[1, 2], [3, 4]],
        [[1, 2], [3, 4], [5, 6], [7, 8]],
        [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
        [[1, 2], [3, 4], [5, 6, 7, 8]],
        [[1, 2], [3, 4], [5, 0]],
        [[1, 2], [3, 4], [5, math.nan]],
        [["a", "b"], ["c", "d"], ["e", "f"]],
    ],
)
def test_wrong_anchors_are_refused(anchors: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="anchors must"):
        YOLOv5Head(P5, 1, anchors)


def test_levels_without_published_anchors() -> None:
    with pytest.raises(ValueError, match="give the head its anchors"):
        YOLOv5Head(FeatureInfo((8, 8), (8, 16)), 1)


def test_number_of_classes_must_be_positive() -> None:
    with pytest.raises(ValueError, match="num_classes"):
        YOLOv5Head(P5, 0)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


@pytest.mark.parametrize("threshold", [0.0, 0.001, 0.25, 0.6, 1.0])
def test_decoding_above_a_threshold_leaves_out_nothing_that_scores_more(threshold):
    """The same boxes and scores, in the same order, and fewer of them."""
    torch.manual_seed(0)
    head = YOLOv5Head(FeatureInfo((8, 16, 32), (8, 16, 32)), 5)
    raw = tuple(torch.randn(3, 3, 64 // s, 96 // s, 10) * 3 for s in (8, 16, 32))
    boxes, scores = head.decode(raw)
    some_boxes, some_scores = head.decode_above(raw, threshold)
    for index in range(3):
        above, some_above = scores[index].amax(-1) > threshold, some_scores[index].amax(-1) > threshold
        torch.testing.assert_close(boxes[index][above], some_boxes[index][some_above], atol=1e-4, rtol=1e-6)
        torch.testing.assert_close(scores[index][above], some_scores[index][some_above], atol=2e-7, rtol=0)
    assert (some_scores.shape[1] < scores.shape[1]) == (threshold > 0.1)
    if threshold == 1:
        assert some_scores.shape == (3, 0, 5)


def test_a_decoding_of_ones_own_is_used_for_all_thresholds():
    class Own(YOLOv5Head):
        def decode(self, raw):
            return torch.zeros(1, 2, 4), torch.ones(1, 2, 1)

    head = Own(FeatureInfo((8, 8, 8), (8, 16, 32)), 1)
    assert head.decode_above((), 0.5)[1].tolist() == [[[1.0], [1.0]]]
