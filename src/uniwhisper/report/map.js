"use strict";
for (const map of document.querySelectorAll(".map")) {
  const points = [...map.querySelectorAll("circle")];
  const sounds = [...map.querySelectorAll("audio")];
  const chosen = map.querySelector(".chosen");
  let playing = null;
  const show = (point) => {
    chosen.textContent = point.getAttribute("aria-label");
    for (const other of points) {
      other.classList.toggle("same", other.dataset.group === point.dataset.group);
      other.classList.toggle("this", other === point);
    }
    map.classList.add("busy");
  };
  const play = (point) => {
    show(point);
    if (playing) {
      playing.pause();
      playing.currentTime = 0;
    }
    playing = sounds[point.dataset.sound];
    if (playing) playing.play().catch(() => { chosen.textContent += " (this browser cannot play it)"; });
  };
  for (const point of points) {
    point.addEventListener("pointerenter", () => show(point));
    point.addEventListener("click", () => play(point));
    point.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        play(point);
      }
    });
  }
  map.addEventListener("pointerleave", () => map.classList.remove("busy"));
}
