from tests.wandb_server.fixtures import machine, wandb_server

__all__ = ["machine", "wandb_server"]
