"""The command line: ``fit``, ``validate``, ``test`` and ``predict`` need a Trainer and data; tools need only a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from yolo_lightning.errors import InputError
from yolo_lightning.text import printable_lines

__all__ = ["TOOLS", "main"]

TOOLS = {
    "anchors": "yolo_lightning.tools.anchors:anchors",
    "benchmark": "yolo_lightning.tools.benchmark:benchmark",
    "check": "yolo_lightning.tools.check:check",
    "compare": "yolo_lightning.tools.compare:compare",
    "dataset": "yolo_lightning.tools.dataset:dataset",
    "detect": "yolo_lightning.tools.detect:detect",
    "evaluate": "yolo_lightning.tools.evaluate:evaluate",
    "explain": "yolo_lightning.tools.explain:explain",
    "export": "yolo_lightning.tools.export:export",
    "plot": "yolo_lightning.tools.plot:plot",
    "prune": "yolo_lightning.tools.prune:prune",
    "report": "yolo_lightning.tools.html_report:report",
    "study": "yolo_lightning.tools.study:study",
    "wandb-sync": "yolo_lightning.tools.wandb_sync:wandb_sync",
}
"""Plain typed functions that run as ``yolo-lightning NAME``; imported when they are called."""

_ENVIRONMENT = {
    "JSONARGPARSE_DEPRECATION_WARNINGS": "off",  # they are about LightningCLI, not about what the user wrote
    "NO_ALBUMENTATIONS_UPDATE": "1",  # it would ask the network when it is imported
}


def main(args: Sequence[str] | None = None) -> int:
    """Runs ``yolo-lightning``.

    Args:
        args: Arguments after the program's name; those of the process if None.

    Returns:
        Exit status: 0, or 1 after an error in what the user gave, which is printed without a traceback
        (``YOLO_LIGHTNING_TRACEBACK=1`` shows it).
    """
    arguments = list(sys.argv[1:] if args is None else args)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        if arguments and arguments[0] in TOOLS:
            return _run_tool(*arguments)
        # Lightning takes seconds to import, so tools and errors come before it.
        from yolo_lightning.cli.training import run

        run(arguments)
    except InputError as error:
        if os.environ.get("YOLO_LIGHTNING_TRACEBACK"):
            raise
        print(printable_lines(f"error: {error}"), file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run_tool(name: str, *arguments: str) -> int:
    from yolo_lightning.cli.tools import run_tool

    module, function = TOOLS[name].split(":")
    return run_tool(name, getattr(import_module(module), function), arguments)
