"""Networks as files for other runtimes, checked against the network before they are kept."""

from yolo_lightning.export.comparing import Difference, Tolerance
from yolo_lightning.export.exporting import TOLERANCES, Export, export_network
from yolo_lightning.export.golden import Golden
from yolo_lightning.export.options import FORMATS, ExportOptions, Format, find_format

__all__ = [
    "FORMATS",
    "TOLERANCES",
    "Difference",
    "Export",
    "ExportOptions",
    "Format",
    "Golden",
    "Tolerance",
    "export_network",
    "find_format",
]
