import { HealthStatus } from '../../domain/health/health.ts';
import { InstanceStatus, LayerName } from '../../domain/instances/instance.ts';
import { pairs } from '../render/table.ts';
import type { Topic } from './topic.ts';

/** Topics about running a machine. */

const LAYERS: Readonly<Record<LayerName, string>> = {
  installation: 'a whole release is in place',
  runtime: 'PM2 has the process, the port is its own, HTTP answers',
  functional: 'a small graph really ran in this process, node packs loaded as when the release was proved',
  models: 'the files that configuration, static-models.json and workflows name are there',
};

export const health: Topic = {
  name: 'health',
  about: 'four layers, each with a reason that names cause and next step',
  lines: () => [
    ...pairs(LayerName.options.map((name) => [`  ${name}`, LAYERS[name]])),
    '',
    'Each passes, fails or is unknown; unknown means that nobody could look, and is never taken for failed.',
    'Ready, which load balancers and workers act on: installation, runtime and functional pass, and no drain or cordon.',
    'A failed models layer makes it degraded, not unready.',
    '',
    `Machine:  ${HealthStatus.options.join(', ')}`,
    `Instance: ${InstanceStatus.options.join(', ')}`,
    '',
    'GET /health (the agent lives), /ready, /health/comfyui, /health/comfyui/instances/0: 200 or 503, without a token.',
    'First looks at night: `agent status`, `agent plan` (what is held, and why), `agent logs 0 --since 10m`, `agent doctor`.',
    'Quarantined: it ended too often; `agent unquarantine 0` once the cause is gone.',
  ],
};

export const releases: Topic = {
  name: 'releases',
  about: 'how installations are built, proved, switched and taken back',
  lines: ({ layout }) => [
    `A release is a directory below ${layout.releases} that is never changed: ComfyUI, node packs, Python environment.`,
    'A new one is built beside the one that serves, from the pins of agent.lock.json, started once on a port of its own, and only',
    `then ${layout.current} moves, by one rename. Instances follow one GPU after the other, each after its jobs.`,
    'When one does not become ready on the new release, all go back by themselves. A kill at any moment leaves a whole release.',
    '',
    ...pairs([
      ['  agent releases', 'what is there, and which are proved'],
      ['  agent update --all --dry-run', 'what newer versions would change; without --dry-run: take them'],
      ['  agent rollback [release]', 'back to a proved one at once'],
      ['  agent install --verify', 'whether anybody changed anything since'],
      ['  agent reinstall', 'from scratch, same pins; the present one serves meanwhile'],
      ['  agent cleanup', 'old ones go by `releases.keep`'],
    ]),
  ],
};

export const ssh: Topic = {
  name: 'ssh',
  about: 'commands from elsewhere: ssh host agent restart 0',
  lines: ({ layout }) => [
    `Commands talk to the agent over ${layout.socket}. Where the group comfylet exists, its members may do so:`,
    'the socket is 0660 in a directory 0750 of that group; otherwise only the user of the agent may.',
    '',
    '  sudo usermod -aG comfylet ada         once; counts from her next login',
    '  ssh ada@host agent status             no terminal and no variable is needed',
    '  ssh ada@host agent install            progress on stderr, the result on stdout',
    '  ssh -t ada@host agent logs 0 -f       with -t, Ctrl-C reaches the command',
    '',
    'Long work runs in the agent: a connection that is cut ends only the display, and the same command attaches again.',
    'Where no agent runs, members of the group are told so (exit 4); only the user of the agent, or root, installs without it,',
    'so that no file gets a wrong owner.',
    '',
    "ComfyUI's page from your desk: ssh -N -L 8188:127.0.0.1:8188 ada@host, then http://127.0.0.1:8188.",
  ],
};

export const systemd: Topic = {
  name: 'systemd',
  about: 'two units, so that instances outlive the agent',
  lines: ({ layout }) => [
    '  comfylet-pm2.service   PM2, which holds the instances',
    '  comfylet.service       the agent: installs, decides, tells; ready when health is served',
    '  comfylet.path          starts it again when a configuration that it refused is mended (agent.yaml, agent.env)',
    '',
    '  systemctl restart comfylet        instances go on, jobs too; the new agent takes them over',
    '  systemctl restart comfylet-pm2    ends every instance and starts them anew: drain first (`agent drain all`)',
    '  systemctl status comfylet         with what it is doing',
    `  journalctl -u comfylet            the same lines as ${layout.logs}/agent.log`,
    '',
    'A service that needs an instance: ExecStartPre=agent wait ready 0 --timeout 10m.',
    'Without systemd, `agent run` is the whole program: it starts PM2 itself, and on SIGTERM drains and ends all it started.',
  ],
};
