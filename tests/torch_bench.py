"""The same training step in PyTorch, for make bench-torch: tokens/s to set beside build/bench.

A plain GPT with the MH-MoE layer as a PyTorch user would write it: experts in a ModuleList, each applied to the
sub-tokens that chose it. Same shapes and optimizer as tests/bench.c; random tokens. Run with
OMP_NUM_THREADS=N python3 tests/torch_bench.py dense|EXPERTS, where EXPERTS is a number."""
import os
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

V, T, B, RUNS = 4096, 256, 8, 7


class Attention(nn.Module):
    def __init__(self, C, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.register_buffer("future", torch.ones(T, T).triu(1).bool())

    def forward(self, x):
        C = x.shape[-1]
        q, k, v = (z.view(B, T, self.heads, -1).transpose(1, 2) for z in self.qkv(x).split(C, dim=-1))
        if hasattr(F, "scaled_dot_product_attention"):
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
            o = scores.masked_fill(self.future, float("-inf")).softmax(-1) @ v
        return self.out(o.transpose(1, 2).reshape(B, T, C))


def feed_forward(width, hidden):
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))


class MultiHeadMoE(nn.Module):
    def __init__(self, C, H=4, E=8, K=2, hidden=256):
        super().__init__()
        self.S, self.K = C // H, K
        self.head, self.merge = nn.Linear(C, C), nn.Linear(C, C)
        self.router = nn.Linear(self.S, E, bias=False)
        self.experts = nn.ModuleList(feed_forward(self.S, hidden) for _ in range(E))

    def forward(self, x):
        sub = self.head(x).view(-1, self.S)
        p = self.router(sub).softmax(-1)
        gates, picks = p.topk(self.K, dim=-1)
        out = torch.zeros_like(sub)
        for e, expert in enumerate(self.experts):
            n, k = (picks == e).nonzero(as_tuple=True)
            if len(n):
                out.index_add_(0, n, expert(sub[n]) * gates[n, k, None])
        load = torch.bincount(picks.flatten(), minlength=p.shape[-1]) / picks.numel()
        self.balance = p.shape[-1] * (load * p.mean(0)).sum()
        return self.merge(out.view_as(x))


class Block(nn.Module):
    def __init__(self, C, heads, ffn):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.attention, self.ffn = Attention(C, heads), ffn

    def forward(self, x):
        x = x + self.attention(self.ln1(x))
        return x + self.ffn(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, L, C, heads, make_ffn):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(V, C), nn.Embedding(T, C)
        self.blocks = nn.ModuleList(Block(C, heads, make_ffn()) for _ in range(L))
        self.ln = nn.LayerNorm(C)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight
        for block in self.blocks:
            x = block(x)
        logits = self.ln(x) @ self.wte.weight.T
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return loss + 0.01 * sum(b.ffn.balance for b in self.blocks if hasattr(b.ffn, "balance"))


def main():
    kind = sys.argv[1]
    torch.manual_seed(0)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    if kind == "dense":
        name, model = "dense L6 C384", GPT(6, 384, 6, lambda: feed_forward(384, 4 * 384))
    else:
        name, model = f"mhmoe L4 C256 E={kind}", GPT(4, 256, 4, lambda: MultiHeadMoE(256, E=int(kind)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    rates = []
    for run in range(RUNS + 2):  # the first two warm up
        tokens, targets = torch.randint(V, (B, T)), torch.randint(V, (B, T))
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(tokens, targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rates.append(B * T / (time.perf_counter() - start))
    print(f"PyTorch {torch.__version__:14} {name:20} {statistics.median(rates[2:]):10.1f} tokens/s")


if __name__ == "__main__":
    main()
