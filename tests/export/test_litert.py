"""LiteRT files answer as the network does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.alike import SETTINGS, assert_alike, pictures, plain
from tests.export.conftest import export
from yolo_lightning.errors import InputError
from yolo_lightning.inference import load
from yolo_lightning.runtimes import load_exported
from yolo_lightning.runtimes.contract import Contract, contract_path

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
@pytest.mark.parametrize("preprocess", [False, True])
def test_the_file_finds_what_the_network_finds(preprocess: bool, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="litert-torch is not installed")
    path = export("litert", tmp_path, preprocess=preprocess).path
    assert_alike(load(path, device="cpu", size=64, **SETTINGS), plain(), pictures(*[(64, 64)] * 3))
    contract = Contract.read(contract_path(path))
    path.write_bytes(path.read_bytes()[:2000])
    contract.write(contract_path(path), {path.name: path})
    with pytest.raises(InputError, match=r"calm\.tflite: LiteRT cannot open it"):
        load_exported(path)
