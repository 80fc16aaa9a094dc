/**
 * One rule of how Linux treats a guest's extended state or split locks, in a sentence of our own. IDs never change meaning; tests, refusals and
 * `docs/fidelity.md` name them.
 */
export interface Rule {
  /** `PERM-23` */
  readonly id: string
  /** What holds, in one sentence that can stand alone. */
  readonly says: string
  /** Kernel file and version, SDM or APM section, or recording, where the sentence can be checked. */
  readonly source: string
}
