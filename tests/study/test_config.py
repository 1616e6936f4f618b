"""Configs: what departs from a protocol is named, and a config survives its JSON."""

import json
import math
import typing
from dataclasses import replace
from pathlib import Path

import pytest

from pose_topo.commands.train import TopoOptions, TrainOptions
from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.study.arms import Arm
from pose_topo.study.config import TOPO_LOSSES, Data, Recipe, RunConfig, Topography, TopoLoss, from_dict, to_dict
from pose_topo.study.protocols import PAPER, PROTOCOLS, SMALL, STANDARD, SYNTHETIC, as_protocol, deviations
from pose_topo.study.runs import read_config, write_config


def test_a_config_survives_its_json():
    for recipe in (STANDARD, PAPER, SYNTHETIC, SMALL):
        config = RunConfig("resnet18", recipe, Data.at("mpii"), Topography(3, 5, torus=True), seed=4)
        assert from_dict(RunConfig, json.loads(json.dumps(to_dict(config)))) == config
    baseline = RunConfig("resnet18", STANDARD, Data.at("mpii"))
    assert from_dict(RunConfig, json.loads(json.dumps(to_dict(baseline)))) == baseline


def test_a_config_of_another_version_is_refused():
    values = to_dict(RunConfig("resnet18", STANDARD, Data.at("mpii")))
    with pytest.raises(PoseTopoError, match="colour"):
        from_dict(RunConfig, values | {"colour": 1})
    del values["arch"]
    with pytest.raises(PoseTopoError, match="incomplete"):
        from_dict(RunConfig, values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": None}, "RunConfig.arch is None"),
        ({"seed": "3"}, "RunConfig.seed is '3', not of the type int"),
        ({"seed": True}, "RunConfig.seed is True"),
        ({"recipe": None}, "RunConfig.recipe is None"),
        ({"recipe": [1]}, "the Recipe settings are list"),
        ({"topography": 3}, "the Topography settings are int"),
        ({"topography": None}, "RunConfig.model is 'topo', but the other settings give 'baseline'"),
        ({"precision": "fp64"}, "--precision fp64: give one of auto, fp32, bf16"),
        ({"threads": 1.5}, "RunConfig.threads is 1.5"),
    ],
)
def test_a_setting_of_the_wrong_type_is_one_line(change, message):
    values = to_dict(RunConfig("resnet18", STANDARD, Data.at("mpii"), Topography()))
    with pytest.raises(PoseTopoError) as error:
        from_dict(RunConfig, values | change)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("recipe", {"input_size": 32 * 10**9}, "--input-size 32000000000: give a multiple of 32, at most 4,096"),
        ("recipe", {"epochs": 10**9}, "--epochs 1000000000: give at least 1, at most 1,000,000"),
        ("recipe", {"batch_size": 1 << 40}, "--batch-size 1099511627776"),
        ("recipe", {"sigma": math.nan}, "sigma nan: give a width of at most 256 cells"),
        ("recipe", {"decode": "x" * 10_000}, "--decode " + "x" * 60 + ": give one of"),
        ("topography", {"height": 10**6, "width": 10**6}, "--topo-grid 1000000 1000000: 1,000,000,000,000 channels"),
        ("topography", {"width": 1 << 70}, "Topography.width is 1180591620717411303424, not of the type int"),
    ],
)
def test_settings_of_an_absurd_size_are_one_line_that_names_the_file(tmp_path, part, change, message):
    config = RunConfig("resnet18", STANDARD, Data.at("mpii"), Topography())
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config
    values = to_dict(config)
    (tmp_path / "config.json").write_text(json.dumps(values | {part: values[part] | change}).replace("NaN", "1e999"))
    with pytest.raises(PoseTopoError) as error:
        read_config(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'config.json'}: {message.replace('nan', 'inf')}")


@pytest.mark.parametrize("values", [None, [], "settings", 3])
def test_settings_that_are_no_dictionary_are_refused(values):
    with pytest.raises(PoseTopoError, match="not a dictionary"):
        from_dict(RunConfig, values)


def test_the_model_follows_from_the_topography():
    config = RunConfig("resnet18", STANDARD, Data.at("mpii"), Topography())
    assert config.model == "topo" and replace(config, topography=None).model == "baseline"
    assert to_dict(config)["model"] == "topo"


def test_what_departs_from_the_protocol_is_named():
    plain = TopoOptions().config()
    (of_the_protocol,) = deviations(plain)
    assert of_the_protocol.startswith("standard protocol: the field's recipe") and as_protocol(plain)
    changed = TopoOptions(epochs=2, lr=0.5, topo_lr_mult=3.0).config()
    assert deviations(changed) == [
        of_the_protocol,
        "lr 0.5 (the standard protocol: 0.001)",
        "epochs 2 (the standard protocol: 140)",
        "the topographic layer's learning rate is 3 times that of the backbone (the study: 1)",
    ]
    assert not as_protocol(changed)
    assert as_protocol(TopoOptions(spatial_lambda=0.0).config())  # the control
    assert as_protocol(TopoOptions(spatial_lambda=5.0).config())  # its arm says so
    assert not as_protocol(TopoOptions(spatial_lambda=5.0, arm="topo").config())  # its arm is not what it says


def test_the_multipliers_are_named_among_the_deviations():
    topo, head = "topographic layer", "head"
    for protocol, layers in (("small", [topo]), ("demo", [head, topo]), ("standard", [])):
        found = deviations(TopoOptions(protocol=protocol, arch="resnet18").config())[1:]
        assert [line.split("'s")[0].removeprefix("the ") for line in found] == layers
        found = deviations(TrainOptions(protocol=protocol, arch="resnet18").config())[1:]
        assert [line.split("'s")[0].removeprefix("the ") for line in found] == [one for one in layers if one != topo]


def test_the_targets_sigma_grows_with_the_input():
    assert TrainOptions(input_size=384).recipe().sigma == 3.0
    assert TrainOptions(input_size=256).recipe() == STANDARD


def test_a_share_to_hold_out_means_a_random_split():
    assert TrainOptions(val_split=0.2).recipe().split == "random"
    for split in ("paper", "tompson", "file", "auto"):
        with pytest.raises(UsageError, match=f"not of --split {split}"):
            TrainOptions(val_split=0.2, split=split).recipe()
    assert TrainOptions(protocol="small", split_file=Path("val.txt")).recipe().split == "auto"
    assert TrainOptions(protocol="small", split_file=Path("val.txt"), split="tompson").recipe().split == "tompson"


def test_the_flip_test_shifts_by_a_column_except_with_the_studys_cells():
    assert [recipe.flip_shift for recipe in (STANDARD, SYNTHETIC, SMALL, PAPER)] == [True, True, True, False]


def test_weights_that_are_given_are_taken():
    assert TrainOptions(protocol="small", weights="r18.pth").recipe().start == "imagenet"
    with pytest.raises(UsageError, match="not with --no-pretrained"):
        TrainOptions(weights="r18.pth", pretrained=False).recipe()


def test_the_start_is_one_setting_with_three_options():
    def chosen(**options):
        config = TrainOptions(protocol="small", arch="resnet18", **options).config()
        return config.recipe.start, config.weights

    assert chosen() == ("none", None)
    assert chosen(start="imagenet") == chosen(pretrained=True) == ("imagenet", None)
    assert chosen(start="released") == ("released", None)
    assert chosen(start="runs/a") == ("network", "runs/a")
    assert chosen(weights="r18.pth", start="imagenet") == ("imagenet", "r18.pth")
    assert TrainOptions(pretrained=False).config().recipe.start == "none"
    for others in ({"pretrained": True}, {"weights": "r18.pth"}, {"start": "imagenet", "pretrained": False}):
        with pytest.raises(UsageError, match="not with --pretrained"):
            chosen(**{"start": "none", "pretrained": None, **others})
    with pytest.raises(UsageError, match="photographs starts from a network: give --start RUN"):
        TrainOptions(protocol="photographs").config()


def test_the_hashed_split_is_not_replaced_by_another_in_silence(tmp_path):
    for options in ({"val_split": 0.2}, {"val_split": 0.2, "split": "tune"}):
        with pytest.raises(UsageError, match="the share of --split random, not of --split"):
            TrainOptions(protocol="photographs", start="none", **options).recipe()
    for rule in ("hashed", "tune"):
        with pytest.raises(UsageError, match="takes no --split-file"):
            TrainOptions(split=rule, split_file=tmp_path / "val.txt").recipe()
    asked = TrainOptions(protocol="photographs", start="none", split="random", val_split=0.2).recipe()
    assert (asked.split, asked.val_split) == ("random", 0.2)


def test_settings_of_an_earlier_version_said_pretrained():
    for pretrained, start in ((True, "imagenet"), (False, "none")):
        values = {key: value for key, value in to_dict(SMALL).items() if key != "start"} | {"pretrained": pretrained}
        assert from_dict(Recipe, values) == replace(SMALL, start=start)


@pytest.mark.parametrize(
    "given, flag",
    [
        ({"lr": math.inf}, "--lr"),
        ({"topo_lr_mult": math.nan}, "--topo-lr-mult"),
        ({"spatial_lambda": math.inf}, "--spatial-lambda"),
        ({"threads": 0}, "--threads"),
        ({"seed": 1 << 63}, "--seed"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_numbers_that_are_none_are_refused(given, flag):
    with pytest.raises(UsageError, match=flag):
        TopoOptions(**given).config()
    assert replace(STANDARD, val_split=0.1) == STANDARD


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda config: replace(config, precision="fp8"), "--precision fp8: give one of auto, fp32, bf16"),
        (lambda config: replace(config, recipe=replace(config.recipe, split="tomson")), "--split tomson: .*tompson"),
        (lambda config: replace(config, topography=Topography(init="zeros")), "--topo-init zeros: .*equal-norm"),
        (lambda config: replace(config, topography=Topography(loss="smooth")), "--topo-loss smooth: .*topoloss"),
        (lambda config: replace(config, topography=Topography(neighbours=6)), "neighbours 6"),
        (lambda config: replace(config, topography=Topography(1, 1)), "no neighbours"),
    ],
)
def test_every_choice_is_validated_with_the_name_of_its_option(changed, message):
    config = TopoOptions().config()
    with pytest.raises(UsageError, match=message):
        changed(config)


def test_warm_up_with_one_cycle_is_refused_since_it_would_have_no_effect():
    with pytest.raises(UsageError, match="--warm-up 1: the one-cycle schedule"):
        TrainOptions(protocol="small", warm_up=1.0).recipe()
    with pytest.raises(UsageError, match="--warm-up 1: the one-cycle schedule"):
        TrainOptions(schedule="one-cycle", warm_up=1.0).recipe()
    assert TrainOptions(warm_up=1.0).recipe().warm_up == 1.0


def test_a_split_file_is_validated_against_the_split():
    with pytest.raises(UsageError, match="takes no --split-file"):
        TrainOptions(split="paper", split_file=Path("val.txt")).recipe()
    with pytest.raises(UsageError, match="--split file needs --split-file"):
        TrainOptions(split="file").recipe()


def test_a_config_of_an_earlier_version_is_read():
    config = TopoOptions().config()
    older = to_dict(config) | {"num_keypoints": 16, "compile": "auto"}
    assert from_dict(RunConfig, older) == config and config.compile == "off"
    with pytest.raises(PoseTopoError, match="num_keypoints"):
        from_dict(RunConfig, older | {"num_keypoints": 17})


def test_the_choices_of_topo_loss_are_the_losses_of_the_table():
    assert typing.get_args(TopoLoss) == tuple(TOPO_LOSSES)
    assert next(iter(TOPO_LOSSES)) == TopoOptions.topo_loss == Topography().loss == "weight-similarity"


@pytest.mark.parametrize(
    ("arm", "settings"),
    [
        ("topo", {}),
        ("control", {"spatial_lambda": 0.0}),
        ("control", {"spatial_lambda": 0.0, "topo_permuted": True}),
        ("topo-l0.005", {"spatial_lambda": 0.005}),
        ("topo-m10", {"topo_lr_mult": 10.0}),
        ("topo-permuted", {"topo_permuted": True}),
        ("topoloss-l0.5", {"topo_loss": "topoloss"}),
        ("topographic-l5-m10-8x4-rook-torus-norm-kaiming", {
            "topo_loss": "topographic", "spatial_lambda": 5.0, "topo_lr_mult": 10.0, "topo_grid": (8, 4),
            "topo_neighbours": 4, "topo_torus": True, "topo_norm": True, "topo_init": "kaiming",
        }),
    ],
)  # fmt: skip
def test_an_arm_is_named_by_what_it_sets(arm, settings):
    config = TopoOptions(**settings).config()
    assert config.arm == str(Arm.of(config, PROTOCOLS[config.recipe.protocol])) == arm


def test_the_multiplier_is_named_where_it_is_not_the_protocols():
    assert TopoOptions(protocol="small").config().arm == "topo"
    assert TopoOptions(protocol="small", topo_lr_mult=1.0).config().arm == "topo-m1"
    assert TrainOptions(protocol="small").config().arm == "baseline"
