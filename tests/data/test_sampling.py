"""How often images come."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from yolo_lightning.data import (
    ClassBalancedSampling,
    RepeatFactorSampling,
    SingleClass,
    TrainBatchSampler,
    YOLOv5Augmentation,
)
from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.canvases import FixedCanvas


class Labels(DetectionDataset):
    """Images of given labels."""

    def __init__(self, labels, num_classes=3):
        self.labels = [np.array(own, np.int64) for own in labels]
        self.class_names = tuple(f"class {number}" for number in range(num_classes))

    def __len__(self):
        return len(self.labels)

    def path(self, index):
        return f"picture {index}"

    def image_size(self, index):
        return 10, 20

    def annotations(self, index):
        return np.ones((len(self.labels[index]), 4), np.float32), self.labels[index]

    def outlines(self, index):
        return [np.full((3, 2), index, np.float32) for _ in self.labels[index]]

    def read_image(self, index, long_side=None):
        return np.full((10, 20, 3), index, np.uint8)


# 0 in nine images of ten, 1 in two, 2 in one; the last is background
IMAGES = [[0], [0, 0, 0], [0], [0, 1], [0], [0, 1, 1], [0], [0, 2], [0], []]


def draws(sampling, count, seed=0):
    return [sampling.draw(np.random.default_rng((seed, epoch))) for epoch in range(count)]


def frequencies(sampling, count=2000):
    counts = np.bincount(np.concatenate(draws(sampling, count)), minlength=len(IMAGES))
    return counts / count


@pytest.mark.parametrize("labels", [[], [[], [], []]])
def test_without_labels_each_image_comes_once(labels):
    sampling = RepeatFactorSampling(Labels(labels), threshold=0.5)
    assert sampling.num_samples == len(labels)
    assert sampling.draw(np.random.default_rng(0)).tolist() == list(range(len(labels)))


def test_repeat_factors_are_those_of_the_rarest_class():
    sampling = RepeatFactorSampling(Labels(IMAGES), threshold=0.4)
    expected = [1, 1, 1, np.sqrt(2), 1, np.sqrt(2), 1, 2, 1, 1]
    assert sampling.factors == pytest.approx(expected)
    assert sampling.num_samples == round(sum(expected))


@pytest.mark.parametrize("threshold", [1e-4, 0.1])
def test_nothing_is_repeated_below_the_threshold(threshold):
    sampling = RepeatFactorSampling(Labels(IMAGES), threshold=threshold)
    assert sampling.draw(np.random.default_rng(0)).tolist() == list(range(10))


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, float("nan")])
def test_a_threshold_is_a_fraction(threshold):
    with pytest.raises(ValueError, match=r"sampling\.threshold"):
        RepeatFactorSampling(Labels(IMAGES), threshold=threshold)


def test_an_image_comes_as_often_as_its_factor_says():
    sampling = RepeatFactorSampling(Labels(IMAGES), threshold=0.4)
    factors, parts = sampling.factors, sampling.factors % 1
    expected = np.floor(factors) + parts * round(parts.sum()) / parts.sum()
    assert frequencies(sampling) == pytest.approx(expected, abs=0.05)
    for drawn in draws(sampling, 50):
        counts = Counter(drawn.tolist())
        assert len(drawn) == sampling.num_samples
        assert all(np.floor(factor) <= counts[index] <= np.ceil(factor) for index, factor in enumerate(factors))


def test_a_large_set_keeps_its_length_and_its_frequencies():
    generator = np.random.default_rng(4)
    labels = [[0, *generator.choice(20, 2, p=np.arange(20) / 190)] for _ in range(3000)]
    sampling = RepeatFactorSampling(Labels(labels, 20), threshold=0.2)
    drawn = draws(sampling, 300)
    assert {len(one) for one in drawn} == {sampling.num_samples} == {round(sampling.factors.sum())}
    counts = np.bincount(np.concatenate(drawn), minlength=3000) / 300
    assert counts.mean() == pytest.approx(sampling.factors.mean(), rel=1e-3)
    rare = sampling.factors > 1.5
    assert counts[rare].mean() == pytest.approx(sampling.factors[rare].mean(), rel=0.01)


def test_class_weights_are_the_inverse_number_of_boxes():
    # 11 boxes of 0, 3 of 1, 1 of 2
    inverse = np.array([1 / 11, 1 / 3, 1])
    weights = [sum(inverse[label] for label in labels) for labels in IMAGES]
    sampling = ClassBalancedSampling(Labels(IMAGES))
    assert sampling.num_samples == 10
    assert sampling.image_weights == pytest.approx(np.array(weights) / sum(weights))
    assert frequencies(sampling) == pytest.approx(10 * sampling.image_weights, abs=0.1)


def test_badly_detected_classes_come_more_often():
    sampling = ClassBalancedSampling(Labels(IMAGES))
    before = sampling.image_weights
    sampling.average_precision = [0.5, 0.0, 1.0]
    weights = np.array([sum((0.25 / 11, 1 / 3, 0)[label] for label in labels) for labels in IMAGES])
    assert sampling.image_weights == pytest.approx(weights / weights.sum())
    assert sampling.image_weights[3] > before[3]
    sampling.average_precision = [1.0, 1.0, 1.0]  # nothing is left to learn
    assert sampling.image_weights == pytest.approx(0.1)


def test_a_class_without_validation_labels_counts_as_the_mean():
    sampling, other = (ClassBalancedSampling(Labels(IMAGES)) for _ in range(2))
    sampling.average_precision = [0.2, float("nan"), 0.6]
    other.average_precision = [0.2, 0.4, 0.6]
    assert sampling.image_weights == pytest.approx(other.image_weights)
    sampling.average_precision = [float("nan")] * 3
    assert sampling.image_weights == pytest.approx(ClassBalancedSampling(Labels(IMAGES)).image_weights)


@pytest.mark.parametrize("make", [RepeatFactorSampling, ClassBalancedSampling])
def test_draws_follow_from_the_generator(make):
    dataset = Labels(IMAGES * 5)
    one, other = make(dataset), make(dataset)
    for first, second in zip(draws(one, 3), draws(other, 3), strict=True):
        assert first.tolist() == second.tolist()


def test_balanced_sampling_of_background():
    assert ClassBalancedSampling(Labels([[], []])).image_weights.tolist() == [0.5, 0.5]


def test_single_class():
    dataset = SingleClass(Labels(IMAGES))
    assert dataset.class_names == ("object",)
    assert len(dataset) == 10
    boxes, labels = dataset.annotations(5)
    assert (len(boxes), labels.tolist(), labels.dtype) == (3, [0, 0, 0], np.int64)
    assert dataset.annotations(9)[1].tolist() == []
    assert (dataset.path(5), dataset.image_size(5)) == ("picture 5", (10, 20))
    assert dataset.read_image(5)[0, 0, 0] == 5
    assert [points[0, 0] for points in dataset.outlines(5)] == [5, 5, 5]
    assert dataset[3].labels.tolist() == [0, 0]
    assert dataset.dataset.annotations(5)[1].tolist() == [0, 1, 1]  # which is as it was


def test_the_only_name_is_kept():
    assert SingleClass(Labels(IMAGES, num_classes=1)).class_names == ("class 0",)


@pytest.mark.parametrize("options", [{}, {"mosaic9": 1.0, "mixup": 1.0}])
def test_mosaics_are_made_of_the_images_of_the_epoch(options):
    """Background is never drawn by class balance, and is in no mosaic either."""
    dataset = Labels([[0], *[[]] * 50, [1], [2]])
    read: list[int] = []
    dataset.read_image = lambda index, long_side=None: read.append(index) or np.zeros((10, 20, 3), np.uint8)
    augment = YOLOv5Augmentation(mosaic=1.0, **options)

    def images_read(sampling):
        sampler = TrainBatchSampler(len(dataset), 4, FixedCanvas((32, 32)), sampling=sampling)
        keys = [key for batch in sampler for key in batch]
        assert keys == [key for batch in sampler for key in batch], "a pure function of seed and epoch"
        read.clear()
        for key in keys:
            augment(dataset, key)
        return set(read)

    assert images_read(ClassBalancedSampling(dataset)) == {0, 51, 52}
    assert images_read(None) == set(range(53)), "without sampling, of all"
