/* Runs before the first paint: a theme that was chosen earlier must not flash in after the other. */
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* no storage: the system's preference holds */ }
