from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import Tensor, nn

from tests.data.make import LABEL, write_dataset, write_label, write_split, write_yaml
from yolo_lightning.data import (
    ClassBalancedSampling,
    DataError,
    DetectionDataModule,
    DetectionDataset,
    RepeatFactorSampling,
    SyntheticShapes,
    YOLODataset,
    YOLOv5Augmentation,
)
from yolo_lightning.types import Batch, ImageInfo, Sample, SampleKey


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_LIGHTNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)


@pytest.fixture
def yaml(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", train=7, val=5)


def _data(path: Path | None, **options: Any) -> DetectionDataModule:
    defaults = {"image_size": 64, "batch_size": 3, "num_workers": 0, "pin_memory": False}
    return DetectionDataModule(path, **{**defaults, **options})


def _epochs(data: DetectionDataModule, num_epochs: int = 2) -> list[Batch]:
    data.setup("fit")
    loader = data.train_dataloader()
    batches = []
    for epoch in range(num_epochs):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        batches += list(loader)
    return batches  # type: ignore[return-value]


def _equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.boxes, b.boxes)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.image_index, b.image_index)
        and a.infos == b.infos
        for a, b in zip(one, other, strict=True)
    )


def test_class_names_need_no_images(tmp_path: Path) -> None:
    yaml = write_yaml(tmp_path / "d.yaml", {"val": "nowhere", "names": ["cat", "dog"]})
    assert DetectionDataModule(yaml).class_names == ("cat", "dog")
    with pytest.raises(DataError, match=r"data\.path"):
        _ = DetectionDataModule().class_names


def test_splits_become_batches(yaml: Path) -> None:
    data = _data(yaml)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert data.num_training_batches == len(data.train_dataloader()) == 3
    assert {batch.images.dtype for batch in batches} == {torch.uint8}
    assert {batch.size for batch in batches} == {data.image_size} == {(64, 64)}
    batches = list(data.val_dataloader())
    assert sorted(info.index for batch in batches for info in batch.infos) == list(range(5))
    assert [len(batch) for batch in batches] == [5]  # twice the training batch, and only five images
    assert batches[0].size == (96, 96)
    assert len(batches[0].labels) == 5
    data.setup("predict")
    (predicted,) = data.predict_dataloader()
    assert torch.equal(predicted.images, batches[0].images)
    assert (predicted.infos, len(predicted.labels)) == (batches[0].infos, 0)


def test_evaluation_options(yaml: Path) -> None:
    data = _data(yaml, eval_batch_size=2, rectangular=False)
    data.setup("validate")
    batches = list(data.val_dataloader())
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert {batch.size for batch in batches} == {(64, 64)}
    assert [info.index for batch in batches for info in batch.infos] == [0, 1, 2, 3, 4]


def test_a_missing_test_split_is_told(yaml: Path) -> None:
    with pytest.raises(DataError, match=r"data\.yaml: has no key 'test' \(found: train, val\)"):
        _data(yaml).setup("test")


def test_test_split(tmp_path: Path) -> None:
    write_split(tmp_path, "only", 2)
    data = _data(write_yaml(tmp_path / "d.yaml", {"test": "images/only", "names": ["cat"]}))
    data.setup("test")
    assert [len(batch) for batch in data.test_dataloader()] == [2]


@pytest.mark.parametrize("cache", [None, "ram"])
def test_workers_change_nothing(yaml: Path, cache: str | None) -> None:
    transform = partial(YOLOv5Augmentation, mixup=0.5, degrees=10.0)
    one = _epochs(_data(yaml, seed=5, cache=cache, train_transform=transform))
    two = _epochs(_data(yaml, seed=5, cache=cache, train_transform=transform, num_workers=2))
    assert _equal(one, two)
    assert not _equal(one, _epochs(_data(yaml, seed=6, cache=cache, train_transform=transform)))
    assert not torch.equal(one[0].images, one[3].images)  # another epoch


def test_the_cache_leaves_evaluation_as_it_is(yaml: Path) -> None:
    plain, cached = _data(yaml), _data(yaml, cache="ram")
    for data in (plain, cached):
        data.setup("validate")
    for _ in range(2):
        assert _equal(list(plain.val_dataloader()), list(cached.val_dataloader()))


def test_seed_comes_from_seed_everything(yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (_data(yaml).seed, _data(yaml, seed=4).seed) == (0, 4)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    seed_everything(9)
    assert (_data(yaml).seed, _data(yaml, seed=4).seed) == (9, 4)


@pytest.mark.parametrize(("given", "expected"), [(50, (64, 64)), ([33, 64], (64, 64)), ((1, 97), (32, 128))])
def test_image_size_is_rounded_up_with_a_warning(given: Any, expected: tuple[int, int]) -> None:
    with pytest.warns(UserWarning, match="not a multiple of the stride 32"):
        assert DetectionDataModule(image_size=given).image_size == expected
    assert DetectionDataModule(image_size=(32, 96)).image_size == (32, 96)
    with pytest.warns(UserWarning, match="stride 64"):
        assert DetectionDataModule(image_size=96, stride=64).image_size == (128, 128)


@pytest.mark.parametrize("option", [{"batch_size": 0}, {"image_size": 0}, {"stride": 0}, {"eval_batch_size": 0}])
def test_numbers_out_of_range(option: dict[str, int]) -> None:
    with pytest.raises(DataError, match=f"{next(iter(option))} is 0; it must be positive"):
        DetectionDataModule(**option)  # type: ignore[arg-type]


def test_a_batch_larger_than_the_data_is_clamped(yaml: Path) -> None:
    data = _data(yaml, batch_size=100)
    with pytest.warns(UserWarning, match="larger than the 7 training images: using 7"):
        data.setup("fit")
    assert (data.batch_size, data.eval_batch_size) == (7, 200)
    assert [len(batch) for batch in data.train_dataloader()] == [7]


def test_images_in_both_splits_are_warned_of(tmp_path: Path) -> None:
    write_split(tmp_path, "both", 4)
    yaml = write_yaml(tmp_path / "d.yaml", {"train": "images/both", "val": "images/both", "names": ["cat"]})
    with pytest.warns(UserWarning, match="4 of 4 validation images are training images too"):
        _data(yaml).setup("fit")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_that_vanish_are_left_out(yaml: Path, num_workers: int) -> None:
    single = partial(YOLOv5Augmentation, mosaic=0.0)
    data = _data(yaml, num_workers=num_workers, eval_batch_size=1, train_transform=single)
    data.setup("fit")
    train, val = data.dataset("train"), data.dataset("val")
    for index in range(4):
        Path(train.path(index)).unlink()
    Path(val.path(2)).unlink()
    with pytest.warns(UserWarning, match="left out") if num_workers == 0 else nullcontext():
        batches = list(data.train_dataloader())
        evaluated = list(data.val_dataloader())
    assert len(batches) == 3
    assert sorted(info.index for batch in batches for info in batch.infos if info.index >= 0) == [4, 5, 6]
    assert [info.index for batch in evaluated for info in batch.infos] == [0, 1, 3, 4]


def test_a_training_batch_of_lost_images_is_grey(yaml: Path) -> None:
    data = _data(yaml, batch_size=1, train_transform=partial(YOLOv5Augmentation, mosaic=0.0))
    data.setup("fit")
    for index in range(6):
        Path(data.dataset("train").path(index)).unlink()
    with pytest.warns(UserWarning, match="left out"):
        batches = list(data.train_dataloader())
    lost = [batch for batch in batches if batch.infos[0].index < 0]
    assert (len(batches), len(lost)) == (7, 6)
    assert all(bool((batch.images == 114).all()) and len(batch.boxes) == 0 for batch in lost)


class Ranks:
    """What the data asks a Trainer of."""

    strategy = None

    def __init__(self, world_size: int = 1, rank: int = 0, max_epochs: int | None = None) -> None:
        self.world_size = self.num_devices = world_size
        self.global_rank = rank
        self.max_epochs = max_epochs


def _keys(data: DetectionDataModule, epoch: int = 0) -> list[list[SampleKey]]:
    sampler = data.train_dataloader().batch_sampler
    sampler.set_epoch(epoch)  # type: ignore[union-attr]
    return list(sampler)  # type: ignore[arg-type]


def test_rectangular_training(yaml: Path) -> None:
    data = _data(yaml, canvas="rectangular", train_transform=partial(YOLOv5Augmentation, translate=0.0, scale=0.0))
    first, second = _epochs(data)[:3], _epochs(data)[3:]
    # from the flattest image to the narrowest
    assert [[info.index for info in batch.infos] for batch in first] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [batch.size for batch in first] == [batch.size for batch in second] == [(64, 64), (64, 64), (64, 64)]
    assert {key.mosaic for batch in _keys(data) for key in batch} == {False}
    assert all(len(batch.labels) == len(batch) for batch in first)  # one object in each, and no mosaic


@pytest.mark.parametrize("num_workers", [0, 2])
def test_buckets(tmp_path: Path, num_workers: int) -> None:
    yaml = write_dataset(tmp_path / "many", train=20, val=1)  # 24 × 48 to 100 × 10
    data = _data(yaml, canvas="buckets", num_buckets=3, image_size=96, num_workers=num_workers)
    batches = _epochs(data)
    assert sorted(info.index for batch in batches[:7] for info in batch.infos) == list(range(20))
    assert len({batch.size for batch in batches}) == 3
    assert {max(batch.size) for batch in batches} == {96}
    assert [len(batch) for batch in batches].count(3) == 12
    ratios = [np.mean([info.original_size[0] / info.original_size[1] for info in batch.infos]) for batch in batches]
    order = np.argsort(ratios)
    heights = np.array([batch.size[0] / batch.size[1] for batch in batches])[order]
    assert (np.diff(heights) >= 0).all()
    assert _equal(batches, _epochs(_data(yaml, canvas="buckets", num_buckets=3, image_size=96)))


@pytest.mark.parametrize("canvas", ["fixed", "rectangular", "buckets"])
@pytest.mark.parametrize("cache", [None, "ram"])
def test_wide_images(yaml: Path, canvas: str, cache: str | None) -> None:
    data = _data(yaml, image_size=[32, 96], canvas=canvas, cache=cache)
    batches = _epochs(data)
    limits = [(height, width) for batch in batches for height, width in [batch.size]]
    assert all(height <= 32 and width <= 96 for height, width in limits)
    if canvas == "fixed":
        assert set(limits) == {(32, 96)}
    for batch in batches:
        height, width = batch.size
        assert batch.boxes.min() >= 0
        assert (batch.boxes <= torch.tensor([width, height] * 2)).all()
    for rectangular in (True, False):
        data = _data(yaml, image_size=[32, 96], rectangular=rectangular)
        data.setup("validate")
        batches = list(data.val_dataloader())
        assert sum(len(batch.labels) for batch in batches) == 5
        for batch in batches:
            assert batch.size == ((64, 96) if rectangular else (32, 96))
            for info in batch.infos:  # as large as in training, where 32 × 96 pixels are all there is
                height, width = (side * ratio for side, ratio in zip(info.original_size, info.ratio, strict=True))
                assert height <= 32
                assert width <= 96


def test_quad(yaml: Path) -> None:
    data = _data(yaml, quad=True, batch_size=4)
    batches = _epochs(data)
    assert [(len(batch), batch.num_samples, batch.size) for batch in batches] == [
        (1, 4, (128, 128)),
        (1, 3, (128, 128)),
    ] * 2
    assert _equal(batches, _epochs(_data(yaml, quad=True, batch_size=4, num_workers=2)))
    assert data.image_size == (64, 64)
    with pytest.raises(ValueError, match=r"among 1 in groups of 4; use a multiple of 4"):
        _epochs(_data(yaml, quad=True, batch_size=6))


@pytest.mark.parametrize(
    ("max_epochs", "close_mosaic", "expected"),
    [(4, 0, "1111"), (4, 1, "1110"), (4, 9, "0000"), (-1, 2, "1111"), (None, 2, "1111")],
)
def test_close_mosaic(yaml: Path, max_epochs: int | None, close_mosaic: int, expected: str) -> None:
    data = _data(yaml, close_mosaic=close_mosaic)
    data.trainer = Ranks(max_epochs=max_epochs)  # type: ignore[assignment]
    data.setup("fit")
    for epoch, mosaic in enumerate(expected):
        assert {key.mosaic for batch in _keys(data, epoch) for key in batch} == {mosaic == "1"}


def test_single_class(yaml: Path) -> None:
    data = _data(yaml, single_class=True)
    assert data.class_names == ("object",)
    assert all(bool((batch.labels == 0).all()) for batch in _epochs(data))
    strict = _data(yaml, single_class=True, dataset=partial(YOLODataset, policy="strict"))
    strict.setup("fit")
    assert strict._training_samples.policy == "strict"  # type: ignore[union-attr]


def test_validate_split(yaml: Path) -> None:
    plain = _data(yaml)
    plain.setup("fit")
    expected = list(plain.val_dataloader())
    data = _data(yaml, validate_split="train")
    trained = _epochs(data)
    assert _equal(list(data.val_dataloader()), expected)  # fit is not affected
    data.setup("validate")
    batches = list(data.val_dataloader())
    assert sorted(info.index for batch in batches for info in batch.infos) == list(range(7))
    assert {Path(info.path).parent.name for batch in batches for info in batch.infos} == {"train"}
    # as any others: fitted to the canvas, and nothing else
    letterboxed = _data(yaml, dataset=lambda path, split: YOLODataset(path, "train"))
    letterboxed.setup("test")
    assert _equal(batches, list(letterboxed.test_dataloader()))
    assert _equal(_epochs(data), trained)


def test_a_validate_split_that_is_missing(yaml: Path) -> None:
    with pytest.raises(DataError, match="test"):
        _data(yaml, validate_split="test").setup("validate")


@pytest.mark.parametrize("option", [{"num_buckets": 0}, {"close_mosaic": -1}])
def test_new_numbers_out_of_range(option: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=next(iter(option))):
        DetectionDataModule(**option)


def test_sampling_repeats_images(tmp_path: Path) -> None:
    images = write_split(tmp_path, "train", 9)
    write_label(images[0], LABEL + LABEL.replace("0 ", "1 ", 1))
    write_split(tmp_path, "val", 1)
    yaml = write_yaml(
        tmp_path / "data.yaml", {"train": "images/train", "val": "images/val", "names": ["common", "rare"]}
    )
    data = _data(yaml, sampling=partial(RepeatFactorSampling, threshold=1.0))
    data.setup("fit")
    assert data.num_training_batches == len(data.train_dataloader()) == 4
    for epoch in range(3):
        indices = [key.index for batch in _keys(data, epoch) for key in batch]
        assert sorted(indices) == [0, 0, 0, *range(1, 9)]  # √9 times
    batches = _epochs(data, 1)
    copies = [batch.images[n] for batch in batches for n, info in enumerate(batch.infos) if info.index == 0]
    assert not torch.equal(copies[0], copies[1])


def test_sampling_goes_on_as_it_was(yaml: Path) -> None:
    data = _data(yaml, sampling=ClassBalancedSampling, seed=1)
    data.setup("fit")
    assert data.state_dict() == {}
    first = _keys(data, 1)
    assert _keys(data, 2) != first
    state = {"average_precision": [0.9, float("nan")]}
    data.update_sampling(state["average_precision"])
    assert str(data.state_dict()) == str(state)
    resumed = _data(yaml, sampling=ClassBalancedSampling, seed=1)
    resumed.load_state_dict(state)
    resumed.setup("fit")
    assert _keys(resumed, 3) == _keys(data, 3)
    plain = _data(yaml)
    plain.update_sampling([0.9, 0.1])
    assert plain.state_dict() == {}


@pytest.mark.parametrize("num_images", [1, 2, 3])
@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("options", [{}, {"quad": True}, {"canvas": "buckets"}, {"sampling": ClassBalancedSampling}])
def test_fewer_images_than_devices(tmp_path: Path, num_images: int, world_size: int, options: dict[str, Any]) -> None:
    yaml = write_dataset(tmp_path / "few", train=num_images, val=1)
    parts = []
    for rank in range(world_size):
        data = _data(yaml, batch_size=64, **options)
        data.trainer = Ranks(world_size, rank)  # type: ignore[assignment]
        with pytest.warns(UserWarning, match="is larger than"):
            data.setup("fit")
        parts.append([[info.index for info in batch.infos] for batch in data.train_dataloader()])
    assert len({len(part) for part in parts}) == 1
    assert all(batch for part in parts for batch in part)
    if not options:
        assert {index for part in parts for batch in part for index in batch} == set(range(num_images))


class Recorder(LightningModule):
    """Trains one number and keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.trained: list[tuple[int, tuple[int, ...]]] = []
        self.evaluated: list[tuple[int, ...]] = []
        self.num_evaluations = 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.trained.append((self.current_epoch, tuple(info.index for info in batch.infos)))
        return self.weight.sum() * batch.images.float().mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.evaluated.append(tuple(info.index for info in batch.infos))

    def on_validation_epoch_end(self) -> None:
        self.trainer.strategy.barrier()
        self.num_evaluations += 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_trainer_shuffles_anew_each_epoch(yaml: Path, tmp_path: Path, num_workers: int) -> None:
    data, module = _data(yaml, num_workers=num_workers, seed=3), Recorder()
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, datamodule=data)
    expected = [
        (number // 3, tuple(info.index for info in batch.infos))
        for number, batch in enumerate(_epochs(_data(yaml, seed=3)))
    ]
    assert module.trained == expected
    assert len(set(module.trained)) == 6
    assert module.evaluated[0] == module.evaluated[1]
    trainer.validate(module, datamodule=data, verbose=False)
    assert module.evaluated[2] == module.evaluated[0]


_TWO_PROCESSES = """
import json, sys
from pathlib import Path
import torch
from lightning.pytorch import Trainer
from tests.data.test_datamodule import Recorder, _data
torch.set_num_threads(1)
data, module = _data(Path(sys.argv[1]), batch_size=4, eval_batch_size=5, cache="ram", seed=3), Recorder()
trainer = Trainer(max_epochs=2, accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False,
                  enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
                  num_sanity_val_steps=0, default_root_dir=sys.argv[2])
trainer.fit(module, datamodule=data)
cache = data._training_samples.dataset
out = {"trained": module.trained, "evaluated": module.evaluated, "weight": module.weight.item(),
       "cache": cache.location, "cached": cache.num_cached,
       "num_evaluations": module.num_evaluations}
Path(sys.argv[2], f"{trainer.global_rank}.json").write_text(json.dumps(out))
"""


@pytest.mark.slow
def test_two_processes_share_the_work_and_the_cache(yaml: Path, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(_TWO_PROCESSES)
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, str(script), str(yaml), str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    whole = _epochs(_data(yaml, batch_size=4, seed=3))
    assert len(one["trained"]) == len(two["trained"]) == len(whole) == 4
    for batch, (_, first), (_, second) in zip(whole, one["trained"], two["trained"], strict=True):
        assert [info.index for info in batch.infos][::2] == first
        assert [info.index for info in batch.infos][1::2] == second
    assert one["weight"] == two["weight"] != 0
    assert (len(one["evaluated"]), len(two["evaluated"])) == (2, 0)  # one batch, so one process has none
    assert one["num_evaluations"] == two["num_evaluations"] == 2
    assert one["cache"] == two["cache"]
    assert one["cached"] == 7


def test_an_uneven_batch_size_is_told(yaml: Path) -> None:
    data = _data(yaml, batch_size=3)
    data.trainer = Ranks(2)  # type: ignore[assignment]
    data.setup("fit")
    with pytest.raises(ValueError, match="batch_size counts the images of all processes together: 3"):
        data.train_dataloader()


class Grey:
    """Somebody's own transform."""

    def __init__(self, level: int = 7) -> None:
        self.level = level

    def __call__(self, dataset: DetectionDataset, key: SampleKey) -> Sample:
        image = np.full((*key.canvas, 3), self.level, np.uint8)
        return Sample(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), ImageInfo("", key.index, key.canvas))


class Sized(Grey):
    """Somebody's own evaluation transform."""

    def __init__(self, image_size: tuple[int, int], level: int = 8) -> None:
        super().__init__(level)
        self.image_size = image_size


class Noise(DetectionDataset):
    """Somebody's own data set."""

    class_names = ("noise",)

    def __init__(self, path: Path | None, split: str, count: int = 2) -> None:
        self.count, self.split = count, split

    def __len__(self) -> int:
        return self.count

    def path(self, index: int) -> str:
        return f"{self.split}{index}"

    def image_size(self, index: int) -> tuple[int, int]:
        return (16, 16)

    def annotations(self, index: int) -> Any:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.int64)

    def read_image(self, index: int, long_side: int | None = None) -> Any:
        return np.zeros((16, 16, 3), np.uint8)


def _parse(*args: str) -> DetectionDataModule:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DetectionDataModule, "data")
    parser.set_defaults({"data": {"class_path": "yolo_lightning.data.DetectionDataModule"}})
    data = parser.instantiate(parser.parse_args(list(args))).data
    assert isinstance(data, DetectionDataModule)
    return data


def test_parts_are_swapped_and_set_from_yaml(yaml: Path, tmp_path: Path) -> None:
    data = _parse(f"--data.path={yaml}", "--data.dataset.policy=strict", "--data.train_transform.mosaic=0.25")
    dataset = data.dataset("train")
    assert isinstance(dataset, YOLODataset)
    assert dataset.policy == "strict"
    data.setup("fit")
    assert data._training_samples.transform.mosaic == 0.25  # type: ignore[union-attr]
    config = write_yaml(
        tmp_path / "c.yaml",
        f"""
        class_path: yolo_lightning.data.DetectionDataModule
        init_args:
          dataset: {{class_path: {__name__}.Noise, init_args: {{count: 3}}}}
          train_transform: {{class_path: {__name__}.Grey, init_args: {{level: 5}}}}
          eval_transform: {{class_path: {__name__}.Sized}}
          image_size: [32, 64]
          batch_size: 2
          num_workers: 0
        """,
    )
    data = _parse(f"--data={config}")
    data.setup("fit")
    assert (data.class_names, data.image_size) == (("noise",), (32, 64))
    assert [batch.images.unique().tolist() for batch in data.train_dataloader()] == [[5], [5]]
    assert [batch.images.unique().tolist() for batch in data.val_dataloader()] == [[8]]
    assert data._samples["val"].transform.image_size == (32, 64)  # type: ignore[attr-defined]
    data = _parse(f"--data.path={yaml}", "--data.sampling=RepeatFactorSampling", "--data.sampling.threshold=0.5")
    data.setup("fit")
    assert data.num_training_batches == 1
    assert isinstance(data._sampling, RepeatFactorSampling)
    data = _parse("--data.dataset=SyntheticShapes", "--data.num_workers=0", "--data.batch_size=2")
    assert isinstance(data.dataset("train"), SyntheticShapes)
    assert len(data.class_names) > 1


@pytest.mark.parametrize(
    "option", ["--data.train_transfrom=Grey", "--data.batch_size=x", "--data.dataset.polcy=warn", "--data.cache=rom"]
)
def test_unknown_options_are_errors(option: str) -> None:
    with pytest.raises(Exception, match=r"data|transfrom"):
        _parse(option)
