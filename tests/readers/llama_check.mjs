// llama.cpp, in node-llama-cpp's build, reads our GGUF files: node llama_check.mjs DIR, after models.sh. For every
// DIR/*.gguf it has to make the same tokens of text.txt, give every token the same probability in each place, and go on
// with prompt.txt by the same tokens.
import {readFileSync, readdirSync} from "node:fs";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

// With caches in f32, too, what is left is the order of sums: 7e-6 was seen. llama.cpp's GELU is a table of f16: 5e-4. Of
// weights in bf16, 8 bits: 5e-2.
const bound = (name, kind) => kind === "bf16-gguf" ? 0.2 : name.startsWith("gpt2") ? 2e-3 : 5e-5;

const dir = process.argv[2];
const llama = await getLlama({gpu: false, build: "never", maxThreads: 1, logLevel: LlamaLogLevel.error});
let passed = 0, failed = 0;

const lines = (name) => readFileSync(`${dir}/${name}.jsonl`, "utf8").trim().split("\n").map((line) => JSON.parse(line));

async function check(file) {
    const [name, kind] = [file.slice(0, file.indexOf(".")), file.slice(file.indexOf(".") + 1)];
    const model = await llama.loadModel({modelPath: `${dir}/${file}`, gpuLayers: 0});
    const context = await model.createContext({contextSize: 64, flashAttention: false, threads: 1,
        experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32"});
    const ours = lines(name), end = model.tokens.eos, sequence = context.getSequence();
    const ids = [...model.tokenize(readFileSync(`${dir}/text.txt`, "utf8"), false)];
    if (ids.join() !== ours.map((line) => line.id).join()) throw new Error(`other tokens: ${ids}`);

    // all probabilities; ours are of each token in the place of the one that is there, behind an end of text
    const ask = {generateNext: {token: true, probabilities: true, options: {temperature: 0}}};
    const places = await sequence.controlledEvaluate([end, ...ids.slice(0, -1)].map((id) => [id, ask]));
    let worst = 0, compared = 0;
    places.forEach((place, i) => {
        for (const {id, logprob} of ours[i].top) {
            const theirs = place.next.probabilities.get(id);
            worst = Math.max(worst, Math.abs(Math.log(theirs) - logprob));
            compared++;
        }
    });
    if (!(worst <= bound(name, kind)) || compared < 700 * ids.length)
        throw new Error(`log-probabilities differ by ${worst} (bound ${bound(name, kind)}), ${compared} compared`);

    let greedy = readFileSync(`${dir}/prompt.txt`, "utf8");
    await sequence.clearHistory();
    const said = [];
    for await (const id of sequence.evaluate([...model.tokenize(greedy, false)], {temperature: 0})) {
        said.push(id);
        if (said.length === 30) break;
    }
    greedy += model.detokenize(said, true);
    const wanted = readFileSync(`${dir}/${name}.greedy`, "utf8");
    if (kind === "gguf" && greedy + "\n" !== wanted) throw new Error(`goes on otherwise: ${greedy}`);
    await context.dispose();
    await model.dispose();
    return `${ids.length} tokens, ${compared} log-probabilities, at most ${worst.toExponential(1)} apart`;
}

for (const file of readdirSync(dir).filter((name) => name.endsWith("gguf")).sort()) {
    try {
        console.log(`${file}: ${await check(file)}`);
        passed++;
    } catch (error) {
        console.log(`${file}: FAILED: ${error.message}`);
        failed++;
    }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed || passed < 9 ? 1 : 0);
