"""What the nearest neighbours say in the features that the last layer is given.

Nothing is learned: an image is called what most of the ten training images are that its
features are most like, by cosine. Asked of the forgotten class itself, it says whether
its images still lie together; asked of data that the network never saw (Kim, Cha, Kim
2025), whether the features are still good for anything, and so whether a class was
forgotten by ruining them.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> found = nearest_neighbours(mn.build_model("mlp", data), data, [3])
    >>> found["forget_accuracy"].n, found["remaining_accuracy"].n
    (100, 900)
"""

from collections.abc import Sequence

import torch
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from mnemonic.audits.estimates import Estimate, accuracies, percent_of
from mnemonic.audits.outputs import check_fits, halves, last_inputs
from mnemonic.checks import checked_whole
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.data.splits import Split, first_of_each
from mnemonic.networks.layers import last_layer

NEIGHBOURS = 10
MOST = 500  # training images of a class


def nearest_neighbours(
    model: nn.Module,
    data: ImageData,
    classes: Sequence[int],
    *,
    neighbours: int = NEIGHBOURS,
) -> dict[str, Estimate]:
    """Name test images by their neighbours among the training images.

    Args:
        model: Ends in a linear layer; left as it is.
        data: All K classes: the attacker has labelled images of each.
        classes: The forget classes.
        neighbours: How many vote; the nearest of equals wins.

    Returns:
        ``"forget_accuracy"`` and ``"remaining_accuracy"``, percent of test images.

    A ``ValueError`` says what of network, data, classes or numbers does not fit.
    """
    check_fits(model, data)
    parts = halves(data, classes)
    right = _named_right(model, data, list(parts.values()), neighbours)
    return accuracies({w: [r] for w, r in zip(parts, right, strict=True)})


def transfer(
    model: nn.Module, data: ImageData, *, neighbours: int = NEIGHBOURS
) -> dict[str, Estimate]:
    """The same on other data than the network was trained on, of any classes.

    Args:
        model: Ends in a linear layer; left as it is.
        data: Of the network's input shape.
        neighbours: How many vote.

    Returns:
        ``"accuracy"``, percent of test images.

    A ``ValueError`` says what of network, data or numbers does not fit.
    """
    (right,) = _named_right(model, data, [checked_data(data).test], neighbours)
    return {"accuracy": percent_of(right)}


def _named_right(
    model: nn.Module, data: ImageData, parts: Sequence[Split], neighbours: int
) -> list[Tensor]:
    """Whether each image of some parts is named right by its neighbours."""
    _, layer = last_layer(model, data.input_shape)
    known = data.train.take(first_of_each(data.train.labels, MOST))
    most = len(known)
    votes = KNeighborsClassifier(
        checked_whole("neighbours", neighbours, 1, most), metric="cosine"
    )
    right = []
    with threadpool_limits(1):
        votes.fit(last_inputs(model, layer, data, known).numpy(), known.labels.cpu())
        for part in parts:
            asked = last_inputs(model, layer, data, part).numpy()
            right.append(torch.as_tensor(votes.predict(asked)) == part.labels.cpu())
    return right
