"""``yolo-lightning dataset``: data sets at Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yolo_lightning.data import YOLODataset

__all__ = ["dataset"]

_SPLITS = ("train", "val", "test")


def dataset(
    action: str,
    data: Path,
    *,
    project: str = "yolo-lightning",
    entity: str | None = None,
    name: str | None = None,
    splits: str | None = None,
    runs: Path = Path("runs"),
) -> int:
    """Uploads a data set to Weights & Biases, as a version of an artifact that trains on any machine.

    Examples: `yolo-lightning dataset upload data.yaml`, `dataset upload data.yaml --project cells --splits train,val`.

    Prints the address of the version, wandb-artifact://entity/project/name:v0, and writes a data.yaml with it into a
    new directory, runs/dataset or runs/dataset-2 and so on; `--data.path` takes either. The artifact has images and
    labels, and a table of each split that shows the boxes. Files that W&B has are not sent again, and a data set that
    is unchanged makes no new version. Without a network, WANDB_MODE=offline records it, to be sent later.

    Args:
        action: upload.
        data: The data.yaml, or a folder that contains one.
        project: Project at W&B.
        entity: User or team. Default: that of the account.
        name: Of the artifact. Default: that of the yaml, or of its folder if the yaml is called data.yaml.
        splits: Splits to upload, with commas between. Default: those that the yaml names.
        runs: Directory for the new directory.

    Returns:
        0.

    Raises:
        InputError: If the data cannot be used, or W&B does not take it.
    """
    # Imported here, so that --help comes at once.
    from yolo_lightning.errors import InputError
    from yolo_lightning.tools.report import print_line
    from yolo_lightning.weights_and_biases.dataset_artifact import DATA_FILE, dataset_artifact_name
    from yolo_lightning.weights_and_biases.dataset_upload import UploadedDataset, upload_dataset

    if action != "upload":
        raise InputError(f"dataset {action}: there is no such action: `yolo-lightning dataset upload {data}`")
    opened = _open(data, splits)
    first = next(iter(opened.values()))
    wanted = name or dataset_artifact_name(first.config.file)
    result = upload_dataset(opened, wanted, runs=runs, project=project, entity=entity)
    if not isinstance(result, UploadedDataset):
        print_line(
            f"recorded in {result}, not sent: `yolo-lightning wandb-sync {result}` sends it; then give its version"
        )
        print_line(f"to training: --data.path wandb-artifact://ENTITY/{project}/{wanted}:v0 (see its page at W&B)")
        return 0
    print_line(f"{result.address}: " + ("new version" if result.is_new else "W&B has this data set already"))
    print_line(f"yolo-lightning fit --data.path {result.directory / DATA_FILE}")
    return 0


def _open(data: Path, splits: str | None) -> dict[str, YOLODataset]:
    """The splits; all that is wrong with them is told before anything is sent."""
    from yolo_lightning.data import DataError, YOLODataset
    from yolo_lightning.data.config import read_config

    names = [name.strip() for name in splits.split(",")] if splits else list(read_config(data).entries)
    if not names or not set(names) <= set(_SPLITS):
        raise DataError(f"--splits {','.join(names)}: give some of train,val,test, which {data} names")
    opened = {name: YOLODataset(data, name) for name in _SPLITS if name in names}
    for split in opened.values():
        len(split)
    return opened
