// The call stacks as a tree of HTML: for screen readers, and for those who would rather read.
function stackTree(tree, measureName) {
  const list =
      make("ul", {class: "tree", role: "tree", "aria-label": "Call stacks by " + measureName});
  const shown = 60;
  function item(node, level) {
    const frame = tree.frameOf(node), children = tree.heldChildren(node);
    const row = make(
        "div", null, make("span", {class: "amount"}, bytes(tree.value[node])),
        make("span", {class: frame.own ? "own" : ""}, frameName(frame)));
    const entry = make(
        "li", {
          role: "treeitem",
          tabindex: "-1",
          "aria-level": level,
          "aria-expanded": children.length ? "false" : null,
          "aria-label": frameName(frame) + ", " + bytes(tree.value[node])
        },
        row);
    entry.expand = open => {
      if (!children.length) return;
      entry.setAttribute("aria-expanded", String(open));
      if (open && !entry.querySelector(":scope > ul")) entry.append(group(children, level + 1));
      const below = entry.querySelector(":scope > ul");
      if (below) below.hidden = !open;
    };
    row.addEventListener("click", () => {
      entry.expand(entry.getAttribute("aria-expanded") !== "true");
      focus(entry);
    });
    return entry;
  }
  function group(nodes, level) {
    const box =
        make("ul", {role: "group"}, ...nodes.slice(0, shown).map(node => item(node, level)));
    if (nodes.length > shown)
      box.append(
          make("li", {role: "none"}, plural(nodes.length - shown, "smaller one") + " left out"));
    return box;
  }
  function focus(entry) {
    for (const other of list.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
    entry.tabIndex = 0;
    entry.focus();
  }
  list.append(...tree.heldChildren(0).slice(0, shown).map(node => item(node, 1)));
  // What is shared by nearly everything is open from the start.
  let entry = list.firstElementChild;
  if (entry) entry.tabIndex = 0;
  for (let i = 0; entry && i < 60; ++i) {
    entry.expand(true);
    const below = entry.querySelector(":scope > ul");
    if (!below || below.children.length !== 1) break;
    entry = below.firstElementChild;
  }
  list.addEventListener("keydown", event => {
    const current = event.target.closest("[role=treeitem]");
    if (!current) return;
    const visible = Array.from(list.querySelectorAll("[role=treeitem]"))
                        .filter(one => one.offsetParent !== null);
    const at = visible.indexOf(current), open = current.getAttribute("aria-expanded") === "true";
    switch (event.key) {
      case "ArrowDown":
        if (visible[at + 1]) focus(visible[at + 1]);
        break;
      case "ArrowUp":
        if (visible[at - 1]) focus(visible[at - 1]);
        break;
      case "ArrowRight":
        if (!open) current.expand(true);
        else if (visible[at + 1]) focus(visible[at + 1]);
        break;
      case "ArrowLeft": {
        const outer = current.parentElement.closest("[role=treeitem]");
        if (open) current.expand(false);
        else if (outer) focus(outer);
        break;
      }
      case "Enter":
      case " ":
        current.expand(!open);
        break;
      case "Home":
        focus(visible[0]);
        break;
      case "End":
        focus(visible[visible.length - 1]);
        break;
      default:
        return;
    }
    event.preventDefault();
  });
  return list;
}
