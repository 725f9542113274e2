import { type InstallContext, packDirectory } from './context.ts';

/** A folder that ends so is passed over by ComfyUI. */
const LEFT_OUT = '.disabled';

/** A pack without its packages may do anything but work: its tree stays for people to look at, under a name that is not loaded. */
export async function leaveOut(context: InstallContext, name: string, reason: string): Promise<void> {
  const { files } = context.ports;
  const directory = packDirectory(context, name);
  if (await files.isDirectory(directory)) await files.move(directory, directory + LEFT_OUT);
  context.tracker.pack(name, { state: 'failed', error: reason, quarantined: true });
}
