import {
  ARCH_GET_XCOMP_GUEST_PERM,
  ARCH_GET_XCOMP_PERM,
  ARCH_GET_XCOMP_SUPP,
  ARCH_REQ_XCOMP_GUEST_PERM,
  ARCH_REQ_XCOMP_PERM,
} from '../linux/fpu/permission.ts'
import type { Process } from './process.ts'

const NR_arch_prctl = 158

/**
 * arch_prctl(2) as far as it is about extended state: which components (bits of XCR0) the process and its guests may use.
 * PERM-16..23.
 */
export class ArchPrctl {
  private readonly process: Process

  constructor(process: Process) {
    this.process = process
  }

  /** Components the kernel supports. */
  getXcompSupp(): bigint {
    return this.process.syscallForU64('arch_prctl(ARCH_GET_XCOMP_SUPP)', NR_arch_prctl, ARCH_GET_XCOMP_SUPP)
  }
  /** Components the process may use itself. */
  getXcompPerm(): bigint {
    return this.process.syscallForU64('arch_prctl(ARCH_GET_XCOMP_PERM)', NR_arch_prctl, ARCH_GET_XCOMP_PERM)
  }
  /** Components its guests may be given. */
  getXcompGuestPerm(): bigint {
    return this.process.syscallForU64('arch_prctl(ARCH_GET_XCOMP_GUEST_PERM)', NR_arch_prctl, ARCH_GET_XCOMP_GUEST_PERM)
  }

  /** Asks to use component `nr` (18 = XTILE_DATA). */
  reqXcompPerm(nr: number): void {
    this.process.syscall(`arch_prctl(ARCH_REQ_XCOMP_PERM, ${nr})`, NR_arch_prctl, ARCH_REQ_XCOMP_PERM, nr)
  }
  /** Asks to let guests use component `nr`. EBUSY once the process has created a vCPU (PERM-23). */
  reqXcompGuestPerm(nr: number): void {
    this.process.syscall(`arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM, ${nr})`, NR_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM, nr)
  }
}
