// xterm.js makes <style> elements, and gives its spans a style by the attribute: the policy of the page refuses both.

/** Whether the document of this page is prepared. */
let prepared = false;

/**
 * Have the page make <style> elements with its nonce, and spans that take a style by the object model in place of the
 * attribute. xterm.js 6.0 has an option for another document, and does not use it for its rows.
 */
export function obeyPolicy() {
  if (prepared) return;
  prepared = true;
  const nonce = /** @type {HTMLMetaElement | null} */ (document.querySelector('meta[name="style-nonce"]'))?.content ?? "";
  const create = document.createElement.bind(document);
  document.createElement = (/** @type {string} */ tag, /** @type {ElementCreationOptions | undefined} */ options) => {
    const element = create(tag, options);
    if (element instanceof HTMLStyleElement) element.nonce = nonce;
    else if (element instanceof HTMLSpanElement) element.setAttribute = setAttribute;
    return /** @type {any} */ (element);
  };
}

/**
 * @this {HTMLElement}
 * @param {string} name
 * @param {string} value
 */
function setAttribute(name, value) {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
}
