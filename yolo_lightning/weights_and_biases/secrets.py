"""Configurations without what nobody else may see."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from yolo_lightning.artifacts import ARTIFACT_PREFIX
from yolo_lightning.web import redact

__all__ = ["arguments_without_secrets", "git_settings", "hidden_arguments", "without_secrets"]

_SECRET = re.compile(r"password|passwd|secret|token|api_?key|credential", re.IGNORECASE)
_ADDRESS = re.compile(r"\w+://\S+")
_HIDDEN = "***"


def without_secrets(value: Any) -> Any:
    """Plain values for W&B: passwords, keys and tokens become ``***``, those in addresses of the web included.

    Values of the environment whose names say that they are secret are hidden wherever they stand.
    """
    hidden = [text for name, text in os.environ.items() if _SECRET.search(name) and len(text) > 7]
    return _plain(value, hidden)


def arguments_without_secrets(arguments: Sequence[str]) -> list[str]:
    """A command line, in the same way: of an option with such a name, ``--name=value`` or ``--name value``."""
    shown: list[str] = []
    follows = False
    for word in arguments:
        name, equals, _ = word.partition("=")
        is_option = word.startswith("-")
        if follows and not is_option:
            shown.append(_HIDDEN)
        elif is_option and equals and _SECRET.search(name):
            shown.append(f"{name}={_HIDDEN}")
        else:
            shown.append(str(without_secrets(word)))
        follows = is_option and not equals and _SECRET.search(name) is not None
    return shown


@contextmanager
def hidden_arguments() -> Iterator[None]:
    """Lets the client, which records the command line, see one without secrets; it has no setting for that."""
    arguments = sys.argv
    sys.argv = [*arguments[:1], *arguments_without_secrets(arguments[1:])]
    try:
        yield
    finally:
        sys.argv = arguments


def git_settings(directory: Path) -> dict[str, str]:
    """Settings of the client, which records the repository of a directory, if its address has a secret in it.

    The client takes out a password, and leaves a token that stands in the place of the user.
    """
    place = next((folder for folder in (directory.absolute(), *directory.absolute().parents) if folder.is_dir()), None)
    remote = _git(place, "config", "--get", f"remote.{os.environ.get('WANDB_GIT_REMOTE', 'origin')}.url")
    shown = str(without_secrets(remote))
    if shown == remote:
        return {}
    return {"git_remote_url": shown, "git_commit": _git(place, "rev-parse", "HEAD")}


def _git(directory: Path | None, *arguments: str) -> str:
    """What git prints; nothing if there is no git, or no repository."""
    with suppress(OSError, subprocess.SubprocessError):
        process = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return process.stdout.strip()
    return ""


def _plain(value: Any, hidden: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _value(str(key), item, hidden) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item, hidden) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value) if isinstance(value, str | Path) else repr(value)
    for secret in hidden:
        text = text.replace(secret, _HIDDEN)
    # W&B's client looks such an address up, or refuses the whole configuration; with one slash we still know it.
    text = text.replace(ARTIFACT_PREFIX, ARTIFACT_PREFIX[:-1])
    return _ADDRESS.sub(lambda match: redact(match.group()), text)


def _value(key: str, value: Any, hidden: list[str]) -> Any:
    return _HIDDEN if _SECRET.search(key) and isinstance(value, str) else _plain(value, hidden)
