"""The page of a destination's history: what it says, whatever names say, in a browser as well."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.history import Entry, History, read
from flows.history_page import html, write_history
from flows.history_tables import UNFOLDED
from pipeline.destinations import open_destination
from pipeline.drift_report import ColumnDrift, DriftReport, Finding
from pipeline.errors import ConfigError, PublishError
from pipeline.lineage import who
from pipeline.publishing import Made, PastVersion, Portion
from training.report.page import POLICY

Cli = Callable[..., Any]

HOSTILE = (
    "</title></text><script>document.title='owned'</script>"
    "<img src=x onerror=\"document.title='owned'\">\"'&\x1b[2J\u202egpj"
)
FIRST = datetime(2026, 9, 1, 3, tzinfo=UTC)


def drift(name: str, *, drifted: bool, excess: float) -> DriftReport:
    finding = Finding(
        measure="PSI", against="training", value=0.31, threshold=0.12, excess=excess,
        drifted=drifted,
    )  # fmt: skip
    column = ColumnDrift(
        name=name, column=name, kind="number", drifted=drifted, excess=excess, findings=(finding,)
    )
    return DriftReport(
        format=1, destination="d", run_id="r", model="m", published="p", rows=9, files=1.0,
        drifted=drifted, runs_per_false_alarm=1_000, columns=(column,),
    )  # fmt: skip


def entry(day: int, *, name: str = "price", by: str = "etl@batch", drifted: bool = False) -> Entry:
    at = (FIRST + timedelta(days=day)).isoformat(timespec="microseconds")
    made = Made(
        started=at, seconds=2.0 + day, by=by, computed=Portion(parts=1, rows=1_000),
        resumed=Portion(parts=0, rows=0), reused=Portion(parts=day, rows=day * 1_000),
    )  # fmt: skip
    version = PastVersion(
        run_id=hashlib.sha256(str(day).encode()).hexdigest()[:32], model=f"model-{day // 100}",
        rows=1_000 * (day + 1), parts=day + 1, bytes=50_000 * (day + 1), source=f"s3://lake/{name}",
        published=at, made=made,
    )  # fmt: skip
    report = drift(name, drifted=drifted, excess=2.5 if drifted else 0.4)
    return Entry(version=version, state="kept", drift=report)


def history(days: int, **names: Any) -> History:
    entries = [entry(day, **names) for day in range(days)]
    entries[-1] = replace(entries[-1], state="readers")
    return History(path="s3://lake/vectors", entries=tuple(entries), damaged=(), picture=b"<svg/>")


class Words(HTMLParser):
    """The text that a page shows, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags = "", list[tuple[str, dict[str, str | None]]]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def published(cli_here: Cli, bundle: Path, table: Cli, folder_of: Cli, tmp_path: Path) -> Path:
    """A destination with two versions, of 50 and of 60 rows."""
    for rows in (50, 60):
        source = folder_of(tmp_path / "in", table(rows))
        assert cli_here("embed", bundle, source, tmp_path / "out").code == 0
    return tmp_path / "out"


def test_inspect_writes_the_page_and_says_where(
    cli_here: Cli, published: Path, tmp_path: Path
) -> None:
    page = tmp_path / "history.html"
    done = cli_here("inspect", published, "--html", page, "--json")
    assert done.document["page"] == str(page)
    assert [version["made"]["computed"]["rows"] for version in done.document["versions"]] == [
        60,
        50,
    ]
    words = Words(page.read_text()).text
    for version in done.document["versions"]:
        assert version["run_id"][:12] in words
        assert version["made"]["by"] in words
    assert "Readers see 60 rows" in words
    assert "not monitored" in words
    assert str(page) in cli_here("inspect", published, "--html", page).out


def test_a_pin_and_what_waits_for_it_are_told(cli_here: Cli, published: Path) -> None:
    cli_here("rollback", published)
    found = read(open_destination(published))
    assert [one.state for one in found.entries] == ["pinned", "waiting"]
    page = Words(html(found)).text
    assert "Readers are pinned at version" in page
    assert "1 newer waits" in page


def test_a_rollback_that_was_undone_is_told_with_who_did_both(
    cli_here: Cli, published: Path
) -> None:
    assert "Who moved readers" not in Words(html(read(open_destination(published)))).text
    cli_here("rollback", published)
    cli_here("rollback", published, "--unpin")
    found = read(open_destination(published))
    old, new = (one.version.run_id[:12] for one in found.entries)
    page = Words(html(found)).text
    start = page.index("Who moved readers")
    told = page[start : page.index("Models", start)]
    assert f"let go{old}{new}{who()}" in told
    assert f"rolled back, pinned{new}{old}{who()}" in told
    assert told.count(who()) == 2


def test_a_damaged_version_is_the_headline_and_the_others_are_shown(
    cli_here: Cli, published: Path
) -> None:
    run_id = (published / "current").readlink().name
    manifest = published / "versions" / run_id / "_manifest.json"
    manifest.chmod(0o644)
    manifest.write_bytes(b"{}")
    found = read(open_destination(published))
    assert found.damaged == (run_id,)
    assert [one.version.rows for one in found.entries] == [50]
    assert "damaged" in Words(html(found)).text


@pytest.mark.parametrize("what", ["bundle", "source"])
def test_what_has_no_history_is_refused_in_a_sentence(
    cli_here: Cli, bundle: Path, source: Path, tmp_path: Path, what: str
) -> None:
    path = {"bundle": bundle, "source": source}[what]
    done = cli_here("inspect", path, "--html", tmp_path / "page.html")
    assert done.code == 2
    assert f"--html needs a destination, found the {what}" in done.err
    assert not (tmp_path / "page.html").exists()


def test_a_page_inside_the_destination_is_refused(cli_here: Cli, published: Path) -> None:
    done = cli_here("inspect", published, "--html", published / "versions" / "page.html")
    assert done.code == 2
    assert "must be outside of" in done.err


def test_a_page_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    with pytest.raises(PublishError, match=r"page\.html"):
        write_history(tmp_path / "page.html", history(1))
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_an_empty_destination_has_a_page() -> None:
    empty = History(path="out", entries=(), damaged=(), picture=None)
    assert "Readers have no version" in Words(html(empty)).text


def test_versions_of_before_have_a_page() -> None:
    old = history(3)
    entries = tuple(
        replace(one, version=one.version.model_copy(update={"made": None}), drift=None)
        for one in old.entries
    )
    page = Words(html(replace(old, entries=entries))).text
    assert "How long did it take?" not in page
    assert page.count("not monitored") == 4


@pytest.mark.parametrize("days", [1, 3, 400])
def test_every_version_is_in_every_chart_and_in_the_table(days: int) -> None:
    page = html(history(days))
    words = Words(page)
    assert len([tag for tag, _ in words.tags if (tag == "tr" and "rows" in tag) or tag == "g"]) == (
        4 * days
    )
    assert page.count(">etl@batch</") == days + 1
    assert (f"{days - UNFOLDED} older versions" in words.text) == (days > UNFOLDED)
    assert len(page) < 700_000


def test_drift_is_the_headline_and_names_the_column() -> None:
    page = html(history(3, drifted=True, name="amount"))
    assert "The newest version has drifted in amount" in Words(page).text
    assert "PSI 0.31 &gt; 0.12" in page


def test_hostile_names_stay_text_and_lose_what_steers_a_reader() -> None:
    hostile = history(5, name=HOSTILE, by=HOSTILE, drifted=True)
    page = html(replace(hostile, path=HOSTILE, damaged=(HOSTILE,)))
    words = Words(page)
    assert not {"script", "iframe", "object", "link"} & {tag for tag, _ in words.tags}
    assert [tag for tag, _ in words.tags].count("img") == 1
    assert not [name for _, attrs in words.tags for name in attrs if name.startswith("on")]
    assert not {"\x1b", "\u202e"} & set(page)
    assert "<script>" in words.text


def test_secrets_do_not_reach_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-5ecret")
    page = html(history(2, name="canary-5ecret"))
    assert "canary-5ecret" not in page


def test_nothing_is_loaded_and_the_browser_is_told_so() -> None:
    page = html(history(3))
    assert POLICY in page
    sources = [v for _, attrs in Words(page).tags for k, v in attrs.items() if k in ("src", "href")]
    assert all((source or "").startswith("data:") for source in sources)
    assert "url(" not in page


def test_a_destination_is_no_place_for_its_page(tmp_path: Path) -> None:
    inside = replace(history(1), path=str(tmp_path))
    with pytest.raises(ConfigError, match="outside"):
        write_history(tmp_path / "page.html", inside)


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
  document.body.dataset.found = btoa(unescape(encodeURIComponent(JSON.stringify({
    over, loaded: performance.getEntriesByType("resource").map(r => r.name)
      .filter(name => !name.startsWith("data:")),
    wide: document.documentElement.scrollWidth > innerWidth,
    title: document.title.startsWith("parquet2vec")}))));
});
</script>"""
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def chromium(page: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    words = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", f"--user-data-dir={page.parent / 'profile'}", *options,
        page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(words, capture_output=True, timeout=200, check=True)


@pytest.mark.integration
@in_a_browser
def test_a_narrow_window_shows_all_of_it_and_hostile_names_do_nothing(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    hostile = history(400, name=HOSTILE, by="a" * 300, drifted=True)
    page = html(replace(hostile, path=HOSTILE * 3))
    path.write_text(page.replace(POLICY, "").replace("</body>", f"{PROBE}</body>"))
    shown = chromium(path, "--window-size=500,3000", "--dump-dom").stdout.decode()
    told = re.search(r'data-found="([^"]+)"', shown)
    assert told is not None
    assert json.loads(base64.b64decode(told[1])) == {
        "over": [], "loaded": [], "wide": False, "title": True
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.integration
@in_a_browser
@pytest.mark.parametrize(("scheme", "dark"), [(0, True), (1, False)])
def test_it_is_light_or_dark_as_the_reader_is_and_nothing_is_refused(
    tmp_path: Path, scheme: int, dark: bool
) -> None:
    from matplotlib.image import imread

    write_history(tmp_path / "page.html", history(30))
    picture = tmp_path / "page.png"
    done = chromium(
        tmp_path / "page.html",
        "--window-size=1280,1400",
        f"--screenshot={picture}",
        f"--blink-settings=preferredColorScheme={scheme}",
    )
    assert b"CONSOLE" not in done.stderr
    grey = imread(picture)[..., :3].mean(axis=2)
    assert grey.shape == (1400, 1280)
    assert bool(np.median(grey) < 0.5) is dark
    assert grey.std() > 0.05
