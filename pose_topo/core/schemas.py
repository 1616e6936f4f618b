"""The version of each kind of result file. It is raised when a field is removed or changes its meaning.

docs/results.md describes the files.
"""

from __future__ import annotations

EVALUATION = 2
ANALYSIS = 2
GROUP = 1
COMPARISON = 1

OF_RUN = {"evaluation": EVALUATION, "analysis": ANALYSIS}  # the result files of a single run
