"""What formats cannot do, and the libraries that they need."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.export.conftest import IMAGES, calm_detector, export
from tests.inference.conftest import CLASS_NAMES
from yolo_lightning.errors import InputError
from yolo_lightning.export import ExportOptions, export_network

LIBRARIES = {
    "executorch": ("executorch.exir", "executorch"),
    "litert": ("litert_torch", "litert-torch"),
    "coreml": ("coremltools", "coremltools"),
}
CANNOT = {
    "executorch": ("dynamic", "half", "int8", "nms"),
    "litert": ("dynamic", "half", "int8", "nms"),
    "coreml": ("dynamic", "int8", "nms", "preprocess"),
}


@pytest.mark.parametrize("kind", LIBRARIES)
def test_the_missing_library_is_named(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, library = LIBRARIES[kind]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{library} is needed .*yolo-lightning\[{kind}\]"):
        export(kind, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("kind", "option"), [(name, option) for name in CANNOT for option in CANNOT[name]])
def test_what_it_cannot_do_is_refused(kind: str, option: str, tmp_path: Path) -> None:
    options = ExportOptions(image_size=(64, 64), **{option: True})
    with pytest.raises(InputError, match=f"{kind} files cannot be exported with --{option}"):
        export_network(calm_detector(), CLASS_NAMES, kind, tmp_path / "x", options, images=IMAGES)
    assert not list(tmp_path.iterdir())
