"""The accumulator: order, processes, empty and wrong input."""

from __future__ import annotations

import re
import socket

import numpy as np
import pytest
import torch
from torch import multiprocessing

from yolo_lightning.metrics import DetectionMetrics
from yolo_lightning.types import Detections

CLASS_NAMES = ("circle", "square", "star")
NUM_IMAGES = 23


def random_image(index):
    """Detections and labels of one image; every fifth has neither."""
    rng = np.random.default_rng(index)
    count = 0 if index % 5 == 4 else int(rng.integers(1, 7))
    corners = rng.uniform(0, 200, (count, 2))
    boxes = torch.from_numpy(np.hstack((corners, corners + rng.uniform(5, 90, (count, 2))))).float()
    labels = torch.from_numpy(rng.integers(0, len(CLASS_NAMES), count))
    scores = torch.from_numpy(np.round(rng.random(count), 1)).float()
    found = Detections(boxes + torch.from_numpy(rng.normal(0, 3, (count, 4))).float(), scores, labels)
    return found, {"boxes": boxes, "labels": labels, "iscrowd": torch.from_numpy(rng.random(count) < 0.1)}


def evaluate(batches, **options):
    """The result of batches of image indices."""
    metric = DetectionMetrics(CLASS_NAMES, **options)
    add(metric, batches)
    return metric.compute()


def add(metric, batches):
    for batch in batches:
        detections, targets = zip(*(random_image(i) for i in batch), strict=True)
        metric.update(detections, targets, batch)


def assert_same(result, expected):
    """Equal to the last bit."""
    assert result.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(result[key], value, err_msg=key)


@pytest.fixture(scope="module")
def expected():
    return evaluate([range(NUM_IMAGES)])


@pytest.mark.parametrize("batch_size", [1, 4, NUM_IMAGES])
def test_order_and_batches_do_not_matter(expected, batch_size):
    order = np.random.default_rng(0).permutation(NUM_IMAGES).tolist()
    batches = [order[i : i + batch_size] for i in range(0, NUM_IMAGES, batch_size)]
    assert_same(evaluate(batches), expected)


def test_numbers_images_as_they_come_by_default(expected):
    metric = DetectionMetrics(CLASS_NAMES)
    for index in range(NUM_IMAGES):
        metric.update(*([item] for item in random_image(index)))
    assert_same(metric.compute(), expected)


def test_goes_on_after_compute_and_starts_anew_after_reset(expected):
    metric = DetectionMetrics(CLASS_NAMES)
    add(metric, [range(10)])
    metric.compute()
    add(metric, [range(10, NUM_IMAGES)])
    assert_same(metric.compute(), expected)
    metric.reset()
    add(metric, [range(NUM_IMAGES)])
    assert_same(metric.compute(), expected)


def test_result_is_flat_with_plain_numbers(expected):
    numbers = {key for key, value in expected.items() if isinstance(value, float)}
    assert {
        "map",
        "map_50",
        "mar_100",
        "yolov5_map",
        "yolov5_map_50",
        "precision",
        "recall",
        "f1",
        "fitness",
    } <= numbers
    assert expected["num_images"] == NUM_IMAGES
    assert expected["map_per_class"].shape == (3,)
    assert expected["confusion_matrix"].shape == (4, 4)
    assert evaluate([[0]])["map_per_class"].shape == (3,)


def test_a_single_class_keeps_its_arrays():
    metric = DetectionMetrics(["thing"])
    metric.update(
        [{"boxes": [[0, 0, 9, 9]], "scores": [0.9], "labels": [0]}], [{"boxes": [[0, 0, 9, 9]], "labels": [0]}]
    )
    assert metric.compute()["precision_per_class"].shape == (1,)


def test_no_images_at_all():
    with pytest.warns(UserWarning, match="before the ``update``"):
        result = DetectionMetrics(CLASS_NAMES).compute()
    assert result["map"] == -1.0
    assert (result["yolov5_map"], result["precision"], result["fitness"], result["num_images"]) == (0, 0, 0, 0)
    assert not result["confusion_matrix"].any()


def test_states_are_not_part_of_a_checkpoint():
    metric = DetectionMetrics(CLASS_NAMES)
    add(metric, [range(3)])
    assert metric.state_dict() == {}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def evaluate_in_process(rank, world_size, port, shards, folder):
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    metric = DetectionMetrics(CLASS_NAMES)
    for name, batches in shards[rank].items():
        metric.reset()
        add(metric, batches)
        try:
            np.savez(folder / f"{name}_{rank}.npz", **metric.compute())
        except ValueError as error:
            (folder / f"{name}_{rank}.txt").write_text(str(error))
        assert sum(map(len, metric.image_ids)) == sum(map(len, batches))  # its own images again
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one(expected, tmp_path):
    everything = list(range(NUM_IMAGES))
    cases = {
        "strided": ([everything[::2]], [everything[1::2]]),
        "batches": (
            [everything[:4], everything[8:12], everything[16:20]],
            [everything[4:8], everything[12:16], [20, 21, 22]],
        ),
        "first_has_none": ([], [everything]),
        "last_has_none": ([everything], []),
        "last_has_empty_images": ([[i for i in everything if i % 5 != 4]], [[4], [9, 14, 19]]),
        "padded": ([everything[::2]], [[*everything[1::2], 0]]),
        "nobody_has_any": ([], []),
    }
    shards = [{name: case[rank] for name, case in cases.items()} for rank in range(2)]
    multiprocessing.spawn(evaluate_in_process, (2, free_port(), shards, tmp_path), nprocs=2)
    for name in cases.keys() - {"padded", "nobody_has_any"}:
        for rank in range(2):
            with np.load(tmp_path / f"{name}_{rank}.npz", allow_pickle=False) as result:
                assert_same(dict(result), expected)
    for rank in range(2):
        assert "first [0]" in (tmp_path / f"padded_{rank}.txt").read_text()
        with np.load(tmp_path / f"nobody_has_any_{rank}.npz", allow_pickle=False) as result:
            assert result["num_images"] == 0


def test_an_image_that_comes_twice_is_an_error():
    metric = DetectionMetrics(CLASS_NAMES)
    add(metric, [[3, 1], [2, 1, 3]])
    with pytest.raises(ValueError, match=re.escape("2 images were evaluated more than once, first [1, 3]")):
        metric.compute()


DETECTION = {"boxes": [[0, 0, 9, 9]], "scores": [0.9], "labels": [0]}
TARGET = {"boxes": [[0, 0, 9, 9]], "labels": [0]}


@pytest.mark.parametrize(
    ("detections", "targets", "message"),
    [
        ([], [TARGET], "0 images of detections but 1 of targets"),
        ([{"boxes": []}], [TARGET], "need 'scores', found only ['boxes']"),
        (
            [DETECTION | {"boxes": [[0, 0, 9]]}],
            [TARGET],
            "detection_boxes of an image must be (n, 4) xyxy, found (1, 3)",
        ),
        ([DETECTION | {"scores": [0.9, 0.8]}], [TARGET], "detection_scores of an image must be (1,)"),
        ([DETECTION], [TARGET | {"labels": [[0]]}], "target_labels of an image must be (1,)"),
        ([DETECTION], [TARGET | {"area": []}], "target_areas of an image must be (1,)"),
    ],
)
def test_wrong_input_names_the_field_and_leaves_no_trace(detections, targets, message):
    metric = DetectionMetrics(CLASS_NAMES)
    with pytest.raises(ValueError, match=re.escape(message)):
        metric.update(detections, targets)
    metric.update([DETECTION], [TARGET])
    assert metric.compute()["num_images"] == 1


@pytest.mark.parametrize(
    ("detection", "target", "message"),
    [
        (DETECTION | {"labels": [3]}, TARGET, "image 17: a detection has label 3, but there are 3 classes"),
        (DETECTION, TARGET | {"labels": [-1]}, "image 17: a target has label -1, but there are 3 classes"),
        (DETECTION | {"scores": [float("nan")]}, TARGET, "image 17: the score of a detection is not a number"),
    ],
)
def test_wrong_values_name_the_image(detection, target, message):
    metric = DetectionMetrics(CLASS_NAMES)
    add(metric, [[2]])
    metric.update([detection], [target], [17])
    with pytest.raises(ValueError, match=re.escape(message)):
        metric.compute()


def test_needs_class_names():
    with pytest.raises(ValueError, match="at least one class name"):
        DetectionMetrics([])


def test_boxes_that_are_no_numbers_match_nothing():
    metric = DetectionMetrics(CLASS_NAMES)
    metric.update([DETECTION | {"boxes": [[0, 0, float("nan"), float("inf")]]}], [TARGET])
    result = metric.compute()
    assert (result["map"], result["yolov5_map"], result["recall"]) == (0, 0, 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_takes_any_floating_point_type(dtype):
    metric = DetectionMetrics(CLASS_NAMES)
    found = Detections(torch.tensor([[0, 0, 9, 9]], dtype=dtype), torch.tensor([0.5], dtype=dtype), torch.tensor([0]))
    metric.update([found], [TARGET])
    assert metric.compute()["yolov5_map"] == pytest.approx(0.995)
