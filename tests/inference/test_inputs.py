"""Whatever is handed to a predictor becomes the same frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Frame
from yolo_lightning.inference.inputs import as_frames


@pytest.fixture
def picture():
    """A small picture whose channels differ."""
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


@pytest.fixture
def file(tmp_path, picture):
    """The picture as a file without loss."""
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    return path


FORMS = {
    "array": lambda picture: picture,
    "channels first": lambda picture: picture.transpose(2, 0, 1),
    "floating point": lambda picture: picture / 255,
    "float16": lambda picture: (picture / 255).astype(np.float16),
    "Pillow": Image.fromarray,
    "transparent": lambda picture: Image.fromarray(picture).convert("RGBA"),
    "tensor": lambda picture: torch.from_numpy(picture).permute(2, 0, 1),
    "float tensor": lambda picture: torch.from_numpy(picture).permute(2, 0, 1) / 255,
    "16 bits": lambda picture: picture.astype(np.uint16) << 8,
    "not contiguous": lambda picture: np.repeat(picture, 2, axis=0)[::2],
    "frame": lambda picture: Frame(picture, "here", "here.png"),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_one_image(form, picture):
    (frame,) = as_frames(FORMS[form](picture))
    tolerance = 1 if form == "float16" else 0
    np.testing.assert_allclose(frame.image.astype(int), picture, atol=tolerance)
    assert frame.image.dtype == np.uint8
    assert frame.image.flags.c_contiguous


def test_no_images():
    assert as_frames([]) == []
    assert as_frames(torch.zeros(0, 3, 8, 8)) == []


def test_files(file, picture):
    for given in (file, str(file), file.as_uri(), [file]):
        (frame,) = as_frames(given)
        np.testing.assert_array_equal(frame.image, picture)
        assert frame.name == "picture.png"


def test_a_list_of_all_kinds_keeps_its_order(file, picture):
    tensor = torch.from_numpy(picture).permute(2, 0, 1)
    frames = as_frames([picture, file, tensor, Image.fromarray(picture)])
    assert [frame.name for frame in frames] == ["image0.jpg", "picture.png", "image2.jpg", "image3.jpg"]
    assert all((frame.image == picture).all() for frame in frames)


def test_batches_are_several_images(picture):
    batch = np.stack([picture, picture[::-1]])
    for given in (batch, torch.from_numpy(batch).permute(0, 3, 1, 2)):
        first, second = as_frames(given)
        np.testing.assert_array_equal(first.image, picture)
        np.testing.assert_array_equal(second.image, picture[::-1])


def test_bgr_as_opencv_reads_it(file, picture):
    (frame,) = as_frames(cv2.imread(str(file)), "bgr")
    np.testing.assert_array_equal(frame.image, picture)
    (unchanged,) = as_frames(file, "bgr")
    np.testing.assert_array_equal(unchanged.image, picture, "files know their own order")


@pytest.mark.parametrize("shape", [(24, 32), (24, 32, 1), (1, 24, 32)])
def test_grey(shape, picture):
    (frame,) = as_frames(picture[..., 0].reshape(shape))
    assert frame.image.shape == (24, 32, 1)


def test_grey_with_16_bits_by_pillow(tmp_path):
    values = np.array([[0, 256, 65535]], np.uint16).repeat(16, 0).repeat(8, 1)
    Image.fromarray(values).save(tmp_path / "deep.png")
    (frame,) = as_frames(Image.open(tmp_path / "deep.png"))
    assert np.unique(frame.image).tolist() == [0, 1, 255]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_grey_with_32_bits_by_pillow(mode):
    values = np.array([[0, 0.5, 1]]).repeat(16, 0).repeat(8, 1)
    array = (values * 65535).astype(np.int32) if mode == "I" else values.astype(np.float32)
    (frame,) = as_frames(Image.fromarray(array))
    assert np.unique(frame.image).tolist() in ([0, 127, 255], [0, 128, 255])
    with pytest.raises(InputError, match="values"):
        as_frames(Image.fromarray(array * 1000))


def test_a_damaged_file_that_pillow_opened(tmp_path, picture):
    Image.fromarray(np.tile(picture, (8, 8, 1))).save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.jpg cannot be decoded"):
        as_frames(Image.open(tmp_path / "cut.jpg"))


def test_tensors_have_their_channels_first():
    tensor = torch.arange(3 * 5 * 3, dtype=torch.uint8).reshape(3, 5, 3)
    (frame,) = as_frames(tensor)
    np.testing.assert_array_equal(frame.image, tensor.permute(1, 2, 0))


def test_pillow_image_is_turned_upright(tmp_path, picture):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(picture).save(tmp_path / "turned.png", exif=exif)
    (frame,) = as_frames(Image.open(tmp_path / "turned.png"))
    np.testing.assert_array_equal(frame.image, np.rot90(picture, -1))
    assert frame.name == "turned.png"


HOSTILE = {
    "nothing": (None, "NoneType is no image"),
    "number": (3.5, "float is no image"),
    "bytes": (b"abc", "bytes is no image"),
    "in a list": ([{}], "dict is no image"),
    "empty array": (np.zeros((0, 4, 3), np.uint8), "empty"),
    "one dimension": (np.zeros(5, np.uint8), r"shape \(5,\)"),
    "five dimensions": (np.zeros((1, 1, 1, 1, 1), np.uint8), "shape"),
    "0 to 255 in floating point": (np.full((8, 8, 3), 255.0), "must be in 0…1"),
    "negative": (np.full((8, 8, 3), -0.5), "must be in 0…1"),
    "not a number": (np.full((8, 8, 3), np.nan), "must be in 0…1"),
    "integers": (np.zeros((8, 8, 3), np.int64), "int64"),
    "missing file": ("missing.jpg", "missing.jpg"),
    "other scheme": ("ftp://example.org/a.jpg", "ftp"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_no_images_at_all(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given, message = HOSTILE[case]
    with pytest.raises(InputError, match=message):
        as_frames(given)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(InputError, match=r"bad\.jpg"):
        as_frames(Path(tmp_path / "bad.jpg"))


def test_unknown_order_of_channels(picture):
    with pytest.raises(InputError, match="color_order"):
        as_frames(picture, "gbr")  # type: ignore[arg-type]
