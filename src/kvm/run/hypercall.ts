import { X86_TRAP_UD } from '../../isa/vectors.ts'
import { REG } from '../../machine/execution-context.ts'
import { ACCESS_FETCH } from '../../machine/page-walk.ts'
import { KVM_EXIT_HYPERCALL } from '../abi/exit-reasons.ts'
import { APIC_DM_REMRD } from '../irqchip/apic-registers.ts'
import { deliverToApics } from '../irqchip/delivery.ts'
import { deliverPvIpis } from '../irqchip/pv-ipi.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { ENTER_GUEST, EXIT_TO_USER } from './exit-results.ts'
import { LINEAR_OK } from './guest-linear.ts'
import { is64BitCode, linearRipHi, linearRipLo, skipInstruction } from './instruction.ts'

/** Hypercall numbers and errors: include/uapi/linux/kvm_para.h. KAPI-118. */
const KVM_HC_VAPIC_POLL_IRQ = 1
const KVM_HC_KICK_CPU = 5
const KVM_HC_SEND_IPI = 10
const KVM_HC_SCHED_YIELD = 11
const KVM_HC_MAP_GPA_RANGE = 12
const KVM_ENOSYS = 1000
const KVM_EPERM = 1
/** Feature bits of leaf 0x40000001 that a hypercall needs. */
const KVM_FEATURE_PV_UNHALT = 7
const KVM_FEATURE_PV_SEND_IPI = 11
const KVM_FEATURE_PV_SCHED_YIELD = 13

/** Quirk 5: the other vendor's hypercall instruction is replaced in guest memory by the native one. KAPI-119. */
const QUIRK_FIX_HYPERCALL_INSN = 5
const VMCALL = [0x0f, 0x01, 0xc1]
const VMMCALL = [0x0f, 0x01, 0xd9]

/** Without enforcement every PV feature works, whatever CPUID says. */
const hasPvFeature = (vcpu: Vcpu, bit: number): boolean => !vcpu.enforcePvFeatures || ((vcpu.pvFeatures >>> bit) & 1) === 1

/** Hypercall arguments by position: RBX, RCX, RDX, RSI. */
const argument = (vcpu: Vcpu, reg: number): bigint =>
  is64BitCode(vcpu) ? vcpu.context.reg(reg) : vcpu.context.reg(reg) & 0xffffffffn

export function handleHypercall(vcpu: Vcpu): number {
  vcpu.stats.hypercalls++
  const nr = Number(argument(vcpu, REG.RAX) & 0xffffffffn)
  if (vcpu.context.cpl !== 0) return finish(vcpu, -KVM_EPERM)
  if (nr === KVM_HC_MAP_GPA_RANGE && vcpu.vm.hypercallExits & (1 << KVM_HC_MAP_GPA_RANGE)) return mapGpaRangeExit(vcpu)
  return finish(vcpu, hypercall(vcpu, nr))
}

function hypercall(vcpu: Vcpu, nr: number): number {
  switch (nr) {
    case KVM_HC_VAPIC_POLL_IRQ:
      return 0
    case KVM_HC_KICK_CPU:
      if (!hasPvFeature(vcpu, KVM_FEATURE_PV_UNHALT)) return -KVM_ENOSYS
      kickCpu(vcpu, Number(argument(vcpu, REG.RCX)))
      return 0
    case KVM_HC_SEND_IPI:
      return hasPvFeature(vcpu, KVM_FEATURE_PV_SEND_IPI)
        ? deliverPvIpis(
            vcpu,
            argument(vcpu, REG.RBX),
            argument(vcpu, REG.RCX),
            Number(argument(vcpu, REG.RDX)),
            Number(argument(vcpu, REG.RSI)),
          )
        : -KVM_ENOSYS
    case KVM_HC_SCHED_YIELD:
      if (!hasPvFeature(vcpu, KVM_FEATURE_PV_SCHED_YIELD)) return -KVM_ENOSYS
      if (vcpu.runner?.cpu) vcpu.runner.cpu.needResched = true
      return 0
    default:
      return -KVM_ENOSYS
  }
}

/** Wakes the vCPU with this APIC id from a paravirtual HLT. */
function kickCpu(vcpu: Vcpu, apicId: number): void {
  deliverToApics(vcpu.vm, null, {
    vector: 0,
    deliveryMode: APIC_DM_REMRD,
    logical: false,
    level: true,
    levelTriggered: false,
    shorthand: 0,
    destination: apicId,
  })
}

function finish(vcpu: Vcpu, result: number): number {
  const value = is64BitCode(vcpu) ? BigInt(result) : BigInt.asUintN(32, BigInt(result))
  vcpu.context.setReg(REG.RAX, value)
  return skipInstruction(vcpu)
}

/** KVM_EXIT_HYPERCALL: user space sets the result, the next KVM_RUN loads RAX. */
function mapGpaRangeExit(vcpu: Vcpu): number {
  const { run, vmcs } = vcpu
  const view = run.view()
  run.exitReason = KVM_EXIT_HYPERCALL
  view.setBigUint64(0x20, BigInt(KVM_HC_MAP_GPA_RANGE), true)
  const args = [argument(vcpu, REG.RBX), argument(vcpu, REG.RCX), argument(vcpu, REG.RDX)]
  args.forEach((value, i) => {
    view.setBigUint64(0x28 + i * 8, value, true)
  })
  view.setBigUint64(0x58, 0n, true)
  view.setBigUint64(0x60, is64BitCode(vcpu) ? 1n : 0n, true)
  vcpu.pio.length = vmcs.exitInstructionLength
  vcpu.completion = completeHypercall
  return EXIT_TO_USER
}

function completeHypercall(vcpu: Vcpu): number {
  const ret = vcpu.run.view().getBigUint64(0x58, true)
  vcpu.context.setReg(REG.RAX, is64BitCode(vcpu) ? ret : ret & 0xffffffffn)
  vcpu.vmcs.exitInstructionLength = vcpu.pio.length
  return skipInstruction(vcpu)
}

/** #UD: the other vendor's hypercall is KVM's to mend; everything else is the guest's. KAPI-119, KAPI-41. */
export function handleInvalidOpcode(vcpu: Vcpu): number {
  const { context, vm } = vcpu
  const lo = linearRipLo(vcpu)
  const hi = linearRipHi(vcpu)
  const code = new Uint8Array(3)
  const readable = vcpu.linear.read(lo, hi, code, context.cpl === 3, ACCESS_FETCH, false) === LINEAR_OK
  const foreign = vm.kvm.isAmd ? VMCALL : VMMCALL
  if (!readable || !foreign.every((byte, i) => code[i] === byte) || !vm.hasQuirk(QUIRK_FIX_HYPERCALL_INSN)) {
    vcpu.queueException(X86_TRAP_UD)
    return ENTER_GUEST
  }
  // Written as the kernel does: through guest memory, so that a read-only code page makes the guest see a page fault.
  vcpu.linear.write(lo, hi, Uint8Array.from(vm.kvm.isAmd ? VMMCALL : VMCALL), context.cpl === 3)
  return ENTER_GUEST
}
