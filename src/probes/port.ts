import { cannotTell, fail, type Probe, pass } from './probe.ts';

/** Runtime: the port is listened on by the process we started and by nobody else. */
export const portProbe: Probe = {
  name: 'port',
  layer: 'runtime',
  dueIn: (history, config) => {
    const http = history.latest('http');
    // While connections are refused nobody has the port, and there is nothing to find out.
    if (http === undefined || (!history.everPassed('port') && http.facts?.['kind'] === 'refused')) return null;
    return history.latest('port') === undefined ? 0 : config.health.http.periodMs;
  },
  run: async (target, { kernel }) => {
    const ours = await kernel.listensOn(target.pid, target.tcpPort);
    if (ours === true) return pass();
    const holder = (await kernel.portHolders([target.tcpPort]))[0];
    if (holder === undefined) return fail(`nothing listens on port ${target.tcpPort} yet`, { stranger: false });
    if (holder.pid === null || ours === null) return cannotTell(`the holder of port ${target.tcpPort} may not be read`);
    if (holder.pid === target.pid || (await kernel.tree(target.pid)).includes(holder.pid)) return pass();
    return fail(
      `port ${target.tcpPort} is answered by pid ${holder.pid} (${holder.command ?? 'unknown command'}), not by this instance (pid ${target.pid})`,
      {
        stranger: true,
      },
    );
  },
};
