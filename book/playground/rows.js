/* The last layer's rows replaced by a rule, as mnemonic/forgetting/rows.py and head.py
   have it, and an attacker who has images, as mnemonic/audits/diagnoses.py has it.
   A head is {w, b}: rows [K] of [H], biases [K]. A prototype [H] is what the hidden
   layer makes of a code. No page here, as in forgetting.js. */

"use strict";

const Rows = (() => {
  const BETA = 0.5; // length of the row of a class never seen, in that of the others
  const DELETED = -1e38; // near the least that float32 holds: no number raises it
  const TINY = 1e-6; // of the largest: below it a direction is rounding

  const sum = (values) => values.reduce((a, v) => a + v, 0);
  const dot = (a, b) => a.reduce((total, v, i) => total + v * b[i], 0);
  const norm = (a) => Math.sqrt(dot(a, a));
  const times = (a, factor) => a.map((v) => factor * v);
  const plus = (a, b, factor = 1) => a.map((v, i) => v + factor * b[i]);
  const total = (rows) => rows.reduce((a, row) => plus(a, row));

  /** A row less s times what it has along some orthonormal directions. */
  const without = (row, directions, s = 1) =>
    directions.reduce((rest, d) => plus(rest, d, -s * dot(row, d)), row);

  /** An orthonormal basis of what rows span. */
  function basis(rows) {
    const top = Math.max(...rows.map(norm));
    const found = [];
    for (const row of rows) {
      const rest = without(without(row, found), found); // twice, for the rounding
      if (norm(rest) > TINY * top) found.push(times(rest, 1 / norm(rest)));
    }
    return found;
  }

  /** By how many logits each forget class wins its prototype over all others. */
  function margins({ w, b }, prototypes, forgets) {
    return prototypes.map((p, c) => {
      const logits = w.map((row, k) => (k !== c && forgets[k] ? -Infinity : dot(row, p) + b[k]));
      return logits[c] - Math.max(...logits.filter((_, k) => k !== c));
    });
  }

  const RULES = {
    /** W (I - s D Dᵀ), D what the forget prototypes have outside the span of the others;
        a right angle where s is null. A class that does not win its code stays. */
    turn(head, prototypes, forgets, s) {
      const known = margins(head, prototypes, forgets).map((m, c) => forgets[c] && m > 0);
      if (!known.some(Boolean)) return { ...head, s: 0 };
      const shared = basis(prototypes.filter((_, c) => !known[c]));
      const own = basis(
        prototypes.filter((_, c) => known[c]).map((p) => without(p, shared)),
      );
      const rows = head.w.filter((_, c) => known[c]);
      const parts = rows.flatMap((row) => own.map((d) => dot(row, d)));
      s ??= sum(rows.map((row) => dot(row, row))) / dot(parts, parts);
      const won = margins(head, prototypes, known);
      return {
        w: head.w.map((row) => without(row, own, s)),
        b: head.b.map((v, c) => (known[c] ? v - Math.max(0, won[c]) : v)),
        s,
      };
    },

    /** A row against the mean feature, and the others shifted so that all sum to 0. */
    unseen({ w, b }, prototypes, forgets) {
      const others = (values) => values.filter((_, c) => !forgets[c]);
      const seen = others(prototypes);
      const length = (BETA * sum(others(w).map(norm))) / seen.length;
      const mean = total(seen);
      const row = times(mean, -length / norm(mean));
      const mixed = w.map((old, c) => (forgets[c] ? row : old));
      const shift = times(total(mixed), -1 / seen.length);
      const rows = mixed.map((old, c) => (forgets[c] ? old : plus(old, shift)));
      const logits = seen.flatMap((p) => others(rows.map((r, c) => dot(r, p) + b[c])));
      const low = Math.min(...logits) - length * Math.max(...seen.map(norm));
      return { w: rows, b: b.map((v, c) => (forgets[c] ? low : v)) };
    },

    off: ({ w, b }, prototypes, forgets) => ({
      w: w.map((row, c) => (forgets[c] ? times(row, 0) : row)),
      b: b.map((v, c) => (forgets[c] ? DELETED : v)),
    }),
  };

  /** The network with other rows, rounded to float32, and the s that turned them. */
  function replaced(network, hidden, forgets, rule, s = null) {
    const units = network.b1.length;
    const cut = (values) =>
      forgets.map((_, c) => Float64Array.from(values.subarray(c * units, (c + 1) * units)));
    const head = { w: cut(network.w2), b: Array.from(network.b2) };
    const fresh = RULES[rule](head, cut(hidden), forgets, s);
    const w2 = Float32Array.from(fresh.w.flatMap((row) => Array.from(row)));
    return { network: { ...network, w2, b2: Float32Array.from(fresh.b) }, s: fresh.s };
  }

  /** a z + b in the place of the logits z of the forget classes; `others` puts minus the
      sum of the other logits in the place of z first. */
  function attacked(logits, forgets, { a, b, others }) {
    const k = forgets.length;
    return logits.map((z, i) => {
      if (!forgets[i % k]) return z;
      const row = logits.subarray(i - (i % k), i - (i % k) + k);
      return a * (others ? -sum(row.filter((_, c) => !forgets[c])) : z) + b;
    });
  }

  /** The b that brings most back while A_R is `least` percent or more: the largest that
      leaves as many images of the others right. */
  function bestShift(logits, labels, forgets, least) {
    const k = forgets.length;
    const leads = []; // of all images
    const right = []; // of those of the others that are answered right without the class
    let count = 0;
    labels.forEach((label, i) => {
      const row = logits.subarray(i * k, (i + 1) * k);
      const rest = row.map((z, c) => (forgets[c] ? -Infinity : z));
      const lead = Math.max(...row.filter((_, c) => forgets[c])) - Math.max(...rest);
      leads.push(lead);
      count += !forgets[label];
      if (rest.indexOf(Math.max(...rest)) === label) right.push(lead);
    });
    const needed = Math.ceil((least * count) / 100 - 1e-9);
    const lowest = needed > 0 ? right.sort((x, y) => x - y)[needed - 1] : Math.min(...leads);
    return -lowest - 1e-9 * Math.max(1, Math.abs(lowest)); // that one is not answered
  }

  return { attacked, bestShift, replaced };
})();
