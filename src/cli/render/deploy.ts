import type { DeployHost } from '../../domain/host/deploy.ts';
import type { Context } from '../context.ts';
import { clean, cut, padEnd } from './text.ts';

export interface DeployView {
  readonly update: (host: DeployHost) => void;
  end(): void;
}

/** One line for each host: redrawn in place on a terminal, else a line for each step. */
export function deployView({ host, errorStyle: style, quiet, json }: Context, hosts: readonly string[]): DeployView {
  const states = new Map<string, DeployHost>();
  const width = Math.max(0, ...hosts.map((name) => name.length));
  const line = (name: string): string => {
    const state = states.get(name);
    return clean(`${padEnd(name, width)}  ${padEnd(state?.step ?? 'waiting', 9)}  ${state?.message ?? ''}`);
  };
  if (quiet) return { update: () => undefined, end: () => undefined };
  if (!host.stderr.isTty || json)
    return {
      update: (state) => {
        const before = states.get(state.host);
        states.set(state.host, state);
        // What the other side says while it works is for those who look at it live.
        if (before?.step !== state.step) host.stderr.write(`${line(state.host)}\n`);
      },
      end: () => undefined,
    };
  let drawn = 0;
  const names = [...new Set(hosts)];
  const columns = Math.max(20, (host.stderr.columns || 80) - 1);
  const draw = () => {
    const up = drawn === 0 ? '' : `\u001b[${drawn}A`;
    host.stderr.write(`${up}\u001b[0J${names.map((name) => `${cut(line(name), columns, style.symbols.ellipsis)}\n`).join('')}`);
    drawn = names.length;
  };
  let isOver = false;
  return {
    update: (state) => {
      states.set(state.host, state);
      if (!isOver) draw();
    },
    end: () => {
      isOver = true;
    },
  };
}
