// Refreshes what changes on the first page every few seconds, until it is told to stop.
"use strict";
(() => {
  const live = document.getElementById("live");
  const said = document.getElementById("refresh");
  if (!live || !said) return;
  const button = document.createElement("button");
  const words = document.createElement("span");
  let running = true;

  function say(text) {
    words.textContent = text;
    button.textContent = running ? "Stop updating" : "Go on updating";
  }

  async function refresh() {
    // Not while somebody reads it with the keyboard, nor where nobody sees it.
    if (!running || document.hidden || live.contains(document.activeElement)) return;
    try {
      const answer = await fetch(live.dataset.source);
      if (!answer.ok) throw new Error(String(answer.status));
      const text = await answer.text();
      if (!running || live.contains(document.activeElement)) return;
      const open = [...live.querySelectorAll("details[open]")].map((each) => each.id);
      live.innerHTML = text;
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      say(`Times are UTC. Updated every ${live.dataset.seconds} seconds. `);
    } catch {
      say("Times are UTC. The last update failed, and is tried again. ");
    }
  }

  button.type = "button";
  button.addEventListener("click", () => {
    running = !running;
    say(running ? `Times are UTC. Updated every ${live.dataset.seconds} seconds. ` : "Times are UTC. Not updated. ");
    refresh();
  });
  said.replaceChildren(words, button);
  say(`Times are UTC. Updated every ${live.dataset.seconds} seconds. `);
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, Number(live.dataset.seconds) * 1000);
})();
