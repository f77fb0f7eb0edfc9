"""The look of the book's figures: a colour for each kind of thing, and one style.

Example:
    >>> style()
    >>> plt.rcParams["figure.facecolor"]
    'white'
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

import matplotlib.pyplot as plt
from matplotlib import font_manager

# Okabe and Ito's palette: told apart with every common colour vision.
FORGET = "#D55E00"
REMAINING = "#0072B2"
CODES = "#9B4F88"
PAPER = "#009E73"
NEUTRAL = "#6E6E6E"
WIDTH = 6.4  # inches; at 390 px a 10 pt letter is still 6 px high


def style() -> None:
    """Set the book's style; once at the top of a notebook."""
    plt.rcdefaults()
    plt.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.4),
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "savefig.dpi": 200,  # twice the pixels, for dense screens
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.labelsize": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E3E3E3",
            "grid.linewidth": 0.8,
            "legend.frameon": False,
            "image.cmap": "gray",
            "lines.linewidth": 2,
        }
    )
    # in a notebook, inline figures choose their own resolution
    with suppress(ImportError, AttributeError):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        more = os.environ.get("MNEMONIC_FIGURES", "")  # as in make figures
        set_matplotlib_formats("retina", *more.split())


def lettered(names: Sequence[str]) -> tuple[list[str], dict]:
    r"""Names of classes as a figure can show them.

    Args:
        names: In any script. A dollar is a dollar, and begins no formula.

    Returns:
        The names, and what to give matplotlib with them. Letters that its own font
        lacks come from other fonts of this machine; where none has one, its code point
        stands for it, such as ``\u732b`` (install a font that has it, such as Noto).
    """
    names = [str(name) for name in names]
    own = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    letters = {c for name in names for c in name if c != "\n"}
    lacking = {c: _family_with(c) for c in letters if not own.get_char_index(ord(c))}
    signs = {c: f"\\u{ord(c):04x}" for c, family in lacking.items() if not family}
    signs = str.maketrans(signs | {"$": r"\$"})
    more = sorted({family for family in lacking.values() if family})
    look = {"fontfamily": [*plt.rcParams["font.family"], *more]} if more else {}
    return [name.translate(signs) for name in names], look


@cache
def _family_with(letter: str) -> str | None:
    fonts = sorted(font_manager.fontManager.ttflist, key=lambda font: font.name)
    for font in fonts:
        # Its glyphs are boxes; others are broken, gone, or pictures of one size.
        if "LastResort" not in font.fname:
            with suppress(OSError, RuntimeError):
                face = font_manager.get_font(font.fname)
                if face.scalable and face.get_char_index(ord(letter)):
                    return font.name
    return None
