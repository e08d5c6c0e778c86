"""The file of an operating point: round trip, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from yolo_lightning.errors import InputError
from yolo_lightning.operating_point import (
    ClassThreshold,
    Evaluation,
    Measurement,
    OperatingPoint,
    Suppression,
    Target,
    WeightsFile,
    operating_point_path,
)

FULL = Measurement(20, 12, 0.75, (0.5, 0.9), 0.45, (0.2, 0.6))
EMPTY = Measurement(0, 0, None, None, None, None)
POINT = OperatingPoint(
    target=Target("precision", 0.9, conservative=True),
    classes=(
        ClassThreshold('Köter "x"', 0.8999999, (0.5, 0.95), True, False, FULL),
        ClassThreshold("cat", 0.25, None, False, True, EMPTY),
    ),
    pooled=ClassThreshold("all classes", 0.25, (0.2, 0.3), True, False, FULL),
    overall=FULL,
    evaluation=Evaluation("data.yaml", "val", 5, 0.5, 10, 1000, 0),
    suppression=Suppression(0.6, 300, True, False),
    weights=WeightsFile("best.ckpt", "0" * 64),
)
NAMES = ['Köter "x"', "cat"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "best.operating_point.json"


@pytest.mark.parametrize("point", [
    POINT,
    dataclasses.replace(POINT, suppression=None, weights=None, classes=()),
    dataclasses.replace(POINT, target=Target("f_beta", 2), weights=WeightsFile("yolov5n.pt")),
    dataclasses.replace(POINT, evaluation=dataclasses.replace(POINT.evaluation, data=None)),
])  # fmt: skip
def test_round_trip(point, path):
    point.save(path)
    assert OperatingPoint.load(path) == point
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_thresholds_belong_to_names():
    assert POINT.thresholds(NAMES) == (0.8999999, 0.25)
    with pytest.raises(InputError, match=r"has 2 classes but the network 1: .*--operating_point"):
        POINT.thresholds(NAMES[:1])
    with pytest.raises(InputError, match="class 0 of the operating point is 'Köter \"x\"', but 'cat' in the network"):
        POINT.thresholds(NAMES[::-1])


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("runs/fit/checkpoints/best.ckpt", "runs/fit/checkpoints/best.operating_point.json"),
        ("best.safetensors", "best.operating_point.json"),
        ("/models/yolov5n.v2.pt", "/models/yolov5n.v2.operating_point.json"),
    ],
)
def test_place(weights, expected):
    assert operating_point_path(weights).as_posix() == expected


def test_changed_weights_are_noticed(tmp_path):
    weights, sibling = tmp_path / "best.ckpt", tmp_path / "best.safetensors"
    weights.write_bytes(b"before")
    sibling.write_bytes(b"the same in another form")
    point = dataclasses.replace(POINT, weights=WeightsFile.of(weights))
    assert point.doubt(weights) is None
    assert point.doubt(sibling) is None
    weights.write_bytes(b"after")
    assert "best.ckpt has changed" in str(point.doubt(weights))
    for unknown in (None, WeightsFile("best.ckpt")):
        assert dataclasses.replace(POINT, weights=unknown).doubt(weights) is None


def test_an_operating_point_is_replaced_and_nothing_else(path):
    POINT.save(path)
    other = dataclasses.replace(POINT, weights=None)
    other.save(path)
    assert OperatingPoint.load(path) == other
    for content in ("my notes", '{"format": "mine"}', "[]", ""):
        path.write_text(content)
        with pytest.raises(InputError, match=r"best.operating_point.json is no"):
            POINT.save(path)
        assert path.read_text() == content


def test_one_of_a_later_version_is_replaced_but_not_read(path):
    POINT.save(path)
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(InputError, match="of another version; this release reads version 1"):
        OperatingPoint.load(path)
    POINT.save(path)
    assert OperatingPoint.load(path) == POINT


def test_missing_and_unreadable_files(path, tmp_path):
    with pytest.raises(InputError, match=r"does not exist: choose an operating point with `yolo-lightning validate"):
        OperatingPoint.load(path)
    with pytest.raises(InputError, match="not a plain file"):
        OperatingPoint.load(tmp_path)
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a plain file"):
        OperatingPoint.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"1" * 5000, "is no JSON"),
        (b"null", "is no operating point"),
        (b"{}", "is no operating point"),
        (b'{"format": 3}', "is no operating point"),
        (b'{"format": NaN}', "NaN is no number"),
        (b"\x80\x04\x95\x00", "is no JSON"),
    ],
)
def test_other_files_are_refused(content, message, path):
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        OperatingPoint.load(path)


def change(content, keys, value):
    *parents, last = keys
    for key in parents:
        content = content[key]
    if value is KeyError:
        del content[last]
    else:
        content[last] = value


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["classes"], KeyError, "classes is missing"),
        (["extra"], 1, "extra is unknown"),
        (["version"], "1", "another version"),
        (["classes"], {}, r"classes is \{\}, expected a list"),
        (["classes", 0], [], r"classes\[0\] is \[\], expected name, threshold"),
        (["classes", 0, "threshold"], "0.5", r"classes\[0\].threshold is '0.5', expected a number"),
        (["classes", 0, "threshold"], True, r"classes\[0\].threshold is True, expected a number"),
        (["classes", 0, "threshold"], None, r"classes\[0\].threshold is None, expected a number"),
        (["classes", 0, "threshold"], 1.5, r"classes\[0\]: threshold is 1.5; it must be between 0 and 1"),
        (["classes", 0, "threshold"], -1, r"threshold is -1.0; it must be between 0 and 1"),
        (["classes", 0, "threshold"], 10**400, r"threshold is too large"),
        (["classes", 0, "threshold_interval"], [0.1], r"threshold_interval has 1 elements, expected 2"),
        (["classes", 0, "threshold_interval"], [0.9, 0.1], "wrong order"),
        (["classes", 1, "name"], 7, r"classes\[1\].name is 7, expected a text"),
        (["classes", 1, "reached"], 1, r"reached is 1, expected true or false"),
        (["classes", 1, "measured", "num_labels"], 1.0, r"classes\[1\].measured.num_labels is 1.0, expected a whole"),
        (["classes", 1, "measured", "num_labels"], -1, "a count is negative"),
        (["overall", "precision"], 2, r"overall: precision is 2.0"),
        (["target", "metric"], "luck", "target.metric is 'luck', expected 'precision' or 'recall' or 'f_beta'"),
        (["target", "metric"], [], r"target.metric is \[\]"),
        (["target", "value"], 0, "target: precision is 0.0; it must be above 0"),
        (["suppression", "iou_threshold"], 3, "suppression: iou_threshold is 3.0"),
        (["weights", "sha256"], 0, "weights.sha256 is 0, expected a text"),
    ],
)
def test_unsound_files_are_refused(keys, value, message, path):
    POINT.save(path)
    content = json.loads(path.read_text())
    change(content, keys, value)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        OperatingPoint.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_what_is_no_number_is_refused(number, path):
    POINT.save(path)
    path.write_text(path.read_text().replace("0.8999999", number))
    with pytest.raises(InputError, match=r"is no number|is inf; it must be between"):
        OperatingPoint.load(path)


def test_a_directory_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="none"):
        POINT.save(tmp_path / "none" / "best.operating_point.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("precision", 0.0), "precision is 0.0; it must be above 0 and at most 1"),
        (("recall", 1.5), "recall is 1.5"),
        (("recall", float("nan")), "recall is nan"),
        (("f_beta", 0.0), "f_beta is 0.0; it must be above 0"),
        (("f_beta", float("inf")), "f_beta is inf"),
        (("f_beta", 1.0, True), "conservative is for a wanted precision or recall"),
    ],
)
def test_bad_targets_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Target(*arguments)


def test_it_needs_no_torch():
    code = "import sys, yolo_lightning.operating_point; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
