"""What the features of a network still hold of a class that its answers deny.

- Linear probe (Alain and Bengio 2017): the network is frozen; a multinomial logistic
  regression on the standardised features of one layer learns all K classes from the
  training images. Its accuracy on test images of the forget class is what can be read
  there. A network that never saw the class is not at chance either: the finding is the
  probe of the forgotten network less that of the retrained one. Of more than 200
  features the 200 first principal components are read: on the networks of chapter 6
  two points more of the class, and at most four, than all 1,000 give, in a fifth of
  the time.
- Linear CKA (Kornblith et al. 2019): with the centred features X and Y of the same
  images in two networks, CKA = ||Yᵀ X||² / (||Xᵀ X|| ||Yᵀ Y||), Frobenius norms: 1 for
  equal geometry, whatever the rotation and scale.

Example:
    >>> import mnemonic as mn
    >>> data, g = mn.load_data("mnist-5k"), torch.Generator().manual_seed(0)
    >>> x = torch.randn(50, 8, generator=g)
    >>> turned = 3 * x @ torch.linalg.qr(torch.randn(8, 8, generator=g)).Q
    >>> round(cka(x, turned).value, 6)
    1.0
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

from mnemonic.audits.estimates import Estimate, percent_of, rows_of
from mnemonic.audits.outputs import features_of, halves, layers_of, part_of
from mnemonic.checks import checked_tensors
from mnemonic.data.arrays import ImageData
from mnemonic.networks import check_outputs, device_of, watched
from mnemonic.storage import generator_for

MOST_COMPONENTS = 200  # of a probe
MOST_IMAGES = 500  # of a CKA: its matrices are of their number squared


def linear_probes(
    model: nn.Module,
    data: ImageData,
    classes: Sequence[int],
    *,
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Estimate]:
    """What a linear classifier reads in each layer.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; frozen, in evaluation mode.
        data: All K classes: the attacker has labelled images of each.
        classes: The forget classes.
        layers: Names, as in ``model.named_modules()``; ``probed_layers`` by default.
        seed: Of the resamples of test images; the probe itself has no chance.

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
            right = percent_of(answers == part.labels.cpu(), seed=seed)
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


def feature_similarity(
    model: nn.Module,
    other: nn.Module,
    data: ImageData,
    classes: Sequence[int],
    *,
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Linear CKA of the same layers of two networks, on test images.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        other: Another one; widths may differ.
        data: Of the same classes.
        classes: The forget classes.
        layers: Names in both networks; by default the top-level layers that compute
            something in both.
        seed: Of the choice of images where there are more than 500.

    Returns:
        For each layer ``"<layer>/forget"`` (images of the forget classes) and
        ``"<layer>/all"``; nothing where no layers of the two have the same name.

    A ``ValueError`` says what of networks, data, classes, layers or seed does not fit.
    """
    if layers is None:
        theirs = layers_of(other, data)
        layers = [name for name in layers_of(model, data) if name in theirs]
    generator = generator_for("similarity", seed)
    found = {}
    parts = {"forget": part_of(data, "test", classes), "all": data.test}
    for whose, part in parts.items():
        chosen = torch.randperm(len(part), generator=generator)[:MOST_IMAGES]
        part = part.take(chosen.sort().values.to(part.labels.device))
        one, two = (features_of(m, data, part, layers) for m in (model, other))
        for layer in layers:
            found[f"{layer}/{whose}"] = cka(one[layer], two[layer])
    return {name: found[name] for name in sorted(found)}


def cka(one: Tensor, two: Tensor) -> Estimate:
    """Linear CKA of the features of the same images.

    With few images in many dimensions it is above 0 even for unrelated features; read
    it beside that of two retrained networks.

    Args:
        one: Shape ``[N, D]``.
        two: Shape ``[N, E]``.

    Returns:
        A number in [0, 1]; 0 where all features of one are the same. The interval is
        1.96 standard errors of the jackknife: a bootstrap repeats images, and a
        repeated image is similar to itself in every network.

    Raises:
        ValueError: If the numbers of images differ or are below 3, or a feature is not
            finite.
    """
    checked_tensors(2, one=one)
    checked_tensors(2, two=two)
    if len(one) != len(two) or len(one) < 3:
        raise ValueError(
            f"features of shape {list(one.shape)} and {list(two.shape)}; give [N, D] "
            "and [N, E] of the same 3 or more images"
        )
    k, m = (_gram(rows_of(features)) for features in (one, two))  # [N, N]
    n = len(one)
    products = [_hsic(a, b) for a, b in ((k, m), (k, k), (m, m))]  # [1 + N]
    norms = (products[1] * products[2]).clamp_min(0).sqrt()
    values = torch.where(norms > 1e-12, products[0] / norms, 0.0).clamp(0, 1)
    value, jackknifed = float(values[0]), values[1:]
    error = ((n - 1) / n * (jackknifed - jackknifed.mean()).square().sum()).sqrt()
    low, high = (max(min(value + z * float(error), 1.0), 0.0) for z in (-1.96, 1.96))
    return Estimate(value, low, high, "1", n)


def _gram(features: Tensor) -> Tensor:
    """Inner products of centred rows, of mean square 1: scale has no say in CKA."""
    centred = features - features.mean(0)
    size = centred.square().sum(1).mean()
    return centred @ centred.T / size.clamp_min(1e-300)


def _hsic(k: Tensor, m: Tensor) -> Tensor:
    """Mean product of centred Gram matrices: of all images, then without each, [1 + N].

    Σ K M / n² - 2 Σ_j (Σ_i K_ij) (Σ_i M_ij) / n³ + Σ K Σ M / n⁴, in which leaving an
    image out is a subtraction.

    Args:
        k: Shape ``[N, N]``.
        m: Shape ``[N, N]``.

    Returns:
        Shape ``[1 + N]``.
    """
    both, k1, m1 = (k * m).sum(1), k.sum(1), m.sum(1)  # [N]
    kii, mii = k.diagonal(), m.diagonal()
    n, rest = len(k), len(k) - 1
    whole = both.sum() / n**2 - 2 * k1 @ m1 / n**3 + k1.sum() * m1.sum() / n**4
    products = both.sum() - 2 * both + kii * mii
    rows = k1 @ m1 - k @ m1 - m @ k1 + both - (k1 - kii) * (m1 - mii)
    sums = (k1.sum() - 2 * k1 + kii) * (m1.sum() - 2 * m1 + mii)
    without = products / rest**2 - 2 * rows / rest**3 + sums / rest**4
    return torch.cat([whole[None], without])
