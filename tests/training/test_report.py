"""The report says what the numbers say, holds everything itself, and can be opened."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from pipeline.bundle import FORMAT, Bundle, Manifest
from pipeline.schema import Column, FeatureSchema
from training.report import write_report
from training.report.facts import tiles
from training.report.page import POLICY
from training.results import (
    ColumnError,
    Encoding,
    Evaluation,
    HiddenColumn,
    HiddenColumns,
    LatentHealth,
    Lead,
    Map,
    RowCounts,
    Score,
    Verdict,
)
from training.verdict import judge, seconds

REPRESENTATIONS = {"embedding": 0.93, "PCA": 0.90, "prepared PCA": 0.91, "random": 0.7, "raw": 0.94}
HOSTILE = '<script>alert("x")</script>&'


def leads(pca, raw):
    points = {"PCA": pca, "prepared PCA": 2.0, "random": 20.0, "raw": raw}
    return tuple(
        Lead(over=over, probe=probe, points=value, standard_error=0.4)
        for probe in ("linear", "kNN", "trees")
        for over, value in points.items()
    )


def make_evaluation(
    *, pca=3.2, raw=-0.5, label="late", classes=("no", "yes"), points=40, **changes
):
    scores = tuple(
        Score(representation=name, probe=probe, score=value, standard_error=0.004,
              fit_seconds=1.2 if name == "raw" else 0.05, predict_seconds=0.01)
        for probe in ("linear", "kNN", "trees")
        for name, value in REPRESENTATIONS.items()
    )  # fmt: skip
    values = {
        "bundle": "ab" * 32, "recipe": "denoising", "dim": 8, "table_columns": 20, "label": label,
        "task": "two classes", "metric": "ROC AUC", "classes": classes,
        "test_rows_are": "a tenth by a hash of 'id'", "seed": 0, "scores": scores,
        "rows": RowCounts(train=800, train_available=800, test=100, test_available=100,
                          unlabelled=3),
        "leads": leads(pca, raw),
        "encodings": tuple(Encoding(representation=n, columns=31 if n == "raw" else 8, seconds=0.01,
                                    rows=900) for n in REPRESENTATIONS),
        "health": LatentHealth(dim=8, active_units=8, max_correlation=0.2, least_variance=0.9,
                               greatest_variance=1.1, merged_rows=0),
        "reconstruction": (ColumnError(column="fare", kind="number", error=0.2, pca_error=0.4),
                           ColumnError(column="größe", kind="number", error=1.2, pca_error=0.9)),
        "map": Map(axes=("direction", "another"), x=tuple(range(points)), y=tuple(range(points)),
                   label=tuple(i % len(classes) for i in range(points)) if classes else None),
        "verdict": Verdict(kind="unprobed", headline=""), "seconds": 1.5,
    }  # fmt: skip
    found = Evaluation.model_validate(values | changes)
    return found.model_copy(update={"verdict": judge(found)})


def without_label(*, pca=0.5, lead=10.0, **changes):
    hidden = HiddenColumns(
        embedding=0.6, pca=pca, lead_points=lead, standard_error=0.5,
        columns=(HiddenColumn(column="fare", embedding=0.6, pca=0.5),),
    )  # fmt: skip
    none = {"label": None, "classes": (), "task": None, "metric": None, "scores": (), "leads": ()}
    return make_evaluation(**none | {"hidden_columns": hidden} | changes)


def make_bundle(path, history=None):
    columns = (
        Column(name="fare", kind="number", role="feature", type="double"),
        Column(name="größe", kind="number", role="feature", type="double"),
    )
    manifest = Manifest(
        format=FORMAT, feature_schema=FeatureSchema(columns=columns), dim=8, recipe="denoising",
        latent_names=tuple(f"embedding_{i}" for i in range(8)), widest_layer=64,
        training_data={"fingerprint": "ab", "rows": 800}, split={}, versions={"numpy": "2"},
        parity={},
    )  # fmt: skip
    bundle = Bundle.write(path, manifest=manifest, files={"spec.json": b"{}"})
    report = bundle.path / "report"
    report.mkdir()
    if history is not None:
        (report / "history.json").write_text(json.dumps(history))
    (report / "model_card.md").write_text("# Card\n\n## Data\n\nmine\n\n## Use\n\nas is\n")
    return bundle


HISTORY = {
    "history": {
        "linear": {"seconds": 0.1},
        "denoising": {"train": [[1, 2.0], [2, 1.0]], "validation": [[1, 1.5], [2, 1.2]]},
    },
    "selection": {
        "criterion": "ROC AUC of a linear probe of 'late'",
        "scores": {"linear": 0.9, "denoising": 0.92},
        "standard_errors": {"linear": 0.0, "denoising": 0.004},
        "winner": "denoising",
    },
}


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "bundle", HISTORY)


class Page(HTMLParser):
    """Elements, attributes and text of a page, and whether every element was closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "line", "circle", "path", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


# verdicts


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        (
            {"pca": 3.2},
            "embedding",
            "Use the embedding: its 8 numbers are ahead of PCA by 3.2 ± 0.4",
        ),
        ({"pca": 0.5}, "pca_is_enough", "PCA is enough here"),
        ({"pca": -2.0}, "pca_is_better", "Use PCA: it is ahead of the embedding by 2.0 ± 0.4"),
        ({"raw": -5.0}, "raw_is_better", "Raw columns are better by 5.0 ± 0.4 points; use the"),
        (
            {"raw": -5.0, "pca": 0.1},
            "raw_is_better",
            "PCA is enough for size (31 columns become 8)",
        ),
    ],
)
def test_the_verdict_follows_the_numbers(changes, kind, words):
    verdict = make_evaluation(**changes).verdict
    assert (verdict.kind, words in verdict.headline) == (kind, True), verdict.headline


def test_what_raw_columns_hold_more_is_always_said():
    assert "hold 2.0 ± 0.4 points more" in make_evaluation(raw=-2.0).verdict.text


def test_dead_units_and_merged_rows_are_said():
    health = LatentHealth(dim=8, active_units=5, max_correlation=0.2, least_variance=0,
                          greatest_variance=1, merged_rows=7)  # fmt: skip
    text = make_evaluation(health=health).verdict.text
    assert "3 of the 8 units carry nothing" in text
    assert "7 different test rows share a vector" in text


def test_without_a_label_hidden_columns_decide():
    assert "columns hidden from the input" in without_label().verdict.headline


def test_columns_that_tell_nothing_of_each_other_are_called_so():
    told = without_label(lead=0.1, pca=-0.03).verdict
    assert (told.kind, "neither from it nor from the embedding (R² −0.030)" in told.headline) == (
        "pca_is_enough",
        True,
    )


def test_a_lead_that_rounds_to_nothing_has_no_minus():
    tiny = make_evaluation(pca=-0.001)
    assert ("Lead over PCA", "+0.0") in [tile[:2] for tile in tiles(tiny)]


def test_times_are_said_in_words():
    assert [seconds(s) for s in (0.0001, 0.02, 3.21, 45)] == ["<1 ms", "20 ms", "3.21 s", "45 s"]


# files


def test_page_card_and_numbers_are_written_and_the_seal_holds(bundle):
    path = write_report(bundle.path, make_evaluation())
    assert path == bundle.path / "report" / "report.html"
    assert Bundle.open(bundle.path).fingerprint == bundle.fingerprint


def test_the_numbers_can_be_read_back(bundle):
    found = make_evaluation()
    path = write_report(bundle.path, found).with_name("evaluation.json")
    assert Evaluation.model_validate_json(path.read_text()) == found


def test_the_model_card_keeps_its_sections_and_gains_one(bundle):
    for _ in range(2):
        card = write_report(bundle.path, make_evaluation()).with_name("model_card.md").read_text()
    titles = re.findall(r"^## (.*)$", card, re.MULTILINE)
    assert sorted(titles) == ["Data", "Measured", "Use"]
    assert "mine" in card
    assert "as is" in card


# the page


def written(bundle, found):
    return write_report(bundle.path, found).read_text(encoding="utf-8")


@pytest.mark.parametrize("found", [make_evaluation(), without_label()], ids=["label", "no label"])
def test_the_page_is_well_formed_and_loads_nothing(bundle, found):
    page = Page(written(bundle, found))
    assert page.open == []
    loading = {"src", "href", "srcset", "data", "action", "xlink:href"}
    assert not [tag for tag, attrs in page.seen if loading & set(attrs)]
    assert not {"script", "link", "iframe", "object", "img"} & {tag for tag, _ in page.seen}
    assert not re.search(r"url\(|@import|https?://", written(bundle, found))


def test_every_picture_has_alternative_text(bundle):
    pictures = [
        attrs for tag, attrs in Page(written(bundle, make_evaluation())).seen if tag == "svg"
    ]
    assert len(pictures) == 5
    assert all(p["role"] == "img" and len(p["aria-label"]) > 20 for p in pictures)


def test_the_verdict_comes_first(bundle):
    found = make_evaluation()
    text = " ".join(Page(written(bundle, found)).text)
    assert text.index(found.verdict.headline) < text.index("0.930")


def test_the_recipe_that_won_is_named(bundle):
    text = " ".join(Page(written(bundle, make_evaluation())).text)
    assert "+2.00 ± 0.40 points" in text
    assert "chosen" in text


def test_names_from_the_table_cannot_break_the_page(bundle):
    found = make_evaluation(label=HOSTILE, classes=(HOSTILE, "b"))
    page = Page(written(bundle, found))
    assert "script" not in {tag for tag, _ in page.seen}
    assert page.open == []


@pytest.mark.parametrize("history", [None, {}, {"history": {}, "selection": {"winner": "linear"}}])
def test_a_report_without_curves_has_none(tmp_path, history):
    bundle = make_bundle(tmp_path / "bundle", history)
    assert "Did training settle?" not in written(bundle, make_evaluation())


def test_stages_of_a_training_have_a_curve_each(tmp_path):
    curve = {"train": [[1, 2.0], [2, 1.0]], "validation": [[1, 1.5], [2, 1.2]]}
    stages = {"pretraining": [curve, curve], "fine_tuning": curve, "decoder": curve}
    bundle = make_bundle(tmp_path / "bundle", {"history": {"stacked": {**curve, **stages}}})
    page = written(bundle, make_evaluation())
    names = ("layer 1", "layer 2", "fine-tuned", "its decoder")
    for stage in ("stacked", *(f"stacked, {name}" for name in names)):
        assert f"{stage}: best 1.2 at step 2" in page


def test_damaged_history_does_not_stop_the_report(bundle):
    (bundle.path / "report" / "history.json").write_text("{")
    assert "Did training settle?" not in written(bundle, make_evaluation())


@pytest.mark.parametrize("count", [3, 12, 40])
def test_many_classes_can_be_drawn(bundle, count):
    found = make_evaluation(
        task="classes", metric="accuracy", classes=tuple(f"class {i}" for i in range(count))
    )
    assert "Where do rows lie?" in written(bundle, found)


def test_a_number_is_coloured_by_fifths(bundle):
    found = make_evaluation(task="numbers", metric="R²", classes=("x",))
    assert "from 0" in " ".join(Page(written(bundle, found)).text)


# in a browser

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PROBE = """<script>
addEventListener("load", () => {
  const over = [...document.querySelectorAll("svg text")].filter(t => {
    const a = t.getBoundingClientRect(), b = t.closest("svg").getBoundingClientRect();
    return a.left < b.left - 1 || a.right > b.right + 1
      || a.top < b.top - 1 || a.bottom > b.bottom + 1;
  }).map(t => t.textContent);
  const pictures = [...document.querySelectorAll("svg")];
  const empty = pictures.filter(s => s.getBoundingClientRect().height < 50);
  document.body.dataset.found = btoa(unescape(encodeURIComponent(JSON.stringify({
    over, empty: empty.length, pictures: pictures.length,
    loaded: performance.getEntriesByType("resource").map(r => r.name),
    wide: document.documentElement.scrollWidth > innerWidth,
    headings: [...document.querySelectorAll("h1,h2")].map(h => h.textContent)}))));
});
</script>"""


@pytest.mark.integration
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1400, 600])
def test_a_browser_shows_all_of_it_and_loads_nothing(bundle, tmp_path, width):
    path = write_report(bundle.path, make_evaluation(points=300))
    page = path.read_text().replace(POLICY, "")
    path.write_text(page.replace("</body>", f"{PROBE}</body>"))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
               "--no-first-run", "--disable-background-networking", "--disable-component-update",
               "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
               f"--window-size={width},3000", "--dump-dom", path.as_uri()]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, timeout=120, check=True).stdout.decode()
    found = json.loads(base64.b64decode(re.search(r'data-found="([^"]+)"', shown)[1]))
    headings = found.pop("headings")
    assert found == {"over": [], "empty": 0, "pictures": 5, "loaded": [], "wide": False}
    assert headings[1:] == [
        "How well does it predict “late”?", "Where do rows lie?",
        "How fast do models learn from it?", "Did training settle?",
        "What does the code keep of each column?", "All numbers", "Which recipe won?",
        "What was measured",
    ]  # fmt: skip
