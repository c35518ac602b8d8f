// Beside a picture and its copy: where they differ once the copy is laid onto the picture.
{
  const finds = document.querySelectorAll(".find[data-copies]");
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      showDifference(target);
    }
  }, { rootMargin: "600px" });
  for (const find of finds) seen.observe(find);
}

async function showDifference(find) {
  const images = [...find.querySelectorAll(".shots img")];
  if (images.length !== 2) return;
  await Promise.all(images.map((image) => image.decode()));
  const [picture, copy] = images;
  const shape = picture.naturalHeight / picture.naturalWidth;
  const still = { mirrored: false, x: 0, y: 0, size: 1, angle: 0 };
  const small = drawGray(picture, still, 48, shape);
  // The best shift, size and angle by pattern search, from the copy as it is and mirrored.
  let best = null;
  for (const mirrored of [false, true]) {
    let place = { ...still, mirrored };
    let error = misfit(small, drawGray(copy, place, 48, shape));
    let steps = { x: 0.06, y: 0.06, size: 0.06, angle: 0.05 };
    for (let round = 0; round < 24 && steps.x > 0.003; round++) {
      let better = null;
      for (const name of Object.keys(steps)) {
        for (const sign of [-1, 1]) {
          const other = { ...place, [name]: place[name] + sign * steps[name] };
          const value = misfit(small, drawGray(copy, other, 48, shape));
          if (value < error - 1e-4) [error, better] = [value, other];
        }
      }
      if (better) place = better;
      else steps = Object.fromEntries(Object.entries(steps).map(([name, step]) => [name, step / 2]));
    }
    if (best === null || error < best.error) best = { place, error };
  }
  const width = Math.min(178, picture.naturalWidth);
  const one = drawGray(picture, still, width, shape);
  const other = drawGray(copy, best.place, width, shape);
  // Fitted anew to what fits best, or a box on one of the two would tint all the rest.
  let { gain, offset } = matchLight(one, other);
  const residuals = () => one.gray.map((value, k) => Math.abs(value - gain * other.gray[k] - offset));
  const rest = residuals();
  const limit = rest.toSorted()[Math.floor(0.8 * rest.length)];
  ({ gain, offset } = matchLight(one, other, (k) => rest[k] <= limit));
  const off = residuals();
  const canvas = one.canvas;
  const out = canvas.getContext("2d").createImageData(canvas.width, canvas.height);
  for (let k = 0; k < one.gray.length; k++) {
    const paper = 255 - (255 - one.gray[k]) * 0.45;
    const red = other.alpha[k] ? Math.min(1, Math.max(0, off[k] - 12) / 48) : 0;
    out.data.set([paper * (1 - red) + 190 * red, paper * (1 - red) + 40 * red,
      paper * (1 - red) + 20 * red, 255], 4 * k);
    if (!other.alpha[k]) out.data.set([paper * 0.82, paper * 0.82, paper * 0.86], 4 * k);
  }
  canvas.getContext("2d").putImageData(out, 0, 0);
  const how = describePlace(best.place);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Where the copies differ, ${how}`);
  const item = document.createElement("li");
  item.className = "difference";
  const text = document.createElement("span");
  text.textContent = `red: differs; copy ${how}`;
  item.append(canvas, text);
  find.querySelector(".shots").append(item);
}

function describePlace({ mirrored, x, y, size, angle }) {
  const words = [];
  if (mirrored) words.push("mirrored");
  if (Math.abs(size - 1) > 0.015) words.push(`scaled to ${Math.round(100 * size)} %`);
  if (Math.abs(angle) > 0.015) words.push(`turned by ${Math.round((180 * Math.abs(angle)) / Math.PI)}°`);
  if (Math.hypot(x, y) > 0.015) words.push("moved");
  return words.join(", ") || "as it lies";
}

// Gray values of an image drawn `width` wide, turned, sized and shifted about its middle.
function drawGray(image, { mirrored, x, y, size, angle }, width, shape) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = Math.max(1, Math.round(width * shape));
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.translate(canvas.width * (0.5 + x), canvas.height * (0.5 + y));
  pen.rotate(angle);
  pen.scale(mirrored ? -size : size, size);
  pen.drawImage(image, -canvas.width / 2, -canvas.height / 2, canvas.width, canvas.height);
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  const gray = new Float32Array(data.length / 4);
  const alpha = new Uint8Array(gray.length);
  for (let k = 0; k < gray.length; k++) {
    gray[k] = 0.299 * data[4 * k] + 0.587 * data[4 * k + 1] + 0.114 * data[4 * k + 2];
    alpha[k] = data[4 * k + 3] === 255;
  }
  return { canvas, gray, alpha };
}

// Gain and offset that bring the copy's gray values nearest to the picture's, and what is left.
function matchLight(one, other, isTaken = () => true) {
  let [n, a, b, aa, bb, ab] = [0, 0, 0, 0, 0, 0];
  for (let k = 0; k < one.gray.length; k++) {
    if (!other.alpha[k] || !isTaken(k)) continue;
    const [p, q] = [one.gray[k], other.gray[k]];
    [n, a, b, aa, bb, ab] = [n + 1, a + p, b + q, aa + p * p, bb + q * q, ab + p * q];
  }
  const [va, vb, vab] = [aa - (a * a) / n, bb - (b * b) / n, ab - (a * b) / n];
  const gain = vb > 0 ? Math.max(0, vab / vb) : 1;
  const fit = va > 0 && vb > 0 ? vab / Math.sqrt(va * vb) : 0;
  return { gain, offset: (a - gain * b) / n, error: 1 - fit, share: n / one.gray.length };
}

// 0 = the same picture. A copy that is moved away until little overlaps explains nothing.
function misfit(one, other) {
  const { error, share } = matchLight(one, other);
  return share < 0.6 ? 2 : error + 0.3 * Math.max(0, 0.97 - share);
}
