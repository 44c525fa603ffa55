// The network of the book, 784-30-10: stored bytes to weights, pixels to probabilities. No page here: tested alone.
window.FusionBook = window.FusionBook || {};

(function (book) {
  "use strict";

  function bytes(base64) {
    return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  }

  // A layer is stored as one signed byte per weight and one scale per unit, which is a quarter of float32.
  function layer(stored) {
    const levels = new Int8Array(bytes(stored.levels).buffer);
    const width = levels.length / stored.scale.length;
    const weights = Float64Array.from(levels, (level, i) => level * stored.scale[Math.floor(i / width)]);
    return { weights, bias: stored.bias, width };
  }

  function load(stored) {
    return { hidden: layer(stored.hidden), output: layer(stored.output), mean: stored.mean, std: stored.std };
  }

  // weights (units, width) times x (width,), plus bias (units,)
  function affine({ weights, bias, width }, x) {
    return bias.map((start, unit) => {
      let sum = start;
      for (let i = 0; i < width; i += 1) sum += weights[unit * width + i] * x[i];
      return sum;
    });
  }

  // pixels (784,) from 0, paper, to 1, ink
  function forward(network, pixels) {
    const x = Array.from(pixels, (pixel) => (pixel - network.mean) / network.std);
    const hidden = affine(network.hidden, x).map((z) => Math.max(z, 0));
    const probabilities = affine(network.output, hidden).map((z) => 1 / (1 + Math.exp(-z)));
    return { hidden, probabilities };
  }

  function largest(values) {
    return values.indexOf(Math.max(...values));
  }

  book.network = { bytes, load, forward, largest };
})(window.FusionBook);
