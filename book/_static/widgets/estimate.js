// The arithmetic of "Does fusion pay for my sizes?", as in book/tools/pays.py. No page here: tested alone.
window.FusionBook = window.FusionBook || {};

(function (book) {
  "use strict";

  const PAYS = 1.05; // less than 5 % is no reason to rewrite a program
  const sum = (values) => values.reduce((total, value) => total + value, 0);

  // The least microseconds of [plain product, fused call, product + kernel, product + CuPy calls] at size [M, N, K], by the card's data sheet.
  function ideal(data, { arithmetic, epilog, size: [m, n, k] }, card) {
    const width = data.bytes[arithmetic];
    const [bandwidth, peak] = [card.bandwidth * 1e6, card.peaks[arithmetic] * 1e6]; // a microsecond
    return data.chains[epilog].map(([kernels, elements, masks]) => {
      const matmul = width * (m * k + k * n + m * n);
      const extra = m * n * (elements * width + masks);
      const [within, after] = kernels ? [matmul, extra] : [matmul + extra, 0];
      return 1 + kernels + Math.max((2 * m * n * k) / peak, within / bandwidth) + after / bandwidth;
    });
  }

  const octaves = (one, other) => Math.hypot(...one.map((value, i) => Math.log2(value) - Math.log2(other[i])));

  // What rows [number of size, …] hold, nearest size first.
  function nearest(data, rows, size) {
    const found = rows.map(([at, ...values]) => ({ size: data.sizes[at], distance: octaves(data.sizes[at], size), values }));
    return found.sort((one, other) => one.distance - other.distance);
  }

  // What solves a system of n equations, given as n rows: coefficients, then right-hand sides.
  function solve(rows) {
    const n = rows.length;
    for (let i = 0; i < n; i += 1) {
      const below = rows.slice(i).map((row) => Math.abs(row[i]));
      const pivot = i + below.indexOf(Math.max(...below));
      [rows[i], rows[pivot]] = [rows[pivot], rows[i]];
      rows.forEach((row, r) => {
        const factor = r === i ? 0 : row[i] / rows[i][i];
        if (factor) rows[i].forEach((value, j) => { row[j] -= factor * value; });
      });
    }
    return rows.map((row, i) => row.slice(n).map((value) => value / row[i]));
  }

  // log(measured / ideal), interpolated: a constant and weighted distances, right at each measured point.
  function interpolate(data, query, points) {
    const logs = points.map(({ size, values }) => {
      const least = ideal(data, { ...query, size }, data.cards[data.card]);
      return values.map((value, chain) => Math.log(value / least[chain]));
    });
    const equations = points.map(({ size }, i) => [...points.map((other) => octaves(size, other.size)), 1, ...logs[i]]);
    const balance = [...points.map(() => 1), 0, ...logs[0].map(() => 0)]; // the weights add up to 0
    const weights = solve([...equations, balance]);
    const distances = [...points.map(({ distance }) => distance), 1];
    return logs[0].map((_, chain) => sum(distances.map((distance, i) => distance * weights[i][chain])));
  }

  // Microseconds on the query's card; the measured points, nearest first; errors, in logarithms.
  function estimate(data, query) {
    const points = nearest(data, data.points[query.arithmetic][query.epilog], query.size);
    if (!points.length) return null;
    const logs = interpolate(data, query, points);
    const times = ideal(data, query, query.card).map((least, chain) => least * Math.exp(logs[chain]));
    const measured = points[0].distance === 0 && query.card === data.cards[data.card];
    const kind = measured ? "measured" : points[0].distance > data.far ? "far" : "near";
    return { times, points, kind, errors: data.errors[query.arithmetic][query.epilog][kind] };
  }

  // What a gain is worth, if its logarithm may be wrong by the error.
  function judge(gain, error) {
    const [low, high] = [gain / Math.exp(error), gain * Math.exp(error)];
    let word = gain > 1 ? "Probably" : "Probably not";
    if (gain < PAYS && gain > 1 / PAYS) word = "About equal";
    if (low >= PAYS) word = "Yes";
    if (high <= 1 / PAYS) word = "No";
    return { word, gain, low, high };
  }

  // Bytes that a single fused kernel need not move, but product + kernel must.
  function saved(data, { arithmetic, epilog, size: [m, n] }) {
    const [, fused, kernel] = data.chains[epilog].map(([, elements, masks]) => elements * data.bytes[arithmetic] + masks);
    return m * n * (kernel - fused);
  }

  // The kernels of a matmul, plain or with an epilog, counted at the nearest size; undefined if never counted.
  function launched(data, { arithmetic, size }, epilog = "plain") {
    const [found] = nearest(data, data.kernels[arithmetic][epilog], size);
    return found && { count: found.values[0], size: found.size };
  }

  book.pays = { estimate, judge, saved, launched };
})(window.FusionBook);
