"""One made-up study for the tests that only read it."""

from __future__ import annotations

from pathlib import Path

import made_up_results
import pytest


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three arms, two seeds, with lesions: six results folders. Not to be changed."""
    return made_up_results.write_study(tmp_path_factory.mktemp("study"), lesions=True)
