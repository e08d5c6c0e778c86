from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_lightning.paths import cache_directory, new_directory, new_file, safe_name


def test_own_variable_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("YOLO_LIGHTNING_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "own"
    assert not cache_directory().exists()


def test_xdg_comes_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("YOLO_LIGHTNING_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "yolo-lightning"


@pytest.mark.parametrize(
    ("platform", "folder"), [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")]
)
def test_place_of_the_platform(platform: str, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("YOLO_LIGHTNING_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_directory() == tmp_path / folder / "yolo-lightning"


def test_a_new_directory_is_never_an_old_one(tmp_path: Path) -> None:
    made = [new_directory(tmp_path / "runs" / "detect") for _ in range(3)]
    assert made == [tmp_path / "runs" / name for name in ("detect", "detect-2", "detect-3")]
    assert all(directory.is_dir() for directory in made)


def test_a_file_in_the_place_of_a_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "v1.2").write_text("mine")
    assert new_directory(tmp_path / "v1.2") == tmp_path / "v1.2-2"
    assert (tmp_path / "v1.2").read_text() == "mine"


def test_a_new_file_is_never_an_old_one(tmp_path: Path) -> None:
    for content in (b"one", b"two", b"three"):
        with new_file(tmp_path / "bus.jpg") as file:
            file.write(content)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "bus.jpg": b"one",
        "bus-2.jpg": b"two",
        "bus-3.jpg": b"three",
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "_"),
        (".", "_"),
        ("..", "_"),
        (" . ", "_"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("traffic light", "traffic light"),
        ("a/b\\c:d*e", "a_b_c_d_e"),
        ("two\nlines\x00", "two_lines_"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("console", "console"),
        ("猫 и собака 🐱", "猫 и собака 🐱"),
        ("name. ", "name"),
        ("\ud800", "_"),
    ],
)
def test_safe_name(name: str, expected: str, tmp_path: Path) -> None:
    safe = safe_name(name)
    assert safe == expected
    (tmp_path / safe).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [safe]


@given(st.text())
def test_a_safe_name_is_one_part_of_a_path(name: str) -> None:
    safe = safe_name(name)
    assert Path(safe).name == safe
    assert safe not in ("", ".", "..")
    assert len(safe.encode()) <= 255
    assert safe_name(safe) == safe


def test_a_long_name_is_cut_between_letters() -> None:
    assert safe_name("ж" * 500) == "ж" * 100
