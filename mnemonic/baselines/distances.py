"""How far apart two rows of logits are.

Example:
    >>> kl(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0]])).tolist()
    [0.0]
"""

import torch
from torch import Tensor
from torch.nn import functional


def kl(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(a || b) = Σ a log(a / b) of softmax outputs, a sample at a time.

    Args:
        teacher: Logits ``[N, K]`` of a; ``-inf`` where a is 0.
        student: Logits ``[N, K]`` of b.
        temperature: Both are divided by it.

    Returns:
        Nats, shape ``[N]``.
    """
    log_a = (teacher / temperature).log_softmax(1)
    log_b = (student / temperature).log_softmax(1)
    terms = functional.kl_div(log_b, log_a, reduction="none", log_target=True)
    return torch.where(log_a == -torch.inf, 0.0, terms).sum(1)
