"""What is asked of any network, wherever it comes from, and how it is run.

Architectures are in ``mnemonic.models``.

Example:
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    >>> check_outputs(network, torch.rand(2, 1, 4, 4)).shape
    torch.Size([2, 3])
    >>> last_layer(network, (1, 4, 4))[0]
    '1'
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mnemonic.checks import checked_seed
from mnemonic.running import evaluation_mode, taken


class NotFinite(ValueError):
    """A network answers NaN or infinity."""


def check_outputs(
    model: nn.Module,
    inputs: Tensor,
    n_classes: int | None = None,
    *,
    what: str = "inputs",
    gradients: bool = False,
    logits: bool = True,
) -> Tensor:
    """Make sure that the network maps ``[N, C, H, W]`` to finite logits ``[N, K]``.

    Where memory runs out, the error is that of torch or of the system.

    Args:
        model: Any classifier. It is run in evaluation mode.
        inputs: Inputs of shape ``[N, C, H, W]``, on the network's device.
        n_classes: ``K``, where it is known.
        what: Name of the inputs, for the error.
        gradients: Keep what a backward pass needs.
        logits: Whether a loss follows: where it is of probabilities, there is a
            ``RuntimeWarning``.

    Returns:
        Its output.

    Raises:
        NotFinite: A ``ValueError``, if its output is not finite.
        ValueError: If it fails, or its output is not ``[N, K]``.
    """
    _check_network(model)
    try:
        with evaluation_mode(model), torch.set_grad_enabled(gradients):
            output = model(taken(model, inputs))
    except Exception as error:  # whatever a layer raises at what it cannot take
        if is_out_of_memory(error):  # no fault of the inputs: fewer may do
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{type(model).__name__} cannot take {what} of shape "
            f"{list(inputs.shape)}: {reason}; give it {what} of the shape and type "
            "that it was built for, or build it for these"
        ) from error
    shape = list(output.shape) if isinstance(output, Tensor) else type(output)
    if (
        not isinstance(output, Tensor)
        or output.ndim != 2
        or shape != [len(inputs), n_classes or shape[1]]
    ):
        raise ValueError(
            f"{type(model).__name__} gives {shape} where logits [N, K] = "
            f"[{len(inputs)}, {n_classes or 'K'}] are needed; wrap it so that it "
            "returns one row of K logits an image"
        )
    if not torch.isfinite(output).all():
        raise NotFinite(
            f"{type(model).__name__} gives NaN or infinite logits; "
            "its weights are damaged or its training diverged: train it again, perhaps "
            "with a smaller learning rate"
            if torch.isfinite(inputs).all()
            else f"the {what} are NaN or infinite; give finite ones"
        )
    if logits and _are_probabilities(output):
        warnings.warn(
            f"{type(model).__name__} gives probabilities, and every loss here takes "
            "logits, so it means another thing; leave out the softmax or sigmoid",
            RuntimeWarning,
            stacklevel=3,
        )
    return output


def _are_probabilities(output: Tensor) -> bool:
    if output.grad_fn is not None and output.grad_fn.name() == "SigmoidBackward0":
        return True
    if not (output >= 0).all():
        return False
    sums, rounding = output.detach().float().sum(1), torch.finfo(output.dtype).eps
    return bool(((sums - 1).abs() < rounding**0.5).all())


def check_trainable(model: nn.Module) -> None:
    """Make sure that the network has a weight that may move."""
    _check_network(model)
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"{type(model).__name__} has no trainable weight; set requires_grad on the "
            "weights that may move"
        )


def check_loss(model: nn.Module, loss: Tensor) -> None:
    """Make sure that a loss can be differentiated by the weights."""
    if not loss.requires_grad:
        check_trainable(model)
        raise ValueError(
            f"the output of {type(model).__name__} is cut off from its weights; its "
            "forward must not detach, nor run under no_grad"
        )


def _check_network(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"the network is {model!r}; give a torch.nn.Module, such as "
            "build_model('mlp', data)"
        )
    if any(map(is_lazy, model.parameters())):
        raise ValueError(
            f"{type(model).__name__} has lazy layers, without weights yet; run it "
            "once, as in model(data.inputs(data.test, slice(2))), to give them some"
        )
    if any(p.is_meta for p in model.parameters()):
        raise ValueError(
            f"{type(model).__name__} is on the meta device, without values; give it "
            "with its weights loaded on another"
        )


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
    _check_network(model)
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


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator, for code that knows no other, and restore it."""
    with torch.random.fork_rng():
        torch.manual_seed(checked_seed(seed))
        yield


def norms(model: nn.Module) -> list[nn.Module]:
    """Layers that normalise by statistics, of a batch or of all batches."""
    kind = nn.modules.batchnorm._NormBase
    return [m for m in model.modules() if isinstance(m, kind)]


def frozen_norms(model: nn.Module) -> list[nn.Module]:
    """Those of ``norms`` whose weights are all frozen."""
    trained = [(m, [p.requires_grad for p in m.parameters()]) for m in norms(model)]
    return [m for m, each in trained if each and not any(each)]


def device_of(model: nn.Module) -> torch.device:
    """Where the network's first parameter is; the CPU for one without any."""
    _check_network(model)
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the system had no memory left, as torch or Python say it."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "allocate memory" in str(error)


def double(values: Tensor) -> Tensor:
    """The values in float64; on the CPU where they are on an Apple GPU, without it."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given, so that a clock tells truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
