"""Times of calls that have turns."""

from __future__ import annotations

import torch

from yolo_lightning.tools.latency import Turns, first_line

CPU = torch.device("cpu")


def test_calls_have_turns():
    order: list[str] = []
    turns = Turns({name: (lambda name=name: order.append(name)) for name in "abc"}, CPU)
    assert turns.latency("a") is None
    turns.run(0.0)
    assert order == [name for names in ("abc", "bca", "cab") for name in names for _ in range(5)]
    for name in "abc":
        latency = turns.latency(name)
        assert latency is not None
        assert latency.num_calls == 12  # the first of each turn does not count
        assert 0 < latency.p50 <= latency.p95
    assert not turns.errors


def test_a_call_that_fails_does_not_stop_the_others():
    calls: list[int] = []

    def fail() -> None:
        calls.append(len(calls))
        if len(calls) > 7:
            raise RuntimeError("\n  out of luck \nand more")

    turns = Turns({"good": lambda: None, "bad": fail}, CPU)
    turns.run(0.0)
    assert turns.errors == {"bad": "out of luck"}
    assert turns.latency("bad") is None
    good = turns.latency("good")
    assert good is not None
    assert good.num_calls == 12


def test_it_ends_when_all_fail():
    turns = Turns({"bad": lambda: 1 / 0}, CPU)
    turns.run(1e9)
    assert turns.errors == {"bad": "division by zero"}


def test_an_error_without_words():
    assert first_line(KeyError()) == "KeyError"
