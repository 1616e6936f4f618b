"""The report shows what the files hold, in the order of the paper, and nothing of the machine it was made on."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import made_up_site
import pytest

from paper_figures.lib.provenance_table import load_provenance
from paper_figures.report import page as report
from paper_figures.report.page import claim_plot, inline, part_titles

ROOT = Path(__file__).parents[2]
VOID = {"meta", "link", "img", "br", "rect", "line", "circle", "path"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The made-up inputs. Tests must not change them."""
    return made_up_site.write_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def page(site: dict[str, list[Path]]) -> str:
    """The report of the made-up site."""
    out = site["claims"][0].with_name("report.html")
    assert report.main(made_up_site.options(site, out)) == 0
    return out.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Checks that tags are closed in the order they were opened, and keeps ids, links and addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [value for value in (found.get("id"),) if value]
        self.links += [value for value in (found.get("href") if tag == "a" else None,) if value]
        self.addresses += [value for value in (found.get("src"), found.get("href")) if value]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    read = Reader(page)
    assert len(read.ids) == len(set(read.ids)) and {link[1:] for link in read.links} <= set(read.ids)
    assert all(address.startswith(("#", "data:")) for address in read.addresses)
    assert "<script" not in page and "url(" not in page and "@import" not in page
    assert page.count("data:image/png;base64,") == 2 * len(made_up_site.FIGURES)


def test_verdicts_come_first_and_are_written_out(page: str, site: dict[str, list[Path]]) -> None:
    places = [page.index(f'id="{part}"') for part in ("verdicts", "part-1", "part-2", "limits", "runs")]
    assert places == sorted(places)
    content = json.loads(site["claims"][0].read_text(encoding="utf-8"))
    verdicts = [claim["verdict"] for claim in content["claims"]]
    rows = page.count('<tr class="claim"')
    assert rows == len(verdicts) and {"supported", "contradicted", "not run"} == set(verdicts)
    for verdict in set(verdicts):  # as often as there are claims, and once in the head
        mark = f'<span aria-hidden="true">{report.MARKS[verdict]}</span>'
        chip = f'class="chip {verdict.replace(" ", "-")}">{mark} {verdict}'
        assert page.count(chip) == verdicts.count(verdict) + 1
        assert f"<b>{verdicts.count(verdict)}</b>" in page
    assert 'href="#small-baseline-learns"' in page.split("<nav")[0]  # contradicted claims are named at the top
    assert page.index('id="small-baseline-learns"') < page.index('id="mpii-topography-above-control"')
    for text in (*content["not_supported"], *content["never_run"]):
        assert inline(text) in page


def test_figures_and_tables_have_the_order_of_the_paper_and_unknown_ones_follow(page: str) -> None:
    part = page.split('id="part-1"')[1].split('id="part-2"')[0]
    order = re.findall(r'<figure id="part-1-(\w+)"', part)
    assert order == ["training_curves", "table_pckh", "moran", "zebra"]
    labels = re.findall(r"<h3>(\w+ [\d.]+): ([^<]+)</h3>", part)
    assert labels == [("Figure 1.1", "Training"), ("Table 1.1", "PCKh"), ("Figure 1.2", "Moran&#39;s I of each joint"),
                      ("Figure 1.3", "Zebra")]  # fmt: skip
    assert "What zebra shows, where a &lt; b &amp; <code>code</code> <strong>stands</strong>." in part
    assert "PCKh of &lt;everybody&gt;." in part and ">a|b</th>" in part and "71.2 ± 0.3" in part
    assert "<b>Lesions of the grid:</b> Not shown: no run has lesions." in part
    assert "<h2>small / resnet18</h2>" in page and "<h2>small-e2 / resnet18</h2>" in page


def test_provenance_and_times_come_last(page: str, site: dict[str, list[Path]]) -> None:
    end = page.split('id="runs"')[1]
    for key in ("commit", "lock_sha256", "device", "precision", "torch"):
        assert made_up_site.SESSION[key] in end
    assert "with uncommitted changes" in end and "no: proves nothing" in end
    found = load_provenance(site["provenance"])
    assert list(found.environments) == ["A", "B"] and len(found.runs) == 7
    topo = next(run for run in found.runs if run.name == "small/resnet18/topo-s0")
    assert (topo.seconds, topo.sessions, topo.environments, topo.memory) == (360.0, 2, "A, B", 1_900_000_000)
    assert f"7 runs, {found.hours:.1f} hours" in end and "6.0 min" in end


def test_runs_that_judge_no_claim_are_named(page: str, site: dict[str, list[Path]], tmp_path: Path) -> None:
    said = page.split("shown below but judge no claim")[1].split("</p>")[0]
    assert "topo (synthetic-2400, small, resnet18)." in said and "control" not in said
    whole = {**site, "results": site["results"][:-1]}
    assert report.main(made_up_site.options(whole, tmp_path / "report.html")) == 0
    assert "judge no claim" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_holds_nothing_of_the_machine(page: str, site: dict[str, list[Path]]) -> None:
    for trace in (str(site["claims"][0].parents[2]), str(ROOT), "/home/", "/tmp/", "/root", "file:"):
        assert trace not in page
    text = re.sub('data:image[^"]+', "", page.split("</style>")[1])
    assert socket.gethostname() not in re.findall(r"[\w.-]+", text)
    assert not re.search(r"\b20\d\d-\d\d-\d\d|\b\d\d:\d\d:\d\d\b", text)


def test_the_same_files_give_the_same_bytes_elsewhere(page: str, site: dict[str, list[Path]], tmp_path: Path) -> None:
    root = site["claims"][0].parents[2]
    moved = Path(shutil.copytree(root, tmp_path / "moved" / "deeper"))
    there = {name: [moved / path.relative_to(root) for path in paths] for name, paths in site.items()}
    out = moved / "out" / made_up_site.DATA / "report.html"
    given = [sys.executable, "-m", "paper_figures.report.page", *made_up_site.options(there, out)]
    settings = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "3", "PYTHONPATH": str(ROOT)}
    subprocess.run(given, env=os.environ | settings, cwd=tmp_path, check=True)
    assert out.read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda site: site["claims"][0].write_text("{}"), "is not a schema 1 claims file"),
        (lambda site: (site["papers"][0] / "moran.png").write_bytes(b"GIF89a"), "not a PNG"),
        (lambda site: (site["papers"][0] / "table_pckh.json").write_text("{}"), "not a table"),
        (lambda site: shutil.rmtree(site["papers"][1]), "no such folder"),
        (lambda site: site["provenance"][0].write_text('{"sessions": [{}]}'), "not the provenance"),
    ],
)
def test_bad_input_is_one_line_and_no_page(
    break_it, message: str, site: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = site["claims"][0].parents[2]
    copied = Path(shutil.copytree(root, tmp_path / "copy"))
    there = {name: [copied / path.relative_to(root) for path in paths] for name, paths in site.items()}
    break_it(there)
    assert report.main(made_up_site.options(there, tmp_path / "report.html")) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not (tmp_path / "report.html").exists()


def test_claims_alone_make_a_page(site: dict[str, list[Path]], tmp_path: Path) -> None:
    assert report.main(["--claims", str(site["claims"][0]), "--out", str(tmp_path / "report.html")]) == 0
    Reader((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_part_titles_by_hand(tmp_path: Path) -> None:
    inside = [tmp_path / "out" / part / "resnet18" / "paper" for part in ("standard", "paper")]
    assert part_titles(inside, tmp_path / "out") == ["standard / resnet18", "paper / resnet18"]
    assert part_titles(inside, tmp_path / "elsewhere") == ["standard / resnet18", "paper / resnet18"]
    assert part_titles(inside[:1], tmp_path / "elsewhere") == ["Figures and tables"]


def test_a_claim_plot_by_hand() -> None:
    wanted = {"low": 0.0, "high": 10.0, "text": "0 to 10"}
    drawn = str(
        claim_plot({"statistic": "x < y", "wanted": wanted, "here": {"0": 5.0}, "reference": {"0": 0.0, "1": 10.0}})
    )
    # the values span 0 to 10, with a tenth to spare: 0 lies at 8 + 264 / 12 = 30, 10 at 250, 5 between
    assert '<rect class="band" x="30.0" y="0" width="220.0"' in drawn and 'd="M140.0 14.0' in drawn
    assert [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn)] == [30.0, 250.0] and "x &lt; y" in drawn
    assert claim_plot({"statistic": "x", "wanted": None, "here": {"0": 5.0}, "reference": {}}) is None
    open_ended = {"low": 1.0, "high": None, "text": "> 1"}
    assert 'x="30.0" y="0" width="242.0"' in str(
        claim_plot({"statistic": "x", "wanted": open_ended, "here": {"0": 1.0}, "reference": {}})
    )


def test_inline_markdown_by_hand() -> None:
    assert inline("a <b> `x<y`  \n**c**") == "a &lt;b&gt; <code>x&lt;y</code> <strong>c</strong>"
