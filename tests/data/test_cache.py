from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.runs import write_shapes
from yolo_lightning.data import SingleClass, YOLODataset
from yolo_lightning.data.base import DatasetIdentity, DetectionDataset
from yolo_lightning.data.cache import CachedImages, cached_on_node
from yolo_lightning.data.memory import available_memory
from yolo_lightning.data.problems import DataError, UnreadableImageError


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


THREADS = cv2.getNumThreads()
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
    budget = 32 + 4 + 3 * (40 * 60 + 30 * 20) + 10
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    cache, position, count = cached_on_node(Counting(SIZES), (64, 64), "ram")
    read_all(cache)
    assert (cache.num_cached, position, count) == (4, 0, 1)


@pytest.mark.parametrize("budget", [None, 32 + 4 + 3 * (40 * 60 + 30 * 20)])
def test_fills_what_there_is_room_for(kind: str, budget: int | None) -> None:
    dataset = Counting(SIZES)
    with warnings.catch_warnings(record=True):
        cache = CachedImages(dataset, (64, 64), kind, budget=budget)  # type: ignore[arg-type]
    expected = [0, 1, 2, 3] if budget is None else [0, 1]
    # two processes share the work
    assert [sorted(cache.fill(position, 2, num_threads=3)) for position in (1, 0)] == [expected[1::2], expected[::2]]
    assert (cache.num_fitting, cache.num_cached) == (len(expected), len(expected))
    assert list(dataset.decoded) == [int(index in expected) for index in range(4)]
    assert cv2.getNumThreads() == THREADS
    assert list(cache.fill()) == []
    plain = CachedImages(Counting(SIZES), (64, 64))
    for index in range(4):
        assert np.array_equal(cache.read_image(index, 50), plain.read_image(index, 50))


class Broken(Counting):
    def read_image(self, index: int, long_side: int | None = None) -> npt.NDArray[np.uint8]:
        if index == 1:
            raise UnreadableImageError(self.path(1), 1, "cannot be decoded")
        return super().read_image(index, long_side)


def test_an_unreadable_image_is_left_to_whoever_needs_it() -> None:
    cache = CachedImages(Broken(SIZES), (64, 64))
    assert list(cache.fill()) == [0, 1, 2, 3]
    assert cache.num_cached == 3
    with pytest.raises(UnreadableImageError):
        cache.read_image(1, 20)


class Identified(Plain):
    """Can be told from other data sets in a later run."""

    state = "as it was"

    def identity(self) -> DatasetIdentity | None:
        return DatasetIdentity("pictures", self.state)


def filled(dataset: DetectionDataset, size: tuple[int, int] | None = (64, 64), **options: Any) -> CachedImages:
    cache = CachedImages(dataset, size, "disk", **options)
    for _ in cache.fill(num_threads=2):
        pass
    return cache


def test_a_full_disk_cache_serves_later_runs(tmp_path: Path) -> None:
    first = filled(Identified(SIZES))
    assert first.published_path is not None
    assert first.published_path.parent == tmp_path / "cache" / "images"
    assert [file.name for file in first.published_path.parent.iterdir()] == [first.published_path.name]
    later = Identified(SIZES)
    cache = CachedImages(later, (64, 64), "disk")
    assert (cache.num_cached, cache.max_bytes) == (4, 0)
    copy = pickle.loads(pickle.dumps(cache))
    for index in range(4):
        assert np.array_equal(cache.read_image(index, 60), first.read_image(index, 60))
        assert np.array_equal(copy.read_image(index, 60), first.read_image(index, 60))
    assert later.decoded == [0, 0, 0, 0]  # type: ignore[comparison-overlap]
    assert filled(Identified(SIZES), directory=tmp_path / "elsewhere").max_bytes > 0
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def _other_state() -> Identified:
    dataset = Identified(SIZES)
    dataset.state = "as it is now"
    return dataset


STALE = {
    "files have changed": lambda file: CachedImages(_other_state(), (64, 64), "disk"),
    "another size": lambda file: CachedImages(Identified(SIZES), (32, 32), "disk"),
    "other sizes": lambda file: CachedImages(Identified(SIZES[::-1]), (64, 64), "disk"),
    "cut off": lambda file: os.truncate(file, 1000) or CachedImages(Identified(SIZES), (64, 64), "disk"),
    "empty": lambda file: os.truncate(file, 0) or CachedImages(Identified(SIZES), (64, 64), "disk"),
    "no file": lambda file: (file.unlink(), file.mkdir(), CachedImages(Identified(SIZES), (64, 64), "disk"))[-1],
    "something else": lambda file: (
        file.write_bytes(bytes(file.stat().st_size)),
        CachedImages(Identified(SIZES), (64, 64), "disk"),
    )[-1],
}


@pytest.mark.parametrize("case", STALE)
def test_a_file_of_something_else_is_not_used(case: str) -> None:
    path = filled(Identified(SIZES)).published_path
    cache = STALE[case](path)
    assert (cache.num_cached, len(list(cache.fill()))) == (0, 4)
    assert cache.num_cached == 4


def test_a_changed_state_takes_the_place_of_the_old() -> None:
    running = filled(Identified(SIZES))
    cache = filled(_other_state())
    assert cache.published_path == running.published_path
    assert CachedImages(_other_state(), (64, 64), "disk").num_cached == 4
    assert CachedImages(Identified(SIZES), (64, 64), "disk").num_cached == 0
    assert running.read_image(0, 60).shape == (40, 60, 3), "what is in use stays"


def test_a_cache_that_is_not_full_is_not_kept() -> None:
    cache = CachedImages(Identified(SIZES), (64, 64), "disk")
    list(cache.fill(0, 2))
    assert cache.published_path is not None
    assert not cache.published_path.exists()
    list(cache.fill(1, 2))
    assert cache.published_path.exists()


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"there can be no image cache in .*set cache_directory to a folder"):
        CachedImages(Identified(SIZES), (64, 64), "disk", directory=tmp_path / "file")


def test_yolo_data_tells_its_images_by_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_lightning.data.scan.RECENT_SECONDS", 0.0)  # as if the files were old
    yaml = write_shapes(tmp_path / "shapes", train=3, val=1)

    def identity() -> DatasetIdentity:
        found = YOLODataset(yaml, "train").identity()
        assert found is not None
        return found

    before = identity()
    assert identity() == before == SingleClass(YOLODataset(yaml, "train")).identity()
    assert YOLODataset(yaml, "val").identity() not in (before, None)
    label = next((tmp_path / "shapes" / "labels" / "train").iterdir())
    label.write_text(label.read_text() + "\n")
    assert identity() == before, "labels are not kept"
    image = next((tmp_path / "shapes" / "images" / "train").iterdir())
    image.write_bytes(image.read_bytes())
    assert identity().name == before.name
    assert identity().state != before.state

    class Grey(YOLODataset):
        def read_image(self, index: int, long_side: int | None = None) -> npt.NDArray[np.uint8]:
            return super().read_image(index, long_side) // 2

    assert Grey(yaml, "train").identity() is None


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc")
@pytest.mark.slow
def test_two_ranks_hold_one_copy(tmp_path: Path) -> None:
    """Each rank reads all, so that all pages are in its memory: counted by shares (PSS) they are one copy."""
    script = tmp_path / "rank.py"
    script.write_text(
        "import json, sys, re\n"
        "from pathlib import Path\n"
        "import torch.distributed as dist\n"
        "from tests.data.test_cache import *\n"
        "rank = int(sys.argv[1])\n"
        "dist.init_process_group('gloo', init_method=f'file://{sys.argv[2]}/store', rank=rank, world_size=2)\n"
        "cache, position, count = cached_on_node(Plain([(512, 512)] * 32), (512, 512), 'ram')\n"
        "own = len(list(cache.fill(position, count)))\n"
        "dist.barrier()\n"
        "checksum = sum(int(cache.read_image(index, 512).sum()) for index in range(32))\n"
        "dist.barrier()\n"
        "smaps = Path('/proc/self/smaps').read_text()\n"
        "pss = [int(kb) for kb in re.findall(r'memfd:yolo-lightning-images.*?Pss: *(\\d+) kB', smaps, re.S)]\n"
        "dist.barrier()\n"
        "print(json.dumps([own, checksum, cache.num_cached, cache.num_bytes, 1024 * sum(pss), cache.location]))\n"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen([sys.executable, script, str(rank), tmp_path], cwd=root, env=environment, stdout=-1, text=True)
        for rank in range(2)
    ]
    one, two = (json.loads(rank.communicate(timeout=120)[0].splitlines()[-1]) for rank in ranks)
    copy = 32 * 512 * 512 * 3
    assert (one[0], two[0]) == (16, 16)
    assert one[1:4] == [two[1], 32, two[3]]
    assert one[5] == two[5]
    assert copy <= one[3] < 1.01 * copy
    assert one[4] + two[4] == pytest.approx(copy, rel=0.02)
    assert one[4] == pytest.approx(copy / 2, rel=0.02)


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
