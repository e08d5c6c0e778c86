"""No file of a run holds a secret, whoever wrote it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.weights_and_biases.conftest import offline_machine
from yolo_lightning.weights_and_biases.secrets import arguments_without_secrets

PASSWORD, KEY, TOKEN = "pw-1234567890", "sk-0987654321", "ghp-abcdefghij"

RUN = f"""
import sys
from pathlib import Path

from yolo_lightning.weights_and_biases import RunWandbLogger

path = "https://me:{PASSWORD}@example.com/x.zip"
arguments = ["fit", f"--data.path={{path}}", "--api_key", "{KEY}", "--note={KEY}", "--lr=1"]
sys.argv[1:] = arguments
logger = RunWandbLogger()
logger.prepare(Path("runs/fit"), "fit")
logger.log_hyperparams({{"data": {{"path": path, "paths": [path]}}, "api_key": "{KEY}", "note": "of {KEY}", "lr": 1}})
logger.log_metrics({{"epoch": 0, "loss": 1.0}})
logger.finalize("success")
assert sys.argv[1:] == arguments
"""


def test_no_file_of_a_run_holds_a_secret(tmp_path: Path):
    machine = offline_machine(tmp_path / "home")
    for arguments in (["init", "-q"], ["remote", "add", "origin", f"https://{TOKEN}@example.com/me/project.git"]):
        subprocess.run(["git", *arguments], cwd=machine.home, check=True)
    machine.python(RUN, MY_API_KEY=KEY)
    files = [path for path in (machine.home / "runs").rglob("*") if path.is_file()]
    contents = {path: path.read_bytes() for path in files}
    recorded = b"".join(contents.values())
    assert b"example.com/x.zip" in recorded
    assert b"--lr=1" in recorded
    assert b"example.com/me/project.git" in recorded
    for secret in (PASSWORD, KEY, TOKEN):
        assert not [path for path, content in contents.items() if secret.encode() in content]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--a.password=x", "y"], ["--a.password=***", "y"]),
        (["--api_key", "x", "--lr", "1"], ["--api_key", "***", "--lr", "1"]),
        (["--token", "--lr=1"], ["--token", "--lr=1"]),
        (["--url=https://a:b@c.d/e?f=ghij"], ["--url=https://***@c.d/e?f=***"]),
        (["fit", "--config", "a.yaml"], ["fit", "--config", "a.yaml"]),
    ],
)
def test_command_lines_are_shown_without_secrets(arguments: list[str], shown: list[str]):
    assert arguments_without_secrets(arguments) == shown
