/** Dark or light: as the system has it, until the user says otherwise. */

const KEY = "rowcast theme"; // in localStorage

export function offerThemes(button: HTMLButtonElement): void {
  const { dataset } = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const tell = () => {
    button.textContent = isDark() ? "Light theme" : "Dark theme";
  };
  const kept = localStorage.getItem(KEY);
  if (kept !== null) dataset.theme = kept;
  button.addEventListener("click", () => {
    dataset.theme = isDark() ? "light" : "dark";
    localStorage.setItem(KEY, dataset.theme);
    tell();
  });
  system.addEventListener("change", tell);
  tell();
}
