/** Light, dark, or as the system has it; what was chosen is remembered. */

import { announce } from "./dom.js";

const ORDER = ["system", "light", "dark"];

/** Let a button go through the themes. */
export function themeSwitch(button) {
  let chosen = document.documentElement.dataset.theme ?? "system";
  show();
  button.addEventListener("click", () => {
    chosen = ORDER[(ORDER.indexOf(chosen) + 1) % ORDER.length];
    if (chosen === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    try {
      if (chosen === "system") localStorage.removeItem("theme");
      else localStorage.setItem("theme", chosen);
    } catch { /* it holds for this page */ }
    show();
    announce(`Theme: ${chosen}`);
    window.dispatchEvent(new Event("themechange"));
  });

  function show() {
    button.textContent = `Theme: ${chosen}`;
    button.title = "Light, dark, or as the system has it";
  }
}
