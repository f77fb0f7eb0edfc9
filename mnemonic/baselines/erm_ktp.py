"""ERM-KTP (Lin et al. 2023, *Entanglement-Reduced Mask, Knowledge Transfer*).

Training. A mask M in [0, 1]^{channels × K} behind the last convolution (the last hidden
layer where there is none), 0.5 at first. In epochs e with e mod 3 = 2 the features pass
through the column of their true class, h ← h M[:, y], and the loss is

    CE + 1e-3 (relu(‖M‖_1 - 0.1 size(M)) + 0.1 Σ_{i<j} <M_i, M_j>);

in the others it is CE. After each step M ← clip(M / max_k M[channel, k], 0, 1).

Forgetting T. Channel gate b = 1 where M[channel, t] ≤ 0 for all t in T. A student with
random weights below the last layer; the last layer is the old one with its columns
times b and the rows and biases of T at 0, frozen. On D_R, min MSE(h_S, h_T) +
MSE(GAP(h_S), GAP(h_T b)). SGD 0.1, divided by 10 at 10 and 20 epochs of up to 200.
Costs up to a retraining.

The authors train everything at a rate of 0.1. The mask keeps that rate whatever the
recipe's is: at a slower one it does not come down from 0.5 to 0, no gate opens, and the
student has nothing to learn. Epochs are counted from 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.method import descend, method, sgd
from mnemonic.baselines.retrain import another
from mnemonic.networks import device_of, last_layer
from mnemonic.storage import generator_for

MASK_RATE = 0.1


class Masked(nn.Module):
    """A network with a mask ``[D, K]`` on what enters its last layer.

    A mask on channels before a mean over positions is the same mask after it.
    """

    def __init__(self, network: nn.Module, last: str, n_features: int, n_classes: int):
        super().__init__()
        self.network, self.last = network, last
        self.mask = nn.Parameter(torch.full((n_features, n_classes), 0.5))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, K]``, without the mask."""
        return self.network(inputs)

    def masked(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Logits ``[N, K]`` of features times the mask's column of the true class."""
        handle = self.network.get_submodule(self.last).register_forward_pre_hook(
            lambda _, features: (features[0] * self.mask.T[labels],)
        )
        try:
            return self(inputs)
        finally:
            handle.remove()

    def penalty(self) -> Tensor:
        """Sparse columns that do not overlap."""
        size = functional.relu(self.mask.abs().sum() - 0.1 * self.mask.numel())
        overlap = (self.mask.T @ self.mask).triu(1).sum()
        return size + 0.1 * overlap

    def clip(self) -> None:
        """Scale each channel to a largest entry of 1, and cut at 0 and 1."""
        with torch.no_grad():
            top = self.mask.amax(1, keepdim=True)
            self.mask.copy_((self.mask / top.clamp_min(1e-12)).clamp(0, 1))


def prepared(access: Access, seed: int) -> nn.Module:
    """Train a network with its mask."""
    recipe, network = access.how_to_train(), access.fresh(seed)
    if torch.cuda.is_available():
        network.cuda()
    device = device_of(network)
    name, layer = last_layer(network, access.data.input_shape)
    model = Masked(network, name, layer.in_features, access.n_classes).to(device)
    images = access.images("forget", "remaining")
    generator = generator_for("erm-ktp-training", seed, device)
    optimizer = sgd(
        model.train().network,
        recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    optimizer.add_param_group({"params": [model.mask]})
    steps = recipe.epochs * math.ceil(len(images.train) / recipe.batch_size)
    step = 0
    for epoch in range(recipe.epochs):
        for inputs, labels in images.shuffled(recipe.batch_size, generator):
            if epoch % 3 == 2:
                outputs = model.masked(inputs, labels)
                extra = 1e-3 * model.penalty()
            else:
                outputs, extra = model(inputs), 0.0
            rate = recipe.rate_at(step / steps)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.param_groups[1]["lr"] = MASK_RATE * rate / recipe.learning_rate
            optimizer.zero_grad()
            (functional.cross_entropy(outputs, labels) + extra).backward()
            optimizer.step()
            model.clip()
            step += 1
    return model


class Features:
    """What enters the last layer, and the feature map it is the mean of, if any."""

    def __init__(self, network: nn.Module, last: str):
        self.pooled = self.map = None
        self.handles = [
            layer.register_forward_hook(self._catch_map)
            for layer in network.modules()
            if not list(layer.children())
        ]
        self.handles.append(
            network.get_submodule(last).register_forward_pre_hook(self._catch_pooled)
        )

    def _catch_map(self, layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] > 1:
            self.map = output

    def _catch_pooled(self, layer: nn.Module, inputs: tuple) -> None:
        self.pooled = inputs[0]

    def of(self, network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The map (or the pooled features again), and the pooled features."""
        self.map = None
        network(inputs)
        whole = self.pooled if self.map is None else self.map
        return whole, self.pooled

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self.handles:
            handle.remove()


@method(
    "erm-ktp",
    title="ERM-KTP",
    reads=("remaining",),
    cites=("lin2023ermktp",),
    space={
        "learning_rate": (0.1, 0.3, 1.0, 3.0),
        "epochs": (20,),
        "batch_size": (64, 256),
    },
    preparation=prepared,
)
def erm_ktp(
    model: nn.Module,
    access: Access,
    seed: int,
    *,
    learning_rate: float = 0.1,
    epochs: int = 20,
    batch_size: int = 256,
) -> nn.Module:
    """Distil all but the masked channels into a fresh network."""
    if not isinstance(model, Masked):
        raise ValueError(
            f"ERM-KTP needs the mask that it trains, and {type(model).__name__} has "
            'none; train with METHODS["erm-ktp"].prepare(access, seed=seed)'
        )
    device, classes = device_of(model), list(access.classes)
    gate = (model.mask[:, classes] <= 0).all(1).float()  # [D]
    teacher = model.network.eval()
    student = access.fresh(another(seed, "erm-ktp")).to(device)
    old, new = (n.get_submodule(model.last) for n in (teacher, student))
    with torch.no_grad():
        for to, start in zip(new.parameters(), old.parameters(), strict=True):
            to.copy_(start)
            to[classes] = 0
        new.weight *= gate
    new.requires_grad_(False)
    images = access.images("remaining")
    generator = generator_for("erm-ktp", seed, device)
    below = [p for p in student.train().parameters() if p.requires_grad]
    optimizer = sgd(below, learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [10, 20])
    taps = Features(teacher, model.last), Features(student, model.last)

    def loss(inputs: Tensor, _: Tensor) -> Tensor:
        with torch.no_grad():
            aim, pooled = taps[0].of(teacher, inputs)
        made, made_pooled = taps[1].of(student, inputs)
        whole = functional.mse_loss(made, aim)
        return whole + functional.mse_loss(made_pooled, pooled * gate)

    for _ in range(epochs):
        descend(loss, images.shuffled(batch_size, generator), optimizer)
        schedule.step()
    for tap in taps:
        tap.remove()
    return student.requires_grad_(True)
