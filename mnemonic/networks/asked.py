"""What is asked of any network, wherever it comes from.

Architectures are in ``mnemonic.models``.

Example:
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    >>> check_outputs(network, torch.rand(2, 1, 4, 4)).shape
    torch.Size([2, 3])
"""

import warnings

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mnemonic.networks.running import evaluation_mode, taken


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
    check_network(model)
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
    check_network(model)
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


def check_network(model: object) -> None:
    """Make sure that this is a network, with weights that have values."""
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


def device_of(model: nn.Module) -> torch.device:
    """Where the network's first parameter is; the CPU for one without any."""
    check_network(model)
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the system had no memory left, as torch or Python say it."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "allocate memory" in str(error)
