import { type CpuidEntry2, findCpuid } from '../cpuid-list.ts'
import { KvmError } from '../errors.ts'
import type { MsrEntry } from '../msr-list.ts'
import type { ProcessMemory } from '../process-memory.ts'
import { KVM_REG_GUEST_SSP, type VcpuFd } from '../vcpu-fd.ts'
import { type MemoryState, PAGE_BYTES, type PageRun, type VcpuState } from './guest-state.ts'

/**
 * Reads a vCPU's state. Order: KAPI-132: events come before what could fold a pending payload into registers (KAPI-30). No
 * exit may be open (`completeExit`): registers would be those before its instruction.
 */
export function saveVcpu(vcpu: VcpuFd): VcpuState {
  const events = vcpu.getVcpuEvents()
  const mpState = vcpu.getMpState()
  const regs = vcpu.getRegs()
  const xsave = vcpu.readXsave().bytes
  const xcr0 = vcpu.getXcr0()
  const sregs = vcpu.getSregs()
  const msrs = readableMsrs(vcpu)
  const cpuid = vcpu.getCpuid2()
  const guestSsp = hasShadowStack(cpuid) ? readGuestSsp(vcpu) : null
  const debugregs = vcpu.getDebugregs()
  return { cpuid, regs, sregs, msrs, guestSsp, xcr0, xsave, events, debugregs, mpState, tscKhz: vcpu.getTscKhz() }
}

const SHSTK = 1 << 7
const hasShadowStack = (cpuid: readonly CpuidEntry2[]): boolean => ((findCpuid(cpuid, 7, 0)?.ecx ?? 0) & SHSTK) !== 0

/** Null on kernels without KVM_GET_ONE_REG, and where KVM does not give the guest what its CPUID claims. */
function readGuestSsp(vcpu: VcpuFd): bigint | null {
  try {
    return vcpu.getRegList().includes(KVM_REG_GUEST_SSP) ? vcpu.getOneReg(KVM_REG_GUEST_SSP) : null
  } catch (error) {
    if (error instanceof KvmError && error.errno === 'EINVAL') return null
    throw error
  }
}

/** The MSRs of the host's list, without those that this vCPU's CPUID puts out of reach. */
function readableMsrs(vcpu: VcpuFd): MsrEntry[] {
  const wanted = vcpu.vm.kvm.getMsrIndexList()
  const entries: MsrEntry[] = []
  for (let next = 0; next < wanted.length; ) {
    const read = vcpu.getMsrs(wanted.slice(next))
    entries.push(...read)
    // The one it stopped at cannot be read: it is left out.
    next += read.length + 1
  }
  return entries
}

/** Copies guest memory, leaving out zero pages. */
export function saveMemory(memory: ProcessMemory, slot: number, guestPhysAddr: number): MemoryState {
  const runs: PageRun[] = []
  const page = new Uint8Array(PAGE_BYTES)
  const words = new Uint32Array(page.buffer)
  const pages = memory.size / PAGE_BYTES
  let first = 0
  const flush = (end: number): void => {
    if (end > first) runs.push({ firstPage: first, bytes: memory.bytes(first * PAGE_BYTES, (end - first) * PAGE_BYTES) })
    first = end + 1
  }
  for (let n = 0; n < pages; n++) {
    memory.read(n * PAGE_BYTES, page)
    if (words.every((word) => word === 0)) flush(n)
  }
  flush(pages)
  return { slot, guestPhysAddr, size: memory.size, runs }
}
