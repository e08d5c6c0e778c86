"""Runs the server until it is interrupted: ``python -m tests.wandb_server --port 8090 --dir x``."""

from __future__ import annotations

import argparse
import threading

from tests.wandb_server.server import API_KEY, WandbServer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--dir", default="wandb-server")
    parser.add_argument("--entity", default="team")
    args = parser.parse_args()
    with WandbServer(args.dir, args.port, args.entity) as server:
        print(f"export WANDB_BASE_URL={server.url} WANDB_API_KEY={API_KEY}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
