"use strict";
// An entry is a detection (0 … K − 1) or a label (K …). Boxes are xyxy pixels of the original images.
(() => {
  const KINDS = [
    ["classification", "the box is at a label, but the class is wrong"],
    ["localisation", "the class is right, but the box is off (IoU .1 to .5)"],
    ["both", "the class is wrong and the box is off"],
    ["duplicate", "another detection found the label already"],
    ["background", "there is no label (IoU below .1)"],
    ["missed", "a label that nothing finds"],
    ["right", "class and box are right (IoU from .5 on)"],
    ["apart", "plays no part: on a crowd, or beyond 100 of an image and class"],
  ];
  const MISSED = 5, RIGHT = 6, APART = 7;
  const EXPLAINED = 1, FOUND = 2, CROWD = 3; // what a label is, 0 if it is missed
  const PAGE_SIZES = { images: 24, objects: 60, issues: 60 };
  const MOST_URLS = 400;
  const CLASS_COLUMNS = [
    ["labels", "labels"], ["images", "images"], ["precision", "P"], ["recall", "R"], ["map_50", "AP50"], ["map", "AP"],
  ];
  const ISSUES = {
    missing: "label missing?", "wrong class": "wrong class?", "bad box": "box off?", spurious: "nothing there?",
  };

  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const detections = columns(data.detections), targets = columns(data.targets), sizes = column(data.sizes);
  const numDetections = detections.scores.length, numTargets = targets.labels.length, numImages = data.images.length;
  const numClasses = data.class_names.length, numEntries = numDetections + numTargets;
  const lowerNames = data.images.map((name) => name.toLowerCase());
  const detectionsOf = starts(detections.images), targetsOf = starts(targets.images);
  const areas = Float64Array.from({ length: numEntries }, (_, entry) => areaOf(entry));

  const counts = new Int32Array(numClasses * KINDS.length); // by class and kind, at the confidence chosen
  const states = new Uint8Array(numTargets);
  const numErrors = new Int32Array(numImages), badness = new Float64Array(numImages);
  const DEFAULTS = {
    view: "images", confidence: data.confidence, truth: true, predictions: true, right: true, names: true,
    label: -1, kind: "all", size: "all", sort: "worst", search: "",
  };
  let state = { ...DEFAULTS }, page = 0, shown = [], classOrder = { column: "labels", descending: true }, opened = -1;

  // Data

  function column({ type, base64 }) {
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new { f4: Float32Array, f8: Float64Array, i4: Int32Array }[type](bytes.buffer);
  }

  function columns(stored) {
    return Object.fromEntries(Object.entries(stored).map(([name, value]) => [name, column(value)]));
  }

  /** Where the rows of each image start, and at the end the number of rows. */
  function starts(images) {
    const result = new Int32Array(numImages + 1);
    for (const image of images) result[image + 1]++;
    for (let i = 0; i < numImages; i++) result[i + 1] += result[i];
    return result;
  }

  function isDetection(entry) {
    return entry < numDetections;
  }

  const imageOf = (entry) => (isDetection(entry) ? detections.images[entry] : targets.images[entry - numDetections]);
  const labelOf = (entry) => (isDetection(entry) ? detections.labels[entry] : targets.labels[entry - numDetections]);
  const scoreOf = (entry) => (isDetection(entry) ? detections.scores[entry] : -1);

  function kindOf(entry) {
    if (!isDetection(entry)) return MISSED;
    const kind = detections.kinds[entry];
    return kind === -1 ? RIGHT : kind === -2 ? APART : kind;
  }

  function boxOf(entry) {
    const [boxes, i] = isDetection(entry) ? [detections.boxes, entry] : [targets.boxes, entry - numDetections];
    return boxes.subarray(4 * i, 4 * i + 4);
  }

  function areaOf(entry) {
    if (!isDetection(entry)) return targets.areas[entry - numDetections];
    const [left, top, right, bottom] = boxOf(entry);
    return (right - left) * (bottom - top);
  }

  const sizeClass = (area) => (area < 32 * 32 ? 0 : area < 96 * 96 ? 1 : 2);
  const className = (label) => data.class_names[label];
  const plural = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;
  const fixed = (value, digits = 3) => (value === null ? "–" : value.toFixed(digits));

  // At the confidence chosen

  /** Everything that depends on the confidence alone. */
  function recount() {
    counts.fill(0), states.fill(0), numErrors.fill(0), badness.fill(0);
    for (let i = 0; i < numTargets; i++) if (targets.crowd[i]) states[i] = CROWD;
    for (let i = 0; i < numDetections; i++) {
      if (detections.scores[i] < state.confidence) continue;
      const kind = kindOf(i), target = detections.targets[i];
      counts[detections.labels[i] * KINDS.length + kind]++;
      if (target >= 0 && states[target] !== CROWD) {
        if (kind === RIGHT) states[target] = FOUND;
        else if (kind <= 1 && states[target] === 0) states[target] = EXPLAINED;
      }
      if (kind < MISSED) numErrors[detections.images[i]]++, badness[detections.images[i]] += detections.scores[i];
    }
    for (let i = 0; i < numTargets; i++) {
      if (states[i]) continue;
      counts[targets.labels[i] * KINDS.length + MISSED]++;
      numErrors[targets.images[i]]++, badness[targets.images[i]]++;
    }
  }

  /** Whether an entry is there at the confidence chosen and passes the filters. */
  function matches(entry) {
    if (isDetection(entry) ? detections.scores[entry] < state.confidence : states[entry - numDetections]) return false;
    const kind = kindOf(entry);
    if (kind === RIGHT && !state.right) return false;
    if (state.kind === "errors" ? kind > MISSED : state.kind !== "all" && state.kind !== KINDS[kind][0]) return false;
    return fits(entry);
  }

  const fits = (entry) =>
    (state.label < 0 || labelOf(entry) === state.label) &&
    (state.size === "all" || sizeClass(areas[entry]) === Number(state.size));

  /** Whether a label that is not missed is drawn for itself. */
  function drawsLabel(target) {
    if (state.kind !== "all" || (states[target] === FOUND && !state.right)) return false;
    return states[target] !== 0 && fits(numDetections + target);
  }

  /** Small is bad: wrong detections by falling confidence, missed labels by falling size, right and other ones. */
  function rank(entry) {
    const kind = kindOf(entry);
    if (kind === MISSED) return 2 + 1 / (1 + areas[entry]);
    return (kind === RIGHT ? 4 + scoreOf(entry) : (kind === APART ? 7 : 1) - scoreOf(entry));
  }

  function sortKey(entry) {
    switch (state.sort) {
      case "label": return labelOf(entry);
      case "kind": return kindOf(entry);
      case "smallest": return areas[entry];
      case "largest": return -areas[entry];
      case "most": return -scoreOf(entry);
      case "least": return isDetection(entry) ? scoreOf(entry) : 2;
      case "errors": return imageOf(entry) - numErrors[imageOf(entry)] * numImages; // image by image
      default: return imageOf(entry);
    }
  }

  function searched() {
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    return Uint8Array.from(lowerNames, (name) => words.every((word) => name.includes(word)));
  }

  function sorted(items, primary, secondary = null) {
    return items.sort((a, b) => primary[a] - primary[b] || (secondary ? secondary[a] - secondary[b] : 0) || a - b);
  }

  function findEntries(named) {
    const found = [], primary = new Float64Array(numEntries), secondary = new Float64Array(numEntries);
    for (let entry = 0; entry < numEntries; entry++) {
      if (!named[imageOf(entry)] || !matches(entry)) continue;
      found.push(entry);
      secondary[entry] = rank(entry);
      primary[entry] = state.sort === "worst" ? secondary[entry] : sortKey(entry);
    }
    return sorted(found, primary, secondary);
  }

  function findImages(named) {
    const all = state.label < 0 && state.kind === "all" && state.size === "all";
    const key = new Float64Array(numImages).fill(Infinity), has = new Uint8Array(numImages).fill(all ? 1 : 0);
    for (let entry = 0; entry < numEntries; entry++) {
      const own = matches(entry);
      if (!own && (isDetection(entry) || !drawsLabel(entry - numDetections))) continue;
      const image = imageOf(entry);
      has[image] = 1;
      if (own) key[image] = Math.min(key[image], sortKey(entry));
    }
    if (state.sort === "worst") badness.forEach((value, i) => { key[i] = -value; });
    if (state.sort === "errors") numErrors.forEach((value, i) => { key[i] = -value; });
    if (state.sort === "name") key.forEach((_, i) => { key[i] = i; });
    // Infinity − Infinity is no order
    for (let i = 0; i < numImages; i++) if (key[i] === Infinity) key[i] = Number.MAX_VALUE;
    return sorted([...key.keys()].filter((i) => has[i] && named[i]), key);
  }

  function findIssues(named) {
    const found = [...data.issues.keys()].filter((i) => {
      const issue = data.issues[i], entry = issueEntry(issue), confident = issue.detection;
      return named[issue.image] && fits(entry) && (confident === null || detections.scores[confident] >= state.confidence);
    });
    return found;
  }

  const issueEntry = (issue) => issue.detection ?? numDetections + issue.target;

  // Pictures

  const urls = new Map(); // in the order of their last use

  function pictureUrl(image) {
    let url = urls.get(image);
    if (url === undefined) {
      const text = byId(`p${image}`)?.textContent;
      if (!text) return null;
      const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
      url = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
    }
    urls.delete(image);
    urls.set(image, url);
    if (urls.size > MOST_URLS) {
      const [oldest, old] = urls.entries().next().value;
      urls.delete(oldest);
      URL.revokeObjectURL(old);
    }
    return url;
  }

  function make(tag, classes = "", text = "") {
    const element = document.createElement(tag);
    if (classes) element.className = classes;
    if (text) element.textContent = text;
    return element;
  }

  /** A region of an image, xyxy, with what is drawn on it; names of boxes below a share of its width are left out. */
  function makeFrame(image, region, drawn, leastNamed = 0) {
    const frame = make("span", "frame");
    const [left, top, right, bottom] = region, width = right - left, height = bottom - top;
    const place = (element, [x1, y1, x2, y2]) => {
      element.style.left = `${(100 * (x1 - left)) / width}%`;
      element.style.top = `${(100 * (y1 - top)) / height}%`;
      element.style.width = `${(100 * (x2 - x1)) / width}%`;
      element.style.height = `${(100 * (y2 - y1)) / height}%`;
    };
    frame.style.aspectRatio = `${width} / ${height}`;
    const [imageHeight, imageWidth] = sizeOf(image), url = pictureUrl(image);
    if (url === null) {
      const pending = document.readyState === "loading" && !byId(`p${image}`);
      frame.append(make("span", "absent", pending ? "loading" : `no picture, ${imageWidth} × ${imageHeight} pixels`));
    } else {
      const picture = make("img");
      picture.src = url, picture.alt = "", picture.decoding = "async";
      place(picture, [0, 0, imageWidth, imageHeight]);
      frame.append(picture);
    }
    for (const { box, classes, text, key } of drawn) {
      const element = make("span", `box ${classes}`);
      place(element, box);
      Object.assign(element.dataset, key);
      if (state.names && text && Math.max(box[2] - box[0], box[3] - box[1]) >= leastNamed * width) {
        const name = make("span", "", text), below = "truth" in key;
        if (below ? box[3] > bottom - height * 0.07 : box[1] < top + height * 0.07) name.classList.add("inside");
        if ((box[0] - left) / width > 0.6) name.classList.add("leftward");
        element.append(name);
      }
      frame.append(element);
    }
    return frame;
  }

  const sizeOf = (image) => [Math.max(1, sizes[2 * image]), Math.max(1, sizes[2 * image + 1])];

  function drawTarget(target, named) {
    const missed = states[target] === 0, crowd = states[target] === CROWD;
    const text = missed || named || crowd ? className(targets.labels[target]) : "";
    return {
      box: boxOf(numDetections + target), classes: missed ? "missed" : "truth", text: crowd ? `${text} (crowd)` : text,
      key: { truth: target, state: ["missed", "explained", "found", "crowd"][states[target]] },
    };
  }

  function drawDetection(entry) {
    const kind = KINDS[kindOf(entry)][0];
    const text = `${className(detections.labels[entry])} ${fixed(scoreOf(entry), 2)}`;
    return { box: boxOf(entry), classes: kind, text, key: { detection: entry, kind } };
  }

  /** What is drawn on a whole image: the entries that pass, the labels of detections that do, and other labels. */
  function drawnOn(image) {
    const passed = [], labels = new Set();
    for (let i = detectionsOf[image]; i < detectionsOf[image + 1]; i++) {
      if (!matches(i)) continue;
      passed.push(i);
      if (detections.targets[i] >= 0) labels.add(detections.targets[i]);
    }
    for (let i = targetsOf[image]; i < targetsOf[image + 1]; i++) {
      if (matches(numDetections + i) || drawsLabel(i)) labels.add(i);
    }
    const truths = [...labels].sort((a, b) => a - b);
    return { passed, truths, drawn: [
      ...(state.truth ? truths.map((i) => drawTarget(i, !state.predictions || states[i] === EXPLAINED)) : []),
      ...(state.predictions ? [...passed].reverse().map(drawDetection) : []), // the most confident on top
    ] };
  }

  /** The square around a box, with half of its longer side more around it; inside the image as far as it can be. */
  function regionOf(entry) {
    const [left, top, right, bottom] = boxOf(entry), [height, width] = sizeOf(imageOf(entry));
    const side = 2 * Math.max(right - left, bottom - top, 16);
    const within = (centre, end) => (side < end ? Math.min(Math.max(centre - side / 2, 0), end - side) : centre - side / 2);
    const x = within((left + right) / 2, width), y = within((top + bottom) / 2, height);
    return [x, y, x + side, y + side];
  }

  function entryText(entry) {
    const name = className(labelOf(entry)), kind = kindOf(entry);
    if (kind === MISSED) return `${name} missed`;
    const target = detections.targets[entry];
    const other = target >= 0 && targets.labels[target] !== detections.labels[entry];
    const suffix = kind === RIGHT ? "" : other ? `, labelled ${className(targets.labels[target])}` : "";
    const iou = target >= 0 ? `, IoU ${fixed(detections.ious[entry], 2)}` : "";
    return `${name} ${fixed(scoreOf(entry), 2)}: ${kindName(kind)}${suffix}${iou}`;
  }

  const kindName = (kind) => (kind === APART ? "plays no part" : KINDS[kind][0]);

  function makeCard(frame, label, lines, key, open) {
    const card = make("article", "card"), button = make("button", "picture");
    Object.assign(card.dataset, key);
    button.type = "button";
    button.setAttribute("aria-label", `Enlarge ${label}`);
    button.addEventListener("click", open);
    button.append(frame);
    card.append(button, ...lines);
    return card;
  }

  function imageCard(image, index) {
    const [height, width] = sizeOf(image), { passed, truths, drawn } = drawnOn(image);
    const tally = new Map();
    for (const entry of passed) tally.set(kindOf(entry), (tally.get(kindOf(entry)) ?? 0) + 1);
    const missed = truths.filter((i) => states[i] === 0).length;
    if (missed) tally.set(MISSED, missed);
    const text = [...tally].sort(([a], [b]) => a - b).map(([kind, count]) => `${count} ${kindName(kind)}`).join(", ");
    const lines = [make("p", "", text || "nothing"), make("p", "caption", data.images[image])];
    const frame = makeFrame(image, [0, 0, width, height], drawn, 0.1);
    frame.style.width = `min(100%, ${(18 * width) / height}rem)`;
    return makeCard(frame, data.images[image], lines, { image }, () => openDialog(index));
  }

  function crop(entry, also, text, key, index) {
    const image = imageOf(entry), drawn = [];
    const target = also ?? (isDetection(entry) ? detections.targets[entry] : entry - numDetections);
    if (state.truth && target >= 0) drawn.push(drawTarget(target, isDetection(entry) && kindOf(entry) !== RIGHT));
    if (state.predictions && isDetection(entry)) drawn.push(drawDetection(entry));
    const lines = [make("p", "", text), make("p", "caption", data.images[image])];
    const frame = makeFrame(image, regionOf(entry), drawn);
    return makeCard(frame, `${text} in ${data.images[image]}`, lines, { image, ...key }, () => openDialog(index));
  }

  const entryCard = (entry, index) => crop(entry, null, entryText(entry), { entry }, index);

  function issueCard(i, index) {
    const issue = data.issues[i], entry = issueEntry(issue);
    const labelled = issue.target === null ? "no label" : `labelled ${className(targets.labels[issue.target])}`;
    const detected = issue.detection === null ? "nothing detected"
      : `detected ${className(detections.labels[issue.detection])} ${fixed(scoreOf(issue.detection), 2)}`;
    const text = `${ISSUES[issue.kind]} ${labelled}, ${detected}`;
    return crop(entry, issue.target ?? -1, text, { issue: i }, index);
  }

  // What is on the screen

  const CARDS = { images: imageCard, objects: entryCard, issues: issueCard };
  const NOUNS = { images: "image", objects: "object", issues: "probable label error" };

  function renderGallery() {
    const size = PAGE_SIZES[state.view], pages = Math.max(1, Math.ceil(shown.length / size));
    page = Math.min(Math.max(page, 0), pages - 1);
    const start = page * size, items = shown.slice(start, start + size);
    const gallery = byId("gallery");
    gallery.className = state.view === "images" ? "" : "small";
    gallery.replaceChildren(...items.map((item, i) => CARDS[state.view](item, start + i)));
    if (!items.length) gallery.append(make("p", "empty", `No ${NOUNS[state.view]} passes the filters.`));
    byId("status").textContent = items.length
      ? `${start + 1}–${start + items.length} of ${plural(shown.length, NOUNS[state.view])}` : plural(0, NOUNS[state.view]);
    for (const id of ["first", "previous"]) byId(id).disabled = page === 0;
    for (const id of ["next", "last"]) byId(id).disabled = page === pages - 1;
  }

  function renderCounts() {
    const totals = KINDS.map((_, kind) => {
      let total = 0;
      for (let label = 0; label < numClasses; label++) total += counts[label * KINDS.length + kind];
      return total;
    });
    for (const cell of document.querySelectorAll("#errors td[data-kind]")) {
      cell.textContent = totals[cell.dataset.kind].toLocaleString("en");
    }
    for (const row of byId("classes").tBodies[0].rows) {
      for (let kind = 0; kind < APART; kind++) row.cells[7 + kind].textContent = counts[row.dataset.label * KINDS.length + classKind(kind)];
    }
  }

  const classKind = (position) => (position === 0 ? RIGHT : position - 1);

  function renderChoices() {
    for (const row of byId("classes").tBodies[0].rows) mark(row, Number(row.dataset.label) === state.label);
    for (const row of byId("errors").tBodies[0].rows) mark(row, row.dataset.kind === state.kind);
  }

  function mark(row, chosen) {
    row.classList.toggle("chosen", chosen);
    row.querySelector("button")?.setAttribute("aria-pressed", chosen);
  }

  function classValue(label, name) {
    if (name === "class") return label;
    const kind = KINDS.findIndex(([kind]) => kind === name);
    return kind >= 0 ? counts[label * KINDS.length + kind] : data.classes[name][label];
  }

  function renderClasses() {
    const { column, descending } = classOrder, order = [...data.class_names.keys()];
    // what has no value is last in either direction
    const value = (label) => classValue(label, column) ?? (descending ? -1 : 1e9);
    const named = (a, b) => className(a).localeCompare(className(b), "en") || a - b;
    const compare = column === "class" ? named : (a, b) => value(a) - value(b);
    order.sort((a, b) => (descending ? compare(b, a) : compare(a, b)) || a - b);
    const rows = new Map([...byId("classes").tBodies[0].rows].map((row) => [Number(row.dataset.label), row]));
    byId("classes").tBodies[0].append(...order.map((label) => rows.get(label)));
    for (const head of byId("classes").tHead.rows[0].cells) {
      const own = head.dataset.column === column;
      head.setAttribute("aria-sort", own ? (descending ? "descending" : "ascending") : "none");
    }
  }

  const FINDERS = { images: findImages, objects: findEntries, issues: findIssues };

  let changedConfidence = true, waiting = false;

  /** Shows the state, once for all changes until the next picture of the screen. */
  function update(changes = {}) {
    if ("confidence" in changes) changedConfidence = true;
    Object.assign(state, changes);
    page = 0;
    if (!waiting) requestAnimationFrame(render);
    waiting = true;
  }

  function render() {
    waiting = false;
    if (changedConfidence) {
      changedConfidence = false;
      recount();
      renderCounts();
      if (KINDS.some(([kind]) => kind === classOrder.column)) renderClasses();
    }
    for (const id of ["kind", "sort"]) byId(id).disabled = state.view === "issues"; // these are ranked
    byId("confidence-value").textContent = fixed(state.confidence, 2);
    shown = FINDERS[state.view](searched());
    renderChoices();
    renderGallery();
  }

  function turn(to) {
    page = to;
    renderGallery();
  }

  // One image, large

  function openDialog(index) {
    opened = index;
    const item = shown[index], view = state.view;
    const entry = view === "objects" ? item : view === "issues" ? issueEntry(data.issues[item]) : null;
    const image = entry === null ? item : imageOf(entry);
    const [height, width] = sizeOf(image), { passed, truths, drawn } = drawnOn(image);
    const frame = makeFrame(image, [0, 0, width, height], drawn);
    frame.style.width = `min(100%, calc(70vh * ${width / height}))`;
    byId("dialog-title").textContent = data.images[image];
    byId("dialog-picture").replaceChildren(frame);
    const rows = [...passed, ...truths.filter((i) => states[i] === 0).map((i) => numDetections + i)];
    byId("dialog-objects").tBodies[0].replaceChildren(...rows.map((row) => objectRow(row, row === entry)));
    byId("dialog-previous").disabled = index === 0;
    byId("dialog-next").disabled = index === shown.length - 1;
    if (!byId("dialog").open) byId("dialog").showModal();
  }

  function objectRow(entry, chosen) {
    const row = make("tr", chosen ? "chosen" : ""), kind = kindOf(entry), detected = isDetection(entry);
    const target = detected ? detections.targets[entry] : entry - numDetections;
    const kindCell = make("td");
    kindCell.append(make("span", `swatch ${KINDS[kind][0]}`), kindName(kind));
    row.append(
      make("td", "", detected ? className(detections.labels[entry]) : "–"),
      make("td", "number", detected ? fixed(scoreOf(entry)) : "–"),
      kindCell,
      make("td", "", target >= 0 ? className(targets.labels[target]) : "–"),
      make("td", "number", detected && target >= 0 ? fixed(detections.ious[entry]) : "–"),
    );
    return row;
  }

  function step(by) {
    if (shown[opened + by] === undefined) return;
    openDialog(opened + by);
    const size = PAGE_SIZES[state.view];
    if (Math.floor(opened / size) !== page) turn(Math.floor(opened / size)); // the page behind goes along
  }

  // Once

  function buildHeader() {
    byId("title").textContent = data.title;
    byId("facts").textContent = data.facts.map(([name, value]) => `${name} ${value}`).join(" · ");
    byId("notes").replaceChildren(...data.notes.map((note) => make("li", "", note)));
    byId("notes").hidden = !data.notes.length;
    for (const [title, figures] of data.figures) {
      const group = make("div"), list = make("dl");
      for (const [name, value] of figures) {
        const figure = make("div");
        figure.append(make("dt", "", name), make("dd", "", fixed(value)));
        list.append(figure);
      }
      group.append(make("h3", "", title), list);
      byId("figures").append(group);
    }
  }

  function buildErrors() {
    const most = Math.max(...Object.values(data.costs), 1e-9);
    const rows = KINDS.slice(0, MISSED + 1).map(([kind, about], i) => errorRow(kind, about, i, data.costs[kind], most));
    rows.push(errorRow("all false positives", "all wrong detections together", null, data.costs.false_positive, most));
    rows.push(errorRow("all false negatives", "all labels without a right detection", null, data.costs.false_negative, most));
    rows.push(errorRow("right", KINDS[RIGHT][1], RIGHT, null, most));
    byId("errors").tBodies[0].append(...rows);
    for (const [kind] of [...KINDS.slice(0, APART), ["truth"]]) {
      const item = make("span");
      item.append(make("span", `swatch ${kind}`), kind === "truth" ? "label" : kind);
      byId("legend").append(item);
    }
  }

  function errorRow(kind, about, position, cost, most) {
    const row = make("tr", position === null ? "" : kind), name = make("th"), count = make("td", "number"), costs = make("td");
    name.scope = "row";
    if (position === null) {
      name.textContent = kind;
    } else {
      row.dataset.kind = kind, count.dataset.kind = position;
      const button = make("button");
      button.type = "button";
      button.append(make("span", `swatch ${kind}`), kind);
      button.addEventListener("click", () => choose({ kind: state.kind === kind ? "all" : kind }));
      name.append(button);
    }
    if (cost !== null) {
      const bar = make("span", "cost"), length = make("i");
      length.style.width = `${(8 * Math.max(0, cost)) / most}rem`;
      bar.append(make("span", "", fixed(100 * cost, 1)), length);
      costs.append(bar);
    }
    row.append(name, count, costs, make("td", "about", about));
    return row;
  }

  function buildClasses() {
    const heads = [["class", "class"], ...CLASS_COLUMNS];
    for (let i = 0; i < APART; i++) heads.push([KINDS[classKind(i)][0], KINDS[classKind(i)][0]]);
    for (const [column, text] of heads) {
      const head = make("th", column === "class" ? "" : "number"), button = make("button", "", text);
      head.scope = "col", head.dataset.column = column, button.type = "button";
      button.addEventListener("click", () => {
        const descending = classOrder.column === column ? !classOrder.descending : column !== "class";
        classOrder = { column, descending };
        renderClasses();
      });
      head.append(button);
      byId("classes").tHead.rows[0].append(head);
    }
    const body = byId("classes").tBodies[0];
    for (let label = 0; label < numClasses; label++) {
      const row = make("tr"), name = make("th"), button = make("button", "", className(label) || "(no name)");
      row.dataset.label = label, name.scope = "row", button.type = "button";
      button.addEventListener("click", () => choose({ label: state.label === label ? -1 : label }));
      name.append(button);
      row.append(name);
      for (const [column] of CLASS_COLUMNS) {
        const value = data.classes[column][label], whole = column === "labels" || column === "images";
        row.append(make("td", "number", whole ? String(value) : fixed(value)));
      }
      for (let i = 0; i < APART; i++) row.append(make("td", "number"));
      body.append(row);
    }
    renderClasses();
  }

  function addOptions(select, options) {
    for (const [value, text] of options) {
      const option = make("option", "", text);
      option.value = value;
      select.append(option);
    }
  }

  /** Changes that come from elsewhere than the control itself. */
  function choose(changes) {
    update(changes);
    showControls();
  }

  function showControls() {
    for (const id of ["truth", "predictions", "right", "names"]) byId(id).checked = state[id];
    for (const id of ["label", "kind", "size", "sort", "search", "confidence"]) byId(id).value = state[id];
    byId(`view-${state.view}`).checked = true;
  }

  function buildControls() {
    addOptions(byId("label"), [[-1, "All classes"], ...data.class_names.map((name, i) => [i, name])]);
    addOptions(byId("kind"), [["all", "All kinds"], ["errors", "All errors"], ...KINDS.map(([kind], i) => [kind, kindName(i)])]);
    byId("confidence").min = data.least_confidence;
    showControls();
    const listen = (id, event, read) => byId(id).addEventListener(event, ({ target }) => update(read(target)));
    for (const view of Object.keys(CARDS)) listen(`view-${view}`, "change", () => ({ view }));
    for (const id of ["truth", "predictions", "right", "names"]) listen(id, "change", ({ checked }) => ({ [id]: checked }));
    for (const id of ["kind", "size", "sort"]) listen(id, "change", ({ value }) => ({ [id]: value }));
    listen("label", "change", ({ value }) => ({ label: Number(value) }));
    listen("confidence", "input", ({ value }) => ({ confidence: Number(value) }));
    listen("search", "input", ({ value }) => ({ search: value }));
    byId("reset").addEventListener("click", () => choose({ ...DEFAULTS, view: state.view }));
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
  }

  function buildPager() {
    const lastPage = () => Math.ceil(shown.length / PAGE_SIZES[state.view]) - 1;
    byId("first").addEventListener("click", () => turn(0));
    byId("previous").addEventListener("click", () => turn(page - 1));
    byId("next").addEventListener("click", () => turn(page + 1));
    byId("last").addEventListener("click", () => turn(lastPage()));
    byId("dialog-previous").addEventListener("click", () => step(-1));
    byId("dialog-next").addEventListener("click", () => step(1));
    document.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by || event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, .scroll")) return;
      event.preventDefault();
      if (byId("dialog").open) step(by);
      else turn(page + by);
    });
  }

  function showProblems() {
    const problems = [...document.querySelectorAll("script[data-problem]")];
    byId("problems").hidden = !problems.length;
    byId("problems").querySelector("summary").textContent =
      `${problems.length} of ${plural(numImages, "image")} have no picture: their boxes are shown on grey`;
    byId("problems").querySelector("ul").replaceChildren(
      ...problems.map((script) => make("li", "", `${data.images[script.id.slice(1)]}: ${script.dataset.problem}`)),
    );
  }

  buildHeader();
  buildErrors();
  buildClasses();
  buildControls();
  buildPager();
  render();
  // Pictures come behind this script
  document.addEventListener("DOMContentLoaded", () => {
    renderGallery();
    showProblems();
    document.documentElement.dataset.ready = "yes";
  });
})();
