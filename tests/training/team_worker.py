"""The script that test_distributed.py starts in two gloo processes: `python team_worker.py DATA FOLDER`."""

import sys
from pathlib import Path

import torch
from test_distributed import CPU, fresh_model, recorded_config

from pose_topo.data.batches import Batches
from pose_topo.data.dataset import prepare
from pose_topo.training.epoch import train_steps, validate
from pose_topo.training.loop import RunContext, train
from pose_topo.training.optimisation import make_optimizer
from pose_topo.training.processes import team_from_environment
from pose_topo.training.state import Meter


def first_step(config, dataset, team) -> dict[str, torch.Tensor]:
    """The gradients of the first step, as the optimiser saw them."""
    model = fresh_model(config)
    batches = Batches(dataset.store, dataset.people, dataset.split.train, config.recipe, CPU)
    next(train_steps(
        model, make_optimizer(model, config.recipe),
        batches.epoch(0, 1, config.recipe.batch_size, process=team.rank, processes=team.size), config.recipe,
        precision="fp32", spatial_lambda=0.5, rate=lambda _: 1e-3, first_step=0, meter=Meter(CPU),
        forward=team.wrapped(model, CPU),
    ))  # fmt: skip
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def main() -> None:
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    team, config = team_from_environment(), recorded_config(data)
    dataset = prepare(config.data, config.recipe, seed=0, workers=1, progress=False)
    with team.joined(CPU):
        gradients = first_step(config, dataset, team)
        val = Batches(dataset.store, dataset.people, dataset.split.val, config.recipe, CPU)
        scores = validate(fresh_model(config), val, dataset.people, "fp32", 2, team)
        torch.save({"gradients": gradients, "scores": scores}, folder / f"rank{team.rank}.pt")
        train(config, dataset, folder / "run", RunContext(progress=False, team=team))


if __name__ == "__main__":
    main()
