"""The model card: what a stranger must know before using a bundle, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from export.models import LICENCE
from pipeline.bundle import Bundle

if TYPE_CHECKING:
    from training.checkpoint import Checkpoint


def model_card(bundle: Bundle, checkpoint: Checkpoint) -> str:
    """The card of `bundle`, after Mitchell et al., "Model Cards for Model Reporting", 2019."""
    sections = (
        ("Data", _data(bundle)),
        ("Columns", _columns(bundle)),
        ("Selection", _selection(checkpoint.selection)),
        ("Checks passed", _checks(bundle.manifest.parity)),
        ("Use", _USE),
        ("Limits", _LIMITS),
        ("Licence", f"{LICENCE}."),
    )
    head = (
        f"# {bundle.path.name}\n\n"
        f"Turns a table row into {bundle.manifest.dim} numbers. Recipe `{bundle.manifest.recipe}`, "
        f"seed {checkpoint.seed}, bundle `{bundle.fingerprint[:12]}`.\n"
    )
    return head + "".join(f"\n## {title}\n\n{text}\n" for title, text in sections)


def _data(bundle: Bundle) -> str:
    data = bundle.manifest.training_data
    return _list(
        f"rows: {data['rows']:,}",
        f"fingerprint: `{data['fingerprint']}`",
        f"split: `{_flat(bundle.manifest.split)}`",
    )


def _columns(bundle: Bundle) -> str:
    schema = bundle.manifest.feature_schema
    rows = [
        f"| {_cell(c.name)} | {c.kind or '–'} | {c.role} | {_cell(c.type)} |"
        for c in schema.columns
    ]
    return "\n".join(["| column | kind | role | type |", "|---|---|---|---|", *rows])


def _selection(selection: dict[str, Any]) -> str:
    if not selection:
        return "One recipe was asked for, so nothing was compared."
    return _list(*(f"{name}: `{_flat(value)}`" for name, value in selection.items()))


def _checks(parity: dict[str, Any]) -> str:
    torch, steady, latents = parity["torch"], parity["steady"], parity["latents"]
    rows = ", ".join(f"{count:,} {name}" for name, count in parity["rows"].items())
    steadiness = ", ".join(
        f"{file} {'yes' if figures['bit_identical'] else 'within 1e-6'}"
        for file, figures in steady.items()
        if isinstance(figures, dict)
    )
    return _list(
        f"rows tried: {rows}",
        *(
            f"{file} differs from torch by {f['held-out']:.1e} on held-out rows"
            for file, f in torch.items()
        ),
        *(
            f"{file} differs from onnx.reference by {worst:.1e}"
            for file, worst in parity["reference"].items()
        ),
        "encoder.onnx and lookup.onnx + core.onnx give the same bits",
        f"same bits for any batch size and thread count: {steadiness}",
        f"units that vary: {latents['active_units']} of {latents['units']}",
    )


def _list(*items: str) -> str:
    return "\n".join(f"- {item}" for item in items)


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_flat(one)}" for name, one in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


_USE = """\
Features for classifiers, regressors, clustering and nearest-neighbour search over rows of tables
that keep the columns above. `encoder.onnx` runs wherever ONNX Runtime runs: feed each column by
its own name, a null as NaN (numbers, booleans, vectors), -2^63 (times as microseconds since 1970,
integer categories) or "" (text)."""

_LIMITS = """\
- The code keeps what reconstructs a row, not what any one label needs: compare the probes.
- Values never seen in training count as unknown; numbers far outside are clipped. Watch for drift.
- Vectors of two bundles do not mix. Other runtime versions may differ in the last bits.
- A vector can reveal much of its row (`decoder.onnx` shows it): guard it as you guard the table.
- Rows drawn from it (`parquet2vec generate`) have the table's own values and shares: they are not
  anonymous, and how well columns hang together in them is to be measured (`--compare`).
- Biases of the training rows stay in their vectors, and in drawn rows."""
