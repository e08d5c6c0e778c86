"""Options that decide what a training batch is, each in a run of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

from tests.runs import check_run, load, tiny_config, write_shapes
from yolo_lightning.cli import main
from yolo_lightning.data import SyntheticShapes, YOLOv5Augmentation

RECORD = {"trainer": {"callbacks": [{"class_path": "tests.cli.callbacks.RecordBatches"}]}}
TWO = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training images, of which the first eight are made twice as wide."""
    data = write_shapes(tmp_path_factory.mktemp("batches"))
    for image in sorted((data.parent / "images" / "train").iterdir())[:8]:
        cv2.imwrite(str(image), cv2.resize(cv2.imread(str(image)), (128, 64)))
    return data


def batches(rank: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(f"batches{rank}.jsonl").read_text().splitlines()]


def fit(data: Path, *options: str, **trainer: Any) -> list[dict[str, Any]]:
    """What each batch of a run was."""
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny_config(data, **{"max_epochs": 2, **trainer})))
    Path("record.yaml").write_text(yaml.safe_dump(RECORD))
    assert main(["fit", "--config=tiny.yaml", "--config=record.yaml", *options]) == 0
    rows = batches()
    Path("batches0.jsonl").unlink()
    return rows


def images(rows: list[dict[str, Any]], epoch: int) -> list[int]:
    return [index for row in rows if row["epoch"] == epoch for index in row["images"]]


def test_buckets(data: Path):
    rows = fit(data, "--data.canvas=buckets", "--data.num_buckets=2")
    assert sorted(images(rows, 0)) == sorted(images(rows, 1)) == list(range(12))
    assert images(rows, 0) != images(rows, 1)
    for epoch in range(2):
        sizes = [row["size"] for row in rows if row["epoch"] == epoch]
        assert sorted(sizes) == [[32, 64], [32, 64], [64, 64]]


def test_rectangular(data: Path):
    rows = fit(data, "--data.canvas=rectangular")
    assert [row["size"] for row in rows] == [[32, 64], [32, 64], [64, 64]] * 2
    assert images(rows, 0) == images(rows, 1) == list(range(12))


def test_a_wide_canvas(data: Path):
    rows = fit(data, "--data.image_size=[32,96]", "--trainer.callbacks+=MultiScale")
    sizes = {tuple(row["size"]) for row in rows}
    assert sizes <= {(32, 32), (32, 64), (32, 96), (64, 128), (64, 160)}
    assert len(sizes) > 1


def test_multi_scale(data: Path):
    rows = fit(data, "--trainer.callbacks+=MultiScale", "--trainer.callbacks.maximum=1.0")
    assert {row["size"][0] for row in rows} == {32, 64}


def test_quad(data: Path):
    rows = fit(data, "--data.quad=true", "--data.batch_size=8")
    assert [row["size"] for row in rows] == [[128, 128]] * 4
    assert [row["num_samples"] for row in rows] == [8, 4] * 2
    assert [len(row["images"]) for row in rows] == [2, 1] * 2


def test_single_class(data: Path):
    rows = fit(data, "--data.single_class=true")
    assert {label for row in rows for label in row["labels"]} == {0}
    last = Path("runs/fit/checkpoints/last.ckpt")
    assert load(last)["hyper_parameters"]["class_names"] == ["object"]
    assert main(["validate", "--config=tiny.yaml", "--data.single_class=true", f"--ckpt_path={last}"]) == 0


def test_close_mosaic(data: Path, monkeypatch: pytest.MonkeyPatch):

    seen = set()
    make = YOLOv5Augmentation.__call__

    def record(self: Any, dataset: Any, key: Any) -> Any:
        seen.add((key.epoch, key.mosaic))
        return make(self, dataset, key)

    monkeypatch.setattr(YOLOv5Augmentation, "__call__", record)
    fit(data, "--data.close_mosaic=1", max_epochs=3)
    assert seen == {(0, True), (1, True), (2, False)}


@pytest.mark.parametrize("sampling", ["RepeatFactorSampling", "ClassBalancedSampling"])
def test_sampling(data: Path, sampling: str):
    file = Path("sampling.yaml")
    arguments = {"init_args": {"threshold": 0.9}} if sampling == "RepeatFactorSampling" else {}
    file.write_text(yaml.safe_dump({"data": {"init_args": {"sampling": {"class_path": sampling, **arguments}}}}))
    rows = fit(data, "--config=sampling.yaml")
    counts = [len(images(rows, epoch)) for epoch in range(2)]
    assert counts[0] == counts[1]
    if sampling == "RepeatFactorSampling":
        assert counts[0] > 12
        assert set(images(rows, 0)) == set(range(12))
    else:
        assert counts[0] == 12
        stored = load(Path("runs/fit/checkpoints/last.ckpt"))["DetectionDataModule"]["average_precision"]
        assert len(stored) == len(SyntheticShapes.class_names)


@pytest.mark.slow
@pytest.mark.parametrize("num_images", [1, 3])
def test_two_processes_train_on_less_than_a_batch(num_images: int, tmp_path: Path):
    data = write_shapes(tmp_path / "few", train=num_images, val=1)
    config = tiny_config(data, max_epochs=2)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**config, "name": "few"}))
    (tmp_path / "record.yaml").write_text(yaml.safe_dump(RECORD))
    check_run("fit", "--config=tiny.yaml", "--config=record.yaml", "--data.batch_size=16", *TWO, cwd=tmp_path)
    rows = [batches(rank) for rank in range(2)]
    assert len(rows[0]) == len(rows[1]) > 0
    for epoch in range(2):
        assert {index for part in rows for index in images(part, epoch)} == set(range(num_images))


@pytest.mark.slow
def test_two_processes_draw_what_one_draws(data: Path, tmp_path: Path):
    options = ["--data.canvas=buckets", "--data.num_buckets=2", "--data.sampling=ClassBalancedSampling"]
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_config(data, max_epochs=1)))
    (tmp_path / "record.yaml").write_text(yaml.safe_dump(RECORD))
    configs = ["--config=tiny.yaml", "--config=record.yaml"]
    check_run("fit", *configs, *options, cwd=tmp_path)
    whole = batches()
    (tmp_path / "batches0.jsonl").unlink()
    check_run("fit", *configs, *options, *TWO, cwd=tmp_path)
    for batch, first, second in zip(whole, batches(0), batches(1), strict=True):
        assert batch["images"][::2] == first["images"]
        assert batch["images"][1::2] == second["images"]
        assert batch["size"] == first["size"] == second["size"]
