import { CR0_RESET, DR6_RESET, DR7_RESET, X86_CR0_CD, X86_CR0_NW } from '../../isa/control-registers.ts'
import { XFEATURE_MASK_BNDCSR, XFEATURE_MASK_BNDREGS, XFEATURE_MASK_CET, XFEATURE_MASK_FP } from '../../isa/xfeatures.ts'
import { clearGuestComponent, isLoaded } from '../../linux/fpu/door.ts'
import { withPreemptionDisabled } from '../../linux/preemption.ts'
import { CTL, REG } from '../../machine/execution-context.ts'
import { SEGMENT } from '../../machine/memory-map.ts'
import { ANY_INDEX, findEntry } from '../cpuid/entries.ts'
import { updateRuntimeCpuid } from '../cpuid/vcpu-cpuid.ts'
import { APIC_DEFAULT_PHYS_BASE, MSR_IA32_APICBASE_BSP, MSR_IA32_APICBASE_ENABLE } from '../irqchip/apic-registers.ts'
import { resetMsrs } from '../msr/vcpu-msrs.ts'
import { setApicBase } from './apic-base.ts'
import { loadGuestRegisters, putGuestRegisters } from './guest-registers.ts'
import { REQ_EVENT, type Vcpu } from './vcpu.ts'

const CODE_16 = 0x9b
const DATA_16 = 0x93
const TSS_BUSY = 0x8b
const LDT = 0x82
const X86_EFLAGS_FIXED = 2
const DEFAULT_SIGNATURE = 0x600
/** CET-34. A guest without CET has zero there in any case. */
const CET_SLOTS = [CTL.S_CET, CTL.SSP, CTL.INT_SSP_TAB]

/** RESET (vCPU creation) or INIT. KAPI-113, KAPI-114, GFPU §7; Linux 6.12 kvm_vcpu_reset(). */
export function resetVcpuState(vcpu: Vcpu, init: boolean): void {
  const { context } = vcpu
  if (!init) setApicBase(vcpu, APIC_DEFAULT_PHYS_BASE + MSR_IA32_APICBASE_ENABLE + (vcpu.isBsp ? MSR_IA32_APICBASE_BSP : 0))
  vcpu.lapic?.reset(init)
  resetEvents(vcpu)
  resetDebugRegisters(vcpu)
  for (let reg = 0; reg < 16; reg++) context.set(reg, 0, 0)
  context.set32(REG.RDX, findEntry(vcpu.cpuid, 1, ANY_INDEX)?.eax ?? DEFAULT_SIGNATURE)
  context.setRip(0xfff0, 0)
  context.rflags = X86_EFLAGS_FIXED
  resetSegments(vcpu)
  resetControlRegisters(vcpu, init)
  resetMsrs(vcpu, init)
  if (vcpu.splitLock !== null) vcpu.splitLock.testCtrl = 0n // SLD-51: stored only
  if (init) clearStateOnInit(vcpu)
  else {
    vcpu.xcr0 = XFEATURE_MASK_FP
    vcpu.xss = 0
  }
  vcpu.vmcs.space.flush()
  updateRuntimeCpuid(vcpu, vcpu.cpuid)
  vcpu.request(REQ_EVENT)
}

function resetEvents(vcpu: Vcpu): void {
  vcpu.exception.clear()
  vcpu.clearInterrupt()
  vcpu.nmiInjected = false
  vcpu.nmiPending = vcpu.nmiQueued = 0
  vcpu.smiPending = false
  vcpu.interruptibility = 0
  vcpu.context.setCtl(CTL.ACTIVITY, 0, 0)
  vcpu.splitExternal = -1
}

function resetDebugRegisters(vcpu: Vcpu): void {
  vcpu.db.fill(0n)
  vcpu.dr6 = DR6_RESET
  vcpu.dr7 = DR7_RESET
  vcpu.updateDr7()
}

function resetSegments(vcpu: Vcpu): void {
  const { context } = vcpu
  context.setSegment(SEGMENT.CS, 0xf000, CODE_16, 0xffff, 0xffff0000 | 0, 0)
  for (const segment of [SEGMENT.DS, SEGMENT.ES, SEGMENT.FS, SEGMENT.GS, SEGMENT.SS])
    context.setSegment(segment, 0, DATA_16, 0xffff, 0, 0)
  context.setSegment(SEGMENT.TR, 0, TSS_BUSY, 0xffff, 0, 0)
  context.setSegment(SEGMENT.LDTR, 0, LDT, 0xffff, 0, 0)
  for (const slot of [CTL.GDTR_BASE, CTL.IDTR_BASE]) context.setCtl(slot, 0, 0)
  for (const slot of [CTL.GDTR_LIMIT, CTL.IDTR_LIMIT]) context.setCtl(slot, 0xffff, 0)
}

function resetControlRegisters(vcpu: Vcpu, init: boolean): void {
  const { context } = vcpu
  // INIT keeps CD and NW as they are; RESET sets both.
  const cacheBits = init ? context.ctlLo(CTL.CR0) & (X86_CR0_CD | X86_CR0_NW) : CR0_RESET & (X86_CR0_CD | X86_CR0_NW)
  context.setCtl(CTL.CR0, (CR0_RESET & ~(X86_CR0_CD | X86_CR0_NW)) | cacheBits, 0)
  for (const slot of [CTL.CR2, CTL.CR3, CTL.CR4, CTL.CR8, CTL.EFER, ...CET_SLOTS]) context.setCtl(slot, 0, 0)
}

/**
 * INIT zeroes MPX and CET components in the image, which is swapped out around that. Before late 6.18 it was so even when it was
 * not in use, which is a bug that ends the VM (GFPU-16). GFPU-48, CET-34.
 */
function clearStateOnInit(vcpu: Vcpu): void {
  const { kvm } = vcpu.vm
  const mpx = kvm.caps.has('MPX') ? XFEATURE_MASK_BNDREGS | XFEATURE_MASK_BNDCSR : 0
  const components = mpx | (kvm.supportedXss & XFEATURE_MASK_CET)
  if (components === 0) return
  // Null when tests and tools reset a vCPU from outside: no thread's registers could be swapped.
  const task = vcpu.runner ?? kvm.callingTask
  const swaps = isLoaded(vcpu.guestFpu) || !kvm.profile.fpu.initSwapsOnlyWhenInUse
  if (swaps && task !== null) withPreemptionDisabled(task, putGuestRegisters, vcpu)
  for (let nr = 0; nr < 32; nr++) if ((components >>> nr) & 1) clearGuestComponent(vcpu.guestFpu, nr)
  if (swaps && task !== null) withPreemptionDisabled(task, loadGuestRegisters, vcpu)
}

/** SIPI: real mode at vector << 12. KAPI-55. */
export function startAtSipiVector(vcpu: Vcpu, vector: number): void {
  vcpu.context.setSegment(SEGMENT.CS, vector << 8, CODE_16, 0xffff, vector << 12, 0)
  vcpu.context.setRip(0, 0)
}
