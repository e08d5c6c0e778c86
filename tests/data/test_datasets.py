from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.make import LABEL, label_of, write_dataset, write_image, write_label, write_split, write_yaml
from yolo_lightning.data import (
    CachedImages,
    DataError,
    Letterbox,
    TransformedDataset,
    UnreadableImageError,
    YOLODataset,
)
from yolo_lightning.types import SampleKey


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_LIGHTNING_CACHE", str(tmp_path / "cache"))


def test_is_a_data_set_of_samples_in_pixels(tmp_path: Path) -> None:
    yaml = write_dataset(tmp_path, train=2)
    write_label(tmp_path / "images/train/train1.png", "1 0.5 0.25 0.5 0.5\n0 1 1 0.5 0.5\n")
    dataset = YOLODataset(yaml, "train")
    assert (len(dataset), dataset.class_names) == (2, ("cat", "dog"))
    sample = dataset[1]
    assert sample.image.shape == (28, 46, 3)
    assert sample.boxes.tolist() == [[11.5, 0, 34.5, 14], [34.5, 21, 46, 28]]  # the second one clipped
    assert (sample.boxes.dtype, sample.labels.dtype) == (np.float32, np.int64)
    assert sample.labels.tolist() == [1, 0]
    assert (sample.info.path, sample.info.index, sample.info.original_size) == (dataset.path(1), 1, (28, 46))
    with Image.open(dataset.path(1)) as image:
        assert np.array_equal(sample.image, np.asarray(image))


def test_polygons_are_outlines_in_pixels(tmp_path: Path) -> None:
    yaml = write_dataset(tmp_path, train=2)
    write_label(tmp_path / "images/train/train1.png", "1 .5 .25 .5 .5\n0 .25 .5 .75 .5 .5 1\n")
    dataset = YOLODataset(yaml, "train")
    for form in (dataset, CachedImages(dataset, (32, 32)), pickle.loads(pickle.dumps(dataset))):
        assert [points.tolist() for points in form.outlines(1)] == [[], [[11.5, 14], [34.5, 14], [23, 28]]]
        assert [(points.shape, points.dtype) for points in form.outlines(0)] == [((0, 2), np.float32)]
    assert dataset.annotations(1)[0][1].tolist() == [11.5, 14, 34.5, 28]


def test_names_are_known_before_any_image_is_looked_for(tmp_path: Path) -> None:
    yaml = write_yaml(tmp_path / "d.yaml", {"train": "nowhere", "names": ["cat"]})
    assert YOLODataset(yaml, "train").class_names == ("cat",)


@pytest.mark.parametrize(
    ("long_side", "expected"), [(None, 200), (200, 200), (101, 200), (100, 100), (51, 100), (50, 50), (25, 25), (1, 25)]
)
def test_decodes_a_jpeg_no_larger_than_needed(tmp_path: Path, long_side: int | None, expected: int) -> None:
    write_image(tmp_path / "images" / "a.jpg", (120, 200))
    write_label(tmp_path / "images" / "a.jpg", LABEL)
    dataset = YOLODataset(write_yaml(tmp_path / "d.yaml", {"train": "images", "names": ["a"]}), "train")
    assert dataset.image_size(0) == (120, 200)
    assert dataset.read_image(0, long_side).shape == (expected * 120 // 200, expected, 3)


def test_warn_reports_once_and_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yaml = write_dataset(tmp_path, train=4)
    write_label(tmp_path / "images/train/train1.png", "0 .5 .5 .1 .1\n5 .5 .5 .1 .1\n")
    (tmp_path / "images/train/train2.png").write_bytes(b"broken")
    dataset = YOLODataset(yaml, "train")
    assert (len(dataset), len(dataset)) == (2, 2)
    shown = capsys.readouterr().err
    assert shown.count("labels/train/train1.txt:2: class 5 is not in 0…1, correct the row") == 1
    assert "images/train/train2.png: cannot be read as an image" in shown
    assert "2 problems (1 × class_range, 1 × unreadable_image), 2 files left out" in shown


def test_many_problems_are_cut_short_and_listed_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yaml = write_dataset(tmp_path)
    write_label(tmp_path / "images/train/train1.png", "9 .5 .5 .1 .1\n" * 50)
    assert len(YOLODataset(yaml, "train")) == 4
    shown = capsys.readouterr().err
    assert "… and 30 more; all of them: " in shown
    assert shown.count("class_range") == 1
    assert shown.count("train1.txt:") == 20
    (report,) = (tmp_path / "cache" / "labels").glob("*.txt")
    assert str(report) in shown
    assert report.read_text().count("train1.txt:") == 50


def test_only_one_rank_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    yaml = write_dataset(tmp_path)
    write_label(tmp_path / "images/train/train1.png", "9")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert len(YOLODataset(yaml, "train")) == 4
    assert capsys.readouterr().err == ""


def test_strict_raises_with_the_table(tmp_path: Path) -> None:
    yaml = write_dataset(tmp_path)
    write_label(tmp_path / "images/train/train1.png", LABEL * 2)
    with pytest.raises(DataError, match=r"labels/train/train1\.txt:2: repeats line 1, remove the row"):
        len(YOLODataset(yaml, "train", policy="strict"))
    assert len(YOLODataset(yaml, "val", policy="strict")) == 3


def test_training_needs_labels_but_validation_does_not(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 2, label=None)
    yaml = write_yaml(tmp_path / "d.yaml", {"train": "images/train", "val": "images/train", "names": ["a"]})
    with pytest.raises(DataError, match="none of the 2 images of 'train' has a label; 2 have no label file") as error:
        len(YOLODataset(yaml, "train"))
    assert str(label_of(tmp_path / "images/train/train0.png")) in str(error.value)
    assert len(YOLODataset(yaml, "val")) == 2


def test_at_least_one_image_must_be_usable(tmp_path: Path) -> None:
    yaml = write_dataset(tmp_path, train=1)
    (tmp_path / "images/train/train0.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 1 images of 'train' can be used"):
        len(YOLODataset(yaml, "train"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.unlink(), "No such file"),
        (lambda file: file.write_bytes(b""), "cannot be decoded"),
        (lambda file: file.write_bytes(b"x" * 99), "cannot be decoded"),
        (lambda file: write_image(file, (99, 99)), "is 99 × 99 pixels but was 48 × 24"),
    ],
)
def test_an_image_lost_during_the_run(tmp_path: Path, change: object, reason: str) -> None:
    dataset = YOLODataset(write_dataset(tmp_path, train=2), "train")
    samples = TransformedDataset(dataset, Letterbox())
    change(Path(dataset.path(0)))  # type: ignore[operator]
    with pytest.raises(UnreadableImageError, match=reason) as error:
        dataset.read_image(0)
    assert dataset.path(0) in str(error.value)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    with pytest.warns(UserWarning, match="left out") as warned:
        assert [samples[SampleKey(0, (64, 64))], samples[SampleKey(0, (64, 64), 1)]] == [None, None]
    assert len(warned) == 1
    assert samples[SampleKey(1, (64, 64))] is not None
    assert (samples.num_unreadable, len(samples)) == (1, 2)
    with pytest.raises(UnreadableImageError):
        TransformedDataset(dataset, Letterbox(), "strict")[SampleKey(0, (64, 64))]


def test_faults_of_the_program_are_not_called_bad_data(tmp_path: Path) -> None:
    def transform(dataset: object, key: SampleKey) -> None:
        raise ZeroDivisionError

    samples = TransformedDataset(YOLODataset(write_dataset(tmp_path), "train"), transform)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        samples[SampleKey(0, (32, 32))]


def test_is_cheap_to_send_to_a_worker(tmp_path: Path) -> None:
    dataset = YOLODataset(write_dataset(tmp_path, train=9), "train")
    assert len(dataset) == 9
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 2000
    copy = pickle.loads(pickled)
    assert [copy.path(i) for i in range(9)] == [dataset.path(i) for i in range(9)]


@pytest.mark.parametrize(("split", "images", "boxes"), [("train", 205, 2804), ("val", 87, 1137), ("test", 72, 945)])
def test_real_data(shared: Path, split: str, images: int, boxes: int) -> None:
    dataset = YOLODataset(shared / "data" / "bccd", split, policy="strict")
    assert dataset.class_names == ("RBC", "WBC", "Platelets")
    assert (len(dataset), sum(len(dataset.annotations(i)[1]) for i in range(len(dataset)))) == (images, boxes)
    assert (dataset.index.num_boxes, dataset.index.problems) == (boxes, [])
