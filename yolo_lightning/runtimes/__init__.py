"""Exported files behind the interface of a detector, and the contract that describes them."""

from yolo_lightning.runtimes.contract import Contract, contract_path, golden_path
from yolo_lightning.runtimes.detector import ExportedDetector
from yolo_lightning.runtimes.opening import RUNTIMES, is_exported, load_exported

__all__ = [
    "RUNTIMES",
    "Contract",
    "ExportedDetector",
    "contract_path",
    "golden_path",
    "is_exported",
    "load_exported",
]
