from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_lightning.data import YOLODataset
from yolo_lightning.losses import AnchorRatioAssigner
from yolo_lightning.models.head import ANCHORS_P5
from yolo_lightning.ops import anchors as anchors_module
from yolo_lightning.ops.anchors import box_sizes, fit_anchors, jitter_sizes, measure_anchors
from yolo_lightning.types import Batch, ImageInfo


class Images:
    """Images of sizes (height, width), and the widths and heights of the boxes in each."""

    def __init__(self, *images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def image_size(self, index):
        return self.images[index][0]

    def annotations(self, index):
        sizes = np.array(self.images[index][1], np.float32).reshape(-1, 2)
        return np.concatenate((np.ones_like(sizes), 1 + sizes), 1), np.zeros(len(sizes), np.int64)


def lognormal(count, seed=0, mean=3.5):
    sizes = np.exp(np.random.default_rng(seed).normal(mean, 1, (count, 2)))
    return sizes[np.lexsort(sizes.T)]


def recall(sizes, anchors, threshold):
    """The rule in plain Python: share of boxes with a similar anchor, and similar anchors of a box."""
    counts = [
        sum(max(w / aw, aw / w, h / ah, ah / h) < threshold if w > 0 and h > 0 else False for aw, ah in anchors)
        for w, h in sizes
    ]
    return sum(count > 0 for count in counts) / len(sizes), sum(counts) / len(sizes)


# ---- sizes


def test_no_boxes():
    assert box_sizes(Images(), (64, 64)).shape == (0, 2)
    assert box_sizes(Images(((10, 10), [])), (64, 64)).shape == (0, 2)
    assert jitter_sizes(np.zeros((0, 2))).shape == (0, 2)
    with pytest.raises(ValueError, match="no boxes"):
        measure_anchors(np.zeros((0, 2)), [[1, 1]])


@pytest.mark.parametrize(
    ("size", "canvas", "scale"),
    [((100, 200), (640, 640), 3.2), ((1280, 320), (640, 640), 0.5), ((100, 200), (192, 640), 1.92)],
)
def test_sizes_are_those_at_training_size(size, canvas, scale):
    assert box_sizes(Images((size, [(20, 30)])), canvas).tolist() == [pytest.approx([20 * scale, 30 * scale])]


def test_the_order_of_images_does_not_matter():
    images = [((64, 80 + index), lognormal(5, seed=index).tolist()) for index in range(8)]
    first, second = box_sizes(Images(*images), (64, 64)), box_sizes(Images(*reversed(images)), (64, 64))
    assert np.array_equal(first, second)
    assert np.array_equal(fit_anchors(first, 4).anchors_wh, fit_anchors(second, 4).anchors_wh)


def test_jitter():
    sizes = lognormal(1000)
    factors = jitter_sizes(sizes, seed=3) / sizes
    assert np.allclose(factors[:, 0], factors[:, 1])
    assert 0.9 <= factors.min() < 0.91
    assert 1.09 < factors.max() <= 1.1
    assert np.array_equal(jitter_sizes(sizes, seed=3), jitter_sizes(sizes, seed=3))
    assert not np.array_equal(jitter_sizes(sizes, seed=3), jitter_sizes(sizes, seed=4))


# ---- recall


# Whole numbers meet the threshold exactly.
SIDES = st.one_of(st.integers(0, 60), st.floats(0.01, 2000))
ANCHOR_SIDES = st.one_of(st.integers(1, 60), st.floats(0.5, 2000))


@settings(deadline=None)
@given(
    st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=8),
    st.lists(st.tuples(ANCHOR_SIDES, ANCHOR_SIDES), min_size=1, max_size=5),
    st.sampled_from([4.0, 2.91, 1.5]),
)
def test_recall_is_the_rule_in_plain_python(sizes, anchors, threshold):
    fit = measure_anchors(np.array(sizes, np.float64), anchors, threshold)
    expected_recall, per_box = recall(sizes, anchors, threshold)
    assert fit.best_possible_recall == pytest.approx(expected_recall)
    assert fit.anchors_per_box == pytest.approx(per_box)


def test_recall_is_what_the_assigner_assigns():
    sides = [1, 2, 5, 8, 13, 40, 52, 90, 400, 500, 1500]
    sizes = np.array(list(product(sides, sides)), np.float64)
    anchors = torch.tensor(ANCHORS_P5, dtype=torch.float32)
    corners = torch.as_tensor(sizes, dtype=torch.float32)
    boxes = torch.cat((1000 - corners / 2, 1000 + corners / 2), 1)
    info = ImageInfo("image", 0, (2048, 2048))
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    batch = Batch(torch.zeros(1, 3, 2048, 2048), boxes, labels, labels, [info])
    raw = [torch.zeros(1, 3, 2048 // stride, 2048 // stride, 6) for stride in (8, 16, 32)]
    levels = AnchorRatioAssigner(4.0)(raw, batch, anchors, (8, 16, 32))
    # Once for each anchor, in the cell of the centre; the centre has its own cell here and neighbours to two sides.
    found = torch.cat([level.boxes_cxcywh[:, 2:] * s for level, s in zip(levels, (8, 16, 32), strict=True)])
    assigned = {tuple(row) for row in found.round().int().tolist()}
    fit = measure_anchors(sizes, anchors.numpy(), 4.0)
    assert 0.2 < fit.best_possible_recall < 0.9
    assert fit.best_possible_recall == len(assigned) / len(sizes)


# ---- anchors


def test_tight_clusters_are_found():
    generator = np.random.default_rng(1)
    centres = np.array(list(product([12.0, 60.0, 300.0], [15.0, 75.0, 280.0])))
    sizes = np.concatenate([centre * generator.normal(1, 0.01, (200, 2)) for centre in centres])
    fitted = fit_anchors(sizes[np.lexsort(sizes.T)], 9)
    assert fitted.remark == ""
    assert np.all(np.diff(fitted.anchors_wh.prod(1)) >= 0)
    for centre in centres:
        assert np.abs(fitted.anchors_wh / centre - 1).max(1).min() < 0.05


def test_the_same_seed_gives_the_same_anchors():
    sizes = lognormal(500)
    first, second, other = (fit_anchors(sizes, 6, generations=50, seed=seed).anchors_wh for seed in (7, 7, 8))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_the_search_improves_on_k_means():
    sizes = lognormal(2000)

    def fitness(anchors):
        ratios = [[max(w / aw, aw / w, h / ah, ah / h) for aw, ah in anchors] for w, h in sizes]
        return np.mean([1 / min(row) if min(row) < 4 else 0 for row in ratios])

    start, end = (fit_anchors(sizes, 9, generations=generations).anchors_wh for generations in (0, 300))
    assert fitness(end) > fitness(start) + 0.005
    assert measure_anchors(sizes, end).best_possible_recall > measure_anchors(sizes, ANCHORS_P5).best_possible_recall


def test_anchors_suit_the_threshold_they_are_made_for():
    """Half of the boxes are so wide that three anchors cannot suit all."""
    sizes = np.concatenate((lognormal(400), lognormal(400, seed=1) * (8, 1)))
    strict, loose = (fit_anchors(sizes, 3, threshold).anchors_wh for threshold in (2.0, 4.0))
    for threshold, better, worse in ((2.0, strict, loose), (4.0, loose, strict)):
        recalls = [measure_anchors(sizes, anchors, threshold).best_possible_recall for anchors in (better, worse)]
        assert recalls[0] > recalls[1]


@pytest.mark.parametrize(("sizes", "count"), [([], 0), ([(10, 20)] * 8, 8), ([(10, 20)] * 8 + [(1, 1.5)] * 5, 8)])
def test_too_few_boxes(sizes, count):
    with pytest.raises(ValueError, match=rf"^{count} boxes .* too few to fit 9 anchors"):
        fit_anchors(np.array(sizes, np.float64).reshape(-1, 2), 9)


@pytest.mark.parametrize("options", [{"num_anchors": 0}, {"num_anchors": 2, "generations": -1}])
def test_numbers_out_of_range(options):
    with pytest.raises(ValueError, match=r"num_anchors .* generations"):
        fit_anchors(lognormal(10), **options)


@pytest.mark.parametrize("distinct", [[(3, 3)], [(10, 20), (100, 40), (400, 300)], [(7, 20), (7, 200)]])
def test_fewer_sizes_than_anchors(distinct):
    sizes = np.repeat(np.array(distinct, np.float64), 20, axis=0)
    fitted = fit_anchors(sizes, 9, generations=50)
    assert fitted.anchors_wh.shape == (9, 2)
    assert f"found {len(distinct)} groups for 9 anchors" in fitted.remark
    assert fitted.anchors_wh.min() >= 2
    assert measure_anchors(sizes, fitted.anchors_wh).best_possible_recall == 1


def test_tiny_boxes_leave_anchors_of_two_pixels():
    sizes = np.concatenate((np.full((50, 2), 0.5), np.tile([0.5, 2.5], (50, 1)), lognormal(100)))
    assert fit_anchors(sizes, 3, generations=50).anchors_wh.min() >= 2


def test_a_sample_of_many_boxes(monkeypatch):
    sizes = lognormal(3000)
    whole = fit_anchors(sizes, 9, generations=100).anchors_wh
    monkeypatch.setattr(anchors_module, "MAX_FITTED_BOXES", 1000)
    first, second = (fit_anchors(sizes, 9, generations=100).anchors_wh for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, whole)
    recalls = [measure_anchors(sizes, anchors).best_possible_recall for anchors in (first, whole)]
    assert recalls[0] == pytest.approx(recalls[1], abs=0.01)


def test_real_blood_cells_suit_the_published_anchors(shared: Path):
    sizes = box_sizes(YOLODataset(shared / "data" / "bccd", "train"), (320, 320))
    assert measure_anchors(jitter_sizes(sizes), ANCHORS_P5).best_possible_recall == 1
    assert measure_anchors(jitter_sizes(sizes), np.array(ANCHORS_P5) * 64).best_possible_recall == 0
