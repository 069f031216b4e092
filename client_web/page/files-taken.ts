/** Files that are dropped on the page, or chosen. */

import { part } from "./elements.js";

/** Have files taken. */
export function takeFiles(take: (file: File) => void): void {
  const field = part<HTMLInputElement>("file");
  field.addEventListener("change", () => {
    for (const file of field.files ?? []) take(file);
    field.value = "";
  });
  const { classList } = document.body;
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    classList.remove("dropping");
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    for (const file of files) take(file);
  });
}
