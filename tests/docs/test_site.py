"""The site's pages hang together, there and in the repository; `make docs` checks anchors too."""

import tomllib
from pathlib import Path

import pytest
from gather import gather, relinked


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make docs` builds from; it fails if a link leads to nothing."""
    folder = tmp_path_factory.mktemp("site")
    gather(folder)
    return folder


def test_every_page_is_in_the_menu_once(site: Path) -> None:
    settings = tomllib.loads((site / "zensical.toml").read_text(encoding="utf-8"))
    sections = [pages for section in settings["project"]["nav"] for pages in section.values()]
    places = [place for pages in sections for place in pages]
    there = {path.relative_to(site / "pages").as_posix() for path in site.rglob("*.md")}
    assert sorted(places) == sorted(there)


def test_the_reference_has_every_option_and_every_table(site: Path) -> None:
    options = (site / "pages/reference/options.md").read_text(encoding="utf-8")
    assert "## models promote" in options
    assert "| `--vector <fixed\\|list\\|wide>` | One fixed-size list" in options
    fields = (site / "pages/reference/project-file.md").read_text(encoding="utf-8")
    assert "## `[train.columns.NAME]`" in fields
    assert "| `margin` | number ≥ 0 | `0.01` |" in fields


def test_the_readme_is_the_first_page_and_its_links_lead_to_pages(site: Path) -> None:
    first = (site / "pages/index.md").read_text(encoding="utf-8")
    assert "](commands.md#recipes)" in first
    assert "](images/report.png)" in first
    assert "](docs/" not in first


def test_a_link_that_leads_to_nothing_is_told_and_one_in_code_is_none() -> None:
    page = Path(__file__).parents[2] / "docs" / "concepts.md"
    text, broken = relinked(
        "[a](nowhere.md)\n```sh\n[b](nowhere.md)\n```\n[c](../LICENSE) [d](commands.md#tables)\n",
        page,
        "concepts.md",
        {"commands.md": page.with_name("commands.md")},
    )
    assert broken == ["docs/concepts.md: nowhere.md"]
    assert text.endswith("c [d](commands.md#tables)\n")
