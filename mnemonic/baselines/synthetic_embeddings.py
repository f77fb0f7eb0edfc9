"""Synthetic embeddings (TMLR 2026): random vectors in the place of features.

Vectors z ~ N(0, s² I) in the space that enters the last layer, named by what the head
says of them, y = argmax. As many of the forget classes as of all others together are
kept, 1,000 a side, and a known rule is run on (z, y) with the last layer alone:

- ``rule="delete"``: min KL(q || p), q of the head as it was, without the classes. On
  all z: on the others it holds what the head says there;
- ``rule="random-label"``: CE, with one of the other classes as label where y is one to
  be forgotten;
- ``rule="neggrad-plus"``: min 0.95 CE(others) - 0.05 CE(forget classes).

No data, no codes, and the training is the usual one: the rival that says whether codes
are needed. Its authors claim that the distribution of z hardly matters; s = 1, sizes,
SGD (momentum 0.9) and 10 epochs of batches of 64 are ours. The abstract could be read,
and that any rule will do.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.delete import to_second_choice
from mnemonic.baselines.gradients import cross_entropy, descend, sgd
from mnemonic.baselines.method import method
from mnemonic.baselines.random_label import other_labels
from mnemonic.baselines.space import Range
from mnemonic.networks.layers import last_layer

MOST_DRAWS = 200  # times the number that is kept: a rare class may not be named at all
ALPHA = 0.95  # of NegGrad+, as published


def embeddings(
    head: nn.Linear, access: Access, n: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Random vectors, half of them named as forget classes.

    Args:
        head: Names them.
        access: Whose forget classes, and random numbers.
        n: Of each half, at most.
        scale: s.

    Returns:
        Vectors ``[2 n, D]`` and names ``[2 n]``; fewer where the head names few.

    Raises:
        ValueError: If it names none of the one, or of the other.
    """
    kept: dict[bool, list[Tensor]] = {True: [], False: []}
    drawn = torch.empty(n, head.in_features).to(head.weight)
    for _ in range(MOST_DRAWS):
        vectors = drawn.clone().normal_(std=scale, generator=access.generator)
        with torch.no_grad():
            forgets = access.forgets(head(vectors).argmax(1))
        for side, found in kept.items():
            found.append(vectors[forgets == side])
        fewest = min(sum(map(len, found)) for found in kept.values())
        if fewest >= n:
            break
    if fewest == 0:
        raise ValueError(
            f"the last layer names none of {MOST_DRAWS * n:,} random vectors as one of "
            f"{list(access.classes)}, or all: there is nothing to unlearn, or no other "
            "class; take another method"
        )
    each = [torch.cat(found)[: min(n, fewest)] for found in kept.values()]
    with torch.no_grad():
        return (vectors := torch.cat(each)), head(vectors).argmax(1)


@method(
    "synthetic-embeddings",
    title="Synthetic embeddings",
    cites=("tmlr2026synthetic",),
    space={"learning_rate": Range(1e-3, 1.0)},
)
def synthetic_embeddings(
    model: nn.Module,
    access: Access,
    *,
    rule: str = "delete",
    learning_rate: float = 0.01,
    epochs: int = 10,
    n_vectors: int = 1000,
    scale: float = 1.0,
    batch_size: int = 64,
) -> nn.Module:
    """Run another rule on the last layer, with made-up features."""
    generator = access.generator
    _, head = last_layer(model, access.data.input_shape)
    vectors, names = embeddings(head, access, n_vectors, scale)

    def random_label(inputs: Tensor, labels: Tensor) -> Tensor:
        others = other_labels(labels, access.n_classes, generator)
        aim = torch.where(access.forgets(labels), others, labels)
        return cross_entropy(head)(inputs, aim)

    def neggrad_plus(inputs: Tensor, labels: Tensor) -> Tensor:
        each = functional.cross_entropy(head(inputs), labels, reduction="none")
        weight = torch.where(access.forgets(labels), ALPHA - 1, ALPHA)
        return (weight * each).mean()

    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "delete": to_second_choice(head, access.classes),
        "random-label": random_label,
        "neggrad-plus": neggrad_plus,
    }
    if rule not in losses:
        raise ValueError(f"rule is {rule!r}; give one of {', '.join(losses)}")

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(epochs):
            order = torch.randperm(
                len(names), generator=generator, device=generator.device
            )
            yield from ((vectors[i], names[i]) for i in order.split(batch_size))

    descend(losses[rule], batches(), sgd(head, learning_rate, weight_decay=0.0))
    return model
