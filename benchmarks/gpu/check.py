"""Whether CUDA computes what the references compute: backbone, nano, PLAID and MaxSim.

    python -m benchmarks.gpu.check

The backbone has ModernBERT-base's size and random weights, the same as transformers' model, which
runs each text alone with SDPA. Differences are ||ours - theirs|| / ||theirs||; in bfloat16 both are
compared with transformers' float32, and ours may err by 1.2 times what theirs does. Writes its
section of docs/results/gpu.md, and exits with 1 where a difference is larger than is allowed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.page import need_cuda, publish, table
from benchmarks.speed.plaid_data import Made
from mbert_retrieval import load_encoder
from mbert_retrieval.backbone import ModernBert, ModernBertConfig
from mbert_retrieval.training.maxsim import EMPTY, maxsim

LENGTHS = [1, 7, 64, 65, 129, 511, 1030, 8192]
TRAINED = [1, 64, 65, 129, 700]
SPREAD = 0.05  # of the random weights: wide enough to show differences
TEXTS = [
    "Return the list of files in a folder, sorted by name.",
    "def read_file(self, path):\n    with open(path) as stream:\n        return stream.read()\n",
    "how to write a file in python",
    "",
    "x",
    "Retry the request when the connection is closed; give up after five attempts. " * 12,
    "class Stack:\n    def push(self, item):\n        self.items.append(item)\n" * 60,
]

Row = tuple[str, str, float, float]  # what, against what, difference, allowed


def share(ours: Tensor, theirs: Tensor) -> float:
    ours, theirs = ours.double(), theirs.double()
    return float(((ours - theirs).norm() / theirs.norm()).detach())


def networks() -> tuple[ModernBert, torch.nn.Module]:
    import transformers

    torch.manual_seed(0)
    config = transformers.ModernBertConfig(initializer_range=SPREAD)
    config._attn_implementation = "sdpa"
    reference = transformers.ModernBertModel(config).eval()
    ours = ModernBert(ModernBertConfig())
    ours.load_state_dict(reference.state_dict())
    return ours.eval().cuda(), reference.cuda()


def drawn(lengths: list[int]) -> tuple[list[Tensor], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(len(lengths))
    texts = [torch.randint(5, 50_000, (n,), generator=generator).cuda() for n in lengths]
    return texts, torch.cat(texts), torch.tensor([0, *lengths]).cumsum(0).cuda()


def backbone() -> Iterator[Row]:
    ours, reference = networks()
    texts, ids, offsets = drawn(LENGTHS)
    lengths = ", ".join(str(n) for n in LENGTHS)

    def theirs(texts: list[Tensor]) -> Tensor:
        return torch.cat([reference(t[None]).last_hidden_state[0] for t in texts])

    with torch.no_grad():
        expected = theirs(texts)
        found = ours(ids, offsets)
        yield f"hidden states, float32, lengths {lengths}", "", share(found, expected), 1e-5
        seen = torch.ones(len(ids), dtype=torch.bool, device="cuda")
        found = ours(ids, offsets, seen)
        yield "the same through the path of query expansion", "", share(found, expected), 1e-5
    texts, ids, offsets = drawn(TRAINED)
    weights = torch.randn(len(ids), 768, device="cuda") / 768
    gradients: dict[str, dict[str, Tensor]] = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with torch.autocast("cuda", dtype, enabled=name != "float32"):
            outs = {"ours": ours(ids, offsets), "theirs": theirs(texts)}
        for side, network in (("ours", ours), ("theirs", reference)):
            network.zero_grad()
            (outs[side].float() * weights).sum().backward()
            gradients[f"{side} {name}"] = {n: p.grad for n, p in network.named_parameters()}
    exact = gradients["theirs float32"]

    def worst(side: str) -> float:
        return max(share(gradients[side][n], exact[n]) for n in exact)

    yield "gradients, float32, the worst parameter", "", worst("ours float32"), 1e-4
    peer = worst("theirs bfloat16")
    label = f"float32 (its own autocast: {peer:.1e})"
    yield "gradients, autocast, the worst parameter", label, worst("ours bfloat16"), 1.2 * peer

    texts, ids, offsets = drawn(LENGTHS)
    ours.bfloat16(), reference.bfloat16()
    with torch.no_grad():
        peer = share(theirs(texts), expected)
        label = f"float32 (its own bfloat16: {peer:.1e})"
        found = ours(ids, offsets)
        yield (
            f"hidden states, bfloat16, lengths {lengths}",
            label,
            share(found, expected),
            1.2 * peer,
        )
        for n, (mine, other) in enumerate(zip(found.split(LENGTHS), texts, strict=True)):
            alone = ours(other, torch.tensor([0, len(other)], device="cuda"))
            if n in (0, len(texts) - 1):
                what = f"bfloat16, {LENGTHS[n]} tokens, packed with others"
                yield what, "ours, alone", share(mine, alone), 1.2 * peer


def nano() -> Iterator[Row]:
    """1 - the least cosine of all vectors."""
    for head in ("dense", "late"):
        exact = load_encoder("nano", head, device="cpu", dtype="float32")
        for dtype, allowed in (("float32", 1e-5), ("bfloat16", 1e-3), ("float16", 1e-3)):
            there = load_encoder("nano", head, device="cuda", dtype=dtype)
            for side in ("documents", "queries"):
                ours = getattr(there, f"encode_{side}")(TEXTS)
                theirs = getattr(exact, f"encode_{side}")(TEXTS)
                assert np.array_equal(ours.offsets, theirs.offsets)
                cosines = (ours.values * theirs.values).sum(1)
                what = f"nano, {head}, {side}, {dtype}: 1 - the least cosine"
                yield what, "the processor, float32", float(1 - cosines.min()), allowed


def engine() -> Iterator[Row]:
    from benchmarks.gpu.plaid import agreement, build, search

    passages, queries = Made(4000, 100).all()
    work = Path(tempfile.mkdtemp())
    folders = {place: build(work / place, passages, device)[0] for place, device in
               (("kernels", None), ("torch", "cuda"))}  # fmt: skip
    for place, folder in folders.items():
        found, expected = search(folder, queries, "cuda")[1], search(folder, queries, None)[1]
        same = agreement(found, expected)
        what = f"plaid, built by {place}"
        yield (
            f"{what}: share of passages that only one found",
            "the kernels",
            1 - same["same"],
            0.02,
        )
        yield f"{what}: largest difference of scores", "the kernels", same["difference"], 1e-3
    errors = [
        folder._current.segments[0].engines["late"].codec.error for folder in folders.values()
    ]
    yield "plaid, error of the vectors", "built by the kernels", errors[1] / errors[0] - 1, 0.02
    shutil.rmtree(work)


def scores() -> Iterator[Row]:
    """Packed, lengths from 0, against einsum of each pair in float32."""
    random = np.random.default_rng(0)
    query_lengths, lengths = random.integers(1, 70, 9), random.integers(0, 300, 40)
    lengths[[3, 17]] = 0
    bounds = [torch.tensor([0, *n]).cumsum(0).cuda() for n in (query_lengths, lengths)]
    torch.manual_seed(0)
    for dtype, allowed in ((torch.float32, 1e-5), (torch.bfloat16, 5e-3), (torch.float16, 1e-3)):
        q, d = (
            torch.nn.functional.normalize(torch.randn(int(n.sum()), 128, device="cuda"), dim=1)
            for n in (query_lengths, lengths)
        )
        q, d = (x.to(dtype).requires_grad_() for x in (q, d))
        found = maxsim(q, bounds[0], d, bounds[1])
        slopes = torch.randn_like(found)
        ours = torch.autograd.grad(found, (q, d), slopes)
        q32, d32 = (x.detach().float().requires_grad_() for x in (q, d))
        parts = [
            torch.einsum("ld,kd->lk", a, b).amax(1).sum()
            if len(b)
            else torch.tensor(EMPTY, device="cuda")
            for a in q32.split(query_lengths.tolist())
            for b in d32.split(lengths.tolist())
        ]
        expected = torch.stack(parts).view(found.shape)
        theirs = torch.autograd.grad(expected, (q32, d32), slopes)
        full = torch.from_numpy(lengths > 0).cuda()
        name = str(dtype)[6:]
        assert torch.equal(found[:, ~full], expected[:, ~full])
        yield f"MaxSim, {name}", "einsum, float32", share(found[:, full], expected[:, full]), 1e-5
        with torch.no_grad():
            again = maxsim(q, bounds[0], d, bounds[1])
        yield (
            f"MaxSim, {name}, no gradient",
            "with one",
            share(again[:, full], found[:, full]),
            1e-6,
        )
        for what, a, b in zip(("queries", "documents"), ours, theirs, strict=True):
            yield f"MaxSim, {name}, gradients by {what}", "einsum, float32", share(a, b), allowed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.parse_args()
    need_cuda()
    rows: list[Row] = []
    faults = 0
    for part in (scores, backbone, nano, engine):
        for row in part():
            rows.append(row)
            good = row[2] <= row[3]
            faults += not good
            print("" if good else "TOO LARGE", *row, flush=True)
    cells = [
        [what, peer or "transformers, SDPA", f"{value:.1e}", f"{allowed:.1e}"]
        for what, peer, value, allowed in rows
    ]
    columns = ["what", "against", "difference", "allowed"]
    publish("check", table(columns, cells), rows)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
