"""Linear CKA: how alike two networks see the same images.

With the centred features X and Y of the same images in two networks, CKA =
||Yᵀ X||² / (||Xᵀ X|| ||Yᵀ Y||), Frobenius norms: 1 for equal geometry, whatever the
rotation and scale (Kornblith et al. 2019).

Example:
    >>> g = torch.Generator().manual_seed(0)
    >>> x = torch.randn(50, 8, generator=g)
    >>> turned = 3 * x @ torch.linalg.qr(torch.randn(8, 8, generator=g)).Q
    >>> round(cka(x, turned).value, 6)
    1.0
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnemonic.audits.estimates import Estimate, rows_of
from mnemonic.audits.outputs import features_of, layers_of, part_of
from mnemonic.checks import checked_tensors
from mnemonic.data.arrays import ImageData
from mnemonic.storage import generator_for

MOST_IMAGES = 500  # of a CKA: its matrices are of their number squared


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
