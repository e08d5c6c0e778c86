"""``yolo-lightning anchors``: what it prints is a configuration, and its comments tell the truth."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.data.make import write_image, write_label, write_split, write_yaml
from tests.runs import check_run, run, tiny_config, write_shapes
from yolo_lightning.cli import main
from yolo_lightning.models.head import ANCHORS_P6
from yolo_lightning.ops.anchors import measure_anchors


@pytest.fixture
def anchors(capsys):
    """Runs the tool; gives its exit status, what it printed, and its errors."""

    def call(*arguments):
        status = main(["anchors", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A data.yaml of twelve training images."""
    return write_shapes(tmp_path_factory.mktemp("shapes"))


def levels_of(output):
    content = yaml.safe_load(output)
    return content["model"]["init_args"]["detector"]["init_args"]["head"]["init_args"]["anchors"]


def test_anchors_of_three_levels(anchors, shapes):
    status, output, _ = anchors(shapes, "--image_size=64")
    levels = levels_of(output)
    assert status == 0
    assert [len(level) for level in levels] == [6, 6, 6]
    assert 5 < min(map(min, levels)) < max(map(max, levels)) < 64
    assert "# 40 boxes of 12 training images at 64 × 64 pixels" in output
    assert "# published anchors (P5): best possible recall 1.0000, 4.40 anchors per box" in output
    assert "# these anchors: best possible recall 1.0000, 9.00 anchors per box" in output
    assert anchors(shapes, "--image_size=64")[1] == output
    assert anchors(shapes, "--image_size=64", "--seed=5")[1] != output


def test_anchors_of_four_levels_on_a_wide_canvas(anchors, tmp_path):
    """Boxes of one tenth of pictures of 100 × 50 pixels, which fill the canvas of 640 × 192 to 384 × 192."""
    write_split(tmp_path, "val", 1)
    for number in range(20):
        image = write_image(tmp_path / f"images/train/{number}.png", size=(50, 100), seed=number)
        write_label(image, "0 0.5 0.5 0.1 0.1\n")
    data = write_yaml(tmp_path / "data.yaml", {"names": ["cat"], "train": "images/train", "val": "images/val"})
    _, output, _ = anchors(data, "--image_size=[192,640]", "--num_levels=4", "--num_anchors=8")
    levels = np.array(levels_of(output)).reshape(4, 2, 2)
    assert "# 20 boxes of 20 training images at 192 × 640 pixels" in output
    fit = measure_anchors(np.array([[38.4, 19.2]]), ANCHORS_P6)
    assert f"# published anchors (P6): {fit}" in output
    assert "# k-means found 1 groups for 8 anchors" in output
    assert np.abs(levels.reshape(-1, 2) / (38.4, 19.2) - 1).max(1).min() < 0.05


def test_a_number_of_levels_without_published_anchors(anchors, shapes):
    status, output, _ = anchors(shapes, "--image_size=64", "--num_levels=2", "--num_anchors=4")
    assert status == 0
    assert "published" not in output
    assert [len(level) for level in levels_of(output)] == [4, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num_anchors=8"], "as many for each level"),
        (["--num_anchors=0"], "must be positive"),
        (["--num_levels=0"], "must be positive"),
        (["--image_size=0"], "image_size 0"),
        (["--ratio_threshold=1"], "ratio_threshold is 1.0"),
        (["--generations=-1"], "must not be negative"),
        (["--seed=-1"], "must not be negative"),
        (["--num_anchors=99"], "40 boxes of at least 2 pixels are too few to fit 99 anchors to"),
    ],
)
def test_bad_numbers(anchors, shapes, arguments, message):
    status, output, error = anchors(shapes, *arguments)
    assert (status, output) == (1, "")
    assert message in error
    assert error.startswith("error: ")


def test_missing_data(anchors, tmp_path):
    status, _, error = anchors(tmp_path / "none.yaml")
    assert status == 1
    assert "does not exist" in error


@pytest.mark.slow
def test_the_command_in_a_process_of_its_own(shapes, tmp_path):
    levels = levels_of(check_run("anchors", shapes, "--image_size=64", "--generations=10", cwd=tmp_path).stdout)
    assert [len(level) for level in levels] == [6, 6, 6]


@pytest.mark.slow
def test_training_takes_what_it_prints(shapes, tmp_path: Path):
    printed = check_run("anchors", shapes, "--image_size=64", cwd=tmp_path).stdout
    (tmp_path / "anchors.yaml").write_text(printed)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_config(shapes, max_epochs=1)))
    process = run("fit", "--config=tiny.yaml", "--config=anchors.yaml", "--name=fitted", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "the anchors suit the 40 boxes (best possible recall 1.0000, 9.00 anchors per box)" in process.stderr
    saved = (tmp_path / "runs" / "fitted" / "config.yaml").read_text()
    assert levels_of(saved) == levels_of(printed)
