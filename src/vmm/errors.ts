import { errnoName } from '../linux/errno.ts'
import type { RefusalReason } from './process-backend.ts'

/** A system call that was refused. `message` says the call, the errno's name and, where known, why and by which rule. */
export class SyscallError extends Error {
  /** What was called: `open /dev/kvm`, `KVM_SET_XSAVE`. */
  readonly call: string
  /** `EBUSY`. */
  readonly errno: string
  readonly errnoNumber: number
  /** One sentence, null where the backend does not say. */
  readonly because: string | null
  /** ID of the rule that refused (`PERM-23`), null where unknown. */
  readonly rule: string | null

  constructor(call: string, errnoNumber: number, reason: RefusalReason | null) {
    const errno = errnoName(errnoNumber)
    const why = reason === null ? '' : `: ${reason.because} (${reason.rule})`
    super(`${call} failed with ${errno}${why}`)
    this.name = 'SyscallError'
    this.call = call
    this.errno = errno
    this.errnoNumber = errnoNumber
    this.because = reason?.because ?? null
    this.rule = reason?.rule ?? null
  }
}

/** A refused ioctl of KVM; `call` is the ioctl's name. */
export class KvmError extends SyscallError {
  constructor(ioctl: string, errnoNumber: number, reason: RefusalReason | null) {
    super(ioctl, errnoNumber, reason)
    this.name = 'KvmError'
  }
}

/** KVM_SET_MSRS or KVM_GET_MSRS stopped at an MSR: those before it were done (KAPI-73). */
export class MsrError extends Error {
  readonly ioctl: string
  readonly index: number
  /** How many were done. */
  readonly done: number

  constructor(ioctl: string, index: number, done: number, name: string) {
    super(`${ioctl} stopped at MSR ${name} (0x${index.toString(16)}): ${done} done before it (KAPI-73)`)
    this.name = 'MsrError'
    this.ioctl = ioctl
    this.index = index
    this.done = done
  }
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
