/* Tabs as keyboards and screen readers know them: one is in the order of focus, arrows go to the others. */

/* `onChoose` is told of the data of the tab that is chosen. */
export function makeTabs(list, onChoose) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const choose = (tab, { focus = false, remember = true } = {}) => {
    tabs.forEach((other) => {
      const isChosen = other === tab;
      other.setAttribute("aria-selected", String(isChosen));
      other.tabIndex = isChosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !isChosen;
    });
    onChoose(tab.dataset);
    tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (focus) {
      tab.focus();
    }
    if (remember) {
      history.replaceState(null, "", `#${tab.dataset.wire}`);
    }
  };
  list.addEventListener("click", ({ target }) => {
    const tab = target.closest("[role=tab]");
    if (tab) {
      choose(tab);
    }
  });
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (at >= 0 && next !== undefined) {
      event.preventDefault();
      choose(tabs[(next + tabs.length) % tabs.length], { focus: true });
    }
  });
  const named = () => tabs.find((tab) => `#${tab.dataset.wire}` === location.hash);
  addEventListener("hashchange", () => named() && choose(named(), { remember: false }));
  choose(named() ?? tabs[0], { remember: false });
}
