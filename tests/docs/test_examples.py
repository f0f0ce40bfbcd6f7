"""The example projects run from an empty folder, each as its page says, and draw their picture."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PICTURES = {"aircraft": "aircraft.png", "digits": "neighbours.png", "events": "events.png"}
SAID = {
    "aircraft": "as Feast serves it, and its nearest:",
    "digits": "show the same digit",
    "events": "of them computed",
}


def test_every_example_has_a_page_with_its_picture() -> None:
    found = sorted(path.parent.name for path in EXAMPLES.glob("*/run.py"))
    assert found == sorted(PICTURES)
    for name, picture in PICTURES.items():
        page = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
        assert f"]({picture})" in page
        assert f"make example NAME={name}" in page
        assert (EXAMPLES / name / picture).exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PICTURES)
def test_an_example_runs_and_draws(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name / "run.py"), str(tmp_path / "out")],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert SAID[name] in done.stdout
    picture = matplotlib.image.imread(tmp_path / "out" / PICTURES[name])
    assert np.ptp(picture) > 0.9  # from ink to paper
