"""The kernels between a layer's products against what eager torch computes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from mbert_retrieval.backbone import ModernBert, ModernBertConfig, initialise
from mbert_retrieval.backbone.rotary import rotate, rotation
from support.tiny_models import tiny_config

AGAINST_EAGER = """
import sys, torch
sys.path[:0] = ["tests", "tests/backbone"]
import test_cuda_layers as tests
for tokens, heads, head_dim in ((1, 2, 16), (37, 3, 24), (70, 12, 64)):
    tests.check_rotation("cpu", torch.float32, tokens, heads, head_dim)
for rows, columns in ((1, 40), (9, 600)):
    tests.check_geglu("cpu", torch.float32, rows, columns)
"""


def close(ours, theirs, dtype):
    tolerance = {torch.float32: 1e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(ours.float(), theirs.float(), atol=tolerance, rtol=tolerance)


def check_rotation(device, dtype, tokens, heads, head_dim):
    from mbert_retrieval.backbone.cuda_layers import rotate_packed

    generator = torch.Generator().manual_seed(tokens)
    qkv = torch.randn(tokens, 3, heads, head_dim, generator=generator).to(device, dtype)
    slopes = torch.randn(3, tokens, heads, head_dim, generator=generator).to(device, dtype)
    positions = torch.randint(0, 8192, (tokens,), generator=generator).to(device)
    angles = rotation(positions, head_dim, 10_000.0, dtype)
    theirs = qkv.clone().requires_grad_()
    q, k, v = theirs.unbind(1)
    expected = rotate(q, angles), rotate(k, angles), v
    ours = qkv.clone().requires_grad_()
    for found, wanted in zip(rotate_packed(ours, angles), expected, strict=True):
        close(found, wanted, dtype)
    torch.autograd.backward(expected, list(slopes))
    torch.autograd.backward(rotate_packed(ours, angles), list(slopes))
    close(ours.grad, theirs.grad, dtype)
    with torch.no_grad():  # in place
        for found, wanted in zip(rotate_packed(qkv, angles), expected, strict=True):
            close(found, wanted, dtype)


def check_geglu(device, dtype, rows, columns):
    from mbert_retrieval.backbone.cuda_layers import geglu

    generator = torch.Generator().manual_seed(columns)
    ours = (2 * torch.randn(rows, 2 * columns, generator=generator)).to(device, dtype)
    slopes = torch.randn(rows, columns, generator=generator).to(device, dtype)
    theirs = ours.float().requires_grad_()
    ours.requires_grad_()
    a, gate = theirs.chunk(2, dim=-1)
    expected, found = F.gelu(a) * gate, geglu(ours)
    close(found, expected, dtype)
    expected.backward(slopes.float())
    found.backward(slopes)
    close(ours.grad, theirs.grad, dtype)


def test_kernels_agree_with_eager_torch():
    """Triton can interpret its kernels on the CPU, in a process of its own."""
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", AGAINST_EAGER], env=environment, cwd=root, check=True)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_on_cuda(dtype):
    for tokens, heads, head_dim in ((1, 2, 16), (37, 3, 24), (1000, 12, 64)):
        check_rotation("cuda", dtype, tokens, heads, head_dim)
    for rows, columns in ((1, 40), (100, 1152)):
        check_geglu("cuda", dtype, rows, columns)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_network_on_cuda_is_that_on_the_cpu(dtype):
    config = ModernBertConfig.from_dict(tiny_config().to_dict())
    network = ModernBert(config).train()
    initialise(network, config, torch.Generator().manual_seed(0))
    lengths = [1, 2, 9, 64, 65, 129, 700]
    ids = torch.randint(5, 256, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    weights = torch.randn(len(ids), config.hidden_size, generator=torch.Generator().manual_seed(2))
    expected = network(ids, offsets)
    (expected * weights).sum().backward()
    there = ModernBert(config).train()
    there.load_state_dict(network.state_dict())
    there.cuda()
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        found = there(ids.cuda(), offsets.cuda())
    (found.float() * weights.cuda()).sum().backward()
    pairs = [(found, expected)]
    pairs += [
        (p.grad, q.grad) for p, q in zip(there.parameters(), network.parameters(), strict=True)
    ]
    for ours, theirs in pairs:
        difference = (ours.detach().cpu() - theirs).norm() / theirs.norm()
        assert float(difference.detach()) < (1e-4 if dtype == torch.float32 else 5e-2)


@pytest.mark.gpu
def test_attention_drops_what_it_was_told_to():
    config = ModernBertConfig.from_dict(tiny_config(attention_dropout=0.5).to_dict())
    network = ModernBert(config).cuda().bfloat16()
    initialise(network, config, torch.Generator("cuda").manual_seed(0))
    for layer in network.layers:
        layer.attn.out_drop.p = 0.0
    ids, offsets = torch.arange(5, 105).cuda(), torch.tensor([0, 40, 100]).cuda()
    first, second = (network.train()(ids, offsets) for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (network.eval()(ids, offsets) for _ in range(2))
    assert torch.equal(first, second)
