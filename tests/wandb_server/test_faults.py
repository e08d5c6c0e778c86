import http.client
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.wandb_server.faults import DROP, HANG


def get(server):
    return urllib.request.urlopen(f"{server.url}/healthz", timeout=30).status


def test_status_and_number(wandb_server):
    with wandb_server.failing("health", status=503, times=2) as fault:
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError, match="503"):
                get(wandb_server)
        assert get(wandb_server) == 200
    assert fault.hits == 2
    assert [request.status for request in wandb_server.requests] == [503, 503, 200]


def test_others_do_not_fail(wandb_server):
    with wandb_server.failing("UpsertBucket") as fault:
        assert get(wandb_server) == 200
    assert not fault.hits


def test_dropped(wandb_server):
    with wandb_server.failing(status=DROP), pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        get(wandb_server)
    assert get(wandb_server) == 200


def test_condition(wandb_server):
    begin = time.time() + 1
    with wandb_server.failing(when=lambda request: request.time >= begin):
        assert get(wandb_server) == 200 or time.time() >= begin
        time.sleep(max(0, begin - time.time()))
        with pytest.raises(urllib.error.HTTPError):
            get(wandb_server)


def test_hanging_ends_with_the_fault(wandb_server):
    outcome = []

    def ask():
        try:
            outcome.append(get(wandb_server))
        except OSError as error:
            outcome.append(error)

    with wandb_server.failing(status=HANG) as fault:
        client = threading.Thread(target=ask)
        client.start()
        while not fault.hits:
            time.sleep(0.01)
        assert not outcome
    client.join(30)
    assert isinstance(outcome[0], OSError)


def test_waiting(wandb_server):
    wandb_server.wait_until(lambda store: not store.projects)
    with pytest.raises(TimeoutError):
        wandb_server.wait_until(lambda store: store.run_at("team/p/r"), timeout=0.1)


@pytest.mark.slow
def test_outage_from_an_epoch_on(wandb_server, machine):
    """Rows that were logged in the outage come in when it is over."""
    code = """
    import time, wandb
    run = wandb.init(project="p", id="r", settings=wandb.Settings(x_file_stream_transmit_interval=1))
    for epoch in range(30):
        run.log({"epoch": epoch})
        time.sleep(0.2)
    run.finish()
    """

    def rows():
        return wandb_server.store.run_at("team/p/r").history_rows

    with wandb_server.failing("file_stream", status=DROP, when=lambda request: len(rows()) >= 5) as fault:
        command = machine("a").start_python(code)
        while fault.hits < 3:
            assert command.process.poll() is None, command.output
            time.sleep(0.05)
        assert 5 <= len(rows()) < 30
    assert command.wait() == 0, command.output
    assert [row["epoch"] for row in rows()] == list(range(30))
