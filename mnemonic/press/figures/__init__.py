"""Figures of single chapters, drawn from what the cells of the chapter computed.

One module per chapter, one function per figure: ``ch5.undone`` for ``fig-undo``. A
function only draws; it neither computes a result nor shows the figure. What several
chapters draw is in ``plots``.

Example:
    >>> import matplotlib.pyplot as plt
    >>> from mnemonic.press.figures import ch5
    >>> fig = ch5.least_error([5, 50, 500], [48, 93, 99], n_images=50, bound=93)
    >>> fig.axes[0].get_xlabel()
    'test images, all misclassified'
    >>> plt.close(fig)
"""

from mnemonic.press.figures import ch3, ch5, ch6, ch8, ch9, ch15

__all__ = ["ch3", "ch5", "ch6", "ch8", "ch9", "ch15"]
