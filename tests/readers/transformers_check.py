"""transformers reads what we export: python3 transformers_check.py DIR, after models.sh. Of every DIR/*.hf the tokens of
text.txt have to be ours, the log-probability of every token in each place, and how prompt.txt goes on.

Where there is PyTorch but no transformers, log-probabilities alone are compared: with modeling_mhmoe.py by itself, and of
GPT-2, Llama and Mixtral with what they are by transformers' names, in a few lines (class Plain).
"""
import importlib.util
import json
import math
import os
import struct
import sys
import types

import torch
from torch.nn import functional

try:
    import transformers
except ImportError:
    transformers = None

BOUND = 1e-4  # what is left is the order of sums in f32: 2e-5 was seen
GREEDY = 30


def read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def ours(directory, name):
    """What ./sample --score says: ids, and the log-probabilities (T,V) of all tokens in each place."""
    lines = [json.loads(line) for line in read(directory, name + ".jsonl").splitlines()]
    logprobs = torch.zeros(len(lines), len(lines[0]["top"]))
    for row, line in zip(logprobs, lines):
        for token in line["top"]:
            row[token["id"]] = token["logprob"]
    return [line["id"] for line in lines], logprobs


def safetensors(path):
    data = read(path)
    size, = struct.unpack("<Q", data[:8])
    out = {}
    for name, t in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            begin, end = (8 + size + at for at in t["data_offsets"])
            out[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32).reshape(t["shape"])
    return out


def alone(path):
    """The modelling file without transformers."""
    spec = importlib.util.spec_from_file_location("modeling_mhmoe", os.path.join(path, "modeling_mhmoe.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = types.SimpleNamespace(**json.loads(read(path, "config.json")))
    model = module.Mhmoe(config)
    weights = safetensors(os.path.join(path, "model.safetensors"))
    model.load_state_dict({name[len("model."):]: t for name, t in weights.items()}, strict=True)
    return model.eval()


class Plain:
    """GPT2LMHeadModel, LlamaForCausalLM or MixtralForCausalLM: ids (T) to logits (T,V)."""

    def __init__(self, path):
        self.config = types.SimpleNamespace(**json.loads(read(path, "config.json")))
        self.weights = safetensors(os.path.join(path, "model.safetensors"))
        self.unread = set(self.weights)

    def tensor(self, name):
        self.unread.discard(name)
        return self.weights.get(name)

    def linear(self, name, x):
        return functional.linear(x, self.tensor(name + ".weight"), self.tensor(name + ".bias"))

    @staticmethod
    def attention(q, k, v, heads):
        T, C = q.shape
        q, k, v = (u.reshape(T, heads, C // heads).transpose(0, 1) for u in (q, k, v))
        scores = q @ k.transpose(1, 2) / math.sqrt(C // heads)
        unseen = torch.ones(T, T, dtype=torch.bool).triu(1)
        return (scores.masked_fill(unseen, -math.inf).softmax(-1) @ v).transpose(0, 1).reshape(T, C)

    def gpt2(self, ids):
        c = self.config
        assert c.activation_function == "gelu_new" and c.n_inner == 4 * c.n_embd

        def norm(name, x):
            w, b = self.tensor(name + ".weight"), self.tensor(name + ".bias")
            return functional.layer_norm(x, (c.n_embd,), w, b, c.layer_norm_epsilon)

        def conv1d(name, x):
            return x @ self.tensor(name + ".weight") + self.tensor(name + ".bias")

        wte = self.tensor("transformer.wte.weight")
        x = wte[ids] + self.tensor("transformer.wpe.weight")[:len(ids)]
        for l in range(c.n_layer):
            h = f"transformer.h.{l}."
            qkv = conv1d(h + "attn.c_attn", norm(h + "ln_1", x)).split(c.n_embd, 1)
            x = x + conv1d(h + "attn.c_proj", self.attention(*qkv, c.n_head))
            up = conv1d(h + "mlp.c_fc", norm(h + "ln_2", x))
            x = x + conv1d(h + "mlp.c_proj", functional.gelu(up, approximate="tanh"))
        return norm("transformer.ln_f", x) @ (wte if c.tie_word_embeddings else self.tensor("lm_head.weight")).T

    def rotated(self, x):
        c = self.config
        T, half = len(x), c.head_dim // 2
        angles = torch.arange(T)[:, None] / c.rope_theta ** (torch.arange(half, dtype=torch.float64) / half)
        cosine, sine = (f(torch.cat((angles, angles), 1)).float()[:, None] for f in (torch.cos, torch.sin))
        x = x.reshape(T, c.num_attention_heads, c.head_dim)
        return (x * cosine + torch.cat((-x[..., half:], x[..., :half]), 2) * sine).reshape(T, -1)

    def glu(self, x, gate, up, down):
        return self.linear(down, functional.silu(self.linear(gate, x)) * self.linear(up, x))

    def mixture(self, name, x):
        c = self.config
        probabilities = self.linear(name + "gate", x).softmax(1)
        weights, picks = probabilities.topk(c.num_experts_per_tok, dim=1)
        weights = weights / weights.sum(1, keepdim=True)
        out = torch.zeros_like(x)
        for e in range(c.num_local_experts):
            y = self.glu(x, *(f"{name}experts.{e}.{w}" for w in ("w1", "w3", "w2")))
            out = out + (weights * (picks == e)).sum(1, keepdim=True) * y
        return out

    def llama(self, ids):
        c = self.config
        assert c.hidden_act == "silu" and c.num_key_value_heads == c.num_attention_heads

        def norm(name, x):
            return x / (x.square().mean(1, keepdim=True) + c.rms_norm_eps).sqrt() * self.tensor(name + ".weight")

        wte = self.tensor("model.embed_tokens.weight")
        x = wte[ids]
        for l in range(c.num_hidden_layers):
            h = f"model.layers.{l}."
            q, k, v = (self.linear(f"{h}self_attn.{n}_proj", norm(h + "input_layernorm", x)) for n in "qkv")
            y = self.attention(self.rotated(q), self.rotated(k), v, c.num_attention_heads)
            x = x + self.linear(h + "self_attn.o_proj", y)
            y = norm(h + "post_attention_layernorm", x)
            x = x + (self.mixture(h + "block_sparse_moe.", y) if c.model_type == "mixtral" else
                     self.glu(y, *(f"{h}mlp.{n}_proj" for n in ("gate", "up", "down"))))
        return norm("model.norm", x) @ (wte if c.tie_word_embeddings else self.tensor("lm_head.weight")).T

    def __call__(self, ids):
        names = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "mixtral": "MixtralForCausalLM"}
        assert self.config.architectures == [names[self.config.model_type]]
        logits = self.gpt2(ids) if self.config.model_type == "gpt2" else self.llama(ids)
        if self.unread:
            raise ValueError(f"tensors that the model has not: {self.unread}")
        return logits


def worst_of(logits, logprobs):
    return (logits.double().log_softmax(-1) - logprobs.double()).abs().max().item()


def check_alone(directory, name):
    ids, logprobs = ours(directory, name)
    path = os.path.join(directory, name + ".hf")
    end = json.loads(read(path, "config.json"))["eos_token_id"]
    ids_in = torch.tensor([end] + ids[:-1])
    own = os.path.exists(os.path.join(path, "modeling_mhmoe.py"))
    with torch.no_grad():
        return len(ids), worst_of(alone(path)(ids_in[None])[0] if own else Plain(path)(ids_in), logprobs)


def generates(model, tokenizer, directory, name):
    prompt = read(directory, "prompt.txt").decode()
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=GREEDY, do_sample=False,
                          pad_token_id=tokenizer.eos_token_id)
    got, want = tokenizer.decode(said[0], skip_special_tokens=True), read(directory, name + ".greedy").decode()
    if got + "\n" != want:
        raise ValueError(f"goes on otherwise: {got!r}, want {want!r}")


def check(directory, name):
    path = os.path.join(directory, name + ".hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(path, trust_remote_code=True).eval()
    text = read(directory, "text.txt").decode()
    ids, logprobs = ours(directory, name)
    if tokenizer(text).input_ids != ids:
        raise ValueError(f"other tokens: {tokenizer(text).input_ids}, want {ids}")
    if tokenizer.decode(ids) != text:
        raise ValueError(f"another text: {tokenizer.decode(ids)!r}")
    with torch.no_grad():
        worst = worst_of(model(torch.tensor([[tokenizer.eos_token_id] + ids[:-1]])).logits[0], logprobs)
        generates(model, tokenizer, directory, name)
        # two texts side by side, the shorter one filled up on its left, are what each is alone
        rows = torch.tensor([[tokenizer.eos_token_id] * 3 + ids[:9], ids[:12]])
        mask = torch.tensor([[0] * 3 + [1] * 9, [1] * 12])
        place = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        both = model(rows, attention_mask=mask, **place).logits[0, 3:]
        beside = (both - model(torch.tensor([ids[:9]])).logits[0]).abs().max().item()
    if beside > BOUND:
        raise ValueError(f"filled up on the left, logits differ by {beside:.1e}")
    return len(ids), worst


def main(directory):
    names = sorted(entry[:-len(".hf")] for entry in os.listdir(directory) if entry.endswith(".hf"))
    passed = failed = 0
    print(f"torch {torch.__version__}, transformers {transformers.__version__ if transformers else 'not there'}")
    for name in names:
        try:
            tokens, worst = check(directory, name) if transformers else check_alone(directory, name)
            if not worst <= BOUND:
                raise ValueError(f"log-probabilities differ by {worst:.1e} (bound {BOUND})")
            print(f"{name}: {tokens} tokens, log-probabilities at most {worst:.1e} apart")
            passed += 1
        except Exception as error:
            print(f"{name}: FAILED: {type(error).__name__}: {error}")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
