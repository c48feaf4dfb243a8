"""The losses of recipes: sentence-transformers' own, by the names that recipes use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .recipe import LossOptions

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from torch import Tensor, nn

TEMPERATURE = 0.05  # default of contrastive dense training


def build_loss(
    objective: str, model: SentenceTransformer | MultiVectorEncoder, options: LossOptions
) -> nn.Module:
    """Return the loss of a recipe for a model.

    Args:
        objective: "dense" or "colbert".
        model: The model to train: a SentenceTransformer for "dense", a MultiVectorEncoder for
            "colbert".
        options: Name and parameters of the loss.

    Returns:
        A module that maps a batch (features of the query and document columns, and labels) to a
        scalar.

    Raises:
        InputError: If a Matryoshka dimension exceeds that of the model.
    """
    return _late(model, options) if objective == "colbert" else _dense(model, options)


def _dense(model: Any, options: LossOptions) -> nn.Module:
    from sentence_transformers.sentence_transformer import losses

    temperature = options.temperature or TEMPERATURE
    loss: nn.Module
    if options.name == "contrastive":
        loss = losses.MultipleNegativesRankingLoss(
            model, scale=1 / temperature, gather_across_devices=options.gather
        )
    elif options.name == "cached":
        loss = losses.CachedMultipleNegativesRankingLoss(
            model,
            scale=1 / temperature,
            mini_batch_size=options.mini_batch,
            gather_across_devices=options.gather,
        )
    elif options.name == "kl":
        loss = losses.DistillKLDivLoss(model, temperature=options.temperature or 1.0)
    else:
        loss = losses.MarginMSELoss(model)
    if options.matryoshka:
        full = model.get_embedding_dimension()
        if max(options.matryoshka) > full or min(options.matryoshka) < 1:
            raise InputError(f"loss.matryoshka: dimensions must be from 1 to {full}")
        loss = losses.MatryoshkaLoss(model, loss, list(options.matryoshka))
    return loss


def _late(model: Any, options: LossOptions) -> nn.Module:
    from sentence_transformers.multi_vector_encoder import losses
    from sentence_transformers.multi_vector_encoder.scoring import XTRKDScores, XTRScores

    from .maxsim import PackedScores

    scale = 1 / (options.temperature or 1.0)
    if options.name in ("contrastive", "cached"):
        scores = PackedScores() if options.xtr is None else XTRScores(options.xtr)
        if options.name == "contrastive":
            return losses.MultiVectorMultipleNegativesRankingLoss(
                model, scale=scale, similarity_fct=scores, gather_across_devices=options.gather
            )
        return losses.CachedMultiVectorMultipleNegativesRankingLoss(
            model,
            scale=scale,
            similarity_fct=scores,
            mini_batch_size=options.mini_batch,
            gather_across_devices=options.gather,
        )
    if options.name == "kl":
        similarity: Any = None if options.xtr is None else XTRKDScores(options.xtr)
        if options.normalize_scores:
            similarity = MinMaxScores(similarity)
        return losses.MultiVectorDistillKLDivLoss(
            model, similarity_fct=similarity, temperature=options.temperature or 1.0
        )
    return losses.MultiVectorMarginMSELoss(model)


class MinMaxScores:
    """The student's scores of each row, rescaled to 0..1 as in PyLate's distillation."""

    def __init__(self, scores: Any = None) -> None:
        from sentence_transformers.multi_vector_encoder.scoring import colbert_kd_scores

        self.scores: Any = scores or colbert_kd_scores

    def __call__(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        """Return (queries, documents per query) float32; arguments as of `colbert_kd_scores`."""
        scores = self.scores(*args, **kwargs)
        low, high = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
        return (scores - low) / (high - low).clamp(min=1e-9)

    def get_config_dict(self) -> dict[str, Any]:
        """Return what sentence-transformers writes into the model card."""
        return {"name": "min-max"}
