// Sprite sheets: decoded when an image of theirs is first drawn, and forgotten when many others were drawn since.

const SHEET_PIXELS = 48e6;   // of decoded sheets that are kept: about 200 MB
const sheetCache = new Map(); // "kind-number" -> { image, ready, failed, waiting: Set of canvases }

function sheetUrl(kind, number) {
  const sheets = data.sheets[kind];
  if (sheets.files) return sheets.files[number].split("/").map(encodeURIComponent).join("/");
  return `data:image/${sheets.types[number]};base64,` + document.getElementById(`${kind}-${number}`).textContent;
}

function openSheet(kind, number) {
  const key = `${kind}-${number}`;
  let sheet = sheetCache.get(key);
  if (sheet) {
    sheetCache.delete(key); // the last one drawn stands last
  } else {
    const image = new Image();
    sheet = { image, ready: false, failed: false, waiting: new Set() };
    const loading = sheet;
    image.onload = () => {
      loading.ready = true;
      for (const canvas of loading.waiting) if (canvas.isConnected) paint(canvas);
      loading.waiting.clear();
    };
    image.onerror = () => {
      loading.failed = true;
      loading.waiting.clear();
      imagesMissing(kind, number);
    };
    image.src = sheetUrl(kind, number);
  }
  sheetCache.set(key, sheet);
  let pixels = 0;
  for (const one of sheetCache.values()) pixels += one.image.width * one.image.height;
  for (const [old, one] of sheetCache) {
    if (pixels <= SHEET_PIXELS || sheetCache.size <= 4) break;
    pixels -= one.image.width * one.image.height;
    sheetCache.delete(old);
  }
  return sheet;
}

// Shows sprite `sprite` of a kind in a canvas, now or when its sheet is there.
function drawSprite(canvas, kind, sprite) {
  canvas.sprite = { kind, sprite };
  const sheets = data.sheets[kind];
  if (canvas.width !== sheets.width || canvas.height !== sheets.height) {
    canvas.width = sheets.width;
    canvas.height = sheets.height;
  }
  canvas.classList.toggle("pixelated", sheets.pixelated);
  paint(canvas);
}

function paint(canvas) {
  const { kind, sprite } = canvas.sprite;
  const { width, height, columns, perSheet } = data.sheets[kind];
  const sheet = openSheet(kind, Math.floor(sprite / perSheet));
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  if (!sheet.ready) {
    sheet.waiting.add(canvas);
    return;
  }
  const place = sprite % perSheet;
  context.drawImage(sheet.image, (place % columns) * width, Math.floor(place / columns) * height, width, height, 0, 0, width, height);
}

