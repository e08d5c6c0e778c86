"""Compiled packages answer as the network does, and are opened only by those who say that they trust them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.export.alike import SETTINGS, assert_alike, pictures, plain
from tests.export.conftest import IMAGES, THRESHOLDS, calm_detector, export
from tests.inference.conftest import CLASS_NAMES
from yolo_lightning.errors import InputError
from yolo_lightning.export import FORMATS, ExportOptions, export_network
from yolo_lightning.inference import load
from yolo_lightning.runtimes import contract_path, load_exported

pytestmark = pytest.mark.usefixtures("one_thread")

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor needs a C++ compiler")


@pytest.mark.slow
@needs_compiler
def test_a_package_for_any_size_finds_what_the_network_finds(tmp_path: Path) -> None:
    path = export("aotinductor", tmp_path, dynamic=True).path
    assert_alike(
        load(path, device="cpu", size=64, allow_native_code=True, **SETTINGS), plain(), pictures(*[(64, 64)] * 3)
    )
    with pytest.raises(InputError, match=r"calm\.aoti\.pt2: holds machine code.*allow_native_code"):
        load(path)
    contract_path(path).unlink()
    assert load_exported(path, allow_native_code=True).contract.input.batch is None  # the contract is inside, too


@pytest.mark.slow
@needs_compiler
def test_a_package_with_suppression_answers_with_detections(tmp_path: Path) -> None:
    path = export("aotinductor", tmp_path, nms=True, thresholds=THRESHOLDS).path
    assert_alike(
        load(path, device="cpu", size=64, allow_native_code=True, **SETTINGS), plain(), pictures(*[(64, 64)] * 3)
    )


def test_nothing_is_opened_under_another_name(tmp_path: Path) -> None:
    """Neither without leave, nor as a program of torch.export, which would be checked."""
    (tmp_path / "a.aoti.pt2").write_bytes(b"PK")
    with pytest.raises(InputError, match="holds machine code"):
        load_exported(tmp_path / "a.aoti.pt2")
    with pytest.raises(InputError, match=r"a\.aoti\.pt2: is no package of AOTInductor"):
        load_exported(tmp_path / "a.aoti.pt2", allow_native_code=True)


def test_a_missing_compiler_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config, cpp_builder

    cpp_builder.cpp_compiler_search.cache_clear()
    monkeypatch.setattr(config.cpp, "cxx", (str(tmp_path / "no-compiler"),))
    try:
        with pytest.raises(InputError, match=r"needs a C\+\+ compiler .*CXX"):
            FORMATS["aotinductor"].check_libraries()
    finally:
        cpp_builder.cpp_compiler_search.cache_clear()


@pytest.mark.parametrize("option", ["half", "int8"])
def test_what_it_cannot_do_is_refused(option: str, tmp_path: Path) -> None:
    options = ExportOptions(image_size=(64, 64), **{option: True})
    with pytest.raises(InputError, match=f"aotinductor files cannot be exported with --{option}"):
        export_network(calm_detector(), CLASS_NAMES, "aotinductor", tmp_path / "x", options, images=torch.clone(IMAGES))
