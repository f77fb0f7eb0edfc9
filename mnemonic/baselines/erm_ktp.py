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

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.gradients import descend, sgd
from mnemonic.baselines.method import method
from mnemonic.baselines.retrain import another
from mnemonic.baselines.space import Range
from mnemonic.networks.asked import device_of
from mnemonic.networks.layers import last_layer, watched

MASK_RATE = 0.1


class Masked(nn.Module):
    """A network with a mask ``[D, K]`` on what enters its last layer.

    A mask on channels before a mean over positions is the same mask after it.
    """

    def __init__(self, network: nn.Module, last: str, n_features: int, n_classes: int):
        super().__init__()
        self.network, self.last = network, last
        self.mask = nn.Parameter(torch.full((n_features, n_classes), 0.5))
        before = self.mask.detach().clone()  # what the next step starts from
        self.register_buffer("before", before, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, K]``, without the mask."""
        return self.network(inputs)

    def masked(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Logits ``[N, K]`` of features times the mask's column of the true class."""
        _, given = features(self.network, self.last, inputs)
        return self.network.get_submodule(self.last)(given * self.mask.T[labels])

    def penalty(self) -> Tensor:
        """Sparse columns that do not overlap."""
        size = functional.relu(self.mask.abs().sum() - 0.1 * self.mask.numel())
        overlap = (self.mask.T @ self.mask).triu(1).sum()
        return size + 0.1 * overlap

    @torch.no_grad()
    def clip(self, pace: float = 1.0) -> None:
        """Make the last step ``pace`` times as long, and cut at 0 and 1.

        Each channel is scaled to a largest entry of 1 in between.
        """
        self.mask.copy_(self.before + pace * (self.mask - self.before))
        top = self.mask.amax(1, keepdim=True)
        self.mask.copy_((self.mask / top.clamp_min(1e-12)).clamp(0, 1))
        self.before.copy_(self.mask)


def prepared(access: Access, seed: int) -> nn.Module:
    """Train a network with its mask."""
    network = access.fresh(seed)
    name, layer = last_layer(network, access.data.input_shape)
    model = Masked(network, name, layer.in_features, access.n_classes)
    pace = MASK_RATE / access.how_to_train().learning_rate

    def loss(_: nn.Module, inputs: Tensor, labels: Tensor, epoch: int) -> Tensor:
        if epoch % 3 != 2:
            return functional.cross_entropy(model(inputs), labels, reduction="sum")
        outputs = model.masked(inputs, labels)
        mean = functional.cross_entropy(outputs, labels) + 1e-3 * model.penalty()
        return mean * len(inputs)

    how = {"loss": loss, "after_step": lambda _: model.clip(pace)}
    return access.trained(access.images("forget", "remaining"), seed, model, **how)


def features(network: nn.Module, last: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The last feature map, and what enters the last layer; twice that without one."""
    seen = {}

    def see(name: str, given: tuple, output: object) -> None:
        if name == last:
            seen["pooled"] = given[0]
        elif isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] > 1:
            seen["map"] = output

    leaves = {n: m for n, m in network.named_modules() if not list(m.children())}
    with watched(leaves, see):
        network(inputs)
    return seen.get("map", seen["pooled"]), seen["pooled"]


@method(
    "erm-ktp",
    title="ERM-KTP",
    reads={"remaining"},
    cites=("lin2023ermktp",),
    space={"learning_rate": Range(0.03, 3.0)},
    preparation=prepared,
)
def erm_ktp(
    model: nn.Module,
    access: Access,
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
    student = access.fresh(another(access.seed, "erm-ktp")).to(device)
    old, new = (n.get_submodule(model.last) for n in (teacher, student))
    new.load_state_dict(old.state_dict())
    for p in new.requires_grad_(False).parameters():
        p[classes] = 0
    new.weight *= gate
    images = access.images("remaining")
    optimizer = sgd(student.train(), learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [10, 20])

    def loss(inputs: Tensor, _: Tensor) -> Tensor:
        with torch.no_grad():
            aim, pooled = features(teacher, model.last, inputs)
        made, made_pooled = features(student, model.last, inputs)
        whole = functional.mse_loss(made, aim)
        return whole + functional.mse_loss(made_pooled, pooled * gate)

    for _ in range(epochs):
        descend(loss, images.shuffled(batch_size, access.generator), optimizer)
        schedule.step()
    return student.requires_grad_(True)
