"""ExecuTorch programs answer as the network does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.alike import SETTINGS, assert_alike, pictures, plain
from tests.export.conftest import export
from tests.inference.conftest import CLASS_NAMES
from yolo_lightning.errors import InputError
from yolo_lightning.inference import load
from yolo_lightning.runtimes import contract_path, load_exported

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_the_program_finds_what_the_network_finds(tmp_path: Path) -> None:
    pytest.importorskip("executorch", reason="the extra executorch is not installed")
    path = export("executorch", tmp_path).path
    assert_alike(load(path, device="cpu", size=64, **SETTINGS), plain(), pictures(*[(64, 64)] * 3))
    contract_path(path).unlink()
    assert load_exported(path).contract.class_names == CLASS_NAMES  # the contract is inside, too
    path.write_bytes(b"PK" + path.read_bytes()[2:400])
    with pytest.raises(InputError, match=r"calm\.pte: "):
        load_exported(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("executorch", reason="the extra executorch is not installed")
    (tmp_path / "a.pte").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"a\.pte: is no program of ExecuTorch"):
        load_exported(tmp_path / "a.pte")
