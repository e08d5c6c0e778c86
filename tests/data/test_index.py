from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.make import LABEL, label_of, write_image, write_label, write_split
from yolo_lightning.data import index as index_module
from yolo_lightning.data import scan
from yolo_lightning.data.files import find_images
from yolo_lightning.data.index import LabelIndex, build_index
from yolo_lightning.paths import cache_directory


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_LIGHTNING_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images that were read, in order; files count as old from their first moment on."""
    images: list[str] = []
    original = index_module.scan_files

    def spy(paths: list[str], *args: object, **options: object) -> list[scan.FileRecord]:
        images.extend(Path(path).stem for path in paths)
        return original(paths, *args, **options)

    monkeypatch.setattr(index_module, "scan_files", spy)
    monkeypatch.setattr(scan, "RECENT_SECONDS", -3600.0)
    return images


def _build(root: Path, num_classes: int = 2) -> LabelIndex:
    images = find_images([root / "images"], [root])
    return build_index(images, name=str(root), num_classes=num_classes, progress=False)


def _content(index: LabelIndex) -> list[tuple[object, ...]]:
    return [
        (index.path(i), index.size(i), *(array.tolist() for array in index.labels(i)), len(index.polygons(i)))
        for i in range(len(index))
    ]


def _cache_file(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "cache" / "labels").glob("*.safetensors")
    return file


def test_no_images_give_an_empty_index(tmp_path: Path) -> None:
    index = build_index([], name="none", num_classes=1)
    assert (len(index), index.num_files, index.num_boxes, index.problems) == (0, 0, 0, [])
    assert index.sizes.shape == (0, 2)


def test_holds_what_the_files_say(tmp_path: Path) -> None:
    box, polygon, missing, empty = write_split(tmp_path / "d", "train", 4, label=None)
    write_label(box, "1 0.5 0.25 0.125 0.5\n0 0.1 0.2 0.1 0.2\n")
    write_label(polygon, "0 .5 .5 .25 .25\n1 .25 .5 .75 .5 .5 1\n")
    write_label(empty, "")
    index = _build(tmp_path / "d")
    assert [index.path(i) for i in range(4)] == [str(path) for path in (box, polygon, missing, empty)]
    assert index.sizes.tolist() == [[24, 48], [28, 46], [32, 44], [36, 42]]
    assert index.labels(0)[0].tolist() == np.array([[0.5, 0.25, 0.125, 0.5], [0.1, 0.2, 0.1, 0.2]], np.float32).tolist()
    assert index.labels(0)[1].tolist() == [1, 0]
    assert index.labels(2)[0].shape == (0, 4)
    assert [polygon.tolist() for polygon in index.polygons(1)] == [[], [[0.25, 0.5], [0.75, 0.5], [0.5, 1.0]]]
    assert (index.num_boxes, index.num_missing, index.num_empty) == (4, 1, 1)
    assert index.all_labels().tolist() == [1, 0, 0, 1]
    assert index.problems == []


def test_reads_nothing_twice(tmp_path: Path, scanned: list[str]) -> None:
    write_split(tmp_path / "d", "train", 3)
    first = _build(tmp_path / "d")
    assert scanned == ["train0", "train1", "train2"]
    second = _build(tmp_path / "d")
    assert len(scanned) == 3
    assert _content(first) == _content(second)


def _swap_class(image: Path) -> None:
    write_label(image, LABEL.replace("0", "1", 1))


def _swap_class_and_restore_time(image: Path) -> None:
    state = label_of(image).stat()
    _swap_class(image)
    os.utime(label_of(image), ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (label_of(image).stat().st_size, label_of(image).stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)


def _swap_files(image: Path) -> None:
    other = image.with_stem("train0")
    a, b, spare = label_of(image), label_of(other), label_of(image).with_suffix(".spare")
    a.rename(spare)
    b.rename(a)
    spare.rename(b)


def _retarget_link(image: Path) -> None:
    target = label_of(image).parent.parent / "other.txt"
    target.write_text(LABEL.replace("0", "1", 1))
    label_of(image).unlink()
    label_of(image).symlink_to(target)


@pytest.mark.parametrize(
    ("edit", "reread"),
    [
        (_swap_class, ["train1"]),
        (_swap_class_and_restore_time, ["train1"]),
        (_swap_files, ["train0", "train1"]),
        (_retarget_link, ["train1"]),
        (lambda image: label_of(image).unlink(), ["train1"]),
        (lambda image: write_image(image, (50, 60)), ["train1"]),
        (lambda image: image.unlink(), []),
        (lambda image: write_image(image.with_stem("new")), ["new"]),
        (lambda image: image.with_suffix(".txt").touch(), []),
    ],
)
def test_any_edit_is_noticed_and_only_it_is_read(
    tmp_path: Path, scanned: list[str], edit: Callable[[Path], object], reread: list[str]
) -> None:
    images = write_split(tmp_path / "d", "train", 3)
    write_label(images[0], LABEL * 2)
    _build(tmp_path / "d")
    scanned.clear()
    time.sleep(0.02)  # more than a tick of the file system's clock
    edit(images[1])
    incremental = _build(tmp_path / "d")
    assert scanned == reread
    _cache_file(tmp_path).unlink()
    assert _content(incremental) == _content(_build(tmp_path / "d"))


def test_an_edit_within_a_clock_tick_is_noticed(tmp_path: Path) -> None:
    images = write_split(tmp_path / "d", "train", 2)
    for label in (1, 0, 1):  # immediately after each other, same size
        write_label(images[0], LABEL.replace("0", str(label), 1))
        assert _build(tmp_path / "d").labels(0)[1].tolist() == [label]


def test_number_of_classes_is_part_of_the_key(tmp_path: Path) -> None:
    image = write_split(tmp_path / "d", "train", 1)[0]
    write_label(image, "2 .5 .5 .1 .1")
    assert len(_build(tmp_path / "d", 3)) == 1
    assert [problem.code for problem in _build(tmp_path / "d", 2).problems] == ["class_range"]


def test_bad_files_are_left_out_reported_and_kept_in_the_cache(tmp_path: Path, scanned: list[str]) -> None:
    good, bad_label, bad_image, repeated, folder, odd = write_split(tmp_path / "d", "train", 6)
    write_label(bad_label, "0 .5 .5 .1 .1\n7 .5 .5 .1 .1\n0 .5 .5 2 .1\n")
    bad_image.write_bytes(b"no image")
    write_label(repeated, LABEL * 2)
    label_of(folder).unlink()
    label_of(folder).mkdir()
    write_label(odd, b"0 .5 .5 .1 \xff")
    for _ in range(2):  # the second time from the cache
        index = _build(tmp_path / "d")
        assert [index.path(i) for i in range(len(index))] == [str(good), str(repeated)]
        assert (index.num_files, index.num_boxes) == (6, 2)
        assert [(Path(p.file).name, p.line, p.code) for p in index.problems] == [
            ("train1.txt", 2, "class_range"),
            ("train1.txt", 3, "coordinate_range"),
            ("train2.png", None, "unreadable_image"),
            ("train3.txt", 2, "duplicate"),
            ("train4.txt", None, "unreadable_label"),
            ("train5.txt", 1, "encoding"),
        ]
    assert len(scanned) == 6


def test_a_listed_image_that_is_absent_is_told(tmp_path: Path) -> None:
    index = build_index([str(tmp_path / "none.png")], name="x", num_classes=1)
    assert (len(index), index.problems[0].code) == (0, "image_missing")


def test_odd_names_survive(tmp_path: Path) -> None:
    image = write_image(tmp_path / "d" / "images" / "ünï 图 \udcff.png")
    write_label(image, LABEL)
    _build(tmp_path / "d")
    index = _build(tmp_path / "d")
    assert (index.path(0), index.num_boxes) == (str(image), 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        lambda content: b"\xff" * len(content),
        lambda content: (2**62).to_bytes(8, "little") + content[8:],
        lambda content: (2).to_bytes(8, "little") + b"[]" + content,
        lambda content: (2).to_bytes(8, "little") + b"{}" + content,
    ],
)
def test_a_damaged_cache_is_built_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write_split(tmp_path / "d", "train", 2)
    expected = _content(_build(tmp_path / "d"))
    file = _cache_file(tmp_path)
    content = file.read_bytes()
    file.write_bytes(damage(content))
    with pytest.warns(UserWarning, match="building it again"):
        index = _build(tmp_path / "d")
    assert _content(index) == expected
    del index
    assert _content(_build(tmp_path / "d")) == expected


def test_an_unwritable_cache_is_warned_of_and_done_without(tmp_path: Path) -> None:
    write_split(tmp_path / "d", "train", 2)
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="YOLO_LIGHTNING_CACHE"):
        index = _build(tmp_path / "d")
    assert (len(index), index.file) == (2, None)
    assert _content(pickle.loads(pickle.dumps(index))) == _content(index)


def test_nothing_is_written_to_the_data_and_no_pickle_to_the_cache(tmp_path: Path) -> None:
    write_split(tmp_path / "d", "train", 2)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "d").rglob("*")}
    _build(tmp_path / "d")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "d").rglob("*")} == before
    assert [file.suffix for file in cache_directory().rglob("*") if file.is_file()] == [".safetensors"]


def test_parallel_and_serial_scans_agree(tmp_path: Path) -> None:
    paths = [str(path) for path in write_split(tmp_path / "d", "train", 4)] * 200
    serial = scan.scan_files(paths, 2, progress=False, workers=1)
    parallel = scan.scan_files(paths, 2, progress=True, workers=2)
    assert len(serial) == len(parallel) == 800
    for one, other in zip(serial, parallel, strict=True):
        assert one.header == other.header
        assert np.array_equal(one.boxes, other.boxes)


def _build_in_process(root: Path, results: multiprocessing.Queue[object]) -> None:
    results.put(_content(_build(root)))


def test_processes_may_build_at_once(tmp_path: Path) -> None:
    write_split(tmp_path / "d", "train", 8)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_build_in_process, args=(tmp_path / "d", results)) for _ in range(4)]
    for process in processes:
        process.start()
    contents = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert all(content == contents[0] for content in contents)
    assert _content(_build(tmp_path / "d")) == contents[0]
    assert len(list((tmp_path / "cache" / "labels").iterdir())) == 1


def test_pickles_as_a_file_name(tmp_path: Path) -> None:
    write_split(tmp_path / "d", "train", 3)
    index = _build(tmp_path / "d")
    pickled = pickle.dumps(index)
    assert len(pickled) < 1000
    assert _content(pickle.loads(pickled)) == _content(index)
    write_split(tmp_path / "d", "more", 1)
    _build(tmp_path / "d")
    with pytest.raises(RuntimeError, match="changed"):
        pickle.loads(pickled)
    assert len(_content(index)) == 3  # the one in use still sees the file it mapped
