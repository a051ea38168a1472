// Hugging Face's tokenizers.js reads our tokenizer.json: node tokenizers_check.mjs DIR, after models.sh. In each DIR/*.hf
// text.txt has to become our tokens, and these the text again; and so has a longer text, of which we only know that.
import {readFileSync, readdirSync} from "node:fs";
import {Tokenizer} from "@huggingface/tokenizers";

const dir = process.argv[2];
const json = (name) => JSON.parse(readFileSync(`${dir}/${name}`, "utf8"));
let passed = 0, failed = 0;

for (const folder of readdirSync(dir).filter((name) => name.endsWith(".hf")).sort()) {
    const tokenizer = new Tokenizer(json(`${folder}/tokenizer.json`), json(`${folder}/tokenizer_config.json`));
    const text = readFileSync(`${dir}/text.txt`, "utf8"), long = readFileSync(`${dir}/corpus.txt`, "utf8").slice(0, 20000);
    const lines = readFileSync(`${dir}/${folder.slice(0, -3)}.jsonl`, "utf8").trim().split("\n");
    const ids = tokenizer.encode(text).ids, wanted = lines.map((line) => JSON.parse(line).id);
    const same = ids.join() === wanted.join() && tokenizer.decode(ids) === text &&
        tokenizer.decode(tokenizer.encode(long).ids) === long;
    console.log(`${folder}: ${same ? `${ids.length} tokens` : `FAILED: ${ids}, want ${wanted}`}`);
    same ? passed++ : failed++;
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed || passed < 7 ? 1 : 0);
