"""Image files as a source."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from yolo_lightning.errors import InputError
from yolo_lightning.inference import Failure, Frame
from yolo_lightning.inference.pictures import output_stem
from yolo_lightning.inference.sources import ImageSource, unique_names

SMOOTH = np.add.outer(np.arange(120), np.arange(200))[..., None].repeat(3, 2).astype(np.uint8) // 2


def _bytes(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    stream = io.BytesIO()
    (image or Image.fromarray(SMOOTH)).save(stream, kind, **options)
    return stream.getvalue()


def _read(path: Path) -> Frame | Failure:
    (event,) = ImageSource([str(path)])
    return event


def test_no_image() -> None:
    with pytest.raises(InputError, match="no image"):
        ImageSource([])


@pytest.mark.parametrize("num_threads", [1, 3])
def test_order_and_failures_in_their_place(tmp_path: Path, num_threads: int) -> None:
    contents = [_bytes("PNG", Image.new("RGB", (20, 10), (number, 0, 0))) for number in range(40)]
    contents[7] = contents[7][:50]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.png").write_bytes(content)
    paths = [str(tmp_path / f"{number}.png") for number in range(40)]
    events = list(ImageSource(paths, num_threads=num_threads))
    assert [event.source for event in events] == paths
    assert [number for number, event in enumerate(events) if isinstance(event, Failure)] == [7]
    frames = [event for event in events if isinstance(event, Frame)]
    assert all(frame.image[0, 0, 0] == int(Path(frame.name).stem) for frame in frames)
    assert all((frame.number, frame.time) == (None, None) for frame in frames)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    file = tmp_path / f"a.{kind.lower()}"
    file.write_bytes(_bytes(kind, exif=exif))
    with Image.open(file) as image:
        upright = np.asarray((image if kind == "TIFF" else ImageOps.exif_transpose(image)).convert("RGB"), int)
    frame = _read(file)
    assert isinstance(frame, Frame)
    assert frame.image.shape == upright.shape
    assert np.abs(frame.image - upright).mean() < 3
    assert frame.image.flags.writeable


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("L", "PNG"),
        ("LA", "PNG"),
        ("P", "PNG"),
        ("1", "PNG"),
        ("RGBA", "PNG"),
        ("I;16", "PNG"),
        ("I;16", "TIFF"),
        ("CMYK", "JPEG"),
        ("L", "JPEG"),
        ("RGB", "BMP"),
        ("RGBA", "WEBP"),
        ("P", "GIF"),
        ("RGB", "PPM"),
    ],
)
def test_any_mode_becomes_rgb(tmp_path: Path, mode: str, kind: str) -> None:
    if mode == "I;16":
        source, expected = Image.fromarray(SMOOTH[..., 0].astype(np.uint16) * 257), SMOOTH
    else:
        source = Image.fromarray(SMOOTH).convert(mode)
        expected = np.asarray(source.convert("RGB"))
    file = tmp_path / "a.bin"
    file.write_bytes(_bytes(kind, source))
    frame = _read(file)
    assert isinstance(frame, Frame)
    assert frame.image.dtype == np.uint8
    assert frame.image.shape == SMOOTH.shape
    assert np.abs(frame.image.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("size", [(1, 1), (3, 2000)])
def test_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(_bytes("PNG", Image.new("RGB", size[::-1])))
    frame = _read(tmp_path / "a.png")
    assert isinstance(frame, Frame)
    assert frame.size == size


def test_something_behind_a_jpeg(tmp_path: Path) -> None:
    """Cameras put films and maps there."""
    (tmp_path / "a.jpg").write_bytes(_bytes("JPEG") + b"motion" * 1000)
    frame = _read(tmp_path / "a.jpg")
    assert isinstance(frame, Frame)
    assert np.abs(frame.image.astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "empty"),
        (b"hello", "format is not known"),
        (_bytes("JPEG")[:-2], "cannot be read"),
        (_bytes("JPEG")[:-400], "truncated"),
        (_bytes("JPEG")[:30], "cannot be read"),
        (_bytes("PNG")[:-60], "cannot be read"),
        (_bytes("PNG")[:200] + b"\x00" + _bytes("PNG")[201:], "cannot be read"),
        (_bytes("WEBP")[:-20], "cannot be read"),
        (_bytes("BMP")[:-2000], "truncated"),
        (_bytes("TIFF")[:-2000], "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "a.jpg"
    if content is not None:
        file.write_bytes(content)
    failure = _read(file)
    assert isinstance(failure, Failure)
    assert failure.source == str(file)
    assert reason in failure.reason
    assert "\n" not in failure.reason
    assert "0x" not in failure.reason


def test_huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    (tmp_path / "a.png").write_bytes(_bytes("PNG"))
    failure = _read(tmp_path / "a.png")
    assert isinstance(failure, Failure)
    assert "exceeds limit" in failure.reason
    assert "tiles" in failure.reason


def test_threads_end(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_bytes("PNG"))
    with ImageSource([str(tmp_path / "a.png")] * 50, num_threads=3) as source:
        next(iter(source))
    with ImageSource([str(tmp_path / "a.png")] * 50, num_threads=3) as source:
        assert len(list(source)) == 50
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([], []),
        (["/a/b/bus.jpg"], ["bus.jpg"]),
        (["/a/bus.jpg", "/a/car.jpg"], ["bus.jpg", "car.jpg"]),
        (["/a/bus.jpg", "/b/bus.jpg", "/b/car.jpg"], ["a_bus.jpg", "b_bus.jpg", "car.jpg"]),
        (["/a/bus.jpg", "/a/x/bus.jpg"], ["bus.jpg", "x_bus.jpg"]),
        (["/a/bus.jpg", "/a/bus.png"], ["bus.jpg", "bus_2.png"]),
        (["/a/Bus.jpg", "/b/bus.PNG"], ["a_Bus.jpg", "b_bus.PNG"]),
        (["/a/bus.jpg", "/a/bus.jpg", "/a/bus.jpg"], ["bus.jpg", "bus_2.jpg", "bus_3.jpg"]),
        (["/a/bus.jpg", "/a/bus.png", "/a/bus_2.jpg"], ["bus.jpg", "bus_3.png", "bus_2.jpg"]),
        (["/r/a/bus.jpg", "/r/b/bus.jpg", "/r/a_bus.jpg"], ["a_bus_2.jpg", "b_bus.jpg", "a_bus.jpg"]),
        (["/a/a\nb.jpg", "/a/a:b.jpg", "/a/a_b.jpg"], ["a\nb.jpg", "a_b_2.jpg", "a_b_3.jpg"]),
        (["/a/con.jpg", "/a/_con.jpg"], ["con.jpg", "_con_2.jpg"]),
        (["/a/bus.torrent", "/a/bus.torrent.jpg"], ["bus.torrent", "bus.torrent_2.jpg"]),
        (["/a/caf\u00e9.jpg", "/a/cafe\u0301.jpg"], ["caf\u00e9.jpg", "cafe\u0301_2.jpg"]),
        (["camera_0", "camera_0"], ["camera_0", "camera_0_2"]),
    ],
)
def test_unique_names(paths: list[str], names: list[str]) -> None:
    assert unique_names(paths) == names
    assert len(set(map(_stem, names))) == len(names)


@pytest.mark.parametrize("char", ["x", "ж", "\U0001f600", "\udcff", "/"])
def test_very_long_names(char: str) -> None:
    paths = [f"/a/{char * 100}{char * 100}{number}.jpg" for number in range(2000)]
    assert len(set(map(_stem, unique_names(paths)))) == len(paths)


def _stem(name: str) -> str:
    """What outputs are called on a file system that ignores case."""
    return output_stem(Frame(np.zeros((1, 1, 3), np.uint8), name, name)).casefold()


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG"])
def test_several_images_in_a_file(tmp_path: Path, kind: str) -> None:
    first, *others = [Image.new("RGB", (32, 24), (value, 0, 0)) for value in (250, 100, 10)]
    first.save(tmp_path / "a.bin", kind, save_all=True, append_images=others)
    with pytest.warns(UserWarning, match=r"a\.bin.*first of its 3 images is read, 2 are left out") as warned:
        frame = _read(tmp_path / "a.bin")
    assert len(warned) == 1
    assert isinstance(frame, Frame)
    assert frame.image[0, 0, 0] > 240


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG", "MPO"])
def test_no_warning_of_a_single_image(tmp_path: Path, kind: str) -> None:
    others = [Image.new("RGB", (32, 24))] if kind == "MPO" else []
    options = {"save_all": True, "append_images": others} if others else {}
    Image.new("RGB", (32, 24)).save(tmp_path / "a.bin", kind, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(_read(tmp_path / "a.bin"), Frame)


def test_names_given(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_bytes("PNG"))
    (frame,) = ImageSource([str(tmp_path / "a.png")], ["b.png"], descriptions=["http://host/a.png"])
    assert (frame.name, frame.source) == ("b.png", "http://host/a.png")
    with pytest.raises(ValueError, match="1 paths but 2 names"):
        ImageSource(["a"], ["a", "b"])
