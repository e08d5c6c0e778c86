"""Files that are kept at Weights & Biases as artifacts, by their addresses. wandb is imported when one is asked for."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from yolo_lightning.errors import InputError
from yolo_lightning.paths import cache_directory, safe_name

__all__ = [
    "ARTIFACT_PREFIX",
    "artifact_address",
    "fetch_artifact",
    "import_wandb",
    "pin_artifact",
    "pinned_address",
    "public_api",
]

ARTIFACT_PREFIX = "wandb-artifact://"

_SCHEME = re.compile(r"wandb-artifact:/+")  # a Path has lost one of its slashes
_PLACE = re.compile(r"(?:[^/:\s]+/){0,2}[^/:\s]+(?::[^/:\s]+)?")
_PINNED = re.compile(r".*/.*/.*:v\d+")
_INHERITED = "YOLO_LIGHTNING_ARTIFACT_"


def artifact_address(text: str | Path) -> str | None:
    """``entity/project/name:alias`` of a ``wandb-artifact://`` address; None if the text is none.

    Without an alias it is the latest version; entity and project may be left out where W&B knows defaults.

    Raises:
        InputError: If it begins like one and is none.
    """
    scheme = _SCHEME.match(str(text))
    if scheme is None:
        return None
    place = str(text)[scheme.end() :].rstrip("/")
    if not _PLACE.fullmatch(place):
        raise InputError(f"{text}: is no address of an artifact: {ARTIFACT_PREFIX}entity/project/name:alias")
    return place if ":" in place else f"{place}:latest"


def fetch_artifact(address: str) -> Path:
    """Folder of the files of an artifact in the cache directory, downloaded on first use.

    It is put there only when it is whole, once for all processes of a machine. What a run has seen as ``latest`` stays
    the same version for the processes that it starts. A version that is there needs no network.

    Args:
        address: ``entity/project/name:alias``, as of :func:`artifact_address`.

    Raises:
        InputError: If W&B has no such artifact, does not let us in, or it cannot be downloaded.
    """
    address = os.environ.get(_inherited(address), address)
    if _PINNED.fullmatch(address) and (folder := _folder(address)).is_dir():
        return folder
    artifact = _find(address)
    pinned = pinned_address(artifact)
    os.environ[_inherited(address)] = pinned
    folder = _folder(pinned)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            _download(artifact, folder, pinned)
    return folder


def pin_artifact(address: str) -> str:
    """The same with the version that it is now, ``entity/project/name:v3``; it stays so in this process.

    Raises:
        InputError: As :func:`fetch_artifact`.
    """
    known = os.environ.get(_inherited(address), address)
    if _PINNED.fullmatch(known):
        return known
    os.environ[_inherited(address)] = pinned = pinned_address(_find(address))
    return pinned


def pinned_address(artifact: Any) -> str:
    """``entity/project/name:v3`` of a wandb artifact that W&B has."""
    return f"{artifact.entity}/{artifact.project}/{artifact.name.partition(':')[0]}:{artifact.version}"


def import_wandb() -> Any:
    """The library.

    Raises:
        InputError: If it is not installed, or not whole.
    """
    try:
        return import_module("wandb")
    except ImportError as error:
        raise InputError(
            f"Weights & Biases is asked for, and wandb cannot be imported ({error}): pip install wandb"
        ) from error


def public_api() -> Any:
    """What reads from W&B.

    Raises:
        InputError: If there is no account, or W&B does not know it.
    """
    wandb = import_wandb()
    try:
        return wandb.Api(timeout=30)
    except wandb.errors.Error as error:
        raise InputError(f"W&B does not let us in ({error}): `wandb login`, or set WANDB_API_KEY") from error


def _find(address: str) -> Any:
    api = public_api()
    try:
        return api.artifact(address)
    except Exception as error:  # the client passes on those of several libraries
        raise InputError(
            f"{ARTIFACT_PREFIX}{address}: W&B does not give this artifact ({error}); see its page there for entity, "
            "project, name and versions"
        ) from error


def _folder(pinned: str) -> Path:
    return cache_directory() / "artifacts" / Path(*(safe_name(part) for part in re.split("[/:]", pinned)))


def _inherited(address: str) -> str:
    return _INHERITED + hashlib.sha256(address.encode()).hexdigest()[:16].upper()


def _download(artifact: Any, folder: Path, pinned: str) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _check_names(artifact.manifest.entries, pinned)
        artifact.download(root=str(temporary), skip_cache=True)
        temporary.replace(folder)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{ARTIFACT_PREFIX}{pinned}: cannot be downloaded to {folder.parent} ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_names(names: Iterable[str], pinned: str) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise InputError(f"{ARTIFACT_PREFIX}{pinned}: holds a file {name!r}, which would lie outside of it")
