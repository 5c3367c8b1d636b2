"""What MkDocs does not do by itself, as hooks of `mkdocs.yml`.

A page may link to any file of the repository; outside `docs/` that becomes a link to the hosted
repository, and one that is not there fails the build. A folder in the navigation stands for all its
pages. Nothing in a page is fetched from another host, so the site works without a network.
"""

from __future__ import annotations

import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]*)")
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src"}
LOADING_RELATIONS = {"stylesheet", "icon", "preconnect", "preload", "modulepreload"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.nav = [_list_folder(entry, Path(config.docs_dir)) for entry in config.nav or []]
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that lead out of `docs/`, to where the repository is hosted."""

    def host(match: re.Match[str]) -> str:
        target = posixpath.normpath(
            posixpath.join("docs", posixpath.dirname(page.file.src_uri), match[1])
        )
        if target.startswith("docs/"):
            return match[1]
        path = REPOSITORY / target
        if target.startswith("../") or not path.exists():
            raise PluginError(f"{page.file.src_uri} links to {match[1]}, which is not there")
        kind = "tree" if path.is_dir() else "blob"
        return f"{config.extra['repository']}/{kind}/main/{target}"

    return LINK.sub(host, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    finder = _ForeignAssets()
    finder.feed(output)
    if finder.found:
        raise PluginError(f"{page.file.src_uri} fetches {finder.found[0]} from another host")
    return output


def _list_folder(entry: Any, docs: Path) -> Any:
    """`Title: folder/` with the folder's pages in its place; any other entry as it is."""
    if not isinstance(entry, dict):
        return entry
    ((title, place),) = entry.items()
    if not (isinstance(place, str) and place.endswith("/")):
        return entry
    pages = sorted((docs / place).glob("*.md"), key=lambda page: (page.stem != "index", page.name))
    return {title: [page.relative_to(docs).as_posix() for page in pages]}


class _ForeignAssets(HTMLParser):
    """What a browser would fetch from another host when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get(LOADING.get(tag, ""))
        if tag == "link" and LOADING_RELATIONS & set((given.get("rel") or "").split()):
            address = given.get("href")
        if address and re.match(r"(https?:)?//", address):
            self.found.append(address)
