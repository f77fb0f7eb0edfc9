"""Training, with or without mnemonic codes: one loop for everything that trains.

The loop is Algorithm 1 of Yamashita et al. 2024: stochastic gradient descent on the
cross-entropy, where each image gives way to the code of its class with probability
t_mix. Lightning Fabric takes care of device, precision and processes. What trains by
another loss, or changes weights after each step, says so and uses the same loop.

Example:
    >>> from mnemonic.models import build_model
    >>> from mnemonic.data.sources import load_data
    >>> data = load_data("mnist-5k")
    >>> model = build_model("mlp", data, seed=0)
    >>> history = train(model, data, recipe=Recipe(epochs=2), progress=False)
    >>> history.losses[1] < history.losses[0]
    True
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.networks.asked import (
    NotFinite,
    check_loss,
    check_outputs,
    device_of,
)
from mnemonic.networks.layers import frozen_norms, watched
from mnemonic.networks.running import seeded, taken, undisturbed
from mnemonic.storage import generator_for
from mnemonic.training.arguments import checked_arguments
from mnemonic.training.recipe import Recipe
from mnemonic.training.resuming import State, go_on_from, state_of

if TYPE_CHECKING:
    from lightning.fabric import Fabric

KEPT_EVERY = 60  # seconds, at the end of an epoch


@dataclass(frozen=True)
class History:
    """What training left behind.

    Attributes:
        losses: Mean training loss of each epoch, in nats, codes included.
        seconds: Wall clock.
    """

    losses: tuple[float, ...]
    seconds: float


def summed_cross_entropy(
    model: nn.Module, inputs: Tensor, labels: Tensor, epoch: int
) -> Tensor:
    """Cross-entropy summed over images ``[N, C, H, W]``, in nats."""
    return functional.cross_entropy(model(inputs), labels, reduction="sum")


def train(
    model: nn.Module,
    data: ImageData,
    *,
    recipe: Recipe | None = None,
    codes: MnemonicCodes | None = None,
    t_mix: float = 0.0,
    loss: Callable[..., Tensor] = summed_cross_entropy,
    after_step: Callable[[nn.Module], None] | None = None,
    seed: int = 0,
    fabric: Fabric | None = None,
    progress: bool = True,
    resume: State | None = None,
    keep: Callable[[State], None] | None = None,
) -> History:
    """Train a network in place (Algorithm 1).

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``. It ends in evaluation mode,
            on the device that it came from.
        data: Its ``train`` split is used, its other splits are not read.
        recipe: Epochs, batch size and optimiser; the paper's for MNIST by default.
        codes: Mnemonic codes, one per class; required if ``t_mix`` is above 0.
        t_mix: Probability in [0, 1] that an image gives way to its class's code.
        loss: What to go down, ``loss(model, inputs, labels, epoch)``: a scalar, summed
            over the images given, since processes share a batch; divided by the
            number of images in the batch here. Epochs count from 0.
        after_step: Called with the network after each step, to change its weights.
        seed: Of the order, the augmentation and the substitution; what ``loss`` draws
            from torch's global generator follows it too.
        fabric: Where and how to compute; one device, the best there is, by default.
            One with several processes is launched by the caller; each takes its share
            of every batch, and the steps are those of one process (dropout, and
            BatchNorm's statistics of a batch, are each process's own).
        progress: Show a bar.
        resume: State of this very training after some epoch, to go on from; the bits
            that come out are those of an undisturbed one.
        keep: Called with the state at the end of an epoch, once a minute at most.

    Returns:
        Loss per epoch and the time it took.

    Raises:
        NotFinite: A ``ValueError``, if the loss is not finite.

    A ``ValueError`` says what of settings, codes or network does not fit.
    """
    recipe, t_mix, seed = checked_arguments(model, data, recipe, codes, t_mix, seed)
    if fabric is None:
        from lightning.fabric import Fabric  # here, since it takes seconds to import

        precision = {"32": "32-true", "bf16": "bf16-mixed"}[recipe.precision]
        fabric = Fabric(accelerator="auto", devices=1, precision=precision)
    device, home = fabric.device, device_of(model)
    probe = torch.zeros(2, *data.input_shape, device=device)
    check_outputs(model.to(device), probe, data.n_classes, gradients=True)
    if any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
        model.to(memory_format=torch.channels_last)  # as convolutions like it
    data = data.to(device)
    codes = codes.to(device) if codes is not None else None
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
        # One kernel a step: a third less time for the MLP on a CPU. It fails where a
        # weight has its first gradient later than others, as another loss may have it.
        fused=loss is summed_cross_entropy,
    )
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    generator = generator_for("training", seed, device)
    how = {"batch_size": recipe.batch_size, "device": device, "generator": generator}
    steps = recipe.epochs * math.ceil(len(data.train) / recipe.batch_size)
    started, losses, kept_at = time.perf_counter(), [], time.perf_counter()
    wrapped.train()
    for layer in frozen_norms(model):
        layer.eval()  # it keeps its statistics, too
    # Seeded: dropout and the like draw from the global generator.
    with undisturbed(), seeded(seed), watched({"": model}, _check_one_output):
        if resume is not None:
            losses, before = go_on_from(resume, model, optimizer, generator)
            started -= before
        step = len(losses) * (steps // recipe.epochs)
        shown = progress and fabric.is_global_zero
        epochs = range(len(losses), recipe.epochs)
        epochs = tqdm(
            epochs, "training", recipe.epochs, initial=len(losses), disable=not shown
        )
        for epoch in epochs:
            total = torch.zeros((), device=device)
            for inputs, labels in data.batches(data.train, augment=True, **how):
                if t_mix > 0:
                    inputs = codes.substitute(inputs, labels, t_mix, generator)
                # Every process draws the same batch and computes on a part of it. The
                # mean over processes of these losses is the mean over the batch.
                share = slice(fabric.global_rank, None, fabric.world_size)
                optimizer.param_groups[0]["lr"] = recipe.rate_at(step / steps)
                given = taken(model, inputs[share]), labels[share]
                with _told(recipe.batch_size, len(data.train)):
                    summed = loss(wrapped, *given, epoch)
                mean = fabric.world_size * (summed / len(labels))
                check_loss(model, mean)
                wrapped_optimizer.zero_grad()
                fabric.backward(mean)
                wrapped_optimizer.step()
                if after_step is not None:
                    after_step(model)
                total += mean.detach() * len(labels)
                step += 1
            total = fabric.all_reduce(total, reduce_op="mean")
            losses.append(float(total) / len(data.train))
            epochs.set_postfix(loss=f"{losses[-1]:.3f}")
            if not math.isfinite(losses[-1]):
                raise NotFinite(
                    f"the loss is {losses[-1]} after epoch {len(losses)}: training "
                    f"diverged; try a learning rate below {recipe.learning_rate}"
                )
            now = time.perf_counter()
            if keep is not None and now - kept_at >= KEPT_EVERY:
                keep(state_of(model, optimizer, generator, losses, now - started))
                kept_at = now
    model.to(home).eval()
    return History(tuple(losses), time.perf_counter() - started)


def _check_one_output(_: str, __: tuple, output: object) -> None:
    if not isinstance(output, Tensor):
        raise ValueError(
            f"the network gives a {type(output).__name__} while it trains, where logits"
            " are needed; build it without auxiliary heads, or wrap it so that it "
            "returns its main output alone"
        )


@contextlib.contextmanager
def _told(batch_size: int, n: int) -> Iterator[None]:
    """Say what to do where BatchNorm meets a single image."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"batches of {batch_size} of {n} images leave one for the last batch, too "
            "few for BatchNorm; give the recipe another batch_size"
        ) from error
