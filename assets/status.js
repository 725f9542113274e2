// The status page: asks the open health documents every two seconds and shows what changed.
import { bytes, duration, h, installationPanel, instanceCard, item, layerChips, symbolOf, toneOf } from './status-cards.js';
import { startLog } from './status-log.js';

const POLL_MS = 2_000;
const SLOW_EVERY = 5;
const TIMEOUT_MS = 5_000;
const ICON_COLOURS = { ok: '#16a34a', warn: '#d97706', bad: '#dc2626', busy: '#2563eb', off: '#6b7280', unknown: '#9333ea' };

const $ = (id) => document.getElementById(id);
const shown = new Map();
let answeredAt = null;
let problem = null;
let machine = null;
let headline = '';

/** 503 is an answer too: the body says why. */
async function ask(path) {
  const response = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) });
  const body = await response.json();
  if (body.error !== undefined) throw new Error(`${body.error.message}; ${body.error.help}`);
  return body;
}

/** Draws a part again only when what it shows is different, so that selections and open lists stay. */
function draw(id, facts, children) {
  const text = JSON.stringify(facts, (key, value) => (key === 'checkedAt' ? undefined : value));
  if (shown.get(id) === text) return;
  shown.set(id, text);
  const element = $(id);
  const open = element.querySelector('details')?.open;
  element.replaceChildren(...[children()].flat(3).filter((child) => child !== null));
  const details = element.querySelector('details');
  if (details !== null && open === true) details.open = true;
  element.hidden = element.childElementCount === 0;
}

function drawVerdict(health, installation) {
  // A machine that is being set up is not a failure to wake somebody for.
  const word = !health.ready && installation.status === 'installing' ? 'installing' : health.status;
  const tone = toneOf(word);
  document.body.dataset.tone = tone;
  $('symbol').textContent = symbolOf(tone);
  $('word').textContent = word;
  $('capacity').textContent = health.capacity;
  headline = `${symbolOf(tone)} ${health.capacity} ${machine ?? 'comfylet'}`;
  document.title = headline;
  $('icon').href =
    `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${ICON_COLOURS[tone]}"/></svg>`)}`;
}

function drawHealth(health, installation) {
  drawVerdict(health, installation);
  draw('layers', health.layers, () => layerChips(health.layers));
  draw('reasons', health.reasons, () =>
    health.reasons.length === 0
      ? []
      : [
          h('h2', null, 'Why'),
          h(
            'ul',
            { class: 'list' },
            health.reasons.map((reason) => item(health.ready ? 'warn' : 'bad', reason)),
          ),
        ],
  );
  draw('holds', health.holds, () =>
    health.holds.length === 0
      ? []
      : [
          h('h2', null, 'Not done, and why'),
          h(
            'ul',
            { class: 'list' },
            health.holds.map((hold) =>
              item('warn', `${hold.target}: ${hold.reason}`, `${hold.help} (since ${new Date(hold.since).toLocaleString()})`),
            ),
          ),
        ],
  );
  draw('instances', health.instances, () =>
    health.instances.length === 0
      ? [h('p', { class: 'muted' }, health.status === 'disabled' ? 'ComfyUI is switched off on this machine.' : 'No instance yet.')]
      : health.instances.map(instanceCard),
  );
  const { configuration } = health;
  $('configuration').hidden = configuration.ok;
  $('configuration').textContent = configuration.ok
    ? ''
    : `▲ Configuration: ${configuration.problem ?? 'not valid'}. The last good one stays in force.`;
}

function drawModels(models) {
  const bad = [...models.missing, ...models.corrupt];
  draw('models', { bad, status: models.status, reason: models.reason }, () =>
    bad.length === 0 && models.status !== 'unknown'
      ? []
      : [
          h('h2', null, 'Models'),
          h(
            'ul',
            { class: 'list' },
            bad.length === 0
              ? [item('unknown', models.reason ?? 'not looked at yet')]
              : bad.map((model) =>
                  item(
                    toneOf(model.state),
                    `${model.path}: ${model.state}${model.sizeBytes === null ? '' : ` (${bytes(model.sizeBytes)})`}`,
                    `asked for by ${model.requiredBy.join(', ')}`,
                    ...(model.reason === null ? [] : [model.reason]),
                  ),
                ),
          ),
        ],
  );
}

async function slowFacts() {
  const [discovery, models, agent] = await Promise.all([ask('v1/discovery'), ask('health/comfyui/models'), ask('health')]);
  machine = discovery.machine;
  $('machine').textContent = machine;
  drawModels(models);
  $('footer').textContent = `comfylet ${agent.version}, running for ${duration(agent.uptimeMs)}`;
}

async function poll(round, offer) {
  try {
    const [health, installation] = await Promise.all([ask('health/comfyui'), ask('health/comfyui/installation')]);
    if (round % SLOW_EVERY === 0) await slowFacts();
    drawHealth(health, installation);
    draw('installation', installation, () => installationPanel(installation));
    offer(health.instances);
    answeredAt = Date.now();
    problem = null;
  } catch (error) {
    problem = error.name === 'TimeoutError' ? 'it took too long' : error instanceof TypeError ? 'no connection' : error.message;
  }
}

/** Says how old the picture is: an old green is worse than a red. */
function tick() {
  const age = answeredAt === null ? null : Date.now() - answeredAt;
  $('age').textContent = age === null ? 'no answer yet' : `seen ${duration(age)} ago`;
  const stale = problem !== null && (age === null || age > 2 * POLL_MS);
  $('stale').hidden = !stale;
  if (stale) {
    $('stale').textContent =
      `✕ The agent does not answer (${problem}). ${age === null ? '' : `What is shown was true ${duration(age)} ago.`}`;
    document.body.dataset.tone = 'unknown';
    $('symbol').textContent = symbolOf('unknown');
    $('word').textContent = 'no answer';
    document.title = `? ${machine ?? 'comfylet'}`;
  }
  for (const element of document.querySelectorAll('[data-since]'))
    element.textContent = duration(Date.now() - Date.parse(element.dataset.since));
}

async function run() {
  const offer = startLog();
  setInterval(tick, 1_000);
  for (let round = 0; ; round += 1) {
    await poll(round, offer);
    tick();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

run();
