"""MaxSim with its gradient against sentence-transformers' own, which holds every similarity."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval.training.maxsim import PackedScores


def case(seed: int, sizes: tuple[int, int, int, int, int, int]):
    """Padded queries and documents with masks; some tokens do not count."""
    q, longest_q, d, ways, longest_d, dimension = sizes
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(q, longest_q, dimension, generator=generator).requires_grad_()
    documents = torch.randn(d, ways, longest_d, dimension, generator=generator).requires_grad_()
    queries_mask = torch.rand(q, longest_q, generator=generator) < 0.8
    documents_mask = torch.rand(d, ways, longest_d, generator=generator) < 0.7
    slopes = torch.randn(q, d * ways, generator=generator)
    return (queries, documents), (queries_mask, documents_mask), slopes


@given(
    seed=st.integers(0, 2**16),
    sizes=st.tuples(*(st.integers(1, n) for n in (4, 9, 4, 3, 20, 24))),
)
@settings(max_examples=80, deadline=None)
def test_scores_and_gradients_are_sentence_transformers(seed, sizes):
    from sentence_transformers.multi_vector_encoder.scoring import colbert_scores

    vectors, (queries_mask, documents_mask), slopes = case(seed, sizes)
    found, expected = (
        score(*vectors, queries_mask=queries_mask, documents_mask=documents_mask)
        for score in (PackedScores(), colbert_scores)
    )
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(scores, vectors, slopes) for scores in (found, expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_similarities_are_never_held_whole():
    """64 queries of 32 tokens against 256 documents of 200: the matrix would take 420 MB."""
    code = """
import resource, torch
from mbert_retrieval.training.maxsim import PackedScores
queries = torch.randn(64, 32, 32, requires_grad=True)
documents = torch.randn(256, 1, 200, 32, requires_grad=True)
small = PackedScores()(queries[:1], documents[:1]).sum().backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
PackedScores()(queries, documents).sum().backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120


KERNELS_AGAINST_TORCH = """
import torch
from mbert_retrieval.training import maxsim, maxsim_cuda
g = torch.Generator().manual_seed(0)
for sizes, lengths, dim in (
    ([20, 0, 25, 1], [3, 0, 70, 129, 1], 24), ([7], [200], 128), ([32, 70], [64, 64], 96)
):
    q = torch.randn(sum(sizes), dim, generator=g)
    d = torch.randn(sum(lengths), dim, generator=g)
    own, offsets = (torch.tensor([0, *n]).cumsum(0) for n in (sizes, lengths))
    expected, rows = maxsim.score(q, own, d, offsets)
    scores, best = maxsim_cuda.score(q, own, d, offsets, maxsim.EMPTY, True)
    torch.testing.assert_close(scores, expected)
    assert torch.equal(best.long(), rows)
    scores, _ = maxsim_cuda.score(q, own, d, offsets, maxsim.EMPTY, False)
    torch.testing.assert_close(scores, expected)
    owner = maxsim.sequence_of_rows(own, len(q))
    grad = torch.randn(len(sizes), len(lengths), generator=g)
    theirs = maxsim.gradients_of_matches(q, d, rows, grad, owner)
    for ours, other in zip(maxsim_cuda.gradients(q, d, best, grad, owner), theirs):
        torch.testing.assert_close(ours, other, atol=1e-4, rtol=1e-4)
"""


def test_kernels_agree_with_torch():
    """Triton can interpret its kernels on the CPU, in a process of its own."""
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", KERNELS_AGAINST_TORCH], env=environment, check=True)


@pytest.mark.gpu
def test_on_cuda():
    vectors, masks, slopes = case(0, (5, 20, 4, 2, 150, 128))
    on_cpu = PackedScores()(*vectors, *masks)
    there = [v.detach().cuda().requires_grad_() for v in vectors]
    on_cuda = PackedScores()(*there, *(m.cuda() for m in masks))
    torch.testing.assert_close(on_cuda.cpu(), on_cpu, atol=1e-3, rtol=1e-3)
    expected = torch.autograd.grad(on_cpu, vectors, slopes)
    for ours, theirs in zip(
        torch.autograd.grad(on_cuda, there, slopes.cuda()), expected, strict=True
    ):
        torch.testing.assert_close(ours.cpu(), theirs, atol=1e-3, rtol=1e-3)
