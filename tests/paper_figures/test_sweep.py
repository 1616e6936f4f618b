"""Figures of many arms: the trade-off, lesions, robustness and the schematic show what the files hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up_results
import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from paper_figures.figures import lesions, robustness, schematic, tradeoff
from paper_figures.figures.tradeoff import place_labels
from paper_figures.lib import captions, command, style
from paper_figures.lib.command import main
from paper_figures.lib.results import load
from pose_topo.core.errors import PoseTopoError

ARMS = ("control", "topo", "topo-l0.05", "topo-l5", "topoloss-l0.05", "topoloss-l0.5", "topo-permuted")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two losses over lambda with two seeds. Tests must not change them."""
    return made_up_results.write_study(tmp_path_factory.mktemp("sweep"), arms=ARMS)


@pytest.fixture
def text_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return the caption that the command writes, with an empty figure to be fast."""

    def text(name: str, folders: list[Path], *more: str) -> str:
        fast = replace(command.exhibits()[name], draw=lambda _: style.new_figure(1, 1))  # type: ignore[call-arg]  # a figure
        with monkeypatch.context() as patch:
            patch.setattr(command, "exhibits", lambda: {name: fast})
            assert main([name, "--results", *map(str, folders), "--out", str(tmp_path / "out"), *more]) == 0
        return (tmp_path / "out" / f"{name}.caption.md").read_text(encoding="utf-8")

    return text


def said(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def points_of(axes: Axes) -> list[tuple[float, float]]:
    """Return the positions of the markers."""
    marked = [line for line in axes.lines if line.get_marker() != "None"]
    return [(float(np.asarray(line.get_xdata())[0]), float(np.asarray(line.get_ydata())[0])) for line in marked]


def test_tradeoff_shows_every_arm_at_its_mean(sweep: list[Path]) -> None:
    with style.applied():
        figure = tradeoff.draw(load(sweep))
    i = [np.mean([said(f, "analysis")["moran"]["mean_I"] for f in sweep if f.name[:-3] == arm]) for arm in ARMS]
    pckh = [
        np.mean([said(f, "evaluation")["pckh"]["0.5"]["mean"] for f in sweep if f.name[:-3] == arm]) for arm in ARMS
    ]
    ratio = [
        np.mean([said(f, "analysis")["health"]["participation_ratio"] for f in sweep if f.name[:-3] == arm])
        for arm in ARMS
    ]
    assert np.allclose(sorted(points_of(figure.axes[0])), sorted(zip(i, pckh, strict=True)))
    assert np.allclose(sorted(points_of(figure.axes[2])), sorted(zip(i, ratio, strict=True)))
    written = sorted(text.get_text() for text in figure.axes[0].texts)
    assert written == sorted(["0.5", "0.05", "5", "0.05", "0.5", "0.5"])  # the control has none


def test_tradeoff_caption_counts_losses_and_lambdas(sweep: list[Path], text_of: Callable[..., str]) -> None:
    text = text_of("tradeoff", sweep)
    assert "2 spatial losses at 3 weights λ (7 arms, 2 seeds each)" in text
    assert "Seeds: 1, 2 (each of 7 arms)." in text and "arms are shown" not in text
    assert "In topo-permuted the loss saw the channels at permuted places of the grid." in text
    values = [said(f, "evaluation")["pckh"]["0.5"]["mean"] for f in sweep if f.name.startswith("topo-s")]
    assert f"topo {sum(values) / 2:.1f} ({min(values):.1f} to {max(values):.1f})" in text


def test_tradeoff_of_two_arms(study: list[Path], text_of: Callable[..., str]) -> None:
    text = text_of("tradeoff", study)
    assert "1 spatial loss at 1 weight λ (2 arms, 2 seeds each)" in text and "missing" not in text
    assert "the point of comparison and is missing here" in text_of("tradeoff", study[4:])


def test_the_axis_is_compressed_below_an_arm_that_fails_at_the_task(
    sweep: list[Path], tmp_path: Path, text_of: Callable[..., str]
) -> None:
    folders = made_up_results.write_study(tmp_path / "runs", arms=("control", "topo", "topo-l5"))
    for folder in folders:
        score = 20.0 if "l5" in folder.name else 76.0
        made_up_results.edit(folder, "evaluation.json", ("pckh", "0.5", "mean"), score)
    with style.applied():
        axes = tradeoff.draw(load(folders)).axes[0]
    low, floor, high = (axes.transData.transform((0, y))[1] for y in (20, 70, 76))
    assert (floor - low) / (high - floor) == pytest.approx(50 / tradeoff.COMPRESSION / 6)
    assert "Below a PCKh of 70 the axis is compressed 10 times." in text_of("tradeoff", folders)
    assert tradeoff.floor_of(load(sweep)) is None and "compressed" not in text_of("tradeoff", sweep)


def test_tradeoff_without_a_grid_is_one_line(
    study: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tradeoff", "--results", *map(str, study[:2]), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tradeoff: no run has a topographic layer") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_panels_show_the_main_arms_only(sweep: list[Path], text_of: Callable[..., str]) -> None:
    text = text_of("correlation_distance", [*sweep, *_more(sweep[0].parent.parent / "more")])
    assert "3 of 12 arms are shown; table_losses has all." in text
    assert "Seeds: 1, 2 (control, topo, topo-permuted)." in text


def _more(root: Path) -> list[Path]:
    losses = ("neighbour-cosine", "activation-similarity", "spatial-correlation", "topographic")
    return made_up_results.write_study(root, arms=(*(f"{loss}-l0.5" for loss in losses), "topographic-l5"))


def test_lesions_show_specificity_and_p(study: list[Path], text_of: Callable[..., str]) -> None:
    radii = [said(folder, "analysis")["lesions"]["radii"] for folder in study[4:]]
    first = [found[0]["specificity"] for found in radii]
    text = text_of("lesions", study)
    assert f"topo {sum(first) / 2:.1f} ({min(first):.1f} to {max(first):.1f}) p 0.01, " in text
    assert "1 (5 channels), 2 (12 channels)" in text and "the smallest possible is 0.01" in text and "99 grids" in text
    with style.applied():
        figure = lesions.draw(load(study))
    drawn = [line for line in figure.axes[5].lines if len(line.get_xdata()) == 4]  # type: ignore[arg-type]  # an index
    means = np.mean([[entry["specificity"] for entry in found] for found in radii], axis=0)
    assert np.asarray(drawn[0].get_ydata()) == pytest.approx(means)


def test_a_lesion_without_a_number_is_not_drawn(tmp_path: Path, text_of: Callable[..., str]) -> None:
    folder = made_up_results.write_run(tmp_path / "run", "topo", 1, lesions=True)
    for key in ("specificity", "null_mean", "null_sd", "p", "own", "other", "null_own", "null_other"):
        made_up_results.edit(folder, "analysis.json", ("lesions", "radii", 0, key), None)  # type: ignore[arg-type]  # an index
    assert "topo – p –, " in text_of("lesions", [folder])


def test_no_lesions_is_one_line_or_a_caption(
    tmp_path: Path, study: list[Path], text_of: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    bare = made_up_results.write_study(tmp_path / "runs", seeds=(1, 2))
    out = tmp_path / "out"
    assert main(["lesions", "--results", *map(str, bare), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "lesions in its analysis.json" in error and "and 3 more" in error
    assert not out.exists()
    assert "Seeds: 1, 2 (" in text_of("lesions", [*bare[:4], *study[4:]], "--if-there")
    assert "Seeds: 1, 2 (topo)" in text_of("lesions", [*bare[:4], *study[4:]])  # those without are left out
    assert (out / "lesions.pdf").exists()
    text = text_of("lesions", bare, "--if-there")
    assert text == "Not shown: no results folder holds lesions in its analysis.json (pose-topo analyze --lesions).\n"
    assert [path.name for path in out.iterdir()] == ["lesions.caption.md"]


def test_robustness_shows_the_curves_and_their_areas(study: list[Path], text_of: Callable[..., str]) -> None:
    found = [said(folder, "robustness")["harms"]["blur"] for folder in study[4:]]
    with style.applied():
        figure = robustness.draw(load(study))
    (topo,) = [line for line in figure.axes[1].lines if line.get_marker() == "^"]
    means = np.mean([[level["pckh"] for level in one["levels"]] for one in found], axis=0)
    assert np.asarray(topo.get_ydata()) == pytest.approx(means)
    assert np.asarray(topo.get_xdata()).tolist() == [0, 10, 20, 40]
    areas = [one["relative"] for one in found]
    text = text_of("robustness", study)
    assert f"topo {captions.spread(areas, 2)}" in text.split("blur: ")[-1].split(";")[0]
    assert text.startswith("**The share of the intact PCKh@0.5 that is left, averaged over the range of a harm,")


def test_robustness_needs_the_same_levels(study: list[Path], tmp_path: Path) -> None:
    other = made_up_results.write_run(tmp_path / "run", "topo", 3, robustness=True)
    made_up_results.edit(other, "robustness.json", ("harms", "noise", "levels", 1, "level"), 11.0)  # type: ignore[arg-type]  # an index
    with pytest.raises(PoseTopoError, match="different levels of noise"):
        robustness.draw(load([*study, other]))


def test_no_robustness_is_a_caption(tmp_path: Path, text_of: Callable[..., str]) -> None:
    bare = made_up_results.write_study(tmp_path / "runs")
    assert text_of("robustness", bare, "--if-there") == "Not shown: no results folder holds robustness.json.\n"


def test_if_there_allows_no_other_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_up_results.write_run(tmp_path / "run", "topo", 1)
    (folder / "analysis.npz").write_bytes(b"PK")
    assert main(["parcellation", "--results", str(folder), "--out", str(tmp_path / "out"), "--if-there"]) == 1
    assert "not readable" in capsys.readouterr().err


def test_schematic_has_the_numbers_of_the_network(study: list[Path], text_of: Callable[..., str]) -> None:
    text = text_of("schematic", study)
    assert "ResNet-18, 3 deconvolutions to 256 channels" in text and "96 x 96 px" in text
    assert "16 x 16 grid" in text and "all 930 pairs of neighbours" in text and "(weight-similarity) makes" in text
    with style.applied():
        texts = [artist.get_text() for artist in schematic.draw(load(study)).axes[0].texts]
    for wanted in (
        "picture\n96 × 96 × 3",
        "ResNet-18\n3 × 3 × 512",
        "heatmaps\n24 × 24 × 16",
        "1 × 1 onto 16 × 16\n24 × 24 × 256",
    ):
        assert wanted in texts


def test_schematic_of_another_grid_and_loss(tmp_path: Path, text_of: Callable[..., str]) -> None:
    folder = made_up_results.write_run(tmp_path / "run", "topographic-l5-4x8-rook", 1)
    (folder / "evaluation.json").unlink()
    for key, value in (("height", 4), ("width", 8), ("neighbours", 4)):
        made_up_results.edit(folder, "analysis.json", ("grid", key), value)
    text = text_of("schematic", [folder])
    assert "S x S px" in text and "4 x 8 grid" in text and "all 52 pairs" in text and "(topographic) makes" in text
    with style.applied():
        texts = [artist.get_text() for artist in schematic.draw(load([folder])).axes[0].texts]
    assert "heatmaps\nS/4 × S/4 × 16" in texts and r"$\lambda$ · topographic" in texts
    assert "a channel and its 4 rook neighbours" in texts


def test_labels_cover_neither_points_nor_each_other() -> None:
    with matplotlib.rc_context():
        figure = style.new_figure(3, 3, constrained=False)
        axes = figure.add_axes((0.1, 0.1, 0.8, 0.8), xlim=(0, 1), ylim=(0, 1))
        points = [(0.5, 0.5), (0.5, 0.53), (0.53, 0.5), (0.47, 0.5), (0.99, 0.99)]
        place_labels(axes, [(x, y, "0.05", "black") for x, y in points], points)
        figure.draw_without_rendering()
        texts = [child for child in axes.texts if isinstance(child, Annotation)]
        boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
    assert not any(box.contains(*place) for box in boxes for place in axes.transData.transform(points))
    frame = axes.get_window_extent()
    assert all(frame.contains(*corner) for box in boxes for corner in box.corners())


def test_the_reason_holds_no_path() -> None:
    error = command.NothingToShowError("nothing", [Path(f"/somewhere/{n}") for n in range(5)])
    assert str(error) == "nothing (looked in /somewhere/0, /somewhere/1, /somewhere/2 and 2 more)"
    assert error.reason == "nothing"
