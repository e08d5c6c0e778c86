"""How W&B stores tables with pictures: as JSON, which the client writes from ``wandb.Table``. Needs no wandb."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from yolo_lightning.weights_and_biases.boxes import GROUND_TRUTH, PREDICTIONS, class_labels

__all__ = ["TABLE_SUFFIX", "picture_cell", "table_head", "unique_columns"]

TABLE_SUFFIX = ".table.json"
"""End of the name of a file that W&B takes for a table."""


def table_head(
    columns: Sequence[str], num_rows: int, text: Iterable[str], class_names: Sequence[str]
) -> dict[str, Any]:
    """All of a table but for ``data``, its rows.

    Args:
        columns: Their names; ``image`` holds pictures, and the others numbers.
        num_rows: Number of rows.
        text: Columns that hold text.
        class_names: Names of the classes of the boxes.
    """
    kinds = {name: _optional({"wb_type": "number"}) for name in columns}
    kinds |= {name: _optional({"wb_type": "string"}) for name in text}
    kinds |= {"image": {"params": {"allowed_types": [_picture_type(class_names), _NONE]}, "wb_type": "union"}}
    return {
        "_type": "table",
        "log_mode": "IMMUTABLE",
        "ncols": len(columns),
        "nrows": num_rows,
        "columns": list(columns),
        "column_types": {"params": {"type_map": kinds}, "wb_type": "typedDict"},
    }


def picture_cell(
    name: str, size: tuple[int, int], boxes: Mapping[str, Sequence[Mapping[str, Any]]], classes: Mapping[str, str]
) -> dict[str, Any]:
    """A picture with boxes.

    Args:
        name: Its name in the artifact of the table.
        size: Height and width in pixels.
        boxes: Boxes by group.
        classes: ``path`` and ``digest`` of the file of class names in the artifact.
    """
    return {
        "_type": "image-file",
        "path": name,
        "format": PurePosixPath(name).suffix[1:],
        # of the name: the client does the same for what it does not read
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "height": size[0],
        "width": size[1],
        "boxes": boxes,
        "classes": {"type": "classes-file", **classes},
    }


def unique_columns(taken: Sequence[str], class_names: Mapping[int, str]) -> list[str]:
    """Names of columns for classes, by class; where a name would come twice, it says the class, too."""
    counts = Counter([*taken, *class_names.values()])
    return [
        name if name.strip() and counts[name] == 1 else f"{name} (class {label})".strip()
        for label, name in class_names.items()
    ]


_NONE = {"wb_type": "none"}


def _optional(kind: Mapping[str, Any]) -> dict[str, Any]:
    return {"params": {"allowed_types": [_NONE, kind]}, "wb_type": "union"}


def _picture_type(class_names: Sequence[str]) -> dict[str, Any]:
    names = {str(label): name for label, name in class_labels(class_names).items()}
    groups = (GROUND_TRUTH, PREDICTIONS)
    params = {
        "box_class_maps": _constant(dict.fromkeys(groups, names)),
        "box_layers": _constant({group: list(range(len(class_names))) for group in groups}),
        "box_score_keys": _constant(["conf"], is_set=True),
        "class_map": _constant(names),
        "mask_class_maps": _constant({}),
        "mask_layers": _constant({}),
    }
    return {"params": params, "wb_type": "image-file"}


def _constant(value: Any, *, is_set: bool = False) -> dict[str, Any]:
    return {"params": {"is_set": is_set, "val": value}, "wb_type": "const"}
