/* Compare the output with a picture beneath it: a divider that mouse, touch and arrow keys move. */

export class Compare {
  constructor(root) {
    this.root = root;
    this.under = root.querySelector("#under");
    this.split = root.querySelector("#split");
    this.split.addEventListener("input", () => this.place());
  }

  /** Show `picture` (canvas or loaded image) left of the divider; null hides the comparison. */
  show(picture, name) {
    this.root.hidden = !picture;
    this.root.parentElement.classList.toggle("comparing", Boolean(picture));
    if (!picture) return;
    this.under.width = picture.naturalWidth ?? picture.width;
    this.under.height = picture.naturalHeight ?? picture.height;
    this.under.getContext("2d").drawImage(picture, 0, 0);
    this.under.setAttribute("aria-label", name);
    this.root.querySelector("#tag-left").textContent = name;
    this.place();
  }

  place() {
    this.root.parentElement.style.setProperty("--split", `${this.split.value}%`);
    this.split.setAttribute("aria-valuetext", `${this.split.value} % ${this.under.getAttribute("aria-label")}`);
  }
}
