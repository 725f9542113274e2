import type { DoctorDocument, Finding } from '../../domain/doctor/doctor.ts';
import { checkCardFaults } from './card-faults.ts';
import { checkCards, checkPorts, checkTorch } from './cards.ts';
import type { DoctorFacts } from './facts.ts';
import { checkCertificates, checkConfiguration, checkInputs, checkRepositories, checkSsh } from './inputs.ts';
import {
  checkAgent,
  checkClock,
  checkDisk,
  checkGit,
  checkLeftovers,
  checkPm2,
  checkPs,
  checkPython,
  checkRoot,
  checkState,
  checkUv,
} from './machine.ts';

/** Facts to findings, in the order in which an installation would meet them. */
export function diagnose(facts: DoctorFacts): Finding[] {
  const checks: readonly ((facts: DoctorFacts) => readonly Finding[])[] = [
    checkConfiguration,
    checkInputs,
    checkRoot,
    checkDisk,
    checkClock,
    checkPs,
    checkPython,
    checkUv,
    checkGit,
    checkSsh,
    checkCertificates,
    checkRepositories,
    checkCards,
    checkCardFaults,
    checkTorch,
    checkPorts,
    checkPm2,
    checkAgent,
    checkLeftovers,
    checkState,
  ];
  return checks.flatMap((check) => check(facts));
}

export const summarize = (facts: DoctorFacts, checkedAt: string): DoctorDocument => {
  const findings = diagnose(facts);
  return { ok: findings.every(({ status }) => status !== 'fail'), root: facts.root, findings, checkedAt };
};
