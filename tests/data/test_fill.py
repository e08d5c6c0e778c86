"""A training run fills the cache first, keeps to its budget, and says what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.runs import check_run, tiny_config, write_shapes
from yolo_lightning.data import CachedImages, DetectionDataModule, Letterbox
from yolo_lightning.data.problems import DataError

IMAGE_BYTES = 64 * 64 * 3
NUM_TRAIN, NUM_VAL = 48, 8


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_LIGHTNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("yolo_lightning.data.scan.RECENT_SECONDS", 0.0)  # as if the files were old


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes"), train=NUM_TRAIN, val=NUM_VAL)


def open_data(path: Path, **options: Any) -> DetectionDataModule:
    defaults: dict[str, Any] = {"image_size": 64, "batch_size": 4, "num_workers": 0, "train_transform": Letterbox}
    data = DetectionDataModule(path, **{**defaults, **options})
    data.setup("fit")
    return data


def cache_of(data: DetectionDataModule, split: str = "train") -> CachedImages:
    loader = data.train_dataloader() if split == "train" else data.val_dataloader()
    cache = loader.dataset.dataset  # type: ignore[attr-defined]
    assert isinstance(cache, CachedImages)
    return cache


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_is_full_before_training_and_says_so(shapes: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = open_data(shapes, cache=kind)
    assert (cache_of(data).num_cached, cache_of(data, "val").num_cached) == (NUM_TRAIN, NUM_VAL)
    place = {"ram": "in memory", "disk": "on disk"}[kind]
    text = " ".join(capsys.readouterr().err.split())
    assert f"Caching 'train' {place}: 0.0 GiB, 48 images of 48 (" in text
    assert f"Caching 'val' {place}: 0.0 GiB, 8 images of 8 (" in text
    open_data(shapes, cache=kind)
    assert ("found there" in capsys.readouterr().err) == (kind == "disk")


def test_the_budget_counts_for_all_splits(shapes: Path) -> None:
    room = NUM_TRAIN + NUM_VAL // 2
    with pytest.warns(UserWarning, match=rf"\(ram\): 4 of {NUM_VAL} images are kept"):
        data = open_data(shapes, cache="ram", cache_budget=(room * IMAGE_BYTES + 200) / 2**30)
    assert (cache_of(data).num_cached, cache_of(data, "val").num_cached) == (NUM_TRAIN, NUM_VAL // 2)


def test_memory_stays_inside_a_budget_of_half_the_images(shapes: Path) -> None:
    budget = NUM_TRAIN // 2 * IMAGE_BYTES + 100
    with pytest.warns(UserWarning, match=rf"\(ram\): 24 of {NUM_TRAIN} images are kept"):
        data = open_data(shapes, cache="ram", cache_budget=budget / 2**30, num_workers=2)
    cached = [batch.images.sum(dtype=int) for _ in range(2) for batch in data.train_dataloader()]
    assert len(cached) == 2 * NUM_TRAIN / 4
    cache = cache_of(data)
    assert cache.num_cached == NUM_TRAIN // 2
    page = 4096
    assert 0.9 * budget < cache.num_bytes <= budget + page
    assert cache_of(data, "val").num_cached == 0
    plain = [batch.images.sum(dtype=int) for _ in range(2) for batch in open_data(shapes).train_dataloader()]
    assert cached == plain


def test_a_disk_cache_lies_where_it_is_asked_to(shapes: Path, tmp_path: Path) -> None:
    before = sorted(shapes.parent.rglob("*"))
    open_data(shapes, cache="disk", cache_directory=tmp_path / "here")
    assert len(list((tmp_path / "here").iterdir())) == 2
    assert not (tmp_path / "cache" / "images").exists()
    assert sorted(shapes.parent.rglob("*")) == before


@pytest.mark.parametrize("budget", [0, -1.5])
def test_refuses_a_budget_of_nothing(budget: float) -> None:
    with pytest.raises(DataError, match=r"cache_budget is .* GiB; it must be positive"):
        DetectionDataModule(cache_budget=budget)


@pytest.mark.slow
def test_a_run_with_half_of_its_images_cached(shapes: Path, tmp_path: Path) -> None:
    import yaml

    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_config(shapes, max_epochs=1)))
    budget = NUM_TRAIN // 2 * IMAGE_BYTES + 100
    options = ["--data.cache=ram", f"--data.cache_budget={budget / 2**30:.9f}", "--data.num_workers=2"]
    run = check_run("fit", "--config=tiny.yaml", *options, cwd=tmp_path)
    assert "24 of 48 images are kept" in run.stderr
    assert "Caching 'train' in memory: 0.0 GiB, 24 images of 48" in run.stderr
