import {
  X86_TRAP_BP,
  X86_TRAP_DB,
  X86_TRAP_DE,
  X86_TRAP_DF,
  X86_TRAP_GP,
  X86_TRAP_MC,
  X86_TRAP_NMI,
  X86_TRAP_NP,
  X86_TRAP_OF,
  X86_TRAP_PF,
  X86_TRAP_SS,
  X86_TRAP_TS,
} from '../../isa/vectors.ts'

/** Two of them in a row are a double fault (Linux 6.12 exception_class(): without #CP). */
const CONTRIBUTORY = (1 << X86_TRAP_DE) | (1 << X86_TRAP_TS) | (1 << X86_TRAP_NP) | (1 << X86_TRAP_SS) | (1 << X86_TRAP_GP)
const isContributory = (vector: number): boolean => ((CONTRIBUTORY >>> vector) & 1) === 1

/** Neither traps nor aborts: the saved RIP is at the instruction and RF is set in the saved flags (KAPI-24). */
const NOT_FAULTS = [X86_TRAP_NMI, X86_TRAP_DB, X86_TRAP_BP, X86_TRAP_OF, X86_TRAP_DF, X86_TRAP_MC]
export const isFaultClass = (vector: number): boolean => vector < 32 && !NOT_FAULTS.includes(vector)

/** #BP and #OF by INT3 and INTO: their instruction length is not part of the API, so they are never shown (KAPI-51). */
export const isSoftException = (vector: number): boolean => vector === X86_TRAP_BP || vector === X86_TRAP_OF

export const QUEUED = 0
/** A third fault while #DF was being delivered: shutdown. */
export const TRIPLE_FAULT = 1

/** The exception a vCPU is about to take or is taking, and the rules by which two merge. KAPI-24..27. */
export class ExceptionQueue {
  /** Raised, not yet given to the processor. */
  pending = false
  /** Given to the processor in the last entry; still to be delivered if that was interrupted. */
  injected = false
  vector = 0
  hasErrorCode = false
  errorCode = 0
  /** #PF: CR2; #DB: DR6 bits, active high against the fixed ones. Not yet in the register. */
  hasPayload = false
  payloadLo = 0
  payloadHi = 0

  /**
   * Queues `vector`. Merging: contributory on contributory, or #PF followed by contributory or #PF, is #DF(0); anything on #DF
   * is a triple fault; otherwise the new exception replaces the old. KAPI-27; Linux 6.12 kvm_multiple_exception().
   */
  raise(vector: number, hasErrorCode: boolean, errorCode: number): number {
    this.hasPayload = false
    return this.merge(vector, hasErrorCode, errorCode, false)
  }

  raiseWithPayload(vector: number, hasErrorCode: boolean, errorCode: number, payloadLo: number, payloadHi: number): number {
    const result = this.merge(vector, hasErrorCode, errorCode, false)
    if (result === QUEUED && this.vector === vector) {
      this.hasPayload = true
      this.payloadLo = payloadLo
      this.payloadHi = payloadHi
    }
    return result
  }

  /** The processor was interrupted while delivering this exception: it is delivered again at the next entry. */
  reinject(vector: number, hasErrorCode: boolean, errorCode: number): number {
    return this.merge(vector, hasErrorCode, errorCode, true)
  }

  private merge(vector: number, hasErrorCode: boolean, errorCode: number, reinject: boolean): number {
    if (this.pending || this.injected) {
      const previous = this.vector
      if (previous === X86_TRAP_DF) return TRIPLE_FAULT
      const isDouble =
        (isContributory(previous) && isContributory(vector)) ||
        (previous === X86_TRAP_PF && (isContributory(vector) || vector === X86_TRAP_PF))
      if (isDouble) return this.store(X86_TRAP_DF, true, 0, false)
    }
    return this.store(vector, hasErrorCode, errorCode, reinject)
  }

  private store(vector: number, hasErrorCode: boolean, errorCode: number, injected: boolean): typeof QUEUED {
    this.pending = !injected
    this.injected = injected
    this.vector = vector
    this.hasErrorCode = hasErrorCode
    this.errorCode = errorCode
    this.hasPayload = false
    this.payloadLo = this.payloadHi = 0
    return QUEUED
  }

  clear(): void {
    this.pending = this.injected = false
  }
}
