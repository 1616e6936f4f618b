"""The report in a browser: it loads without errors, shows results first, enlarges figures, and fits narrow screens."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import made_up_site
import pytest

from paper_figures.report import page as report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium here")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"),
)
POLICY = re.compile('<meta http-equiv="Content-Security-Policy"[^>]*>')
PROBE = """<script>
addEventListener("load", () => {
  console.error("the probe speaks");
  const box = node => node.getBoundingClientRect();
  const figure = document.querySelector(".sheet img");
  const found = {
    images: [...document.images].map(image => image.naturalWidth),
    chips: [...document.querySelectorAll("#verdicts .chip")].map(chip => chip.textContent.trim().slice(2)),
    folded: [...document.querySelectorAll(".waiting")].map(one => box(one).height),
    strips: [...document.querySelectorAll("#verdicts svg.strip")].map(strip => box(strip).width),
    bars: [...document.querySelectorAll(".bars svg.strip")].map(strip => box(strip).width),
    tooWide: document.documentElement.scrollWidth - innerWidth,
    width: innerWidth,
    figure: [box(figure).bottom, box(figure).width],
    contents: getComputedStyle(document.querySelector("nav")).position,
    saved: document.querySelector("a[download]").download,
  };
  const summary = figure.closest("summary");
  summary.click();
  found.large = [box(figure).width, getComputedStyle(summary.parentNode).position];
  summary.click();
  found.again = box(figure).width;
  const pre = document.createElement("pre");
  pre.id = "probe";
  const show = () => { pre.textContent = JSON.stringify(found); document.body.append(pre); };
  if (!window.axe) return show();
  axe.run(document).then(({violations}) => {
    found.violations = violations.map(one => [one.id, ...one.nodes.map(node => node.html.slice(0, 200))]);
    show();
  });
});
</script></body>"""


def browse(path: Path, profile: Path, *more: str) -> tuple[str, list[str]]:
    """Return the DOM of the page after loading, and the messages of the console."""
    command = [str(BROWSER), *QUIET, f"--user-data-dir={profile}", "--virtual-time-budget=30000", *more]
    done = subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
def test_the_report_in_a_browser(tmp_path: Path) -> None:
    """POSE_TOPO_AXE names an axe.min.js (npm package axe-core), which then checks the accessibility."""
    site = made_up_site.write_site(tmp_path / "site")
    site = {**site, "papers": site["papers"][:1], "results": [one for one in site["results"] if "-e2" not in str(one)]}
    out = tmp_path / "report.html"
    assert report.main(made_up_site.options(site, out)) == 0
    dom, complaints = browse(out, tmp_path / "profile")
    assert complaints == [] and 'id="verdicts"' in dom
    text = out.read_text(encoding="utf-8")
    axe = os.environ.get("POSE_TOPO_AXE")
    checker = f"<script>{Path(axe).read_text(encoding='utf-8')}</script>" if axe else ""
    probed = tmp_path / "probed.html"
    probed.write_text(POLICY.sub("", text).replace("</body>", checker + PROBE), encoding="utf-8")
    claims = json.loads(site["claims"][0].read_text(encoding="utf-8"))["claims"]
    for width, height in ((1200, 900), (800, 900), (500, 740)):  # chromium has no narrower window
        dom, complaints = browse(probed, tmp_path / "profile", f"--window-size={width},{height}")
        assert len(complaints) == 1 and "the probe speaks" in complaints[0]  # so an error would have been seen
        found = json.loads(re.search('<pre id="probe">(.*?)</pre>', dom, re.S)[1])  # type: ignore[index]  # the probe always writes it
        assert found["images"] == [300] * (len(made_up_site.FIGURES) + 1)
        judged = [claim["verdict"] for claim in claims if claim["verdict"] != "not run"]
        assert sorted(found["chips"]) == sorted(judged) and len(found["bars"]) >= len(judged) - 1
        assert found["strips"] and min(found["strips"]) > 100 and min(found["bars"]) > 50
        assert found["folded"] and max(found["folded"]) < 120  # closed, so one line that may wrap
        assert found["width"] == width and found["tooWide"] <= 0
        bottom, wide = found["figure"]
        assert bottom < height or width < 1000  # the first figure is seen without scrolling
        assert found["large"][0] > max(wide, width - 100) and found["large"][1] == "fixed" and found["again"] == wide
        assert found["contents"] == ("sticky" if width > 1056 else "static") and found["saved"].endswith(".csv")
        assert found.get("violations", None if axe else []) == []
    refused = tmp_path / "refused.html"  # the policy of the page does not allow the script
    refused.write_text(text.replace("</body>", PROBE), encoding="utf-8")
    dom, complaints = browse(refused, tmp_path / "profile")
    assert 'id="probe"' not in dom and any("Content Security Policy" in line for line in complaints)
