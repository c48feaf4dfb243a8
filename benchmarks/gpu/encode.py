"""How fast texts are encoded and encoders trained on a CUDA device.

    python -m benchmarks.gpu.encode [--sizes base large] [--parts throughput training]

ModernBERT of the published sizes with random weights in bfloat16, packed, against transformers'
model of the same weights with SDPA and, where `flash_attn` is installed, flash_attention_2, at the
best of several batch sizes; counted in real tokens. Texts of varied lengths come to the peer sorted
by length, and in the order given. Lengths are those of the ModernBERT paper's table of throughput.
Writes its section of docs/results/gpu.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.gpu.page import median_seconds, need_cuda, publish, table
from mbert_retrieval.backbone import ModernBert, ModernBertConfig, initialise
from mbert_retrieval.backbone.attention import has_varlen_kernel
from mbert_retrieval.packed import Packed

SIZES = {
    "base": {},
    "large": {
        "hidden_size": 1024,
        "intermediate_size": 2624,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
    },
}
TOKENS = 128 * 1024  # of one measurement
BUDGET = 64 * 1024  # tokens of one packed batch
BATCHES = (8, 32, 128)
PAIRS, TRAINED_TOKENS = 64, 256  # of a training step, its documents' mean length
STEP = f"a training step, {PAIRS} pairs"


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
    with torch.device("cuda"):
        network = ModernBert(config)
    initialise(network, config, torch.Generator("cuda").manual_seed(0))
    return network.eval()


def reference_of(network: ModernBert, size: str, attention: str) -> torch.nn.Module:
    """transformers' model with the same weights."""
    import transformers

    config = transformers.ModernBertConfig(**SIZES[size])
    config._attn_implementation = attention
    with torch.device("cuda"):
        reference = transformers.ModernBertModel(config)
    reference.load_state_dict(network.state_dict())
    return reference.cuda().eval()


def peer_kernels() -> list[str]:
    try:
        import flash_attn  # noqa: F401
    except ImportError:
        return ["sdpa"]
    return ["sdpa", "flash_attention_2"]


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


def padded_batches(
    texts: Packed, size: int, by_length: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    order = np.argsort(texts.lengths, kind="stable") if by_length else np.arange(len(texts))
    for start in range(0, len(order), size):
        rows = [torch.from_numpy(texts[i]) for i in order[start : start + size].tolist()]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        real = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        yield ids.cuda(), real.cuda()


@torch.inference_mode()
def throughput(size: str) -> Iterator[dict]:
    """tokens/s of each system on each kind of lengths."""
    network = network_of(size).bfloat16()
    peers = {name: reference_of(network, size, name).bfloat16() for name in peer_kernels()}
    matrices = sum(p.numel() for name, p in network.named_parameters() if "layers" in name)
    peak, random = product_peak(), np.random.default_rng(0)
    for kind in KINDS:
        lengths = lengths_of(kind, random)
        texts = Packed.from_sequences([random.integers(5, 50_000, n) for n in lengths], np.int64)
        tokens = int(lengths.sum())
        packed = list(packed_batches(texts))
        ours = tokens / median_seconds(lambda b=packed: [network(*batch) for batch in b])
        theirs: dict[str, float] = {}
        orders = (True, False) if kind.startswith("normal") else (True,)
        for name, peer in peers.items():
            for batch_size in BATCHES:
                if batch_size * lengths.max() > 32 * 8192:
                    continue
                for by_length in orders:
                    padded = list(padded_batches(texts, batch_size, by_length))
                    run = lambda b=padded, p=peer: [p(ids, real) for ids, real in b]  # noqa: E731
                    label = f"{name}, {batch_size}" + ("" if by_length else ", as given")
                    theirs[label] = tokens / median_seconds(run, 3)
        yield {
            "size": size,
            "what": kind,
            "tokens/s": ours,
            "peers": theirs,
            "share": 2 * matrices * ours / peak,
        }


def training(size: str) -> Iterator[dict]:
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
    yield {
        "size": size,
        "what": STEP,
        "tokens/s": rate,
        "peers": others,
    }


def cells(row: dict) -> list[str]:
    """Of the table: the best of the peers with texts by length, and as given."""

    def best(as_given: bool) -> tuple[str, str]:
        some = {n: v for n, v in row["peers"].items() if n.endswith("as given") == as_given}
        if not some:
            return "", ""
        name = max(some, key=some.__getitem__)
        label = name.removesuffix(", as given")
        return f"{some[name] / 1000:,.0f} ({label})", f"{row['tokens/s'] / some[name]:.2f}"

    share = f"{row['share']:.0%}" if "share" in row else ""
    ours = f"{row['tokens/s'] / 1000:,.0f}"
    return [row["size"], row["what"], ours, *best(False), *best(True), share]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parts = ("throughput", "training")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    given = parser.parse_args()
    need_cuda()
    rows: list[dict] = []
    measures = {"throughput": throughput, "training": training}
    for size in given.sizes:
        for part in given.parts:
            for row in measures[part](size):
                rows.append(row)
                publish("encode", lines_of(rows), rows)


def lines_of(rows: list[dict]) -> list[str]:
    """What was measured so far, and what was not."""
    import transformers

    kernel = "packed kernels" if has_varlen_kernel(torch.device("cuda"), torch.bfloat16) else "SDPA"
    columns = [
        "size",
        "lengths",
        "mbert_retrieval, thousand tokens/s",
        "transformers at best (kernel, texts a batch)",
        "times",
        "in the order given",
        "times",
        "of a product's peak",
    ]
    lines = [
        f"bfloat16, our attention through {kernel}, transformers {transformers.__version__}:",
        "",
        *table(columns, [cells(row) for row in rows]),
    ]
    measured = {(row["size"], row["what"]) for row in rows}
    wanted = [(size, what) for size in SIZES for what in (*KINDS, STEP)]
    if missing := [f"{size}, {what}" for size, what in wanted if (size, what) not in measured]:
        lines += ["", f"Not measured: {'; '.join(missing)}."]
    return lines


if __name__ == "__main__":
    main()
