/** Files over HTTP: streamed to a temporary name, checked by size and sha256, then renamed. */
import { createHash, randomUUID } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { rootCertificates } from 'node:tls';
import type { Dispatcher } from 'undici';
import { AgentError, asAgentError, isAgentError } from '../../domain/errors/errors.ts';
import { redactUrl } from '../../domain/installation/git-url.ts';
import { redactUrls } from '../../domain/installation/requirements.ts';
import type { Logger } from '../../ports/logs.ts';

const MAX_REDIRECTS = 5;

interface DownloadProgress {
  readonly bytes: number;
  /** null when the server does not tell. */
  readonly totalBytes: number | null;
}

interface DownloadRequest {
  /** May hold credentials; they go to this origin only and never into a message. */
  readonly url: string;
  readonly maxBytes: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface Downloader {
  /** The body as text, with its media type and the URL that answered in the end. @throws AgentError COMMAND_FAILED (see `cause`), DISK_FULL, INTERRUPTED */
  text(request: DownloadRequest): Promise<{ readonly text: string; readonly mediaType: string; readonly url: string }>;
  /** Writes `file` (its directory exists) once the sha256 is the one named, if one is. @returns the sha256. Same errors. */
  file(
    request: DownloadRequest & {
      readonly file: string;
      readonly sha256: string | null;
      readonly onProgress?: (progress: DownloadProgress) => void;
    },
  ): Promise<string>;
}

export interface DownloaderOptions {
  /** Proxies (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, either case) and `SSL_CERT_FILE` are taken from here. */
  readonly environment: Readonly<Record<string, string>>;
  /** A connection or body that is silent for this long is given up. */
  readonly timeoutMs: number;
  readonly log: Logger;
}

/** Whether a redirect may be followed: anywhere from http, but never from https to something that is not. */
export const redirectAllowed = (from: URL, to: URL): boolean =>
  to.protocol === 'https:' || (to.protocol === 'http:' && from.protocol === 'http:');

export function createDownloader({ environment, timeoutMs, log }: DownloaderOptions): Downloader {
  /** Follows redirects and hands the successful answer to `use`; the connection pool lives for one download. */
  const withResponse = async <T>(
    request: DownloadRequest,
    use: (response: Dispatcher.ResponseData, url: URL) => Promise<T>,
  ): Promise<T> => {
    const shown = redactUrl(request.url);
    const { EnvHttpProxyAgent, request: send } = await import('undici');
    const dispatcher = new EnvHttpProxyAgent(await agentOptions(environment, timeoutMs));
    try {
      let url = new URL(request.url);
      for (let hops = 0; ; hops++) {
        const { target, authorization } = splitCredentials(url);
        const response = await send(target, {
          dispatcher,
          headers: { 'user-agent': 'comfylet', ...request.headers, ...(authorization === null ? {} : { authorization }) },
          ...(request.signal === undefined ? {} : { signal: request.signal }),
        });
        const location = response.headers['location'];
        if (response.statusCode >= 300 && response.statusCode < 400 && typeof location === 'string') {
          await response.body.dump();
          const next = new URL(location, target);
          if (hops >= MAX_REDIRECTS) throw failure(`${shown} redirects more than ${MAX_REDIRECTS} times`);
          if (!redirectAllowed(url, next)) throw failure(`${shown} redirects to ${next.protocol}//${next.host}, which is refused`);
          url = next;
          continue;
        }
        if (response.statusCode !== 200) {
          await response.body.dump();
          throw failure(`${redactUrl(url.href)} answered HTTP ${response.statusCode}`, { status: response.statusCode });
        }
        return await use(response, target);
      }
    } catch (error) {
      log.debug({ url: shown, error: String(error) }, 'download failed');
      throw asDownloadError(error, shown, request.signal);
    } finally {
      await dispatcher.destroy();
    }
  };

  const limited = async function* (response: Dispatcher.ResponseData, request: DownloadRequest): AsyncGenerator<Buffer> {
    let bytes = 0;
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > request.maxBytes) throw failure(`${redactUrl(request.url)} is larger than ${request.maxBytes} bytes`);
      yield chunk;
    }
  };

  return {
    text: (request) =>
      withResponse(request, async (response, url) => {
        const chunks: Buffer[] = [];
        for await (const chunk of limited(response, request)) chunks.push(chunk);
        const mediaType =
          String(response.headers['content-type'] ?? '')
            .split(';')[0]
            ?.trim()
            .toLowerCase() ?? '';
        return { text: Buffer.concat(chunks).toString('utf8'), mediaType, url: url.href };
      }),

    file: (request) =>
      withResponse(request, async (response) => {
        const partial = `${request.file}.${randomUUID()}.part`;
        const length = Number(response.headers['content-length']);
        const totalBytes = Number.isSafeInteger(length) && length > 0 ? length : null;
        const hash = createHash('sha256');
        try {
          const handle = await open(partial, 'wx', 0o600);
          try {
            let bytes = 0;
            for await (const chunk of limited(response, request)) {
              hash.update(chunk);
              await handle.writeFile(chunk);
              bytes += chunk.length;
              request.onProgress?.({ bytes, totalBytes });
            }
            await handle.sync();
          } finally {
            await handle.close();
          }
          const found = hash.digest('hex');
          if (request.sha256 !== null && found !== request.sha256)
            throw failure(`${redactUrl(request.url)} has sha256 ${found} instead of ${request.sha256}`);
          await rename(partial, request.file);
          return found;
        } finally {
          await rm(partial, { force: true });
        }
      }),
  };
}

async function agentOptions(environment: Readonly<Record<string, string>>, timeoutMs: number) {
  const either = (name: string): string | undefined => environment[name.toLowerCase()] || environment[name];
  const httpProxy = either('HTTP_PROXY') ?? either('ALL_PROXY');
  const httpsProxy = either('HTTPS_PROXY') ?? either('ALL_PROXY');
  const certificates = environment['SSL_CERT_FILE'];
  const ca = certificates ? await readFile(certificates, 'utf8').catch(() => null) : null;
  const connect = { timeout: timeoutMs, ...(ca === null ? {} : { ca: [...rootCertificates, ca] }) };
  return {
    // Empty rather than absent: undici would look into process.env by itself.
    httpProxy: httpProxy ?? '',
    httpsProxy: httpsProxy ?? '',
    noProxy: either('NO_PROXY') ?? '',
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    connect,
    requestTls: connect,
  };
}

function splitCredentials(url: URL): { target: URL; authorization: string | null } {
  if (url.username === '' && url.password === '') return { target: url, authorization: null };
  const target = new URL(url);
  target.username = '';
  target.password = '';
  const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  return { target, authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

const failure = (message: string, details: Record<string, unknown> = {}): AgentError =>
  new AgentError('COMMAND_FAILED', message, { details });

function asDownloadError(error: unknown, shown: string, signal: AbortSignal | undefined): AgentError {
  if (isAgentError(error)) return error;
  if (signal?.aborted) return new AgentError('INTERRUPTED', `the download of ${shown} was interrupted`);
  const known = asAgentError(error);
  if (known.code === 'DISK_FULL') return known;
  return new AgentError('COMMAND_FAILED', `${shown} could not be fetched: ${redactUrls(reasonOf(error))}`, {
    retryable: true,
    cause: error,
  });
}

/** The innermost cause says most: `connect ECONNREFUSED 127.0.0.1:1` rather than `fetch failed`. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  if (!(error instanceof Error)) return String(error);
  if (error.cause !== undefined) return reasonOf(error.cause);
  return error.message || error.name;
}
