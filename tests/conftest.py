"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.displays import Display, virtual_display

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the reference's figures, shipped with the tests."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real data and official weights, which is not part of a public checkout."""
    folder = Path(os.environ.get("YOLO_LIGHTNING_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("needs the shared data folder beside the checkout, or $YOLO_LIGHTNING_SHARED")
    return folder


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the tests out of the user's cache directory."""
    monkeypatch.setenv("YOLO_LIGHTNING_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread of torch, on which results do not depend on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def _display() -> Iterator[Display]:
    """One for the whole session, since Tk never lets the connection to its display go."""
    with virtual_display() as display:
        yield display


@pytest.fixture
def display(_display: Display, monkeypatch: pytest.MonkeyPatch) -> Display:
    """A virtual display of 320 × 240 pixels, which is that of the test and of processes it starts."""
    monkeypatch.setenv("DISPLAY", _display.name)
    return _display
