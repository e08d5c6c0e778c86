from __future__ import annotations

import logging
from collections.abc import Callable

import pytest


@pytest.fixture
def lightning_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What has been said so far; Lightning's loggers have handlers of their own."""
    for name in ("lightning", "lightning.pytorch"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]
