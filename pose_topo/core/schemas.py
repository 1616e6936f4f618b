"""The version of each kind of result file: raised whenever a field changes its meaning or goes. docs/results.md."""

from __future__ import annotations

EVALUATION = 2
ANALYSIS = 2
GROUP = 1
COMPARISON = 1

OF_RUN = {"evaluation": EVALUATION, "analysis": ANALYSIS}  # a run's own result files
