import { verify } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { VersionDocument } from '../../../../domain/agent.ts';
import { AgentError } from '../../../../domain/errors/errors.ts';
import type { Programs } from '../../../../domain/host/upgrade.ts';
import type { Context } from '../../../context.ts';
import { describeBytes } from '../../../render/duration.ts';

const TELL_MS = 2_000;

export interface CandidateWish {
  readonly source: string;
  readonly target: string;
  /** 64 hex digits; null: the signature counts. */
  readonly sha256: string | null;
  /** Where its signature is; null: beside the source, as `.sig`. */
  readonly signature: string | null;
}

export interface Candidate {
  readonly file: string;
  readonly sha256: string;
  readonly version: VersionDocument;
}

/**
 * The new program beside the one in place: brought, verified, and only then asked what it is. Nothing stays when that fails.
 * @throws AgentError SIGNATURE_INVALID, BINARY_INVALID, USAGE, and what bringing it may throw
 */
export async function bringCandidate(
  context: Context,
  programs: Programs,
  { source, target, sha256, signature }: CandidateWish,
  signal: AbortSignal,
): Promise<Candidate> {
  // Before 120 MB are fetched for nothing.
  const key = sha256 === null ? await releaseKey(context) : null;
  const brought = await programs.bring(source, target, { signal, onProgress: teller(context, source) });
  try {
    if (sha256 !== null && brought.sha256 !== sha256)
      throw new AgentError('SIGNATURE_INVALID', `${source} has the sha256 ${brought.sha256}, and not ${sha256}`);
    if (key !== null) await requireSignature(programs, { source, signature, key, file: brought.file }, signal);
    return { file: brought.file, sha256: brought.sha256, version: await programs.inspect(brought.file) };
  } catch (error) {
    await programs.remove(brought.file);
    throw error;
  }
}

/** @throws AgentError USAGE when this build holds no key */
async function releaseKey({ host }: Context): Promise<string> {
  const key = await host.asset('release-key.pem').catch(() => null);
  if (key !== null) return key;
  throw new AgentError('USAGE', 'without a checksum nothing tells that the file is the right one', {
    help: 'name it with --sha256, from another place than the file; this build holds no key for signatures',
  });
}

async function requireSignature(
  programs: Programs,
  {
    source,
    signature,
    key,
    file,
  }: { readonly source: string; readonly signature: string | null; readonly key: string; readonly file: string },
  signal: AbortSignal,
): Promise<void> {
  const from = signature ?? `${source}.sig`;
  const text = Buffer.from(await programs.bytes(from, signal))
    .toString('latin1')
    .trim();
  const bytes = /^[A-Za-z0-9+/=\s]+$/.test(text) ? Buffer.from(text, 'base64') : Buffer.alloc(0);
  // Ed25519 signs the file itself.
  if (bytes.length !== 64 || !verify(null, await readFile(file), key, bytes))
    throw new AgentError('SIGNATURE_INVALID', `${from} is no signature of ${source} by the key inside this program`);
}

/** Fetching takes a while on a slow line: told every two seconds. */
function teller(context: Context, source: string): (bytes: number, totalBytes: number | null) => void {
  const began = Date.now();
  let toldAt = began;
  return (bytes, totalBytes) => {
    const now = Date.now();
    if (now - toldAt < TELL_MS) return;
    toldAt = now;
    const share = totalBytes === null ? '' : ` of ${describeBytes(totalBytes)} (${Math.floor((100 * bytes) / totalBytes)} %)`;
    context.note(`fetching ${source}: ${describeBytes(bytes)}${share}`);
  };
}
