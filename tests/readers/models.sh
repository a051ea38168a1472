#!/bin/sh
# Small models for other programs to read: models.sh BUILD DIR [gguf]; with gguf only those that llama.cpp has.
#
# For each NAME in DIR: NAME.hf/ and, where llama.cpp has such a model, NAME.gguf; and what we say: NAME.jsonl, every
# token of text.txt with the log-probabilities of all tokens in its place, and NAME.greedy, how prompt.txt goes on. A few
# steps at a high rate: weights far from where they began, so that each of them matters.
set -eu
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$2"
cd "$2"
# letters of several scripts, digits, blanks in a row, line ends, and bytes that are no piece of the vocabulary
printf 'The model reads  12,345 tokens;\n\n\tthen\303\251 "quotes" -- \316\261\316\262\316\263 \346\274\242\345\255\227 \360\237\231\202!' >text.txt
printf 'The experts of a layer' >prompt.txt
cat "$root"/README.md "$root"/docs/MHMOE.md "$root"/data/README.md >corpus.txt

# What we have to say of a model: about SOURCE NAME FORMATS
about() {
    for format in $3; do
        "$build/sample" --model "$1" --export "${format#bf16-}" --out "$2.$format" \
            $(case $format in bf16-*) echo --weights bf16 ;; esac)
    done
    "$build/sample" --model "$1" --score text.txt --logprobs 1000 >"$2.jsonl" 2>/dev/null
    "$build/sample" --model "$1" --prompt-file prompt.txt --greedy --tokens 30 >"$2.greedy"
}

# model NAME FORMATS OPTION...
model() {
    name=$1 formats=$2
    shift 2
    "$build/train" corpus.txt --cache cache --out "$name" --steps 40 --lr 0.01 --warmup 5 --batch 8 --seq 64 --vocab 700 \
        --layers 4 --channels 48 --attn-heads 3 --eval-every 0 --save-every 0 --sample-every 0 "$@" >/dev/null 2>"$name.log" ||
        { cat "$name.log" >&2; exit 1; }
    about "$name" "$name" "$formats"
}

both='hf gguf'
model gpt2 "$both bf16-gguf" --block gpt2 --ffn dense
model gpt2-untied "$both" --block gpt2 --ffn dense --no-tie
model llama "$both bf16-gguf" --block llama --ffn dense
model llama-bias "$both" --block llama --ffn dense --bias --tie
model mixtral "$both" --block llama --ffn smoe --moe-every 1 --renormalize --experts 5 --topk 2
model switch "$both" --block llama --ffn smoe --moe-every 1 --renormalize --experts 3 --topk 1 --expert-hidden 20

# GPT-2's own kind of vocabulary, beside weights that came from elsewhere
mkdir gpt2-bytes
cp gpt2.hf/model.safetensors gpt2-bytes
sed 's/_token_id": 1/_token_id": 699/' gpt2.hf/config.json >gpt2-bytes/config.json
node "$root/tests/readers/byte_vocabulary.mjs" corpus.txt 700 gpt2-bytes
about gpt2-bytes gpt2-bytes "$both"
[ "${3-all}" = all ] || exit 0

model mhmoe hf --ffn mhmoe --moe-heads 4 --experts 6
model modern hf --ffn dense
model smoe hf --ffn smoe --experts 5 --topk 2 --shared-hidden 12 --moe-residual --block llama
model cosine hf --ffn mhmoe --moe-heads 3 --experts 6 --router cosine --router-dim 5 --balance bias --head-depth 2 \
    --merge-depth 3 --renormalize --block gpt2
model mixed hf --ffn mhmoe --moe-heads 2 --experts 4 --topk 3 --moe-every 3 --head-depth 0 --merge-depth 0 \
    --norm layernorm --position learned --activation swiglu --bias --no-tie --no-qk-norm --shared-hidden 9
model other hf --ffn mhmoe --moe-heads 6 --experts 4 --topk 1 --moe-every 1 --norm rmsnorm --position learned \
    --activation gelu --bias --qk-norm --merge-depth 0 --moe-residual
