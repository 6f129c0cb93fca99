"""A report as one self-contained HTML file: styles and pictures are embedded, and there is no script."""

import base64
from html import escape

from analysis.page.parts import Code, Page, Part, Picture, Section, Table, Text
from analysis.style import DOTS_PER_INCH

# Browsers fetch nothing for this page, even if something slips through the escaping.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# Tables and pictures wider than the screen scroll within their box; the page itself never scrolls sideways.
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --soft: #5a6570; --paper: #ffffff; --card: #f3f5f7;
  --line: #d5dbe1; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #a3adb8; --paper: #15191d;
  --card: #20262c; --line: #3a434c; --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem 1rem 3rem; max-width: 68rem; overflow-wrap: anywhere;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .7rem; padding-bottom: .3rem;
  border-bottom: 2px solid var(--accent); }
p { margin: .6rem 0; max-width: 46rem; white-space: pre-line; }
.remark, figcaption { color: var(--soft); font-size: .88rem; }
.box { overflow-x: auto; margin: .8rem 0; border: 1px solid var(--line); border-radius: .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: right; vertical-align: top; border-top: 1px solid var(--line);
  overflow-wrap: normal; }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 7rem; }
.words th, .words td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.words td:first-child { width: 40%; }
thead th { background: var(--card); border-top: 0; vertical-align: bottom; }
tbody tr:nth-child(even) { background: color-mix(in srgb, var(--card) 55%, transparent); }
figure { margin: 1rem 0; }
figure .box { background: #ffffff; padding: .5rem; }
img { display: block; width: calc(var(--inches) * 96px); max-width: 100%; height: auto; margin: 0 auto; }
pre { margin: 0; padding: .7rem .9rem; background: var(--card); font-size: .85rem; white-space: pre-wrap; }
@media (max-width: 640px) { body { padding: 1rem .75rem 2rem; } h1 { font-size: 1.3rem; }
  th, td { padding: .35rem .5rem; } img { width: 100%; }
  img.wide { width: calc(var(--inches) * 62px); max-width: none; } }
@media print { .box { overflow: visible; } }
"""
# A wider picture keeps a legible size on a narrow screen and scrolls sideways.
_MAX_INCHES_OF_PHONE = 8
_BYTES_OF_SIZE = slice(16, 24)  # width and height of a PNG, four bytes each


def to_html(page: Page) -> str:
    """Return the page as HTML."""
    title = escape(page.title)
    sections = "\n".join(map(_section, page.sections))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{title}</h1>\n{sections}\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = "\n".join(map(_part, section.parts))
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{parts}\n</section>"


def _part(part: Part) -> str:
    if isinstance(part, Text):
        look = ' class="remark"' if part.is_remark else ""
        return f"<p{look}>{escape(part.text)}</p>"
    if isinstance(part, Code):
        return f'<div class="box"><pre>{escape(part.text)}</pre></div>'
    return _table(part) if isinstance(part, Table) else _picture(part)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    look = ' class="words"' if len(table.header) == 2 else ""
    return (
        f'<div class="box" tabindex="0"><table{look}>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _picture(picture: Picture) -> str:
    size = picture.content[_BYTES_OF_SIZE]
    width, height = int.from_bytes(size[:4], "big"), int.from_bytes(size[4:], "big")
    inches = width / DOTS_PER_INCH
    look = ' class="wide"' if inches > _MAX_INCHES_OF_PHONE else ""
    source = base64.b64encode(picture.content).decode("ascii")
    caption = escape(picture.caption)
    return (
        f'<figure><div class="box" tabindex="0"><img{look} alt="{caption}" width="{width}" height="{height}"'
        f' style="--inches: {inches:.2f}" src="data:image/png;base64,{source}"></div>\n'
        f"<figcaption>{caption}</figcaption></figure>"
    )
