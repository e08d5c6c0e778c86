"""``fit``, ``validate``, ``test`` and ``predict`` on LightningCLI."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from yolo_lightning import __version__
from yolo_lightning.callbacks import (
    EMA,
    AutoAnchor,
    AutoBatch,
    ChooseOperatingPoint,
    ClassBalance,
    DetectionProgressBar,
    EvaluationFile,
    EvaluationSpeed,
    FiniteCheck,
    Freeze,
    MetricsFile,
    Pictures,
    Plots,
    Predictions,
    RunCheckpoint,
    StepTimes,
)
from yolo_lightning.cli import TOOLS
from yolo_lightning.cli.config_file import SaveResolvedConfig, use_shipped_configs
from yolo_lightning.cli.devices import BFloat16Weights, check_devices, default_precision
from yolo_lightning.cli.logger import RunCSVLogger
from yolo_lightning.cli.pruned import take_pruned_network
from yolo_lightning.cli.resume import (
    check_checkpoint,
    check_not_finished,
    num_epochs_done,
    older_run,
    resolve_checkpoint,
)
from yolo_lightning.cli.run_directory import remove_if_empty, reserve_run_directory
from yolo_lightning.cli.wandb import resume_from_wandb, wandb_run_of
from yolo_lightning.data import DetectionDataModule
from yolo_lightning.errors import InputError
from yolo_lightning.models import read_checkpoint, resolve_weights
from yolo_lightning.module import DetectionModule
from yolo_lightning.runtimes import is_exported, load_exported
from yolo_lightning.weights_and_biases import RunWandbLogger

__all__ = ["YOLOCLI", "run"]

_TERMINATED = 128 + signal.SIGTERM

# What Lightning warns of although it is as it should be here.
_EXPECTED_WARNINGS = (
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated",
    r".*You have overridden `on_after_batch_transfer` in `LightningModule` but have passed in a `LightningDataModule`",
    r".*is not supported by the model summary",
    r".*is smaller than the logging interval",
    r".*You're resuming from a checkpoint that ended before the epoch ended",
    r".*Checkpoint directory .* exists and is not empty",
    r".*The dirpath has changed from",
    r".*does not have many workers which may be a bottleneck",
    r".*You are using a custom batch sampler `EvaluationBatchSampler` for prediction",
)


class YOLOCLI(LightningCLI):
    """LightningCLI with the callbacks that every run has, a run directory, and the data's class names in the model."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The commands that need a Trainer and a data set."""
        available = LightningCLI.subcommands()
        commands = {name: available[name] for name in ("fit", "validate", "test", "predict")}
        commands["predict"] = {*commands["predict"], "return_predictions"}  # they go to files
        return commands

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the run directory and the callbacks as keys of their own, so that fragments of configuration merge."""
        parser.add_argument("--name", type=str | None, help="Name of the run directory. Default: the command.")
        parser.add_argument(
            "--resume", type=str | None, help="Run at W&B to go on with, entity/project/runid; fit only."
        )
        parser.add_argument("--runs", type=Path, default=Path("runs"), help="Directory of the run directories.")
        parser.add_lightning_class_args(AutoAnchor, "auto_anchor")  # first, so that others see its anchors
        parser.add_lightning_class_args(AutoBatch, "auto_batch")
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(Freeze, "freeze")
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(Pictures, "pictures")
        parser.add_lightning_class_args(EvaluationFile, "evaluation_file")
        parser.add_lightning_class_args(Plots, "plots")  # after those whose files it reads
        parser.add_lightning_class_args(Predictions, "predictions")
        parser.add_lightning_class_args(FiniteCheck, "finite_check")
        parser.add_lightning_class_args(StepTimes, "step_times")
        parser.add_lightning_class_args(EvaluationSpeed, "speed")
        parser.add_lightning_class_args(ChooseOperatingPoint, "operating_point")
        parser.set_defaults(
            {
                "model": {"class_path": "yolo_lightning.module.DetectionModule"},
                "data": {"class_path": "yolo_lightning.data.datamodule.DetectionDataModule"},
                "early_stopping.monitor": "val/fitness",
                "early_stopping.mode": "max",
                "early_stopping.patience": 100,
                "early_stopping.strict": False,
                "checkpoint.monitor": "val/fitness",
                "checkpoint.mode": "max",
                "checkpoint.filename": "best",
                "checkpoint.enable_version_counter": False,
            }
        )

    _resumed: dict[str, Any] | None = None
    """The checkpoint that ``fit`` goes on from."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses; then finds and checks the checkpoint, from which LightningCLI is about to read the network."""
        assert isinstance(args, list)  # as `run` hands them over; Lightning's own method warns of that
        self.config = parser.parse_args(args)
        given = self.config[self.config.subcommand]
        given.resume = None  # carried out before; a configuration that is used again must not do so again
        if given.ckpt_path is not None and given.ckpt_path not in {"hpc", "registry"}:
            path = resolve_checkpoint(str(given.ckpt_path), given.runs, given.name, self.config.subcommand)
            checkpoint = check_checkpoint(path)
            given.ckpt_path = str(path)
            if self.config.subcommand == "fit":
                self._resumed = checkpoint
                check_not_finished(checkpoint, path, given.trainer.max_epochs)

    def before_instantiate_classes(self) -> None:
        """Completes the configuration that is saved: precision, a pruned network, the data's class names.

        Starting weights are left out where a checkpoint brings all.
        """
        given = self.config[self.subcommand]
        if given.trainer.precision is None:
            given.trainer.precision = default_precision(given.trainer.accelerator)
        model = given.model.init_args
        if given.ckpt_path is not None:
            given.weights_only = True
            if "weights" in model:
                model.weights = None
        take_pruned_network(model)
        if model.get("class_names", ()) is None:
            with _input_errors():
                model.class_names = _class_names(_build_data(given.data), str(self.subcommand), model.get("weights"))
        if self.subcommand == "predict" and given.ckpt_path is None and model.get("weights", "") is None:
            rank_zero_warn("the network is not trained: give --ckpt_path or --model.weights")

    def instantiate_classes(self) -> None:
        """Makes model, data and Trainer; what a constructor refuses is an error in what the user gave."""
        with _input_errors():
            super().instantiate_classes()
        # Not in the configuration, which is used again for other weights.
        given, chooser = self.config[self.subcommand], self._get(self.config_init, "operating_point")
        chooser.weights = chooser.weights or given.ckpt_path or given.model.init_args.get("weights")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Makes the Trainer with run directory, loggers and callbacks, none of which changes the saved config."""
        given = self.config_init[self.subcommand]
        config = given.trainer
        if given.ckpt_path is not None:
            given.auto_anchor.enabled = False  # the checkpoint brings its own anchors
        check_devices(config)
        defaults: dict[str, Any] = {}
        if config.precision == "bf16-true":
            defaults |= {"precision": None, "plugins": [*_as_list(config.plugins), BFloat16Weights()]}
        if not config.fast_dev_run:
            directory = reserve_run_directory(given.runs, given.name or str(self.subcommand))
            rank_zero_info(f"Run directory: {directory}")
            defaults["logger"] = loggers = _loggers(config.logger, directory)
            for logger in loggers:
                if isinstance(logger, RunCSVLogger) and self._resumed is not None:
                    logger.go_on_from(older_run(Path(given.ckpt_path)), num_epochs_done(self._resumed))
                if isinstance(logger, RunWandbLogger):
                    logger.prepare(directory, str(self.subcommand), wandb_run_of(self._resumed or {}))
            if config.default_root_dir is None:
                defaults["default_root_dir"] = directory
        callbacks = _as_list(config.callbacks)
        if config.enable_progress_bar is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
            callbacks.append(DetectionProgressBar())
        # After the bar, which is finished then, and does not run into the table.
        for logger in defaults.get("logger", ()):
            if isinstance(logger, RunWandbLogger):
                own = {type(callback) for callback in callbacks}
                callbacks += [callback for callback in logger.callbacks() if type(callback) not in own]
        defaults["callbacks"] = [*callbacks, ClassBalance(), MetricsFile()]
        return super().instantiate_trainer(**defaults, **kwargs)

    def after_fit(self) -> None:
        """Says where the best checkpoint is."""
        checkpoint = self.trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_path:
            best = float(checkpoint.best_model_score) if checkpoint.best_model_score is not None else float("nan")
            rank_zero_info(f"Best checkpoint: {checkpoint.best_model_path} ({checkpoint.monitor} {best:.4f})")

    def predict(self, **arguments: Any) -> None:
        """What ``predict`` runs: without keeping what was found in memory."""
        self.trainer.predict(**arguments, return_predictions=False)

    def after_predict(self) -> None:
        """Tells of images that could not be read by the exit status, too.

        Raises:
            InputError: If there are any; all else has been written.
        """
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            summary = callback.summary if isinstance(callback, Predictions) else None
            if summary is not None and summary.num_failed and self.trainer.is_global_zero:
                raise InputError(f"{summary.num_failed} images could not be read: {summary.files[-1]} tells which")


@remove_if_empty()
def run(args: Sequence[str]) -> None:
    """Runs ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        args: Arguments after the program's name.

    Raises:
        InputError: If something that the user gave is wrong.
    """
    for message in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    try:
        YOLOCLI(
            DetectionModule,
            DetectionDataModule,
            save_config_callback=SaveResolvedConfig,
            args=use_shipped_configs(resume_from_wandb(args)),
            seed_everything_default=0,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={
                "prog": "yolo-lightning",
                "description": "YOLOv5 on PyTorch Lightning. Commands without a Trainer, each with its own --help: "
                + ", ".join(TOOLS),
                "version": __version__,
            },
            trainer_defaults={"max_epochs": 100, "gradient_clip_val": 10.0, "use_distributed_sampler": False},
        )
    except MisconfigurationException as error:
        raise InputError(str(error)) from error
    except SIGTERMException as error:
        raise SystemExit(_TERMINATED) from error  # Lightning's own has no status, which a scheduler takes for success
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # for which Lightning exits with 1
            raise KeyboardInterrupt from error
        raise


@contextmanager
def _input_errors() -> Iterator[None]:
    """Raises the error of a constructor alone; jsonargparse buries it under a dump of the whole configuration."""
    try:
        yield
    except ValueError as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        raise InputError(str(cause)) from error


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _loggers(configured: Any, directory: Path) -> list[Logger]:
    if configured is False:
        return []
    return [RunCSVLogger(directory), *(logger for logger in _as_list(configured) if logger is not True)]


def _class_names(data: Any, command: str, weights: str | None) -> list[str]:
    """Those of the data, unless it has none, or fewer than the network.

    Plain images to predict have none, so that the weights must tell. Networks of several classes may be evaluated on
    data of a single one.
    """
    if not isinstance(data, DetectionDataModule):
        return list(data.class_names)
    if command != "predict":
        of_weights = weights is not None and data.single_class and command in {"validate", "test"}
        return list((of_weights and _names_of(weights)) or data.class_names or ())
    names = data.dataset("predict").class_names or _names_of(weights)
    if not names:
        raise InputError(
            f"{data.path}: these images come without names of classes, and so do the weights: give --ckpt_path, "
            "--model.weights that hold names, or --model.class_names"
        )
    return list(names)


def _names_of(weights: str | None) -> tuple[str, ...]:
    if weights is None:
        return ()
    if is_exported(weights):
        return load_exported(weights).contract.class_names
    return read_checkpoint(resolve_weights(weights)).class_names or ()


def _build_data(config: Namespace) -> Any:
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)
    return parser.instantiate_classes(Namespace(data=config.clone())).data  # type: ignore[no-untyped-call]
