"""The root of every GraphQL request."""

from __future__ import annotations

from tests.wandb_server.artifact_mutations import ArtifactMutations
from tests.wandb_server.run_mutations import RunMutations
from tests.wandb_server.sweep_mutations import SweepMutations

__all__ = ["Store"]


class Store(RunMutations, ArtifactMutations, SweepMutations):
    """Queries and mutations.

    Attributes and methods in camelCase are the fields that clients select; everything else is for the HTTP side and for
    tests.
    """
