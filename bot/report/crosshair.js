(() => {
  const d = JSON.parse(document.getElementById("read-out").textContent);
  const plots = [...document.querySelectorAll("[data-read]")].map((plot) => {
    const make = (name) => plot.appendChild(Object.assign(document.createElement("div"), { className: name }));
    return { plot, hair: make("hair"), read: make("read") };
  });
  const money = (v) => v.toLocaleString("en", { maximumFractionDigits: v < 1000 ? 2 : 0 });
  const text = {
    equity: (i) => `account ${money(d.equity[i])}, hold ${money(d.hold[i])}`,
    fall: (i) => `${d.fall[i].toFixed(1)} %`,
    price: (i) => `${money(d.price[i])}${d.held[i] ? `, ${d.held[i]} % in the market` : ""}`,
  };
  const find = (share) => {
    let low = 0, high = d.at.length - 1;
    while (high - low > 1) { const mid = (low + high) >> 1; if (d.at[mid] <= share) low = mid; else high = mid; }
    return share - d.at[low] < d.at[high] - share ? low : high;
  };
  const show = (share) => {
    const i = find(Math.min(1, Math.max(0, share)));
    const when = new Date(d.time[i] * 60000).toISOString().slice(0, 16).replace("T", " ");
    for (const { plot, hair, read } of plots) {
      hair.style.display = read.style.display = "block";
      hair.style.left = `${100 * d.at[i]}%`;
      read.textContent = `${when}  ${text[plot.dataset.read](i)}`;
      const right = d.at[i] > 0.5;
      read.style.left = right ? "auto" : `calc(${100 * d.at[i]}% + 9px)`;
      read.style.right = right ? `calc(${100 * (1 - d.at[i])}% + 9px)` : "auto";
    }
  };
  const hide = () => plots.forEach(({ hair, read }) => { hair.style.display = read.style.display = "none"; });
  for (const { plot } of plots) {
    plot.addEventListener("pointermove", (e) => { const b = plot.getBoundingClientRect(); show((e.clientX - b.left) / b.width); });
    plot.addEventListener("pointerleave", hide);
  }
})();
