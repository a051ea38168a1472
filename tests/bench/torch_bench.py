"""make bench-torch: the same training steps by build/bench and by the best PyTorch we can make, in turn.

Rounds alternate between the two, each in a process of its own, so that a machine whose speed drifts does so for both;
a line of the table compares their medians. "Best" means: Debian's PyTorch gets the OpenBLAS that shares its threads
(see tune); AdamW is fused where it can be; attention is scaled_dot_product_attention, or before PyTorch 2 products
that add the mask themselves; the experts' rows are sorted, then go through a loop or a padded batched product, both
measured, and the fastest of all ways counts: with --compile also each compiled, with --bf16 also each in bf16
(autocast; then ours is --dtype bf16's). "others" is how many processors other programs kept busy: where that is not near 0,
waiting threads cost PyTorch far more than us and the line is no comparison (GOMP_SPINCOUNT=2000 helps it then).

    python3 tests/bench/torch_bench.py [MODEL...] [--threads N] [--rounds N] [--steps N] [--bf16] [--compile]
                                       [--bench FILE]"""
import argparse
import itertools
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time

try:
    import torch
except ImportError as error:
    sys.exit(f"torch_bench.py: {error} in {sys.executable}: apt-get install python3-torch libopenblas0-openmp, or name "
             "a python that has it: make bench-torch PYTHON=...")
from torch import nn
from torch.nn import functional as F

T = 256
MODELS = {  # the line of tests/bench/bench.c, batch, vocabulary, experts
    "dense": ("train dense L6 C384 V4096 T256 B8", 8, 4096, 0),
    "large": ("train dense L6 C384 V50257 T256 B4", 4, 50257, 0),
    **{str(E): (f"train mhmoe L4 C256 H4 K2 F256 T256 B8 E={E}", 8, 4096, E) for E in (8, 32, 128)},
}

# ---- The model of mhmoe.c ---------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, C, heads):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.register_buffer("mask", torch.full((T, T), float("-inf")).triu(1))

    def forward(self, x):
        q, k, v = self.qkv(x).view(len(x), T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if hasattr(F, "scaled_dot_product_attention"):
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            q, k, v = (z.flatten(0, 1) for z in (q, k, v))
            scores = torch.baddbmm(self.mask, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
            o = (scores.softmax(-1) @ v).view(len(x), self.heads, T, -1)
        return self.out(o.transpose(1, 2).reshape(x.shape))


class MultiHeadMoE(nn.Module):
    def __init__(self, C, E, batched, H=4, K=2, hidden=256):
        super().__init__()
        self.S, self.E, self.K, self.batched = C // H, E, K, batched
        self.head, self.merge, self.router = nn.Linear(C, C), nn.Linear(C, C), nn.Linear(self.S, E, bias=False)
        shapes = (E, self.S, hidden), (E, 1, hidden), (E, hidden, self.S), (E, 1, self.S)
        self.w1, self.b1, self.w2, self.b2 = (nn.Parameter(torch.empty(shape)) for shape in shapes)

    def forward(self, x):
        sub = self.head(x).view(-1, self.S)
        p = self.router(sub).softmax(-1)
        gates, picks = p.topk(self.K, dim=-1)
        expert, order = picks.flatten().sort(stable=True)
        count, token = torch.bincount(expert, minlength=self.E), order // self.K
        out = (self.in_batch if self.batched else self.in_loop)(sub.index_select(0, token), expert, count)
        out = (out * gates.flatten()[order, None]).to(sub.dtype)
        out = torch.zeros_like(sub).index_add(0, token, out)
        self.balance = self.E * (count / picks.numel() * p.mean(0)).sum()
        return self.merge(out.view_as(x))

    def in_loop(self, rows, expert, count):
        weights = zip(*(w.unbind() for w in (self.w1, self.b1, self.w2, self.b2)))
        return torch.cat([torch.addmm(b2, F.gelu(torch.addmm(b1, x, w1), approximate="tanh"), w2)
                          for x, (w1, b1, w2, b2) in zip(rows.split(count.tolist()), weights)])

    def in_batch(self, rows, expert, count):
        most = int(count.max())
        slot = torch.arange(len(rows)) - (count.cumsum(0) - count)[expert] + expert * most
        padded = rows.new_zeros(self.E * most, self.S).index_copy(0, slot, rows).view(self.E, most, self.S)
        hidden = F.gelu(torch.baddbmm(self.b1, padded, self.w1), approximate="tanh")
        return torch.baddbmm(self.b2, hidden, self.w2).view(-1, self.S).index_select(0, slot)


class GPT(nn.Module):
    def __init__(self, V, E, batched):
        super().__init__()
        L, C, heads = (4, 256, 4) if E else (6, 384, 6)
        self.wte, self.wpe = nn.Parameter(torch.empty(V, C)), nn.Parameter(torch.empty(T, C))
        self.blocks, self.ln = nn.ModuleList(), nn.LayerNorm(C)
        for _ in range(L):
            dense = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(approximate="tanh"), nn.Linear(4 * C, C))
            ffn = MultiHeadMoE(C, E, batched) if E else dense
            self.blocks.append(nn.ModuleList([nn.LayerNorm(C), Attention(C, heads), nn.LayerNorm(C), ffn]))
        for name, parameter in self.named_parameters():  # as in mhmoe.c: loads start out even
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens, targets):
        x = F.embedding(tokens, self.wte) + self.wpe
        for ln1, attention, ln2, ffn in self.blocks:
            x = x + attention(ln1(x))
            x = x + ffn(ln2(x))
        loss = F.cross_entropy(F.linear(self.ln(x), self.wte).flatten(0, 1), targets.flatten())
        return loss + 0.01 * sum(ffn.balance for *_, ffn in self.blocks if isinstance(ffn, MultiHeadMoE))


# ---- PyTorch's process ------------------------------------------------------------------------------------------


def adamw(parameters):
    for how in ({"fused": True}, {"foreach": True}, {}):
        try:
            return torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, **how)
        except (TypeError, RuntimeError):  # unknown to this version, or not for CPUs
            pass


def seconds_a_step(model, data, steps, bf16):
    optimizer, times = adamw(list(model.parameters())), []
    for _ in range(2 + steps):  # two warm up
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = model(*data)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def library():
    """What multiplies: not the library that was asked for but the one that was loaded."""
    if torch.backends.mkl.is_available():
        return "MKL"
    with open("/proc/self/maps") as maps:
        found = re.findall(r"/\S*/lib(?:openblas|blis|blas)\S*", maps.read())
    return next((path for path in found if "/libopenblas" in path), found[0] if found else "no BLAS")


def measure_torch(name, options):
    _, B, V, E = MODELS[name]
    torch.set_num_threads(options.threads)
    data, rates, losses = torch.randint(V, (2, B, T)), {}, []
    ways = itertools.product(("loop", "batched") if E else ("",), ("f32", "bf16")[:1 + options.bf16],
                             ("", "compiled")[:1 + options.compile])
    for way, dtype, compiled in ways:
        torch.manual_seed(0)
        model = GPT(V, E, way == "batched")
        with torch.no_grad():
            losses.append(model(*data).item())
        seconds = seconds_a_step(torch.compile(model) if compiled else model, data, options.steps, dtype == "bf16")
        rates[" ".join(filter(None, (way, dtype, compiled)))] = B * T / seconds
    if max(losses) - min(losses) > 1e-4:  # sums in another order; a row at the wrong expert would show far more
        sys.exit(f"torch_bench.py: the loop and the batched product do not agree: losses {losses}")
    json.dump({"library": f"PyTorch {torch.__version__}, {library()}", "rates": rates}, sys.stdout)


# ---- Both in turn -----------------------------------------------------------------------------------------------


def tune(threads):
    """Environment of both. Debian's default OpenBLAS has threads of its own, which fight PyTorch's and cost two fifths
    of the speed; and it takes processors newer than itself for ones without AVX-512."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    folder = f"/usr/lib/{os.uname().machine}-linux-gnu/openblas-openmp"
    if os.path.isdir(folder):
        os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, (folder, os.environ.get("LD_LIBRARY_PATH"))))
    with open("/proc/cpuinfo") as cpuinfo:
        if "avx512f" in cpuinfo.read().split():
            os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")


def answer(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"torch_bench.py: status {done.returncode} from {' '.join(command)}")
    return json.loads(done.stdout)


def seconds_of_others():
    """Processor time that other programs took, or on a virtual machine its neighbours."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, *rest = map(int, stat.readline().split()[1:9])
    mine = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK") - mine


def compare(name, options):
    """What PyTorch uses, and the line of the table."""
    line, ours, theirs = MODELS[name][0] + " bf16" * options.bf16, [], []
    start, others = time.perf_counter(), seconds_of_others()
    for _ in range(options.rounds):
        lines = answer(options.bench, "--json", "--only", line)
        ours.append(next(found["rate"] for found in lines if found["name"] == line))
        reply = answer(sys.executable, __file__, *sys.argv[1:], "--measure", name)
        theirs.append(reply["rates"])
    others = max(0, seconds_of_others() - others) / (time.perf_counter() - start)
    medians = {way: statistics.median(rates[way] for rates in theirs) for way in theirs[0]}
    best = max(medians, key=medians.get)
    mine, its, ratios = statistics.median(ours), medians[best], [o / t[best] for o, t in zip(ours, theirs)]
    ways = ", ".join(f"{way} {rate:.0f}" for way, rate in medians.items())
    return reply["library"], (f"{line:47} {mine:8.0f} {its:8.0f} {mine / its:6.2f}  {min(ratios):5.2f} to "
                              f"{max(ratios):5.2f} {others:7.2f}  {ways}").rstrip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)} (default: all)")
    parser.add_argument("--threads", type=int, default=os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="of PyTorch in a round; build/bench has its own number")
    parser.add_argument("--bf16", action="store_true", help="products in bf16, of ours; PyTorch's fastest of both")
    parser.add_argument("--compile", action="store_true", help="also torch.compile (PyTorch 2 and a C++ compiler)")
    parser.add_argument("--bench", default="build/bench", help="our side")
    parser.add_argument("--measure", choices=MODELS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not set(options.models) <= set(MODELS):
        parser.error(f"the models are {', '.join(MODELS)}")
    if options.measure:
        return measure_torch(options.measure, options)
    if not os.access(options.bench, os.X_OK):
        sys.exit(f"torch_bench.py: there is no program {options.bench}: make {options.bench} first")
    tune(options.threads)
    for i, name in enumerate(options.models or MODELS):
        library, line = compare(name, options)
        if i == 0:
            print(f"{library}, OPENBLAS_CORETYPE {os.environ.get('OPENBLAS_CORETYPE', 'unset')}, {options.threads} "
                  f"threads, medians of {options.rounds} rounds\n"
                  f"{'tokens/s':47} {'ours':>8} {'PyTorch':>8} {'ratio':>6}  {'in rounds':14} {'others':>7}")
        print(line, flush=True)


if __name__ == "__main__":
    main()
