import { X86_EFLAGS_DF } from '../../isa/control-registers.ts'
import { REG } from '../../machine/execution-context.ts'
import { SEGMENT } from '../../machine/memory-map.ts'
import { ACCESS_FETCH, ACCESS_READ } from '../../machine/page-walk.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { emulationFailure } from './emulation-failure.ts'
import { ENTER_GUEST, EXIT_TO_USER } from './exit-results.ts'
import { addHigh, addLow, LINEAR_FAULT, LINEAR_OK } from './guest-linear.ts'
import { advanceRip, is64BitCode, isLongMode, linearRipHi, linearRipLo } from './instruction.ts'
import { exitToUser } from './pio.ts'

/**
 * REP INS and OUTS, done as KVM's emulator does them: INS asks user space for as many items as fit up to the page's edge, at
 * most 1024 bytes, and writes registers and memory when they come back; OUTS exits once per item with the registers already
 * advanced. KAPI-35; Linux 6.12 emulate.c pio_in_emulated(), em_out(), writeback().
 */

const PIO_BYTES = 1024

interface StringOperand {
  addressBytes: 2 | 4 | 8
  segment: number
}

/** Prefixes of the instruction at RIP decide address size and, for OUTS, the segment. */
function decodePrefixes(vcpu: Vcpu, code: Uint8Array): StringOperand {
  const is64 = is64BitCode(vcpu)
  const is32 = is64 || (vcpu.context.attributes(SEGMENT.CS) & 0x4000) !== 0
  let addressBytes: 2 | 4 | 8 = is64 ? 8 : is32 ? 4 : 2
  let segment: number = SEGMENT.DS
  for (const byte of code) {
    if (byte === 0x67) addressBytes = is64 || !is32 ? 4 : 2
    else if (byte === 0x26) segment = SEGMENT.ES
    else if (byte === 0x2e) segment = SEGMENT.CS
    else if (byte === 0x36) segment = SEGMENT.SS
    else if (byte === 0x3e) segment = SEGMENT.DS
    else if (byte === 0x64) segment = SEGMENT.FS
    else if (byte === 0x65) segment = SEGMENT.GS
    else if (byte !== 0x66 && byte !== 0xf2 && byte !== 0xf3 && !(is64 && (byte & 0xf0) === 0x40)) break
  }
  // In 64-bit code ES, CS, SS and DS have base 0.
  return { addressBytes, segment }
}

function instructionBytes(vcpu: Vcpu): Uint8Array | null {
  const code = new Uint8Array(vcpu.vmcs.exitInstructionLength)
  const user = vcpu.context.cpl === 3
  return vcpu.linear.read(linearRipLo(vcpu), linearRipHi(vcpu), code, user, ACCESS_FETCH, false) === LINEAR_OK ? code : null
}

/** A register as an address or count of `bytes` bytes. Count and offset are numbers; 64-bit ones keep their halves elsewhere. */
function register(vcpu: Vcpu, reg: number, bytes: number): number {
  const { context } = vcpu
  if (bytes === 2) return context.lo(reg) & 0xffff
  return bytes === 4 ? context.lo(reg) >>> 0 : (context.hi(reg) >>> 0) * 0x100000000 + (context.lo(reg) >>> 0)
}

/** reg += delta in the address size: 32-bit results zero-extend, 16-bit ones keep the rest. */
function addToRegister(vcpu: Vcpu, reg: number, bytes: number, delta: number): void {
  const { context } = vcpu
  const lo = context.lo(reg)
  const hi = context.hi(reg)
  if (bytes === 2) context.set(reg, (lo & ~0xffff) | ((lo + delta) & 0xffff), hi)
  else if (bytes === 4) context.set(reg, (lo + delta) | 0, 0)
  else context.set(reg, addLow(lo, delta), addHigh(lo, hi, delta))
}

/** Linear address of segment:reg. */
function linearLo(vcpu: Vcpu, segment: number, reg: number, bytes: number): number {
  const offset = bytes === 2 ? vcpu.context.lo(reg) & 0xffff : vcpu.context.lo(reg)
  return (offset + baseLo(vcpu, segment)) | 0
}
function linearHi(vcpu: Vcpu, segment: number, reg: number, bytes: number): number {
  if (!isLongMode(vcpu)) return 0
  const { context } = vcpu
  const offsetLo = bytes === 2 ? context.lo(reg) & 0xffff : context.lo(reg)
  const offsetHi = bytes === 8 ? context.hi(reg) : 0
  const carry = (offsetLo >>> 0) + (baseLo(vcpu, segment) >>> 0) >= 0x100000000 ? 1 : 0
  const baseHi = is64BitCode(vcpu) && segment < SEGMENT.FS ? 0 : context.segmentBaseHi(segment)
  return (offsetHi + baseHi + carry) | 0
}
function baseLo(vcpu: Vcpu, segment: number): number {
  return is64BitCode(vcpu) && segment < SEGMENT.FS ? 0 : vcpu.context.segmentBaseLo(segment)
}

export function stringIo(vcpu: Vcpu): number {
  const code = instructionBytes(vcpu)
  if (code === null) return emulationFailure(vcpu, null)
  const operand = decodePrefixes(vcpu, code)
  const { vmcs } = vcpu
  vcpu.stats.insn_emulation++
  const count = vmcs.ioRep ? register(vcpu, REG.RCX, operand.addressBytes) : 1
  if (count === 0) {
    advanceRip(vcpu, vmcs.exitInstructionLength)
    return ENTER_GUEST
  }
  return vmcs.ioIn ? insExit(vcpu, operand, count) : outsExit(vcpu, operand)
}

/** Items of one INS exit: up to the end of the page the destination is in, or its start when DF is set. */
function insExit(vcpu: Vcpu, operand: StringOperand, count: number): number {
  const { vmcs, context } = vcpu
  const size = vmcs.ioSize
  const offset = linearLo(vcpu, SEGMENT.ES, REG.RDI, operand.addressBytes) & 0xfff
  const backwards = (context.rflagsRest & X86_EFLAGS_DF) !== 0
  const inPage = Math.floor((backwards ? offset : 4096 - offset) / size)
  const items = Math.max(1, Math.min(inPage, Math.floor(PIO_BYTES / size), count))
  context.mem.u8.fill(0, vcpu.run.pio, vcpu.run.pio + items * size)
  const { bus } = vcpu.vm
  if (bus.hasPorts && bus.readPort(vcpu, vmcs.ioPort, size) >= 0) return insFromDevice(vcpu, operand, items)
  exitToUser(vcpu, vmcs.ioPort, size, items, true)
  keepOperand(vcpu, operand)
  vcpu.completion = completeIns
  return EXIT_TO_USER
}

/** An in-kernel device answers the port: item by item. */
function insFromDevice(vcpu: Vcpu, operand: StringOperand, items: number): number {
  const { vmcs } = vcpu
  const view = new DataView(vcpu.context.mem.buffer, vcpu.run.pio, PIO_BYTES)
  for (let i = 0; i < items; i++) view.setUint32(i * vmcs.ioSize, vcpu.vm.bus.readPort(vcpu, vmcs.ioPort, vmcs.ioSize), true)
  vcpu.pio.count = items
  vcpu.pio.size = vmcs.ioSize
  vcpu.pio.length = vmcs.exitInstructionLength
  vcpu.pio.ripLo = linearRipLo(vcpu)
  vcpu.pio.ripHi = linearRipHi(vcpu)
  keepOperand(vcpu, operand)
  return completeIns(vcpu)
}

function keepOperand(vcpu: Vcpu, operand: StringOperand): void {
  vcpu.pio.addressBytes = operand.addressBytes
  vcpu.pio.isRep = vcpu.vmcs.ioRep
}

/** Stores the items user space gave and advances RDI, RCX and, when the count is used up, RIP. */
function completeIns(vcpu: Vcpu): number {
  const { pio, context } = vcpu
  const { count, size, addressBytes, isRep } = pio
  pio.count = 0
  if (linearRipLo(vcpu) !== pio.ripLo || linearRipHi(vcpu) !== pio.ripHi) return ENTER_GUEST
  const left = isRep ? register(vcpu, REG.RCX, addressBytes) : 1
  const step = context.rflagsRest & X86_EFLAGS_DF ? -size : size
  const data = context.mem.u8.slice(vcpu.run.pio, vcpu.run.pio + Math.max(count, 1) * size)
  const user = context.cpl === 3
  // User space may have changed RCX meanwhile: never more items than it now says, and at least one (KAPI-35).
  const items = Math.max(1, Math.min(count, left))
  for (let i = 0; i < items; i++) {
    const lo = linearLo(vcpu, SEGMENT.ES, REG.RDI, addressBytes)
    const hi = linearHi(vcpu, SEGMENT.ES, REG.RDI, addressBytes)
    const status = vcpu.linear.write(lo, hi, data.subarray(i * size, (i + 1) * size), user)
    if (status !== LINEAR_OK) return status === LINEAR_FAULT ? ENTER_GUEST : emulationFailure(vcpu, null)
    addToRegister(vcpu, REG.RDI, addressBytes, step)
    if (isRep) addToRegister(vcpu, REG.RCX, addressBytes, -1)
  }
  if (!isRep || register(vcpu, REG.RCX, addressBytes) === 0) advanceRip(vcpu, pio.length)
  return ENTER_GUEST
}

function outsExit(vcpu: Vcpu, operand: StringOperand): number {
  const { vmcs, context } = vcpu
  const size = vmcs.ioSize
  const item = new Uint8Array(size)
  const lo = linearLo(vcpu, operand.segment, REG.RSI, operand.addressBytes)
  const hi = linearHi(vcpu, operand.segment, REG.RSI, operand.addressBytes)
  const status = vcpu.linear.read(lo, hi, item, context.cpl === 3, ACCESS_READ, true)
  if (status !== LINEAR_OK) return status === LINEAR_FAULT ? ENTER_GUEST : emulationFailure(vcpu, null)
  addToRegister(vcpu, REG.RSI, operand.addressBytes, context.rflagsRest & X86_EFLAGS_DF ? -size : size)
  if (vmcs.ioRep) addToRegister(vcpu, REG.RCX, operand.addressBytes, -1)
  if (!vmcs.ioRep || register(vcpu, REG.RCX, operand.addressBytes) === 0) advanceRip(vcpu, vmcs.exitInstructionLength)
  const { bus } = vcpu.vm
  const value = size === 4 ? new DataView(item.buffer).getUint32(0, true) : size === 2 ? item[0] | (item[1] << 8) : item[0]
  if (bus.hasPorts && bus.writePort(vcpu, vmcs.ioPort, size, value)) return ENTER_GUEST
  context.mem.u8.set(item, vcpu.run.pio)
  exitToUser(vcpu, vmcs.ioPort, size, 1, false)
  vcpu.completion = completeOuts
  return EXIT_TO_USER
}

function completeOuts(vcpu: Vcpu): number {
  vcpu.pio.count = 0
  return ENTER_GUEST
}
