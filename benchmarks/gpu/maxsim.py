"""MaxSim on CUDA: `training/maxsim_cuda.py` against kernels of others and plain torch.

    python -m benchmarks.gpu.maxsim

One query of 32 vectors against 1,000 documents of 300, dimension 128, as in reranking; documents of
varied lengths, packed for those that can; and a batch of 64 queries against 512 documents with its
gradient, as in training. Peers: late-interaction-kernels, flash-maxsim and sentence-transformers,
where they are installed; plain torch is einsum and max. Errors are against a float64 reference.
Writes its section of docs/results/gpu.md.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from importlib.metadata import version

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu.page import median_seconds, need_cuda, publish, table
from mbert_retrieval.training.maxsim import maxsim

DIMENSION, QUERY_VECTORS, DOCUMENT_VECTORS = 128, 32, 300
PEERS = ("late-interaction-kernels", "flash-maxsim", "sentence-transformers")
SETS = 4  # of inputs that runs take in turn, together larger than the cache


def drawn(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator("cuda").manual_seed(seed)
    return F.normalize(torch.randn(*shape, device="cuda", generator=generator), dim=-1).to(dtype)


def bounds(lengths: Tensor) -> Tensor:
    return F.pad(lengths.cumsum(0), (1, 0))


def einsum_scores(q: Tensor, d: Tensor, lengths: Tensor | None = None) -> Tensor:
    """(Q, Lq, D) and (B, Ld, D) to (Q, B); in float32 from inputs of any dtype."""
    similarity = torch.einsum("qld,bkd->qblk", q, d)
    if lengths is not None:
        real = torch.arange(d.shape[1], device="cuda") < lengths[:, None]
        similarity = similarity.masked_fill(~real[None, :, None], float("-inf"))
    return similarity.float().amax(-1).sum(-1)


def exact(q: Tensor, d: Tensor, lengths: Tensor) -> Tensor:
    """float64, document by document."""
    q64 = q.double()
    columns = [
        (q64 @ d[i, : int(n)].double().T).amax(-1).sum(-1) for i, n in enumerate(lengths.tolist())
    ]
    return torch.stack(columns, 1)


def peers() -> dict[str, Callable[..., Tensor]]:
    """name: (q (Q, Lq, D), d (B, Ld, D), mask (B, Ld), lengths (B,)) to (Q, B)."""
    found: dict[str, Callable[..., Tensor]] = {}
    if _installed("late_interaction_kernels"):
        from late_interaction_kernels import maxsim as theirs

        name = f"late-interaction-kernels {version('late-interaction-kernels')}"
        found[name] = lambda q, d, mask, lengths: theirs(q, d, None, mask)
    if _installed("flash_maxsim"):
        from flash_maxsim import flash_maxsim, flash_maxsim_batched_train

        def flash(q: Tensor, d: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
            if len(q) == 1 and not q.requires_grad:
                return flash_maxsim(q[0], d, lengths)[None]
            return flash_maxsim_batched_train(q, d, True, lengths)

        found[f"flash-maxsim {version('flash-maxsim')}"] = flash
    if _installed("sentence_transformers"):
        from sentence_transformers.multi_vector_encoder.scoring import colbert_scores

        name = f"sentence-transformers {version('sentence-transformers')}"
        found[name] = lambda q, d, mask, lengths: colbert_scores(
            q, d[:, None], torch.ones(q.shape[:2], device="cuda"), mask[:, None]
        )
    found["torch einsum"] = lambda q, d, mask, lengths: einsum_scores(
        q, d, None if bool(mask.all()) else lengths
    )
    return found


def _installed(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def scoring(varied: bool) -> list[dict]:
    """One query, 1,000 documents, no gradient."""
    random = torch.Generator("cuda").manual_seed(9)
    lengths = torch.full((1000,), DOCUMENT_VECTORS, device="cuda")
    if varied:
        lengths = torch.randint(10, DOCUMENT_VECTORS + 1, (1000,), device="cuda", generator=random)
    longest = int(lengths.max())
    mask = torch.arange(longest, device="cuda") < lengths[:, None]
    rows = []
    for dtype in (torch.bfloat16, torch.float32):
        inputs = []
        for n in range(SETS):
            q = drawn(1, QUERY_VECTORS, DIMENSION, dtype=dtype, seed=n)
            d = drawn(1000, longest, DIMENSION, dtype=dtype, seed=100 + n) * mask[..., None]
            inputs.append((q, d, d[mask]))
        q_bounds = torch.tensor([0, QUERY_VECTORS], device="cuda")
        d_bounds = bounds(lengths)
        wanted = exact(inputs[0][0], inputs[0][1], lengths)
        title = "documents of 10 to 300" if varied else "documents of 300"

        def ours(n: int, inputs=inputs, q_bounds=q_bounds, d_bounds=d_bounds) -> Tensor:
            q, _, packed = inputs[n]
            return maxsim(q[0], q_bounds, packed, d_bounds)

        runs: dict[str, Callable[[int], Tensor]] = {"mbert_retrieval": ours}
        for name, peer in peers().items():
            runs[name] = lambda n, p=peer, i=inputs: p(i[n][0], i[n][1], mask, lengths)
        for name, run in runs.items():
            rows.append(measured(f"1 query, 1,000 {title}", dtype, name, run, wanted))
    return rows


def measured(case: str, dtype: torch.dtype, name: str, run, wanted: Tensor) -> dict:
    """Milliseconds by the host's launches, and replayed as a CUDA graph (device work alone)."""
    row = {"case": case, "dtype": str(dtype)[6:], "system": name}
    try:
        error = (run(0).double() - wanted).norm() / wanted.norm()
        turn = iter(range(10**9))
        row["error"] = float(error)
        row["ms"] = 1000 * median_seconds(lambda: run(next(turn) % SETS), 50)
    except Exception as fault:
        return row | {"fault": f"{type(fault).__name__}: {fault}"[:200]}
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for n in range(SETS):
                run(n)
        row["graph_ms"] = 1000 * median_seconds(graph.replay, 20) / SETS
    except Exception:
        torch.cuda.synchronize()
    return row


def training() -> list[dict]:
    """64 queries of 32 vectors, 512 documents of 300, forward and backward."""
    lengths = torch.full((512,), DOCUMENT_VECTORS, device="cuda")
    mask = torch.ones(512, DOCUMENT_VECTORS, dtype=torch.bool, device="cuda")
    q_bounds = bounds(torch.full((64,), QUERY_VECTORS, device="cuda"))
    d_bounds = bounds(lengths)
    goal = torch.arange(64, device="cuda") * 8
    rows = []
    for dtype in (torch.bfloat16, torch.float32):
        q = drawn(64, QUERY_VECTORS, DIMENSION, dtype=dtype, seed=1).requires_grad_()
        d = drawn(512, DOCUMENT_VECTORS, DIMENSION, dtype=dtype, seed=2).requires_grad_()

        def ours(q=q, d=d) -> Tensor:
            return maxsim(q.flatten(0, 1), q_bounds, d.flatten(0, 1), d_bounds)

        systems: dict[str, Callable[[], Tensor]] = {"mbert_retrieval": ours}
        for name, peer in peers().items():
            systems[name] = lambda p=peer, q=q, d=d: p(q, d, mask, lengths)
        reference = None
        for name, scores in systems.items():

            def step(scores=scores, q=q, d=d) -> None:
                q.grad = d.grad = None
                F.cross_entropy(scores(), goal).backward()

            row = {
                "case": "64 queries, 512 documents of 300, with gradients",
                "dtype": str(dtype)[6:],
                "system": name,
            }
            try:
                step()
                gradients = torch.cat([q.grad.flatten(), d.grad.flatten()]).double()
                reference = gradients_of(q, d, goal) if reference is None else reference
                row["error"] = float((gradients - reference).norm() / reference.norm())
                row["ms"] = 1000 * median_seconds(step, 10)
                q.grad = d.grad = None  # counted as what the step takes
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                step()
                row["mib"] = (torch.cuda.max_memory_allocated() - before) / 2**20
            except Exception as fault:
                row["fault"] = f"{type(fault).__name__}: {fault}"[:200]
            rows.append(row)
    return rows


def gradients_of(q: Tensor, d: Tensor, goal: Tensor) -> Tensor:
    """By float32 einsum, in parts of the queries that fit in memory; of q and d, float64."""
    q32, d32 = (x.detach().float().requires_grad_() for x in (q, d))
    parts = [einsum_scores(part, d32) for part in q32.split(16)]
    F.cross_entropy(torch.cat(parts), goal).backward()
    return torch.cat([q32.grad.flatten(), d32.grad.flatten()]).double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.parse_args()
    need_cuda()
    rows: list[dict] = []
    for part in (lambda: scoring(False), lambda: scoring(True), training):
        rows += part()
        publish("maxsim", lines_of(rows), rows)


def lines_of(rows: list[dict]) -> list[str]:
    columns = ["case", "dtype", "system", "ms", "ms, as a CUDA graph", "MiB", "relative error"]
    cells = []
    for row in rows:
        if "fault" in row:
            cells.append([row["case"], row["dtype"], row["system"], "did not run", "", "", ""])
            continue
        graph = f"{row['graph_ms']:.3f}" if "graph_ms" in row else ""
        memory = f"{row['mib']:,.0f}" if "mib" in row else ""
        values = [f"{row['ms']:.3f}", graph, memory, f"{row['error']:.1e}"]
        cells.append([row["case"], row["dtype"], row["system"], *values])
    lines = table(columns, cells)
    names = {row["system"].split()[0] for row in rows if "fault" not in row}
    if missing := [name for name in PEERS if name not in names]:
        lines += ["", f"Not measured: {', '.join(missing)}."]
    return lines


if __name__ == "__main__":
    main()
