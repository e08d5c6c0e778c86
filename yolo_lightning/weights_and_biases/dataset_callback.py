"""Which data a run at W&B was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from yolo_lightning.artifacts import fetch_artifact, pinned_address, public_api
from yolo_lightning.data import DetectionDataModule, SingleClass, YOLODataset
from yolo_lightning.data.config import DatasetConfig
from yolo_lightning.data.files import IMAGE_SUFFIXES
from yolo_lightning.errors import InputError
from yolo_lightning.weights_and_biases.dataset_artifact import build_dataset_artifact, dataset_artifact_name
from yolo_lightning.weights_and_biases.ledger import Entry
from yolo_lightning.weights_and_biases.logger import RunWandbLogger, wandb_logger

__all__ = ["WandbDataset"]

_STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
_KEY = "dataset_artifact"  # without wandb-artifact://, at which W&B's client would look it up


class WandbDataset(Callback):
    """Tells W&B which data the run works with, so that its lineage leads from the data to the model.

    Data that is an artifact, ``wandb-artifact://…``, is named as such. Other data can be uploaded: an unchanged data
    set makes no new version, and files that W&B has are not sent again. Pictures and tables of the run then show its
    images without sending them once more.

    Args:
        upload_dataset: Upload the data of ``fit``, in the background: all splits that its ``data.yaml`` names, or
            ``val`` alone.
        name: Of the artifact; None takes that of the yaml, or of its folder if the yaml is called ``data.yaml``, with
            ``-val`` behind it where only that is uploaded.
    """

    def __init__(self, upload_dataset: bool | Literal["val"] = False, name: str | None = None) -> None:
        self.upload_dataset = upload_dataset
        self.name = name

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Names or uploads the data; what takes time happens in the uploader's thread."""
        logger = wandb_logger(trainer)
        if logger is None or logger.uploader is None or stage not in _STAGES:
            return
        try:
            self._tell(trainer, logger, stage)
        except Exception as error:
            rank_zero_warn(f"W&B does not get which data the run works with: {error}")

    def _tell(self, trainer: Trainer, logger: RunWandbLogger, stage: str) -> None:
        data = getattr(trainer, "datamodule", None)
        opened = {split: found for split in _STAGES[stage] if (found := _yolo_data(data, split)) is not None}
        used = [address for split, dataset in opened.items() for address in dataset.config.artifacts(split)]
        if used:
            _use(logger, list(dict.fromkeys(used)))
        elif self.upload_dataset and stage == "fit":
            if not opened:
                raise TypeError("upload_dataset is for data sets with a data.yaml (YOLODataset)")
            splits = opened if self.upload_dataset is True else {"val": opened["val"]}
            if self.upload_dataset is True and (test := _test_split(data, opened["val"].config)) is not None:
                splits = {**splits, "test": test}
            self._upload(logger, splits)

    def _upload(self, logger: RunWandbLogger, splits: dict[str, YOLODataset]) -> None:
        own_name = dataset_artifact_name(splits["val"].config.file) + ("-val" if self.upload_dataset == "val" else "")
        names: dict[str, str] = {}

        def build() -> tuple[Entry, Any]:
            built = build_dataset_artifact(splits, self.name or own_name)
            names.update(built.names)
            # The name by which it can be referred to until W&B has it.
            prefix = f"wandb-client-artifact://{built.artifact._client_id}"
            logger.image_references.update({path: (f"{prefix}/{name}", name) for path, name in names.items()})
            return Entry("use", built.artifact.name, "dataset", ("latest",)), built.artifact

        def then(logged: Any) -> None:
            _refer(logger, logged, names)
            logger.log_hyperparams({_KEY: pinned_address(logged)})

        assert logger.uploader is not None
        logger.uploader.send_built("the data set", build, then)


def _use(logger: RunWandbLogger, addresses: list[str]) -> None:
    """Names artifacts that exist as what the run works with."""
    assert logger.uploader is not None
    logger.log_hyperparams({_KEY: addresses[0] if len(addresses) == 1 else addresses})
    for address in addresses:
        if logger.uploader.online:  # else W&B does not tell what to call them
            logger.uploader.submit("the addresses of images", partial(_refer_to_downloaded, logger, address))
        logger.uploader.send(Entry("use", address, "dataset"))


def _refer_to_downloaded(logger: RunWandbLogger, address: str) -> None:
    folder, artifact = fetch_artifact(address), public_api().artifact(address)
    images = (name for name in artifact.manifest.entries if Path(name).suffix.lower() in IMAGE_SUFFIXES)
    _refer(logger, artifact, {str(folder / name): name for name in images})


def _refer(logger: RunWandbLogger, artifact: Any, names: Mapping[str, str]) -> None:
    found = {path: (str(artifact.get_entry(name).ref_url()), name) for path, name in names.items()}
    logger.image_references.update(found)


def _yolo_data(data: Any, split: str) -> YOLODataset | None:
    """The data of a split as it is on disk; None for data of another kind."""
    dataset = data.dataset(split) if isinstance(data, DetectionDataModule) else None
    dataset = dataset.dataset if isinstance(dataset, SingleClass) else dataset
    return dataset if isinstance(dataset, YOLODataset) else None


def _test_split(data: Any, config: DatasetConfig) -> YOLODataset | None:
    """It may be named and not be there: training does without it."""
    if "test" not in config.entries:
        return None
    try:
        config.sources("test")
    except InputError as error:
        rank_zero_warn(f"the data set goes to W&B without 'test': {error}")
        return None
    return _yolo_data(data, "test")
