"""The state of a training at the end of an epoch, from which it can go on.

What the next epoch depends on: weights and buffers, momentum, and the streams of random
numbers. A training of hours is kept so, and a broken one loses its last epoch alone.
"""

import json

import torch
from torch import Tensor, nn

State = tuple[dict[str, Tensor], str]  # tensors by name; losses and seconds as JSON


def state_of(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    generator: torch.Generator,
    losses: list[float],
    seconds: float,
) -> State:
    """Copies of all that the next epoch depends on.

    Args:
        model: In training.
        optimizer: Of its parameters.
        generator: Of order, augmentation and substitution.
        losses: Of the epochs so far.
        seconds: They took.

    Returns:
        The state, for ``go_on_from``.
    """
    tensors = {f"weight {name}": t for name, t in model.state_dict().items()}
    for i, p in enumerate(model.parameters()):
        if "momentum_buffer" in optimizer.state[p]:
            tensors[f"momentum {i}"] = optimizer.state[p]["momentum_buffer"]
    tensors |= {f"random {i}": t for i, t in enumerate(_streams(generator))}
    copies = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    return copies, json.dumps([losses, seconds])


def go_on_from(
    state: State,
    model: nn.Module,
    optimizer: torch.optim.SGD,
    generator: torch.Generator,
) -> tuple[list[float], float]:
    """Put a state in place.

    Args:
        state: Of the same training.
        model: Gets the weights, as do ``optimizer`` and ``generator`` what is theirs.
        optimizer: As in ``state_of``.
        generator: As in ``state_of``.

    Returns:
        Losses of the epochs so far, and the seconds they took.
    """
    tensors, told = state
    model.load_state_dict({n: tensors[f"weight {n}"] for n in model.state_dict()})
    for i, p in enumerate(model.parameters()):
        if f"momentum {i}" in tensors:
            buffer = torch.empty_like(p).copy_(tensors[f"momentum {i}"])
            optimizer.state[p]["momentum_buffer"] = buffer.detach()
    generator.set_state(tensors["random 0"])
    torch.set_rng_state(tensors["random 1"])
    if "random 2" in tensors:
        torch.cuda.set_rng_state(tensors["random 2"])
    losses, seconds = json.loads(told)
    return losses, seconds


def _streams(generator: torch.Generator) -> list[Tensor]:
    of_gpu = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [generator.get_state(), torch.get_rng_state(), *of_gpu]
