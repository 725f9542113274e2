// Pieces of the status page. Everything that comes from the agent is put in as text, never as markup.

const SYMBOLS = { ok: '✓', warn: '▲', bad: '✕', busy: '↻', off: '■', unknown: '?' };
const TONES = {
  healthy: 'ok',
  installed: 'ok',
  loaded: 'ok',
  pass: 'ok',
  present: 'ok',
  ready: 'ok',
  degraded: 'warn',
  draining: 'warn',
  corrupt: 'bad',
  unhealthy: 'bad',
  quarantined: 'bad',
  broken: 'bad',
  failed: 'bad',
  fail: 'bad',
  missing: 'bad',
  starting: 'busy',
  installing: 'busy',
  fetching: 'busy',
  fetched: 'busy',
  pending: 'off',
  stopped: 'off',
  disabled: 'off',
  none: 'off',
};

export const toneOf = (word) => TONES[word] ?? 'unknown';
export const symbolOf = (tone) => SYMBOLS[tone] ?? '?';

/** An element: attributes by name ("data-…" too), children as elements or text; null is left out. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** How long since or until, for people. */
export function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} days`;
}

export function bytes(count) {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB'];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** A duration that the page keeps up to date by itself. */
export const since = (time) =>
  time === null
    ? h('span', null, '–')
    : h('span', { 'data-since': time, title: new Date(time).toLocaleString() }, duration(Date.now() - Date.parse(time)));

export const item = (tone, title, ...more) =>
  h(
    'li',
    { 'data-tone': tone },
    h('span', { class: 'mark', 'aria-hidden': 'true' }, symbolOf(tone)),
    h('span', null, title),
    more.map((text) => h('span', { class: 'muted' }, text)),
  );

export function layerChips(layers) {
  return Object.entries(layers).map(([name, layer]) => {
    const tone = toneOf(layer.status);
    return h(
      'span',
      { class: 'chip', 'data-tone': tone, title: layer.reason ?? layer.status },
      `${symbolOf(tone)} ${name}${tone === 'ok' ? '' : ` ${layer.status}`}`,
    );
  });
}

const isLoopback = (host) => host === 'localhost' || host === '[::1]' || host === '::1' || host.startsWith('127.');

/** A link where this browser can follow it; else the address, and how to get there. */
function address(instance) {
  if (instance.url === null || instance.port === null) return ['–'];
  if (instance.pid === null || !/^https?:\/\//.test(instance.url)) return [h('code', null, instance.url)];
  if (isLoopback(instance.host ?? '') && !isLoopback(location.hostname)) {
    return [
      h('code', null, instance.url),
      h('div', { class: 'muted' }, `from here: ssh -L ${instance.port}:127.0.0.1:${instance.port} ${location.hostname}`),
    ];
  }
  return [h('a', { href: instance.url, rel: 'noreferrer', target: '_blank' }, instance.url)];
}

export function instanceCard(instance) {
  const tone = toneOf(instance.status);
  const flags = [instance.ready ? 'ready' : 'not ready', instance.cordoned ? 'cordoned' : null].filter((flag) => flag !== null);
  const fact = (name, ...value) => [h('dt', null, name), h('dd', null, ...value)];
  const queue = instance.queue === null ? 'not known' : `${instance.queue.running} running, ${instance.queue.pending} waiting`;
  const restarts = `${instance.restarts.total}${instance.restarts.inWindow > 0 ? ` (${instance.restarts.inWindow} lately)` : ''}${instance.restarts.lastReason === null ? '' : `, last: ${instance.restarts.lastReason}`}`;
  return h(
    'article',
    { class: 'card', 'data-tone': tone, 'aria-label': `${instance.name} ${instance.status}` },
    h(
      'header',
      null,
      h('h3', null, `GPU ${instance.gpu} `, h('small', null, instance.gpuName)),
      h('span', { class: 'state' }, `${symbolOf(tone)} ${instance.status}`),
    ),
    instance.hold === null ? null : h('p', { class: 'warning' }, `▲ held: ${instance.hold}`),
    h(
      'ul',
      { class: 'layers' },
      Object.entries(instance.layers).map(([name, layer]) => {
        const layerTone = toneOf(layer.status);
        return h(
          'li',
          { 'data-tone': layerTone },
          h('span', { class: 'mark', 'aria-hidden': 'true' }, symbolOf(layerTone)),
          h('span', null, name),
          h('span', null, layer.reason ?? layer.status),
        );
      }),
    ),
    h(
      'dl',
      { class: 'facts' },
      fact('web page', ...address(instance)),
      fact('serving', flags.join(', ')),
      fact(
        'running',
        instance.startedAt === null ? 'no process' : since(instance.startedAt),
        instance.pid === null ? null : ` (pid ${instance.pid})`,
      ),
      fact('jobs', queue),
      fact('restarts', restarts),
      fact('release', instance.release ?? '–'),
    ),
    instance.warnings.map((warning) => h('p', { class: 'warning' }, `▲ ${warning}`)),
  );
}

export function installationPanel(installation) {
  const tone = installation.status === 'installing' ? 'busy' : toneOf(installation.status);
  const { release, operation } = installation;
  const packs = [...installation.packs].sort(
    (a, b) => Number(b.state === 'failed') - Number(a.state === 'failed') || a.name.localeCompare(b.name),
  );
  const failed = packs.filter((pack) => pack.state === 'failed').length;
  const running = installation.step !== null;
  const figures = [
    `step ${installation.step}`,
    `${Math.round(installation.progress * 100)} %`,
    installation.bytes > 0 ? bytes(installation.bytes) : null,
    installation.etaMs === null ? null : `about ${duration(installation.etaMs)} left`,
  ].filter((text) => text !== null);
  return [
    h(
      'div',
      { class: 'bar', 'data-tone': tone },
      h('h2', null, 'Installation'),
      h('span', { class: 'state' }, `${symbolOf(tone)} ${installation.status}`),
    ),
    installation.reason === null || running ? null : h('p', null, installation.reason),
    running
      ? h('progress', { max: 1, value: installation.progress, 'data-tone': 'busy', 'aria-label': 'Progress of the installation' })
      : null,
    running ? h('p', { class: 'muted' }, figures.join(' · ')) : null,
    running && operation !== null && operation.activity !== null ? h('p', null, h('code', null, operation.activity)) : null,
    installation.lastError === null
      ? null
      : h('ul', { class: 'list' }, item('bad', installation.lastError.message, installation.lastError.help)),
    release === null
      ? null
      : h(
          'p',
          { class: 'muted' },
          [
            `release ${release.id}`,
            `ComfyUI ${release.comfyuiVersion ?? 'of unknown version'}`,
            release.commit.slice(0, 10),
            `Python ${release.pythonVersion}`,
            `torch ${release.torch ?? 'none'}`,
          ].join(' · '),
        ),
    installation.warnings.map((warning) => h('p', { class: 'warning' }, `▲ ${warning}`)),
    packs.length === 0
      ? null
      : h(
          'details',
          { open: failed > 0 || running },
          h('summary', null, `${packs.length} node pack${packs.length === 1 ? '' : 's'}${failed > 0 ? `, ${failed} failed` : ''}`),
          h(
            'ul',
            { class: 'list' },
            packs.map((pack) =>
              item(
                toneOf(pack.state),
                `${pack.name}: ${pack.state}${pack.commit === null ? '' : ` (${pack.commit.slice(0, 10)})`}`,
                ...[pack.error, ...pack.warnings].filter((text) => text !== null),
              ),
            ),
          ),
        ),
  ];
}
