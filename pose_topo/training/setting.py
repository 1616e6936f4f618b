"""What does not change while a network is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from pose_topo.config import RunConfig
from pose_topo.data.batches import Batches
from pose_topo.data.dataset import Dataset
from pose_topo.training.distributed import Team
from pose_topo.training.interruption import Interrupted, Interruption


@dataclass(frozen=True)
class Setting:
    """A training's run, data and machine."""

    config: RunConfig
    run: Path
    dataset: Dataset
    train_set: Batches
    val_set: Batches
    device: torch.device
    precision: str
    team: Team
    interruption: Interruption
    progress: bool

    @property
    def steps_per_epoch(self) -> int:
        return self.train_set.steps(self.config.recipe.batch_size, self.team.size)

    def stop_if_asked(self) -> None:
        """Raises:
        Interrupted: a signal came to any process of the team (all of which must ask at the same step).
        """
        signum = max(number or 0 for number in self.team.gather(self.interruption.signum))
        if signum:
            raise Interrupted(signum, str(self.run / "last.pt"))

    def announcement(self) -> str:
        """What is about to be trained, on what, by how many."""
        split, recipe, size = self.dataset.split, self.config.recipe, self.team.size
        people = recipe.batch_size * size
        batch = f"{people} people a step" + (f" ({size} processes x {recipe.batch_size})" if size > 1 else "")
        return (
            f"{self.run}: {len(self.train_set):,} people to train on, {len(self.val_set):,} held out ({split.rule} "
            f"split); {batch}, learning rate {recipe.lr:g}; {self.device} {self.precision}, "
            f"{torch.get_num_threads()} threads"
        )
