"""The look of the book's figures: a colour for each kind of thing, and one style.

Example:
    >>> style()
    >>> plt.rcParams["figure.facecolor"]
    'white'
"""

from contextlib import suppress

import matplotlib.pyplot as plt

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

        set_matplotlib_formats("retina")
