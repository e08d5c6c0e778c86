from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.make import write_dataset, write_image, write_label, write_split, write_yaml
from yolo_lightning.data import DataError, YOLODataset
from yolo_lightning.data.config import read_config
from yolo_lightning.data.files import find_images, label_path


def _images(yaml: Path, split: str = "train") -> list[str]:
    config = read_config(yaml)
    return [Path(image).name for image in find_images(config.sources(split), config.roots())]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_split(tmp_path, "train", 2)
    write_split(tmp_path, "val", 1)
    write_image(tmp_path / "images" / "extra" / "deep" / "er" / "extra0.JPG".lower())
    return tmp_path


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("images/train", ["train0.png", "train1.png"]),
        ("./images/train/", ["train0.png", "train1.png"]),
        ("images/extra", ["extra0.jpg"]),
        (["images/train", "images/extra"], ["extra0.jpg", "train0.png", "train1.png"]),
        ("list.txt", ["train1.png", "val0.png"]),
        (["list.txt", "images/extra"], ["extra0.jpg", "train1.png", "val0.png"]),
    ],
)
def test_reads_folders_lists_and_lists_of_them(root: Path, train: object, expected: list[str]) -> None:
    absolute = root / "images" / "val" / "val0.png"
    (root / "list.txt").write_bytes(f"\ufeff./images/train/train1.png\r\n\r\n{absolute}\r\n".encode())
    yaml = write_yaml(root / "data.yaml", {"train": train, "names": ["cat"]})
    assert sorted(_images(yaml)) == sorted(expected)


def test_names_in_a_list_count_from_the_list_or_the_root(root: Path) -> None:
    (root / "lists").mkdir()
    (root / "lists" / "a.txt").write_text("images/train/train0.png\n./../images/val/val0.png\n")
    yaml = write_yaml(root / "data.yaml", {"path": str(root), "train": "lists/a.txt", "names": ["cat"]})
    assert _images(yaml) == ["train0.png", "val0.png"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("names: [cat, dog]", ("cat", "dog")),
        ("names: {1: dog, 0: cat}", ("cat", "dog")),
        ("names:\n  '0': cat\n  '1': dog\nnc: 2", ("cat", "dog")),
        ("names: [1, yes]", ("1", "True")),
        ("\ufeffnames: [katze, 犬]\r\nnc: 2\r\n", ("katze", "犬")),
    ],
)
def test_reads_names(tmp_path: Path, names: str, expected: tuple[str, ...]) -> None:
    (tmp_path / "d.yaml").write_bytes(names.encode())
    assert read_config(tmp_path / "d.yaml").class_names == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["holds", "train"]),
        ("- a\n- b", ["list", "train"]),
        ("names: [", ["YAML"]),
        ("train: x", ["'names'", "missing"]),
        ("names: []", ["'names'"]),
        ("names: cat", ["'names'", "str"]),
        ("names: [[cat]]", ["'names'"]),
        ("names: {a: cat}", ["'names'", "whole numbers"]),
        ("names: {0: cat, 2: dog}", ["'names'", "gaps"]),
        ("names: [cat]\nnc: 2", ["'nc'", "2", "1 entries"]),
        ("names: [cat]\nnc: one", ["'nc'"]),
        ("names: [cat]\npath: [a]", ["'path'"]),
        ("names: [cat]\ntrain: 3", ["'train'"]),
        ("names: !!python/object/apply:os.system ['true']", ["YAML"]),
    ],
)
def test_a_bad_yaml_names_file_and_key(tmp_path: Path, content: str, words: list[str]) -> None:
    file = write_yaml(tmp_path / "d.yaml", content)
    with pytest.raises(DataError) as error:
        read_config(file)
    assert all(word in str(error.value) for word in [str(file), *words])


def test_path_may_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist; give"):
        read_config(tmp_path / "absent")
    with pytest.raises(DataError, match=r"expected one data\.yaml in this folder, found none"):
        read_config(tmp_path)
    only = write_yaml(tmp_path / "a.yml", {"names": ["a"]})
    assert read_config(tmp_path).file == only
    write_yaml(tmp_path / "b.yaml", {"names": ["b"]})
    with pytest.raises(DataError, match=r"found a\.yml, b\.yaml"):
        read_config(tmp_path)
    preferred = write_yaml(tmp_path / "data.yaml", {"names": ["c"]})
    assert read_config(tmp_path).file == preferred


def test_path_counts_from_the_yaml_then_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_split(tmp_path / "work" / "here", "train", 1)
    yaml = write_yaml(tmp_path / "conf" / "d.yaml", {"path": "here", "train": "images/train", "names": ["a"]})
    with pytest.raises(DataError, match="'train'"):
        read_config(yaml).sources("train")
    monkeypatch.chdir(tmp_path / "work")
    assert _images(yaml) == ["train0.png"]
    write_split(tmp_path / "conf" / "here", "train", 2)
    assert _images(yaml) == ["train0.png", "train1.png"]


def test_roboflow_export_as_it_comes(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        image = write_image(tmp_path / "Blood.v1i.yolov5pytorch" / split / "images" / f"{split}_jpg.rf.0a1b.jpg")
        write_label(image, "1 0.5 0.5 0.25 0.5")
    yaml = write_yaml(
        tmp_path / "Blood.v1i.yolov5pytorch" / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['cat', 'dog']\n\n"
        "roboflow:\n  workspace: w\n  project: p\n  version: 1\n",
    )
    for split in ("train", "val", "test"):
        dataset = YOLODataset(yaml, split)
        assert (len(dataset), dataset.annotations(0)[1].tolist()) == (1, [1])


def test_ultralytics_export_as_it_comes(tmp_path: Path) -> None:
    yaml = write_dataset(tmp_path)
    yaml.write_text(
        "path: ../datasets/pets\ntrain: images/train\nval: images/val\ntest:\nnames:\n  0: cat\n  1: dog\n"
        "download: https://example.com/pets.zip\n"
    )
    assert len(YOLODataset(yaml, "train")) == 5
    assert len(YOLODataset(yaml, "val")) == 3


@pytest.mark.parametrize("key", ["val", "valid", "validation"])
def test_validation_goes_by_several_names(root: Path, key: str) -> None:
    assert _images(write_yaml(root / "d.yaml", {key: "images/val", "names": ["a"]}), "val") == ["val0.png"]


def test_missing_data_is_named_and_download_never_runs(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    yaml = write_yaml(tmp_path / "d.yaml", {"train": "images/none", "names": ["a"], "download": f"bash touch {trap}"})
    with pytest.raises(DataError) as error:
        len(YOLODataset(yaml, "train"))
    assert all(word in str(error.value) for word in [str(yaml), "'train'", str(tmp_path / "images/none"), "download"])
    with pytest.raises(DataError, match="has no key 'test' \\(found: train\\)"):
        len(YOLODataset(yaml, "test"))
    with pytest.raises(DataError, match=r"data\.path"):
        YOLODataset(None, "train")
    assert not trap.exists()


def test_a_source_must_hold_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.md").touch()
    (tmp_path / "list.txt").write_text("a.gif\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for name, words in {
        "empty": "no images",
        "notes.md": "no folder",
        "list.txt": "no images",
        "binary.txt": "UTF-8",
    }.items():
        with pytest.raises(DataError, match=words):
            find_images([tmp_path / name], [tmp_path])


def test_walks_odd_folders(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.png")
    write_image(tmp_path / "images" / "Ünï çødé 图.png")
    write_image(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "images" / "folder.jpg").mkdir()
    write_image(tmp_path / "images" / "folder.jpg" / "c.png")
    (tmp_path / "images" / "._a.png").write_bytes(b"resource fork")
    (tmp_path / "images" / ".hidden").mkdir()
    write_image(tmp_path / "images" / ".hidden" / "d.png")
    (tmp_path / "images" / "UPPER.PNG").write_bytes((tmp_path / "images" / "a.png").read_bytes())
    (tmp_path / "images" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images", target_is_directory=True)
    (tmp_path / "images" / "dangling.png").symlink_to(tmp_path / "nothing.png")
    found = find_images([tmp_path / "images"], [tmp_path])
    names = [str(Path(path).relative_to(tmp_path / "images")) for path in found]
    assert sorted(names) == sorted(["UPPER.PNG", "a.png", "folder.jpg/c.png", "link/b.png", "Ünï çødé 图.png"])
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("/d/images/train/a.jpg", "/d/labels/train/a.txt"),
        ("/images/d/images/a.b.jpeg", "/images/d/labels/a.b.txt"),
        ("/d/pictures/a.png", "/d/pictures/a.txt"),
        ("/d/my-images/a.png", "/d/my-images/a.txt"),
    ],
)
def test_label_path(image: str, label: str) -> None:
    assert label_path(image) == label
