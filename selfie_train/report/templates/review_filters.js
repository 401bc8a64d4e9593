// Which findings are shown and in what order: filters, sort, and the matrix of class pairs.

const MATRIX_CLASSES = 24; // more are listed pair by pair
const LISTED_PAIRS = 60;
let view = [];             // rows in the order shown
const openPairs = new Map(); // given * k + suggested -> undecided findings
const pairCells = new Map(); // the same key -> the button that shows it

const field = (id) => document.getElementById(id);
const pairKey = (row) => data.given[row] * classes.length + data.suggested[row];

function fillFilterLists() {
  for (const [id, column] of [["filter-given", data.given], ["filter-suggested", data.suggested]]) {
    const list = field(id);
    list.append(new Option("any", ""));
    const present = [...new Set(column)].sort((a, b) => a - b);
    for (const label of present) list.append(new Option(classes[label], label));
  }
  const sources = field("filter-source");
  sources.append(new Option("any", ""));
  sources.append(new Option("flagged by the audit", "flagged"));
  data.sources.forEach((source, number) => sources.append(new Option(source.name, number)));
  if (data.duplicates) sources.append(new Option("duplicates and leaks", "duplicates"));
}

function matchesStatus(row, status) {
  if (!status) return true;
  if (status === "open") return !decisions[row];
  if (status === "decided") return decisions[row] !== "";
  if (status === "noted") return notes[row] !== "";
  return decisions[row] === status;
}

function matchesSource(row, source) {
  if (source === "") return true;
  if (source === "flagged") return data.flagged[row] === 1;
  if (source === "duplicates") return data.duplicates[row] !== "";
  const one = data.sources[Number(source)];
  return one.words[one.word[row]] !== "";
}

function computeView() {
  const text = field("filter-name").value.trim().toLowerCase();
  const status = field("filter-status").value, source = field("filter-source").value;
  const given = field("filter-given").value, suggested = field("filter-suggested").value;
  const low = Number(field("filter-low").value) || 0;
  const high = field("filter-high").value === "" ? 1 : Number(field("filter-high").value);
  view = [];
  for (let row = 0; row < count; row++) {
    if (given !== "" && data.given[row] !== Number(given)) continue;
    if (suggested !== "" && data.suggested[row] !== Number(suggested)) continue;
    if (data.score[row] < low || data.score[row] > high) continue;
    if (!matchesStatus(row, status) || !matchesSource(row, source)) continue;
    if (text && !nameOf(row).toLowerCase().includes(text) && String(data.recordId[row]) !== text) continue;
    view.push(row);
  }
  const byScore = (a, b) => data.score[b] - data.score[a] || a - b; // of equal scores, as the audit had them
  const orders = {
    "score": byScore,
    "score-up": (a, b) => data.score[a] - data.score[b] || data.index[a] - data.index[b],
    "pair": (a, b) => pairKey(a) - pairKey(b) || byScore(a, b),
    "given": (a, b) => data.given[a] - data.given[b] || byScore(a, b),
    "suggested": (a, b) => data.suggested[a] - data.suggested[b] || byScore(a, b),
    "name": (a, b) => compareText(nameOf(a), nameOf(b)) || data.index[a] - data.index[b],
    "index": (a, b) => data.index[a] - data.index[b],
  };
  view.sort(orders[field("sort").value]);
  const on = [text, status, source, given, suggested].filter((value) => value !== "").length + (low > 0 || high < 1 ? 1 : 0);
  field("filters-on").textContent = on ? `(${on} on)` : "";
  for (const [key, cell] of pairCells) {
    const chosen = given !== "" && suggested !== "" && key === Number(given) * classes.length + Number(suggested);
    cell.setAttribute("aria-pressed", String(chosen));
  }
}

const compareText = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

function clearFilters() {
  for (const id of ["filter-name", "filter-status", "filter-given", "filter-suggested", "filter-source"]) field(id).value = "";
  field("filter-low").value = "0";
  field("filter-high").value = "1";
}

function pairButton(key) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    const pressed = button.getAttribute("aria-pressed") === "true";
    field("filter-given").value = pressed ? "" : Math.floor(key / classes.length);
    field("filter-suggested").value = pressed ? "" : key % classes.length;
    viewChanged();
  });
  pairCells.set(key, button);
  return button;
}

function buildMatrix() {
  const totals = new Map();
  for (let row = 0; row < count; row++) totals.set(pairKey(row), (totals.get(pairKey(row)) || 0) + 1);
  const given = [...new Set(data.given)].sort((a, b) => a - b);
  const suggested = [...new Set(data.suggested)].sort((a, b) => a - b);
  if (given.length <= MATRIX_CLASSES && suggested.length <= MATRIX_CLASSES) {
    const table = document.createElement("table");
    table.setAttribute("aria-labelledby", "matrix-title");
    const head = table.createTHead().insertRow();
    head.append(document.createElement("td"));
    const heading = (scope, label) => {
      const cell = document.createElement("th");
      cell.scope = scope;
      const text = document.createElement("span");
      text.textContent = cell.title = classes[label];
      cell.append(text);
      return cell;
    };
    for (const label of suggested) head.append(heading("col", label));
    const body = table.createTBody();
    for (const label of given) {
      const line = body.insertRow();
      line.append(heading("row", label));
      for (const other of suggested) {
        const key = label * classes.length + other;
        const cell = line.insertCell();
        if (totals.has(key)) cell.append(pairButton(key));
      }
    }
    field("matrix").append(table);
  } else {
    field("matrix-title").textContent = "Given to suggested: the most frequent pairs";
    const list = document.createElement("ul");
    list.className = "pairs";
    [...totals].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, LISTED_PAIRS).forEach(([key]) => {
      const item = document.createElement("li");
      item.append(pairButton(key));
      list.append(item);
    });
    field("matrix").append(list);
  }
  updateMatrix();
}

// Undecided findings of every pair, and how strongly its cell is tinted.
function updateMatrix() {
  openPairs.clear();
  for (let row = 0; row < count; row++) {
    if (!decisions[row]) openPairs.set(pairKey(row), (openPairs.get(pairKey(row)) || 0) + 1);
  }
  const most = Math.max(1, ...openPairs.values());
  for (const [key, cell] of pairCells) {
    const left = openPairs.get(key) || 0;
    const [from, to] = [classes[Math.floor(key / classes.length)], classes[key % classes.length]];
    const inTable = cell.parentElement && cell.parentElement.tagName === "TD";
    const text = inTable ? String(left) : `${from} \u2192 ${to}: ${left}`;
    if (cell.textContent === text) continue;
    cell.textContent = text;
    cell.setAttribute("aria-label", `given ${from}, suggested ${to}: ${left} undecided`);
    cell.title = `${from} \u2192 ${to}`;
    cell.style.setProperty("--share", `${Math.round(60 * Math.sqrt(left / most))}%`);
  }
}

