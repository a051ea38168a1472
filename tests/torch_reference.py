#!/usr/bin/env python3
"""The model of mhmoe.h once more, in PyTorch with autograd and float64: tests/test_model.c compares with it.

Written from the equations (docs/MHMOE.md, GPT-2) and not from the C code. It takes the slow way where C takes
the fast one: every expert sees every sub-token and a sparse matrix of gates weighs the results, so nothing
here sorts, gathers or packs. `python3 tests/torch_reference.py` (apt: python3-torch) rewrites
tests/fixtures/torch.safetensors: for each case the initial parameters, ten batches, the losses and gradient
norms of ten AdamW steps, the gradients of the first and the parameters after the last. The tests read the
file and need no Python. Seeds are fixed; another build of PyTorch may differ in the last bits.
"""
import json
import math
import os
import struct
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
DEFAULTS = dict(H=1, E=1, K=1, F=1, every=1, head=0, merge=0, residual=False, renormalize=False, D=0, Fs=0,
                aux=True, bias=False, z=False)
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
                   renormalize=True, D=5, Fs=4, aux=False, bias=True, z=True),
}


class Sizes:
    """The numbers of one case, and what follows from them."""

    def __init__(self, case):
        self.__dict__.update(DEFAULTS, **case)
        self.S = self.C // self.H
        self.is_moe = [self.ffn != "dense" and l % self.every == self.every - 1 for l in range(self.L)]
        self.LM = sum(self.is_moe)
        self.LD = self.L - self.LM


def parameter_list(z):
    """(name, decay, shape) in the order of PARAMETERS in mhmoe.h; tensors of no elements left out."""
    C, F, S = z.C, z.F, z.S
    head, merge = z.LM * z.head, z.LM * z.merge
    listed = [
        ("wte", True, (z.V, C)), ("wpe", False, (z.T, C)),
        ("ln1w", False, (z.L, C)), ("ln1b", False, (z.L, C)),
        ("qkvw", True, (z.L, 3 * C, C)), ("qkvb", False, (z.L, 3 * C)),
        ("attprojw", True, (z.L, C, C)), ("attprojb", False, (z.L, C)),
        ("ln2w", False, (z.L, C)), ("ln2b", False, (z.L, C)),
        ("fcw", True, (z.LD, 4 * C, C)), ("fcb", False, (z.LD, 4 * C)),
        ("fcprojw", True, (z.LD, C, 4 * C)), ("fcprojb", False, (z.LD, C)),
        ("headw", True, (head, C, C)), ("headb", False, (head, C)),
        ("routerp", True, (z.LM * (z.D > 0), z.D, S)), ("routert", False, (z.LM * (z.D > 0),)),
        ("routerw", True, (z.LM, z.E, z.D or S)),
        ("expw1", True, (z.LM, z.E, F, S)), ("expb1", False, (z.LM, z.E, F)),
        ("expw2", True, (z.LM, z.E, S, F)), ("expb2", False, (z.LM, z.E, S)),
        ("sharedw1", True, (z.LM * (z.Fs > 0), z.Fs, S)), ("sharedb1", False, (z.LM * (z.Fs > 0), z.Fs)),
        ("sharedw2", True, (z.LM * (z.Fs > 0), S, z.Fs)), ("sharedb2", False, (z.LM * (z.Fs > 0), S)),
        ("mergew", True, (merge, C, C)), ("mergeb", False, (merge, C)),
        ("lnfw", False, (C,)), ("lnfb", False, (C,)),
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


def attention(z, p, l, x):
    B, T, C = x.shape
    qkv = x @ p["qkvw"][l].T + p["qkvb"][l]
    q, k, v = (u.reshape(B, T, z.NH, C // z.NH).transpose(1, 2) for u in qkv.split(C, dim=2))
    scores = q @ k.transpose(2, 3) / math.sqrt(C // z.NH)
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(future, -math.inf).softmax(3)
    y = (weights @ v).transpose(1, 2).reshape(B, T, C)
    return y @ p["attprojw"][l].T + p["attprojb"][l]


def stack(p, name, first, depth, x):
    """Layers first..first+depth-1, GELU between them."""
    for i in range(first, first + depth):
        x = (x if i == first else gelu(x)) @ p[name + "w"][i].T + p[name + "b"][i]
    return x


def scores(z, p, m, x):
    if z.D == 0:
        return x @ p["routerw"][m].T

    def unit(v):
        return v / (v.square().sum(1, keepdim=True) + 1e-12).sqrt()

    return unit(x @ p["routerp"][m].T) @ unit(p["routerw"][m]).T / p["routert"][m].exp()


def moe(z, p, m, x, bias):
    """The m-th MoE layer: output, E7, z-loss, load, and the smallest distance of a chosen expert from one left out."""
    xh = stack(p, "head", m * z.head, z.head, x)                                    # E1
    xh = xh.reshape(-1, z.S)                                                        # E2
    r = scores(z, p, m, xh)                                                         # E3
    probs = r.softmax(1)
    ranked, ids = (probs + bias).sort(dim=1, descending=True)                       # E4
    chosen = torch.zeros_like(probs).scatter(1, ids[:, :z.K], 1.0)
    margin = (ranked[:, z.K - 1] - ranked[:, z.K]).min().item() if z.K < z.E else math.inf
    gates = probs * chosen
    if z.renormalize:
        gates = gates / gates.sum(1, keepdim=True)
    hidden = gelu(torch.einsum("ns,efs->nef", xh, p["expw1"][m]) + p["expb1"][m])
    outputs = torch.einsum("nef,esf->nes", hidden, p["expw2"][m]) + p["expb2"][m]
    o = torch.einsum("ne,nes->ns", gates, outputs)                                  # E5
    if z.residual:
        o = o + xh
    if z.Fs:
        o = o + gelu(xh @ p["sharedw1"][m].T + p["sharedb1"][m]) @ p["sharedw2"][m].T + p["sharedb2"][m]
    y = stack(p, "merge", m * z.merge, z.merge, o.reshape(x.shape))                 # E6
    balance = z.E * (chosen.mean(0) / z.K * probs.mean(0)).sum()                    # E7; f_e has no gradient
    return y, balance, r.logsumexp(1).square().mean(), chosen.sum(0), margin


def forward(z, p, tokens, targets, bias):
    """Mean cross-entropy over the targets that are not -1; E7 and z-loss summed over layers; loads; smallest margin."""
    def norm(x, w, b):
        return functional.layer_norm(x, (z.C,), w, b, eps=1e-5)

    x = p["wte"][tokens] + p["wpe"]
    balance = z_loss = torch.zeros((), dtype=torch.float64)
    loads, margin, d = [], math.inf, 0
    for l in range(z.L):
        x = x + attention(z, p, l, norm(x, p["ln1w"][l], p["ln1b"][l]))
        h = norm(x, p["ln2w"][l], p["ln2b"][l])
        if z.is_moe[l]:
            m = len(loads)
            y, balance_l, z_loss_l, load, margin_l = moe(z, p, m, h, bias[m])
            balance, z_loss, margin = balance + balance_l, z_loss + z_loss_l, min(margin, margin_l)
            loads.append(load)
        else:
            y, d = gelu(h @ p["fcw"][d].T + p["fcb"][d]) @ p["fcprojw"][d].T + p["fcprojb"][d], d + 1
        x = x + y
    logits = norm(x, p["lnfw"], p["lnfb"]) @ p["wte"].T
    loss = functional.cross_entropy(logits.reshape(-1, z.V), targets.reshape(-1), ignore_index=-1)
    return loss, balance, z_loss, loads, margin


def train(z, seed):
    """Ten steps from a seed: the tensors of the fixture, and the smallest margin on the way."""
    generator = torch.Generator().manual_seed(seed)
    params = initial_parameters(z, generator)
    shape = (STEPS, z.B, z.T)
    tokens = torch.randint(z.V, shape, generator=generator)
    targets = torch.randint(z.V, shape, generator=generator)
    targets[torch.rand(shape, generator=generator) < 0.2] = -1
    out = {"tokens": tokens, "targets": targets}
    out.update((f"param/{name}", p.detach().clone()) for name, p in params.items())

    groups = [{"params": [params[n] for n, decay, _ in parameter_list(z) if decay == with_decay],
               "weight_decay": DECAY if with_decay else 0.0} for with_decay in (True, False)]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(BETA1, BETA2), eps=EPS)
    bias = torch.zeros(z.LM, z.E, dtype=torch.float64)
    history, smallest = [], math.inf
    for step in range(STEPS):
        optimizer.zero_grad()
        loss, balance, z_loss, loads, margin = forward(z, params, tokens[step], targets[step], bias)
        (loss + BALANCE_WEIGHT * balance * z.aux + Z_WEIGHT * z_loss * z.z).backward()
        norm = math.sqrt(sum((p.grad ** 2).sum().item() for p in params.values()))
        if step == 0:
            out.update((f"grad/{name}", p.grad.clone()) for name, p in params.items())
        for p in params.values():
            p.grad *= min(1.0, CLIP / norm)  # torch's clip_grad_norm_ adds 1e-6 to the norm; we do not
        optimizer.step()
        for m, load in enumerate(loads):
            bias[m] += BIAS_STEP * torch.sign(load.mean() - load) * z.bias
        history.append((loss.item(), balance.item(), z_loss.item(), norm))
        smallest = min(smallest, margin)
    for i, name in enumerate(("loss", "balance", "z_loss", "norm")):
        out[name] = torch.tensor([row[i] for row in history], dtype=torch.float64)
    out.update((f"final/{name}", p.detach()) for name, p in params.items())
    if z.bias:
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


def main():
    torch.set_num_threads(1)
    tensors = {}
    for name, case in CASES.items():
        z, seed, margin = Sizes(case), 0, 0.0
        while margin < MARGIN:
            seed += 1
            out, margin = train(z, seed)
        tensors.update((f"{name}/{key}", t) for key, t in out.items())
        loss, norm = out["loss"], out["norm"]
        print(f"{name:12} seed {seed:2}  margin {margin:.1e}  loss {loss[0]:.4f} -> {loss[-1]:.4f}  "
              f"gradient norm {norm.min():.2f} to {norm.max():.2f}")
    safetensors_write(FIXTURE, tensors)
    print(f"{len(tensors)} tensors, {os.path.getsize(FIXTURE)} bytes")


if __name__ == "__main__":
    main()
