import { XFEATURE_MASK_XTILE_DATA } from '../../isa/xfeatures.ts'
import { KvmError, MsrError } from '../errors.ts'
import type { MsrEntry } from '../msr-list.ts'
import type { ProcessMemory } from '../process-memory.ts'
import { KVM_REG_GUEST_SSP, type VcpuFd } from '../vcpu-fd.ts'
import { XsaveImage } from '../xsave-image.ts'
import { type MemoryState, PAGE_BYTES, type VcpuState } from './guest-state.ts'

/**
 * Loads a saved state into a new vCPU. Order: GFPU §8 and KAPI-132. CPUID is first, because it sizes the FPU image and bounds
 * XCR0; SREGS come before MSRs (EFER, paging); the CET MSRs and GUEST_SSP
 * need the CPUID bits only (CET-26); XCR0 and XSAVE follow CPUID; REGS come late, because SREGS and EVENTS may move RIP's
 * surroundings.
 *
 * @throws KvmError, MsrError when the host refuses a part; the vCPU is then useless
 */
export function restoreVcpu(vcpu: VcpuFd, state: VcpuState): void {
  vcpu.setCpuid2(state.cpuid)
  vcpu.setSregs(state.sregs)
  restoreMsrs(vcpu, state.msrs)
  if (state.guestSsp !== null) vcpu.setOneReg(KVM_REG_GUEST_SSP, state.guestSsp)
  if (state.xcr0 !== null) vcpu.setXcr0(state.xcr0)
  restoreXsave(vcpu, state)
  vcpu.setVcpuEvents(state.events)
  vcpu.setMpState(state.mpState)
  vcpu.setDebugregs(state.debugregs)
  vcpu.setRegs(state.regs)
}

/**
 * A kernel that makes room for tile data when KVM_RUN ends (KVM_EXIT_FPU_REALLOC: GFPU §5 D1) refuses them before. That it is one
 * shows in KVM_GET_XSAVE, which fails once there is room (XSAVE-03): then KVM_RUN is called without running the guest.
 */
function restoreXsave(vcpu: VcpuFd, state: VcpuState): void {
  // Components beyond this host's size are initial: `obstacles` has made sure.
  const image = state.xsave.subarray(0, Math.max(vcpu.xsaveSize, PAGE_BYTES))
  try {
    vcpu.setXsave(image)
  } catch (error) {
    const hasTiles = (new XsaveImage(state.xsave).xstateBv & BigInt(XFEATURE_MASK_XTILE_DATA)) !== 0n
    if (!(error instanceof KvmError) || !hasTiles || !fitsOldIoctl(vcpu)) throw error
    vcpu.completeExit()
    vcpu.setXsave(image)
  }
}

function fitsOldIoctl(vcpu: VcpuFd): boolean {
  try {
    vcpu.getXsave()
    return true
  } catch {
    return false
  }
}

/**
 * An MSR this host refuses may be left out when it was zero: the new vCPU has zero there too. MSR_KVM_ASYNC_PF_INT without in-kernel
 * LAPIC refuses even that.
 */
function restoreMsrs(vcpu: VcpuFd, msrs: readonly MsrEntry[]): void {
  for (let next = 0; next < msrs.length; ) {
    next += vcpu.setMsrs(msrs.slice(next))
    if (next === msrs.length) return
    const { index, data } = msrs[next]
    if (data !== 0n) throw new MsrError('KVM_SET_MSRS', index, next, vcpu.vm.kvm.process.backend.refusal)
    next++
  }
}

/** Puts saved contents into memory that is still zero. */
export function restoreMemory(memory: ProcessMemory, state: MemoryState): void {
  for (const run of state.runs) memory.write(run.firstPage * PAGE_BYTES, run.bytes)
}
