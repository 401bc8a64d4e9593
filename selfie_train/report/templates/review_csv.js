"use strict";
// CSV as decisions.csv has it: comma, quotes where needed, and no cell that a spreadsheet computes.

const FORMULA = /^'*[=+\-@\t\r]/;
const WRITTEN_HARMLESS = /^'+[=+\-@\t\r]/;

function csvCell(value) {
  let text = String(value);
  if (typeof value === "string" && FORMULA.test(text)) text = "'" + text;
  return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

function originalCell(cell) {
  return WRITTEN_HARMLESS.test(cell) ? cell.slice(1) : cell;
}

function writeCsv(rows) {
  return rows.map((row) => row.map(csvCell).join(",") + "\r\n").join("");
}

// Rows of cells. The header decides whether commas, semicolons or tabs stand between them.
function parseCsv(text) {
  if (text.startsWith("\ufeff")) text = text.slice(1);
  const header = text.split(/[\r\n]/, 1)[0];
  const comma = [",", ";", "\t"].reduce((best, sign) =>
    header.split(sign).length > header.split(best).length ? sign : best);
  const rows = [];
  let row = [], cell = "", quoted = false;
  const endCell = () => { row.push(cell); cell = ""; };
  const endRow = () => { endCell(); if (row.length > 1 || row[0] !== "") rows.push(row); row = []; };
  for (let at = 0; at < text.length; at++) {
    const sign = text[at];
    if (quoted) {
      if (sign !== '"') cell += sign;
      else if (text[at + 1] === '"') { cell += '"'; at++; }
      else quoted = false;
    } else if (sign === '"' && cell === "") quoted = true;
    else if (sign === comma) endCell();
    else if (sign === "\n") endRow();
    else if (sign === "\r") { if (text[at + 1] === "\n") at++; endRow(); }
    else cell += sign;
  }
  if (cell !== "" || row.length) endRow();
  return rows;
}

