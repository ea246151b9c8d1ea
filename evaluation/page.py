"""One HTML file that needs nothing else: no script, no network, light and dark."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # so not even a hole in the escaping runs a script


def page(title: str, sections: Sequence[str]) -> str:
    """Compose a page of sections, whose texts from outside are escaped already; the title is escaped here."""
    style = files("evaluation").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )
