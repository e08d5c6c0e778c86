from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_lightning.ops import NMS, cxcywh_to_xyxy, iou


def random_predictions(seed, num_boxes=60, num_classes=3, batch_size=2):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(batch_size, num_boxes, 4, generator=generator) * torch.tensor([90.0, 90, 50, 50])
    scores = torch.rand(batch_size, num_boxes, num_classes, generator=generator)
    return cxcywh_to_xyxy(boxes + 5), scores


def slow_nms(boxes, scores, confidence, threshold, most, multi_label=True, agnostic=False):
    """Greedy suppression of one image in plain Python: list of (box, class, score)."""
    candidates = []
    for i, row in enumerate(scores.tolist()):
        labels = range(len(row)) if multi_label else [max(range(len(row)), key=row.__getitem__)]
        candidates += [(row[label], i, label) for label in labels if row[label] > confidence]
    kept = []
    for score, i, label in sorted(candidates, key=lambda candidate: -candidate[0]):
        rivals = [j for _, j, other in kept if agnostic or other == label]
        if all(iou(boxes[i], boxes[j], eps=0.0).item() <= threshold for j in rivals):
            kept.append((score, i, label))
    return [(i, label, score) for score, i, label in kept[:most]]


@pytest.mark.parametrize("case", range(4))
def test_equals_the_reference(golden, case):
    settings_ = json.loads((golden / "nms_cases.json").read_text())[case]
    arrays = np.load(golden / settings_["file"], allow_pickle=False)
    raw = torch.from_numpy(arrays["raw_cxcywh_obj_cls"])
    nms = NMS(
        confidence_threshold=settings_["conf"],
        iou_threshold=settings_["iou"],
        max_detections=settings_["max_det"],
        multi_label=settings_["multi_label"],
        class_agnostic=settings_["agnostic"],
        classes=settings_["classes"],
    )
    detections = nms(cxcywh_to_xyxy(raw[..., :4]), raw[..., 4:5] * raw[..., 5:])
    assert [len(found) for found in detections] == settings_["counts"]
    for i, found in enumerate(detections):
        rows = torch.cat((found.boxes, found.scores[:, None], found.labels[:, None]), dim=1)
        np.testing.assert_allclose(rows, arrays[f"out_{i}"], atol=1e-4)


@pytest.mark.parametrize(("batch_size", "num_boxes", "num_classes"), [(0, 5, 3), (1, 0, 3), (2, 5, 3), (2, 5, 1)])
def test_nothing_to_find(batch_size, num_boxes, num_classes):
    detections = NMS()(torch.zeros(batch_size, num_boxes, 4), torch.zeros(batch_size, num_boxes, num_classes))
    assert len(detections) == batch_size
    for found in detections:
        assert found.boxes.shape == (0, 4)
        assert found.boxes.dtype == found.scores.dtype == torch.float32
        assert found.scores.shape == (0,)
        assert found.labels.dtype == torch.int64


@pytest.mark.parametrize("multi_label", [True, False])
@pytest.mark.parametrize("agnostic", [True, False])
@pytest.mark.parametrize("most", [4, 300])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_equals_plain_python(multi_label, agnostic, most, num_classes):
    boxes, scores = random_predictions(1, num_classes=num_classes)
    nms = NMS(0.3, 0.4, most, multi_label, agnostic)
    for i, found in enumerate(nms(boxes, scores)):
        expected = slow_nms(boxes[i], scores[i], 0.3, 0.4, most, multi_label, agnostic)
        assert len(expected) > 3
        assert found.labels.tolist() == [label for _, label, _ in expected]
        assert found.boxes.equal(boxes[i][[box for box, _, _ in expected]])
        assert found.scores.equal(torch.tensor([score for _, _, score in expected]))


def test_few_detections_are_the_first_of_many():
    """The search by growing prefixes finds what the search of everything does."""
    boxes, scores = random_predictions(2, num_boxes=2000)
    everything = NMS(0.01, 0.3, max_detections=6000)(boxes, scores)
    for most in (1, 7, 50):
        for few, many in zip(NMS(0.01, 0.3, max_detections=most)(boxes, scores), everything, strict=True):
            assert len(few) == most
            assert few.boxes.equal(many.boxes[:most])
            assert few.scores.equal(many.scores[:most])


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_input_does_not_matter(seed, multi_label):
    boxes, scores = random_predictions(seed, batch_size=1)
    order = torch.randperm(boxes.shape[1], generator=torch.Generator().manual_seed(seed))
    nms = NMS(0.1, 0.5, multi_label=multi_label)
    (found,), (shuffled,) = nms(boxes, scores), nms(boxes[:, order], scores[:, order])
    assert found.scores.equal(shuffled.scores)
    assert found.boxes.equal(shuffled.boxes)
    assert found.labels.equal(shuffled.labels)


def test_equal_scores_keep_the_order_of_the_input():
    boxes = torch.arange(40).float()[:, None] * 20 + torch.tensor([0.0, 0.0, 10.0, 10.0])
    (found,) = NMS()(boxes[None], torch.full((1, 40, 1), 0.5))
    assert found.boxes.equal(boxes)


@pytest.mark.parametrize("multi_label", [True, False])
@pytest.mark.parametrize("agnostic", [True, False])
@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.999, 1.0])
def test_equal_thresholds_are_one(multi_label, agnostic, num_classes, threshold):
    boxes, scores = random_predictions(8, num_classes=num_classes)
    for alike, found in zip(
        NMS([threshold] * num_classes, 0.4, 20, multi_label, agnostic)(boxes, scores),
        NMS(threshold, 0.4, 20, multi_label, agnostic)(boxes, scores),
        strict=True,
    ):
        assert alike.boxes.equal(found.boxes)
        assert alike.scores.equal(found.scores)
        assert alike.labels.equal(found.labels)


@pytest.mark.parametrize("multi_label", [True, False])
def test_a_threshold_for_each_class_keeps_what_is_above_its_own(multi_label):
    boxes, scores = random_predictions(9)
    thresholds = (0.9, 0.2, 1.0)
    chosen = NMS(thresholds, 0.4, multi_label=multi_label)(boxes, scores)
    for some, everything in zip(chosen, NMS(0.2, 0.4, multi_label=multi_label)(boxes, scores), strict=True):
        expected = everything.scores > torch.tensor(thresholds)[everything.labels]
        assert 0 < int(expected.sum()) < len(everything)
        assert some.boxes.equal(everything.boxes[expected])
        assert some.scores.equal(everything.scores[expected])
        assert some.labels.equal(everything.labels[expected])


def test_a_box_whose_best_class_is_below_its_threshold_is_not_reported_for_its_second():
    boxes, scores = torch.rand(1, 1, 4), torch.tensor([[[0.6, 0.5]]])
    assert len(NMS((0.7, 0.1), multi_label=False)(boxes, scores)[0]) == 0
    (found,) = NMS((0.7, 0.1))(boxes, scores)
    assert found.labels.tolist() == [1]


def test_thresholds_are_not_rounded_with_the_network():
    nms = NMS([0.50001, 0.1]).half()
    (found,) = nms(torch.rand(1, 1, 4), torch.tensor([[[0.50002, 0.0]]]))
    assert found.labels.tolist() == [0]
    assert not nms.state_dict()


def test_comparisons_are_strict():
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0]]])
    scores = torch.tensor([[[0.75], [0.5]]])
    assert len(NMS(0.25, iou_threshold=0.5)(boxes, scores)[0]) == 2
    assert len(NMS(0.25, iou_threshold=0.49)(boxes, scores)[0]) == 1
    assert len(NMS(confidence_threshold=0.5)(boxes, scores)[0]) == 1
    assert len(NMS(confidence_threshold=1.0)(boxes, scores)[0]) == 0


@pytest.mark.parametrize("scale", [1, 100, 10_000])
def test_classes_do_not_suppress_each_other_on_any_canvas(scale):
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [-30.0, 0.0, 40.0, 64.0]]) * scale
    boxes = boxes[[0, 0, 1, 1]][None]
    scores = torch.eye(4)[None] * torch.tensor([0.9, 0.8, 0.7, 0.6])
    (found,) = NMS(0.25)(boxes, scores)
    assert found.labels.tolist() == [0, 1, 2, 3]
    assert found.boxes.equal(boxes[0])


def test_only_chosen_classes_are_reported_and_none_means_none():
    boxes, scores = random_predictions(3)
    all_classes = NMS(0.3)(boxes, scores)
    for classes in ([0, 2], (1,), []):
        for some, found in zip(NMS(0.3, classes=classes)(boxes, scores), all_classes, strict=True):
            expected = torch.tensor([label in classes for label in found.labels.tolist()])
            assert some.boxes.equal(found.boxes[expected])
            assert some.labels.equal(found.labels[expected])


def test_a_box_whose_best_class_is_not_chosen_is_not_reported_for_its_second():
    (found,) = NMS(0.25, multi_label=False, classes=[1])(torch.rand(1, 1, 4), torch.tensor([[[0.9, 0.8]]]))
    assert len(found) == 0


def test_only_the_best_candidates_are_considered():
    boxes, scores = random_predictions(4)
    (found, _), (few, _) = NMS(0.1, 1.0)(boxes, scores), NMS(0.1, 1.0, max_candidates=10)(boxes, scores)
    assert few.scores.equal(found.scores[:10])


def test_half_precision_in_float32_out():
    boxes, scores = random_predictions(5)
    for found in NMS()(boxes.half(), scores.bfloat16()):
        assert found.boxes.dtype == found.scores.dtype == torch.float32


def test_broken_predictions_are_left_out():
    boxes, scores = random_predictions(6, num_boxes=10, batch_size=1)
    (expected,) = NMS(0.1)(boxes[:, 2:], scores[:, 2:])
    boxes[0, 0, 2], boxes[0, 1], scores[0, 0] = float("inf"), float("nan"), 0.99
    (found,) = NMS(0.1)(boxes, scores)
    assert found.boxes.equal(expected.boxes)
    (found,) = NMS(0.1)(boxes, torch.full_like(scores, float("nan")))
    assert len(found) == 0


def test_no_gradient_is_kept():
    boxes, scores = random_predictions(7)
    found = NMS()(boxes.requires_grad_(), scores.requires_grad_())
    assert not found[0].boxes.requires_grad
    assert not found[0].scores.requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"confidence_threshold": 1.5}, "confidence_threshold is 1.5; it must be between 0 and 1"),
        ({"confidence_threshold": float("nan")}, "confidence_threshold is nan"),
        ({"confidence_threshold": [0.2, 1.5]}, "confidence_threshold is 1.5; it must be between 0 and 1"),
        ({"confidence_threshold": [0.2, float("nan")]}, "confidence_threshold is nan"),
        ({"confidence_threshold": []}, "confidence_threshold is empty"),
        ({"iou_threshold": -0.1}, "iou_threshold is -0.1"),
        ({"max_detections": 0}, "max_detections is 0; it must be at least 1"),
        ({"max_candidates": -1}, "max_candidates is -1"),
        ({"classes": [0, -1]}, "cannot be negative"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NMS(**arguments)


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [((5, 4), (5, 3)), ((1, 5, 5), (1, 5, 3)), ((1, 5, 4), (1, 4, 3)), ((2, 5, 4), (1, 5, 3)), ((1, 5, 4), (1, 5))],
)
def test_shapes_that_do_not_fit_are_refused(boxes, scores):
    with pytest.raises(ValueError, match=r"expected boxes \(B, N, 4\)"):
        NMS()(torch.zeros(boxes), torch.zeros(scores))


def test_classes_that_the_scores_lack_are_refused():
    with pytest.raises(ValueError, match=r"classes are \[0, 3\], but the scores have 0…2"):
        NMS(classes=[0, 3])(torch.zeros(1, 1, 4), torch.zeros(1, 1, 3))
    with pytest.raises(ValueError, match="no class"):
        NMS()(torch.zeros(1, 1, 4), torch.zeros(1, 1, 0))


@pytest.mark.parametrize("thresholds", [(0.5,), (0.5, 0.5), (0.5,) * 4])
def test_another_number_of_thresholds_than_classes_is_refused(thresholds):
    with pytest.raises(ValueError, match=rf"confidence_threshold has {len(thresholds)} numbers, but .* 3 classes"):
        NMS(thresholds)(torch.zeros(1, 1, 4), torch.zeros(1, 1, 3))
