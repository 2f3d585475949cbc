"""The documentation names commands, files and links that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from ratchet.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_COMMAND = re.compile(r"^ {4}(?:\.venv/bin/)?ratchet (.+?)(?:\s+#.*)?$", re.MULTILINE)
_MAKE = re.compile(r"^ {4}make ([a-z]+)", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#]+)\)")


def _commands() -> list[tuple[str, str]]:
    found = [(page.name, line) for page in PAGES for line in _COMMAND.findall(page.read_text())]
    return [(page, line.replace("[", "").replace("]", "")) for page, line in found]


@pytest.mark.parametrize(("page", "line"), _commands(), ids=str)
def test_every_documented_command_parses(page: str, line: str) -> None:
    """A command line from the documentation names a command, its options and its arguments correctly."""
    command = typer.main.get_command(app)
    words = shlex.split(line)
    while isinstance(command, TyperGroup):
        assert words[0] in command.commands, f"{page}: ratchet {line}"
        command = command.commands[words.pop(0)]
    command.make_context("ratchet", words)


def test_every_command_has_help_and_is_documented() -> None:
    """Each command explains itself and appears in the README or in docs/."""
    text = "\n".join(page.read_text() for page in PAGES)
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    for name, command in root.commands.items():
        assert command.help, name
        assert f"ratchet {name}" in text, name
        for sub in getattr(command, "commands", {}):
            assert f"ratchet {name} {sub}" in text, f"{name} {sub}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_make_targets_exist(page: Path) -> None:
    """Relative links lead to files, and `make` targets are in the Makefile."""
    text = page.read_text()
    missing = [link for link in _LINK.findall(text) if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
    makefile = (ROOT / "Makefile").read_text()
    assert [target for target in _MAKE.findall(text) if f"\n{target}:" not in makefile] == []


def test_architecture_fits_on_one_page() -> None:
    """ARCHITECTURE.md stays within 120 lines, and the folders it names exist."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(text.splitlines()) <= 120
    for folder in re.findall(r"^\| `([a-z/]+)` \|", text, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
