/**
 * The painting of a forecast on the canvas of candles: its path, its band and where trust ends.
 */

const CAP = 4; // pixels on either side of a band that is a single bar
const WORDS_AT = 8; // height of the words of the trust mark

/** What a line or band begins with: the origin where the first step is the very next candle's, with a band of no width. */
function chained({ origin, steps }) {
  const begins = origin !== null && steps[0]?.step === 1 && Number.isFinite(origin.price);
  const first = { ms: origin?.ms, close: origin?.price, low: origin?.price, high: origin?.price, trusted: true };
  return begins ? [first, ...steps] : steps;
}

/**
 * Paint the band: one polygon where trusted and a lighter one beyond; a step without neighbours is a bar with caps.
 * @param {CanvasRenderingContext2D} context
 * @param {object} frame The scales, as `paint` returns them.
 * @param {import("./candle_view.js").Path} path
 * @param {Record<string, string>} theme
 */
export function paintBand(context, { sx, sy }, path, theme) {
  const chain = chained(path);
  const known = (step) => step !== undefined && Number.isFinite(step.low) && Number.isFinite(step.high);
  context.fillStyle = theme.band;
  for (const trusted of [true, false]) {
    context.globalAlpha = trusted ? 1 : 0.5;
    context.beginPath();
    for (let i = 1; i < chain.length; i += 1) {
      let end = i;
      while (end < chain.length && chain[end].trusted === trusted && known(chain[end]) && known(chain[end - 1])) end += 1;
      const part = chain.slice(i - 1, end);
      if (part.length > 1) {
        part.forEach((step, at) => context[at === 0 ? "moveTo" : "lineTo"](sx(step.ms), sy(step.high)));
        part.reverse().forEach((step) => context.lineTo(sx(step.ms), sy(step.low)));
        context.closePath();
        i = end - 1;
      }
    }
    context.fill();
  }
  context.globalAlpha = 1;
  context.strokeStyle = theme.accent;
  context.beginPath();
  chain.forEach((step, at) => {
    if (!known(step) || known(chain[at - 1]) || known(chain[at + 1])) return;
    const x = sx(step.ms);
    context.moveTo(x, sy(step.low));
    context.lineTo(x, sy(step.high));
    for (const end of [step.low, step.high]) {
      context.moveTo(x - CAP, sy(end));
      context.lineTo(x + CAP, sy(end));
    }
  });
  context.stroke();
}

/**
 * Paint the line, dashed where it is not trusted, and the mark where trust ends.
 * @param {CanvasRenderingContext2D} context
 * @param {object} frame The scales, as `paint` returns them.
 * @param {import("./candle_view.js").Path} path
 * @param {Record<string, string>} theme
 */
export function paintPath(context, { sx, sy, right, bottom, snap }, path, theme) {
  if (path.steps.length === 0) return;
  const { origin, steps, trustedMs } = path;
  const chain = origin === null ? steps : [{ ...origin, close: origin.price, trusted: true }, ...steps];
  context.strokeStyle = theme.accent;
  context.lineWidth = 1.75;
  context.lineJoin = "round";
  for (const trusted of [true, false]) {
    context.setLineDash(trusted ? [] : [4, 4]);
    context.beginPath();
    for (let i = 1; i < chain.length; i += 1) {
      const [from, to] = [chain[i - 1], chain[i]];
      if (to.trusted !== trusted || !Number.isFinite(from.close) || !Number.isFinite(to.close)) continue;
      if (i === 1 || chain[i - 1].trusted !== trusted || !Number.isFinite(chain[i - 2]?.close)) {
        context.moveTo(sx(from.ms), sy(from.close));
      }
      context.lineTo(sx(to.ms), sy(to.close));
    }
    context.stroke();
  }
  if (steps.length === 1 && Number.isFinite(steps[0].close)) {
    context.fillStyle = theme.accent;
    context.beginPath();
    context.arc(sx(steps[0].ms), sy(steps[0].close), 3, 0, 2 * Math.PI);
    context.fill();
  }

  const x = snap(sx(trustedMs)) + 0.5;
  const until = steps.findLast((step) => step.trusted)?.step;
  const words = until === undefined ? "no step is trusted" : `trusted to step ${until}`;
  context.strokeStyle = theme.warn;
  context.fillStyle = theme.warn;
  context.lineWidth = 1;
  context.setLineDash([2, 3]);
  context.beginPath();
  context.moveTo(x, 0);
  context.lineTo(x, bottom);
  context.stroke();
  context.setLineDash([]);
  const fits = x + 5 + context.measureText(words).width < right;
  context.textAlign = fits ? "left" : "right";
  context.fillText(words, fits ? x + 5 : x - 5, WORDS_AT);
}
