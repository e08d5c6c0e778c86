"""``yolo-lightning report``: the file that it writes, and what it leaves alone."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.report.make import DETECTIONS, NAMES, TARGETS, Page, write_run
from yolo_lightning.cli import main
from yolo_lightning.metrics import StoredEvaluation
from yolo_lightning.metrics.errors import split_errors


@pytest.fixture
def report(capsys, monkeypatch):
    """Runs the tool; gives its exit status and what it printed."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        status = main(["report", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_page_holds_the_evaluation(report, tmp_path):
    run = write_run(tmp_path)
    before = contents(tmp_path)
    status, text = report(run)
    assert status == 0, text
    assert text.startswith(str(run / "report.html"))
    after = contents(tmp_path)
    assert after.pop("my run/report.html")
    assert after == before

    page, evaluation = Page(run / "report.html"), StoredEvaluation.load(run)
    data, errors = evaluation.data, split_errors(evaluation.data)
    shown = data.scores >= 0.05
    assert page.data["title"] == "my run"
    assert page.data["class_names"] == list(NAMES)
    assert page.data["images"] == ["a/one.png", "a/two.png", "b/three.png", "b/four.png"]
    np.testing.assert_array_equal(page.array("sizes").reshape(-1, 2), evaluation.image_sizes)
    np.testing.assert_array_equal(
        page.array("detections", "boxes").reshape(-1, 4), data.boxes[shown].astype(np.float32)
    )
    np.testing.assert_array_equal(page.array("detections", "scores"), data.scores[shown].astype(np.float32))
    np.testing.assert_array_equal(page.array("detections", "labels"), data.labels[shown])
    np.testing.assert_array_equal(page.array("detections", "images"), data.image_index[shown])
    np.testing.assert_array_equal(page.array("detections", "kinds"), errors.kinds[shown])
    np.testing.assert_array_equal(page.array("detections", "targets"), errors.targets[shown])
    np.testing.assert_allclose(page.array("detections", "ious"), errors.ious[shown], rtol=1e-6)
    np.testing.assert_array_equal(page.array("targets", "boxes").reshape(-1, 4), data.target_boxes)
    np.testing.assert_array_equal(page.array("targets", "labels"), data.target_labels)
    np.testing.assert_array_equal(page.array("targets", "images"), data.target_image_index)
    np.testing.assert_array_equal(page.array("targets", "areas"), data.target_areas)
    pictures = page.pictures()
    assert len(pictures) == 4
    for picture in pictures:
        assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).shape == (200, 200, 3)


def test_the_same_run_gives_the_same_page(report, tmp_path):
    run = write_run(tmp_path)
    report(run)
    first = (run / "report.html").read_bytes()
    report(run)
    assert (run / "report.html").read_bytes() == first
    assert sorted(path.name for path in run.iterdir()) == ["evaluation.npz", "report.html"]


def test_options(report, tmp_path):
    run, output = write_run(tmp_path), tmp_path / "page.html"
    options = ("--output", output, "--image-size", "64", "--confidence-threshold", "0.35", "--max-images", "2")
    status, text = report(run / "evaluation.npz", *options, "--most", "3")
    assert status == 0
    assert "worst 2 of 4 images" in text
    assert "Only the 3 most confident of 4 detections" in text
    page = Page(output)
    assert page.data["images"] == ["a/one.png", "b/three.png"]
    np.testing.assert_allclose(page.array("detections", "scores"), [0.9, 0.8, 0.7], rtol=1e-6)
    assert page.array("targets", "images").tolist() == [0, 0, 1]
    assert page.array("detections", "targets").tolist() == [0, 0, 1]
    picture = cv2.imdecode(np.frombuffer(page.pictures()[0], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (64, 64, 3)
    assert not (run / "report.html").exists()


def test_probable_label_errors_are_in_the_page(report, tmp_path):
    run = write_run(tmp_path)
    report(run)
    issues = Page(run / "report.html").data["issues"]
    found = {(issue["kind"], issue["image"], issue["detection"], issue["target"]) for issue in issues}
    assert ("missing", 2, 6, None) in found
    assert ("wrong class", 0, 2, 1) in found
    report(run, "--max-images", "1")  # the worst, whose positions change
    assert {issue["image"] for issue in Page(run / "report.html").data["issues"]} == {0}


def test_only_an_older_report_in_the_run_is_replaced(report, tmp_path):
    run = write_run(tmp_path)
    (run / "report.html").write_text("<!doctype html>\nmine")
    _, text = report(run)
    assert (run / "report.html").read_text() == "<!doctype html>\nmine"
    assert Page(run / "report-2.html").data
    assert text.startswith(str(run / "report-2.html"))
    output = tmp_path / "page.html"
    report(run, "--output", output)
    before = output.read_bytes()
    report(run, "--output", output, "--max-images", "1")
    assert output.read_bytes() == before
    assert Page(tmp_path / "page-2.html").data["notes"]


def test_missing_and_damaged_images(report, tmp_path):
    run = write_run(tmp_path)
    (tmp_path / "images/a/one.png").unlink()
    (tmp_path / "images/b/three.png").write_bytes(b"text")
    status, text = report(run)
    assert status == 0
    assert "2 of 4 images have no picture" in text
    assert "one.png: does not exist any more" in text
    pictures = Page(run / "report.html").pictures()
    assert [isinstance(picture, bytes) for picture in pictures] == [False, True, False, True]
    assert "cannot be read as an image" in pictures[2]
    assert (tmp_path / "images/b/three.png").read_bytes() == b"text"


def test_images_that_moved(report, tmp_path):
    run = write_run(tmp_path)
    (tmp_path / "images").rename(tmp_path / "moved")
    assert "4 of 4 images have no picture" in report(run)[1]
    assert "no picture" not in report(run, "--images", tmp_path / "moved")[1]
    assert all(isinstance(picture, bytes) for picture in Page(run / "report.html").pictures())


HOSTILE = '</script><img src=x onerror="alert(1)"><!-- \u2028 \' " & ${title} \udcff'


def test_hostile_names_stay_text(report, tmp_path):
    run = write_run(tmp_path)
    report(run)
    plain = Page(run / "report.html")
    name = "hostile"
    (tmp_path / name).mkdir()
    hostile = write_run(
        tmp_path / name,
        class_names=(HOSTILE, "dog", "", "</SCRIPT >"),
        file_names=("<b>.png", "2.png", "3.png", "&amp;.png"),
    )
    hostile = hostile.rename(hostile.with_name("<svg onload=alert(1)>"))
    (tmp_path / name / "images/<b>.png").unlink()
    status, text = report(hostile)
    assert status == 0, text
    page = Page(hostile / "report.html")
    assert page.tags == plain.tags
    assert page.data["class_names"] == [HOSTILE.replace("\udcff", "?"), "dog", "", "</SCRIPT >"]
    assert page.data["title"] == "<svg onload=alert(1)>"
    assert page.title.startswith("<svg onload=alert(1)>")
    assert page.data["images"][0] == "<b>.png"


def test_policy_lets_in_this_script_alone(report, tmp_path):
    run = write_run(tmp_path)
    report(run)
    page = Page(run / "report.html")
    (script,) = [text for attributes, text in page.scripts if not attributes]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in page.policy
    assert page.policy.startswith("default-src 'none'; img-src blob:; ")
    assert "unsafe" not in page.policy
    assert "http:" not in page.text
    assert "https:" not in page.text


@pytest.mark.parametrize("detections", [[], DETECTIONS])
@pytest.mark.parametrize("targets", [[], TARGETS])
def test_nothing_detected_or_labelled(report, detections, targets, tmp_path):
    run = write_run(tmp_path, detections, targets)
    assert report(run)[0] == 0
    assert len(Page(run / "report.html").pictures()) == 4


def test_one_image(report, tmp_path):
    run = write_run(tmp_path, DETECTIONS[:2], TARGETS[:1], file_names=("x.png",))
    assert report(run)[0] == 0
    assert Page(run / "report.html").data["images"] == ["x.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image-size", "8"], "image_size is 8"),
        (["--confidence-threshold", "1.5"], "confidence_threshold is 1.5"),
        (["--max-images", "0"], "max_images 0"),
        (["--most", "0"], "most 0"),
        (["--images", "nowhere"], "nowhere is no folder"),
        (["--output", "no/such/folder/x.html"], "choose another file with --output"),
    ],
)
def test_wrong_options(report, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, text = report(write_run(tmp_path), *options)
    assert status == 1
    assert message in text


def test_no_evaluation(report, tmp_path):
    status, text = report(tmp_path)
    assert status == 1
    assert "evaluation.npz does not exist" in text


@pytest.mark.slow
def test_the_wheel_carries_the_page(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    pytest.importorskip("hatchling", reason="needs hatchling, of the extra `test`, which builds the wheel")
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("template.html", "report.js", "report.css"):
        assert f"yolo_lightning/report/{name}" in names
