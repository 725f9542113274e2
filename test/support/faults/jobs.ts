import { request } from 'node:http';

/** Jobs as a worker submits them: straight to the instance that discovery names. */

export interface Job {
  readonly url: string;
  readonly promptId: string;
}

export type JobEnd = 'success' | 'error' | 'lost';

const LIMIT_MS = 2_000;

/** Over a connection of its own: one that was kept would be of a process that has been replaced meanwhile. */
function call(url: string, body?: object): Promise<unknown> {
  return new Promise((done, failed) => {
    const outgoing = request(url, { method: body === undefined ? 'GET' : 'POST', agent: false, timeout: LIMIT_MS }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += String(chunk)));
      response.once('error', failed);
      response.once('end', () => {
        const problem = new Error(`${url} answers ${response.statusCode}: ${text.slice(0, 200)}`);
        if (response.statusCode !== 200) return failed(problem);
        try {
          done(JSON.parse(text));
        } catch {
          // A stranger on the port says something else.
          failed(problem);
        }
      });
    });
    outgoing.once('timeout', () => outgoing.destroy(new Error(`${url} does not answer`)));
    outgoing.once('error', failed);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

export interface JobOptions {
  /** A node that uses the card is in it. */
  readonly device?: boolean;
  /** Its picture goes to a file whose name begins so, and not to a preview. */
  readonly saveAs?: string;
}

/** Of a colour of its own, so that no cache answers it. */
export async function submitJob(url: string, { device = false, saveAs }: JobOptions = {}): Promise<Job> {
  const color = Math.floor(Math.random() * 0xffffff);
  const prompt = {
    '1': { class_type: 'EmptyImage', inputs: { width: 8, height: 8, batch_size: 1, color } },
    ...(device ? { '3': { class_type: 'ImageBlur', inputs: { image: ['1', 0], blur_radius: 1, sigma: 1 } } } : {}),
    '2': {
      class_type: saveAs === undefined ? 'PreviewImage' : 'SaveImage',
      inputs: { images: [device ? '3' : '1', 0], ...(saveAs === undefined ? {} : { filename_prefix: saveAs }) },
    },
  };
  const { prompt_id } = (await call(`${url}/prompt`, { prompt })) as { prompt_id: string };
  return { url, promptId: prompt_id };
}

/** null while it waits or runs. @throws when the instance does not answer */
export async function lookAtJob({ url, promptId }: Job): Promise<JobEnd | null> {
  const history = (await call(`${url}/history/${promptId}`)) as Record<string, { status?: { status_str?: string } }>;
  const entry = history[promptId];
  if (entry !== undefined) return entry.status?.status_str === 'success' ? 'success' : 'error';
  const { queue_running, queue_pending } = (await call(`${url}/queue`)) as Record<string, readonly (readonly unknown[])[]>;
  if ([...(queue_running ?? []), ...(queue_pending ?? [])].some((row) => row[1] === promptId)) return null;
  // It may have ended between the two questions.
  const again = (await call(`${url}/history/${promptId}`)) as Record<string, { status?: { status_str?: string } }>;
  return again[promptId] === undefined ? 'lost' : again[promptId].status?.status_str === 'success' ? 'success' : 'error';
}

export async function jobEnd(job: Job, limitMs = 10_000): Promise<JobEnd | 'endless'> {
  const end = performance.now() + limitMs;
  while (performance.now() < end) {
    const seen = await lookAtJob(job);
    if (seen !== null) return seen;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return 'endless';
}
