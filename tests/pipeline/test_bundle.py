import json
from pathlib import Path

import pytest

from pipeline.bundle import Bundle
from pipeline.errors import BundleError, PublishError
from pipeline.prologue import Prologue


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in bundle.path.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_bundle_opens_with_the_fingerprint_it_was_sealed_with(bundle: Bundle, copy: Path) -> None:
    assert Bundle.open(copy).fingerprint == bundle.fingerprint


@pytest.mark.parametrize("name", ["encoder.onnx", "core.onnx", "lookup.onnx"])
def test_one_flipped_byte_is_refused_and_named(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 3] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} is damaged"):
        Bundle.open(copy)


def test_a_missing_file_is_refused_and_named(copy: Path) -> None:
    (copy / "core.onnx").unlink()
    with pytest.raises(BundleError, match=r"core\.onnx cannot be read"):
        Bundle.open(copy)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}'])
def test_a_manifest_that_makes_no_sense_is_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Bundle.open(copy)


def test_a_newer_format_is_refused_with_what_to_do(copy: Path) -> None:
    found = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(found | {"format": 99}))
    with pytest.raises(BundleError, match=r"format 99.*update parquet2vec"):
        Bundle.open(copy)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"found no manifest\.json"):
        Bundle.open(tmp_path)


def test_a_report_is_not_sealed(copy: Path) -> None:
    (copy / "report").mkdir()
    (copy / "report/report.html").write_text("<html>")
    Bundle.open(copy)


def test_writing_replaces_a_bundle_whole(copy: Path, bundle: Bundle) -> None:
    files = {"encoder.onnx": b"new"}
    Bundle.write(copy, manifest=bundle.manifest, files=files)
    assert sorted(p.name for p in copy.iterdir()) == ["encoder.onnx", "manifest.json"]
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(PublishError, match="not empty and is no bundle"):
        Bundle.write(tmp_path, manifest=bundle.manifest, files={})
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_same_files_give_the_same_manifest(
    tmp_path: Path, bundle: Bundle, prologue: Prologue
) -> None:
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    again = Bundle.write(tmp_path / "b", manifest=bundle.manifest, files=files)
    assert again.fingerprint == bundle.fingerprint
