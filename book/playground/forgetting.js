/* Algorithm 2 of Yamashita et al. 2024 for one small network, as mnemonic/forgetting/step.py
   has it: a hidden layer of sigmoids between K classes and 784 pixels. No page here, so
   that the tests can run it by itself.

   A network is {w1, b1, w2, b2}: hidden weights [784][H] (transposed, so that a pixel's
   weights lie side by side), hidden biases [H], output weights [K][H], biases [K].
   A batch is a list of inputs without the pixels that equal its ground, filled up to
   a multiple of four: {ground, starts [N + 1], pixels, values}. */

"use strict";

const Forgetting = (() => {
  const SIDE = 28;
  const PIXELS = SIDE * SIDE;
  const LAYERS = ["w1", "b1", "w2", "b2"];
  const FLOOR = 1e-30; // so that 0/0 is 1 and nothing is infinite
  const REACH = 2; // how far below, in how far above
  const SPARED = [1.5, 0.02]; // the loss of the remaining codes: so many times, plus
  const GRID = []; // the paper's strengths, by decades
  for (let e1 = -6; e1 <= 0; e1++) {
    for (let e2 = -1; e2 <= 5; e2++) GRID.push([10 ** e1, 10 ** e2]);
  }

  function octets(text) {
    const letters = atob(text);
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
    return bytes;
  }

  const floats = (text) => new Float32Array(octets(text).buffer);
  const each = (make) => Object.fromEntries(LAYERS.map((name) => [name, make(name)]));

  /** Everything in the data file, as typed arrays. */
  function decode(data) {
    const stored = Object.fromEntries(
      Object.entries(data.weights).map(([name, text]) => [name, floats(text)]),
    );
    const units = stored.b1.length;
    const w1 = new Float32Array(PIXELS * units);
    for (let h = 0; h < units; h++) {
      for (let p = 0; p < PIXELS; p++) w1[p * units + h] = stored.w1[h * PIXELS + p];
    }
    const codes = floats(data.codes);
    const labels = octets(data.labels);
    const images = uncropped(octets(data.images), labels.length);
    const k = stored.b2.length;
    return {
      network: { ...stored, w1 },
      codes: Array.from({ length: k }, (_, c) =>
        codes.subarray(c * PIXELS, (c + 1) * PIXELS),
      ),
      images,
      labels,
      mean: data.mean,
      std: data.std,
    };
  }

  /** Images [N] of 784 bytes, from boxes of ink: top, left, height, width, bytes. */
  function uncropped(bytes, n) {
    let at = 0;
    return Array.from({ length: n }, () => {
      const image = new Uint8Array(PIXELS);
      const [top, left, height, width] = bytes.subarray(at, (at += 4));
      for (let row = top; row < top + height; row++) {
        image.set(bytes.subarray(at, (at += width)), row * SIDE + left);
      }
      return image;
    });
  }

  /** Codes enter a network as they are. */
  const codeBatch = (codes) => batch(codes, 0, 1);

  /** Images are normalised: (x / 255 - mean) / std. */
  const imageBatch = (images, { mean, std }) => batch(images, -mean / std, 255 * std);

  function batch(inputs, ground, unit) {
    const pixels = [];
    const values = [];
    const starts = [0];
    for (const input of inputs) {
      input.forEach((value, p) => {
        if (value) {
          pixels.push(p);
          values.push(value / unit);
        }
      });
      for (; pixels.length % 4; values.push(0)) pixels.push(0); // see incoming
      starts.push(pixels.length);
    }
    return {
      ground,
      starts,
      pixels: Uint16Array.from(pixels),
      values: Float32Array.from(values),
    };
  }

  /** What reaches the hidden units [N][H]. */
  function incoming({ w1, b1 }, { ground, starts, pixels, values }) {
    const units = b1.length;
    const n = starts.length - 1;
    const all = new Float64Array(n * units);
    const blank = Float64Array.from(b1); // what an input without ink gives
    for (let p = 0; ground && p < PIXELS; p++) {
      for (let h = 0; h < units; h++) blank[h] += ground * w1[p * units + h];
    }
    for (let i = 0; i < n; i++) {
      const sums = all.subarray(i * units, (i + 1) * units);
      sums.set(blank);
      for (let j = starts[i]; j < starts[i + 1]; j += 4) {
        // four at a time take half of the time
        const [v0, v1, v2, v3] = [values[j], values[j + 1], values[j + 2], values[j + 3]];
        const a0 = pixels[j] * units;
        const a1 = pixels[j + 1] * units;
        const a2 = pixels[j + 2] * units;
        const a3 = pixels[j + 3] * units;
        for (let h = 0; h < units; h++) {
          sums[h] += v0 * w1[a0 + h] + v1 * w1[a1 + h] + v2 * w1[a2 + h] + v3 * w1[a3 + h];
        }
      }
    }
    return all;
  }

  /** Answers of the hidden units [N][H] to what reaches them, and logits [N][K]. */
  function outgoing({ w2, b2 }, sums) {
    const k = b2.length;
    const units = w2.length / k;
    const hidden = sums.map((value) => 1 / (1 + Math.exp(-value)));
    const logits = new Float64Array((hidden.length / units) * k);
    for (let at = 0; at < logits.length; at++) {
      const c = at % k;
      const first = ((at - c) / k) * units;
      let sum = b2[c];
      for (let h = 0; h < units; h++) sum += w2[c * units + h] * hidden[first + h];
      logits[at] = sum;
    }
    return { hidden, logits };
  }

  const forward = (network, batch) => outgoing(network, incoming(network, batch));

  function logSumExp(values) {
    const top = Math.max(...values);
    let sum = 0;
    for (const value of values) sum += Math.exp(value - top);
    return top + Math.log(sum);
  }

  const softmax = (logits) => {
    const total = logSumExp(logits);
    return Array.from(logits, (value) => Math.exp(value - total));
  };

  /** Squared gradient of the loss of each code, as factors: a gradient of a layer of
      weights is the product of what comes in and of the error that comes back. */
  function squaredGradients(network, codes) {
    const { w2, b1, b2 } = network;
    const units = b1.length;
    const k = b2.length;
    const { hidden, logits } = forward(network, codeBatch(codes));
    return codes.map((code, c) => {
      const incoming = hidden.subarray(c * units, (c + 1) * units);
      const error = softmax(logits.subarray(c * k, (c + 1) * k));
      error[c] -= 1;
      const back = Array.from(incoming, (a, h) => {
        let sum = 0;
        for (let j = 0; j < k; j++) sum += w2[j * units + h] * error[j];
        return sum * a * (1 - a);
      });
      const squares = (values) => Float64Array.from(values, (v) => v * v);
      return {
        code: squares(code),
        back: squares(back),
        hidden: squares(incoming),
        error: squares(error),
      };
    });
  }

  /** eta = f_F / f_R (Eq. 6), both Fishers on the codes (Eq. 4).
      `squared` as squaredGradients gives it; `forgets` says it of each class. */
  function amplitude(squared, forgets) {
    const n = forgets.filter(Boolean).length;
    const sums = [true, false].map((side) => {
      const those = squared.filter((_, c) => forgets[c] === side);
      const share = 1 / (side ? n : forgets.length - n);
      return {
        w1: outer(those.map((s) => [s.code, s.back]), share),
        b1: outer(those.map((s) => [[1], s.back]), share),
        w2: outer(those.map((s) => [s.error, s.hidden]), share),
        b2: outer(those.map((s) => [[1], s.error]), share),
      };
    });
    const [fForget, fRemain] = sums;
    return each((name) => {
      const [ours, theirs] = [fForget[name], fRemain[name]];
      return ours.map((value, i) => (value + FLOOR) / (theirs[i] + FLOOR));
    });
  }

  /** Sum over pairs of the outer product, times `share`. */
  function outer(pairs, share) {
    const [rows, columns] = [pairs[0][0].length, pairs[0][1].length];
    const sum = new Float64Array(rows * columns);
    for (const [left, right] of pairs) {
      for (let i = 0; i < rows; i++) {
        const value = share * left[i];
        for (let j = 0; j < columns; j++) sum[i * columns + j] += value * right[j];
      }
    }
    return sum;
  }

  function largest(values) {
    let top = 0;
    for (let i = 0; i < values.length; i++) if (values[i] > top) top = values[i];
    return top;
  }

  const largestOf = (eta) => each((name) => largest(eta[name]));

  /** alpha_l = min(lambda1, lambda2 / max eta) (Eq. 7), from the largest of each layer. */
  const scalesOf = (tops, lambda1, lambda2) =>
    each((name) => Math.min(lambda1, lambda2 / tops[name]));

  /** w ± alpha eta (Eq. 5) of a layer, rounded to float32 as the package's are. */
  function movedLayer(old, ratio, scale) {
    const fresh = new Float32Array(old.length);
    for (let i = 0; i < old.length; i++) {
      fresh[i] = old[i] + Math.fround(scale * ratio[i]);
    }
    return fresh;
  }

  const moved = (network, eta, scales, sign) =>
    each((name) => movedLayer(network[name], eta[name], sign * scales[name]));

  const answerOf = (logits) => logits.indexOf(Math.max(...logits));

  /** What a setting does to the codes: percent, loss in nats, margin in logits. */
  function codeScores(logits, forgets) {
    const k = forgets.length;
    const n = forgets.filter(Boolean).length;
    let [kept, lost, remainingLoss, margin] = [0, 0, 0, -Infinity];
    forgets.forEach((forget, c) => {
      const row = Array.from(logits.subarray(c * k, (c + 1) * k));
      const right = answerOf(row) === c;
      const total = logSumExp(row);
      if (forget) {
        lost += !right;
        margin = Math.max(margin, row[c] - Math.max(...row.filter((_, j) => j !== c)));
      } else {
        kept += right;
        remainingLoss += total - row[c];
      }
    });
    return {
      remainingAccuracy: (100 * kept) / (k - n),
      forgettingError: (100 * lost) / n,
      remainingLoss: remainingLoss / (k - n),
      margin,
    };
  }

  /** One row a strength and sign, scored on the codes alone. What reaches the hidden
      units is linear in the step, x (w + s eta) = x w + s (x eta), and computed once. */
  function candidates(network, codes, eta, forgets, strengths, signs) {
    const tops = largestOf(eta);
    const units = network.b1.length;
    const before = incoming(network, codes);
    const along = incoming({ w1: eta.w1, b1: new Float64Array(units) }, codes);
    const logitsAt = (step) => {
      const sums = before.map(
        (value, i) => value + step.w1 * along[i] + step.b1 * eta.b1[i % units],
      );
      const [w2, b2] = ["w2", "b2"].map((name) =>
        movedLayer(network[name], eta[name], step[name]),
      );
      return outgoing({ w2, b2 }, sums).logits;
    };
    const start = codeScores(logitsAt(each(() => 0)), forgets);
    const norms = each((name) => Math.sqrt(eta[name].reduce((sum, v) => sum + v * v, 0)));
    const scored = new Map(); // settings that scale all layers alike share a run
    return strengths.flatMap(([lambda1, lambda2]) =>
      signs.map((sign) => {
        const scales = scalesOf(tops, lambda1, lambda2);
        const key = [sign, ...Object.values(scales)].join();
        if (!scored.has(key)) {
          const logits = logitsAt(each((name) => sign * scales[name]));
          const { margin, ...scores } = codeScores(logits, forgets);
          const most = SPARED[0] * start.remainingLoss + SPARED[1];
          scored.set(key, {
            ...scores,
            spares: scores.remainingLoss <= most,
            depth: -margin / Math.max(start.margin, 1),
            length: Math.hypot(...LAYERS.map((name) => scales[name] * norms[name])),
          });
        }
        return { lambda1, lambda2, sign, ...scored.get(key) };
      }),
    );
  }

  /** The largest A_R + E_F on the codes; a tie goes to what spares the others, takes the
      forget codes far enough down, and is the shortest step. */
  function best(rows) {
    const rank = (row) => [
      Math.round(1e9 * (row.remainingAccuracy + row.forgettingError)),
      Number(row.spares),
      Math.min(row.depth, REACH),
      -row.length,
    ];
    const above = (a, b) => {
      const i = a.findIndex((value, j) => value !== b[j]);
      return i >= 0 && a[i] > b[i];
    };
    return rows
      .filter((row) => Number.isFinite(row.remainingLoss))
      .reduce((a, b) => (above(rank(b), rank(a)) ? b : a));
  }

  /** A_R, E_F and the accuracy of each class, in percent, and the answer to each image. */
  function evaluate(logits, labels, forgets) {
    const k = forgets.length;
    const right = new Array(k).fill(0);
    const count = new Array(k).fill(0);
    const answers = Array.from(labels, (_, i) =>
      answerOf(logits.subarray(i * k, (i + 1) * k)),
    );
    labels.forEach((label, i) => {
      count[label] += 1;
      right[label] += answers[i] === label;
    });
    const share = (side) => {
      const sum = (values) => values.reduce((a, v, c) => a + (forgets[c] === side) * v, 0);
      return (100 * sum(right)) / sum(count);
    };
    return {
      remainingAccuracy: share(false),
      forgettingError: 100 - share(true),
      classes: right.map((value, c) => (100 * value) / count[c]),
      answers,
    };
  }

  /** Size of the step of each layer: what the stored weights changed by. */
  function stepsOf(network, fresh) {
    return each((name) => {
      const [now, old] = [fresh[name], network[name]];
      const steps = new Float32Array(now.length);
      for (let i = 0; i < now.length; i++) steps[i] = Math.abs(now[i] - old[i]);
      return steps;
    });
  }

  /** Bring a drawing into the form of MNIST: ink scaled into 20×20 pixels, its centre of
      mass in the middle of 28×28. `ink` holds side × side values in 0 … 255. */
  function centred(ink, side) {
    const image = new Uint8Array(PIXELS);
    let [top, left, bottom, right] = [side, side, -1, -1];
    ink.forEach((value, i) => {
      if (value > 0) {
        const [row, column] = [Math.floor(i / side), i % side];
        [top, bottom] = [Math.min(top, row), Math.max(bottom, row)];
        [left, right] = [Math.min(left, column), Math.max(right, column)];
      }
    });
    if (bottom < 0) return image;
    const [height, width] = [bottom - top + 1, right - left + 1];
    const unit = Math.max(height, width) / 20; // source pixels a target pixel
    const rows = Math.max(1, Math.round(height / unit));
    const columns = Math.max(1, Math.round(width / unit));
    const small = new Float64Array(rows * columns);
    const SAMPLES = 8; // a pixel and a direction
    for (let i = 0; i < rows * SAMPLES; i++) {
      const y = top + Math.floor(((i + 0.5) * height) / (rows * SAMPLES));
      for (let j = 0; j < columns * SAMPLES; j++) {
        const x = left + Math.floor(((j + 0.5) * width) / (columns * SAMPLES));
        const at = Math.floor(i / SAMPLES) * columns + Math.floor(j / SAMPLES);
        small[at] += ink[y * side + x] / SAMPLES ** 2;
      }
    }
    let [mass, y, x] = [0, 0, 0];
    small.forEach((value, i) => {
      mass += value;
      y += value * Math.floor(i / columns);
      x += value * (i % columns);
    });
    const down = Math.round(SIDE / 2 - 0.5 - y / mass);
    const across = Math.round(SIDE / 2 - 0.5 - x / mass);
    small.forEach((value, i) => {
      const row = Math.floor(i / columns) + down;
      const column = (i % columns) + across;
      if (row >= 0 && row < SIDE && column >= 0 && column < SIDE) {
        image[row * SIDE + column] = Math.round(value);
      }
    });
    return image;
  }

  return {
    GRID, LAYERS, PIXELS, SIDE,
    amplitude, best, candidates, centred, codeBatch, decode, evaluate, forward,
    imageBatch, largestOf, moved, scalesOf, softmax, squaredGradients, stepsOf,
  };
})();
