import { EFER_LMA } from '../../isa/control-registers.ts'
import { X86_TRAP_GP } from '../../isa/vectors.ts'
import { CTL } from '../../machine/execution-context.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import { ACCESS_WRITE, WALK_NOT_CANONICAL, WALK_OK, WALK_PAGE_FAULT, WALK_SECOND_STAGE } from '../../machine/page-walk.ts'
import { MAPPED } from '../memory/guest-memory.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'

/** Bytes at the linear address are guest memory. `hpaOffset` of the walker result. */
export const LINEAR_OK = 0
/** A guest exception was queued. */
export const LINEAR_FAULT = 1
/** The page has no memory slot (MMIO), or no memory behind the slot. */
export const LINEAR_NO_MEMORY = 2

/**
 * Guest-linear accesses by KVM itself (string I/O, instruction fetch for emulation, KVM_TRANSLATE). Results in fields; nothing
 * is allocated.
 */
export class GuestLinear {
  private readonly vcpu: Vcpu
  /** Wasm offset of the byte, after LINEAR_OK: valid to the end of the page. */
  at = 0
  /** Guest-physical address of the byte (also after LINEAR_NO_MEMORY). */
  gpa = 0
  /** Page-fault error code of a failed probe. */
  errorCode = 0

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu
  }

  /**
   * Translates, mapping guest pages as needed.
   * @param access ACCESS_*; @param queueFault queue the guest's exception, else only report
   */
  translate(lo: number, hi: number, access: number, user: boolean, queueFault: boolean): number {
    const { vcpu } = this
    const { context } = vcpu
    const walk = vcpu.vm.kvm.pageWalk
    const { memory } = vcpu.vm
    const linearHi = context.ctlLo(CTL.EFER) & EFER_LMA ? hi : 0
    for (;;) {
      const status = walk.walk(context, memory.stage, lo, linearHi, access, user, 0)
      if (status === WALK_OK) {
        this.at = PHYSICAL_BASE + walk.hpaPage * 4096 + (lo & 0xfff)
        this.gpa = walk.gpa + (lo & 0xfff)
        return LINEAR_OK
      }
      if (status === WALK_SECOND_STAGE) {
        if (memory.resolve(walk.gpa / 4096, walk.gpaAccess) === MAPPED) continue
        this.gpa = walk.gpa + (walk.gpaIsFinal ? lo & 0xfff : 0)
        return LINEAR_NO_MEMORY
      }
      this.errorCode = walk.errorCode
      if (queueFault && status === WALK_PAGE_FAULT) vcpu.queuePageFault(walk.errorCode, lo, linearHi)
      else if (queueFault && status === WALK_NOT_CANONICAL) vcpu.queueExceptionWithCode(X86_TRAP_GP, 0)
      return LINEAR_FAULT
    }
  }

  /** Copies guest memory at a linear address into `into`; LINEAR_* of the first byte that failed. */
  read(lo: number, hi: number, into: Uint8Array, user: boolean, access: number, queueFault: boolean): number {
    const { u8 } = this.vcpu.context.mem
    for (let done = 0; done < into.length; ) {
      const from = addLow(lo, done)
      const status = this.translate(from, addHigh(lo, hi, done), access, user, queueFault)
      if (status !== LINEAR_OK) return status
      const length = Math.min(into.length - done, 4096 - (from & 0xfff))
      into.set(u8.subarray(this.at, this.at + length), done)
      done += length
    }
    return LINEAR_OK
  }

  /** Writes guest memory; a dirty log sees it because the page was resolved for writing. */
  write(lo: number, hi: number, from: Uint8Array, user: boolean): number {
    const { u8 } = this.vcpu.context.mem
    for (let done = 0; done < from.length; ) {
      const to = addLow(lo, done)
      const status = this.translate(to, addHigh(lo, hi, done), ACCESS_WRITE, user, true)
      if (status !== LINEAR_OK) return status
      const length = Math.min(from.length - done, 4096 - (to & 0xfff))
      u8.set(from.subarray(done, done + length), this.at)
      this.vcpu.vm.kvm.physicalWritten(this.at - PHYSICAL_BASE, length)
      done += length
    }
    return LINEAR_OK
  }
}

export const addLow = (lo: number, offset: number): number => (lo + offset) | 0
/** High half of hi:lo + offset, |offset| < 2^31. */
export function addHigh(lo: number, hi: number, offset: number): number {
  const sum = (lo >>> 0) + offset
  return (hi + Math.floor(sum / 0x100000000)) | 0
}
