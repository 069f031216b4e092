/** Dark or light: as the system has it, until the user says otherwise. */

const KEY = "rowcast theme"; // in localStorage

export function offerThemes(button: HTMLButtonElement): void {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const tell = () => button.setAttribute("aria-pressed", `${isDark()}`);
  const kept = localStorage.getItem(KEY);
  if (kept !== null) root.dataset.theme = kept;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    localStorage.setItem(KEY, root.dataset.theme);
    tell();
  });
  system.addEventListener("change", tell);
  tell();
}
