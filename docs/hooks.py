"""For mkdocs: a link to a file outside of this folder becomes its name, because that file is not rendered."""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+(?:agent|certs|cli|plugins|tests|README)[^)]*)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    return _OUTSIDE.sub(lambda found: f"{found[1]} (`{found[2].replace('../', '').partition('#')[0]}`)", markdown)
