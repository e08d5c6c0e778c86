"""What the client recorded in a run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolo_lightning.weights_and_biases.client import RUN_FOLDER
from yolo_lightning.weights_and_biases.run_log import RunLog

__all__ = ["Fragment", "find_fragments"]


@dataclass(frozen=True)
class Fragment:
    """What the client recorded of one process that logged to the run.

    Args:
        log: Its log.
        offline: Whether it was recorded to be sent later.
        synced: Whether ``wandb sync`` has sent it.
    """

    log: RunLog
    offline: bool
    synced: bool

    @property
    def media(self) -> list[str]:
        """Names of its media files, as W&B has them."""
        names = (file.path for record in self.log.of("files") for file in record.files)
        return [name for name in dict.fromkeys(names) if name.startswith("media/")]


def find_fragments(directory: Path, run_id: str) -> list[Fragment]:
    """Those of a run directory, in the order of time.

    Raises:
        InputError: If a log is damaged.
    """
    folders = [
        path
        for pattern in ("run-*", "offline-run-*")
        for path in (directory / RUN_FOLDER).glob(pattern)
        if path.name.endswith(f"-{run_id}") and any(path.glob("run-*.wandb"))
    ]
    folders.sort(key=lambda path: path.name.removeprefix("offline-"))
    return [
        Fragment(log, path.name.startswith("offline-"), log.path.with_suffix(".wandb.synced").exists())
        for path in folders
        for log in [RunLog(path)]
    ]
