import type { Finding } from '../../domain/doctor/doctor.ts';

/** Short ways to write a finding. Everything but `ok` should say what to do. */
export const ok = (check: string, message: string): Finding => ({ check, status: 'ok', message, help: null });
export const warn = (check: string, message: string, help: string): Finding => ({ check, status: 'warn', message, help });
export const fail = (check: string, message: string, help: string): Finding => ({ check, status: 'fail', message, help });
/** Mended by a package of Debian and Ubuntu, which the help names too. */
export const lacks = (check: string, message: string, help: string, debianPackage: string): Finding => ({
  ...fail(check, message, help),
  debianPackage,
});
export const cannotTell = (check: string, message: string, help: string | null = null): Finding => ({
  check,
  status: 'unknown',
  message,
  help,
});
