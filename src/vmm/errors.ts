import { msrName } from '../isa/msrs.ts'
import { errnoName } from '../linux/errno.ts'
import type { Refusal } from '../linux/refusal.ts'
import { ruleById } from '../rules/index.ts'

/** `EINVAL: KVM_SET_XSAVE: xstate_bv has PKRU (bit 9), … (XSAVE-35)`: errno, call, sentence, rule; the last two where they are known. */
function messageOf(outcome: string, call: string, reason: Refusal | null): string {
  return reason === null ? `${outcome}: ${call}` : `${outcome}: ${call}: ${reason.sentence} (${reason.rule})`
}

/** A system call that was refused. `message`: `EBUSY: CALL: SENTENCE (RULE)`. */
export class SyscallError extends Error {
  /** What was called: `open /dev/kvm`, `KVM_SET_XSAVE`. */
  readonly call: string
  /** `EBUSY`. */
  readonly errno: string
  readonly errnoNumber: number
  /** Why: what was asked, which bits, both sides, the gates consulted. Null where the backend does not say. */
  readonly reason: Refusal | null

  constructor(call: string, errnoNumber: number, reason: Refusal | null) {
    const errno = errnoName(errnoNumber)
    super(messageOf(errno, call, reason))
    this.name = 'SyscallError'
    this.call = call
    this.errno = errno
    this.errnoNumber = errnoNumber
    this.reason = reason
  }
  /** ID of the rule that refused (`PERM-23`), null where unknown. */
  get rule(): string | null {
    return this.reason?.rule ?? null
  }
  /** What that rule says in general, null for a rule that is not of this subject. */
  get explanation(): string | null {
    return explanationOf(this.reason)
  }
}

/** A refused ioctl of KVM; `call` is the ioctl's name. */
export class KvmError extends SyscallError {
  constructor(ioctl: string, errnoNumber: number, reason: Refusal | null) {
    super(ioctl, errnoNumber, reason)
    this.name = 'KvmError'
  }
}

/**
 * KVM_SET_MSRS or KVM_GET_MSRS stopped at an MSR: those before it were done (KAPI-73). That is no errno but a short count; `message`:
 * `KVM_SET_MSRS stopped at MSR_IA32_XFD (0x1c4), 2 done before it: SENTENCE (RULE)`.
 */
export class MsrError extends Error {
  readonly ioctl: string
  readonly index: number
  /** How many were done. */
  readonly done: number
  /** Why this MSR; null where the backend does not say. */
  readonly reason: Refusal | null

  constructor(ioctl: string, index: number, done: number, reason: Refusal | null) {
    const why = reason === null ? ' (KAPI-73)' : `: ${reason.sentence} (${reason.rule})`
    const number = `0x${index.toString(16)}`
    const name = msrName(index)
    super(`${ioctl} stopped at ${name.endsWith(number) ? name : `${name} (${number})`}, ${done} done before it${why}`)
    this.name = 'MsrError'
    this.ioctl = ioctl
    this.index = index
    this.done = done
    this.reason = reason
  }
  get rule(): string | null {
    return this.reason?.rule ?? null
  }
  get explanation(): string | null {
    return explanationOf(this.reason)
  }
}

function explanationOf(reason: Refusal | null): string | null {
  return reason === null ? null : (ruleById(reason.rule)?.says ?? null)
}

/** The process that called is dead: its host's kernel oopsed under it, or it was ended. */
export class ProcessDied extends Error {
  readonly rule: string | null
  constructor(message: string, rule: string | null) {
    super(message)
    this.name = 'ProcessDied'
    this.rule = rule
  }
}
