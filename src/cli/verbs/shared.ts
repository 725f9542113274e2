import type { VerbArgument, VerbOption } from '../grammar/verb.ts';

/** Arguments and options that several verbs have. */

export const gpus: VerbArgument = {
  name: '[gpu...]',
  about: 'GPU indexes or UUIDs; none, or "all": every instance',
  words: ['all'],
  completes: 'gpu',
};
export const namedGpus: VerbArgument = { name: '<gpu...>', about: 'GPU indexes or UUIDs, or "all"', words: ['all'], completes: 'gpu' };
export const timeout: VerbOption = {
  flags: '--timeout <duration>',
  about: 'give up waiting after this long (90s, 10m); exit 6',
  kind: 'duration',
};
export const noWait: VerbOption = { flags: '--no-wait', about: 'ask for it and come back at once' };
export const drain: VerbOption = { flags: '--drain', about: 'let running jobs finish first' };
