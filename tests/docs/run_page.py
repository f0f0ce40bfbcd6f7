"""Runs the code blocks of a page in the current folder: python run_page.py PAGE [GIVEN]

In order, as they stand: Python in one namespace, as if typed into one interpreter; shell in bash,
which keeps its folder and its exported names; TOML, JSON, YAML and settings are read and checked.
Comments in the page say what cannot be seen on it:

    <!-- not run: why -->            on the line before a block
    <!-- given: features, model -->  what is there before the first block, from the folder GIVEN
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)\s*$")
_NOT_RUN = re.compile(r"^\s*<!-- not run: \S.* -->\s*$")
_GIVEN = re.compile(r"^<!-- given: (?P<names>[\w, -]+) -->\s*$", re.MULTILINE)
_STATE = ".shell-state"
_TEXT = ("", "text")  # what a program says, a tree of folders: no code


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its code, the line of its first line of code, from 1."""

    language: str
    code: str
    line: int
    is_run: bool


def blocks(text: str) -> Iterator[Block]:
    """The code blocks of a page, in order; ValueError for one that is not closed."""
    lines = text.splitlines()
    place = 0
    while place < len(lines):
        fence = _FENCE.match(lines[place])
        if fence is None:
            place += 1
            continue
        first = place + 1
        try:
            last = lines.index(fence["indent"] + fence["ticks"], first)
        except ValueError:
            raise ValueError(f"line {first}: this block is not closed") from None
        code = "\n".join(line.removeprefix(fence["indent"]) for line in lines[first:last]) + "\n"
        is_run = not (place and _NOT_RUN.match(lines[place - 1]))
        if fence["language"] not in _TEXT:
            yield Block(fence["language"], code, first + 1, is_run)
        place = last + 1


def given(text: str) -> list[str]:
    """Names of what a page finds in its folder."""
    return [name.strip() for found in _GIVEN.finditer(text) for name in found["names"].split(",")]


def run(page: Path) -> None:
    """Run every block of `page` that is not marked; ValueError for a language that none knows."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if not block.is_run:
            continue
        if block.language not in _RUNNERS:
            raise ValueError(
                f"{page.name}:{block.line}: a block in {block.language!r} cannot be run; write "
                "<!-- not run: why --> on the line before it"
            )
        try:
            _RUNNERS[block.language](block, page.name, namespace)
        except BaseException:
            print(f"the block at {page.name}:{block.line} failed", file=sys.stderr)
            raise


def _python(block: Block, name: str, namespace: dict[str, Any]) -> None:
    # Empty lines before it, so that a traceback has the lines of the page.
    exec(compile("\n" * (block.line - 1) + block.code, name, "exec"), namespace)


def _shell(block: Block, _name: str, _namespace: dict[str, Any]) -> None:
    state = f'{{ export -p; printf "cd %q\\n" "$PWD"; }} > "{Path(_STATE).absolute()}"'
    before = f'[ ! -e "{Path(_STATE).absolute()}" ] || . "{Path(_STATE).absolute()}"'
    script = f"{before}\n{block.code}\n{state}\n"
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True)


def _toml(block: Block, _name: str, _namespace: dict[str, Any]) -> None:
    """Checks a project file, or a part of one: what it leaves out may be missing."""
    from pydantic import ValidationError

    from flows.project import Project

    try:
        Project.model_validate(tomllib.loads(block.code))
    except ValidationError as error:
        wrong = [one for one in error.errors() if one["type"] != "missing"]
        if wrong:
            raise ValueError(f"no project file has this: {wrong}") from None


def _json(block: Block, _name: str, _namespace: dict[str, Any]) -> None:
    """Checks one document, or one on every line."""
    try:
        json.loads(block.code)
    except json.JSONDecodeError:
        for line in block.code.splitlines():
            json.loads(line)


def _yaml(block: Block, _name: str, _namespace: dict[str, Any]) -> None:
    import yaml

    yaml.safe_load(block.code)


def _settings(block: Block, _name: str, _namespace: dict[str, Any]) -> None:
    wrong = [
        line
        for line in block.code.splitlines()
        if line.strip() and not re.match(r"[A-Za-z_]\w*=|\[.+\]$|[#;]", line)
    ]
    if wrong:
        raise ValueError(f"no settings: {wrong}")


_RUNNERS: dict[str, Callable[[Block, str, dict[str, Any]], None]] = {
    "bash": _shell,
    "ini": _settings,
    "json": _json,
    "python": _python,
    "sh": _shell,
    "toml": _toml,
    "yaml": _yaml,
}


if __name__ == "__main__":
    page, *places = map(Path, sys.argv[1:])
    page = page.absolute()
    for wanted in given(page.read_text(encoding="utf-8")):
        shutil.copytree(places[0] / wanted, wanted)
    sys.path[0] = ""  # as in an interpreter that somebody types into
    run(page)
