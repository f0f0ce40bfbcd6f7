import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the manifest as somebody would who leaves the seal out."""
    found = json.loads((folder / "manifest.json").read_text())
    del found["seal"]
    change(found)
    (folder / "manifest.json").write_text(json.dumps(found))


def test_a_manifest_without_a_seal_is_one_of_the_first_bundles(copy: Path) -> None:
    rewritten(copy, lambda found: None)
    Bundle.open(copy)


def test_a_manifest_that_changed_after_it_was_sealed_is_refused(copy: Path) -> None:
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"recipe": "proj', '"recipe": "Proj'))
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Bundle.open(copy)


RECORD = {"bytes": 0, "sha256": "0" * 64}
ODD: dict[str, Callable[[dict[str, Any]], object]] = {
    "a file above": lambda found: found["files"].update({"../core.onnx": RECORD}),
    "an absolute file": lambda found: found["files"].update({"/etc/passwd": RECORD}),
    "a file in a folder": lambda found: found["files"].update({"report/a.json": RECORD}),
    "a hidden file": lambda found: found["files"].update({".netrc": RECORD}),
    "a name with a line break": lambda found: found["files"].update({"a\nb": RECORD}),
    "the manifest itself": lambda found: found["files"].update({"manifest.json": RECORD}),
    "many files": lambda found: found["files"].update({f"f{i}": RECORD for i in range(65)}),
    "a huge file": lambda found: found["files"]["core.onnx"].update(bytes=2**40),
    "a negative size": lambda found: found["files"]["core.onnx"].update(bytes=-1),
    "a size in text": lambda found: found["files"]["core.onnx"].update(bytes="12"),
    "no hash": lambda found: found["files"]["core.onnx"].update(sha256=""),
    "a dimension without names": lambda found: found.update(dim=5),
    "no dimension": lambda found: found.update(dim=0, latent_names=[]),
    "a flag for a format": lambda found: found.update(format=True),
    "a list for a format": lambda found: found.update(format=[1] * 1000),
    "layers of no width": lambda found: found.update(widest_layer=0),
    "a field nobody knows": lambda found: found.update(__class__="os.system"),
    "a role nobody knows": lambda found: found["feature_schema"]["columns"][0].update(role="root"),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_manifest_is_refused_with(copy: Path, kind: str) -> None:
    rewritten(copy, ODD[kind])
    with pytest.raises(BundleError, match=r"manifest\.json is damaged") as refusal:
        Bundle.open(copy)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize(
    "text",
    [
        '{"format": 1, "format": 1}',
        '{"format": NaN}',
        "[" * 100_000,
        '{"format": 1' + "0" * 5_000 + "}",
        " " * (16 * 2**20) + '{"format": 1}',
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
    ids=["a name twice", "NaN", "a hundred thousand deep", "a huge number", "17 MB", "no text"],
)
def test_json_made_to_do_harm_is_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Bundle.open(copy)


def outward(copy: Path, name: str) -> None:
    outside = copy.parent / "elsewhere"
    (copy / name).rename(outside)
    (copy / name).symlink_to(outside)


@pytest.mark.parametrize("name", ["core.onnx", "manifest.json"])
def test_a_link_out_of_the_bundle_is_refused(copy: Path, name: str) -> None:
    outward(copy, name)
    with pytest.raises(BundleError, match=rf"{name} must lie in the bundle"):
        Bundle.open(copy)


def test_a_link_made_after_opening_is_refused(copy: Path) -> None:
    opened = Bundle.open(copy)
    outward(copy, "core.onnx")
    with pytest.raises(BundleError, match="must lie in the bundle"):
        opened.read("core.onnx")


def test_a_link_within_the_bundle_is_followed(copy: Path) -> None:
    """As Kubernetes mounts the files of a ConfigMap."""
    (copy / "..data").mkdir()
    (copy / "core.onnx").rename(copy / "..data" / "core.onnx")
    (copy / "core.onnx").symlink_to("..data/core.onnx")
    Bundle.open(copy).model("core.onnx")


def test_a_hard_link_is_a_file_like_any_other(copy: Path, tmp_path: Path) -> None:
    os.link(copy / "core.onnx", tmp_path / "kept")
    Bundle.open(copy).model("core.onnx")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def circle(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "found"),
    [(pipe, "must be a file"), (Path.mkdir, "must be a file|cannot be read"), (circle, "cannot")],
)
def test_what_is_no_file_is_refused_and_nobody_waits(
    copy: Path, make: Callable[[Path], None], found: str
) -> None:
    (copy / "core.onnx").unlink()
    make(copy / "core.onnx")
    with pytest.raises(BundleError, match=found):
        Bundle.open(copy)


def test_a_file_of_another_size_is_not_hashed(copy: Path) -> None:
    with (copy / "core.onnx").open("r+b") as file:
        file.truncate(2**40)  # sparse: hashing it would take an hour
    with pytest.raises(BundleError, match=r"core\.onnx is damaged"):
        Bundle.open(copy)


def test_the_bytes_that_were_hashed_are_those_that_are_given(
    copy: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is opened once to be loaded; swapping it while it is read changes nothing."""
    opened, expected, times = Bundle.open(copy), bundle.read("core.onnx"), []
    real = os.open

    def swap(path: Any, *arguments: Any, **named: Any) -> int:
        descriptor = real(path, *arguments, **named)
        if str(path).endswith("core.onnx"):
            times.append(path)
            (copy / "core.onnx").unlink()
            (copy / "core.onnx").write_bytes(b"another model")
        return descriptor

    monkeypatch.setattr(os, "open", swap)
    assert opened.model("core.onnx") == expected
    assert len(times) == 1


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
