/** Elements of the page, made in one expression. */

type Attributes = Record<string, string | number | boolean | ((event: Event) => void) | undefined>;

/** An element; attributes that begin with `on` are listeners, `false` and undefined are left out. */
export function element<T extends keyof HTMLElementTagNameMap>(
  tag: T,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[T] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, `${value}`);
  }
  made.append(...children);
  return made;
}

export function button(text: string, act: () => void, attributes: Attributes = {}) {
  return element("button", { type: "button", class: "plain", onclick: act, ...attributes }, text);
}

/** The element of the page with this id. */
export function part<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** Put other actions into their place, unless they read the same; what had focus hands it on. */
export function replaceActions(place: HTMLElement, actions: Node[]): void {
  const shown = actions.map((each) => each.textContent).join();
  if (place.dataset.shown === shown) return;
  place.dataset.shown = shown;
  const hadFocus = place.contains(document.activeElement);
  place.replaceChildren(...actions);
  if (hadFocus) place.querySelector("button")?.focus();
}
