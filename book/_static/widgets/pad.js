// The drawing area: a canvas that collects strokes from a mouse, a finger, a pen or the keyboard.
window.FusionBook = window.FusionBook || {};

(function (book) {
  "use strict";

  const SIZE = 280; // the drawing's own unit: points run from 0 to 280, however large the canvas is shown
  const PEN = 24; // width of the line that you see; the network's is always MNIST's
  const EDGES = [[5, 0.2], [3, 0.25], [0, 0.35], [-3, 0.5], [-6, 1]]; // from the pen's soft edge to its core
  const STEP = 10; // of an arrow key; with Shift, 2
  const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  const inside = (value) => Math.min(SIZE, Math.max(0, value));

  // changed(strokes, settled) is told of each new point; announce(text) of what a screen reader should say.
  function pad(canvas, changed, announce) {
    let strokes = [];
    let cursor = [SIZE / 2, SIZE / 2];
    let penDown = false;
    let pointer = null; // the mouse, finger or pen that draws; a second finger does not
    let keyboard = false; // the cursor is drawn only for those who steer it by keys
    let example = null; // pixels (784,) shown instead of strokes

    function paintStroke(brush, stroke) {
      brush.beginPath();
      brush.moveTo(...stroke[0]);
      stroke.forEach((point) => brush.lineTo(...point)); // a lone point becomes a dot
      brush.stroke();
    }

    function paintCursor(brush) {
      brush.lineWidth = 2;
      brush.strokeStyle = getComputedStyle(canvas).outlineColor;
      brush.beginPath();
      brush.arc(...cursor, penDown ? PEN / 4 : PEN / 2 + 4, 0, 2 * Math.PI);
      brush.stroke();
    }

    function paint() {
      book.dom.paintPixels(canvas, example || []);
      const brush = canvas.getContext("2d");
      brush.setTransform(canvas.width / SIZE, 0, 0, canvas.height / SIZE, 0, 0);
      brush.lineCap = brush.lineJoin = "round";
      brush.strokeStyle = getComputedStyle(canvas).color;
      for (const [wider, alpha] of EDGES) {
        brush.lineWidth = PEN + wider;
        brush.globalAlpha = alpha;
        strokes.forEach((stroke) => paintStroke(brush, stroke));
      }
      if (keyboard && document.activeElement === canvas) paintCursor(brush);
    }

    function begin(point) {
      example = null;
      cursor = point;
      penDown = true;
      strokes.push([point]);
      changed(strokes, false);
      paint();
    }

    function extend(point) {
      cursor = point;
      if (penDown) {
        strokes[strokes.length - 1].push(point);
        changed(strokes, false);
      }
      paint();
    }

    function end() {
      if (!penDown) return;
      penDown = false;
      changed(strokes, true);
      paint();
    }

    function clear() {
      [strokes, example, penDown] = [[], null, false];
      changed(strokes, true);
      paint();
    }

    function show(pixels) {
      [strokes, example, penDown] = [[], pixels, false];
      paint();
    }

    function place(event) {
      const box = canvas.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      return [inside(x * SIZE), inside(y * SIZE)];
    }

    function togglePen() {
      if (penDown) end();
      else begin(cursor.slice());
      announce(penDown ? "Pen down." : "Pen up.");
    }

    function press(event) {
      const move = MOVES[event.key];
      if (event.ctrlKey || event.altKey || event.metaKey) return; // the browser's own
      if (!move && ![" ", "Enter", "Delete", "Backspace"].includes(event.key)) return;
      event.preventDefault(); // neither arrows nor space should scroll the page
      keyboard = true;
      const step = event.shiftKey ? 2 : STEP;
      if (move) extend(cursor.map((at, axis) => inside(at + step * move[axis])));
      else if (event.key === " " || event.key === "Enter") togglePen();
      else clear();
    }

    canvas.addEventListener("pointerdown", (event) => {
      if (pointer !== null || event.button !== 0) return;
      pointer = event.pointerId;
      keyboard = false;
      canvas.setPointerCapture(pointer);
      begin(place(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId === pointer && penDown) extend(place(event));
    });
    for (const over of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(over, (event) => {
        if (event.pointerId !== pointer) return;
        pointer = null;
        end();
      });
    }
    canvas.addEventListener("keydown", press);
    canvas.addEventListener("focus", () => {
      keyboard = canvas.matches(":focus-visible");
      paint();
    });
    canvas.addEventListener("blur", () => {
      end();
      paint();
    });
    book.dom.onThemeChange(paint);
    return { clear, show };
  }

  book.pad = pad;
})(window.FusionBook);
