// The network: started when it is first needed, by what the other scripts hold; nothing is loaded from anywhere.
"use strict";

const zooNetwork = (() => {
  let session = null;

  const unpack = async (name) => {
    if (typeof DecompressionStream === "undefined") {
      throw new Error("this browser is too old for it; Chrome 80, Firefox 113 and Safari 16.4 or later run it");
    }
    const bytes = Uint8Array.from(atob(zooFiles[name]), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  const start = async () => {
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.proxy = false;
    ort.env.wasm.wasmBinary = (await unpack("wasm")).buffer;
    return ort.InferenceSession.create(await unpack("network"), { executionProviders: ["wasm"] });
  };

  const softmax = (logits) => {
    const highest = Math.max(...logits);
    const powers = Array.from(logits, (logit) => Math.exp(logit - highest));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  };

  // RGB bytes, size × size → probabilities of the classes, rates of the layers, planes as bytes of T × 3 × size × size.
  const run = async (pixels, size) => {
    session ??= start();
    const area = size * size;
    const levels = new Float32Array(3 * area);
    for (let at = 0; at < area; at += 1) {
      for (let c = 0; c < 3; c += 1) levels[c * area + at] = pixels[at * 3 + c] / 255;
    }
    const feeds = { pixels: new ort.Tensor("float32", levels, [1, 3, size, size]) };
    const { logits, rates, planes } = await (await session).run(feeds);
    return { probabilities: softmax(logits.data), rates: Array.from(rates.data), planes: planes.data };
  };

  return { run, unpack };
})();
