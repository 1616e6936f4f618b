"""The report in a browser: it loads without errors, every image is shown, and it fits the screen of a phone."""

from __future__ import annotations

import json
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
  const found = {
    images: [...document.images].map(image => image.naturalWidth),
    chips: [...document.querySelectorAll("#verdicts .chip")].map(chip => chip.textContent.trim().slice(2)),
    shown: document.querySelector("#verdicts").getBoundingClientRect().height > 100,
    strips: [...document.querySelectorAll("#verdicts svg.strip")].map(strip => strip.getBoundingClientRect().width),
    tooWide: document.documentElement.scrollWidth - innerWidth,
    width: innerWidth,
  };
  const pre = document.createElement("pre");
  pre.id = "probe";
  pre.textContent = JSON.stringify(found);
  document.body.append(pre);
});
</script></body>"""


def browse(path: Path, profile: Path, *more: str) -> tuple[str, list[str]]:
    """Return the DOM of the page after loading, and the messages of the console."""
    command = [str(BROWSER), *QUIET, f"--user-data-dir={profile}", *more, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
def test_the_report_in_a_browser(tmp_path: Path) -> None:
    site = made_up_site.write_site(tmp_path / "site")
    out = tmp_path / "report.html"
    assert report.main(made_up_site.options(site, out)) == 0
    dom, complaints = browse(out, tmp_path / "profile")
    assert complaints == [] and 'id="verdicts"' in dom
    text = out.read_text(encoding="utf-8")
    probed = tmp_path / "probed.html"
    probed.write_text(POLICY.sub("", text).replace("</body>", PROBE), encoding="utf-8")
    claims = json.loads(site["claims"][0].read_text(encoding="utf-8"))["claims"]
    for width in (1280, 500):  # a desktop and a phone
        dom, complaints = browse(probed, tmp_path / "profile", f"--window-size={width},900")
        assert len(complaints) == 1 and "the probe speaks" in complaints[0]  # so an error would have been seen
        found = json.loads(re.search('<pre id="probe">(.*?)</pre>', dom, re.S)[1])  # type: ignore[index]  # the probe always writes it
        assert found["images"] == 2 * [300] * len(made_up_site.FIGURES)
        assert found["shown"] and sorted(found["chips"]) == sorted(claim["verdict"] for claim in claims)
        assert found["strips"] and min(found["strips"]) > 100
        assert found["width"] == width and found["tooWide"] <= 0
    refused = tmp_path / "refused.html"  # the policy of the page does not allow the script
    refused.write_text(text.replace("</body>", PROBE), encoding="utf-8")
    dom, complaints = browse(refused, tmp_path / "profile")
    assert 'id="probe"' not in dom and any("Content Security Policy" in line for line in complaints)
