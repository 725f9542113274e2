import { describe, expect, it } from 'vitest';
import { addedFaults, argumentFaults, argumentRole } from '../../../../src/plan/configuration/comfyui-arguments.ts';

/** Every flag of main.py: 0.3.12 with the fork, 0.3.30, 0.3.64 and the newest of the reference. */
const DECLARED = `--listen --port --tls-keyfile --tls-certfile --enable-cors-header --max-upload-size --base-directory
  --extra-model-paths-config --output-directory --temp-directory --input-directory --models-directory --auto-launch --disable-auto-launch
  --cuda-device --default-device --cuda-malloc --disable-cuda-malloc --force-fp32 --force-fp16 --fp32-unet --fp64-unet --bf16-unet
  --fp16-unet --fp8_e4m3fn-unet --fp8_e5m2-unet --fp8_e8m0fnu-unet --fp16-vae --fp32-vae --bf16-vae --cpu-vae --fp8_e4m3fn-text-enc
  --fp8_e5m2-text-enc --fp16-text-enc --fp32-text-enc --bf16-text-enc --force-channels-last --directml --oneapi-device-selector
  --disable-ipex-optimize --supports-fp8-compute --preview-method --preview-size --cache-classic --cache-lru --cache-none --cache-ram
  --high-ram --use-split-cross-attention --use-quad-cross-attention --use-pytorch-cross-attention --use-sage-attention
  --use-flash-attention --disable-xformers --force-upcast-attention --dont-upcast-attention --gpu-only --highvram --normalvram --lowvram
  --novram --cpu --reserve-vram --async-offload --disable-async-offload --force-non-blocking --default-hashing-function
  --disable-smart-memory --deterministic --fast --mmap-torch-files --disable-mmap --dont-print-server --quick-test-for-ci
  --windows-standalone-build --disable-metadata --disable-all-custom-nodes --whitelist-custom-nodes --disable-api-nodes
  --disable-partner-nodes --offline --multi-user --verbose --log-stdout --front-end-version --front-end-root --user-directory
  --enable-compress-response-body --comfy-api-base --database-url --enable-manager --enable-manager-legacy-ui --disable-manager-ui
  --disable-assets --debug-hang --list-feature-flags --help`.split(/\s+/);

describe('arguments of main.py', () => {
  it.each(DECLARED)('%s is decided, and does as decided', (flag) => {
    const role = argumentRole(flag);
    expect(role).not.toBe('not known');
    for (const words of [[flag], [flag, 'x'], [`${flag}=x`], ['--fast', flag]])
      expect(argumentFaults(words).length, words.join(' ')).toBe(role === 'refused' ? 1 : 0);
  });

  it.each([
    ['how it is reached', '--port --listen --tls-keyfile --tls-certfile'],
    ['its card', '--cpu --cuda-device --default-device --directml --oneapi-device-selector'],
    [
      'its files',
      '--base-directory --models-directory --output-directory --input-directory --temp-directory --user-directory --database-url',
    ],
    ['its end', '--quick-test-for-ci --list-feature-flags --help -h'],
  ])('what changes %s is refused', (_what, flags) => {
    for (const flag of flags.split(' ')) expect(argumentRole(flag)).toBe('refused');
  });

  it.each<[readonly string[], readonly RegExp[]]>([
    [['--tls-key', '/k'], [/^--tls-key \(--tls-keyfile\) cannot be used: .*TLS proxy/]],
    [['--por=9000'], [/^--por \(--port\) is set by the agent/]],
    [['--cuda-d', '1'], [/^--cuda-d \(--cuda-device\) is set/]],
    // A beginning that is a flag itself, and a value that looks like one of ours.
    [['--cpu-vae', '--offline'], []],
    [['--comfy-api-base', 'https://h/--port', '--front-end-root', '/x'], []],
    [['--list', '0.0.0.0'], [/^--list \(--listen\) is set/]],
    [['--c', '--default', 'md5'], []],
    [['--verbose'], []],
    [['--verbose', 'DEBUG'], []],
    [['--verbose', 'ERROR'], [/^--verbose ERROR cannot be used: the agent reads from the log/]],
    [['--verb=CRITICAL'], [/^--verb CRITICAL cannot be used/]],
    [['--of-a-later-version', '1'], []],
    [['--'], []],
    [['--constructor', '--__proto__'], []],
  ])('%j', (words, expected) => {
    const faults = argumentFaults(words);
    expect(faults).toHaveLength(expected.length);
    for (const [index, pattern] of expected.entries()) expect(faults[index]).toMatch(pattern);
  });

  it('of a template: only what it adds', () => {
    const own = ['--port', '8188', '--cpu'];
    const entry = ['-c', 'exec "$@"', 'python', '-u', 'main.py', ...own];
    expect(addedFaults(own, entry)).toEqual([]);
    expect(addedFaults(own, [...entry, '--lowvram'])).toEqual([]);
    expect(addedFaults(own, [...entry, '--port', '9000'])).toHaveLength(1);
    expect(addedFaults(own, [...entry, '--tls-keyfile', '/k'])[0]).toMatch(/^--tls-keyfile cannot be used/);
  });
});
