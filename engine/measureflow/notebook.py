"""Tables for notebooks: what `_repr_html_` shows in place of numbers."""

from collections.abc import Iterable, Mapping
from html import escape


def table(title: str, rows: Iterable[Mapping[str, object]]) -> str:
    """HTML of one table with a caption, the keys of the first row as its head; all text is escaped."""
    rows = list(rows)
    head = "".join(_cell("th", key) for key in (rows[0] if rows else ()))
    body = "".join(f"<tr>{''.join(_cell('td', value) for value in row.values())}</tr>" for row in rows)
    return f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text(lines: str) -> str:
    """HTML of text as it is written."""
    return f"<pre>{escape(lines)}</pre>"


def _cell(tag: str, value: object) -> str:
    return f'<{tag} style="text-align: left">{escape(str(value))}</{tag}>'
