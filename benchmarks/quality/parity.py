"""How far backbone and encoders are from transformers and sentence-transformers.

    python -m benchmarks.quality.parity

Same random weights on both sides, float32, on the CPU. A difference is the largest one as a share
of the reference's largest value (hidden states, logits, gradients), or absolute (embeddings, which
have unit norm). Writes docs/results/parity.md; takes
some minutes and 8 GB.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.results_page import ROOT, write_table

LENGTHS = [1, 7, 64, 65, 129, 511, 1030, 8192]
TEXTS = [
    "Return the list of files in a folder, sorted by name.",
    "def read_file(self, path):\n    with open(path) as stream:\n        return stream.read()\n",
    "how to write a file in python",
    "",
    "Retry the request when the connection is closed; give up after five attempts. " * 12,
]


def share(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def backbone_rows(folder: Path) -> list[tuple[str, str, float]]:
    """The true base size: 22 layers, 768, 149,655,232 parameters."""
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    from mbert_retrieval.backbone import MaskedLM, load_network

    torch.manual_seed(0)
    reference = ModernBertForMaskedLM(ModernBertConfig()).eval()
    reference.save_pretrained(folder / "base")
    ours = load_network(MaskedLM, folder / "base")
    rows = []
    texts = [torch.randint(5, 50_000, (n,)) for n in LENGTHS]
    offsets = torch.tensor([0, *LENGTHS]).cumsum(0)
    with torch.no_grad():
        hidden = ours.model(torch.cat(texts), offsets)
        expected = torch.cat([reference.model(t[None]).last_hidden_state[0] for t in texts])
    lengths = ", ".join(str(n) for n in LENGTHS)
    rows.append(
        (f"hidden states, lengths {lengths} in one batch", "transformers", share(hidden, expected))
    )
    texts, lengths_b = texts[:6], LENGTHS[:6]
    logits = ours(torch.cat(texts), torch.tensor([0, *lengths_b]).cumsum(0))
    expected = torch.cat([reference(t[None]).logits[0] for t in texts])
    rows.append(("masked-LM logits", "transformers", share(logits.detach(), expected.detach())))
    same = (logits.topk(5).indices == expected.topk(5).indices).all(1).double().mean()
    rows.append(("fill-mask: positions whose top 5 differ", "transformers", 1 - float(same)))
    goal = torch.cat(texts).roll(1)
    for out in (logits, expected):
        torch.nn.functional.cross_entropy(out, goal).backward()
    theirs = dict(reference.named_parameters())
    worst = max(share(p.grad, theirs[name].grad) for name, p in ours.named_parameters())
    rows.append(("gradients, the worst of all parameters", "transformers", worst))
    return rows


def encoder_rows(folder: Path) -> list[tuple[str, str, float]]:
    """Base-size backbone with nano's tokenizer; both heads, both directions."""
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    from mbert_retrieval import load_encoder
    from mbert_retrieval.backbone import ModernBert, ModernBertConfig, initialise
    from mbert_retrieval.encoders.dense_layer import Dense
    from mbert_retrieval.encoders.encoder import Encoder, InputSpec, QueryExpansion
    from mbert_retrieval.encoders.heads import DenseHead, LateHead
    from mbert_retrieval.encoders.tokens import TextTokenizer

    tokenizer = TextTokenizer.load(ROOT / "mbert_retrieval" / "encoders" / "nano")
    config = ModernBertConfig(vocab_size=16384, pad_token_id=0, cls_token_id=2, sep_token_id=3)
    backbone = ModernBert(config)
    initialise(backbone, config, torch.Generator().manual_seed(0))
    rows = []

    dense = Encoder(
        backbone, tokenizer, DenseHead(768), InputSpec("[Q]", 512), InputSpec("[D]", 512)
    )
    dense.save(folder / "dense")
    theirs = SentenceTransformer(str(folder / "dense"), device="cpu")
    expected = theirs.encode_document(TEXTS)
    ours = dense.encode_documents(TEXTS).values
    rows.append(
        (
            "dense embeddings, theirs loads ours",
            "sentence-transformers",
            np.abs(ours - expected).max(),
        )
    )
    theirs.save(str(folder / "dense-native"))
    ours = load_encoder(folder / "dense-native", dtype=torch.float32).encode_documents(TEXTS).values
    rows.append(
        (
            "dense embeddings, ours loads theirs",
            "sentence-transformers",
            np.abs(ours - expected).max(),
        )
    )

    expansion = QueryExpansion(32, tokenizer.id_of("[MASK]") or 0)
    late = Encoder(
        backbone,
        tokenizer,
        LateHead((Dense(768, 128, bias=False),), (tokenizer.id_of(".") or 0,)),
        InputSpec("[Q]", 32, expansion),
        InputSpec("[D]", 512),
    )
    late.save(folder / "late")
    theirs = MultiVectorEncoder(str(folder / "late"), device="cpu")
    theirs.save(str(folder / "late-native"))
    for label, encoder in (
        ("theirs loads ours", late),
        ("ours loads theirs", load_encoder(folder / "late-native", dtype=torch.float32)),
    ):
        worst = 0.0
        for ours, expected in (
            (encoder.encode_queries(TEXTS), theirs.encode_query(TEXTS, convert_to_numpy=True)),
            (encoder.encode_documents(TEXTS), theirs.encode_document(TEXTS, convert_to_numpy=True)),
        ):
            assert ours.lengths.tolist() == [len(rows) for rows in expected]
            worst = max(worst, float(np.abs(ours.values - np.concatenate(expected)).max()))
        name = f"late-interaction embeddings (queries expanded), {label}"
        rows.append((name, "sentence-transformers MultiVectorEncoder", worst))
    return rows


def main() -> None:
    import sentence_transformers
    import transformers

    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        rows = backbone_rows(Path(scratch)) + encoder_rows(Path(scratch))
    lines = ["| what (ModernBERT-base size, random weights) | against | largest difference |"]
    lines.append("| --- | --- | --- |")
    lines += [f"| {what} | {peer} | {value:.1e} |" for what, peer, value in rows]
    lines.append("")
    lines.append(
        f"torch {torch.__version__}, transformers "
        f"{transformers.__version__}, sentence-transformers {sentence_transformers.__version__}."
    )
    write_table("parity", "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
