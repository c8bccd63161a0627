// The buttons inside our cards. One listener for all of them: cards come and go.
(() => {
  const labels = new Map();  // of buttons that say that they have copied: what they said before, until when
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // no https, no clipboard: the old way
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) {
      await copy(button.dataset.copy);
      const { before, timer } = labels.get(button) ?? { before: button.textContent };
      clearTimeout(timer);
      button.textContent = button.dataset.done;
      const back = () => { button.textContent = before; labels.delete(button); };
      labels.set(button, { before, timer: setTimeout(back, 1600) });
    }
    const face = event.target.closest("[data-face]");
    if (face) {
      const choice = document.querySelectorAll("#edit-face input")[Number(face.dataset.face) - 1];
      choice?.click();
    }
  });
  document.addEventListener("click", (event) => {  // where one column holds all, what comes is below
    const run = event.target.closest("button[id$='-run']");
    if (!run || window.innerWidth > 700) return;
    const row = document.getElementById(run.id.replace("-run", "-results"));
    setTimeout(() => row?.scrollIntoView({ behavior: "smooth", block: "center" }), 400);
  });
  document.addEventListener("change", (event) => {
    const choice = event.target.closest("#edit-face input");
    if (!choice) return;
    const chosen = [...document.querySelectorAll("#edit-face input")].indexOf(choice) + 1;
    const faces = document.querySelectorAll("[data-face]");
    for (const face of faces) {  // the choice after the last face is all of them
      face.setAttribute("aria-pressed", String(chosen > faces.length || Number(face.dataset.face) === chosen));
    }
  });
  document.addEventListener("input", (event) => {
    const compare = event.target.closest(".p-compare");
    if (compare) compare.style.setProperty("--at", `${event.target.value}%`);
  });
})();
