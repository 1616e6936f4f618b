"""Tables say what the JSON files say, rounded once."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import made_up_results
import pytest

from paper_figures import table_pckh, table_topography
from paper_figures.tables import Column, Row, Table, grid, shown, to_csv, to_latex, to_markdown

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
    assert to_markdown(table) == "|  | X |\n| --- | ---: |\n| my_arm, ResNet-50 | 0.4 ± 1.2 |\n| other | – |\n"
    assert r"my\_arm, ResNet-50 & 0.4 $\pm$ 1.2 \\" in to_latex(table) and r"other & -- \\" in to_latex(table)
    assert grid(Table((ONE,), (row,), transposed=True)) == [["", "my_arm, ResNet-50"], ["X", "0.4 ± 1.2"]]
    assert "$-$0.5" in to_latex(Table((ONE,), (Row("a", {"x": (-0.5,)}),)))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_pckh_is_the_evaluations(study: list[Path], tmp_path: Path) -> None:
    assert table_pckh.main(["--results", *map(str, study), "--out", str(tmp_path)]) == 0
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


def test_a_hand_checked_mean(tmp_path: Path) -> None:
    folders = made_up_results.write_study(tmp_path / "runs", arms=("topo",))
    for folder, value in zip(folders, (80.0, 81.0), strict=True):
        made_up_results.edit(folder, "evaluation.json", ("pckh", "0.5", "mean"), value)
    assert table_pckh.main(["--results", *map(str, folders), "--out", str(tmp_path)]) == 0
    assert "| 80.5 ± 0.7 |" in (tmp_path / "table_pckh.md").read_text(encoding="utf-8")
    assert r"& 80.5 $\pm$ 0.7 &" in (tmp_path / "table_pckh.tex").read_text(encoding="utf-8")


def test_published_rows_stand_beside_mpii_only(tmp_path: Path) -> None:
    folders = made_up_results.write_study(tmp_path / "runs", seeds=(1,), data="mpii", protocol="standard")
    assert table_pckh.main(["--results", *map(str, folders), "--out", str(tmp_path)]) == 0
    rows = {row["arm"]: row for row in _rows(tmp_path / "table_pckh.csv")}
    xiao = rows["Xiao et al. 2018, 256 px (published, MPII val)"]
    assert (xiao["mean_0.5"], xiao["mean_0.11"], xiao["mean_0.1"], xiao["Ankle"]) == ("88.532", "33.911", "", "79.594")
    assert rows["mmpose, 256 px (published, MPII val)"]["mean_0.1"] == "28.6" and len(rows) == 6
    caption = (tmp_path / "table_pckh.caption.md").read_text(encoding="utf-8")
    assert all(row["source"] in caption for row in rows.values())


def test_different_settings_do_not_share_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = made_up_results.write_study(tmp_path / "runs", seeds=(1,))
    made_up_results.edit(folders[0], "evaluation.json", ("settings", "flip_test"), False)
    assert table_pckh.main(["--results", *map(str, folders), "--out", str(tmp_path)]) == 1
    assert "different settings" in capsys.readouterr().err


def test_topography_is_the_analyses(study: list[Path], tmp_path: Path) -> None:
    assert table_topography.main(["--results", *map(str, study), "--out", str(tmp_path)]) == 0
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
