// The live log: Server-Sent Events read with fetch, because a browser's EventSource cannot send a token.
import { h } from './status-cards.js';

const KEPT_LINES = 500;
const RETRY_MS = 3_000;
const LEVEL_TONES = { info: 'off', warn: 'warn', error: 'bad' };

/** Yields the data of each event; ends with the stream. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const data = block
        .split('\n')
        .filter((line) => line.startsWith('data: '))
        .map((line) => line.slice(6))
        .join('\n');
      if (data !== '') yield JSON.parse(data);
    }
  }
}

function lineOf(source, value) {
  if (value.error !== undefined) return h('p', { 'data-tone': 'bad' }, h('b', null, value.error.message));
  if (source !== 'journal') return h('p', null, value.line);
  return h(
    'p',
    { 'data-tone': LEVEL_TONES[value.level] ?? 'off' },
    h('time', { datetime: value.at }, new Date(value.at).toLocaleTimeString([], { hour12: false })),
    ' ',
    h('b', null, value.target),
    ` ${value.message}`,
  );
}

/** Shows the chosen source and stays on it, also over restarts of the agent. */
export function startLog() {
  const [select, box, state, form, input] = ['source', 'log', 'log-state', 'token-form', 'token'].map((id) => document.getElementById(id));
  let token = null;
  let current = null;

  const show = (element) => {
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    box.append(element);
    while (box.childElementCount > KEPT_LINES) box.firstElementChild.remove();
    if (atEnd) box.scrollTop = box.scrollHeight;
  };

  const follow = async (source, signal) => {
    const path = source === 'journal' ? 'v1/events?backlog=100' : `v1/logs?source=${encodeURIComponent(source)}&follow=true&lines=200`;
    const response = await fetch(path, { signal, cache: 'no-store', headers: token === null ? {} : { authorization: `Bearer ${token}` } });
    form.hidden = response.status !== 401;
    if (!response.ok) {
      const { error } = await response.json();
      box.replaceChildren(h('p', { class: 'muted' }, `${error.message}; ${error.help}`));
      state.textContent = '';
      return response.status === 503;
    }
    state.textContent = 'live';
    box.replaceChildren();
    for await (const value of eventsOf(response)) show(lineOf(source, value));
    return true;
  };

  const restart = async () => {
    current?.abort();
    const mine = new AbortController();
    current = mine;
    box.replaceChildren();
    let again = true;
    while (again && !mine.signal.aborted) {
      state.textContent = 'connecting';
      try {
        again = await follow(select.value, mine.signal);
      } catch {
        again = true;
      }
      if (mine.signal.aborted) return;
      if (again) {
        state.textContent = 'interrupted, trying again';
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  };

  select.addEventListener('change', restart);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    token = input.value;
    input.value = '';
    restart();
  });
  restart();

  /** Offers the log of each instance beside the others. */
  return (instances) => {
    for (const { gpu, name } of instances) {
      if (![...select.options].some((option) => option.value === String(gpu))) select.append(h('option', { value: gpu }, name));
    }
  };
}
