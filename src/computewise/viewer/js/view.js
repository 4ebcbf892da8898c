// One tree in one container: what is open, selected and focused outlives every newer version of it.

/** Under these widths in pixels the details are below the tree; the tree is an indented outline. */
const STACKED = 820;
const NARROW = 560;
const SVG = "http://www.w3.org/2000/svg";

class View {
  constructor(container) {
    this.tree = element("div", "cwv-tree");
    this.tree.setAttribute("role", "tree");
    this.links = document.createElementNS(SVG, "svg");
    this.links.setAttribute("aria-hidden", "true");
    this.links.setAttribute("class", "cwv-links");
    this.canvas = element("div", "cwv-canvas", this.links, this.tree);
    this.box = element("div", "cwv-box", this.canvas);
    this.panel = element("div", "cwv-panel");
    this.panel.setAttribute("aria-live", "polite");
    this.decisions = element("section", "cwv-decisions");
    this.decisions.setAttribute("aria-label", "Decisions");
    this.root = element("div", "cwv", element("div", "cwv-main", this.box, this.panel), this.decisions);
    container.replaceChildren(this.root);
    this.cards = new Map();
    this.contents = new WeakMap();
    this.detail = null;
    this.tree.addEventListener("focusin", (event) => (this.current = event.target.dataset.id));
    this.tree.addEventListener("keydown", (event) => this.pressed(event));
    new ResizeObserver(() => this.resized()).observe(container);
  }

  update(detail, options) {
    const other = this.detail?.id !== detail.id;
    if (other) {
      this.opened = new Map();
      this.selected = null;
      this.current = null;
      this.decided = "";
    }
    this.detail = detail;
    this.right = options.right ?? null;
    this.top = treeOf(detail);
    this.answer = detail.status === "running" || detail.status === "queued" ? null : answerItem(this.top);
    this.tree.setAttribute("aria-label", `Search tree of ${shortened(this.top.title, 80)}`);
    this.render();
    this.renderDecisions();
    if (other) this.box.scrollTo(0, 0);
  }

  isOpen(item) {
    return item.children.length > 0 && (this.opened.get(item.id) ?? opensByItself(item));
  }

  shown(item) {
    return this.isOpen(item) ? item.children : [];
  }

  *visible(item = this.top, level = 1) {
    yield [item, level];
    for (const child of this.shown(item)) yield* this.visible(child, level + 1);
  }

  render() {
    const focused = this.tree.contains(document.activeElement);
    this.items = new Map([...walk(this.top)].map((item) => [item.id, item]));
    const rows = [...this.visible()];
    const ids = new Set(rows.map(([item]) => item.id));
    const stop = this.nearest(this.current ?? this.selectedItem().id, ids);
    if (this.current !== null) this.current = stop;
    for (const [id, card] of this.cards) {
      if (!ids.has(id)) {
        card.remove();
        this.cards.delete(id);
      }
    }
    rows.forEach(([item, level], place) => this.place(this.cardFor(item, level, item.id === stop), place));
    this.layOut();
    this.renderPanel();
    const card = this.cards.get(stop);
    if (focused && document.activeElement !== card) card.focus({ preventScroll: true });
  }

  /** The item itself where it is drawn, else the nearest above it that is. */
  nearest(id, ids) {
    let item = this.items.get(id);
    while (item && !ids.has(item.id)) item = item.parent;
    return item?.id ?? "/";
  }

  /** Moved only where it stands elsewhere: what moves loses its focus. */
  place(card, place) {
    if (this.tree.children[place] !== card) this.tree.insertBefore(card, this.tree.children[place] ?? null);
  }

  cardFor(item, level, isStop) {
    let card = this.cards.get(item.id);
    if (!card) {
      card = element("div", "");
      card.setAttribute("role", "treeitem");
      card.dataset.id = item.id;
      card.addEventListener("click", (event) => this.clicked(item.id, event));
      this.cards.set(item.id, card);
    }
    const isAnswer = item === this.answer;
    card.className = `cwv-card cwv-${item.kind} cwv-is-${item.state}${isAnswer ? " cwv-answer-card" : ""}`;
    card.setAttribute("aria-level", level);
    card.setAttribute("aria-selected", String(item === this.selectedItem()));
    card.setAttribute("aria-label", nameOf(item, isAnswer, this.right));
    const siblings = item.parent ? item.parent.children : [item];
    card.setAttribute("aria-setsize", siblings.length);
    card.setAttribute("aria-posinset", siblings.indexOf(item) + 1);
    card.style.setProperty("--level", level - 1);
    card.tabIndex = isStop ? 0 : -1;
    const opens = item.children.length > 0;
    if (opens) card.setAttribute("aria-expanded", String(this.isOpen(item)));
    else card.removeAttribute("aria-expanded");
    this.fill(card, item, isAnswer);
    return card;
  }

  /** Only what shows something else is written anew: a click or a text selection in it goes on. */
  fill(card, item, isAnswer) {
    const open = this.isOpen(item);
    const key = JSON.stringify([item.node, item.title, item.count, item.children.length > 0, open, isAnswer]);
    if (this.contents.get(card) === key) return;
    this.contents.set(card, key);
    const caret = element("span", "cwv-caret", open ? "−" : "+");
    caret.setAttribute("aria-hidden", "true");
    card.replaceChildren(element("span", "cwv-body", ...cardOf(item, isAnswer, this.right)), item.children.length ? caret : "");
  }

  layOut() {
    this.narrow = this.root.clientWidth < NARROW;
    this.root.classList.toggle("cwv-narrow", this.narrow);
    this.root.classList.toggle("cwv-stacked", this.root.clientWidth < STACKED);
    for (const card of this.cards.values()) card.style.width = card.style.transform = "";
    if (this.narrow) {
      this.canvas.style.width = this.canvas.style.height = "";
      return;
    }
    const sizes = new Map([...this.cards].map(([id, card]) => [id, sizeOf(card)]));
    const drawn = layOut(this.top, (item) => this.shown(item), sizes);
    for (const [id, { left, top, width }] of drawn.places) {
      const card = this.cards.get(id);
      card.style.width = `${width}px`;
      card.style.transform = `translate(${left}px, ${top}px)`;
    }
    this.canvas.style.width = `${drawn.width}px`;
    this.canvas.style.height = `${drawn.height}px`;
    this.links.setAttribute("width", drawn.width);
    this.links.setAttribute("height", drawn.height);
    this.links.replaceChildren(...drawn.lines.map(lineOf));
  }

  resized() {
    if (this.detail && this.root.clientWidth) this.layOut();
  }

  selectedItem() {
    return this.items.get(this.selected) ?? this.answer ?? this.top;
  }

  renderPanel() {
    const item = this.selectedItem();
    const key = JSON.stringify([this.detail.id, item.id, item.count, item.node, this.detail.solution, item === this.answer]);
    if (this.panelled === key) return;
    this.panelled = key;
    this.panel.replaceChildren(...panelOf(item, item === this.answer, this.detail, this.right));
  }

  renderDecisions() {
    const key = JSON.stringify([this.detail.decisions, this.detail.stopped]);
    if (this.decided === key) return;
    this.decided = key;
    this.decisions.hidden = !this.detail.decisions.length && !this.detail.stopped;
    const focused = this.decisions.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const open = new Set([...this.decisions.querySelectorAll("details[open]")].map((one) => one.dataset.key));
    const scrolled = this.decisions.querySelector("ol")?.scrollTop ?? 0;
    this.decisions.replaceChildren(...decisionsOf(this.detail, (ids) => this.reveal(ids)));
    for (const one of this.decisions.querySelectorAll("[data-key]")) {
      if (open.has(one.dataset.key)) one.open = true;
      if (one.dataset.key === focused) one.focus({ preventScroll: true });
    }
    const list = this.decisions.querySelector("ol");
    if (list) list.scrollTop = scrolled;
  }

  /** Select and show the first of these nodes that is in the tree. */
  reveal(ids) {
    const item = ids.map((id) => this.items.get(id)).find(Boolean);
    if (!item) return;
    for (let above = item.parent; above; above = above.parent) this.opened.set(above.id, true);
    this.go(item.id);
  }

  clicked(id, event) {
    const item = this.items.get(id);
    const wasSelected = item === this.selectedItem();
    if (event.target.closest(".cwv-caret") || wasSelected || !this.isOpen(item)) this.toggle(item);
    this.go(id);
  }

  toggle(item) {
    if (item.children.length) this.opened.set(item.id, !this.isOpen(item));
  }

  /** Select, focus and show. */
  go(id) {
    this.selected = this.current = id;
    this.render();
    const card = this.cards.get(id);
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  pressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const item = this.items.get(event.target.dataset.id);
    const rows = [...this.visible()].map(([one]) => one.id);
    const place = rows.indexOf(item.id);
    const moves = {
      ArrowDown: () => rows[Math.min(place + 1, rows.length - 1)],
      ArrowUp: () => rows[Math.max(place - 1, 0)],
      Home: () => rows[0],
      End: () => rows.at(-1),
      ArrowRight: () => (this.isOpen(item) ? item.children[0].id : this.toggled(item)),
      ArrowLeft: () => (this.isOpen(item) ? this.toggled(item) : (item.parent?.id ?? item.id)),
      Enter: () => this.toggled(item),
      " ": () => this.toggled(item),
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    this.go(move());
  }

  toggled(item) {
    this.toggle(item);
    return item.id;
  }
}

/** In whole pixels, rounded up: in less, a text would break. */
function sizeOf(card) {
  const { width, height } = card.getBoundingClientRect();
  return { width: Math.ceil(width), height: Math.ceil(height) };
}

function lineOf({ path, state }) {
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  line.setAttribute("class", `cwv-link cwv-is-${state}`);
  return line;
}

const views = new WeakMap();

/**
 * Draw a request's tree into `container`, or bring what stands there up to date.
 *
 * `detail` is { id, status, question, nodes, decisions, stopped, solution }; `options.right` are the right answers, where
 * they are known.
 */
function draw(container, detail, options = {}) {
  if (!views.has(container)) views.set(container, new View(container));
  views.get(container).update(detail, options);
}

window.computewiseViewer = { draw };
