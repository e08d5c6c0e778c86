"""Training samples of real images have the distributions that were measured on YOLOv5."""

import json
from math import hypot

import cv2
import numpy as np
import pytest

from yolo_lightning.data.augment import YOLOv5Augmentation
from yolo_lightning.data.cache import CachedImages
from yolo_lightning.data.datasets import YOLODataset
from yolo_lightning.types import SampleKey

RECIPES = {"scratch-low": {}, "scratch-high": {"scale": 0.9, "mixup": 0.1}}


def draw_samples(dataset, recipe, size, num_samples):
    """Figures of each sample, and boxes and labels of all of them."""
    transform = YOLOv5Augmentation(**RECIPES[recipe])
    boxes, labels, counts, means, deviations, grey = [], [], [], [], [], []
    for number in range(num_samples):
        epoch, index = divmod(number, len(dataset))
        sample = transform(dataset, SampleKey(index, (size, size), epoch))
        boxes.append(sample.boxes / size)
        labels.append(sample.labels)
        counts.append(len(sample.boxes))
        mean, deviation = cv2.meanStdDev(sample.image)
        means.append(mean[:, 0])
        deviations.append(deviation[:, 0])
        red, green, blue = cv2.split(sample.image)
        grey.append(((red == green) & (green == blue)).mean())
    return np.concatenate(boxes), np.concatenate(labels), *map(np.array, (counts, means, deviations, grey))


def assert_mean(ours, reference, deviation, num_ours, num_reference):
    """Within 4 standard errors of the difference, or 3 %."""
    error = deviation * hypot(num_ours**-0.5, num_reference**-0.5)
    assert np.mean(ours, 0) == pytest.approx(reference, abs=max(4 * np.max(error), 0.03 * np.min(reference)))


def compare(shared, golden, name, num_samples, slack):
    recipe, size = name.split("@")
    reference = json.loads((golden / "augmentation_bccd.json").read_text())[name]
    dataset = CachedImages(YOLODataset(shared / "data/bccd/data.yaml", "train", progress=False), (int(size), int(size)))
    num_samples = num_samples or reference["samples"]
    boxes, labels, counts, means, deviations, grey = draw_samples(dataset, recipe, int(size), num_samples)
    numbers = (num_samples, reference["samples"])

    per_sample = reference["boxes_per_sample"]
    assert_mean(counts, per_sample["mean"], per_sample["std"], *numbers)
    assert counts.std() == pytest.approx(per_sample["std"], rel=0.05 * slack)
    for axis, side in enumerate(("width", "height")):
        quantiles = reference[f"{side}_quantiles"]
        ours = np.quantile(boxes[:, 2 + axis] - boxes[:, axis], [float(share) for share in quantiles])
        np.testing.assert_allclose(ours, list(quantiles.values()), rtol=0.05 * slack)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    np.testing.assert_allclose(centres.mean(0), reference["centre_mean"], rtol=0.03 * slack)
    np.testing.assert_allclose(centres.std(0), reference["centre_std"], rtol=0.03 * slack)
    shares = np.bincount(labels, minlength=3) / len(labels)
    np.testing.assert_allclose(shares, reference["class_share"], atol=0.005 * slack)

    between = np.array(reference["pixel_mean_rgb_std_between_samples"])
    assert_mean(means, np.array(reference["pixel_mean_rgb"]), between, *numbers)
    np.testing.assert_allclose(means.std(0), between, rtol=0.05 * slack)
    assert_mean(deviations, np.array(reference["pixel_std_rgb"]), deviations.std(0), *numbers)
    assert grey.mean() == pytest.approx(reference["grey_pixel_share"]["mean"], rel=0.15 * slack)


@pytest.mark.parametrize("name", ["scratch-low@320", "scratch-high@320"])
def test_a_few_samples(shared, golden, name):
    compare(shared, golden, name, num_samples=820, slack=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scratch-low@320", "scratch-low@640", "scratch-high@320", "scratch-high@640"])
def test_as_many_samples_as_the_reference(shared, golden, name):
    compare(shared, golden, name, num_samples=None, slack=1)
