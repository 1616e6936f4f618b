"""train-baseline and train-topo."""

from __future__ import annotations

from pose_topo import options
from pose_topo.commands.app import app, say


@app.command("train-baseline")
@options.as_command(options.TrainOptions, {})
def train_baseline(chosen: options.TrainOptions) -> None:
    """Train SimpleBaseline: ResNet, three deconvolutions, one heatmap a joint."""
    _train(chosen)


@app.command("train-topo")
@options.as_command(options.TopoOptions, {})
def train_topo(chosen: options.TopoOptions) -> None:
    """Train TopoModel: SimpleBaseline with a topographic layer and its spatial loss."""
    _train(chosen)


def _train(chosen: options.TrainOptions) -> None:
    config = chosen.config()
    from pose_topo import runs
    from pose_topo.data.dataset import check_layout, prepare
    from pose_topo.devices import pick_device
    from pose_topo.models.pose import build_model
    from pose_topo.models.weights import imagenet_file
    from pose_topo.training import hooks
    from pose_topo.training.distributed import team_from_environment
    from pose_topo.training.loop import Surroundings, check_run, train

    run = chosen.save_dir / (chosen.run_name or hooks.default_run_name(config))
    resume, team = chosen.resume == "auto", team_from_environment()
    aloud = say if team.writer else _silently
    # what cannot be is refused before anything is read: a network nobody can build, no data, weights not to be had
    pick_device(team.device(config.device), _silently)  # the training says it
    build_model(config)
    if team.writer:
        check_run(run, config, resume=resume, overwrite=chosen.overwrite)
    check_layout(config.data)
    if config.recipe.pretrained and (chosen.overwrite or not (run / "last.pt").is_file()):
        imagenet_file(config, chosen.cache_dir, aloud)
    progress = chosen.progress and team.writer
    dataset = prepare(
        config.data, config.recipe, seed=config.seed, cache=chosen.cache_dir, progress=progress, say=aloud
    )
    if chosen.overwrite and team.writer:
        (run / runs.WANDB_ID).unlink(missing_ok=True)  # another run is another log
    wanted = {"plots": chosen.save_plts, "wandb": chosen.wandb}
    after = hooks.chosen_hooks(run, dataset, config, **wanted, say=aloud) if team.writer else ()
    around = Surroundings(chosen.cache_dir, progress, after, team, aloud)
    history = train(config, dataset, run, around, resume=resume, overwrite=chosen.overwrite)
    last = history[-1]
    aloud(
        f"{run}: epoch {last['epoch']}, validation PCKh@0.5 {last['val_pckh']:.2f} (no flip test); "
        f"next: pose-topo evaluate {run}"
    )


def _silently(_text: str) -> None:
    """What the processes other than the writer say."""
