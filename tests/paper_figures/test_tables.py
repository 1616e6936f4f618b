"""Tables show what the JSON files hold, rounded once."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import made_up_results
import pytest

from paper_figures.lib.arms import LOSSES
from paper_figures.lib.command import main
from paper_figures.lib.results import load
from paper_figures.lib.tables import (
    Column,
    Row,
    Table,
    TextTable,
    as_text,
    read_table,
    shown,
    to_csv,
    to_latex,
    to_markdown,
    write_table,
)
from paper_figures.tables import scores, topography
from pose_topo.core.errors import PoseTopoError
from pose_topo.stages.compare import METRICS, analyze_group

ONE = Column("x", "X", 1)


@pytest.mark.parametrize(
    ("values", "column", "text"),
    [
        ((84.25, 84.75), ONE, "84.5 ± 0.4"),  # sample sd of two: .5 / sqrt 2
        ((84.26,), ONE, "84.3"),
        ((2.0, 2.0), ONE, "2.0"),
        ((None, 3.0), ONE, "3.0"),
        ((None,), ONE, "–"),
        ((), ONE, "–"),
        ((-0.04,), ONE, "0.0"),
        ((0.01, 0.2), Column("p", "p", 4, largest=True), "0.2000"),
        ((0.005, 0.005), Column("l", "λ", None), "0.005"),
        ((0.5, 1.0), Column("l", "λ", None), "0.5 / 1"),
        (("a", "a", None), Column("w", "Word", None), "a"),
        ((None,), Column("w", "Word", None), "–"),
    ],
)
def test_a_cell_by_hand(values: tuple[float | None, ...], column: Column, text: str) -> None:
    assert shown(values, column) == text


def test_the_three_formats_by_hand() -> None:
    row = Row("my_arm, ResNet-50", {"x": (1.234, -0.5)}, (1, 2), {"source": "here"})
    table = Table((ONE,), (row, Row("other", {})))
    assert (
        to_csv(table)
        == 'arm,seed,x,source\n"my_arm, ResNet-50",1,1.234,here\n"my_arm, ResNet-50",2,-0.5,here\nother,,,\n'
    )
    assert to_markdown(as_text(table)) == "|  | X |\n| --- | ---: |\n| my_arm, ResNet-50 | 0.4 ± 1.2 |\n| other | – |\n"
    assert r"my\_arm, ResNet-50 & 0.4 $\pm$ 1.2 \\" in to_latex(as_text(table)) and r"other & -- \\" in to_latex(
        as_text(table)
    )
    assert as_text(Table((ONE,), (row,), transposed=True)) == TextTable(
        ("", "my_arm, ResNet-50"), (("X", "0.4 ± 1.2"),)
    )
    assert "$-$0.5" in to_latex(as_text(Table((ONE,), (Row("a", {"x": (-0.5,)}),))))


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = TextTable(("", "a|b"), (("x", "1 ± 2"), ("y", "–")))
    write_table("", table, tmp_path, "t")
    assert read_table(tmp_path / "t.json") == table
    for wrong in ("{}", "[]", '{"head": ["a"], "rows": [["1", "2"]], "words": 1}'):
        (tmp_path / "t.json").write_text(wrong)
        with pytest.raises(PoseTopoError, match="not a table"):
            read_table(tmp_path / "t.json")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_table_pckh_holds_the_values_of_the_evaluations(study: list[Path], tmp_path: Path) -> None:
    assert main(["table_pckh", "--results", *map(str, study), "--out", str(tmp_path)]) == 0
    rows = _rows(tmp_path / "table_pckh.csv")
    assert [(row["arm"], row["seed"]) for row in rows] == [tuple(folder.name.split("-s")) for folder in study]
    for row, folder in zip(rows, study, strict=True):
        said = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        assert float(row["Ankle"]) == said["pckh"]["0.5"]["groups"]["Ankle"]
        assert [float(row[f"mean_{t}"]) for t in ("0.5", "0.1", "0.11")] == [
            said["pckh"][t]["mean"] for t in ("0.5", "0.1", "0.11")
        ]
        assert float(row["auc"]) == said["auc"] and float(row["legacy"]) == said["legacy"]["pckh"]
    assert "published" not in (tmp_path / "table_pckh.md").read_text(encoding="utf-8")


def test_a_mean_by_hand(tmp_path: Path) -> None:
    folders = made_up_results.write_study(tmp_path / "runs", arms=("topo",))
    for folder, value in zip(folders, (80.0, 81.0), strict=True):
        made_up_results.edit(folder, "evaluation.json", ("pckh", "0.5", "mean"), value)
    assert main(["table_pckh", "--results", *map(str, folders), "--out", str(tmp_path)]) == 0
    assert "| 80.5 ± 0.7 |" in (tmp_path / "table_pckh.md").read_text(encoding="utf-8")
    assert r"& 80.5 $\pm$ 0.7 &" in (tmp_path / "table_pckh.tex").read_text(encoding="utf-8")


def test_published_rows_are_shown_beside_mpii_only(tmp_path: Path) -> None:
    folders = made_up_results.write_study(tmp_path / "runs", seeds=(1,), data="mpii", protocol="standard")
    assert main(["table_pckh", "--results", *map(str, folders), "--out", str(tmp_path)]) == 0
    rows = {row["arm"]: row for row in _rows(tmp_path / "table_pckh.csv")}
    xiao = rows["Xiao et al. 2018, 256 px (published, MPII val)"]
    assert (xiao["mean_0.5"], xiao["mean_0.11"], xiao["mean_0.1"], xiao["Ankle"]) == ("88.532", "33.911", "", "79.594")
    assert rows["mmpose, 256 px (published, MPII val)"]["mean_0.1"] == "28.6" and len(rows) == 6
    caption = (tmp_path / "table_pckh.caption.md").read_text(encoding="utf-8")
    assert all(row["source"] in caption for row in rows.values())


def test_different_settings_do_not_share_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = made_up_results.write_study(tmp_path / "runs", seeds=(1,))
    made_up_results.edit(folders[0], "evaluation.json", ("settings", "flip_test"), False)
    assert main(["table_pckh", "--results", *map(str, folders), "--out", str(tmp_path)]) == 1
    assert "different settings" in capsys.readouterr().err


def test_table_topography_holds_the_values_of_the_analyses(study: list[Path], tmp_path: Path) -> None:
    assert main(["table_topography", "--results", *map(str, study), "--out", str(tmp_path)]) == 0
    rows = {(row["arm"], row["seed"]): row for row in _rows(tmp_path / "table_topography.csv")}
    said = {
        tuple(folder.name.split("-s")): json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
        for folder in study
    }
    for run, row in rows.items():
        assert float(row["mean_I"]) == said[run]["moran"]["mean_I"]
        assert float(row["participation_ratio"]) == said[run]["health"]["participation_ratio"]
    above = said["topo", "2"]["moran"]["mean_I"] - said["control", "2"]["moran"]["mean_I"]
    assert float(rows["topo", "2"]["I_above_control"]) == above
    assert rows["control", "1"]["I_above_control"] == "" and rows["baseline", "1"]["lambda"] == ""
    text = (tmp_path / "table_topography.md").read_text(encoding="utf-8")
    assert "| λ | – | 0 | 0.5 |" in text and "| E[I] | -0.0039 | -0.0039 | -0.0039 |" in text


def test_table_metrics_holds_the_values_of_the_evaluations(study: list[Path], tmp_path: Path) -> None:
    made_up_results.write_study(tmp_path / "runs", arms=("topo",))
    folders = [tmp_path / "runs" / f"topo-s{seed}" for seed in (1, 2)]
    for folder, official, labelled, ratio in zip(folders, (80.0, 81.0), (94.0, 95.0), (2.4, 2.5), strict=True):
        for key, value in ((("pckh", "0.5", "mean"), official), (("legacy", "pckh_labelled"), labelled)):
            made_up_results.edit(folder, "evaluation.json", key, value)
        made_up_results.edit(folder, "evaluation.json", ("legacy", "head_ratio", "median"), ratio)
    assert main(["table_metrics", "--results", *map(str, folders), "--out", str(tmp_path)]) == 0
    rows = _rows(tmp_path / "table_metrics.csv")
    assert [(row["pckh"], row["legacy_labelled"], row["unlabelled"]) for row in rows] == [
        ("80.0", "94.0", "660"),
        ("81.0", "95.0", "660"),
    ]
    text = (tmp_path / "table_metrics.md").read_text(encoding="utf-8")
    assert "| topo | 80.5 ± 0.7 | 94.5 ± 0.7 | 79.5 | 660 | 2.45 ± 0.07 | 2.42 |" in text
    caption = (tmp_path / "table_metrics.caption.md").read_text(encoding="utf-8")
    assert "(2.45 (2.40 to 2.50) times the official one in the median)" in caption and "660 of them" in caption


def test_table_metrics_gives_the_reason_for_a_missing_legacy_number(tmp_path: Path) -> None:
    folder = made_up_results.write_run(tmp_path / "run", "topo", 1)
    for key, value in (("pckh", None), ("pckh_labelled", None), ("reason", "no sizes")):
        made_up_results.edit(folder, "evaluation.json", ("legacy", key), value)
    assert main(["table_metrics", "--results", str(folder), "--out", str(tmp_path)]) == 0
    assert "No legacy number: no sizes." in (tmp_path / "table_metrics.caption.md").read_text(encoding="utf-8")
    assert "| – | – | 660 |" in (tmp_path / "table_metrics.md").read_text(encoding="utf-8")


def test_table_losses_by_hand(tmp_path: Path) -> None:
    arms = ("topoloss-l5", "topo-l0.05", "control", "topo", "baseline")
    folders = made_up_results.write_study(tmp_path / "runs", arms=arms)
    for folder in folders[:2]:  # topoloss-l5
        for keys, value in (
            (("moran", "mean_I"), 0.25),
            (("moran_measures", "normalised", "mean_I"), 0.125),
            (("moran_measures", "activity", "mean_I"), 0.0625),
            (("health", "neighbour_cosine"), 0.75),
            (("health", "all_pairs_cosine"), 0.5),
        ):
            made_up_results.edit(folder, "analysis.json", keys, value)
    assert main(["table_losses", "--results", *map(str, folders), "--out", str(tmp_path)]) == 0
    rows = _rows(tmp_path / "table_losses.csv")
    assert [row["arm"] for row in rows[::2]] == ["control", "topo", "topo-l0.05", "topoloss-l5"]  # no baseline
    last = rows[-1]
    assert (last["loss"], last["lambda"], last["topo_lr_mult"], last["n"]) == ("topoloss", "5.0", "10.0", "2")
    measured = [last[key] for key in ("mean_I", "mean_I_normalised", "mean_I_activity", "cosine_excess")]
    assert measured == ["0.25", "0.125", "0.0625", "0.25"]
    control = next(f for f in folders if f.name.startswith("control") and f.name.endswith("s2"))
    best = json.loads((control / "analysis.json").read_text(encoding="utf-8"))["controls"]["rearranged"]["mean_I"]
    assert float(last["share_of_best"]) == pytest.approx(0.25 / best)
    assert rows[0]["loss"] == ""
    line = (tmp_path / "table_losses.md").read_text(encoding="utf-8").splitlines()[-1]
    assert (
        line.startswith("| topoloss-l5 | 5 | 10 | 2 | 0.250 | ")
        and " | 0.125 | 0.062 | " in line
        and line.endswith("| 0.250 |")
    )
    caption = (tmp_path / "table_losses.caption.md").read_text(encoding="utf-8")
    assert "(topo: weight-similarity; others by name)" in caption and "16 x 16 grid" in caption
    assert "Seeds: 1, 2 (control, topo, topo-l0.05, topoloss-l5)." in caption


def test_table_robustness_by_hand(tmp_path: Path) -> None:
    """Three seeds of topo and control, and another seed of topo without a partner: 0.1, 0.2 and -0.05 above it."""
    own = {"control": (0.5, 0.6, 0.7), "topo": (0.6, 0.8, 0.65, 0.9)}
    folders = []
    for arm, areas in own.items():
        for seed, area in enumerate(areas):
            folders.append(made_up_results.write_run(tmp_path / f"{arm}-s{seed}", arm, seed, robustness=True))
            made_up_results.edit(folders[-1], "robustness.json", ("harms", "blur", "relative"), area)
    assert main(["table_robustness", "--results", *map(str, folders), "--out", str(tmp_path / "out")]) == 0
    lines = {line[0]: line[1:] for line in read_table(tmp_path / "out" / "table_robustness.json").rows}
    assert lines["Blur"] == ("0.600 ± 0.100", "0.738 ± 0.138")
    table = scores.build_robustness(load(folders))
    control, topo = (row.values for row in table.rows)
    # of the 8 patterns of signs, those with a sum of at least .25 in size: +++, ++-, and their mirror images
    assert topo["harms.blur.relative_p"] == (0.5,) * 4 and control["harms.blur.relative_p"] == (None,) * 3
    assert topo["smallest_p"] == (0.25,) * 4 and topo["pairs"] == (3,) * 4
    assert lines["Seeds that the control also has"] == ("–", "3") and lines["Smallest possible p"] == ("–", "0.250")
    text = (tmp_path / "out" / "table_robustness.caption.md").read_text(encoding="utf-8")
    assert "With n seeds p is at least 2 / 2^n" in text and "blur 0 to 40, sd (pixels of the input);" in text


def test_latex_breaks_titles_and_separates_blocks() -> None:
    head = ("", "Kind", "Head size, legacy / official")
    table = TextTable(head, (("a", "x|y", "1"), ("", "z", "2"), ("b", "x", "-3")), words=2)
    lines = to_latex(table).splitlines()
    assert lines[0] == r"\begin{tabular}{llr}"
    assert lines[2] == r" & Kind & \shortstack[r]{Head size, \\ legacy / \\ official} \\"
    assert lines[4:8] == [r"a & x$|$y & 1 \\", r" & z & 2 \\", r"\midrule", r"b & x & $-$3 \\"]
    assert to_markdown(table).splitlines()[1] == "| --- | --- | ---: |"


def test_table_topography_shows_the_main_arms(study: list[Path], tmp_path: Path) -> None:
    losses = [f"{loss}-l{weight}" for loss in LOSSES for weight in (0.05, 0.5)]
    sweep = made_up_results.write_study(tmp_path / "runs", arms=tuple(losses), seeds=(1,))
    assert main(["table_topography", "--results", *map(str, [*study, *sweep]), "--out", str(tmp_path)]) == 0
    assert {row["arm"] for row in _rows(tmp_path / "table_topography.csv")} == {"baseline", "control", "topo"}
    caption = (tmp_path / "table_topography.caption.md").read_text(encoding="utf-8")
    assert caption.endswith("3 of 13 arms are shown; table_losses has all.\n")


def test_table_seeds_by_hand(tmp_path: Path) -> None:
    """Differences of seeds 1 and 2 in I are .5 and .7; each pair has p >= 2 / 2^2."""
    folders = made_up_results.write_study(tmp_path / "runs", arms=("control", "topo"))
    for folder, value in zip(folders, (0.0, 0.1, 0.5, 0.8), strict=True):
        made_up_results.edit(folder, "analysis.json", ("moran", "mean_I"), value)
    for folder, value in zip(folders, (80.0, 81.0, 79.0, 79.0), strict=True):
        made_up_results.edit(folder, "evaluation.json", ("pckh", "0.5", "mean"), value)
    group = analyze_group(folders, tmp_path / "group")
    assert set(topography.COMPARED) == set(METRICS) == set(group["arms"]["topo"]["metrics"])
    assert main(["table_seeds", "--group", str(tmp_path / "group" / "group.json"), "--out", str(tmp_path)]) == 0
    lines = (tmp_path / "table_seeds.md").read_text(encoding="utf-8").splitlines()
    # half the t interval is 12.706 x .1414 / sqrt 2 = 1.271, and 9.53 for the PCKh differences -1 and -2 (sd .7071)
    assert lines[2] == "| topo | Moran's I of \\|w\\| | 2 | 0.600 | -0.671 to 1.871 | 0.500 | 1.000 | 0.500 |"
    assert "|  | PCKh@0.5 | 2 | -1.5 | -7.9 to 4.9 | 0.500 | 1.000 | 0.500 |" in lines
    share = (0.5 + 0.8) / 2 / 0.43  # 0.43: the best I of the made-up control
    assert lines[-1] == f"|  | I / best I of the control | – | ratio {share:.2f} | – | – | – | – |"
    row = _rows(tmp_path / "table_seeds.csv")[0]
    assert (row["arm"], row["measure"], row["n"], row["seeds"]) == ("topo", "I", "2", "1 2")
    assert [float(value) for value in row["differences"].split()] == pytest.approx([0.5, 0.7])
    caption = (tmp_path / "table_seeds.caption.md").read_text(encoding="utf-8")
    assert "t, 95%, n - 1 degrees of freedom" in caption and "Protocol small, resnet18. Seeds: 1, 2." in caption


def test_table_seeds_without_a_group(study: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--group", str(tmp_path / "group.json"), "--out", str(tmp_path / "out")]
    assert main(["table_seeds", *where]) == 1 and not (tmp_path / "out").exists()
    assert capsys.readouterr().err.startswith("table_seeds: there is no comparison of arms over seeds")
    assert main(["table_seeds", *where, "--if-there"]) == 0
    assert (
        (tmp_path / "out" / "table_seeds.caption.md").read_text(encoding="utf-8").startswith("Not shown: there is no")
    )
    shutil.copy(study[0] / "analysis.json", tmp_path / "group.json")
    assert main(["table_seeds", *where, "--if-there"]) == 1
    assert "not a schema 1 group file" in capsys.readouterr().err
