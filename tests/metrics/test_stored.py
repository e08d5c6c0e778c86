"""What is written is what is read, and what is damaged is told."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from yolo_lightning.errors import InputError
from yolo_lightning.metrics import EVALUATION_FILE, DetectionMetrics, StoredEvaluation, evaluate

NAMES = ("cat", "dog", "straße")


def make_evaluation(num_images: int = 6, seed: int = 0, num_classes: int = 3) -> StoredEvaluation:
    """Random labels, and detections near them."""
    generator = torch.Generator().manual_seed(seed)
    names = [NAMES[label] if label < len(NAMES) else f"class {label}" for label in range(num_classes)]
    metrics = DetectionMetrics(names)
    for image in range(num_images):
        count = image % 4
        corners = torch.rand(count, 2, generator=generator) * 80
        boxes = torch.cat([corners, corners + 5 + torch.rand(count, 2, generator=generator) * 15], 1)
        labels = torch.randint(0, num_classes, (count,), generator=generator)
        found = {
            "boxes": boxes + torch.rand(count, 4, generator=generator),
            "scores": torch.rand(count, generator=generator),
            "labels": labels,
        }
        crowd = torch.zeros(count, dtype=torch.uint8)
        metrics.update([found], [{"boxes": boxes, "labels": labels, "iscrowd": crowd}], [10 + image])
    metrics.compute()
    assert metrics.evaluated is not None
    return StoredEvaluation(
        metrics.evaluated,
        tuple(names),
        tuple(f"images/{index}.png" for index in range(num_images)),
        np.arange(10, 10 + num_images),
        np.full((num_images, 2), 100),
        "val",
        3,
    )


@pytest.mark.parametrize("num_images", [1, 6, 40])
def test_round_trip(num_images: int, tmp_path: Path):
    evaluation = make_evaluation(num_images)
    evaluation.save(tmp_path / EVALUATION_FILE)
    again = StoredEvaluation.load(tmp_path)
    for field in fields(evaluation.data):
        ours, theirs = getattr(evaluation.data, field.name), getattr(again.data, field.name)
        np.testing.assert_array_equal(ours, theirs)
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype
    assert (again.class_names, again.images, again.split, again.epoch) == (
        evaluation.class_names,
        evaluation.images,
        "val",
        3,
    )
    np.testing.assert_array_equal(again.image_ids, evaluation.image_ids)
    ours, theirs = evaluate(evaluation.data), evaluate(again.data)
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert [path.name for path in tmp_path.iterdir()] == [EVALUATION_FILE]


def test_no_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"evaluation.npz does not exist: .*validate"):
        StoredEvaluation.load(tmp_path)


def test_damaged_files(tmp_path: Path):
    file = tmp_path / EVALUATION_FILE
    make_evaluation().save(file)
    whole = file.read_bytes()
    for content in (b"", b"text", whole[:100], whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(InputError, match="damaged or no evaluation"):
            StoredEvaluation.load(file)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("labels", np.array([7], dtype=np.int32)),
        ("boxes", np.zeros((2, 3), dtype=np.float32)),
        ("scores", np.array([{}], dtype=object)),
        ("image_index", np.array([-1], dtype=np.int32)),
        ("image_sizes", np.zeros((1, 2))),
    ],
)
def test_contents_that_do_not_fit(name: str, value: np.ndarray, tmp_path: Path):
    file = tmp_path / EVALUATION_FILE
    make_evaluation().save(file)
    with np.load(file) as archive:
        arrays = dict(archive)
    np.savez(file, **{**arrays, name: value})
    with pytest.raises(InputError, match="damaged or no evaluation"):
        StoredEvaluation.load(file)
