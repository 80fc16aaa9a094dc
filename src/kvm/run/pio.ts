import { X86_EFLAGS_TF } from '../../isa/control-registers.ts'
import { REG } from '../../machine/execution-context.ts'
import { KVM_EXIT_IO } from '../abi/exit-reasons.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { ENTER_GUEST, EXIT_TO_USER } from './exit-results.ts'
import { advanceRip, linearRipHi, linearRipLo, singleStepTrap } from './instruction.ts'
import { stringIo } from './string-io.ts'

/** The port access user space is asked to do (struct kvm_pio_request). */
export interface PioState {
  port: number
  size: number
  isIn: boolean
  count: number
  length: number
  /** Linear RIP of the instruction (KAPI-32). */
  ripLo: number
  ripHi: number
  /** INS: address size and whether it repeats. */
  addressBytes: number
  isRep: boolean
}
export const newPioState = (): PioState => ({
  port: 0,
  size: 0,
  isIn: false,
  count: 0,
  length: 0,
  ripLo: 0,
  ripHi: 0,
  addressBytes: 8,
  isRep: false,
})

/** kvm_run.io and its data, at fixed places (KAPI §3). */
const IO_DIRECTION = 0x20
const IO_SIZE = 0x21
const IO_PORT = 0x22
const IO_COUNT = 0x24
const IO_DATA_OFFSET = 0x28
const PIO_PAGE_OFFSET = 0x1000

/** Port 0x7E: OUT moves RIP before the exit (KVM_X86_QUIRK_OUT_7E_INC_RIP, KAPI-34). */
const QUIRK_OUT_7E_INC_RIP = 3

/** Exit: IN, OUT, INS or OUTS. KAPI-31..35. */
export function handleIo(vcpu: Vcpu): number {
  const { vmcs } = vcpu
  vcpu.stats.io_exits++
  if (vmcs.ioString) return stringIo(vcpu)
  return vmcs.ioIn ? handleIn(vcpu, vmcs.ioPort, vmcs.ioSize) : handleOut(vcpu, vmcs.ioPort, vmcs.ioSize)
}

function handleOut(vcpu: Vcpu, port: number, size: number): number {
  const { context, vm } = vcpu
  const rax = context.lo(REG.RAX)
  const value = size === 4 ? rax >>> 0 : size === 2 ? rax & 0xffff : rax & 0xff
  if (vm.bus.hasPorts && vm.bus.writePort(vcpu, port, size, value)) return finishInstruction(vcpu)
  const { mem } = context
  const at = vcpu.run.pio
  mem.u32[at >> 2] = value
  exitToUser(vcpu, port, size, 1, false)
  if (port === 0x7e && vm.hasQuirk(QUIRK_OUT_7E_INC_RIP)) {
    vcpu.completion = completeOut7e
    advanceRip(vcpu, vcpu.vmcs.exitInstructionLength)
  } else vcpu.completion = completeOut
  return EXIT_TO_USER
}

function handleIn(vcpu: Vcpu, port: number, size: number): number {
  const { vm } = vcpu
  if (vm.bus.hasPorts) {
    const value = vm.bus.readPort(vcpu, port, size)
    if (value >= 0) {
      writeInResult(vcpu, size, value)
      return finishInstruction(vcpu)
    }
  }
  vcpu.context.mem.u32[vcpu.run.pio >> 2] = 0
  exitToUser(vcpu, port, size, 1, true)
  vcpu.completion = completeIn
  return EXIT_TO_USER
}

/** Fills kvm_run for KVM_EXIT_IO; the data are already in page 1. */
export function exitToUser(vcpu: Vcpu, port: number, size: number, count: number, isIn: boolean): void {
  const { pio, run } = vcpu
  pio.port = port
  pio.size = size
  pio.isIn = isIn
  pio.count = count
  pio.length = vcpu.vmcs.exitInstructionLength
  pio.ripLo = linearRipLo(vcpu)
  pio.ripHi = linearRipHi(vcpu)
  run.exitReason = KVM_EXIT_IO
  run.setU8(IO_DIRECTION, isIn ? 0 : 1)
  run.setU8(IO_SIZE, size)
  run.setU16(IO_PORT, port)
  run.setU32(IO_COUNT, count)
  run.setHalves(IO_DATA_OFFSET, PIO_PAGE_OFFSET, 0)
}

/** User space moved RIP meanwhile: the instruction is dropped (KAPI-32). */
function wasRedirected(vcpu: Vcpu): boolean {
  return linearRipLo(vcpu) !== vcpu.pio.ripLo || linearRipHi(vcpu) !== vcpu.pio.ripHi
}

function completeOut(vcpu: Vcpu): number {
  vcpu.pio.count = 0
  if (wasRedirected(vcpu)) return ENTER_GUEST
  return finishAt(vcpu)
}

function completeOut7e(vcpu: Vcpu): number {
  vcpu.pio.count = 0
  return ENTER_GUEST
}

function completeIn(vcpu: Vcpu): number {
  const { pio } = vcpu
  pio.count = 0
  if (wasRedirected(vcpu)) return ENTER_GUEST
  writeInResult(vcpu, pio.size, vcpu.context.mem.u32[vcpu.run.pio >> 2])
  return finishAt(vcpu)
}

/** Size 4 zero-extends into RAX; smaller sizes replace only the low bits of RAX as it is now. KAPI-33. */
function writeInResult(vcpu: Vcpu, size: number, value: number): void {
  const { context } = vcpu
  if (size === 4) context.set(REG.RAX, value | 0, 0)
  else {
    const mask = size === 2 ? 0xffff : 0xff
    context.set(REG.RAX, (context.lo(REG.RAX) & ~mask) | (value & mask), context.hi(REG.RAX))
  }
}

function finishInstruction(vcpu: Vcpu): number {
  vcpu.pio.length = vcpu.vmcs.exitInstructionLength
  return finishAt(vcpu)
}

function finishAt(vcpu: Vcpu): number {
  advanceRip(vcpu, vcpu.pio.length)
  return (vcpu.context.rflagsRest & X86_EFLAGS_TF) === 0 ? ENTER_GUEST : singleStepTrap(vcpu)
}
