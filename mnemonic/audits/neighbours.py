"""What the neighbours' probabilities give away: forgotten, or never learned?

A network that never saw a class spreads its images over the classes that look like
them. One that forgot may do it otherwise, and those probabilities are there to be read.
An attack gets the log-probabilities, among the remaining classes, of those that the
references find likeliest for images of the class, and learns to tell the audited
network's answers from the references' (a logistic regression, on four fifths of the
images, asked about the last fifth, five times over). Then, for each image, it is shown
the answers of both: how often does it name the right one? 50 % is guessing.

After the attack CMIA of Ebrahimpour-Boroojeny, Wang and Sundaram (2025), of which the
abstract could be read; that the answers to one image are compared is ours. Any two
networks differ a little, so that a reference among the others stands beside.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> one, two = (mn.build_model("mlp", data, seed=s) for s in (0, 1))
    >>> neighbour_attack(one, [two], data, [3])["told_apart"].value > 90
    True
"""

from collections.abc import Sequence

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from mnemonic.audits.distance import checked_references
from mnemonic.audits.estimates import Estimate, mean_of
from mnemonic.audits.membership import FEWEST
from mnemonic.audits.outputs import logits_of, part_of, told_apart
from mnemonic.checks import checked_whole
from mnemonic.data.arrays import ImageData, checked_data

FOLDS = 5


def neighbour_attack(
    model: nn.Module,
    references: Sequence[nn.Module],
    data: ImageData,
    classes: Sequence[int],
    *,
    neighbours: int = 3,
) -> dict[str, Estimate]:
    """Tell a network that forgot from networks that never knew.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        references: Networks that were trained without the forget classes.
        data: Its test images of the forget classes are asked.
        classes: The forget classes.
        neighbours: How many remaining classes the attack looks at.

    Returns:
        ``"told_apart"``: percent of pairs of answers in which it names the right one,
        with an interval over images and references.

    Raises:
        ValueError: If there are too few images, or something else does not fit.
    """
    _, remaining = told_apart(classes, checked_data(data).class_names)
    references = checked_references(references)
    neighbours = checked_whole("neighbours", neighbours, 1)
    images = part_of(data, "test", classes)
    if len(images) < FEWEST:
        raise ValueError(
            f"{len(images)} test images of the forget classes; give {FEWEST} or more"
        )
    logits = [logits_of(network, data, images) for network in (model, *references)]
    # What stands at the forget classes says which network it is without a look.
    log_p = torch.stack(logits)[..., remaining].double().log_softmax(2)  # [1 + R, N, ·]
    likeliest = log_p[1:].exp().mean((0, 1)).argsort(descending=True)
    seen, n = log_p[..., likeliest[:neighbours]].flatten(0, 1), len(images)
    scores = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced")),
        seen.numpy(),
        torch.arange(len(seen)).numpy() < n,
        groups=torch.arange(n).repeat(len(logits)).numpy(),
        cv=GroupKFold(FOLDS),
        method="decision_function",
    )
    own, *theirs = torch.as_tensor(scores).split(n)
    gap = own - torch.stack(theirs)  # [R, N]
    right = (gap > 0).double() + 0.5 * (gap == 0)
    return {"told_apart": mean_of(100 * right, unit="%")}
