"""The images that a data module predicts: of a split, or without any description."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.data.make import write_dataset, write_image, write_label, write_split, write_yaml
from yolo_lightning.data import DataError, DetectionDataModule, SyntheticShapes, YOLODataset


def predicted(path: Path | None, **options: Any) -> list[str]:
    """File names of what is predicted, in the order of the data set."""
    data = module(path, **options)
    batches = list(data.predict_dataloader())
    assert sum(len(batch.labels) for batch in batches) == 0
    infos = sorted((info for batch in batches for info in batch.infos), key=lambda info: info.index)
    assert [info.index for info in infos] == list(range(len(data.dataset("predict"))))
    return [Path(info.path).name for info in infos]


def module(path: Path | None, **options: Any) -> DetectionDataModule:
    defaults = {"image_size": 64, "eval_batch_size": 2, "num_workers": 0, "pin_memory": False}
    data = DetectionDataModule(path, **{**defaults, **options})
    data.setup("predict")
    return data


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["val0.png", "val1.png", "val2.png"]),
        ({"predict_split": "train"}, ["train0.png", "train1.png"]),
        ({"single_class": True, "rectangular": False}, ["val0.png", "val1.png", "val2.png"]),
        ({"cache": "disk"}, ["val0.png", "val1.png", "val2.png"]),
    ],
)
def test_splits(tmp_path: Path, options: dict[str, Any], expected: list[str]):
    yaml = write_dataset(tmp_path, train=2, val=3)
    assert predicted(yaml, **options) == expected
    assert module(yaml, **options).class_names == (("object",) if "single_class" in options else ("cat", "dog"))


def test_a_missing_split_is_told(tmp_path: Path):
    with pytest.raises(DataError, match="has no key 'test'"):
        module(write_dataset(tmp_path), predict_split="test")


def test_labels_do_not_count(tmp_path: Path):
    """Neither bad ones, nor that there are none, nor that another data set class has some."""
    yaml = write_dataset(tmp_path, train=2, val=3, label="7 0.5 0.5 2 2\n")
    assert predicted(yaml) == ["val0.png", "val1.png", "val2.png"]
    assert predicted(yaml, predict_split="train") == ["train0.png", "train1.png"]
    data = module(yaml)
    assert list(data.dataset("predict").left_out()) == []
    with pytest.raises(DataError, match="none of the 3 images of 'val' can be used"):
        data.setup("validate")
    shapes = DetectionDataModule(
        dataset=partial(SyntheticShapes, num_val_images=3, image_size=64), image_size=64, num_workers=0
    )
    shapes.setup("predict")
    assert len(shapes.dataset("predict")) == 3


def test_a_class_that_reads_images_in_its_own_way_still_does(tmp_path: Path):
    class Grey(YOLODataset):
        def read_image(self, index: int, long_side: int | None = None) -> Any:
            image = super().read_image(index, long_side)
            image[:] = 77
            return image

    data = module(write_dataset(tmp_path), dataset=Grey)
    assert all(77 in batch.images.unique() and len(batch.images.unique()) < 5 for batch in data.predict_dataloader())


def test_plain_images(tmp_path: Path):
    write_split(tmp_path, "b", 2)
    write_image(tmp_path / "a.jpg")
    write_label(tmp_path / "images" / "b" / "b0.png", "99 bad labels\n")
    (tmp_path / "list.txt").write_text("a.jpg\n")
    data = module(tmp_path)
    assert data.class_names is None
    before = sorted(tmp_path.rglob("*"))
    assert predicted(tmp_path) == ["a.jpg", "b0.png", "b1.png"]
    assert predicted(tmp_path / "images", single_class=True) == ["b0.png", "b1.png"]
    assert predicted(tmp_path / "list.txt") == ["a.jpg"]
    assert predicted(tmp_path / "a.jpg") == ["a.jpg"]
    assert sorted(tmp_path.rglob("*")) == before


def test_relative_folders_give_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_image(tmp_path / "some" / "a.jpg")
    monkeypatch.chdir(tmp_path)
    assert module(Path("some")).dataset("predict").path(0) == str(tmp_path / "some" / "a.jpg")


def test_bad_images_are_left_out_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_image(tmp_path / "good.jpg")
    whole = write_image(tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    assert predicted(tmp_path) == ["good.jpg"]
    assert "2 files left out" in capsys.readouterr().err
    left_out = module(tmp_path).dataset("predict").left_out()
    assert [Path(problem.file).name for problem in left_out] == ["cut.png", "text.jpg"]
    (tmp_path / "good.jpg").unlink()
    with pytest.raises(DataError, match="none of the 2 images can be used"):
        module(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, r"data\.path"),
        ("none", "does not exist"),
        ("empty", "holds no images"),
        ("list.txt", "holds no images"),
        ("described", "key 'names' is missing"),
        ("notes.md", "is no readable YAML|expected keys"),
    ],
)
def test_what_cannot_be_predicted(tmp_path: Path, name: str | None, message: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("\n")
    (tmp_path / "notes.md").write_text("# notes\n")
    write_image(tmp_path / "described" / "a.jpg")
    write_yaml(tmp_path / "described" / "data.yaml", {"val": "."})
    with pytest.raises(DataError, match=message):
        module(None if name is None else tmp_path / name)


def test_training_needs_a_description(tmp_path: Path):
    write_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"expected one data\.yaml in this folder"):
        DetectionDataModule(tmp_path).setup("fit")
