"""How fast texts are encoded, encoders trained and MaxSim formed on a CUDA device.

    python benchmarks/gpu/encode.py [--sizes base large] [--parts throughput training maxsim]

ModernBERT of the published sizes with random weights in bfloat16, packed, against transformers'
model of the same weights with SDPA and, where `flash_attn` is installed, flash_attention_2, sorted
by length, at the best of several batch sizes; counted in real tokens. Lengths are those of the
ModernBERT paper's table of throughput. MaxSim is the kernel of `training/maxsim_cuda.py` against
sentence-transformers' padded one. Medians of several runs. Writes
docs/results/gpu.md, and prints it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from results_page import write_table

from mbert_retrieval.backbone import ModernBert, ModernBertConfig, initialise
from mbert_retrieval.backbone.attention import has_varlen_kernel
from mbert_retrieval.packed import Packed
from mbert_retrieval.training.maxsim import PackedScores

SIZES = {
    "base": {},
    "large": {
        "hidden_size": 1024,
        "intermediate_size": 2624,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
    },
}
TOKENS = 512 * 1024  # of one measurement
BUDGET = 64 * 1024  # tokens of one packed batch
BATCHES = (8, 32, 128)
REPEATS = 5
PAIRS, TRAINED_TOKENS = 64, 256  # of a training step, its documents' mean length


def lengths_of(kind: str, random: np.random.Generator) -> np.ndarray:
    """Lengths that sum to about TOKENS."""
    mean, deviation = {
        "fixed 512": (512, 0),
        "fixed 8,192": (8192, 0),
        "normal(256, 64)": (256, 64),
        "normal(4096, 1024)": (4096, 1024),
    }[kind]
    return random.normal(mean, deviation, TOKENS // mean).round().astype(int).clip(8, 8192)


KINDS = ("fixed 512", "fixed 8,192", "normal(256, 64)", "normal(4096, 1024)")


def network_of(size: str) -> ModernBert:
    config = ModernBertConfig(**SIZES[size])
    network = ModernBert(config)
    initialise(network, config, torch.Generator().manual_seed(0))
    return network.cuda()


def reference_of(network: ModernBert, size: str, attention: str) -> torch.nn.Module:
    """transformers' model with the same weights."""
    import transformers

    config = transformers.ModernBertConfig(**SIZES[size])
    config._attn_implementation = attention
    reference = transformers.ModernBertModel(config)
    reference.load_state_dict(network.state_dict())
    return reference.cuda()


def peer_kernels() -> list[str]:
    try:
        import flash_attn  # noqa: F401
    except ImportError:
        return ["sdpa"]
    return ["sdpa", "flash_attention_2"]


def median_seconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """After one run that does not count."""
    run()
    took = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        took.append(start.elapsed_time(end) / 1000)
    return statistics.median(took)


def product_peak() -> float:
    """Operations a second of a large bfloat16 product."""
    x = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    return 2 * 8192**3 / median_seconds(lambda: x @ x, 20)


def packed_batches(texts: Packed) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of at most BUDGET tokens, in order of length."""
    order = np.argsort(texts.lengths, kind="stable")
    room = max(BUDGET, int(texts.lengths.max()))
    rows: list[int] = []
    filled = 0
    for row in [*order.tolist(), None]:
        if row is None or filled + texts.lengths[row] > room:
            batch = texts.select(np.array(rows))
            yield torch.from_numpy(batch.values).cuda(), torch.from_numpy(batch.offsets).cuda()
            rows, filled = [], 0
        if row is not None:
            rows.append(row)
            filled += int(texts.lengths[row])


def padded_batches(texts: Packed, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    order = np.argsort(texts.lengths, kind="stable")
    for start in range(0, len(order), size):
        rows = [torch.from_numpy(texts[i]) for i in order[start : start + size].tolist()]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        real = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        yield ids.cuda(), real.cuda()


@torch.inference_mode()
def throughput(size: str) -> list[str]:
    network = network_of(size).bfloat16()
    peers = {name: reference_of(network, size, name).bfloat16() for name in peer_kernels()}
    matrices = sum(p.numel() for name, p in network.named_parameters() if "layers" in name)
    peak, random = product_peak(), np.random.default_rng(0)
    rows = []
    for kind in KINDS:
        lengths = lengths_of(kind, random)
        texts = Packed.from_sequences([random.integers(5, 50_000, n) for n in lengths], np.int64)
        tokens = int(lengths.sum())
        packed = list(packed_batches(texts))
        ours = tokens / median_seconds(lambda b=packed: [network(*batch) for batch in b])
        theirs: dict[str, float] = {}
        for name, peer in peers.items():
            for batch_size in BATCHES:
                if batch_size * lengths.max() > 32 * 8192:
                    continue
                padded = list(padded_batches(texts, batch_size))
                run = lambda b=padded, p=peer: [p(ids, real) for ids, real in b]  # noqa: E731
                theirs[f"{name}, batches of {batch_size}"] = tokens / median_seconds(run, 3)
        best = max(theirs, key=theirs.__getitem__)
        share = 2 * matrices * ours / peak
        rows.append(
            f"| {size} | {kind} | {ours / 1000:,.0f} | {theirs[best] / 1000:,.0f} ({best}) | "
            f"{ours / theirs[best]:.2f} | {share:.0%} |"
        )
    return rows


def training(size: str) -> list[str]:
    """A contrastive step in bfloat16 autocast: forward, backward and AdamW."""
    random = np.random.default_rng(0)
    lengths = random.lognormal(np.log(TRAINED_TOKENS), 0.6, 2 * PAIRS).astype(int).clip(8, 2048)
    texts = Packed.from_sequences([random.integers(5, 50_000, n) for n in lengths], np.int64)
    values, offsets = torch.from_numpy(texts.values).cuda(), torch.from_numpy(texts.offsets).cuda()
    rows = [torch.from_numpy(row) for row in texts]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).cuda()
    real = torch.arange(padded.shape[1], device="cuda") < offsets.diff()[:, None]
    network = network_of(size)
    peers = {name: reference_of(network, size, name) for name in peer_kernels()}

    def ours() -> torch.Tensor:
        hidden = network(values, offsets).float()
        return torch.segment_reduce(hidden, "mean", lengths=offsets.diff(), unsafe=True)

    def theirs(peer: torch.nn.Module) -> torch.Tensor:
        hidden = peer(padded, real).last_hidden_state.float()
        return (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)

    def step(model: torch.nn.Module, means: Callable[[], torch.Tensor]) -> float:
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

        def run() -> None:
            with torch.autocast("cuda", torch.bfloat16):
                vectors = means()
            queries, documents = F.normalize(vectors, dim=1).view(PAIRS, 2, -1).unbind(1)
            scores = queries @ documents.T / 0.05
            F.cross_entropy(scores, torch.arange(PAIRS, device="cuda")).backward()
            optimiser.step()
            optimiser.zero_grad()

        return int(lengths.sum()) / median_seconds(run)

    rate = step(network, ours)
    others = {name: step(peer, lambda p=peer: theirs(p)) for name, peer in peers.items()}
    best = max(others, key=others.__getitem__)
    return [
        f"| {size} | a training step, {PAIRS} pairs | {rate / 1000:,.0f} | "
        f"{others[best] / 1000:,.0f} ({best}) | {rate / others[best]:.2f} | |"
    ]


def maxsim() -> list[str]:
    """64 queries of 32 tokens against 512 documents of 300, forward and backward."""
    from sentence_transformers.multi_vector_encoder.scoring import colbert_scores

    generator = torch.Generator("cuda").manual_seed(0)
    queries = torch.randn(64, 32, 128, device="cuda", generator=generator)
    documents = torch.randn(64, 8, 300, 128, device="cuda", generator=generator)
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        q, d = (F.normalize(x, dim=-1).to(dtype).requires_grad_() for x in (queries, documents))
        masks = torch.ones(q.shape[:2], device="cuda"), torch.ones(d.shape[:3], device="cuda")
        measured = []
        for score in (PackedScores(), colbert_scores):

            def run(score=score, q=q, d=d, masks=masks) -> None:
                q.grad = d.grad = None
                scores = score(q, d, queries_mask=masks[0], documents_mask=masks[1])
                F.cross_entropy(scores, torch.arange(64, device="cuda") * 8).backward()

            seconds = median_seconds(run)
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            run()
            memory = torch.cuda.max_memory_allocated() - before
            measured.append((1000 * seconds, memory / 2**20))
        (ours, mine), (theirs, other) = measured
        rows.append(
            f"| MaxSim, {str(dtype)[6:]} | {ours:.1f} ms, {mine:,.0f} MiB | "
            f"{theirs:.1f} ms, {other:,.0f} MiB | {theirs / ours:.1f} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parts = ("throughput", "training", "maxsim")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this machine has no CUDA device")
    rows: list[str] = []
    for size in given.sizes:
        for part, measure in (("throughput", throughput), ("training", training)):
            if part in given.parts:
                rows += measure(size)
    kernel = "packed kernels" if has_varlen_kernel(torch.device("cuda"), torch.bfloat16) else "SDPA"
    lines = [
        f"Made by `python benchmarks/gpu/encode.py` on one {torch.cuda.get_device_name()}, torch "
        f"{torch.__version__}, {kernel}, bfloat16:",
        "",
        "| size | lengths | mbert_retrieval, thousand tokens/s | transformers at best | times | "
        "of the product's peak |",
        "|---|---|---:|---|---:|---:|",
        *rows,
    ]
    if "maxsim" in given.parts:
        lines += [
            "",
            "| forward and backward, 64 queries x 512 documents | mbert_retrieval | "
            "sentence-transformers | times |",
            "|---|---|---|---:|",
            *maxsim(),
        ]
    print("\n".join(lines))
    write_table("gpu", "\n".join(lines))


if __name__ == "__main__":
    main()
