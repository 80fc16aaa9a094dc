import { X86_EFLAGS_TF } from '../../isa/control-registers.ts'
import { withPreemptionDisabled } from '../../linux/preemption.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import { EMULATE_DONE, EMULATE_EXCEPTION, EMULATE_NEEDS_DATA, type MmioPort } from '../../machine/vmcs.ts'
import { KVM_EXIT_MMIO } from '../abi/exit-reasons.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { emulatorLacksCetOf } from './cet-emulation.ts'
import { emulationFailure, fetchInstruction } from './emulation-failure.ts'
import { kvmEmulates } from './emulator-coverage.ts'
import { ENTER_GUEST, EXIT_TO_USER } from './exit-results.ts'
import { handleEmulatedException } from './exits.ts'
import { is64BitCode, singleStepTrap } from './instruction.ts'
import { emulateOne } from './world-switch.ts'

/** kvm_run.mmio (KAPI §3). */
const MMIO_PHYS_ADDR = 0x20
const MMIO_DATA = 0x28
const MMIO_LEN = 0x30
const MMIO_IS_WRITE = 0x34

/** One access of at most 8 bytes that user space does or did. */
interface Fragment {
  gpa: number
  length: number
  readonly data: Uint8Array
}

/**
 * The accesses of one instruction to guest-physical addresses without memory. Reads are collected until user space has
 * answered all of them and the instruction can be run again with their data; writes are handed over after it ran. KAPI-36, -37.
 */
export class MmioState implements MmioPort {
  private readonly vcpu: Vcpu
  /** Answered reads of the instruction in progress. */
  private readonly answers: Fragment[] = []
  /** The read user space must do next, null = none. */
  wanted: Fragment | null = null
  /** Writes user space must do, in order. */
  readonly writes: Fragment[] = []

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu
  }

  /** A new instruction begins. */
  begin(): void {
    this.answers.length = 0
    this.writes.length = 0
    this.wanted = null
  }

  /** User space has filled `wanted`. */
  answer(fragment: Fragment): void {
    this.answers.push(fragment)
    this.wanted = null
  }

  read(gpa: number, size: number, dest: number): boolean {
    const { u8 } = this.vcpu.context.mem
    for (let done = 0; done < size; ) {
      const length = Math.min(8, size - done)
      const at = gpa + done
      const found = this.answers.find((f) => f.gpa === at && f.length === length)
      const data = found?.data ?? this.readDevice(at, length)
      if (data === null) {
        this.wanted = { gpa: at, length, data: new Uint8Array(8) }
        return false
      }
      u8.set(data.subarray(0, length), dest + done)
      done += length
    }
    return true
  }

  /** An in-kernel device's answer is kept, so that running the instruction again does not read it twice. */
  private readDevice(gpa: number, length: number): Uint8Array | null {
    const data = new Uint8Array(8)
    if (!this.vcpu.vm.bus.readMemory(this.vcpu, gpa, data.subarray(0, length))) return null
    this.answers.push({ gpa, length, data })
    return data
  }

  write(gpa: number, size: number, src: number): void {
    const { u8 } = this.vcpu.context.mem
    for (let done = 0; done < size; done += 8) {
      const length = Math.min(8, size - done)
      const data = new Uint8Array(8)
      data.set(u8.subarray(src + done, src + done + length))
      if (this.vcpu.vm.bus.writeMemory(this.vcpu, gpa + done, data.subarray(0, length))) continue
      this.writes.push({ gpa: gpa + done, length, data })
    }
  }
}

/** An access to a guest-physical address without memory: emulate the instruction. */
export function handleMmio(vcpu: Vcpu, cpu: PinnedProcessor): number {
  const instruction = fetchInstruction(vcpu)
  if (instruction !== null && !kvmEmulates(instruction, is64BitCode(vcpu))) return emulationFailure(vcpu, instruction)
  if (emulatorLacksCetOf(vcpu, cpu)) return emulationFailure(vcpu, instruction)
  vcpu.mmio.begin()
  return runMmioInstruction(vcpu, cpu)
}

function runMmioInstruction(vcpu: Vcpu, cpu: PinnedProcessor): number {
  const { mmio } = vcpu
  vcpu.stats.insn_emulation++
  const trapped = (vcpu.context.rflagsRest & X86_EFLAGS_TF) !== 0
  const result = emulateOne(cpu, vcpu, mmio)
  switch (result) {
    case EMULATE_NEEDS_DATA:
      return exitForRead(vcpu)
    case EMULATE_DONE:
      if (mmio.writes.length > 0) return exitForWrite(vcpu)
      return trapped ? singleStepTrap(vcpu) : ENTER_GUEST
    case EMULATE_EXCEPTION:
      return handleEmulatedException(vcpu, cpu)
    default:
      return emulationFailure(vcpu, fetchInstruction(vcpu))
  }
}

function fillRun(vcpu: Vcpu, fragment: Fragment, isWrite: boolean): number {
  const { run } = vcpu
  vcpu.stats.mmio_exits++
  run.exitReason = KVM_EXIT_MMIO
  run.setU64(MMIO_PHYS_ADDR, fragment.gpa)
  run.setU32(MMIO_LEN, fragment.length)
  run.setU8(MMIO_IS_WRITE, isWrite ? 1 : 0)
  if (isWrite) run.bytes(MMIO_DATA, 8).set(fragment.data)
  vcpu.completion = isWrite ? completeWrite : completeRead
  return EXIT_TO_USER
}

const exitForRead = (vcpu: Vcpu): number => fillRun(vcpu, vcpu.mmio.wanted!, false)
const exitForWrite = (vcpu: Vcpu): number => fillRun(vcpu, vcpu.mmio.writes[0], true)

/** The instruction has run already; only its further fragments are left. */
function completeWrite(vcpu: Vcpu): number {
  vcpu.mmio.writes.shift()
  return vcpu.mmio.writes.length > 0 ? exitForWrite(vcpu) : ENTER_GUEST
}

function completeRead(vcpu: Vcpu): number {
  const fragment = vcpu.mmio.wanted!
  fragment.data.set(vcpu.run.bytes(MMIO_DATA, 8))
  vcpu.mmio.answer(fragment)
  return withPreemptionDisabled(vcpu.runner!, rerun, vcpu)
}

const rerun = (cpu: PinnedProcessor, vcpu: Vcpu): number => runMmioInstruction(vcpu, cpu)
