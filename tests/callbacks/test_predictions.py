"""What is found in a data set, as files."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from tests.data.make import write_image
from yolo_lightning.callbacks import Predictions
from yolo_lightning.data import DetectionDataModule
from yolo_lightning.errors import InputError
from yolo_lightning.types import Batch, Detections, ImageInfo, Sample

CLASS_NAMES = ("cat", "dog, big", "ünïcode")


class Seer(LightningModule):
    """Finds as many objects as the name of the image says, at random but always the same."""

    class_names = CLASS_NAMES

    def __init__(self, counts: dict[str, int] | int = 2) -> None:
        super().__init__()
        self.counts = counts

    def count(self, path: str) -> int:
        return self.counts if isinstance(self.counts, int) else self.counts[Path(path).name]

    def found(self, info: ImageInfo) -> Detections:
        generator = torch.Generator().manual_seed(info.index)
        count = self.count(info.path)
        corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values * 100
        scores = torch.rand(count, generator=generator).sort(descending=True).values
        return Detections(corners.flatten(1), scores, torch.randint(3, (count,), generator=generator))

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Detections]:
        return [self.found(info) for info in batch.infos]


def write_images(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        image = write_image(folder / "image.jpg", (24 + 8 * number, 40), number)
        image.rename(folder / name)
    return folder


def predict(
    source: Any,
    root: Path,
    module: LightningModule | None = None,
    predictions: Predictions | None = None,
    **trainer: Any,
) -> Predictions:
    """Runs ``predict`` on a folder or a data loader and returns the callback."""
    callback = predictions or Predictions()
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    runner = Trainer(default_root_dir=root, callbacks=[callback], **{**options, **trainer})
    data: dict[str, Any] = {"dataloaders": source}
    if isinstance(source, Path):
        data = {"datamodule": DetectionDataModule(source, image_size=64, eval_batch_size=2, num_workers=0)}
    runner.predict(module or Seer(), return_predictions=False, **data)
    return callback


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        ((), {"images.csv"}),
        (("coco",), {"images.csv", "images.json", "predictions.json"}),
        (("csv", "csv"), {"images.csv", "predictions.csv"}),
        (
            ("coco", "csv", "parquet"),
            {"images.csv", "images.json", "predictions.json", "predictions.csv", "predictions.parquet"},
        ),
    ],
)
def test_files(tmp_path: Path, formats: Any, expected: set[str]):
    images = write_images(tmp_path / "images", "3.jpg", "1.jpg", "2.jpg")
    counts = {"1.jpg": 4, "2.jpg": 0, "3.jpg": 250}
    callback = predict(images, tmp_path / "run", Seer(counts), Predictions(formats))
    assert names_in(tmp_path / "run") == expected
    assert callback.summary is not None
    assert {file.name for file in callback.summary.files} == expected
    assert (callback.summary.num_images, callback.summary.num_detections, callback.summary.num_failed) == (3, 254, 0)
    listed = read_csv(tmp_path / "run" / "images.csv")
    assert [Path(row["image"]).name for row in listed] == ["1.jpg", "2.jpg", "3.jpg"]
    assert [row["num_detections"] for row in listed] == ["4", "0", "250"]
    assert [(row["width"], row["height"]) for row in listed] == [("40", "32"), ("40", "40"), ("40", "24")]
    assert {row["status"] for row in listed} == {"predicted"}


def test_every_format_holds_what_was_found(tmp_path: Path):
    """To the last bit of every float32; COCO's boxes to 4 decimals."""
    pyarrow = pytest.importorskip("pyarrow.parquet")
    images = write_images(tmp_path / "images", "b.jpg", "a.jpg", "7.jpg")
    module = Seer({"7.jpg": 3, "a.jpg": 0, "b.jpg": 300})
    predict(images, tmp_path / "run", module, Predictions(("coco", "csv", "parquet")))
    infos = [ImageInfo(str(images / name), index, (0, 0)) for index, name in enumerate(["7.jpg", "a.jpg", "b.jpg"])]
    found = [module.found(info) for info in infos]
    ids = ["7"] * 3 + ["b"] * 300  # not the number 7: ids are of one type
    boxes = torch.cat([one.boxes for one in found]).numpy()
    scores = torch.cat([one.scores for one in found]).numpy()
    labels = torch.cat([one.labels for one in found]).tolist()

    records = json.loads((tmp_path / "run" / "predictions.json").read_text())
    assert [record["image_id"] for record in records] == ids
    assert [record["category_id"] for record in records] == labels
    assert np.array_equal(np.array([record["score"] for record in records], np.float32), scores)
    boxes_xywh = np.array([record["bbox"] for record in records])
    expected = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1)
    assert np.allclose(boxes_xywh, expected, rtol=0, atol=6e-5)
    described = json.loads((tmp_path / "run" / "images.json").read_text())
    assert described["categories"] == [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES)]
    assert [(image["id"], image["file_name"], image["height"]) for image in described["images"]] == [
        ("7", "7.jpg", 40), ("a", "a.jpg", 32), ("b", "b.jpg", 24),
    ]  # fmt: skip

    rows = read_csv(tmp_path / "run" / "predictions.csv")
    assert [(row["image_id"], int(row["label"])) for row in rows] == list(zip(ids, labels, strict=True))
    assert [row["name"] for row in rows] == [CLASS_NAMES[label] for label in labels]
    columns = ["confidence", "x1", "y1", "x2", "y2"]
    numbers = np.array([[row[column] for column in columns] for row in rows], np.float32)
    assert np.array_equal(numbers, np.column_stack((scores, boxes)))

    table = pyarrow.read_table(tmp_path / "run" / "predictions.parquet").to_pylist()
    assert len(table) == len(rows)
    for typed, row in zip(table, rows, strict=True):
        assert {name: str(value) for name, value in typed.items() if not isinstance(value, float)} == {
            name: value for name, value in row.items() if name not in columns
        }
    typed_numbers = np.array([[row[column] for column in columns] for row in table], np.float32)
    assert np.array_equal(typed_numbers, numbers)


def test_nothing_found(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    images = write_images(tmp_path / "images", "1.jpg", "2.jpg")
    predict(images, tmp_path / "run", Seer(0), Predictions(("coco", "csv", "parquet")))
    assert json.loads((tmp_path / "run" / "predictions.json").read_text()) == []
    header = "image,image_id,label,name,confidence,x1,y1,x2,y2,width,height\n"
    assert (tmp_path / "run" / "predictions.csv").read_text() == header
    table = pyarrow.read_table(tmp_path / "run" / "predictions.parquet")
    assert (table.num_rows, table.column_names) == (0, header.strip().split(","))
    assert str(table.schema.field("image_id").type) == "int64"
    assert [row["num_detections"] for row in read_csv(tmp_path / "run" / "images.csv")] == ["0", "0"]


def test_odd_names(tmp_path: Path):
    """A name that is no Unicode, and one that needs quotes."""
    pyarrow = pytest.importorskip("pyarrow.parquet")
    odd = [os.fsdecode(b"\xff.jpg"), 'a,"b"\n.jpg']
    images = write_images(tmp_path / "images", *odd)
    predict(images, tmp_path / "run", Seer(1), Predictions(("coco", "csv", "parquet")))
    paths = sorted(str(images / name) for name in odd)
    for name in ("images.csv", "predictions.csv"):
        assert [row["image"] for row in read_csv(tmp_path / "run" / name)] == paths
    listed = json.loads((tmp_path / "run" / "images.json").read_text())["images"]
    assert [image["file_name"] for image in listed] == [Path(path).name for path in paths]
    assert pyarrow.read_table(tmp_path / "run" / "predictions.parquet").column("image").to_pylist() == [
        path.replace("\udcff", "\ufffd") for path in paths
    ]


def test_images_of_one_name_have_ids_of_their_own(tmp_path: Path):
    write_images(tmp_path / "images" / "x", "1.jpg")
    write_images(tmp_path / "images" / "y", "1.jpg")
    predict(tmp_path / "images", tmp_path / "run")
    assert [row["image_id"] for row in read_csv(tmp_path / "run" / "images.csv")] == ["x/1.jpg", "y/1.jpg"]
    records = json.loads((tmp_path / "run" / "predictions.json").read_text())
    assert [record["image_id"] for record in records] == ["x/1.jpg"] * 2 + ["y/1.jpg"] * 2


class Vandal(Seer):
    """Removes an image before it is read, at the first batch."""

    def __init__(self, image: Path) -> None:
        super().__init__()
        self.image = image

    def on_predict_start(self) -> None:
        self.image.unlink()


@pytest.mark.filterwarnings("ignore:.*Samples that need it are left out")
def test_images_that_cannot_be_read(tmp_path: Path):
    """One was never an image, one vanishes during the run; the others are predicted."""
    images = write_images(tmp_path / "images", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg")
    (images / "0.jpg").write_text("no image")
    callback = predict(images, tmp_path / "run", Vandal(images / "2.jpg"))
    assert callback.summary is not None
    assert (callback.summary.num_images, callback.summary.num_failed) == (4, 2)
    rows = read_csv(tmp_path / "run" / "images.csv")
    assert [(Path(row["image"]).name, row["image_id"]) for row in rows] == [
        ("1.jpg", "1"), ("2.jpg", "2"), ("3.jpg", "3"), ("4.jpg", "4"), ("5.jpg", "5"), ("0.jpg", ""),
    ]  # fmt: skip
    statuses = [row["status"] for row in rows]
    assert statuses[:5] == ["predicted", "could not be read", "predicted", "predicted", "predicted"]
    assert "cannot be read as an image" in statuses[5]
    records = json.loads((tmp_path / "run" / "predictions.json").read_text())
    assert {record["image_id"] for record in records} == {1, 3, 4, 5}


class Pictures(Dataset[Sample]):
    """A data set of the user's own, which says as little of itself as it can."""

    def __init__(self, indices: list[int]) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return 4

    def __getitem__(self, position: int) -> Sample:
        index = self.indices[position]
        info = ImageInfo(f"picture {index}", index, (32, 32))
        return Sample(np.zeros((32, 32, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), info)


class NamedPictures(Pictures):
    """Tells the names of its images."""

    def path(self, index: int) -> str:
        return f"picture {index}"


def loader(dataset: Dataset[Sample]) -> DataLoader[Sample]:
    return DataLoader(dataset, batch_size=2, collate_fn=Batch.collate)


@pytest.mark.parametrize("kind", [Pictures, NamedPictures])
def test_data_of_the_users_own(tmp_path: Path, kind: type[Pictures]):
    """In any order; the files are in that of the positions."""
    predict(loader(kind([2, 0, 3, 1])), tmp_path)
    assert [row["image"] for row in read_csv(tmp_path / "images.csv")] == [f"picture {index}" for index in range(4)]
    assert len(read_csv(tmp_path / "predictions.csv")) == 8


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Pictures([0, 1, 1, 3]), "1 images were predicted more than once, such as picture 1"),
        (NamedPictures([0, 1, 3, 5]), "1 of 4 images were not predicted, such as picture 2"),
    ],
)
def test_every_image_once(tmp_path: Path, dataset: Pictures, message: str):
    with pytest.raises(InputError, match=message) as raised:
        predict(loader(dataset), tmp_path)
    assert str(tmp_path / "parts") in str(raised.value)
    assert names_in(tmp_path) == {"parts"}
    assert names_in(tmp_path / "parts") == {"rank0.rows", "rank0.jsonl"}


@pytest.mark.parametrize(("limit", "num_predicted"), [(1, 2), (0.5, 2)])
def test_some_batches_only(tmp_path: Path, limit: float, num_predicted: int):
    predict(loader(NamedPictures([0, 1, 2, 3])), tmp_path, limit_predict_batches=limit)
    statuses = [row["status"] for row in read_csv(tmp_path / "images.csv")]
    assert statuses == ["predicted"] * num_predicted + ["not asked for"] * (4 - num_predicted)
    assert len(read_csv(tmp_path / "predictions.csv")) == 2 * num_predicted


@pytest.mark.parametrize("name", ["predictions.json", "images.csv", "parts"])
def test_nothing_is_overwritten(tmp_path: Path, name: str):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=rf"{name} exists already"):
        predict(loader(Pictures([0, 1, 2, 3])), tmp_path)
    assert names_in(tmp_path) == {name}
    assert (tmp_path / name).read_text() == "mine"


class Failing(Seer):
    """Fails at the second batch."""

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Detections]:
        if batch_idx == 1:
            raise RuntimeError("out of order")
        return super().predict_step(batch, batch_idx)


def test_what_was_found_before_a_failure_is_kept(tmp_path: Path):
    with pytest.raises(RuntimeError, match="out of order"), pytest.warns(UserWarning, match=r"kept in .*parts"):
        predict(loader(Pictures([0, 1, 2, 3])), tmp_path, Failing())
    assert names_in(tmp_path) == {"parts"}
    lines = (tmp_path / "parts" / "rank0.jsonl").read_text().splitlines()
    assert [json.loads(line)[1] for line in lines] == ["picture 0", "picture 1"]
    assert (tmp_path / "parts" / "rank0.rows").stat().st_size == 4 * 24


@pytest.mark.parametrize("option", ["enabled", "fast_dev_run"])
def test_nothing_is_written_unless_wanted(tmp_path: Path, option: str):
    predictions = Predictions(enabled=option != "enabled")
    callback = predict(
        loader(Pictures([0, 1, 2, 3])), tmp_path, predictions=predictions, fast_dev_run=option == "fast_dev_run"
    )
    assert callback.summary is None
    assert names_in(tmp_path) == set()


def test_unknown_format():
    with pytest.raises(ValueError, match=r"predictions\.formats holds xml; there are coco, csv, parquet"):
        Predictions(("coco", "xml"))  # type: ignore[arg-type]


def test_a_missing_library_is_told_before_anything_is_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"yolo-lightning\[tables\]"):
        predict(loader(Pictures([0, 1, 2, 3])), tmp_path, predictions=Predictions(("parquet",)))
    assert names_in(tmp_path) == set()


def test_one_loader_at_a_time(tmp_path: Path):
    class Two(Seer):
        def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> list[Detections]:
            return super().predict_step(batch, batch_idx)

    loaders = [loader(Pictures([0, 1, 2, 3])) for _ in range(2)]
    with pytest.raises(InputError, match="one data loader only"):
        predict(loaders, tmp_path, Two())
    assert names_in(tmp_path) == set()
