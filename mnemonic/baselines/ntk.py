"""NTK forgetting (Golatkar, Achille, Soatto 2020, *Forgetting Outside the Box*).

Around the trained weights the network is taken for linear. With J_x [K, P] the Jacobian
of the logits, G_S the columns J_xᵀ over a set S and r = p - onehot,

    w(S) = -G_S (G_Sᵀ G_S + n λ I)⁻¹ r_S,  n = size of S,      Δ = w(D_R) - w(D),
    θ = θ0 + scale Δ,
    e = θ0 - θ_init - w(D_R),  φ = ∠(Δ, e),
    scale = 1 + 2 ‖e‖ / ‖Δ‖ × (cos φ if cos φ ≥ 0 else sin(φ - π/2)).

λ = 0.1. Memory is P × N K and time (N K)³, so it runs on toy sets: ``per_class`` images
of each class stand for D.
"""

import math

import torch
from torch import Tensor, nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.handed import Handed
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.networks.asked import device_of

LIMIT = 4 * 2**30  # bytes of the Jacobian


def jacobian(model: nn.Module, images: Handed) -> tuple[Tensor, Tensor]:
    """Rows ``[N K, P]`` of the Jacobian of the logits, and p - onehot ``[N K]``."""
    weights = [p for p in model.parameters() if p.requires_grad]
    rows, residuals = [], []
    for x, label in images.in_order(1, device_of(model)):
        logits = model(x)[0]
        for y in range(len(logits)):
            gradients = torch.autograd.grad(
                logits[y], weights, retain_graph=True, materialize_grads=True
            )
            rows.append(torch.cat([g.flatten() for g in gradients]))
        residual = logits.detach().softmax(0)
        residual[label] -= 1
        residuals.append(residual)
    return torch.stack(rows), torch.cat(residuals)


def shift(rows: Tensor, residuals: Tensor, ridge: float, n_samples: int) -> Tensor:
    """w(S) = -G (GᵀG + n λ I)⁻¹ r; shape ``[P]``."""
    kernel = (rows @ rows.T).double()
    kernel.diagonal().add_(n_samples * ridge)
    return -(rows.T @ torch.linalg.solve(kernel, residuals.double()).to(rows.dtype))


def step_scale(delta: Tensor, error: Tensor) -> float:
    """1 + 2 ‖e‖ / ‖Δ‖ × (cos φ, or sin(φ - π/2) where cos φ < 0)."""
    cosine = float(torch.cosine_similarity(delta, error, dim=0))
    if cosine < 0:
        cosine = math.sin(math.acos(max(cosine, -1.0)) - math.pi / 2)
    return 1 + 2 * float(error.norm() / delta.norm()) * cosine


@method(
    "ntk-f",
    title="NTK-F",
    reads={"forget", "remaining"},
    cites=("golatkar2020outside",),
    space={"ridge": Range(1e-4, 10.0)},
    economy={"per_class": 2},
)
def ntk_f(
    model: nn.Module, access: Access, *, ridge: float = 0.1, per_class: int = 5
) -> nn.Module:
    """Step from the linear solution on D to the one on D_R."""
    moving = [p for p in model.parameters() if p.requires_grad]
    n_weights = sum(p.numel() for p in moving)
    k = access.n_classes
    if 4 * n_weights * per_class * k * k > LIMIT:
        raise ValueError(
            f"NTK-F holds {n_weights} weights × {per_class * k * k} outputs, more than "
            f"{LIMIT >> 30} GiB; give a smaller per_class or a smaller network"
        )
    images = access.images("forget", "remaining", per_class=per_class)
    rows, residuals = jacobian(model.eval(), images)
    forgets = access.forgets(images.train.labels.cpu())
    kept = (~forgets).repeat_interleave(k).to(rows.device)
    n, n_kept = len(forgets), int((~forgets).sum())
    on_rest = shift(rows[kept], residuals[kept], ridge, n_kept)
    delta = on_rest - shift(rows, residuals, ridge, n)
    first = access.first_weights().to(rows.device)
    start = [p for p in first.parameters() if p.requires_grad]
    trained = nn.utils.parameters_to_vector(moving).detach()
    error = trained - nn.utils.parameters_to_vector(start).detach() - on_rest
    nn.utils.vector_to_parameters(trained + step_scale(delta, error) * delta, moving)
    return model
