// A small vocabulary such as GPT-2's, trained on a text: node byte_vocabulary.mjs TEXT TOKENS DIR writes DIR/vocab.json and
// DIR/merges.txt. The first tokens are the bytes, the last is the end of text.
import {readFileSync, writeFileSync} from "node:fs";

const [text, tokens, dir] = [readFileSync(process.argv[2], "utf8"), Number(process.argv[3]), process.argv[4]];

const itself = (b) => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
const letters = [];
for (let b = 0, next = 0x100; b < 256; b++) letters.push(String.fromCodePoint(itself(b) ? b : next++));

const counts = new Map();
for (const word of text.match(/'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu))
    counts.set(word, (counts.get(word) ?? 0) + 1);
const words = [...counts].map(([word, n]) => ({parts: [...Buffer.from(word)].map((b) => letters[b]), n}));

const merges = [];
while (256 + merges.length + 1 < tokens) {
    const pairs = new Map();
    for (const {parts, n} of words)
        for (let i = 0; i + 1 < parts.length; i++) {
            const pair = `${parts[i]} ${parts[i + 1]}`;
            pairs.set(pair, (pairs.get(pair) ?? 0) + n);
        }
    const [best] = [...pairs].reduce((a, b) => (b[1] > a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a));
    const [left, right] = best.split(" ");
    merges.push(best);
    for (const {parts} of words)
        for (let i = 0; i + 1 < parts.length; i++)
            if (parts[i] === left && parts[i + 1] === right) parts.splice(i, 2, left + right);
}
const all = [...letters, ...merges.map((pair) => pair.replace(" ", "")), "<|endoftext|>"];
if (new Set(all).size !== tokens) throw new Error(`${new Set(all).size} tokens, want ${tokens}`);
writeFileSync(`${dir}/vocab.json`, JSON.stringify(Object.fromEntries(all.map((token, id) => [token, id]))));
writeFileSync(`${dir}/merges.txt`, `#version: 0.2\n${merges.join("\n")}\n`);
