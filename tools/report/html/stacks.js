// A prefix tree of call stacks with the bytes of every node, laid out from the left by size.
class StackTree {
  constructor(view, measure) {
    const {parent, frame} = report.stacks[view];
    this.parent = parent;
    this.frame = frame;
    const n = parent.length;
    this.value = new Float64Array(n);
    const leaf = report.sites[view], weight = report.sites[measure];
    for (let i = 0; i < leaf.length; ++i) this.value[leaf[i]] += Math.max(0, weight[i]);
    this.self = this.value.slice();
    for (let i = n - 1; i > 0; --i) this.value[parent[i]] += this.value[i];
    this.depth = new Int32Array(n);
    this.firstChild = new Int32Array(n + 1);
    for (let i = 1; i < n; ++i) {
      this.depth[i] = this.depth[parent[i]] + 1;
      ++this.firstChild[parent[i] + 1];
    }
    for (let i = 0; i < n; ++i) this.firstChild[i + 1] += this.firstChild[i];
    const next = this.firstChild.slice();
    this.children = new Int32Array(Math.max(0, n - 1));
    for (let i = 1; i < n; ++i) this.children[next[parent[i]]++] = i;
    this.start = new Float64Array(n);
    for (let i = 0; i < n; ++i) {
      const own = this.children.subarray(this.firstChild[i], this.firstChild[i + 1]);
      own.sort((a, b) => this.value[b] - this.value[a] || a - b);
      let at = this.start[i];
      for (const child of own) {
        this.start[child] = at;
        at += this.value[child];
      }
    }
  }
  childrenOf(node) {
    return this.children.subarray(this.firstChild[node], this.firstChild[node + 1]);
  }
  heldChildren(node) {
    return Array.from(this.childrenOf(node)).filter(child => this.value[child] > 0);
  }
  frameOf(node) { return node > 0 ? report.frames[this.frame[node]] : null; }
  path(node) {
    const nodes = [];
    for (; node >= 0; node = this.parent[node]) nodes.push(node);
    return nodes.reverse();
  }
  // Where stacks begin to differ, or to be the person's own: what everything shares is one thing
  // to skip. The node before it, so that it is on top.
  trunk() {
    let node = 0;
    for (;;) {
      const children = this.childrenOf(node);
      if (!children.length || this.value[children[0]] < 0.98 * this.value[0]) return node;
      if (this.frameOf(children[0]).own) return node;
      node = children[0];
    }
  }
}

const frameName = frame => frame ? frame.label : "everything";
function framePlace(frame) {
  if (!frame) return "";
  if (frame.kind === "native" && frame.module != null)
    return frame.place + " \u00b7 " + report.modules[frame.module].path;
  return frame.kind === "python" && frame.file ? frame.file + (frame.line ? ":" + frame.line : "") :
                                                 frame.place;
}
const frameClass = frame => !frame ? "all" :
    frame.own                      ? "own" :
    frame.kind === "python"        ? "library" :
                                     "native";
