"""What the book's configuration has to change for another format than web pages.

The configuration of the book is for HTML. EPUB and slides need a few things otherwise;
so that there is one configuration to keep, theirs is made from it, for the one build.
What mends the pages themselves is in ``book/_extensions``.

Example:
    >>> merged({"html": {"favicon": "a", "baseurl": "b"}}, {"html": {"baseurl": ""}})
    {'html': {'favicon': 'a', 'baseurl': ''}}
"""

import importlib.metadata
from pathlib import Path

import yaml

SPHINX_ITSELF_KNOWS = ("html", "singlehtml")
# jupyter-book's theme makes buttons for pages that have none, and stops.
_NO_BUTTONS = {
    "launch_buttons": {"colab_url": ""},
    "html": {f"use_{x}_button": False for x in ("repository", "issues", "edit_page")},
}
_NOTES = "revealjs/plugin/notes/notes.js"
_MATHML = {"mathml": "book/_extensions/"}
FORMATS = {
    "html": {},
    "singlehtml": {},
    "epub": {
        **_NO_BUTTONS,
        "sphinx": {
            "local_extensions": {**_MATHML, "valid_epub": "book/_extensions/"},
            "without": ["sphinx-mathjax-offline"],
            "config": {
                "html_math_renderer": "mathml",
                "version": importlib.metadata.version("mnemonic"),
                "html_extra_path": [],
                "html_css_files": [],
                "epub_exclude_files": ["_static/favicon.ico"],
                "epub_show_urls": "no",
                "epub_tocscope": "includehidden",
                "epub_use_index": False,
                "epub_basename": "forgetting-in-one-shot",
            },
        },
    },
    "revealjs": {
        **_NO_BUTTONS,
        "toc": {"format": "jb-book", "root": "book/slides"},
        "exclude_patterns": [".*"],
        "sphinx": {
            "local_extensions": {**_MATHML, "from_chapter": "book/_extensions/"},
            "without": ["sphinx-mathjax-offline"],
            "with": ["sphinx_revealjs"],
            "config": {
                "html_math_renderer": "mathml",
                "include_patterns": ["book/slides.md"],
                "revealjs_style_theme": "white",
                "revealjs_static_path": ["book/_static"],
                "revealjs_css_files": ["slides.css"],
                "revealjs_script_files": [_NOTES],
                "revealjs_script_plugins": [{"src": _NOTES, "name": "RevealNotes"}],
                "revealjs_script_conf": {
                    "hash": True,
                    "slideNumber": True,
                    "width": 1200,
                    "height": 750,
                    "transition": "none",
                },
            },
        },
    },
}


def of_chapters(names: list[str]) -> dict:
    """Changes for a small book of some chapters, their terms and their sources.

    Args:
        names: Of their notebooks.

    Returns:
        As in ``FORMATS``.
    """
    root, *others = [f"notebooks/{name}" for name in names]
    others += ["book/glossary", "book/references"]
    toc = {"format": "jb-book", "root": root, "chapters": [{"file": f} for f in others]}
    return {"toc": toc, "only_build_toc_files": True}


def merged(base: dict, changes: dict) -> dict:
    """Change a nested dictionary.

    Args:
        base: Left as it is.
        changes: Values to put in place of those of ``base``; dictionaries are merged.

    Returns:
        Another dictionary.
    """
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], value) if both else value
    return result


def write_config(root: Path, folder: Path, changes: dict) -> list[str]:
    """Write a changed configuration for one build.

    Args:
        root: The repository, with ``_config.yml``.
        folder: Where to write.
        changes: As in ``FORMATS``. In ``sphinx``, ``with`` and ``without`` name
            extensions to add and to leave out; ``toc`` is another table of contents.

    Returns:
        Options for jupyter-book; none where nothing changes.
    """
    if not changes:
        return []
    config = merged(yaml.safe_load((root / "_config.yml").read_bytes()), changes)
    sphinx, toc = config["sphinx"], config.pop("toc", None)
    dropped, added = sphinx.pop("without", []), sphinx.pop("with", [])
    kept = [x for x in sphinx["extra_extensions"] if x not in dropped]
    sphinx["extra_extensions"] = kept + added
    # these are looked for beside the configuration
    sphinx["local_extensions"] = {
        name: str(root / path) for name, path in sphinx["local_extensions"].items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "_config.yml"
    path.write_text(
        yaml.safe_dump(config, allow_unicode=True, sort_keys=False), encoding="utf-8"
    )
    options = ["--config", str(path)]
    if toc:
        (folder / "_toc.yml").write_text(
            yaml.safe_dump(toc, sort_keys=False), encoding="utf-8"
        )
        options += ["--toc", str(folder / "_toc.yml")]
    return options
