"""Fine-tune a retriever on sentence-transformers' trainers, from its recipe to the encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dataset import LABEL, build_dataset
from .losses import build_loss
from .recipe import EvaluationOptions, Recipe
from .run_folder import RunFolder
from .trainer import Report, check_devices, log_callback, trainer_arguments

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer


def train(recipe: Recipe, report: Report | None = None) -> Path:
    """Fine-tune an encoder for dense or late-interaction retrieval.

    The run's folder (`recipe.training.output`) receives recipe.toml, checkpoints and log.jsonl.
    After an interruption the same call resumes from the last complete checkpoint and ends with the
    weights of an uninterrupted run.

    Late interaction is ColBERT's (Khattab and Zaharia 2020, arXiv 2004.12832). Documents of the
    other rows of a batch serve as negatives (contrastive losses), or a teacher's scores are
    distilled (Hofstätter et al. 2020, arXiv 2010.02666; Lin et al. 2020, arXiv 2010.11386).

    Args:
        recipe: All options of the run.
        report: Called with the step, the number of all steps and the log entry (a dictionary of
            floats: loss, learning rate, measures) every `recipe.training.log_every` steps.

    Returns:
        The folder of the trained encoder, which `load_encoder` and sentence-transformers load.

    Raises:
        TypeError: If `recipe` is no Recipe.
        InputError: If data, options or base do not fit each other, or the folder holds a run of
            another recipe.

    Example:
        >>> import json, tempfile
        >>> from mbert_retrieval.training import Recipe, train
        >>> folder = tempfile.mkdtemp()
        >>> rows = [("open a file", "def read(path)"), ("add two numbers", "def add(a, b)")]
        >>> with open(f"{folder}/rows.jsonl", "w") as file:
        ...     for query, positive in rows:
        ...         _ = file.write(json.dumps({"query": query, "positive": positive}) + "\\n")
        >>> recipe = Recipe.parse("dense", {
        ...     "model": {"base": "nano"},
        ...     "data": {"train": f"{folder}/rows.jsonl"},
        ...     "training": {"output": f"{folder}/run", "steps": 1, "batch": 2},
        ... })
        >>> train(recipe).name
        'model'
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a Recipe, not {type(recipe).__name__}: see Recipe.parse")
    from transformers import set_seed

    from .initial_encoder import initial_encoder
    from .lora import Lora, merge_lora
    from .packed_module import to_sentence_transformers

    folder = RunFolder(recipe.training.output)
    folder.record_recipe(recipe)
    set_seed(recipe.training.seed)
    encoder = initial_encoder(recipe.objective, recipe.model)
    dataset = build_dataset(recipe, folder.rows)
    lora = Lora.from_options(recipe.model)
    model = to_sentence_transformers(encoder, lora)
    encoder.backbone.gradient_checkpointing = recipe.model.gradient_checkpointing
    trainer = build_trainer(recipe, model, dataset, folder, report)
    result = trainer.train(resume_from_checkpoint=folder.last_checkpoint())
    if not trainer.is_world_process_zero():
        return folder.model
    if lora:
        merge_lora(encoder.backbone)
    encoder.head.to(encoder.device)
    encoder.save(folder.model)
    model._create_model_card(str(folder.model))
    summary = {"steps": trainer.state.global_step, "train_loss": result.training_loss}
    if trainer.state.best_metric is not None:
        summary["best"] = trainer.state.best_metric
    folder.rows.unlink(missing_ok=True)
    folder.write_summary(summary)
    return folder.model


def build_trainer(
    recipe: Recipe,
    model: SentenceTransformer | MultiVectorEncoder,
    dataset: Dataset,
    folder: RunFolder,
    report: Report | None = None,
) -> Any:
    """Return the sentence-transformers trainer of a recipe, ready to train `model` on `dataset`."""
    from sentence_transformers import (
        MultiVectorEncoderTrainer,
        MultiVectorEncoderTrainingArguments,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.base.sampler import BatchSamplers
    from transformers.trainer_callback import PrinterCallback

    columns = [name for name in dataset.column_names if name != LABEL]
    tasks = {name: "query" if name == "query" else "document" for name in columns}
    arguments = trainer_arguments(recipe.training, len(dataset)) | {
        "prompts": {name: model.prompts[task] for name, task in tasks.items()},
        "router_mapping": tasks,
        "batch_sampler": BatchSamplers.BATCH_SAMPLER
        if recipe.needs_scores
        else BatchSamplers.NO_DUPLICATES,
    }
    evaluator = build_evaluator(recipe.objective, recipe.evaluation)
    if evaluator is not None:
        every = recipe.training.evaluate_every or recipe.training.save_every
        arguments |= {"eval_strategy": "steps", "eval_steps": every}
        if recipe.evaluation.best:
            measure = f"eval_{evaluator.name}_{model.similarity_fn_name}_ndcg@10"
            arguments |= {
                "load_best_model_at_end": True,
                "metric_for_best_model": measure,
                "greater_is_better": True,
            }
    arguments_class: Any = SentenceTransformerTrainingArguments
    trainer_class: Any = SentenceTransformerTrainer
    if recipe.objective == "colbert":
        arguments_class = MultiVectorEncoderTrainingArguments
        trainer_class = MultiVectorEncoderTrainer
    args = arguments_class(**arguments)
    check_devices(args.n_gpu)
    trainer = trainer_class(
        model=model,
        args=args,
        train_dataset=dataset,
        loss=build_loss(recipe.objective, model, recipe.loss),
        evaluator=evaluator,
        callbacks=[log_callback(folder, report)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def build_evaluator(objective: str, options: EvaluationOptions) -> Any:
    """Return sentence-transformers' information retrieval evaluator on a BEIR folder, which
    computes nDCG@10 and other measures during training; None if no folder is set."""
    if options.data is None:
        return None
    from sentence_transformers.multi_vector_encoder.evaluation import (
        MultiVectorInformationRetrievalEvaluator,
    )
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    from ..eval.datasets import read_beir

    dataset = read_beir(options.data, options.split)
    relevant = {
        query: {id for id, grade in judged.items() if grade > 0}
        for query, judged in dataset.qrels.items()
    }
    evaluator: Any = InformationRetrievalEvaluator
    if objective == "colbert":
        evaluator = MultiVectorInformationRetrievalEvaluator
    return evaluator(
        {query: text for query, text in dataset.queries.items() if relevant[query]},
        {passage.id: passage.content for passage in dataset.passages()},
        {query: ids for query, ids in relevant.items() if ids},
        batch_size=options.batch,
        name=dataset.name,
        show_progress_bar=False,
    )
