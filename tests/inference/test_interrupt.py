"""Ctrl-C and SIGTERM end a run between two batches."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from yolo_lightning.inference.interrupt import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_waits_for_the_end_of_a_batch(number):
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt), interrupt.waiting():
            pytest.fail("nothing new is read")
    assert signal.getsignal(number) is before


def test_at_once_while_it_waits_and_the_second_time():
    with Interrupt() as interrupt:
        with pytest.raises(KeyboardInterrupt), interrupt.waiting():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_other_threads_are_left_alone():
    failures = []

    def enter():
        try:
            with Interrupt() as interrupt, interrupt.waiting():
                pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failures
