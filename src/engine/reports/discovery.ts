import type { Layout } from '../../domain/configuration/config.ts';
import type { DiscoveryDocument, PrometheusTargets } from '../../domain/instances/discovery.ts';
import type { Files } from '../../ports/files.ts';
import type { Logger } from '../../ports/logs.ts';
import { Broadcast, type Subscription } from '../broadcast.ts';

/** Tells workers where to go: two files and a live stream, all from the one document, written only when it changed. */
export class DiscoveryPublisher {
  readonly #files: Files;
  readonly #layout: Layout;
  readonly #log: Logger;
  readonly #live = new Broadcast<DiscoveryDocument>();
  #published = '';
  #newest: DiscoveryDocument | null = null;
  /** The files do not say what was published: the next look writes them again. */
  #stale = false;
  #writing: Promise<void> = Promise.resolve();

  constructor(files: Files, layout: Layout, log: Logger) {
    this.#files = files;
    this.#layout = layout;
    this.#log = log;
  }

  publish(document: DiscoveryDocument): void {
    const { generatedAt: _, ...content } = document;
    const text = JSON.stringify(content);
    const isNews = text !== this.#published;
    if (!isNews && !this.#stale) return;
    const wasStale = this.#stale;
    this.#published = text;
    this.#newest = document;
    this.#stale = false;
    if (isNews) this.#live.publish(document);
    this.#writing = this.#writing
      .then(() => this.#write(document))
      .catch((error: unknown) => {
        this.#stale = true;
        // Once, not at each new attempt.
        if (!wasStale) this.#log.error({ cause: String(error) }, 'the discovery files cannot be written');
      });
  }

  /** Whether both files are there, or nothing was published yet. */
  async isThere(): Promise<boolean> {
    return this.#newest === null || (await Promise.all(this.#paths.map((path) => this.#files.exists(path)))).every(Boolean);
  }

  /** Writes them again. @throws AgentError DISK_FULL, ROOT_NOT_WRITABLE */
  async rewrite(): Promise<void> {
    const document = this.#newest;
    if (document === null) return;
    const turn = this.#writing.then(() => this.#write(document));
    this.#writing = turn.catch(() => undefined);
    await turn;
  }

  subscribe(signal: AbortSignal): Subscription<DiscoveryDocument> {
    return this.#live.subscribe(signal);
  }

  async close(): Promise<void> {
    this.#live.close();
    await this.#writing;
  }

  get #paths(): readonly [string, string] {
    return [`${this.#layout.run}/instances.json`, `${this.#layout.run}/instances.env`];
  }

  async #write(document: DiscoveryDocument): Promise<void> {
    const [json, environment] = this.#paths;
    await this.#files.writeText(json, `${JSON.stringify(document, null, 2)}\n`, 0o644);
    await this.#files.writeText(environment, environmentFile(document), 0o644);
  }
}

/** Only ready instances; the first also under the names that a single-instance connector reads. */
export function environmentFile(document: DiscoveryDocument): string {
  const ready = document.instances.filter((instance) => instance.ready);
  const lines = [`COMFYUI_INSTANCES=${ready.map((instance) => instance.gpu).join(',')}`];
  for (const { gpu, host, port, url, wsUrl } of ready) {
    const prefix = `COMFYUI_GPU${gpu}`;
    lines.push(`${prefix}_HOST=${host}`, `${prefix}_PORT=${port}`, `${prefix}_URL=${url}`, `${prefix}_WS_URL=${wsUrl}`);
  }
  const first = ready[0];
  if (first !== undefined) lines.push(`COMFYUI_HOST=${first.host}`, `COMFYUI_PORT=${first.port}`);
  return `${lines.join('\n')}\n`;
}

/** HTTP service discovery of Prometheus: https://prometheus.io/docs/prometheus/latest/http_sd/ */
export const prometheusTargets = (document: DiscoveryDocument): PrometheusTargets =>
  document.instances
    .filter((instance) => instance.ready)
    .map((instance) => ({
      targets: [`${instance.host.includes(':') ? `[${instance.host}]` : instance.host}:${instance.port}`],
      labels: {
        __meta_comfyui_gpu: String(instance.gpu),
        __meta_comfyui_uuid: instance.uuid ?? '',
        __meta_comfyui_name: instance.name,
        __meta_comfyui_machine: document.machine,
        __meta_comfyui_protocol: instance.protocol,
        __meta_comfyui_version: instance.comfyuiVersion ?? '',
      },
    }));
