"""Checks of chapter 15, photographs."""

from collections.abc import Callable

from torch import Tensor

from mnemonic.audits.diagnoses import WITHIN, brought_back, output_aucs
from mnemonic.evaluation import scores_of
from mnemonic.exercises.answers import attempted, chosen, done, expect, near


def _scores(z: Tensor, labels: Tensor, c: int) -> tuple[float, float]:
    k = z.shape[1]
    table = (labels * k + z.argmax(1)).bincount(minlength=k * k).reshape(k, k)
    found = scores_of(table, [c])
    return found.remaining_accuracy, found.forgetting_error


def _back(z: Tensor, labels: Tensor, c: int, original: Tensor) -> float:
    """Even images choose the number, odd ones tell; A_R may fall by two points."""
    sides = (z[::2], labels[::2]), (z[1::2], labels[1::2])
    least = _scores(original[::2], labels[::2], c)[0] - WITHIN
    return brought_back(*sides, [c], least=least).back.value


def predict(answer: str, z: Tensor, labels: Tensor, c: int) -> None:
    """If nothing but the class's output is deleted: does A_R rise or fall?"""
    chosen(("rises", "falls"), answer)
    without = z.clone()
    without[:, c] = z.min() - 1
    before, after = (_scores(each, labels, c)[0] for each in (z, without))
    truth = "rises" if after > before else "falls"
    expect(answer == truth, "which images were called the class by mistake?")
    done(f"A_R was {before:.1f} % and is {after:.1f} %.")


def change(back: float, z: Tensor, labels: Tensor, original: Tensor, c: int) -> None:
    """How much comes back if minus the sum of the others takes the class's place?"""
    attempted(back)
    put, others = z.clone(), [k for k in range(z.shape[1]) if k != c]
    put[:, c] = -z[:, others].sum(1)
    truth = _back(put, labels, c, original)
    near(back, truth, 0.5, "even images choose the number, odd ones tell what is back")
    done(f"{truth:.0f} % of the class.")


def implement(
    margin_auc: Callable[[Tensor, Tensor, int], float],
    z: Tensor,
    labels: Tensor,
    c: int,
) -> None:
    """Is this the AUC of the class's margin?"""
    found = float(attempted(margin_auc(z, labels, c)))
    truth = output_aucs((z, labels), [c])["margin_auc"].value
    hint = "the share of pairs, one image of the class and one of another, in order"
    near(found, truth, 1e-3, hint)
    done(f"{truth:.3f}, where one half would say nothing of the class.")


def critique(
    trick: Callable[[Tensor, int], Tensor], z: Tensor, labels: Tensor, c: int
) -> None:
    """Does it meet both numbers, and give all back to one number?"""
    after = attempted(trick(z.clone(), c))
    expect(after.shape == z.shape, "give logits of the same shape")
    before_a_r, _ = _scores(z, labels, c)
    a_r, e_f = _scores(after, labels, c)
    expect(e_f == 100, f"E_F is {e_f:.1f} %")
    expect(a_r >= before_a_r, f"A_R was {before_a_r:.1f} % and is {a_r:.1f} %")
    was, back = (_back(each, labels, c, z) for each in (z, after))
    expect(back > was - 1, f"one number brings back {back:.0f} %, before {was:.0f} %")
    done(f"A_R {a_r:.1f} %, E_F 100 %, and one number brings back {back:.0f} %.")
