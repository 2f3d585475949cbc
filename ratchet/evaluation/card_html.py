"""A card or a report as one HTML file that needs nothing else: no scripts, no links, pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

from markdown_it import MarkdownIt

from ratchet.errors import InputError

_PNG = b"\x89PNG\r\n\x1a\n"
_SECTIONS = {
    "folds": "Folds",
    "equity": "Trading",
    "calibration": "Probabilities",
    "confusion": "Probabilities",
    "slices": "Slices",
    "gate": "Gate",
}
_STYLE = """
body { margin: 2rem auto; max-width: 1240px; padding: 0 1rem; color: #222; background: #fff;
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid #ddd; padding: 0.25rem 0.6rem; text-align: left; vertical-align: top; }
th { background: #f4f4f4; } thead:not(:has(th:not(:empty))) { display: none; }
code { overflow-wrap: anywhere; background: #f4f4f4; padding: 0 0.2rem; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; } figcaption { color: #666; }
""".strip()


def card_html(markdown: str, pictures: Mapping[str, bytes]) -> str:
    """Return a Markdown text and its pictures as one self-contained HTML document.

    HTML in the text stays text, and links and images in it are not followed, so the document refers to nothing outside.

    Args:
        markdown: a card or a report; its first line is the title.
        pictures: PNG by name. `folds`, `equity`, `calibration`, `confusion`, `slices` and `gate` stand in the section
            that they belong to, any other and those without their section at the end.

    Raises:
        InputError: a picture is not a PNG.
    """
    for name, content in pictures.items():
        if not content.startswith(_PNG):
            raise InputError(f"picture {name!r} is not a PNG; draw it with ratchet.evaluation.pictures")
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.disable(["link", "image", "autolink", "reference"])
    title = parser.render(markdown.lstrip().partition("\n")[0])
    body = _with_pictures(parser.render(markdown), pictures)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def _with_pictures(body: str, pictures: Mapping[str, bytes]) -> str:
    """Put every picture behind its section; an opening <h2> is always a heading, since the parser escapes all else."""
    head, *sections = body.split("<h2>")
    left = dict(pictures)
    parts = [head]
    for section in sections:
        heading = section.partition("</h2>")[0]
        own = [name for name in left if _SECTIONS.get(name) == heading]
        parts.append("<h2>" + section + "".join(_figure(name, left.pop(name)) for name in own))
    rest = "".join(_figure(name, content) for name, content in left.items())
    return "".join(parts) + (f"<h2>More pictures</h2>\n{rest}" if rest else "")


def _figure(name: str, content: bytes) -> str:
    caption = escape(name)
    data = base64.b64encode(content).decode("ascii")
    return (
        f'<figure>\n<img src="data:image/png;base64,{data}" alt="{caption}">\n<figcaption>{caption}</figcaption>\n'
        "</figure>\n"
    )


def _text(rendered: str) -> str:
    """Return the text of a rendered line, escaped as the parser did."""
    return rendered.strip().removeprefix("<h1>").removesuffix("</h1>")
