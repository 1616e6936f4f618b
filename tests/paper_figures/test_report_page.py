"""The report shows what the files hold, in the order of the paper, and nothing of the machine it was made on."""

from __future__ import annotations

import base64
import functools
import html
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import made_up_site
import pytest

from paper_figures.lib.costs import load_provenance
from paper_figures.report import page as report
from paper_figures.report.page import inline, part_titles
from paper_figures.report.summary import claim_plot

ROOT = Path(__file__).parents[2]
VOID = {"meta", "link", "img", "br", "rect", "line", "circle", "path"}
HOSTILE = "\"'><script>alert(1)<b>&lt;"  # without a slash: it is also the name of files


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
    """Checks that tags are closed in the order they were opened, and keeps what they are and hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [value for value in (found.get("id"),) if value]
        self.links += [value for value in (found.get("href") if tag == "a" else None,) if value]
        self.addresses += [value for value in (found.get("src"), found.get("href")) if value]
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    read = Reader(page)
    assert len(read.ids) == len(set(read.ids))
    assert {link[1:] for link in read.links if link.startswith("#")} <= set(read.ids)
    assert not [address for address in read.addresses if re.match(r"(?!data:)[\w.+-]+:|[\\/]", address)]
    assert "<script" not in page and "url(" not in page and "@import" not in page
    assert page.count("data:image/png;base64,") == 2 * len(made_up_site.FIGURES) + 1  # one also on the first screen


def test_links_to_files_are_those_that_lie_there(page: str, site: dict[str, list[Path]], tmp_path: Path) -> None:
    links = [link for link in Reader(page).links if not link.startswith(("#", "data:"))]
    assert "small/resnet18/paper/table_pckh.tex" in links and len(links) == 2 * (len(made_up_site.FIGURES) + 4)
    assert all((site["claims"][0].parent / link).is_file() for link in links)
    assert report.main(made_up_site.options(site, tmp_path / "report.html")) == 0  # the files do not lie below this one
    elsewhere = Reader((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not [link for link in elsewhere.links if not link.startswith(("#", "data:"))]


def test_every_table_can_be_saved_as_csv(page: str) -> None:
    read = Reader(page)
    saved = [
        base64.b64decode(a.split(",")[1]).decode() for a in read.addresses if a.startswith("data:text/csv;base64,")
    ]
    assert len(saved) == page.count('<table class="data">') == 6  # main table, one for each part, three of the runs
    assert saved.count("arm,seed,Head\ntopo,0,71.23\n") == 2  # unrounded, as in the file
    assert saved[0].startswith("arm,seed,people,n,accuracy_baseline,")
    assert any("small/resnet18/topo-s0" in text and text.startswith("run,environment") for text in saved)


def test_results_come_first_and_verdicts_are_written_out(page: str, site: dict[str, list[Path]]) -> None:
    places = [page.index(f'id="{part}"') for part in ("found", "part-1", "part-2", "verdicts", "limits", "runs")]
    assert places == sorted(places)
    content = json.loads(site["claims"][0].read_text(encoding="utf-8"))
    verdicts = [claim["verdict"] for claim in content["claims"]]
    assert {"supported", "contradicted", "not run"} == set(verdicts)
    first, rest = page.split('id="part-1"')
    for verdict in ("supported", "contradicted"):  # as often as there are claims, and once in the head
        mark = f'<span aria-hidden="true">{report.MARKS[verdict]}</span>'
        chip = f'class="chip {verdict}">{mark} {verdict}'
        assert (first.count(chip), rest.count(chip)) == (1, verdicts.count(verdict))
        assert f"<b>{verdicts.count(verdict)}</b>" in first
        assert first.count(f'<span class="mark {verdict}">') == verdicts.count(verdict)
    assert page.count('<tr class="claim"') == sum(verdict != "not run" for verdict in verdicts)
    assert 'href="#small-baseline-learns"' in first
    for claim in content["claims"]:
        assert page.count(f'id="{claim["profile"]}-{claim["id"]}"') == 1


def test_what_was_not_run_is_one_folded_line_a_profile(page: str, site: dict[str, list[Path]]) -> None:
    content = json.loads(site["claims"][0].read_text(encoding="utf-8"))
    waiting = Counter(claim["profile"] for claim in content["claims"] if claim["verdict"] == "not run")
    folded = re.findall(
        r'<details class="waiting" id="waiting-(\w+)">\n<summary>(.*?)</summary>(.*?)</details>', page, re.S
    )
    assert [name for name, *_ in folded] == [p["id"] for p in content["profiles"] if p["id"] in waiting]
    for name, line, inside in folded:
        assert f"<b>{name}</b>: {waiting[name]} claim" in line and inside.count("<li ") == waiting[name]
    assert "needs <code>make quick</code>" in {name: line for name, line, _ in folded}["mpii"]
    assert f'<a href="#not-run">{waiting.total()} not run</a>' in page.split('id="part-1"')[0]
    table = page.split('<table id="verdicts">')[1].split("</table>")[0]
    assert "mpii" not in table and "small" in table
    for text in (*content["not_supported"], *content["never_run"]):
        assert inline(text) in page


def test_the_first_screen_says_what_was_found(site: dict[str, list[Path]], tmp_path: Path) -> None:
    """Numbers of one part are computed here once more from its files."""
    mine = [path for path in site["results"] if "small-e2" not in str(path)]
    one = {**site, "papers": site["papers"][:1], "results": mine}
    assert report.main(made_up_site.options(one, tmp_path / "report.html")) == 0
    first = (tmp_path / "report.html").read_text(encoding="utf-8").split('id="part-1"')[0]

    def mean(arm: str, file: str, *keys: str, root: Path = mine[0].parent, seeds: tuple[int, ...] = (0, 1)) -> float:
        found = [json.loads((root / f"{arm}-s{seed}" / file).read_text(encoding="utf-8")) for seed in seeds]
        return sum(functools.reduce(lambda node, key: node[key], keys, content) for content in found) / len(found)

    moran, pckh = ("analysis.json", "moran", "mean_I"), ("evaluation.json", "pckh", "0.5", "mean")
    order, price = (mean("topo", *keys) - mean("control", *keys) for keys in (moran, pckh))
    said = html.unescape(first)
    assert re.findall(r'class="value">([^<]+)<', said) == [
        f"{mean('topo', *pckh):.1f}",
        f"{order:.3f}",
        f"{price:+.1f}",
    ]
    assert f"(Moran's I {mean('topo', *moran):.3f} against {mean('control', *moran):.3f})" in said
    assert f"is {abs(price):.1f} points below the control's" in said and "has a more ordered grid" in said
    theirs = {"root": site["reference"][0] / "small", "seeds": (0, 1, 2)}
    assert f"<dt>reference</dt><dd>{mean('topo', *moran, **theirs) - mean('control', *moran, **theirs):.3f} <" in said
    assert "Parcellation is 3." in first and first.count("<img ") == 1 and "main table" not in first


def test_several_parts_have_one_row_each(page: str) -> None:
    first = page.split('id="part-1"')[0]
    rows = re.findall(r'<th scope="row">([^<]+)</th>', first)
    assert rows == ["small / resnet18 (synthetic-2400)", "small-e2 / resnet18 (synthetic-2400)"]
    assert "In 1 of 1 parts of the study" in first and 'class="value"' not in first


def test_names_and_captions_are_escaped_everywhere(tmp_path: Path) -> None:
    """Run names, arms, data, file names, captions and table cells that hold quotes and tags."""
    site = made_up_site.write_site(tmp_path / "site", HOSTILE)
    plain = made_up_site.write_site(tmp_path / "plain", "usual")
    pages = []
    for one in (site, plain):
        out = one["claims"][0].with_name("report.html")
        assert report.main(made_up_site.options(one, out)) == 0
        pages.append(Reader(out.read_text(encoding="utf-8")))
    hostile, usual = pages
    assert hostile.tags == usual.tags and {key for key, _ in hostile.attributes} == {key for key, _ in usual.attributes}
    shown = "".join(hostile.text)
    assert HOSTILE in hostile.text  # as the arm in the table of runs
    for text in (f"{HOSTILE}/resnet18/{HOSTILE}-s0", f"Caption of {HOSTILE}", f"Finding {HOSTILE}", f"Cell {HOSTILE}"):
        assert text in shown
    values = [value or "" for _, value in hostile.attributes]
    assert any(value.endswith(f"{quote(HOSTILE)}.png") for value in values)
    assert any(f"Finding {HOSTILE}" in value for value in values)
    assert all(re.fullmatch(r"[\w.-]+", name) for name in hostile.ids)


def test_figures_and_tables_have_the_order_of_the_paper_and_unknown_ones_follow(page: str) -> None:
    part = page.split('id="part-1"')[1].split('id="part-2"')[0]
    order = re.findall(r'<figure id="part-1-(\w+)"', part)
    assert order == ["training_curves", "table_pckh", "parcellation", "zebra"]
    labels = re.findall(r"<h3>(\w+ [\d.]+): ([^<]+)</h3>", part)
    assert [label for label, _ in labels] == ["Figure 1.1", "Table 1.1", "Figure 1.2", "Figure 1.3"]
    assert [title for _, title in labels] == ["Training", "PCKh", "Which joint each channel serves", "Zebra"]
    assert "What it shows, where a &lt; b &amp; <code>code</code> <strong>stands</strong>." in part
    assert 'alt="Zebra. Zebra is 3."' in part and "<strong>Zebra is 3.</strong>" in part
    assert "PCKh of &lt;everybody&gt;." in part and ">a|b</th>" in part and "71.2 ± 0.3" in part
    assert "<b>Lesions of the grid:</b> Not shown: no run has lesions." in part
    assert '<h2 id="part-1-title">small / resnet18</h2>' in page


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
    said = page.split("shown above but judge no claim")[1].split("</p>")[0]
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
        (lambda site: (site["papers"][0] / "parcellation.png").write_bytes(b"GIF89a"), "not a PNG"),
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
    small = str(claim_plot({"statistic": "x", "wanted": wanted, "here": {"0": 5.0}, "reference": {}}, small=2))
    # two plots share 204: 0 lies at 5 + 86 / 12 = 12.2 and 10 at 83.8
    assert '<rect class="band" x="12.2" y="0" width="71.7" height="18"/>' in small and "<text" not in small
    assert 'x="30.0" y="0" width="242.0"' in str(
        claim_plot({"statistic": "x", "wanted": open_ended, "here": {"0": 1.0}, "reference": {}})
    )


def test_inline_markdown_by_hand() -> None:
    assert inline("a <b> `x<y`  \n**c**") == "a &lt;b&gt; <code>x&lt;y</code> <strong>c</strong>"
