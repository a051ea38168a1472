"""A model that ./train made, in PyTorch: GPTs whose feed-forward layers are dense, a sparse mixture of experts, or a
Multi-Head Mixture-of-Experts (arXiv 2404.15045, 2411.16205).

The classes down to Mhmoe are plain PyTorch, and read from there upwards; those after it bring the model into
transformers: AutoModelForCausalLM.from_pretrained(DIRECTORY, trust_remote_code=True). config.json holds the options of
./train under their names (with _ for -), those that transformers has a name for under that. Nothing is cached between
tokens: generate() reads the whole text for each. MIT licence.
"""
import math

import torch
from torch import nn
from torch.nn import functional


class Norm(nn.Module):
    """Less its mean and over its deviation (layernorm), or over its root mean square (rmsnorm)."""

    def __init__(self, config):
        super().__init__()
        self.rms = config.norm == "rmsnorm"
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size)) if config.bias and not self.rms else None

    def forward(self, x):
        if self.rms:
            return (x.float() * (x.float().square().mean(-1, keepdim=True) + 1e-5).rsqrt()).to(x.dtype) * self.weight
        return functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, eps=1e-5)


def turned(x, positions):
    """Rotary positions (arXiv 2104.09864) of x (B,NH,T,hs): numbers i and i + hs/2 of a head are a point in the plane,
    turned by position / 10000^(2i/hs). positions (B,T)."""
    half = x.shape[-1] // 2
    rates = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=x.device) / half)
    angles = positions[:, None, :, None].to(torch.float64) * rates
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cosine - b * sine, a * sine + b * cosine), dim=-1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.hidden_size
        self.heads, self.rotary, self.qk_norm = config.num_attention_heads, config.position == "rotary", config.qk_norm
        self.qkv = nn.Linear(width, 3 * width, bias=config.bias)
        self.project = nn.Linear(width, width, bias=config.bias)

    def forward(self, x, positions, unseen):
        """unseen (B,1,T,T): whether a row is kept from seeing another."""
        B, T, C = x.shape
        q, k, v = (u.reshape(B, T, self.heads, C // self.heads).transpose(1, 2) for u in self.qkv(x).split(C, dim=2))
        if self.qk_norm:
            q, k = (u * (u.square().mean(-1, keepdim=True) + 1e-5).rsqrt() for u in (q, k))
        if self.rotary:
            q, k = turned(q, positions), turned(k, positions)
        scores = q @ k.transpose(2, 3) / math.sqrt(C // self.heads)
        y = scores.masked_fill(unseen, torch.finfo(scores.dtype).min).softmax(-1) @ v
        return self.project(y.transpose(1, 2).reshape(B, T, C))


class FeedForward(nn.Module):
    """A dense layer, or one expert: down(act(up(x)))."""

    def __init__(self, config, width, hidden):
        super().__init__()
        self.activation = config.activation
        self.up = nn.Linear(width, hidden * (2 if config.activation == "swiglu" else 1), bias=config.bias)
        self.down = nn.Linear(hidden, width, bias=config.bias)

    def forward(self, x):
        x = self.up(x)
        if self.activation == "swiglu":
            gate, value = x.chunk(2, dim=-1)
            return self.down(functional.silu(gate) * value)
        return self.down(functional.relu(x).square() if self.activation == "relu2"
                         else functional.gelu(x, approximate="tanh"))


class Router(nn.Module):
    """Which experts a sub-token goes to, and their gates. E3 and E4 of the papers: softmax over all experts, the best
    topk. The scores are a linear layer's, or cosines in a few dimensions over a temperature (arXiv 2204.09179)."""

    def __init__(self, config, width):
        super().__init__()
        self.cosine, self.topk, self.renormalize = config.router == "cosine", config.topk, config.renormalize
        if self.cosine:
            self.project = nn.Linear(width, config.router_dim, bias=False)
            self.log_temperature = nn.Parameter(torch.zeros(()))
            width = config.router_dim
        self.weight = nn.Parameter(torch.zeros(config.experts, width))
        self.bias = nn.Parameter(torch.zeros(config.experts)) if config.balance == "bias" else None  # on the choice

    def forward(self, x):
        weight = self.weight.float()
        if self.cosine:
            def unit(v):
                return v * (v.square().sum(-1, keepdim=True) + 1e-12).rsqrt()
            scores = unit(self.project(x).float()) @ unit(weight).T / self.log_temperature.float().exp()
        else:
            scores = x.float() @ weight.T
        probabilities = scores.softmax(-1)
        chosen = probabilities if self.bias is None else probabilities + self.bias.float()
        picks = chosen.topk(self.topk, dim=-1).indices
        gates = probabilities.gather(-1, picks)
        if self.renormalize:
            gates = gates / (gates.sum(-1, keepdim=True) + 1e-20)
        return gates.to(x.dtype), picks


class MixtureOfExperts(nn.Module):
    """A token's vector passes the head layers, is cut into moe_heads sub-tokens (one, with ffn smoe), each goes to its
    own topk of the experts; what they make of it is joined again and passes the merge layers."""

    def __init__(self, config):
        super().__init__()
        many, width = config.ffn == "mhmoe", config.hidden_size
        self.width, self.residual = width // (config.moe_heads if many else 1), config.moe_residual

        def stack(depth):
            return nn.ModuleList(nn.Linear(width, width, bias=config.bias) for _ in range(depth if many else 0))

        self.head, self.merge = stack(config.head_depth), stack(config.merge_depth)
        self.router = Router(config, self.width)
        self.experts = nn.ModuleList(FeedForward(config, self.width, config.expert_hidden)
                                     for _ in range(config.experts))
        self.shared = FeedForward(config, self.width, config.shared_hidden) if config.shared_hidden else None

    @staticmethod
    def through(layers, x):
        """GELU between the layers."""
        for i, layer in enumerate(layers):
            x = layer(x if i == 0 else functional.gelu(x, approximate="tanh"))
        return x

    def forward(self, x):
        rows = self.through(self.head, x).reshape(-1, self.width)                        # E1, E2
        gates, picks = self.router(rows)                                                # E3, E4
        out = rows.clone() if self.residual else torch.zeros_like(rows)
        for e, expert in enumerate(self.experts):                                       # E5
            row, k = (picks == e).nonzero(as_tuple=True)
            out = out.index_add(0, row, gates[row, k, None] * expert(rows[row]))
        if self.shared is not None:
            out = out + self.shared(rows)
        return self.through(self.merge, out.reshape(x.shape))                           # E6


class Block(nn.Module):
    def __init__(self, config, number):
        super().__init__()
        is_moe = config.ffn != "dense" and (number + 1) % config.moe_every == 0
        self.norm1, self.attention = Norm(config), Attention(config)
        self.norm2 = Norm(config)
        self.ffn = MixtureOfExperts(config) if is_moe else FeedForward(config, config.hidden_size, config.dense_hidden)

    def forward(self, x, positions, unseen):
        x = x + self.attention(self.norm1(x), positions, unseen)
        return x + self.ffn(self.norm2(x))


class Mhmoe(nn.Module):
    """Token ids (B,T) to logits (B,T,V). attention_mask (B,T) is 0 where a text was filled up."""

    def __init__(self, config):
        super().__init__()
        self.most = config.max_position_embeddings
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(self.most, config.hidden_size) if config.position == "learned" else None
        self.layers = nn.ModuleList(Block(config, l) for l in range(config.num_hidden_layers))
        self.norm = Norm(config)
        self.output = None if config.tie else nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, ids, attention_mask=None):
        T = ids.shape[1]
        if T > self.most and self.positions is not None:
            raise ValueError(f"a text of {T} tokens: the model has positions for {self.most}")
        seen = torch.ones_like(ids) if attention_mask is None else attention_mask
        positions = (seen.cumsum(-1) - 1).clamp(min=0)
        unseen = torch.ones(T, T, dtype=torch.bool, device=ids.device).triu(1) | (seen == 0)[:, None, None, :]
        x = self.embed(ids)
        if self.positions is not None:
            x = x + self.positions(positions)
        for layer in self.layers:
            x = layer(x, positions, unseen)
        x = self.norm(x)
        return functional.linear(x, self.embed.weight) if self.output is None else self.output(x)


try:
    from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutput
except ImportError:  # the classes above need PyTorch alone
    PretrainedConfig = PreTrainedModel = None

if PreTrainedModel:
    class MhmoeConfig(PretrainedConfig):
        model_type = "mhmoe"

    class MhmoeForCausalLM(PreTrainedModel, GenerationMixin):
        config_class = MhmoeConfig
        base_model_prefix = "model"

        def __init__(self, config):
            super().__init__(config)
            self.model = Mhmoe(config)
            self.post_init()

        def _init_weights(self, module):
            """Weights come from a file; new ones are ./train's to make."""

        def get_input_embeddings(self):
            return self.model.embed

        def set_input_embeddings(self, value):
            self.model.embed = value

        def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **_):
            return {"input_ids": input_ids, "attention_mask": attention_mask}

        def forward(self, input_ids, attention_mask=None, labels=None, **_):
            logits, loss = self.model(input_ids, attention_mask), None
            if labels is not None:
                loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
            return CausalLMOutput(loss=loss, logits=logits)
