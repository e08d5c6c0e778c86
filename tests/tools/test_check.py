"""``yolo-lightning check``: what it counts, what it finds, and its exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.data.make import LABEL, label_of, write_dataset, write_image, write_label, write_split, write_yaml
from yolo_lightning.cli import main
from yolo_lightning.tools.duplicates import shared_images


@pytest.fixture
def check(capsys, monkeypatch):
    """Runs the tool; gives its exit status and what it printed."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        status = main(["check", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return run


def write_data(root, train=5, val=3):
    """A data set without equal images; returns its yaml."""
    yaml = write_dataset(root, train=train, val=val)
    for number, image in enumerate(sorted((root / "images/val").iterdir())):
        write_image(image, seed=100 + number)
    return yaml


def rows(text):
    """Cells of the table rows, by their first cell."""
    return {cells[0]: cells[1:] for line in text.splitlines() if (cells := line.split())}


def test_counts_of_a_sound_data_set(check, tmp_path):
    yaml = write_data(tmp_path, train=4, val=2)
    write_label(tmp_path / "images/train/train0.png", "")
    label_of(tmp_path / "images/train/train1.png").unlink()
    write_label(tmp_path / "images/val/val0.png", LABEL + "1 0.5 0.5 0.1 0.1\n")
    status, text = check(yaml)
    table = rows(text)
    assert status == 0
    assert table["train"] == ["4", "0", "2", "2"]
    assert table["val"] == ["2", "0", "0", "3"]
    assert (table["cat"], table["dog"]) == (["2", "2"], ["0", "1"])
    assert "Nothing is wrong." in text


def test_splits_can_be_chosen(check, tmp_path):
    yaml = write_data(tmp_path)
    write_label(tmp_path / "images/train/train0.png", "7 0.5 0.5 0.1 0.1\n")
    assert check(yaml)[0] == 1
    status, text = check(yaml, "--splits", "[val]")
    assert status == 0
    assert "train" not in rows(text)


def test_test_split_counts_if_it_is_named(check, tmp_path):
    write_split(tmp_path, "train", 1)
    write_split(tmp_path, "val", 2)
    write_split(tmp_path, "test", 3)
    names = {"names": ["cat"], "train": "images/train", "val": "images/val", "test": "images/test"}
    _, text = check(write_yaml(tmp_path / "data.yaml", names))
    assert [rows(text)[split][0] for split in ("train", "val", "test")] == ["1", "2", "3"]


LABEL_FILE = [
    (b"2 0.5 0.5 0.1 0.1\n", ":1: class 2 is not in 0", 1),
    (LABEL.encode() + b"0 0.5 1.5 0.1 0.1\n", ":2: coordinate 1.5 lies outside", 1),
    (b"0 nan 0.5 0.1 0.1\n", ":1: 'nan' is no finite number", 1),
    (b"\x00\xff\xfe", "is no UTF-8 text", 1),
    (b"0 \x1b[31mred\x1b[0m 0.5 0.1 0.1\n", "'\\x1b[31mred\\x1b[0m' is no number", 1),
    (LABEL.encode() * 2, ":2: repeats line 1", 0),
]


@pytest.mark.parametrize(("content", "message", "status"), LABEL_FILE)
@pytest.mark.parametrize("strict", [False, True])
def test_bad_label_files(check, tmp_path, content, message, status, strict):
    yaml = write_data(tmp_path)
    file = write_label(tmp_path / "images/train/train2.png", content)
    found, text = check(yaml, "--strict", strict)
    assert found == (1 if strict else status)
    assert str(file) in text
    assert message in text
    assert "\x1b" not in text
    assert rows(text)["train"][:2] == [str(5 - status), str(status)]
    assert file.read_bytes() == content


def test_unreadable_and_missing_images(check, tmp_path):
    yaml = write_data(tmp_path)
    broken = tmp_path / "images/val/val0.png"
    broken.write_bytes(broken.read_bytes()[:40])
    listed = tmp_path / "list.txt"
    listed.write_text("images/train/train0.png\nimages/train/gone.png\n")
    write_yaml(yaml, {"train": "list.txt", "val": "images/val", "names": ["cat", "dog"]})
    status, text = check(yaml)
    assert status == 1
    assert f"{broken}: " in text
    assert "gone.png: does not exist" in text
    assert rows(text)["train"][:2] == ["1", "1"]
    assert "2 problems" in text


def test_every_split_that_cannot_be_read_is_told_of(check, tmp_path):
    write_split(tmp_path, "val", 2)
    status, text = check(write_yaml(tmp_path / "data.yaml", {"train": "nowhere", "val": "images/val", "names": ["a"]}))
    assert status == 1
    assert "'train' names 'nowhere', which does not exist" in text
    assert rows(text)["val"][0] == "2"
    status, text = check(write_yaml(tmp_path / "data.yaml", {"names": ["a"]}))
    assert status == 1
    assert "has no key 'train'" in text
    assert "has no key 'val'" in text


def test_splits_without_use(check, tmp_path):
    yaml = write_data(tmp_path, train=2, val=2)
    for split in ("train", "val"):
        for number in range(2):
            label_of(tmp_path / f"images/{split}/{split}{number}.png").unlink()
    status, text = check(yaml)
    assert status == 1
    assert "none of the 2 images of 'train' has a box" in text
    for number in range(2):
        write_label(tmp_path / f"images/train/train{number}.png", LABEL)
    assert check(yaml)[0] == 0
    assert check(yaml, "--strict", "true")[0] == 1
    for number in range(2):
        (tmp_path / f"images/val/val{number}.png").write_bytes(b"no picture")
    status, text = check(yaml)
    assert status == 1
    assert "none of the 2 images of 'val' can be used" in text


def test_images_shared_between_splits(check, tmp_path):
    yaml = write_data(tmp_path, train=3, val=1)
    first = tmp_path / "images/train/train1.png"
    copy = tmp_path / "images/val/copy.png"
    copy.write_bytes(first.read_bytes())
    write_label(copy, LABEL)
    link = tmp_path / "images/val/link.png"
    link.symlink_to(tmp_path / "images/train/train2.png")
    write_label(link, LABEL)
    status, text = check(yaml)
    assert status == 0
    assert f"{first}: is in 'train' and in 'val' as {copy} (the same content), keep it in one split" in text
    assert f"in 'val' as {link} (the same file)" in text
    assert check(yaml, "--strict", "true")[0] == 1


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({}, []),
        ({"train": [], "val": []}, []),
        ({"train": ["a", "copy"]}, []),  # twice in one split is no leak
        ({"train": ["a"], "val": ["b"]}, []),  # of equal size
        ({"train": ["a"], "val": ["late"]}, []),  # of equal size and beginning
        ({"train": ["a"], "val": ["gone"]}, []),
        ({"train": ["a"], "val": ["a"]}, [(("train", "a"), ("val", "a"), True)]),
        ({"train": ["a", "b"], "val": ["copy"]}, [(("train", "a"), ("val", "copy"), False)]),
        ({"train": ["a"], "val": ["b"], "test": ["hard"]}, [(("train", "a"), ("test", "hard"), True)]),
    ],
)
def test_shared_images(tmp_path, splits, expected):
    size = 70_000
    (tmp_path / "a").write_bytes(b"a" * size)
    (tmp_path / "copy").write_bytes(b"a" * size)
    (tmp_path / "b").write_bytes(b"b" * size)
    (tmp_path / "late").write_bytes(b"a" * (size - 1) + b"b")
    (tmp_path / "hard").hardlink_to(tmp_path / "a")
    found = shared_images({split: [str(tmp_path / name) for name in names] for split, names in splits.items()})
    relative = [(*((split, os.path.relpath(path, tmp_path)) for split, path in s.files), s.same_file) for s in found]
    assert relative == expected


def test_names_from_files_do_not_reach_the_terminal_raw(check, tmp_path):
    yaml = write_data(tmp_path)
    image = write_image(tmp_path / "images/train/\x1b]0;title\x07.png", seed=99)
    write_label(image, "9 0.5 0.5 0.1 0.1\n")
    odd = os.fsencode(tmp_path / "images/train") + b"/\xff.png"
    Path(os.fsdecode(odd)).write_bytes(b"no picture")
    values = {"train": "images/train", "val": "images/val", "names": ["\x1b[31mcat", "[bold]dog[/bold]"]}
    status, text = check(write_yaml(yaml, values))
    assert status == 1
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]dog[/bold]" in text
    assert "\\udcff.png" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "holds missing"), ("names: [a", "is no readable YAML"), ("names: [a]\nnc: 2", "make them agree")],
)
def test_a_bad_yaml_is_an_error_of_one_line(check, tmp_path, content, message):
    status, text = check(write_yaml(tmp_path / "data.yaml", content))
    assert status == 1
    assert text.startswith("error: ")
    assert message in text


def test_a_missing_file(check, tmp_path):
    status, text = check(tmp_path / "none.yaml")
    assert status == 1
    assert "none.yaml: does not exist" in text


@pytest.mark.parametrize("arguments", [[], ["data.yaml", "--splits", "[trian]"], ["data.yaml", "--unknown", "1"]])
def test_wrong_arguments_exit_with_usage(check, arguments):
    with pytest.raises(SystemExit) as error:
        check(*arguments)
    assert error.value.code == 2


def test_as_a_process(tmp_path):
    yaml = write_data(tmp_path)
    write_label(tmp_path / "images/val/val1.png", "5 0.5 0.5 0.1 0.1\n")
    command = [sys.executable, "-m", "yolo_lightning", "check", str(yaml)]
    # A terminal that knows only ASCII, and another working directory.
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "ascii:backslashreplace",
        "COLUMNS": "100",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "val1.txt:1: class 5 is not in 0\\u20261" in done.stdout


def test_help_and_run_import_neither_torch_nor_lightning(tmp_path):
    script = (
        "import sys; from yolo_lightning.cli import main\n"
        "try: main(['check', *sys.argv[1:]])\nexcept SystemExit: pass\n"
        "print('imported', [name for name in ('torch', 'lightning', 'cv2') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for argument, expected in (("--help", "[]"), (str(write_data(tmp_path)), "['cv2']")):
        command = [sys.executable, "-c", script, argument]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True)
        assert f"imported {expected}" in done.stdout
