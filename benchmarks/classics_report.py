"""The figures of `classics.py` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

HEAD = """\
# Anchors on MNIST

What the literature reports, with the product's recipes, `[train.network]` and training loop; there
is no code for MNIST outside `benchmarks/`. Of the 60,000 training images 2,000 are kept for
choosing the best weights; figures are those of the 10,000 test images. Written by
`python benchmarks/classics.py FOLDER`; minutes are CPU minutes of training on this machine.
"""


def write_report(results: dict[str, Any], anchors: Mapping[str, Any], out: Path) -> None:
    """``classics.md`` below `out`."""
    lines = [HEAD, "| anchor | required | found | published | CPU minutes | steps |"]
    lines.append("|---|---|---|---|---|---|")
    for name, anchor in anchors.items():
        found = results.get(name)
        required = f"at {'least' if anchor.least else 'most'} {anchor.required:g}{anchor.unit}"
        cells = [f"`{name}`: {anchor.what}", required]
        if found is None:
            cells += ["not measured", anchor.published, "", ""]
        else:
            verdict = "**holds**" if anchor.holds(found["figure"]) else "**falls short**"
            short = "" if found["share"] == 1 else f" ({found['share']:.0%} of the steps)"
            cells += [
                f"{found['figure']:.2f}{anchor.unit}, {verdict}{short}", anchor.published,
                f"{found['minutes']:.0f}", f"{found['steps']:,}",
            ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## How", ""]
    for name, anchor in anchors.items():
        choices = ", ".join(f"{key} = {value!r}" for key, value in anchor.network.items())
        lines.append(
            f"- `{name}`: recipe `{anchor.recipe}`, width {anchor.dim}, {choices}; "
            f"{anchor.passes:g} passes, learning rate {anchor.learning_rate:g}."
        )
    lines += ["", f"torch {version('torch')}.", ""]
    (out / "classics.md").write_text("\n".join(lines))
