// A button on every block of code that copies its text.
(() => {
  "use strict";

  const say = (button, text) => {
    button.textContent = text;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };

  // Pages that are opened from a file have no clipboard in some browsers; there the text is selected and copied.
  const copySelected = (code) => {
    const selection = getSelection();
    selection.selectAllChildren(code);
    const copied = document.execCommand("copy");
    if (copied) selection.removeAllRanges();
    return copied;
  };

  const copy = async (code, button) => {
    if (navigator.clipboard && isSecureContext) {
      try {
        await navigator.clipboard.writeText(code.textContent);
        say(button, "Copied");
        return;
      } catch (error) {
        if (error.name !== "NotAllowedError") throw error;
      }
    }
    say(button, copySelected(code) ? "Copied" : "Selected: copy it with Ctrl+C");
  };

  for (const code of document.querySelectorAll("pre > code")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", () => copy(code, button));
    code.parentElement.append(button);
  }
})();
