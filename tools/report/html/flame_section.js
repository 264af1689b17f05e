// The section of the call stacks: which frames, which bytes, search, where one is zoomed to.
const views = [["merged", "Merged"], ["python", "Python"], ["native", "Native"]];
// What a process that ends frees on its way is not in the file's last numbers.
const heldWhen = report.session.state === "running" ? "held now" : "held when seen last";
const measures = [
  ["refused_bytes", "held at the refusal"], ["live_bytes", heldWhen], ["untouched_bytes", "granted, not filled yet"],
  ["allocated_bytes", "allocated since the start"]
];

function drawStacks() {
  const sites = report.sites, has = view => report.stacks[view].parent.length > 1;
  const sum = measure => sites[measure].reduce((a, b) => a + Math.max(0, b), 0);
  const usable = views.filter(([view]) => has(view)),
        weighty = measures.filter(([measure]) => sum(measure) > 0);
  if (!usable.length || !weighty.length) {
    byId("stacks").classList.add("empty");
    byId("stacks-note").textContent = "No call stacks were recorded.";
    return;
  }
  let view = usable[0][0], measure = weighty[0][0], tree = null;
  byId("measure").append(...weighty.map(([value, label]) => make("option", {value}, label)));
  const flame = new Flame(byId("flame"), (what, node) => {
    if (what === "zoom") drawCrumbs(flame, node);
    byId("flame-status").textContent =
        (what === "zoom" ? "Zoomed into " : "") + flame.words(node).join(", ");
  });
  function redraw() {
    tree = new StackTree(view, measure);
    const name = measures.find(one => one[0] === measure)[1];
    byId("stacks-note").textContent = bytes(tree.value[0]) + " " + name + ", " +
        plural(sites.python.length, "call stack") +
        ". Wider means more; what a frame called is below it.";
    flame.show(tree);
    search();
    byId("tree").replaceChildren();
    if (byId("tree-box").open) byId("tree").append(stackTree(tree, name));
  }
  function search() {
    const {wanted, total, frames} = flame.search(byId("flame-search").value);
    byId("search-result").textContent = !wanted ? "" :
        frames ? plural(frames, "frame") + " found, on stacks with " + bytes(total) + " (" +
            percent(total, tree.value[0]) + ")" :
                 "No frame found";
  }
  choices(
      byId("views"), views.map(([value, label]) => [value, label, !has(value)]), view, value => {
        view = value;
        redraw();
      });
  byId("measure").addEventListener("change", event => {
    measure = event.target.value;
    redraw();
  });
  byId("flame-search").addEventListener("input", search);
  byId("own-only").addEventListener("change", event => {
    flame.highlight = event.target.checked;
    flame.draw();
  });
  byId("tree-box").addEventListener("toggle", () => {
    if (byId("tree-box").open && !byId("tree").firstChild)
      byId("tree").append(stackTree(tree, measures.find(one => one[0] === measure)[1]));
  });
  const legend =
      [["own", "Your own code"], ["library", "Python libraries"], ["native", "Native code"]];
  byId("flame-legend").append(...legend.map(([name, label]) => {
    const swatch = make("i");
    swatch.style.background = "var(--" + name + ")";
    return make("li", null, swatch, label);
  }));
  redraw();
}

// "everything › 14 outer frames › load_batches": a way out of every zoom.
function drawCrumbs(flame, node) {
  const path = flame.tree.path(node), box = byId("crumbs"), parts = [];
  const crumb = (to, text) => {
    const button = make("button", {type: "button"}, text);
    button.addEventListener("click", () => flame.zoom(to));
    return button;
  };
  const hidden = path.length > 4 ? path.length - 3 : 0;
  path.forEach((one, i) => {
    if (i > 0 && i < 1 + hidden - 1) return;
    const name = frameName(flame.tree.frameOf(one));
    const text = hidden > 1 && i === hidden ? plural(hidden, "outer frame") : name;
    if (parts.length) parts.push(" \u203a ");
    parts.push(i === path.length - 1 ? make("b", null, text) : crumb(one, text));
  });
  box.replaceChildren(...(path.length > 1 ? parts : []));
}
