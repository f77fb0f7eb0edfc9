"""Linear probes: what is still read of a class that a network's answers deny.

The network is frozen; a multinomial logistic regression on the standardised features of
one layer learns all K classes from the training images (Alain and Bengio 2017). Its
accuracy on test images of the forget class is what can be read there. A network that
never saw the class is not at chance either: the finding is the probe of the forgotten
network less that of the retrained one. Of more than 200 features the 200 first
principal components are read: on the networks of chapter 6 two points more of the
class, and at most four, than all 1,000 give, in a fifth of the time.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> probed_layers(mn.build_model("mlp", data), data)
    ('2', '3')
"""

import warnings
from collections.abc import Sequence

import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from mnemonic.audits.estimates import Estimate, percent_of
from mnemonic.audits.outputs import features_of, halves, layers_of
from mnemonic.data.arrays import ImageData
from mnemonic.networks.asked import check_outputs, device_of
from mnemonic.networks.layers import watched

MOST_COMPONENTS = 200  # of a probe


def linear_probes(
    model: nn.Module,
    data: ImageData,
    classes: Sequence[int],
    *,
    layers: Sequence[str] | None = None,
) -> dict[str, Estimate]:
    """What a linear classifier reads in each layer.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; frozen, in evaluation mode.
        data: All K classes: the attacker has labelled images of each.
        classes: The forget classes.
        layers: Names, as in ``model.named_modules()``; ``probed_layers`` by default.

    Returns:
        For each layer ``"<layer>/forget_accuracy"`` and
        ``"<layer>/remaining_accuracy"``, percent of test images.

    Raises:
        ValueError: If there is no such layer.
    """
    layers = probed_layers(model, data) if layers is None else layers
    if len(layers) == 0:
        raise ValueError(
            f"no top-level layer of {type(model).__name__} gives a tensor [N, …] that "
            "is more than a linear map of the pixels; name the layers to probe, as in "
            "model.named_modules()"
        )
    learned = features_of(model, data, data.train, layers)
    asked = halves(data, classes)
    features = {w: features_of(model, data, part, layers) for w, part in asked.items()}
    found = {}
    for layer in layers:
        probe = fitted_probe(learned[layer], data.train.labels)
        for whose, part in asked.items():
            answers = torch.as_tensor(probe.predict(features[whose][layer].numpy()))
            right = percent_of(answers == part.labels.cpu())
            found[f"{layer}/{whose}_accuracy"] = right
    return found


def probed_layers(model: nn.Module, data: ImageData) -> tuple[str, ...]:
    """Names of the top-level layers that are more than a linear map of the pixels.

    From such a map, as a first linear layer or convolution is, a probe reads what it
    would from the pixels, in every network. It is known by what it computes: halfway
    between two images it gives the mean of what it gives for both.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        data: Gives the input shape.

    Returns:
        Those of ``layers_of`` that bend, in its order.
    """
    names = layers_of(model, data)  # refuses what is no network
    layers = {n: layer for n, layer in model.named_modules() if n in names}
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn(2, 8, *data.input_shape, generator=generator)
    inputs = torch.cat([one, two, (one + two) / 2]).to(device_of(model))
    bent: dict[str, bool] = {}

    def see(name: str, _: tuple, output: Tensor) -> None:
        one, two, between = output.double().chunk(3)
        error = (between - (one + two) / 2).abs().max()
        # More than rounding. Of differences: a bias may be -10,000.
        bent[name] = bool(error > 1e-3 * (one - two).abs().max())

    with watched(layers, see):
        check_outputs(model, inputs, data.n_classes)
    return tuple(name for name in names if bent.get(name))


def fitted_probe(features: Tensor, labels: Tensor) -> object:
    """Multinomial logistic regression on standardised features.

    Args:
        features: Shape ``[N, D]``; where N and D are above 200, their first 200
            principal components on these N images are standardised in their place.
        labels: Class indices of shape ``[N]``.

    Returns:
        A scikit-learn pipeline, whose ``predict`` takes ``[M, D]``. Its loss is the sum
        of cross-entropies plus half the squared norm of the weights.
    """
    few = min(features.shape) > MOST_COMPONENTS
    first = [PCA(MOST_COMPONENTS, random_state=0)] if few else []
    regression = LogisticRegression(tol=1e-5, max_iter=1000)
    probe = make_pipeline(*first, StandardScaler(), regression)
    # Many small products: more threads than free cores make them fifty times slower.
    with threadpool_limits(1), warnings.catch_warnings():
        # Where a layer separates the classes, the loss falls on long after the answers
        # have settled.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(features.numpy(), labels.cpu().numpy())
