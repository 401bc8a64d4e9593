// The grid: only the tiles on the screen exist, whatever the number of findings.

const CAPTION_HEIGHT = 46; // pixels, as in the style sheet
const GAP = 8;
const grid = field("grid"), tilesBox = field("tiles");
const tiles = new Map();      // row -> its element, while on the screen
const spareTiles = [];
const selected = new Set();   // rows
let current = 0;              // place in the view
let anchor = 0;               // where a range selection began
let tileSize = 104;           // pixels asked for; tiles grow to fill the row
let tileWidth = 104, gridColumns = 1;

const currentRow = () => (view.length ? view[Math.min(current, view.length - 1)] : -1);
const rowHeight = () => tileWidth + CAPTION_HEIGHT + GAP;

function layOutGrid() {
  const width = grid.clientWidth - GAP;
  gridColumns = Math.max(1, Math.floor(width / (tileSize + GAP)));
  tileWidth = Math.max(48, Math.floor(width / gridColumns) - GAP);
  tilesBox.style.height = `${Math.ceil(view.length / gridColumns) * rowHeight() + GAP}px`;
  for (const element of tiles.values()) recycle(element);
  tiles.clear();
  renderGrid();
}

function recycle(element) {
  element.classList.remove("current");
  element.remove();
  if (spareTiles.length < 400) spareTiles.push(element);
}

function newTile() {
  const tile = document.createElement("div");
  tile.className = "tile";
  tile.setAttribute("role", "option");
  const canvas = document.createElement("canvas");
  canvas.setAttribute("aria-hidden", "true");
  const box = document.createElement("span");
  box.className = "box";
  box.setAttribute("aria-hidden", "true");
  const badge = document.createElement("span");
  badge.className = "badge";
  const caption = document.createElement("span");
  caption.className = "caption";
  for (const part of ["given", "new", "score"]) {
    const text = document.createElement("span");
    text.className = part;
    caption.append(text);
  }
  tile.append(canvas, box, badge, caption);
  return tile;
}

function renderGrid() {
  if (grid.hidden) return;
  const height = rowHeight();
  const first = Math.max(0, Math.floor(grid.scrollTop / height) - 1) * gridColumns;
  const last = Math.min(view.length, (Math.ceil((grid.scrollTop + grid.clientHeight) / height) + 1) * gridColumns);
  const wanted = new Set(view.slice(first, last));
  for (const [row, element] of tiles) {
    if (!wanted.has(row)) {
      recycle(element);
      tiles.delete(row);
    }
  }
  const width = (grid.clientWidth - GAP) / gridColumns;
  for (let place = first; place < last; place++) {
    const row = view[place];
    if (tiles.has(row)) continue;
    const tile = spareTiles.pop() || newTile();
    tile.id = `tile-${row}`;
    tile.dataset.row = row;
    tile.style.width = `${tileWidth}px`;
    tile.style.height = `${tileWidth + CAPTION_HEIGHT}px`;
    tile.style.left = `${GAP + (place % gridColumns) * width}px`;
    tile.style.top = `${GAP + Math.floor(place / gridColumns) * height}px`;
    tile.setAttribute("aria-setsize", view.length);
    tile.setAttribute("aria-posinset", place + 1);
    tiles.set(row, tile);
    tilesBox.append(tile);
    drawSprite(tile.firstChild, "findings", row);
    updateTile(row);
  }
  markCurrent();
}

function outcomeText(row) {
  const decision = decisions[row];
  if (decision === "relabel") return `relabelled ${classOf(labels[row])}`;
  return { keep: "kept", drop: "dropped", unsure: "unsure" }[decision] || "undecided";
}

function updateTile(row) {
  const tile = tiles.get(row);
  if (!tile) return;
  const decision = decisions[row], given = classOf(data.given[row]);
  const now = decision === "relabel" ? classOf(labels[row]) : classOf(data.suggested[row]);
  const [givenText, newText, scoreText] = tile.querySelector(".caption").children;
  givenText.textContent = given;
  newText.textContent = decision === "keep" || decision === "drop" ? outcomeText(row) : `\u2192 ${now}`;
  scoreText.textContent = percent(data.score[row]);
  tile.dataset.decision = decision;
  tile.querySelector(".badge").textContent = decision;
  tile.title = nameOf(row);
  tile.setAttribute("aria-selected", String(selected.has(row)));
  tile.setAttribute("aria-label", `${nameOf(row) || "record " + data.recordId[row]}: given ${given}, suggested ` +
    `${classOf(data.suggested[row])}, ${percent(data.score[row])} likely wrong, ${outcomeText(row)}`);
}

function markCurrent() {
  const row = currentRow();
  const before = tilesBox.querySelector(".current");
  if (before && before !== tiles.get(row)) before.classList.remove("current");
  if (row >= 0 && tiles.has(row)) {
    tiles.get(row).classList.add("current");
    grid.setAttribute("aria-activedescendant", `tile-${row}`);
  } else grid.removeAttribute("aria-activedescendant");
}

function scrollToCurrent() {
  const height = rowHeight(), top = Math.floor(current / gridColumns) * height;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top + height + GAP > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + height + GAP - grid.clientHeight;
  renderGrid();
}

function moveTo(place, extend = false) {
  if (!view.length) return;
  current = Math.max(0, Math.min(view.length - 1, place));
  if (extend) selectRange(anchor, current);
  else anchor = current;
  if (singleOpen()) showSingle();
  else scrollToCurrent();
  updateBar();
}

function selectRange(from, to) {
  for (let place = Math.min(from, to); place <= Math.max(from, to); place++) selected.add(view[place]);
  selectionChanged();
}

function toggleSelected(row) {
  if (selected.has(row)) selected.delete(row);
  else selected.add(row);
  selectionChanged();
}

function selectionChanged() {
  for (const row of tiles.keys()) updateTile(row);
  updateBar();
}

function tileOf(event) {
  const tile = event.target.closest(".tile");
  return tile ? Number(tile.dataset.row) : -1;
}

grid.addEventListener("scroll", () => requestAnimationFrame(renderGrid), { passive: true });
grid.addEventListener("click", (event) => {
  const row = tileOf(event);
  if (row < 0) return;
  const place = view.indexOf(row);
  if (event.shiftKey) {
    moveTo(place, true);
  } else if (event.target.closest(".box") || event.ctrlKey || event.metaKey) {
    moveTo(place);
    toggleSelected(row);
  } else {
    moveTo(place);
    openSingle();
  }
});
new ResizeObserver(() => {
  if (grid.hidden) return;
  const place = Math.floor(grid.scrollTop / rowHeight()) * gridColumns; // the first finding shown stays so
  layOutGrid();
  grid.scrollTop = Math.floor(place / gridColumns) * rowHeight();
}).observe(grid);

