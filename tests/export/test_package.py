import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
import torch

from export import export
from pipeline import Encoder
from pipeline.bundle import Bundle
from pipeline.errors import ParityError
from pipeline.prologue import Prologue
from training.autoencoder import Autoencoder
from training.checkpoint import Checkpoint
from training.layout import Layout
from training.spec import EncoderSpec

EXPORT = "import sys; from pathlib import Path; from export import export; \
from training.checkpoint import Checkpoint; \
export(Checkpoint.load(Path(sys.argv[1])), Path(sys.argv[2]))"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_bundle_opens_and_embeds(bundle: Bundle, checkpoint: Checkpoint, table: pa.Table) -> None:
    found = Encoder.open(bundle.path).transform(table)
    with torch.inference_mode():
        prepared = (torch.from_numpy(matrix) for matrix in checkpoint.prologue.run(table))
        expected = checkpoint.module.embed(*prepared).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_seal_covers_models_weights_and_spec_but_not_the_report(bundle: Bundle) -> None:
    sealed = {f"{stem}.onnx" for stem in ("core", "decoder", "encoder", "lookup", "scorer")}
    state = {"weights.safetensors", "spec.json", "generation.json", "profile.json"}
    assert set(bundle.manifest.files) == sealed | state
    unsealed = {"manifest.json", "report/history.json", "report/model_card.md"}
    assert set(contents(bundle.path)) == set(bundle.manifest.files) | unsealed


def test_no_temporary_folder_stays_beside_a_bundle(bundle: Bundle) -> None:
    assert [path.name for path in bundle.path.parent.iterdir()] == ["bundle"]


def test_the_manifest_tells_what_the_gate_measured(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.parity["torch"]["encoder.onnx"]["adversarial"] < 1e-4
    assert manifest.latent_names == ("embedding_0", "embedding_1", "embedding_2", "embedding_3")
    assert manifest.split["rule"] == "position"
    assert {"torch", "onnx", "onnxruntime", "parquet2vec"} <= set(manifest.versions)
    assert 32 <= manifest.widest_layer < 200


def test_weights_and_spec_bring_the_module_back(bundle: Bundle, checkpoint: Checkpoint) -> None:
    told = json.loads(bundle.read("spec.json"))
    spec, prologue = EncoderSpec(**told["spec"]), Prologue.from_json(told["prologue"])
    module = Autoencoder(spec, Layout.of(prologue))
    weights = safetensors.numpy.load(bundle.read("weights.safetensors"))
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    assert spec == checkpoint.spec
    for name, value in checkpoint.module.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], value, rtol=0, atol=0)


def test_the_card_tells_data_columns_checks_and_limits(bundle: Bundle) -> None:
    card = (bundle.path / "report" / "model_card.md").read_text(encoding="utf-8")
    for told in ("1,000", "| ciudad | category | feature | string |", "bundle `", "## Limits"):
        assert told in card
    assert "units that vary: 4 of 4" in card


def test_the_same_checkpoint_gives_the_same_bytes(bundle: Bundle, files: dict[str, bytes]) -> None:
    assert {name: bundle.read(name) for name in files} == files


def test_a_checkpoint_from_disk_tells_the_same_types(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path)
    found = Checkpoint.load(tmp_path).held_out.schema
    # Types that differ by the name of a list's elements are equal, and their bytes are not.
    assert found.serialize() == checkpoint.held_out.schema.serialize()


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(
    bundle: Bundle, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path / "checkpoint")
    run = [sys.executable, "-c", EXPORT, str(tmp_path / "checkpoint"), str(tmp_path / "bundle")]
    finished = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
    assert contents(tmp_path / "bundle") == contents(bundle.path)


def test_a_refused_checkpoint_leaves_the_older_bundle(
    bundle: Bundle, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    older = tmp_path / "bundle"
    older.mkdir()
    for name, content in contents(bundle.path).items():
        (older / name).parent.mkdir(exist_ok=True)
        (older / name).write_bytes(content)
    module = Autoencoder(checkpoint.spec, checkpoint.module.layout).eval()
    module.load_state_dict(checkpoint.module.state_dict())
    with torch.no_grad():
        module.latent.scale.zero_()
    with pytest.raises(ParityError, match="must vary"):
        export(replace(checkpoint, module=module), older)
    assert contents(older) == contents(bundle.path)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
