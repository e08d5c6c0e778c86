from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from yolo_lightning.data.images import ImageHeader, apply_orientation, check_image, decode_image
from yolo_lightning.data.problems import Problem

PIXELS = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)
SMOOTH = np.add.outer(np.arange(120), np.arange(200))[..., None].repeat(3, 2).astype(np.uint8) // 2


def _write(file: Path, image: Image.Image, kind: str, orientation: int | None = None) -> Path:
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    image.save(file, kind, **({} if orientation is None else {"exif": exif}))
    return file


def _read(file: Path, reduction: int = 1) -> np.ndarray:
    header = check_image(str(file))
    assert isinstance(header, ImageHeader)
    image = decode_image(np.fromfile(file, np.uint8), reduction)
    assert image is not None
    image = apply_orientation(image, header.orientation)
    if reduction == 1:
        assert image.shape[:2] == header.size
    return image


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path: Path, kind: str, orientation: int) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    exif = Image.Exif()
    exif[274] = orientation
    file = tmp_path / "image.bin"
    Image.fromarray(PIXELS).save(file, kind, exif=exif, **options)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))
    if kind == "TIFF":  # Pillow turns it while loading
        upright = np.asarray(Image.open(file).convert("RGB"))
    assert np.array_equal(_read(file), upright)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_reduced_jpeg_is_the_same_picture(tmp_path: Path, orientation: int, reduction: int) -> None:
    file = _write(tmp_path / "a.jpg", Image.fromarray(SMOOTH), "JPEG", orientation)
    full, reduced = _read(file), _read(file, reduction)
    assert reduced.shape[:2] == tuple(-(-side // reduction) for side in full.shape[:2])
    nearby = np.asarray(Image.fromarray(full).resize(reduced.shape[1::-1], Image.Resampling.BOX), int)
    assert np.abs(nearby - reduced).mean() < 3


def test_other_formats_are_never_reduced(tmp_path: Path) -> None:
    assert _read(_write(tmp_path / "a.png", Image.fromarray(PIXELS), "PNG"), 4).shape == PIXELS.shape


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("L", "PNG"),
        ("I;16", "PNG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("1", "PNG"),
        ("LA", "PNG"),
        ("CMYK", "JPEG"),
        ("L", "JPEG"),
        ("I;16", "TIFF"),
        ("RGB", "BMP"),
        ("RGB", "WEBP"),
    ],
)
def test_any_colour_mode_becomes_rgb(tmp_path: Path, mode: str, kind: str) -> None:
    if mode == "I;16":
        source = Image.fromarray(PIXELS[:, :, 0].astype(np.uint16) * 257)
    else:
        source = Image.fromarray(SMOOTH).convert(mode)
    image = _read(_write(tmp_path / "a.bin", source, kind))
    assert image.dtype == np.uint8
    assert image.shape == (source.height, source.width, 3)
    if mode in {"L", "I;16"}:
        assert np.array_equal(image[..., 0], image[..., 2])
    if mode == "I;16" and kind == "PNG":
        assert np.abs(image[..., 0].astype(int) - PIXELS[..., 0]).max() <= 1


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    assert _read(_write(tmp_path / "a.png", Image.new("RGB", (16, 16), (200, 100, 50)), "PNG"))[0, 0].tolist() == [
        200,
        100,
        50,
    ]


def _jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG")
    return stream.getvalue()


def _png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    return stream.getvalue()


def _gif() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "GIF")
    return stream.getvalue()


def _tiny() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 9)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unreadable_image"),
        (b"hello", "unreadable_image"),
        (_jpeg()[:-2], "unreadable_image"),
        (_jpeg()[:-200], "unreadable_image"),
        (_jpeg()[:30], "unreadable_image"),
        (_png()[:-60], "unreadable_image"),
        (_png()[:200] + b"\x00" + _png()[201:], "unreadable_image"),
        (_gif(), "image_format"),
        (_tiny(), "image_too_small"),
    ],
)
def test_bad_images_are_told(tmp_path: Path, content: bytes, code: str) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(content)
    problem = check_image(str(file))
    assert isinstance(problem, Problem)
    assert (problem.code, problem.line, problem.file) == (code, None, str(file))
    assert str(problem).startswith(f"{file}: ")
    assert problem.left_out


@pytest.mark.parametrize("tail", [b"\x00" * 40, b"camera notes after the end"])
def test_a_jpeg_with_bytes_after_its_end_is_whole(tmp_path: Path, tail: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(_jpeg() + tail)
    assert check_image(str(tmp_path / "a.jpg")) == ImageHeader((24, 40), 1)


def test_an_image_too_large_to_be_true_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _write(tmp_path / "a.png", Image.fromarray(PIXELS), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    problem = check_image(str(file))
    assert isinstance(problem, Problem)
    assert problem.code == "image_too_large"


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", _jpeg()[:100]])
def test_decoding_nonsense_gives_none(content: bytes) -> None:
    assert decode_image(np.frombuffer(content, np.uint8)) is None
