"""A made-up study that several tests read."""

from __future__ import annotations

from pathlib import Path

import made_up_results
import pytest


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six results folders: three arms with two seeds, lesions and robustness. Tests must not change them."""
    return made_up_results.write_study(tmp_path_factory.mktemp("study"), lesions=True, robustness=True)
