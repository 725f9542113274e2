/**
 * What the agent makes of each argument of main.py, of every version from 0.3.12 on (comfy/cli_args.py). Refused is what the agent
 * sets itself, and whatever changes how ComfyUI is reached, which card it takes, where its files lie or what its log tells: the
 * agent would look in the wrong place and wait for ever. An argument that is in no list is passed on.
 */

/** To be completed to "--flag …". */
const REFUSED: Readonly<Record<string, string>> = {
  '--port': 'is set by the agent; use ports.first (COMFYUI_PORT_START)',
  '--listen': 'is set by the agent; use comfyui.listen (COMFYUI_LISTEN)',
  '--tls-keyfile': 'cannot be used: the agent asks ComfyUI over plain HTTP; put a TLS proxy (nginx, Caddy) before it instead',
  '--tls-certfile': 'cannot be used: the agent asks ComfyUI over plain HTTP; put a TLS proxy (nginx, Caddy) before it instead',
  '--cpu': 'is set by the agent; use gpu.mode: cpu (COMFYUI_CPU_ONLY)',
  '--cuda-device': 'is set by the agent; use gpu.pin and gpu.count; each instance sees exactly its card',
  '--default-device': 'is set by the agent; use gpu.pin and gpu.count; each instance sees exactly its card',
  '--oneapi-device-selector': 'is set by the agent; use gpu.pin and gpu.count; each instance sees exactly its card',
  '--directml': 'is set by the agent; use gpu.pin and gpu.count; each instance sees exactly its card',
  '--base-directory': 'is set by the agent; use root',
  '--models-directory': 'is set by the agent; use comfy_dir_config.yaml, which names folders of models',
  '--output-directory': 'is set by the agent: it is shared/outputs/gpu<N>',
  '--input-directory': 'is set by the agent: it is shared/inputs',
  '--temp-directory': 'is set by the agent: it is instances/gpu<N>/temp',
  '--user-directory': 'is set by the agent: it is instances/gpu<N>/user',
  '--database-url': 'is set by the agent: it lies in instances/gpu<N>/user',
  '--quick-test-for-ci': 'cannot be used: it ends ComfyUI at once',
  '--list-feature-flags': 'cannot be used: it ends ComfyUI at once',
  '--help': 'cannot be used: it ends ComfyUI at once',
  '-h': 'cannot be used: it ends ComfyUI at once',
};

/** Levels that keep from the log what the agent reads there: which packs failed to import, and that a thread died. */
const QUIET_LEVELS: ReadonlySet<string> = new Set(['WARNING', 'ERROR', 'CRITICAL']);

/** They change what clients or people see, and the agent works with them: its requests name no origin and no user, its canary no model. */
const HONOURED: ReadonlySet<string> = new Set(
  `--enable-cors-header --max-upload-size --enable-compress-response-body --multi-user --front-end-version --front-end-root --verbose
  --log-stdout --dont-print-server --extra-model-paths-config --enable-manager --enable-manager-legacy-ui --disable-manager-ui
  --disable-api-nodes --disable-partner-nodes --offline --disable-assets --comfy-api-base --disable-metadata
  --disable-all-custom-nodes --whitelist-custom-nodes`.split(/\s+/),
);

/** How jobs are computed, and what has no meaning on a server. */
const HARMLESS: ReadonlySet<string> = new Set(
  `--auto-launch --disable-auto-launch --windows-standalone-build --cuda-malloc --disable-cuda-malloc --force-fp32 --force-fp16
  --fp32-unet --fp64-unet --bf16-unet --fp16-unet --fp8_e4m3fn-unet --fp8_e5m2-unet --fp8_e8m0fnu-unet --fp16-vae --fp32-vae --bf16-vae
  --cpu-vae --fp8_e4m3fn-text-enc --fp8_e5m2-text-enc --fp16-text-enc --fp32-text-enc --bf16-text-enc --force-channels-last
  --disable-ipex-optimize --supports-fp8-compute --preview-method --preview-size --cache-classic --cache-lru --cache-none --cache-ram
  --high-ram --use-split-cross-attention --use-quad-cross-attention --use-pytorch-cross-attention --use-sage-attention
  --use-flash-attention --disable-xformers --force-upcast-attention --dont-upcast-attention --gpu-only --highvram --normalvram --lowvram
  --novram --reserve-vram --async-offload --disable-async-offload --force-non-blocking --default-hashing-function
  --disable-smart-memory --deterministic --fast --mmap-torch-files --disable-mmap --debug-hang`.split(/\s+/),
);

export type ArgumentRole = 'refused' | 'honoured' | 'harmless' | 'not known';

/** What becomes of one flag, given as it is declared. */
export const argumentRole = (flag: string): ArgumentRole =>
  Object.hasOwn(REFUSED, flag) ? 'refused' : HONOURED.has(flag) ? 'honoured' : HARMLESS.has(flag) ? 'harmless' : 'not known';

/** Why these words cannot be given to main.py, one sentence for each. */
export function argumentFaults(words: readonly string[]): readonly string[] {
  return words.flatMap((word, index) => {
    const [typed = '', given] = word.split('=', 2);
    if (!typed.startsWith('-')) return [];
    if (meaning(typed) === '--verbose') {
      const level = given ?? words[index + 1] ?? '';
      return QUIET_LEVELS.has(level)
        ? [`${typed} ${level} cannot be used: the agent reads from the log which packs failed to import; use INFO, DEBUG, or nothing`]
        : [];
    }
    const flag = meaning(typed);
    const why = Object.hasOwn(REFUSED, flag) ? REFUSED[flag] : undefined;
    if (why === undefined) return [];
    return [typed === flag ? `${flag} ${why}` : `${typed} (${flag}) ${why}`];
  });
}

/** The same of what a template adds to the arguments of a launch, in which the agent's own stand already. */
export function addedFaults(own: readonly string[], given: readonly string[]): readonly string[] {
  const left = [...argumentFaults(own)];
  return argumentFaults(given).filter((fault) => {
    const index = left.indexOf(fault);
    if (index >= 0) left.splice(index, 1);
    return index < 0;
  });
}

/** argparse takes the beginning of a flag for the flag, and ends where it could be several. Which there are differs by version. */
function meaning(typed: string): string {
  if (argumentRole(typed) !== 'not known' || !/^--[a-z]/.test(typed)) return typed;
  const possible = [...Object.keys(REFUSED), ...HONOURED, ...HARMLESS].filter((flag) => flag.startsWith(typed));
  const isOurs = possible.length === 1 || possible.every((flag) => argumentRole(flag) === 'refused');
  return isOurs ? (possible[0] ?? typed) : typed;
}
