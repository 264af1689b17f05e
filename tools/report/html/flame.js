// The icicle: a canvas, so that 10,000 stacks stay fluid; the tree below it says the same in HTML.
const rowHeight = 21;

class Flame {
  constructor(canvas, tell) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.tell = tell;  // called with (what, node): "zoom", "select"
    this.rows = [];
    this.found = null;
    this.highlight = true;
    this.selected = -1;
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    dark.addEventListener("change", () => this.draw());
    addEventListener("beforeprint", () => this.draw());
    canvas.addEventListener("pointermove", event => this.hover(event));
    canvas.addEventListener("pointerleave", () => this.hideTip());
    canvas.addEventListener("click", event => {
      const node = this.at(event);
      if (node != null) this.zoom(node === this.root ? Math.max(0, this.tree.parent[node]) : node);
    });
    canvas.addEventListener("keydown", event => this.key(event));
  }
  show(tree) {
    this.tree = tree;
    this.selected = -1;
    this.root = tree.trunk();
    this.window = this.windowOf(this.root);
    this.canvas.parentElement.scrollTop = 0;
    this.tell("zoom", this.root);
    this.draw();
  }
  windowOf(node) {
    return {
      from: this.tree.start[node],
      size: Math.max(this.tree.value[node], 1),
      depth: this.tree.depth[node]
    };
  }
  zoom(node) {
    if (node === this.root) return;
    const old = this.window, goal = this.windowOf(node);
    this.root = node;
    this.selected = node;
    this.hideTip();
    this.canvas.parentElement.scrollTop = 0;
    this.tell("zoom", node);
    cancelAnimationFrame(this.pending);
    if (calm.matches || document.hidden) {
      this.window = goal;
      return this.draw();
    }
    const begin = performance.now();
    const step = now => {
      const t = Math.min(1, Math.max(0, (now - begin) / 220)), ease = 1 - Math.pow(1 - t, 3);
      const mix = key => old[key] + (goal[key] - old[key]) * ease;
      this.window = t === 1 ? goal : {from: mix("from"), size: mix("size"), depth: mix("depth")};
      this.draw();
      if (t < 1) this.pending = requestAnimationFrame(step);
    };
    this.pending = requestAnimationFrame(step);
  }
  // The nodes that are at least half a pixel wide, by row; what is narrower is drawn together.
  layout(width) {
    const tree = this.tree, {from, size, depth} = this.window, scale = width / size;
    const rows = [], stack = [0], floor = Math.floor(depth);
    while (stack.length) {
      const node = stack.pop();
      const left = (tree.start[node] - from) * scale, wide = tree.value[node] * scale;
      if (left >= width || left + wide <= 0) continue;
      const row = tree.depth[node] - floor;
      if (row >= 0) (rows[row] = rows[row] || []).push({node, left, right: left + wide});
      let narrow = 0, narrowAt = 0;
      const children = tree.childrenOf(node);
      for (let i = 0; i < children.length; ++i) {
        const child = children[i], childWide = tree.value[child] * scale;
        if (childWide >= 0.5) {
          stack.push(child);
        } else {
          if (!narrow) narrowAt = (tree.start[child] - from) * scale;
          narrow += childWide;
        }
      }
      if (narrow >= 1 && row + 1 >= 0 && narrowAt < width && narrowAt + narrow > 0) {
        (rows[row + 1] = rows[row + 1] || [])
            .push({node: -1, under: node, left: narrowAt, right: narrowAt + narrow});
      }
    }
    for (const row of rows)
      if (row) row.sort((a, b) => a.left - b.left);
    return rows;
  }
  draw() {
    if (!this.tree) return;
    const width = this.canvas.parentElement.clientWidth, ratio = devicePixelRatio || 1;
    if (width <= 0) return;
    this.rows = this.layout(width);
    const height = Math.max(3, this.rows.length) * rowHeight;
    if (this.canvas.width !== Math.round(width * ratio) ||
        this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.height = height + "px";
    }
    const c = this.context, ink = {};
    for (const name
             of ["paper", "own", "own-ink", "library", "library-ink", "native", "native-ink",
                 "found", "found-ink", "line", "ink", "panel"])
      ink[name] = color(name);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = "12px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
    c.textBaseline = "middle";
    this.letter = c.measureText("abcdefghijklmnop_().:").width / 21;
    const shift = (Math.floor(this.window.depth) - this.window.depth) * rowHeight;
    this.rows.forEach((row, r) => {
      for (const one of row || []) this.drawOne(c, ink, one, r * rowHeight + shift, width);
    });
  }
  drawOne(c, ink, one, top, width) {
    const left = Math.max(0, one.left), right = Math.min(width, one.right), wide = right - left;
    const gap = wide > 3 ? 1 : 0;
    if (one.node < 0) {
      c.fillStyle = ink.line;
      c.fillRect(left, top, wide - gap, rowHeight - 1);
      return;
    }
    const frame = this.tree.frameOf(one.node);
    const kind = !frame         ? "panel" :
        this.highlight          ? frameClass(frame) :
        frame.kind === "python" ? "library" :
                                  "native";
    const hit = this.found && frame && this.found[this.tree.frame[one.node]];
    c.globalAlpha = this.found && !hit ? 0.42 : 1;
    c.fillStyle = hit ? ink.found : kind === "panel" ? ink.line : ink[kind];
    c.fillRect(left, top, Math.max(wide - gap, 0.5), rowHeight - 1);
    if (one.node === this.selected) {
      c.globalAlpha = 1;
      c.strokeStyle = ink.ink;
      c.lineWidth = 2;
      c.strokeRect(left + 1, top + 1, Math.max(wide - gap - 2, 1), rowHeight - 3);
    }
    const room = Math.floor((wide - 10) / this.letter);
    if (room < 3) {
      c.globalAlpha = 1;
      return;
    }
    const name = frame ? frameName(frame) : "everything", amount = bytes(this.tree.value[one.node]);
    let text = name;
    if (room > name.length + amount.length + 3) text = name + "   " + amount;
    else if (room < name.length) text = name.slice(0, room - 1) + "\u2026";
    c.fillStyle = hit ? ink["found-ink"] : kind === "panel" ? ink.ink : ink[kind + "-ink"];
    c.fillText(text, left + 5, top + rowHeight / 2);
    c.globalAlpha = 1;
  }
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const row = this.rows[Math.floor((event.clientY - box.top) / rowHeight)];
    if (!row) return null;
    const x = event.clientX - box.left;
    const one = row[d3.bisector(entry => entry.left).right(row, x) - 1];
    return one && x <= one.right ? (one.node < 0 ? one.under : one.node) : null;
  }
  hover(event) {
    const node = this.at(event), tip = byId("flame-tip");
    if (node == null) return this.hideTip();
    tip.replaceChildren(...this.words(node).map((line, i) => make(i ? "span" : "b", null, line)));
    tip.hidden = false;
    const room = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(event.clientX + 14, innerWidth - room.width - 12)) + "px";
    tip.style.top =
        (event.clientY + 22 + room.height > innerHeight ? event.clientY - room.height - 10 :
                                                          event.clientY + 18) +
        "px";
  }
  hideTip() { byId("flame-tip").hidden = true; }
  words(node) {
    const frame = this.tree.frameOf(node), value = this.tree.value[node];
    const lines = [
      frameName(frame), bytes(value) + ", " + percent(value, this.tree.value[0]) + " of everything"
    ];
    if (this.tree.self[node] > 0 && this.tree.self[node] < value)
      lines.push(bytes(this.tree.self[node]) + " by this frame itself");
    if (frame) lines.push(framePlace(frame));
    return lines;
  }
  select(node) {
    this.selected = node;
    this.tell("select", node);
    const box = this.canvas.parentElement,
          top = (this.tree.depth[node] - this.tree.depth[this.root]) * rowHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + rowHeight > box.scrollTop + box.clientHeight)
      box.scrollTop = top + rowHeight - box.clientHeight;
    this.draw();
  }
  key(event) {
    const tree = this.tree, node = this.selected < 0 ? this.root : this.selected,
          up = tree.parent[node];
    const siblings = up < 0 ? [node] : tree.heldChildren(up), place = siblings.indexOf(node);
    let next = null;
    switch (event.key) {
      case "ArrowDown":
        next = tree.heldChildren(node)[0];
        break;
      case "ArrowUp":
        next = node === this.root ? node : up;
        break;
      case "ArrowLeft":
        next = node === this.root ? node : siblings[place - 1];
        break;
      case "ArrowRight":
        next = node === this.root ? node : siblings[place + 1];
        break;
      case "Enter":
      case " ":
        this.zoom(node);
        break;
      case "Escape":
      case "Backspace":
        this.zoom(Math.max(0, tree.parent[this.root]));
        break;
      case "Home":
        this.zoom(0);
        break;
      default:
        return;
    }
    event.preventDefault();
    if (next != null && next >= 0) this.select(next);
  }
  search(text) {
    const wanted = text.trim().toLowerCase();
    this.found = null;
    let total = 0, frames = 0;
    if (wanted) {
      this.found = report.frames.map(
          frame => (frame.label + "\n" + framePlace(frame)).toLowerCase().includes(wanted));
      const inside = new Uint8Array(this.tree.parent.length), met = new Set();
      for (let node = 1; node < inside.length; ++node) {
        const hit = this.found[this.tree.frame[node]] && this.tree.value[node] > 0;
        if (hit) met.add(this.tree.frame[node]);
        const covered = inside[this.tree.parent[node]];
        if (hit && !covered) total += this.tree.value[node];
        inside[node] = covered || hit ? 1 : 0;
      }
      frames = met.size;
    }
    this.draw();
    return {wanted, total, frames};
  }
}
