"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  if (!at("picture-data")) return;
  const { pairs, images } = JSON.parse(at("picture-data").textContent);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const SWITCHES = 700; // milliseconds: far fewer than three flashes a second
  const key = (pair) => JSON.stringify([pair.task, pair.label]);
  const several = new Set(pairs.map((pair) => pair.task)).size > 1;
  const element = (name, parent, more) => {
    const made = Object.assign(document.createElement(name), more);
    parent.append(made);
    return made;
  };
  for (const [value, pair] of new Map(pairs.map((one) => [key(one), one]))) {
    element("option", at("picture-configuration"), { value, textContent: (several ? pair.task + ": " : "") + pair.label });
  }

  // The least alike first: by PSNR, else by the loss of CLIP score.
  const likeness = (pair) => pair.psnr ?? (pair.score ?? 0) - (pair.baseline_score ?? 0);
  const told = (pair) => [
    pair.prompt, "seed " + pair.seed,
    ...(pair.psnr === null ? [] : ["PSNR " + pair.psnr.toFixed(1) + " dB"]),
    ...(pair.score === null || pair.baseline_score === null ? [] : ["CLIP score " + pair.baseline_score.toFixed(2) + " → " + pair.score.toFixed(2)]),
  ].join(" · ");
  let second = false;
  const flick = () => {
    const box = at("picture-pairs");
    box.classList.toggle("second", second);
    const pair = pairs.find((one) => key(one) === at("picture-configuration").value);
    at("picture-which").textContent = at("picture-view").value === "flicker" ? "Shown: " + (second ? pair.label : "baseline") : "";
  };
  const draw = () => {
    const box = at("picture-pairs");
    const view = at("picture-view").value;
    box.className = "pictures " + view;
    box.replaceChildren();
    const chosen = pairs.filter((pair) => key(pair) === at("picture-configuration").value);
    chosen.sort((one, other) => likeness(one) - likeness(other));
    for (const pair of chosen) {
      const figure = element("figure", box);
      const both = element("div", figure, { className: "pair" });
      for (const [name, number] of [["baseline", pair.baseline], [pair.label, pair.picture]]) {
        const one = element("div", both, { className: "one" });
        element("img", one, { src: images[number], alt: name + ": " + pair.prompt });
        element("span", one, { textContent: name });
      }
      element("figcaption", figure, { textContent: told(pair) });
    }
    at("picture-switch").hidden = view !== "flicker";
    second = false;
    flick();
  };
  const turn = () => { second = !second; flick(); };
  at("picture-configuration").addEventListener("change", draw);
  at("picture-view").addEventListener("change", draw);
  at("picture-turn").addEventListener("click", turn);
  // By itself only where motion is welcome; the button does it in any case.
  setInterval(() => { if (at("picture-view").value === "flicker" && !calm.matches && !at("picture-still").checked) turn(); }, SWITCHES);
  draw();
})();
