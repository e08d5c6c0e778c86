"""Detections as COCO's records."""

from __future__ import annotations

import json

import numpy as np
import pytest

from yolo_lightning.coco import (
    COCO_NAMES,
    category_ids,
    coco_categories,
    coco_records,
    image_id,
    image_ids,
    relative_names,
    shortest_floats,
)


def test_category_ids():
    assert category_ids([]) == ()
    assert category_ids(["cat", "dog"]) == (0, 1)
    ids = category_ids(list(COCO_NAMES))
    known = {"person": 1, "stop sign": 13, "backpack": 27, "dining table": 67, "toilet": 70, "toothbrush": 90}
    assert {name: ids[COCO_NAMES.index(name)] for name in known} == known
    assert len(set(ids)) == 80
    assert coco_categories(["cat", "dog"]) == [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("000000000139.jpg", 139),
        ("/a/b/7.tar.png", "7.tar"),
        ("bus.jpg", "bus"),
        ("-3.jpg", "-3"),
        ("²³.jpg", "²³"),
        ("1_2.jpg", "1_2"),
    ],
)
def test_image_id(name: str, expected: int | str):
    assert image_id(name) == expected


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], []),
        (["/d/01.jpg", "/d/2.jpg"], [1, 2]),
        (["/d/01.jpg", "/d/b.jpg"], ["01", "b"]),  # of one type: pycocotools sorts them
        (["/d/01.jpg", "/d/1.jpg"], ["01", "1"]),
        (["/d/a.jpg", "/d/a.png"], ["a.jpg", "a.png"]),
        (["/d/x/1.jpg", "/d/y/1.jpg", "/d/y/z/2.jpg"], ["x/1.jpg", "y/1.jpg", "y/z/2.jpg"]),
        (["shapes-1", "shapes-2"], ["shapes-1", "shapes-2"]),
    ],
)
def test_image_ids(paths: list[str], expected: list[int | str]):
    assert image_ids(paths) == expected


def test_relative_names():
    assert relative_names([]) == []
    assert relative_names(["/d/a.jpg", "/d/e/b.jpg"]) == ["a.jpg", "e/b.jpg"]
    assert relative_names(["a", "/b"]) == ["a", "/b"]


def test_records():
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    assert coco_records(1, *empty, (5,)) == []
    boxes = np.array([[10.1, 20.25, 30.7, 60]], np.float32)
    records = coco_records("a", boxes, np.array([0.1], np.float32), np.array([1]), (1, 3))
    wanted = '[{"image_id": "a", "category_id": 3, "bbox": [10.1, 20.25, 20.6, 39.75], "score": 0.1}]'
    assert json.dumps(records) == wanted


def test_shortest_floats_are_exact():
    assert shortest_floats(np.zeros(0, np.float32)) == []
    values = np.random.default_rng(0).random(1000).astype(np.float32) * np.float32(1e-3)
    assert np.array_equal(np.array(shortest_floats(values), np.float32), values)
    assert max(len(repr(value)) for value in shortest_floats(values)) < 20
