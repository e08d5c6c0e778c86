"""Finding pictures that moved, and making them smaller."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.data.make import write_image
from yolo_lightning.report import PictureFinder, encode_picture


def test_pictures_where_they_were(tmp_path: Path):
    image = write_image(tmp_path / "a.png")
    assert PictureFinder().find(str(image)) == image
    assert PictureFinder().find(str(tmp_path / "b.png")) == "does not exist any more"
    assert PictureFinder().find(str(tmp_path)) == "does not exist any more"


@pytest.mark.parametrize("recorded", ["/gone/val/x.png", "C:\\gone\\val\\x.png", "val/x.png", "/gone/../val/x.png"])
def test_the_folder_that_matches_most_parts_wins(recorded: str, tmp_path: Path):
    write_image(tmp_path / "train/x.png")
    image = write_image(tmp_path / "val/x.png")
    write_image(tmp_path / "x.png")
    assert PictureFinder(tmp_path).find(recorded) == image


def test_a_name_that_is_unique_below_the_folder(tmp_path: Path):
    image = write_image(tmp_path / "deep/er/x.png")
    assert PictureFinder(tmp_path).find("/gone/x.png") == image
    write_image(tmp_path / "other/x.png")
    assert "2 files of its name" in str(PictureFinder(tmp_path).find("/gone/x.png"))


def test_nothing_outside_the_folder_is_found(tmp_path: Path):
    write_image(tmp_path / "secret.png")
    (tmp_path / "root").mkdir()
    assert PictureFinder(tmp_path / "root").find("../secret.png") == "does not exist any more"


@pytest.mark.parametrize(
    ("size", "expected"), [((300, 600), (100, 200)), ((600, 300), (200, 100)), ((50, 80), (50, 80))]
)
def test_sizes(size, expected, tmp_path: Path):
    encoded = encode_picture(write_image(tmp_path / "a.png", size), size, 200)
    assert isinstance(encoded, bytes)
    assert cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR).shape[:2] == expected


def test_pictures_are_upright_and_in_their_colours(tmp_path: Path):
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = (255, 0, 0)
    exif = Image.Exif()
    exif[274] = 6  # the left side is at the top
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    encoded = encode_picture(tmp_path / "a.jpg", (80, 40), 640)
    assert isinstance(encoded, bytes)
    shown = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (80, 40, 3)
    assert shown[20, 20, 2] > 200
    assert shown[60, 20, 2] < 50


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n"])
def test_damaged_pictures(content: bytes, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(content)
    assert "cannot be read as an image" in str(encode_picture(tmp_path / "a.png", (24, 32), 640))


def test_another_picture_of_the_same_name(tmp_path: Path):
    problem = encode_picture(write_image(tmp_path / "a.png", (24, 32)), (32, 24), 640)
    assert problem == "is 32 × 24 pixels, but was 24 × 32 when it was evaluated: another picture"
    # a smaller copy of the same picture will do
    assert isinstance(encode_picture(tmp_path / "a.png", (240, 321), 640), bytes)
