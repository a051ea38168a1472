#!/usr/bin/env python3
"""The model of mhmoe.h once more, in PyTorch with autograd and float64: tests/test_model.c compares with it.

Written from the equations (docs/MHMOE.md, src/layers/inputs.h, GPT-2, Llama) and not from the C code. It takes the
slow way where C takes the fast one: every expert sees every sub-token and a sparse matrix of gates weighs the results,
so nothing here sorts, gathers or packs. `python3 tests/torch_reference.py` (apt: python3-torch) rewrites
tests/fixtures/torch.safetensors: for each case the initial parameters, ten batches, the losses and gradient
norms of ten AdamW steps, the gradients of the first and the parameters after the last. The tests read the
file and need no Python. Seeds are fixed; another build of PyTorch may differ in the last bits, so cases can be
named (`torch_reference.py CASE...`): then only those are computed, and the others stay as they are in the file.
"""
import json
import math
import os
import struct
import sys
import zlib

import torch
from torch.nn import functional

STEPS, LR, BETA1, BETA2, DECAY, CLIP = 10, 1e-2, 0.9, 0.95, 0.1, 1.0
EPS = 1e-6  # the bias of the keys has no gradient but rounding; divided by 1e-8 it would show after ten steps
BALANCE_WEIGHT, Z_WEIGHT, BIAS_STEP = 0.01, 0.1, 0.02
MARGIN = 1e-4  # between the K-th and the next probability: far above any rounding, so both sides route alike
FIXTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures", "torch.safetensors")

# Sizes as in mhmoe.h. tests/test_model.c has the same table.
# head, merge: layers in the stacks; D: dimensions of the cosine router; Fs: hidden width of the shared expert.
# rms, rotary, act, bias, tie, qk: what GPT-2, Llama and others build a block of.
# examples: of a masked model, those of each batch as (has a picture, tokens); P patches a picture, Q numbers a patch.
# bf16: what is multiplied by products, and what is kept for backward, is rounded (--dtype bf16).
DEFAULTS = dict(H=1, E=1, K=1, F=1, every=1, head=0, merge=0, residual=False, renormalize=False, D=0, Fs=0,
                aux=True, lossfree=False, z=False, rms=False, rotary=False, act="gelu", bias=True, tie=True, qk=False,
                examples=(), P=0, Q=0, codes=0, bf16=False)
LLAMA = dict(rms=True, rotary=True, act="swiglu", bias=False, tie=False)
MODERN = dict(rms=True, rotary=True, act="relu2", bias=False, qk=True)
PICTURES = dict(P=4, Q=12, T=9, codes=11, B=4)
CASES = {
    "dense": dict(ffn="dense", V=37, T=9, C=12, L=2, NH=3, B=3),
    "smoe": dict(ffn="smoe", V=37, T=9, C=12, L=2, NH=2, B=3, E=5, K=2, F=7),
    "mhmoe": dict(ffn="mhmoe", V=31, T=7, C=12, L=3, NH=4, B=2, H=2, E=5, K=2, F=7, every=2, head=1,
                  merge=1),
    "renormalize": dict(ffn="mhmoe", V=29, T=7, C=15, L=2, NH=5, B=3, H=3, E=7, K=3, F=6, every=2, head=1,
                        merge=1, renormalize=True),
    "residual": dict(ffn="mhmoe", V=23, T=11, C=12, L=1, NH=1, B=2, H=4, E=6, K=1, F=5, merge=1,
                     residual=True),
    "bare": dict(ffn="mhmoe", V=23, T=5, C=9, L=2, NH=3, B=3, H=3, E=4, K=2, F=3, head=1, residual=True,
                 renormalize=True, aux=False),
    "cosine": dict(ffn="mhmoe", V=29, T=7, C=12, L=3, NH=3, B=2, H=3, E=5, K=2, F=6, every=2, head=2, merge=1,
                   D=3, Fs=5, z=True),
    "biased": dict(ffn="mhmoe", V=23, T=7, C=12, L=2, NH=2, B=3, H=2, E=6, K=2, F=5, head=1, merge=2,
                   renormalize=True, D=5, Fs=4, aux=False, lossfree=True, z=True),
    "llama dense": dict(LLAMA, ffn="dense", V=19, T=9, C=12, L=2, NH=2, B=3),
    "llama smoe": dict(LLAMA, ffn="smoe", V=17, T=7, C=12, L=2, NH=3, B=2, E=5, K=2, F=7, every=2),
    "llama mhmoe": dict(LLAMA, ffn="mhmoe", V=19, T=8, C=12, L=2, NH=1, B=3, H=2, E=5, K=2, F=7, head=1, merge=1,
                        Fs=5),
    "modern mhmoe": dict(MODERN, ffn="mhmoe", V=17, T=9, C=12, L=2, NH=2, B=2, H=3, E=6, K=2, F=5, every=2, head=2,
                         merge=1, D=3, Fs=4, renormalize=True, z=True),
    # mixtures that no --block stands for
    "unbiased": dict(ffn="mhmoe", V=19, T=7, C=12, L=2, NH=2, B=3, H=2, E=5, K=2, F=7, head=1, merge=2, rotary=True,
                     bias=False, tie=False, qk=True),
    "learned": dict(ffn="smoe", V=17, T=9, C=9, L=2, NH=3, B=2, E=5, K=2, F=7, every=2, Fs=4, rms=True, act="swiglu",
                    qk=True, aux=False, lossfree=True),
    "masked dense": dict(PICTURES, ffn="dense", V=17, C=12, L=2, NH=3,
                         examples=((False, 3), (True, 5), (True, 0), (True, 2))),
    "masked mhmoe": dict(PICTURES, ffn="mhmoe", V=13, C=12, L=2, NH=2, H=2, E=5, K=2, F=7, every=2, head=1, merge=1,
                         examples=((True, 1), (False, 5), (True, 4), (True, 0))),
    "masked modern mhmoe": dict(MODERN, **PICTURES, ffn="mhmoe", V=19, C=12, L=2, NH=2, H=3, E=6, K=2, F=5, head=1,
                                merge=1, D=3, Fs=4, z=True, examples=((True, 0), (False, 1), (True, 5), (False, 4))),
    "bf16 dense": dict(bf16=True, ffn="dense", V=37, T=35, C=20, L=2, NH=2, B=2),
    "bf16 mhmoe": dict(bf16=True, ffn="mhmoe", V=31, T=9, C=12, L=2, NH=4, B=2, H=2, E=5, K=2, F=7, every=2, head=2,
                       merge=1, Fs=5),
    "bf16 llama smoe": dict(LLAMA, bf16=True, ffn="smoe", V=17, T=7, C=12, L=2, NH=3, B=3, E=5, K=2, F=7, every=2),
    "bf16 masked": dict(MODERN, **PICTURES, bf16=True, ffn="mhmoe", V=19, C=12, L=2, NH=2, H=3, E=6, K=2, F=5, head=1,
                        merge=1, D=3, examples=((True, 0), (False, 1), (True, 5), (False, 4))),
    # without pictures
    "masked text": dict(LLAMA, ffn="smoe", V=17, T=7, C=12, L=2, NH=3, B=3, E=5, K=2, F=7, every=2,
                        examples=((False, 2), (False, 7), (False, 3))),
}


class Sizes:
    """The numbers of one case, and what follows from them."""

    def __init__(self, case):
        self.__dict__.update(DEFAULTS, **case)
        self.S = self.C // self.H
        self.is_moe = [self.ffn != "dense" and l % self.every == self.every - 1 for l in range(self.L)]
        self.LM = sum(self.is_moe)
        self.LD = self.L - self.LM
        self.masked = len(self.examples) > 0
        self.W = 2 if self.act == "swiglu" else 1  # matrices on the way in
        # as many parameters with three matrices as with two: 2/3 of the width, in whole eights
        self.Fd = 8 * self.C // 3 // 8 * 8 if self.act == "swiglu" else 4 * self.C


def parameter_list(z):
    """(name, decay, shape) in the order of PARAMETERS in mhmoe.h; tensors of no elements left out."""
    C, S, F, Fs, Fd = z.C, z.S, z.F, z.Fs, z.Fd
    head, merge, cosine, shared = z.LM * z.head, z.LM * z.merge, z.LM * (z.D > 0), z.LM * (Fs > 0)
    bias, shift = int(z.bias), int(z.bias and not z.rms)  # of linear layers, of norms
    listed = [
        ("wte", True, (z.V, C)), ("wpe", False, (0 if z.rotary else z.T, C)),
        ("ln1w", False, (z.L, C)), ("ln1b", False, (shift * z.L, C)),
        ("qkvw", True, (z.L, 3 * C, C)), ("qkvb", False, (bias * z.L, 3 * C)),
        ("attprojw", True, (z.L, C, C)), ("attprojb", False, (bias * z.L, C)),
        ("ln2w", False, (z.L, C)), ("ln2b", False, (shift * z.L, C)),
        ("fcw", True, (z.LD, z.W * Fd, C)), ("fcb", False, (bias * z.LD, z.W * Fd)),
        ("fcprojw", True, (z.LD, C, Fd)), ("fcprojb", False, (bias * z.LD, C)),
        ("headw", True, (head, C, C)), ("headb", False, (bias * head, C)),
        ("routerp", True, (cosine, z.D, S)), ("routert", False, (cosine,)),
        ("routerw", True, (z.LM, z.E, z.D or S)),
        ("expw1", True, (z.LM, z.E, z.W * F, S)), ("expb1", False, (bias * z.LM, z.E, z.W * F)),
        ("expw2", True, (z.LM, z.E, S, F)), ("expb2", False, (bias * z.LM, z.E, S)),
        ("sharedw1", True, (shared, z.W * Fs, S)), ("sharedb1", False, (bias * shared, z.W * Fs)),
        ("sharedw2", True, (shared, S, Fs)), ("sharedb2", False, (bias * shared, S)),
        ("mergew", True, (merge, C, C)), ("mergeb", False, (bias * merge, C)),
        ("lnfw", False, (C,)), ("lnfb", False, (shift * C,)),
        ("lmhead", True, (0 if z.tie else z.V, C)),
        ("patchw", True, (C * (z.P > 0), z.Q)), ("patchb", False, (bias * C * (z.P > 0),)),
        ("place", False, (z.P if z.rotary else 0, C)), ("kind", False, (2 * z.masked, C)),
        ("hidden", False, (int(z.masked), C)), ("codew", True, (z.codes, C)),
    ]
    return [entry for entry in listed if math.prod(entry[2]) > 0]


def initial_parameters(z, generator):
    """Large enough random numbers that every part matters and routing is clear-cut; no biases of 0 either."""
    params = {}
    for name, _, shape in parameter_list(z):
        std = 1.0 if name in ("routerp", "routerw") else 0.3
        mean = 1.0 if name in ("ln1w", "ln2w", "lnfw") else math.log(0.3) if name == "routert" else 0.0
        value = mean + std * torch.randn(shape, generator=generator, dtype=torch.float64)
        params[name] = value.requires_grad_()
    return params


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def act(z, x):
    """Of hidden units (..., W F). With SwiGLU the first half of them are gates, the second what they let through."""
    if z.act == "swiglu":
        gate, value = x.chunk(2, dim=-1)
        return gate * torch.sigmoid(gate) * value
    return gelu(x) if z.act == "gelu" else x.clamp(min=0) ** 2


def rounded(x):
    """To bf16, with an 8 bit mantissa, by way of float32 as everybody does it."""
    return x.to(torch.float32).to(torch.bfloat16).to(torch.float64)


class Rounded(torch.autograd.Function):
    """a (...,M,K) @ b (...,K,N) of numbers in bf16, whose gradients are such products, too."""

    @staticmethod
    def forward(context, a, b):
        context.save_for_backward(a, b)
        return rounded(a) @ rounded(b)

    @staticmethod
    def backward(context, d):
        a, b = context.saved_tensors
        da, db = rounded(d) @ rounded(b).transpose(-1, -2), rounded(a).transpose(-1, -2) @ rounded(d)
        return da.sum_to_size(a.shape), db.sum_to_size(b.shape)


def product(z, a, b):
    return Rounded.apply(a, b) if z.bf16 else a @ b


class Kept(torch.autograd.Function):
    """What is kept in bf16, and used from there. With `both`, so is its gradient."""

    @staticmethod
    def forward(context, x, both):
        context.both = both
        return rounded(x)

    @staticmethod
    def backward(context, d):
        return rounded(d) if context.both else d, None


def kept(z, x, both=False):
    return Kept.apply(x, both) if z.bf16 else x


def linear(z, p, w, b, i, x):
    """Matrix i of tensor w, and bias i of tensor b if there is such a tensor."""
    y = product(z, x.reshape(-1, x.shape[-1]), p[w][i].T).reshape(*x.shape[:-1], -1)
    return y + p[b][i] if b in p else y


def turned(x, positions, side=1):
    """Rotary positions (arXiv 2104.09864) of x (B,NH,T,hs): numbers i and i + hs/2 of a head as one complex number,
    which position t turns by t / 10000^(2i/hs); or back, with side -1."""
    half = x.shape[3] // 2
    i, t = torch.arange(half, dtype=torch.float64), positions.to(torch.float64)
    angle = side * t[:, None] * 10000.0 ** (-2 * i / x.shape[3])
    y = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat((y.real, y.imag), dim=3)


class Placed(torch.autograd.Function):
    """What `place` makes of queries or keys (B,NH,T,hs), with their mean square brought to 1 if `unit`, kept in bf16.
    Backward has only what was kept: with y = s x turned, dx = s (dy - y mean(y dy)) turned back."""

    @staticmethod
    def forward(context, x, unit, place):
        scale = 1 / (x.square().mean(3, keepdim=True) + 1e-5).sqrt() if unit else torch.ones_like(x[..., :1])
        y = rounded(place(x * scale, 1))
        context.save_for_backward(y, scale)
        context.unit, context.place = unit, place
        return y

    @staticmethod
    def backward(context, d):
        y, scale = context.saved_tensors
        if context.unit:
            d = d - y * (y * d).mean(3, keepdim=True)
        return scale * context.place(d, -1), None, None


class Attention(torch.autograd.Function):
    """softmax(q k^T / sqrt(hs)) v in bf16. As is usual, the softmax's gradient takes the sum of P dP to be that of
    dO O: the same number, but for what is rounded on the way to either."""

    @staticmethod
    def forward(context, q, k, v, unseen):
        scores = rounded(q) @ rounded(k).transpose(2, 3) / math.sqrt(q.shape[3])
        weights = scores.masked_fill(unseen, -math.inf).softmax(3)
        out = rounded(rounded(weights) @ rounded(v))
        context.save_for_backward(q, k, v, weights, out)
        return out

    @staticmethod
    def backward(context, d):
        q, k, v, weights, out = context.saved_tensors
        d_weights = rounded(d) @ rounded(v).transpose(2, 3)
        d_scores = rounded(weights * (d_weights - (d * out).sum(3, keepdim=True)) / math.sqrt(q.shape[3]))
        return (d_scores @ rounded(k), d_scores.transpose(2, 3) @ rounded(q),
                rounded(weights).transpose(2, 3) @ rounded(d), None)


def attention(z, p, l, x, positions, unseen):
    """positions (T); unseen (T,T): whether a row is kept from seeing another."""
    B, T, C = x.shape
    qkv = linear(z, p, "qkvw", "qkvb", l, x)
    q, k, v = (u.reshape(B, T, z.NH, C // z.NH).transpose(1, 2) for u in qkv.split(C, dim=2))
    if z.bf16:
        def place(u, side):
            return turned(u, positions, side) if z.rotary else u
        q, k = Placed.apply(q, z.qk, place), Placed.apply(k, z.qk, place)
        y = Attention.apply(q, k, kept(z, v), unseen)
        return linear(z, p, "attprojw", "attprojb", l, y.transpose(1, 2).reshape(B, T, C))
    if z.qk:
        q, k = (u / (u.square().mean(3, keepdim=True) + 1e-5).sqrt() for u in (q, k))
    if z.rotary:
        q, k = turned(q, positions), turned(k, positions)
    scores = q @ k.transpose(2, 3) / math.sqrt(C // z.NH)
    y = scores.masked_fill(unseen, -math.inf).softmax(3) @ v
    return linear(z, p, "attprojw", "attprojb", l, y.transpose(1, 2).reshape(B, T, C))


def stack(z, p, name, first, depth, x):
    """Layers first..first+depth-1, GELU between them."""
    for i in range(first, first + depth):
        x = linear(z, p, name + "w", name + "b", i, x if i == first else gelu(x))
    return x


def feed_forward(z, p, name, ends, i, x):
    """Layer i of the tensors whose names are `name` and each of the four `ends`."""
    w1, b1, w2, b2 = (name + end for end in ends.split())
    return linear(z, p, w2, b2, i, act(z, kept(z, linear(z, p, w1, b1, i, x), both=True)))


def scores(z, p, m, x):
    if z.D == 0:
        return x @ p["routerw"][m].T

    def unit(v):
        return v / (v.square().sum(1, keepdim=True) + 1e-12).sqrt()

    return unit(x @ p["routerp"][m].T) @ unit(p["routerw"][m]).T / p["routert"][m].exp()


def moe(z, p, m, x, bias):
    """The m-th MoE layer: output, E7, z-loss, load, and the smallest distance of a chosen expert from one left out."""
    xh = stack(z, p, "head", m * z.head, z.head, x)                                    # E1
    xh = kept(z, xh.reshape(-1, z.S))                                               # E2
    r = scores(z, p, m, xh)                                                         # E3
    probs = r.softmax(1)
    ranked, ids = (probs + bias).sort(dim=1, descending=True)                       # E4
    chosen = torch.zeros_like(probs).scatter(1, ids[:, :z.K], 1.0)
    margin = (ranked[:, z.K - 1] - ranked[:, z.K]).min().item() if z.K < z.E else math.inf
    gates = probs * chosen
    if z.renormalize:
        gates = gates / gates.sum(1, keepdim=True)
    hidden = product(z, xh[None], p["expw1"][m].transpose(1, 2))                    # (E,N,F)
    hidden = act(z, kept(z, hidden + p["expb1"][m][:, None] if z.bias else hidden, both=True))
    outputs = product(z, hidden, p["expw2"][m].transpose(1, 2)).transpose(0, 1)
    outputs = kept(z, outputs + p["expb2"][m] if z.bias else outputs)
    o = torch.einsum("ne,nes->ns", gates, outputs)                                  # E5
    if z.residual:
        o = o + xh
    if z.Fs:
        o = o + feed_forward(z, p, "shared", "w1 b1 w2 b2", m, xh)
    y = stack(z, p, "merge", m * z.merge, z.merge, o.reshape(x.shape))                 # E6
    balance = z.E * (chosen.mean(0) / z.K * probs.mean(0)).sum()                    # E7; a share has no gradient
    return y, balance, r.logsumexp(1).square().mean(), chosen.sum(0), margin


class Batches:
    """What a case is shown in all steps. tokens, targets (STEPS, B, T). Of a masked model all examples stand one behind
    the other in a single row of T = R, tokens -1 (a patch) and -2 (hidden), targets from V on visual codes, and with
    them are positions (R), example (R) the number of each row's, and pixels (STEPS, R, Q), 0 where no patch is."""

    def __init__(self, z, generator):
        if z.masked:
            self.masked(z, generator)
            return
        shape = (STEPS, z.B, z.T)
        self.tokens = torch.randint(z.V, shape, generator=generator)
        self.targets = torch.randint(z.V, shape, generator=generator)
        self.targets[torch.rand(shape, generator=generator) < 0.2] = -1
        self.positions = torch.arange(z.T)
        self.unseen = torch.ones(z.T, z.T, dtype=torch.bool).triu(1)

    def masked(self, z, generator):
        rows = [(b, t) for b, (picture, n) in enumerate(z.examples) for t in range(0 if picture else z.P, z.P + n)]
        self.example, self.positions = torch.tensor(rows).T
        shape, patch = (STEPS, 1, len(rows)), self.positions < z.P
        words = torch.randint(z.V, shape, generator=generator)
        codes = torch.randint(max(z.codes, 1), shape, generator=generator)
        hidden = torch.rand(shape, generator=generator) < 0.5
        asked = torch.rand(shape, generator=generator) < 0.9
        self.tokens = torch.where(hidden, -2, torch.where(patch, -1, words))
        self.targets = torch.where(hidden & asked, torch.where(patch, z.V + codes, words), -1)
        self.pixels = torch.randn((STEPS, len(rows), z.Q), generator=generator, dtype=torch.float64)
        self.pixels[self.tokens[:, 0] != -1] = 0
        self.unseen = self.example[:, None] != self.example[None, :]

    def tensors(self, z):
        """What the test needs of it."""
        out = {"tokens": self.tokens, "targets": self.targets}
        if z.masked:
            out.update(positions=self.positions, example=self.example)
        if z.P:
            out["pixels"] = self.pixels
        return out


def shown(z, p, batches, step):
    """What enters: of each row what it shows, and where it stands."""
    tokens, t = batches.tokens[step], batches.positions
    x = p["wte"][tokens.clamp(min=0)]
    if z.masked:
        x = torch.where((tokens == -2)[..., None], p["hidden"][0], x)
        x = x + p["kind"][(t >= z.P).long()]
    if z.P:
        patches = product(z, batches.pixels[step], p["patchw"].T) + (p["patchb"] if z.bias else 0)
        x = torch.where((tokens == -1)[..., None], patches + p["kind"][0], x)
    if not z.rotary:
        return x + p["wpe"][t]
    if z.P:
        x = x + torch.where((t < z.P)[:, None], p["place"][t.clamp(max=z.P - 1)], 0.0)
    return x


def cross_entropies(z, p, x, targets):
    """Their mean over the targets that are not -1; x is what the output heads read."""
    x = x.reshape(-1, z.C)
    targets = targets.reshape(-1)
    logits = product(z, x, p["wte" if z.tie else "lmhead"].T)
    if not z.codes:
        return functional.cross_entropy(logits, targets, ignore_index=-1)
    word, code = (targets >= 0) & (targets < z.V), targets >= z.V
    sums = functional.cross_entropy(logits[word], targets[word], reduction="sum") + functional.cross_entropy(
        product(z, x[code], p["codew"].T), targets[code] - z.V, reduction="sum")
    return sums / (word | code).sum()


def forward(z, p, batches, step, bias):
    """Mean cross-entropy over the targets that are not -1; E7 and z-loss summed over layers; loads; smallest margin."""
    def norm(x, name, *i):
        w, b = (p[name + end][i] if name + end in p else None for end in "wb")
        if z.rms:  # arXiv 1910.07467
            return x / (x.square().mean(2, keepdim=True) + 1e-5).sqrt() * w
        return functional.layer_norm(x, (z.C,), w, b, eps=1e-5)

    x = shown(z, p, batches, step)
    balance = z_loss = torch.zeros((), dtype=torch.float64)
    loads, margin, d = [], math.inf, 0
    for l in range(z.L):
        x = x + attention(z, p, l, kept(z, norm(x, "ln1", l)), batches.positions, batches.unseen)
        h = kept(z, norm(x, "ln2", l))
        if z.is_moe[l]:
            m = len(loads)
            y, balance_l, z_loss_l, load, margin_l = moe(z, p, m, h, bias[m])
            balance, z_loss, margin = balance + balance_l, z_loss + z_loss_l, min(margin, margin_l)
            loads.append(load)
        else:
            y, d = feed_forward(z, p, "fc", "w b projw projb", d, h), d + 1
        x = x + y
    loss = cross_entropies(z, p, norm(x, "lnf"), batches.targets[step])
    return loss, balance, z_loss, loads, margin


def train(z, seed):
    """Ten steps from a seed: the tensors of the fixture, and the smallest margin on the way."""
    generator = torch.Generator().manual_seed(seed)
    params = initial_parameters(z, generator)
    batches = Batches(z, generator)
    out = batches.tensors(z)
    out.update((f"param/{name}", p.detach().clone()) for name, p in params.items())

    groups = [{"params": [params[n] for n, decay, _ in parameter_list(z) if decay == with_decay],
               "weight_decay": DECAY if with_decay else 0.0} for with_decay in (True, False)]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(BETA1, BETA2), eps=EPS)
    bias = torch.zeros(z.LM, z.E, dtype=torch.float64)
    history, smallest = [], math.inf
    for step in range(STEPS):
        optimizer.zero_grad()
        loss, balance, z_loss, loads, margin = forward(z, params, batches, step, bias)
        (loss + BALANCE_WEIGHT * balance * z.aux + Z_WEIGHT * z_loss * z.z).backward()
        norm = math.sqrt(sum((p.grad ** 2).sum().item() for p in params.values()))
        if step == 0:
            out.update((f"grad/{name}", p.grad.clone()) for name, p in params.items())
        for p in params.values():
            p.grad *= min(1.0, CLIP / norm)  # torch's clip_grad_norm_ adds 1e-6 to the norm; we do not
        optimizer.step()
        for m, load in enumerate(loads):
            bias[m] += BIAS_STEP * torch.sign(load.mean() - load) * z.lossfree
        history.append((loss.item(), balance.item(), z_loss.item(), norm))
        smallest = min(smallest, margin)
    for i, name in enumerate(("loss", "balance", "z_loss", "norm")):
        out[name] = torch.tensor([row[i] for row in history], dtype=torch.float64)
    out.update((f"final/{name}", p.detach()) for name, p in params.items())
    if z.lossfree:
        out["router.bias"] = bias
    return out, smallest


def tensor_bytes(t):
    return t.contiguous().numpy().astype("<f8" if t.is_floating_point() else "<i8").tobytes()


def safetensors_write(path, tensors):
    """The file format of src/run/checkpoint.h: safetensors, with a CRC-32 of each tensor and of the header."""
    metadata, header, data = {}, {}, b""
    for name, t in tensors.items():
        raw = tensor_bytes(t)
        metadata["crc32." + name] = f"{zlib.crc32(raw):08x}"
        header[name] = {"dtype": "F64" if t.is_floating_point() else "I64", "shape": list(t.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    metadata["crc32.header"] = "0" * 8
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    crc = f"{zlib.crc32(text):08x}".encode()
    text = text.replace(b'"crc32.header":"' + b"0" * 8, b'"crc32.header":"' + crc)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + data)


def safetensors_read(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    dtypes = {"F64": torch.float64, "I64": torch.int64}
    return {name: torch.frombuffer(bytearray(data[slice(*t["data_offsets"])]), dtype=dtypes[t["dtype"]])
            .reshape(t["shape"]) for name, t in header.items() if name != "__metadata__"}


def case_tensors(name):
    """With the first seed by which all choices of experts are clear."""
    z, seed, margin = Sizes(CASES[name]), 0, 0.0
    while margin < MARGIN:
        seed += 1
        out, margin = train(z, seed)
    loss, norm = out["loss"], out["norm"]
    print(f"{name:19} seed {seed:2}  margin {margin:.1e}  loss {loss[0]:.4f} -> {loss[-1]:.4f}  "
          f"gradient norm {norm.min():.2f} to {norm.max():.2f}")
    return {f"{name}/{key}": t for key, t in out.items()}


def main(names):
    torch.set_num_threads(1)
    kept, tensors = safetensors_read(FIXTURE) if names else {}, {}
    for name in CASES:
        if name in names or not names:
            tensors.update(case_tensors(name))
        else:
            tensors.update((key, t) for key, t in kept.items() if key.startswith(name + "/"))
    safetensors_write(FIXTURE, tensors)
    print(f"{len(tensors)} tensors, {os.path.getsize(FIXTURE)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
