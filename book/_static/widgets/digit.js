// Pen strokes to the 28 × 28 pixels that MNIST would have made of them. No page here: tested on its own.
window.FusionBook = window.FusionBook || {};

(function (book) {
  "use strict";

  const SIDE = 28;
  const BOX = 20; // MNIST scales the ink of every digit to fit a box of 20 × 20 pixels
  const CENTER = 14; // and moves its center of mass to pixel 14, by whole pixels
  const PEN = 1.4; // radius of the pen in MNIST's pixels, measured at half darkness
  const EDGE = 1.2; // over this many pixels the pen's edge fades from ink to paper
  const SMALLEST = 40; // strokes shorter than this stay small: a dot should not fill the box

  function bounds(points) {
    const xs = points.map(([x]) => x);
    const ys = points.map(([, y]) => y);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    return { x: (left + right) / 2, y: (top + bottom) / 2, side: Math.max(right - left, bottom - top, SMALLEST) };
  }

  // The strokes in pixel coordinates, their box centered. The pen's own width is part of the box.
  function fitted(strokes) {
    const box = bounds(strokes.flat());
    const scale = (BOX - 2 * PEN - EDGE) / box.side;
    const middle = (SIDE - 1) / 2;
    const place = ([x, y]) => [(x - box.x) * scale + middle, (y - box.y) * scale + middle];
    return strokes.map((stroke) => stroke.map(place));
  }

  function distance(x, y, [x0, y0], [x1, y1]) {
    const [dx, dy] = [x1 - x0, y1 - y0];
    const length = dx * dx + dy * dy;
    const along = length && Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / length));
    return Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
  }

  // A segment is two neighbors of a stroke; a stroke of one point is a dot.
  function segments(stroke) {
    return stroke.length === 1 ? [[stroke[0], stroke[0]]] : stroke.slice(1).map((end, i) => [stroke[i], end]);
  }

  // Darkness from 0 to 1 falls with the distance to the nearest stroke: soft edges, at any size of the drawing.
  function ink(strokes) {
    const lines = strokes.flatMap(segments);
    const reach = PEN + EDGE / 2;
    const pixels = new Float64Array(SIDE * SIDE);
    for (const [from, to] of lines) {
      const [left, right] = [Math.min(from[0], to[0]) - reach, Math.max(from[0], to[0]) + reach];
      const [top, bottom] = [Math.min(from[1], to[1]) - reach, Math.max(from[1], to[1]) + reach];
      for (let y = Math.max(0, Math.ceil(top)); y <= Math.min(SIDE - 1, bottom); y += 1) {
        for (let x = Math.max(0, Math.ceil(left)); x <= Math.min(SIDE - 1, right); x += 1) {
          const dark = (reach - distance(x, y, from, to)) / EDGE;
          pixels[y * SIDE + x] = Math.max(pixels[y * SIDE + x], Math.min(1, dark));
        }
      }
    }
    return pixels;
  }

  function centerOfMass(pixels) {
    let [sum, x, y] = [0, 0, 0];
    pixels.forEach((dark, i) => {
      sum += dark;
      x += dark * (i % SIDE);
      y += dark * Math.floor(i / SIDE);
    });
    return [x / sum, y / sum];
  }

  // strokes: lists of points [x, y], in any unit; the pixels (784,) run from 0, paper, to 1, ink
  function fromStrokes(strokes) {
    if (!strokes.length) return new Float64Array(SIDE * SIDE);
    const placed = fitted(strokes);
    const [dx, dy] = centerOfMass(ink(placed)).map((at) => CENTER - Math.round(at));
    return ink(placed.map((stroke) => stroke.map(([x, y]) => [x + dx, y + dy])));
  }

  book.digit = { SIDE, fromStrokes, centerOfMass };
})(window.FusionBook);
