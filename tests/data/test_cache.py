from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from yolo_lightning.data.base import DetectionDataset
from yolo_lightning.data.cache import CachedImages, cached_on_node
from yolo_lightning.data.memory import available_memory


class Counting(DetectionDataset):
    """Pictures of noise that count how often they are decoded, in whichever process."""

    class_names = ("a",)

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes = sizes
        self.decoded = multiprocessing.get_context("fork").RawArray("i", max(1, len(sizes)))

    def __len__(self) -> int:
        return len(self.sizes)

    def path(self, index: int) -> str:
        return f"{index}"

    def image_size(self, index: int) -> tuple[int, int]:
        return self.sizes[index]

    def annotations(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        return np.full((1, 4), index, np.float32), np.zeros(1, np.int64)

    def read_image(self, index: int, long_side: int | None = None) -> npt.NDArray[np.uint8]:
        self.decoded[index] += 1
        return np.random.default_rng(index).integers(0, 255, (*self.sizes[index], 3), np.uint8)


class Plain(Counting):
    """The same without the counter, so that it can be sent to a spawned process."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes = sizes
        self.decoded = [0] * len(sizes)  # type: ignore[assignment]


SIZES = [(40, 60), (30, 20), (64, 64), (128, 100)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_LIGHTNING_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["ram", "disk"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_of_nothing(kind: str) -> None:
    assert len(CachedImages(Counting([]), (32, 32), kind)) == 0  # type: ignore[arg-type]


def test_decodes_each_image_once(kind: str) -> None:
    dataset = Counting(SIZES)
    cache = CachedImages(dataset, (64, 64), kind)  # type: ignore[arg-type]
    first = [cache.read_image(i, 60).copy() for i in range(4)]
    assert cache.num_cached == 4
    second = [cache.read_image(i, 60) for i in range(4)]
    assert list(dataset.decoded) == [1, 1, 1, 1]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    # shrunk to fit, rounded up; never enlarged
    assert [image.shape[:2] for image in second] == [(40, 60), (30, 20), (64, 64), (64, 50)]
    assert np.array_equal(second[0], np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    assert not second[0].flags.writeable


def test_more_pixels_than_the_cache_has_come_from_the_data_set() -> None:
    dataset = Counting(SIZES)
    cache = CachedImages(dataset, (64, 64))
    assert cache.read_image(3, 65).shape == (128, 100, 3)
    assert cache.read_image(3).shape == (128, 100, 3)
    assert cache.read_image(3, 64).shape == (64, 50, 3)
    assert cache.read_image(0).shape == cache.read_image(0, 500).shape == (40, 60, 3)
    assert list(dataset.decoded) == [1, 0, 0, 3]


def test_keeps_original_pixels_on_request() -> None:
    dataset = Counting(SIZES)
    cache = CachedImages(dataset, None)
    assert [cache.read_image(3).shape, cache.read_image(3, 9).shape] == [(128, 100, 3)] * 2
    assert dataset.decoded[3] == 1


def test_the_rest_is_that_of_the_data_set() -> None:
    cache = CachedImages(Counting(SIZES), (32, 32))
    assert (len(cache), cache.path(2), cache.image_size(3), cache.class_names) == (4, "2", (128, 100), ("a",))
    assert cache.annotations(1)[0].tolist() == [[1, 1, 1, 1]]


def test_a_budget_is_kept_and_said() -> None:
    dataset = Counting(SIZES)
    budget = 4 + 3 * (40 * 60 + 30 * 20) + 10
    with pytest.warns(UserWarning, match="2 of 4 images are kept"):
        cache = CachedImages(dataset, (64, 64), budget=budget)
    for _ in range(3):
        shapes = [cache.read_image(i, 50).shape[:2] for i in range(4)]
    assert shapes == [(40, 60), (30, 20), (64, 64), (64, 50)]
    assert (list(dataset.decoded), cache.num_cached) == ([1, 1, 3, 3], 2)
    with pytest.warns(UserWarning, match="0 of 4"):
        assert CachedImages(Counting(SIZES), (64, 64), budget=0).read_image(0, 9).shape == (40, 60, 3)


def read_all(cache: CachedImages) -> None:
    for index in range(len(cache)):
        cache.read_image(index, 60)


def test_forked_workers_share_one_copy(kind: str) -> None:
    dataset = Counting(SIZES)
    cache = CachedImages(dataset, (64, 64), kind)  # type: ignore[arg-type]
    context = multiprocessing.get_context("fork")
    for _ in range(2):
        process = context.Process(target=read_all, args=(cache,))
        process.start()
        process.join()
        assert process.exitcode == 0
    read_all(cache)
    assert list(dataset.decoded) == [1, 1, 1, 1]


def test_spawned_workers_and_other_ranks_share_one_copy(kind: str) -> None:
    cache = CachedImages(Plain(SIZES), (64, 64), kind)  # type: ignore[arg-type]
    process = multiprocessing.get_context("spawn").Process(target=read_all, args=(cache,))
    process.start()
    process.join()
    assert (process.exitcode, cache.num_cached) == (0, 4)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.num_cached == 4
    rank = CachedImages(Plain(SIZES), (64, 64), location=cache.location)
    read_all(rank)
    assert rank.dataset.decoded == [0, 0, 0, 0]  # type: ignore[attr-defined]
    with pytest.raises(OSError, match=r"gone|No such file"):
        CachedImages(Plain(SIZES), (64, 64), location=f"1-1:/proc/{os.getpid()}/fd/0")


@pytest.mark.skipif(sys.platform != "linux", reason="files without a name")
def test_a_killed_process_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal; from tests.data.test_cache import *\n"
        "caches = [CachedImages(Plain(SIZES), (64, 64), kind) for kind in ('ram', 'disk')]\n"
        "[read_all(cache) for cache in caches]; os.kill(os.getpid(), signal.SIGKILL)"
    )
    shared_memory = set(Path("/dev/shm").iterdir())
    result = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert result.returncode == -9, result.stderr
    assert [file for file in (tmp_path / "cache").rglob("*") if file.is_file()] == []
    assert not {name for name in set(Path("/dev/shm").iterdir()) - shared_memory if "images" in name.name}


def test_without_ranks_it_is_an_ordinary_cache() -> None:
    cache = cached_on_node(Counting(SIZES), (64, 64), "ram")
    read_all(cache)
    assert cache.num_cached == 4


def _write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def test_free_memory_heeds_the_container(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    assert available_memory(proc, groups) is None
    _write(proc / "meminfo", "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    assert available_memory(proc, groups) == 8000 * 1024
    _write(proc / "self/cgroup", "0::/job/step\n")
    _write(groups / "job/memory.max", "5000000\n")
    _write(groups / "job/memory.current", "2000000\n")
    _write(groups / "job/memory.stat", "anon 1\ninactive_file 500000\n")
    _write(groups / "job/step/memory.max", "max\n")
    _write(groups / "job/step/memory.current", "1\n")
    assert available_memory(proc, groups) == 3500000
    _write(proc / "self/cgroup", "9:memory:/docker/x\n")
    _write(groups / "memory/docker/x/memory.limit_in_bytes", "1000000")
    _write(groups / "memory/docker/x/memory.usage_in_bytes", "900000")
    assert available_memory(proc, groups) == 100000
