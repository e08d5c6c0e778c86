"""Weights in artifacts of W&B that were downloaded before, which needs no network."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_lightning.errors import InputError
from yolo_lightning.models import resolve_weights
from yolo_lightning.paths import cache_directory

ADDRESS = "wandb-artifact://team/p/model:v0"


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("YOLO_LIGHTNING_CACHE", str(tmp_path))
    folder = cache_directory() / "artifacts/team/p/model/v0"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("files", "meant"),
    [
        (["config.yaml", "last.ckpt", "best.ckpt", "best.safetensors"], "best.ckpt"),
        (["last.ckpt", "a.pt"], "last.ckpt"),
        (["a.safetensors", "b.pt", "c.pt"], "a.safetensors"),
        (["deep/yolov5s.pt"], "deep/yolov5s.pt"),
    ],
)
@pytest.mark.parametrize("given", [ADDRESS, Path(ADDRESS)])
def test_the_file_that_is_meant(artifact: Path, files: list[str], meant: str, given: str | Path) -> None:
    for name in files:
        (artifact / name).parent.mkdir(exist_ok=True)
        (artifact / name).touch()
    assert resolve_weights(given) == artifact / meant


@pytest.mark.parametrize(
    ("files", "said"), [([], "holds no weights"), (["data.yaml"], "holds no weights"), (["a.pt", "b.pt"], "a.pt, b.pt")]
)
def test_none_or_several(artifact: Path, files: list[str], said: str) -> None:
    for name in files:
        (artifact / name).touch()
    with pytest.raises(InputError, match=said):
        resolve_weights(ADDRESS)
