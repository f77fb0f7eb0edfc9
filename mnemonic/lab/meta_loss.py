"""MetaUnlearn: a loss that is learned, so that one step on it forgets a person.

De Min, Mancini, Lathuilière, Roy, Ricci (TMLR 2025). A small network h_φ is shown a
drawing x of person i with label y by what the classifier makes of it,

    u = [softmax f_θ(x); features of x; y one-hot; e_i],    M_φ(S; θ) = mean of h_φ(u),

with e_i a vector learned for each person. The request is one step on M_φ:

    θ_u = θ - rate ∇_θ M_φ(S; θ).

φ is trained on requests that are played with people of the training set. S is one
drawing of each, D those of theirs that were trained on, V drawings of strangers, and
nothing flows back through the losses L of strangers:

    A(φ) = d(L(D; θ_u), L(V; θ_u)) + d(L(D; θ_u), L(V; θ)).

d is the smooth L1 of the authors' experiments, where their pseudocode has the square.
With ``keep`` a third term of ours stands beside the two, for drawings R of those who
ask for nothing: keep · d(L(R; θ_u), L(R; θ)).

Written from the equations. Ours are: a softmax for classes, where the authors' several
attributes go through a sigmoid; S from drawings that were not trained on; a smaller h_φ
without dropout; the gradient for φ cut to length 1, else single requests lead it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from mnemonic.networks.running import seeded
from mnemonic.storage import generator_for


@dataclass(frozen=True, eq=False)
class Shown:
    """Drawings as a network is shown them.

    Attributes:
        inputs: Normalised, ``[N, 1, S, S]``.
        labels: Classes ``[N]``.
        writers: Who made them, ``[N]``.
    """

    inputs: Tensor
    labels: Tensor
    writers: Tensor

    def take(self, chosen: Tensor) -> "Shown":
        """Some of them, by position or by a mask."""
        return Shown(self.inputs[chosen], self.labels[chosen], self.writers[chosen])


class MetaLoss(nn.Module):
    """h_φ, and e_i for every writer.

    Args:
        classifier: Ends in a linear layer; its input are the features.
        n_writers: How many e_i there are.
        blind_to: Parts of u that it does not see, for ablations: ``"answers"``,
            ``"features"``, ``"label"``, ``"identity"``.
        hidden: Width of h_φ.
        identity: Length of e_i.
    """

    def __init__(
        self,
        classifier: nn.Sequential,
        n_writers: int,
        *,
        blind_to: tuple[str, ...] = (),
        hidden: int = 64,
        identity: int = 16,
    ):
        super().__init__()
        self.blind_to = blind_to
        head = classifier[-1]
        self.identity = nn.Embedding(n_writers, identity)
        self.network = nn.Sequential(
            nn.Linear(2 * head.out_features + head.in_features + identity, hidden),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, 1),
            nn.Softplus(),
        )

    def forward(self, classifier: nn.Sequential, drawn: Shown) -> Tensor:
        """M_φ(S; θ), a scalar, for the drawings S and the classifier with weights θ."""
        features = classifier[:-1](drawn.inputs)  # [N, D]
        logits = classifier[-1](features)  # [N, K]
        parts = {
            "answers": logits.softmax(1),
            "features": features,
            "label": functional.one_hot(drawn.labels, logits.shape[1]).float(),
            "identity": self.identity(drawn.writers),
        }
        seen = [v * (name not in self.blind_to) for name, v in parts.items()]
        return self.network(torch.cat(seen, 1)).mean()


def one_step(
    classifier: nn.Sequential,
    loss: Tensor,
    rate: float,
    *,
    differentiable: bool = False,
) -> dict[str, Tensor]:
    """Weights after one step of gradient descent, θ - rate ∇_θ loss.

    Args:
        classifier: With weights θ, which stay as they are.
        loss: A scalar that depends on them, such as M_φ.
        rate: Of the step.
        differentiable: Whether gradients may flow back through the step.

    Returns:
        The new weights by name.
    """
    weights = dict(classifier.named_parameters())
    slopes = torch.autograd.grad(
        loss, list(weights.values()), create_graph=differentiable
    )
    moved = zip(weights.items(), slopes, strict=True)
    return {name: w - rate * slope for (name, w), slope in moved}


def losses(
    classifier: nn.Sequential, weights: dict[str, Tensor], drawn: Shown
) -> Tensor:
    """Mean cross-entropy, in nats, of drawings under other weights."""
    logits = functional_call(classifier, weights, (drawn.inputs,))
    return functional.cross_entropy(logits, drawn.labels)


def meta_trained(
    classifier: nn.Sequential,
    known: Shown,
    spare: Shown,
    strangers: Shown,
    seed: int,
    *,
    people: int = 8,
    rate: float = 0.01,
    epochs: int = 25,
    learning_rate: float = 2e-3,
    terms: tuple[float, float] = (1.0, 1.0),
    keep: float = 0.0,
    blind_to: tuple[str, ...] = (),
    batch: int = 96,
) -> MetaLoss:
    """Train M_φ on requests that are played with the people of the training set.

    Args:
        classifier: Trained; it stays as it is.
        known: What it was trained on.
        spare: Drawings of the same people, from which S is drawn; it was not trained on
            these, as it will not have been on what is handed in.
        strangers: Drawings V of people who are in no training set.
        seed: Of φ and of the requests.
        people: How many ask at once.
        rate: Of the one step.
        epochs: Times that every person asks.
        learning_rate: Of Adam, at the start; it falls to 0 as a cosine.
        terms: Weights of the two terms of A.
        keep: Weight of the third.
        blind_to: As in ``MetaLoss``.
        batch: Drawings at most in each of D, V and R.

    Returns:
        The learned loss, in evaluation mode.
    """
    generator = generator_for("meta-loss", seed)
    everybody = known.writers.unique()
    with seeded(seed):
        meta = MetaLoss(classifier, int(everybody.max()) + 1, blind_to=blind_to)
    optimizer = torch.optim.Adam(meta.parameters(), lr=learning_rate)
    steps = epochs * (len(everybody) // people)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    now = {name: w.detach() for name, w in classifier.named_parameters()}

    def some(drawn: Shown, n: int = batch) -> Shown:
        return drawn.take(torch.randperm(len(drawn.labels), generator=generator)[:n])

    for _ in range(epochs):
        order = everybody[torch.randperm(len(everybody), generator=generator)]
        for asked in order.split(people):
            if len(asked) < people:
                continue
            ones = [some(spare.take(spare.writers == w), 1) for w in asked]
            support = Shown(
                torch.cat([one.inputs for one in ones]),
                torch.cat([one.labels for one in ones]),
                torch.cat([one.writers for one in ones]),
            )
            others = some(known.take(torch.isin(known.writers, asked)))
            after = one_step(
                classifier, meta(classifier, support), rate, differentiable=True
            )
            forgotten = losses(classifier, after, others)
            unseen = some(strangers)
            with torch.no_grad():
                targets = [losses(classifier, w, unseen) for w in (after, now)]
            far = [functional.smooth_l1_loss(forgotten, t) for t in targets]
            aim = terms[0] * far[0] + terms[1] * far[1]
            if keep:
                rest = some(known.take(~torch.isin(known.writers, asked)))
                with torch.no_grad():
                    before = losses(classifier, now, rest)
                kept = losses(classifier, after, rest)
                aim = aim + keep * functional.smooth_l1_loss(kept, before)
            optimizer.zero_grad()
            aim.backward()
            nn.utils.clip_grad_norm_(meta.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return meta.eval()
