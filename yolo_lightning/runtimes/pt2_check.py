"""Makes sure that a ``.pt2`` file holds a network and nothing else, for PyTorch's reader runs what it finds.

The reader unpickles what says that it is pickled, evaluates expressions of sizes, and calls any function of PyTorch
that the graph names.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from yolo_lightning.errors import InputError

__all__ = ["check_program"]

_MEMBER = re.compile(
    r"[^/]+/(models/\w+\.json|data/(weights|constants)/(\w+_config\.json|weight_\d+|tensor_\d+)|data/sample_inputs/\w+\.pt"
    r"|extra/\w+(\.json)?|archive_format|archive_version|version|byteorder|\.data/\w+|\.format_version"
    r"|\.storage_alignment)"
)
_TARGET = re.compile(
    r"(?!.*__)(torch\.ops\.(aten|torchvision|higher_order)\.\w+(\.\w+)?|torch\.sym_\w+"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_))"
)
_EXPRESSION = re.compile(
    r"(Symbol\('[su]\d+'(, (positive|integer|nonnegative)=True)*\)|Integer\(-?\d+\)|[su]\d+|\d+|Mul|Add|Pow|Mod|Min|Max"
    r"|FloorDiv|CeilDiv|CleanDiv|PythonMod|floor|Eq|Ne|[-+*/(),<>= ])*"
)
_GUARD = re.compile(
    r"(L\['images'\]|\.size\(\)|\.shape|\[\d+\]|\d+|torch\.sym_(max|min|not)|and|or|not|[-+*/%<>=!(), ])*"
)


def check_program(content: bytes) -> None:
    """Checks the bytes of a file.

    Raises:
        InputError: If it holds more than a network, or is no such file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for info in archive.infolist():
                _check_member(archive, info)
    except InputError:
        raise
    except (zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise InputError(f"it is no program of torch.export, or is damaged ({error})") from error


def _check_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    name = info.filename
    if not _MEMBER.fullmatch(name):
        raise InputError(f"it holds {name}, which no exported network has: its origin is not to be trusted")
    if "/sample_inputs/" in name and info.file_size:
        raise InputError(f"it holds pickled inputs ({name}), which are not read")
    if not name.endswith(".json") or "/extra/" in name:
        return
    for key, value in _entries(json.loads(archive.read(info))):
        wrong = (
            (key == "use_pickle" and value is not False)
            or (key == "target" and isinstance(value, str) and not _TARGET.fullmatch(value))
            or (key == "expr_str" and not (isinstance(value, str) and _EXPRESSION.fullmatch(value)))
            or (key == "guards_code" and not _all_match(_GUARD, value))
            or (key == "range_constraints" and not _all_match(_EXPRESSION, value))
            or (key in ("as_custom_obj", "as_operator") and value)
        )
        if wrong:
            raise InputError(f"{name} has {key} {str(value)[:60]!r}, which no exported network has: do not trust it")


def _all_match(pattern: re.Pattern[str], values: Any) -> bool:
    """Whether all of a list, or all keys of a dictionary, are texts of a pattern."""
    return isinstance(values, list | dict) and all(isinstance(each, str) and pattern.fullmatch(each) for each in values)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """All keys and values of parsed JSON."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
