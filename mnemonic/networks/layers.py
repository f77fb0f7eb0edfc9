"""Layers of a network: the last one, those that normalise, and what passes through.

Example:
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    >>> last_layer(network, (1, 4, 4))[0]
    '1'
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from mnemonic.networks.asked import check_network, check_outputs, device_of


def last_layer(
    model: nn.Module, input_shape: tuple[int, int, int]
) -> tuple[str, nn.Linear]:
    """Find the linear layer whose outputs are the logits.

    By what it computes, not by its shape: a hidden layer may have K rows as well.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        input_shape: ``(C, H, W)``.

    Returns:
        Its name within the network, and the layer.

    A ``ValueError`` says that the logits come from something else.
    """
    # Many random inputs: on a single one, a ReLU behind the layer may change nothing.
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(64, *input_shape, generator=generator, device="cpu")
    return head_of(model, probe.to(device_of(model)), (nn.Linear,))[:2]


def head_of(
    model: nn.Module,
    inputs: Tensor,
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d),
) -> tuple[str, nn.Module, Tensor, Tensor]:
    """Find the layer whose outputs are the logits, and what goes into it.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        inputs: Several, since on a single one what stands behind the layer may change
            nothing.
        kinds: Linear layers, and convolutions with a kernel of 1×1, whose outputs'
            means over all positions are the logits.

    Returns:
        Its name, the layer, its features ``[N, D]`` of the inputs (means over
        positions), and the logits.

    Raises:
        ValueError: If the logits come from something else.
    """
    check_network(model)
    found: list[tuple[str, Tensor, Tensor]] = []
    # Of subclasses too, but for a cosine in the product's place.
    forwards = [kind.forward for kind in kinds]
    layers = {n: m for n, m in model.named_modules() if type(m).forward in forwards}

    def see(name: str, given: tuple, output: Tensor) -> None:
        found.append((name, given[0], output))

    with watched(layers, see):
        logits = check_outputs(model, inputs, logits=False)
    for name, given, output in reversed(found):
        layer = layers[name]
        if isinstance(layer, nn.Conv2d):
            if (
                layer.kernel_size != (1, 1)
                or layer.groups > 1
                or layer.stride != (1, 1)
            ):
                continue
            given, pooled = given.mean((2, 3)), output.mean((2, 3))
            same = pooled.shape == logits.shape and torch.allclose(pooled, logits, 1e-3)
        else:
            same = output.shape == logits.shape and torch.equal(output, logits)
        if same:
            return name, layer, given.detach(), logits
    raise ValueError(
        f"the logits of {type(model).__name__} are not the output of a linear layer; "
        "this method works on the last linear layer: take another method, or a network "
        "that ends in one"
    )


def norms(model: nn.Module) -> list[nn.Module]:
    """Layers that normalise by statistics, of a batch or of all batches."""
    kind = nn.modules.batchnorm._NormBase
    return [m for m in model.modules() if isinstance(m, kind)]


def frozen_norms(model: nn.Module) -> list[nn.Module]:
    """Those of ``norms`` whose weights are all frozen."""
    trained = [(m, [p.requires_grad for p in m.parameters()]) for m in norms(model)]
    return [m for m, each in trained if each and not any(each)]


@contextlib.contextmanager
def watched(
    layers: dict[str, nn.Module], see: Callable[[str, tuple, object], None]
) -> Iterator[None]:
    """Look at what goes into layers and comes out of them while a network runs.

    Args:
        layers: By name, as in ``model.named_modules()``.
        see: Called as ``see(name, inputs, output)`` whenever a layer has run, with what
            its forward was given by position. Gradients flow through both.

    Yields:
        Nothing; afterwards nobody looks.
    """
    handles = [
        layer.register_forward_hook(
            lambda _, inputs, output, name=name: see(name, inputs, output)
        )
        for name, layer in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
