"""What the page holds is what the evaluation says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.metrics.make import make_data, random_rows
from tests.metrics.test_stored import make_evaluation
from tests.report.make import DETECTIONS, KINDS, TARGETS, write_run
from yolo_lightning.metrics import StoredEvaluation, evaluate
from yolo_lightning.metrics.errors import ERROR_KINDS, split_errors
from yolo_lightning.report import select_content
from yolo_lightning.report.content import badness
from yolo_lightning.report.pictures import shown_names


def test_figures_are_those_of_the_evaluation():
    evaluation = make_evaluation(40)
    figures = evaluate(evaluation.data)
    json = select_content(evaluation, "run").json
    (_, coco), (_, yolov5) = json["figures"]
    assert dict(coco)["mAP"] == figures["map"]
    assert dict(coco)["mAP50"] == figures["map_50"]
    assert dict(yolov5)["mAP"] == figures["yolov5_map"]
    assert dict(yolov5)["precision"] == figures["precision"]
    assert dict(yolov5)["recall"] == figures["recall"]
    assert json["costs"] == split_errors(evaluation.data).costs
    assert json["classes"]["labels"] == figures["num_instances_per_class"].tolist()
    assert json["classes"]["map"] == figures["map_per_class"].tolist()
    assert json["facts"][:2] == [["split", "val"], ["epoch", "3"]]


def test_what_has_no_value_is_null():
    """A class without labels, and areas without any."""
    json = select_content(make_evaluation(4, num_classes=9), "run").json
    assert None in json["classes"]["map"]
    assert dict(json["figures"][0][1])["mAP large"] is None


def test_badness(tmp_path: Path):
    evaluation = StoredEvaluation.load(write_run(tmp_path))
    errors = split_errors(evaluation.data)
    assert [("right" if kind == -1 else ERROR_KINDS[kind]) for kind in errors.kinds] == KINDS
    np.testing.assert_allclose(badness(evaluation.data, errors, 0.25), [1.5, 0.9, 1.4, 0], rtol=1e-6)
    np.testing.assert_allclose(badness(evaluation.data, errors, 0.05), [1.5, 0.9, 0.4, 0], rtol=1e-6)
    np.testing.assert_allclose(badness(evaluation.data, errors, 1.0), [2, 2, 1, 0])


@pytest.mark.parametrize("seed", range(4))
def test_missed_labels_of_all_detections_are_those_of_the_errors(seed: int):
    data = make_data(*random_rows(seed, num_images=8, crowd_share=0.2), num_images=8)
    errors = split_errors(data)
    wrong = np.bincount(data.image_index[errors.kinds >= 0], data.scores[errors.kinds >= 0], 8)
    missed = np.bincount(data.target_image_index[errors.missed], minlength=8)
    np.testing.assert_allclose(badness(data, errors, 0.0), wrong + missed)


def test_the_worst_images_are_kept(tmp_path: Path):
    evaluation = StoredEvaluation.load(write_run(tmp_path))
    content = select_content(evaluation, "run", max_images=2)
    assert content.images.tolist() == [0, 2]
    assert content.json["images"] == ["a/one.png", "b/three.png"]
    assert "worst 2 of 4 images" in content.notes[0]
    assert content.json["notes"] == list(content.notes)
    assert dict(content.json["figures"][0][1])["mAP"] == evaluate(evaluation.data)["map"]
    assert not select_content(evaluation, "run", max_images=4).notes


def test_the_most_confident_detections_are_kept(tmp_path: Path):
    evaluation = StoredEvaluation.load(write_run(tmp_path))
    content = select_content(evaluation, "run", most=3)
    assert "Only the 3 most confident of 8 detections" in content.notes[0]
    assert "0.700" in content.notes[0]
    assert (content.json["confidence"], content.json["least_confidence"]) == (0.7, 0.7)
    assert not select_content(evaluation, "run", most=8).notes


def test_thresholds_that_are_no_steps_of_the_slider(tmp_path: Path):
    evaluation = StoredEvaluation.load(write_run(tmp_path))
    for given, least in ((0.29, 0.29), (0.001, 0.0), (0.555, 0.55)):
        json = select_content(evaluation, "run", confidence_threshold=given).json
        assert json["least_confidence"] == least
        assert json["confidence"] == max(0.25, {0.29: 0.29, 0.001: 0.01, 0.555: 0.56}[given])


@pytest.mark.parametrize(
    ("detections", "targets"), [([], TARGETS), (DETECTIONS, []), ([], [])], ids=["undetected", "unlabelled", "empty"]
)
def test_nothing_detected_or_labelled(detections, targets, tmp_path: Path):
    evaluation = StoredEvaluation.load(write_run(tmp_path, detections, targets))
    json = select_content(evaluation, "run").json
    assert dict(json["figures"][1][1])["mAP"] == 0
    assert len(json["images"]) == 4


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ((), []),
        (("/home/me/data/a.png",), ["a.png"]),
        (("/home/me/data/a.png", "/home/me/data/b.png"), ["a.png", "b.png"]),
        (("/data/x/a.png", "/data/y/a.png"), ["x/a.png", "y/a.png"]),
        (("C:\\data\\x\\a.png", "C:\\data\\a.png"), ["x/a.png", "a.png"]),
        (("a.png", "/data/b.png"), ["a.png", "data/b.png"]),
        (("shape 0", "shape 1"), ["shape 0", "shape 1"]),
        (("", "/"), ["", "/"]),
    ],
)
def test_names_do_not_tell_where_the_data_is(recorded, shown):
    assert shown_names(recorded) == shown
