"""Opens an exported file with the runtime that it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch

from yolo_lightning.errors import InputError
from yolo_lightning.runtimes.contract import Contract, contract_path
from yolo_lightning.runtimes.detector import ExportedDetector, Run

__all__ = ["RUNTIMES", "Runtime", "is_exported", "load_exported"]


@dataclass(frozen=True)
class Runtime:
    """A library that runs exported files.

    Args:
        suffix: End of the file's name, or of the directory's.
        module: Has ``open_file(path, contract, device) -> Run`` and ``read_contract(path) -> str | None``, the contract
            inside a file.
        native: Whether to open a file is to run machine code that it holds.
    """

    suffix: str
    module: str
    native: bool = False

    @property
    def open_file(self) -> Callable[[Path, Contract, torch.device], Run]:
        """Opens a file."""
        return import_module(self.module).open_file  # type: ignore[no-any-return]

    @property
    def read_contract(self) -> Callable[[Path], str | None]:
        """The contract inside a file, if there is one."""
        return import_module(self.module).read_contract  # type: ignore[no-any-return]


RUNTIMES = {
    "aotinductor": Runtime(".aoti.pt2", "yolo_lightning.runtimes.aotinductor", native=True),
    "executorch": Runtime(".pte", "yolo_lightning.runtimes.executorch"),
    "litert": Runtime(".tflite", "yolo_lightning.runtimes.litert"),
    "onnx": Runtime(".onnx", "yolo_lightning.runtimes.onnx"),
    "openvino": Runtime("_openvino_model", "yolo_lightning.runtimes.openvino"),
    "tensorrt": Runtime(".engine", "yolo_lightning.runtimes.tensorrt"),
    "torch_export": Runtime(".pt2", "yolo_lightning.runtimes.torch_export"),
    "torchscript": Runtime(".torchscript", "yolo_lightning.runtimes.torchscript"),
}
"""By the name that the contract has for it; the first whose suffix fits is meant."""


def is_exported(path: str | Path) -> bool:
    """Whether a path has the name of an exported file that can be run here."""
    return _runtime_of(Path(path)) is not None


def load_exported(
    path: str | Path, device: str | torch.device = "cpu", *, allow_native_code: bool = False
) -> ExportedDetector:
    """Opens an exported file.

    TorchScript and ``.pt2`` files hold programs, as all exported files do; open those that you trust.

    Args:
        path: The file, or the directory of an OpenVINO model. The contract lies beside it, or is inside.
        device: Where to run it.
        allow_native_code: Also opens files that hold machine code, which then does what it likes: those of AOTInductor.

    Raises:
        InputError: If there is no such file, no contract, one of another file, or the runtime is not installed or
            refuses the file; or it holds machine code, which is not allowed.
    """
    path = Path(path)
    name = _runtime_of(path)
    if name is None:
        endings = ", ".join(runtime.suffix for runtime in RUNTIMES.values())
        raise InputError(f"{path}: is no exported network that can be run here: its name must end in one of {endings}")
    if not path.exists():
        raise InputError(f"{path}: does not exist; `yolo-lightning export` makes it")
    runtime = RUNTIMES[name]
    if runtime.native and not allow_native_code:
        raise InputError(
            f"{path}: holds machine code, which could do anything. If you made it, or trust who did, open it in Python "
            "with load(path, allow_native_code=True)"
        )
    contract = _contract(path, runtime)
    if contract.runtime != name:
        raise InputError(f"{path}: its contract is of a file for {contract.runtime}, not for {name}")
    return ExportedDetector(contract, runtime.open_file(path, contract, torch.device(device)), path).eval()


def _runtime_of(path: Path) -> str | None:
    return next((name for name, runtime in RUNTIMES.items() if path.name.endswith(runtime.suffix)), None)


def _contract(path: Path, runtime: Runtime) -> Contract:
    beside = contract_path(path)
    if beside.is_file():
        return Contract.read(beside)
    text = runtime.read_contract(path)
    if text is None:
        raise InputError(
            f"{path}: has no contract ({beside.name}), which says what it takes and answers: copy it too, or export "
            "the network with `yolo-lightning export`"
        )
    return Contract.from_text(text, path)
