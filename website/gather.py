"""Puts the site's pages together: `python website/gather.py FOLDER`.

The pages of `docs` are read on the site and in the repository alike. On the site the README is
the first page, the examples have pages, and the reference is made from the code; links between
them are rewritten, and a link that leads to nothing fails.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import sys
from pathlib import Path

import reference

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(?P<mark>!?)\[(?P<text>(?:`[^`]*`|[^\]`])*)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^ *```")

# The order of the pages. A folder stands for its pages by name.
NAVIGATION: dict[str, list[str]] = {
    "Start": ["index.md", "quick-start.md", "concepts.md"],
    "How to": [
        "howto/images.md",
        "howto/schedules.md",
        "howto/models.md",
        "howto/drift.md",
        "howto/feast.md",
        "howto/",
    ],
    "Examples": ["examples/index.md", "examples/"],
    "Reference": ["commands.md", "reference/"],
    "Promises": ["guarantees.md", "security.md", "chaos.md", "scaling.md"],
    "Measured": ["benchmarks/quality.md", "benchmarks/throughput.md", "benchmarks/"],
    "Decisions": ["adr/"],
    "Changes": ["changelog.md"],
}


def sources() -> dict[str, Path]:
    """Where each page of the site comes from, by its place on the site; images included."""
    found = {"index.md": ROOT / "README.md", "changelog.md": ROOT / "CHANGELOG.md"}
    for path in sorted((ROOT / "docs").rglob("*")):
        if path.suffix in {".md", ".svg", ".png", ".json"}:
            found[path.relative_to(ROOT / "docs").as_posix()] = path
    for path in sorted((ROOT / "examples").glob("*/*")):
        if path.suffix in {".png", ".py"}:
            found[f"examples/{path.parent.name}/{path.name}"] = path
        if path.name == "README.md":
            found[f"examples/{path.parent.name}.md"] = path
    overview = ROOT / "examples" / "README.md"
    if overview.exists():
        found["examples/index.md"] = overview
    return found


def gather(folder: Path) -> None:
    """Write the site's pages and its configuration into `folder`, which is emptied before.

    Raises:
        ValueError: naming every link that leads to nothing, or every page that no menu has.
    """
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    found, problems = sources(), []
    for place, path in found.items():
        target = pages / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text, broken = relinked(path.read_text(encoding="utf-8"), path, place, found)
            problems += broken
            target.write_text(text, encoding="utf-8")
        else:
            shutil.copyfile(path, target)
    (pages / "reference").mkdir(exist_ok=True)
    made = {"options.md": reference.command_pages(), "project-file.md": reference.project_page()}
    for name, text in made.items():
        (pages / "reference" / name).write_text(text, encoding="utf-8")
    shutil.copyfile(ROOT / "website" / "site.css", pages / "site.css")
    places = sorted(path.relative_to(pages).as_posix() for path in pages.rglob("*.md"))
    settings = (ROOT / "website" / "zensical.toml").read_text(encoding="utf-8")
    line = next(line for line in settings.splitlines() if line.startswith("nav = []"))
    written = settings.replace(line, f"nav = {_navigation(places)}")
    (folder / "zensical.toml").write_text(written, encoding="utf-8")
    if problems:
        raise ValueError("links that lead to nothing:\n" + "\n".join(problems))


def _navigation(places: list[str]) -> str:
    """The menu as TOML: the pages in order, each in the first section that names it."""
    left, sections = dict.fromkeys(places), []
    for title, wanted in NAVIGATION.items():
        chosen: list[str] = []
        for name in wanted:
            chosen += [
                place
                for place in left
                if place not in chosen
                and (place == name or (name.endswith("/") and place.startswith(name)))
            ]
        for place in chosen:
            del left[place]
        if chosen:
            sections.append(f"  {{ {json.dumps(title)} = {json.dumps(chosen)} }},")
    if left:
        raise ValueError(f"no section of NAVIGATION has {', '.join(left)}; add them")
    return "\n".join(["[", *sections, "]"])


def relinked(text: str, path: Path, place: str, found: dict[str, Path]) -> tuple[str, list[str]]:
    """`text` of the page at `path`, its links as they must be at `place`, and the broken ones."""
    places = {source: name for name, source in found.items()}
    problems: list[str] = []

    def replaced(link: re.Match[str]) -> str:
        target, _, anchor = link["target"].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return link[0]
        source = (path.parent / target).resolve()
        if not source.exists():
            problems.append(f"{path.relative_to(ROOT)}: {link['target']}")
        if source in places:
            to = posixpath.relpath(places[source], posixpath.dirname(place) or ".")
            return f"{link['mark']}[{link['text']}]({to}{'#' * bool(anchor)}{anchor})"
        return link["text"]  # of the repository, but not of the site

    lines, is_code = [], False
    for line in text.split("\n"):
        is_code ^= bool(_FENCE.match(line))
        lines.append(line if is_code else _LINK.sub(replaced, line))
    return "\n".join(lines), problems


if __name__ == "__main__":
    try:
        gather(Path(sys.argv[1]))
    except ValueError as error:
        sys.exit(str(error))
