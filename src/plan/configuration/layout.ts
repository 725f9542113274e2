import type { Config, Layout } from '../../domain/configuration/config.ts';
import { digestOf } from '../../domain/text/digest.ts';

/** sun_path holds 107 bytes on Linux; some room for names that are made beside the socket. */
const MAX_SOCKET_BYTES = 100;

/** The agent's socket; a run directory whose path is too long for one gets a directory of its own, found again from the same path. */
export function socketOf(run: string): { readonly path: string; readonly isFallback: boolean } {
  const wanted = `${run}/agent.sock`;
  // The same for every program that works on this root, so that the CLI finds it without being told.
  if (Buffer.byteLength(wanted) > MAX_SOCKET_BYTES)
    return { path: `/tmp/comfylet-${digestOf(wanted).slice(0, 12)}/agent.sock`, isFallback: true };
  return { path: wanted, isFallback: false };
}

/** Every path of design section 4, computed once. Expects the absolute paths that `readConfiguration` gives. */
export function layoutOf(config: Config): Layout {
  const { root } = config;
  const shared = `${root}/shared`;
  const state = config.stateDir ?? `${root}/state`;
  const run = config.runDir ?? `${root}/run`;
  const { path: socket, isFallback: socketFallback } = socketOf(run);
  return {
    root,
    releases: `${root}/releases`,
    current: `${root}/current`,
    installPath: config.comfyui.installPath ?? `${root}/ComfyUI`,
    shared,
    models: config.models.path ?? `${shared}/models`,
    inputs: `${shared}/inputs`,
    outputs: `${shared}/outputs`,
    packState: `${shared}/pack-state`,
    workflows: `${shared}/workflows`,
    configNodes: config.packs.file ?? `${shared}/${config.packs.testMode ? 'config_nodes_test.json' : 'config_nodes.json'}`,
    directoryConfig: `${shared}/comfy_dir_config.yaml`,
    staticModels: `${shared}/static-models.json`,
    instances: `${root}/instances`,
    cache: `${root}/cache`,
    closed: `${root}/agent-only`,
    records: `${root}/agent-only/releases`,
    bytecode: `${root}/cache/pycache`,
    state,
    run,
    logs: `${root}/logs`,
    pm2Home: config.pm2.home ?? `${state}/pm2`,
    socket,
    socketFallback,
    lockFile: config.install.lockFile ?? `${root}/agent.lock.json`,
    rootLock: `${root}/.agent.lock`,
    database: `${state}/agent.db`,
  };
}
