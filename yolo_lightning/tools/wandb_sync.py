"""``yolo-lightning wandb-sync``: sends what W&B lacks of runs, and proves that it lacks nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yolo_lightning.weights_and_biases.completeness import SyncReport

__all__ = ["wandb_sync"]


def wandb_sync(runs: list[str]) -> int:
    """Sends what Weights & Biases lacks of runs that were logged offline, or lost their connection or their machine.

    Then compares what each run directory holds with what W&B has of it. What is there is not sent again, so the command
    may be run as often as you like. A run that was killed is left so that it can go on.

    Args:
        runs: Run directories.

    Returns:
        Exit status: 1 if something is missing.

    Raises:
        InputError: If one is no directory of a run, its run goes on, or W&B does not answer.
    """
    # Imported here, so that --help comes at once.
    from pathlib import Path

    from yolo_lightning.tools.report import print_line, print_table, text_table
    from yolo_lightning.weights_and_biases.run_folder import read_run_file
    from yolo_lightning.weights_and_biases.sync import sync_run

    directories = [Path(run) for run in runs]
    for directory in directories:
        read_run_file(directory)
    complete = True
    for directory in directories:
        report = sync_run(directory, print_line)
        rows = [[kind, str(here), str(there)] for kind, here, there in report.rows]
        print_table(text_table((f"{directory}", "here", "at W&B"), rows))
        print_line(_verdict(report))
        complete = complete and not report.missing
    return 0 if complete else 1


def _verdict(report: SyncReport) -> str:
    lines = [f"Sent: {', '.join(report.sent)}." if report.sent else "Nothing was to be sent."]
    lines += [f"missing: {name}" for name in report.missing]
    if not report.missing:
        lines.append(f"Nothing is missing: {report.address} is {report.state}.")
    return "\n".join(lines)
